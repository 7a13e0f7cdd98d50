# SPDX-License-Identifier: MIT
import base64
import hashlib
from collections.abc import Sequence
from datetime import date

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridgehead.mail.address import NULL, Mailbox, parse_mailbox
from bridgehead.mail.reply import Reply
from bridgehead.msgauth.dkim.canonical import BodyCanonicalizer, relaxed_field
from bridgehead.net.signatures import check_signature
from bridgehead.receive.connectors.selection import is_internet_facing, is_protected
from bridgehead.receive.permissions.rights import ANONYMOUS, EXTERNALLY_SECURED, Principal, PrincipalKind
from bridgehead.receive.permissions.sender_exceptions import SenderExceptions
from bridgehead.receive.permissions.senders import FAULT_FIELD, SenderCheck, SenderFacts
from bridgehead.receive.settings import NonCompliantSenderPolicy, ReceiveConnector, Right, SenderException
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.settings import AcceptedDomain
from bridgehead.smtp import replies
from support.auth_zone import Zone

KEY = rsa.generate_private_key(65537, 2048)
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
NOW = 1_800_000_000.0
REJECT = NonCompliantSenderPolicy.REJECT
BODY = b"Please pay.\r\n"
DNS = {
    ("contoso.com", "TXT"): ["v=spf1 ip4:192.0.2.25 -all"],
    ("_dmarc.contoso.com", "TXT"): ["v=DMARC1; p=reject"],
    ("s._domainkey.contoso.com", "TXT"): [f"v=DKIM1; p={PUBLIC}"],
    ("s._domainkey.evil.example", "TXT"): [f"v=DKIM1; p={PUBLIC}"],
    ("evil.example", "TXT"): ["v=spf1 +all"],
}


class Services:
    def __init__(self, zone: Zone, exceptions: Sequence[SenderException]) -> None:
        self.accepted_domains = AcceptedDomains([AcceptedDomain(domain_name="contoso.com", match_sub_domains=True)])
        self.sender_exceptions = SenderExceptions(exceptions)
        self.authentication_lookup = zone
        self.check_signature = check_signature


def header(author: str = "anna@contoso.com", *, domain: str = "") -> bytes:
    field = f"From: {author}\r\n".encode()
    if not domain:
        return field
    canonical = BodyCanonicalizer(hashlib.sha256(), relaxed=True)
    canonical.update(BODY)
    digest = base64.b64encode(canonical.finish()).decode()
    own = f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}; s=s; h=from; bh={digest}; b=".encode()
    data = relaxed_field(field) + relaxed_field(own + b"\r\n").removesuffix(b"\r\n")
    return own + base64.b64encode(KEY.sign(data, padding.PKCS1v15(), hashes.SHA256())) + b"\r\n" + field


class Outcome:
    """The refusal of one message, with the check that gave it."""

    def __init__(self, check: SenderCheck, refusal: Reply | None, fields: bytes) -> None:
        self.check, self.refusal, self.fields = check, refusal, fields


async def judge(
    head: bytes, *, client_ip: str = "203.0.113.9", path: str = "anna@contoso.com", body: bytes = BODY,
    principal: Principal = ANONYMOUS, rights: frozenset[Right] = frozenset({Right.ACCEPT_ANY_SENDER}),
    policy: NonCompliantSenderPolicy = NonCompliantSenderPolicy.REJECT, protected: bool = True,
    zone: Zone | None = None, exceptions: Sequence[SenderException] = (),
) -> Outcome:  # fmt: skip
    reverse_path: Mailbox = parse_mailbox(path) if path else NULL
    facts = SenderFacts(client_ip, "client.test", reverse_path, principal, rights, policy, protected, "mx.contoso.com")
    check = SenderCheck(facts, Services(zone or Zone(DNS), exceptions), NOW)
    decision = check.header(head)
    if decision.refusal is not None:
        return Outcome(check, decision.refusal, b"")
    if decision.body is not None:
        decision.body.body(body)
    return Outcome(check, await check.verdict() if check.is_due else None, decision.fields)


async def test_d15_our_own_domain_from_outside_is_refused() -> None:
    outcome = await judge(header())
    assert outcome.refusal is replies.SENDER_IS_OURS
    assert outcome.check.reason == "contoso.com is ours: SPF fail for contoso.com"


async def test_d15_also_where_only_from_or_only_mail_says_so() -> None:
    assert (await judge(header(), path="eve@evil.example")).refusal is replies.SENDER_IS_OURS
    assert (await judge(header(), path="")).refusal is replies.SENDER_IS_OURS
    assert (await judge(header("eve@evil.example"))).refusal is replies.SENDER_IS_OURS


async def test_sub_domains_of_ours_are_ours() -> None:
    head, path = header("a@mail.contoso.com"), "a@mail.contoso.com"
    assert (await judge(head, path=path)).refusal is replies.SENDER_IS_OURS


async def test_aligned_spf_or_dkim_vouches_for_it() -> None:
    by_spf = await judge(header(), client_ip="192.0.2.25")
    assert (by_spf.refusal, by_spf.check.note) == (None, "spf=contoso.com")
    by_dkim = await judge(header(domain="contoso.com"), path="bounce@mailer.example")
    assert (by_dkim.refusal, by_dkim.check.note) == (None, "dkim=contoso.com")


async def test_d10_authentication_of_somebody_else_vouches_for_nothing() -> None:
    assert (await judge(header(), path="eve@evil.example")).refusal is replies.SENDER_IS_OURS
    assert (await judge(header(domain="evil.example"))).refusal is replies.SENDER_IS_OURS


async def test_an_altered_body_loses_the_signature() -> None:
    outcome = await judge(header(domain="contoso.com"), path="b@mailer.example", body=b"Please pay Eve.\r\n")
    assert outcome.refusal is replies.SENDER_IS_OURS
    assert "DKIM fail for contoso.com" in outcome.check.reason


@pytest.mark.parametrize("name", [("contoso.com", "TXT"), ("_dmarc.contoso.com", "TXT")])
async def test_d12_trouble_in_dns_is_never_a_pass(name: tuple[str, str]) -> None:
    assert (await judge(header(), zone=Zone(DNS | {name: ["TIMEOUT"]}))).refusal is replies.SENDER_UNCHECKED


async def test_mail_of_others_asks_dns_nothing() -> None:
    zone = Zone(DNS)
    assert (await judge(header("eve@evil.example"), path="eve@evil.example", zone=zone)).refusal is None
    assert zone.asked == 0


async def test_who_was_let_in_by_other_means_is_not_asked() -> None:
    assert (await judge(header(), principal=EXTERNALLY_SECURED)).refusal is None
    assert (await judge(header(), protected=False)).refusal is None


def exception(**changes: object) -> list[SenderException]:
    values = {
        "name": "Scanners", "owner": "anna", "expires": date(2027, 12, 31), "senders": ["scanner@contoso.com"],
        "remote_ip_ranges": ["203.0.113.0/28"],
    } | changes  # fmt: skip
    return [SenderException(**values)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, False),
        ({"senders": ["*@contoso.com"]}, False),
        ({"senders": ["other@contoso.com"]}, True),
        ({"remote_ip_ranges": ["198.51.100.0/24"]}, True),
        ({"expires": date(2027, 1, 14)}, True),
        ({"expires": date(2027, 1, 15)}, False),
    ],
)
async def test_an_exception_covers_its_senders_from_its_clients_until_its_last_day(
    changes: dict[str, object], refused: bool
) -> None:
    path = "scanner@contoso.com"
    outcome = await judge(header(path), path=path, exceptions=exception(**changes))
    assert outcome.refusal is (replies.SENDER_IS_OURS if refused else None)
    assert outcome.check.note == ("" if refused else "exception=Scanners")


async def test_an_exception_for_the_envelope_does_not_cover_another_author() -> None:
    outcome = await judge(header("boss@contoso.com"), path="scanner@contoso.com", exceptions=exception())
    assert outcome.refusal is replies.SENDER_IS_OURS


MISLEADING = b"From: a@x.example\r\nFrom: b@y.example\r\n"


async def test_the_policy_for_odd_author_fields() -> None:
    path = "a@x.example"
    assert (await judge(MISLEADING, path=path)).refusal is replies.SEVERAL_AUTHORS
    assert (await judge(b"From: g: a@x.example;\r\n", path=path)).refusal is replies.BAD_FROM
    tagged = await judge(MISLEADING, path=path, policy=NonCompliantSenderPolicy.TAG)
    assert (tagged.refusal, tagged.fields) == (None, FAULT_FIELD)
    accepted = await judge(MISLEADING, path=path, policy=NonCompliantSenderPolicy.ACCEPT)
    assert (accepted.refusal, accepted.fields) == (None, b"")


async def test_what_an_old_device_writes_is_tagged_and_a_missing_from_left_alone() -> None:
    assert (await judge(b"From: Scanner 3\r\n", path="a@x.example")).fields == FAULT_FIELD
    assert (await judge(b"Subject: x\r\n", path="a@x.example")).fields == b""


async def test_d7_every_author_that_somebody_could_see_must_be_real() -> None:
    odd = b"From: <eve@evil.example>; <anna@contoso.com>\r\n"
    outcome = await judge(odd, path="eve@evil.example", policy=NonCompliantSenderPolicy.TAG)
    assert outcome.refusal is replies.SENDER_IS_OURS


@pytest.mark.parametrize(
    ("bindings", "ranges", "facing"),
    [
        (["0.0.0.0:25"], ["0.0.0.0/0"], True),
        (["192.0.2.1:25"], ["0.0.0.0/0", "::/0"], True),
        (["0.0.0.0:25"], ["10.0.0.0/8", "192.168.1.0/24", "fd00::/8"], False),
        (["0.0.0.0:25"], ["10.0.0.0/8", "203.0.113.5"], True),
        (["127.0.0.1:2525", "[::1]:2525"], ["0.0.0.0/0"], False),
        (["0.0.0.0:25"], ["10.0.0.0-11.255.255.255"], True),
    ],
)
def test_which_connectors_the_internet_reaches(bindings: list[str], ranges: list[str], facing: bool) -> None:
    assert is_internet_facing(ReceiveConnector(name="x", bindings=bindings, remote_ip_ranges=ranges)) is facing


def test_d15_behind_a_proxy_on_this_machine_stands_the_internet() -> None:
    """Loopback is where the proxy connects from: what it brings are strangers, who may not write in our name."""
    proxied = ReceiveConnector(name="x", bindings=["127.0.0.1:2525"], proxy_protocol_sources=["127.0.0.1"])
    assert is_internet_facing(proxied)
    assert is_protected(proxied)
    inside = msgspec.structs.replace(proxied, remote_ip_ranges=["10.0.0.0/8"])
    assert not is_internet_facing(inside)


async def test_sender_is_added_where_a_login_writes_on_behalf() -> None:
    assistant = Principal(
        PrincipalKind.USER, "assistant", frozenset({"assistant@contoso.com"}),
        send_on_behalf=frozenset({"boss@contoso.com", "cfo@contoso.com"}), primary_address="assistant@contoso.com",
    )  # fmt: skip

    def added(head: bytes) -> bytes:
        path = parse_mailbox("assistant@contoso.com")
        facts = SenderFacts("192.0.2.1", "c", path, assistant, frozenset(), REJECT, True, "mx.contoso.com")
        decision = SenderCheck(facts, Services(Zone(DNS), ()), NOW).header(head)
        assert decision.refusal is None
        return decision.header

    own = b"Sender: assistant@contoso.com\r\n"
    assert added(b"From: boss@contoso.com\r\n") == own + b"From: boss@contoso.com\r\n"
    several = b"From: boss@contoso.com, cfo@contoso.com\r\n"
    assert added(several) == own + several
    assert added(b"From: assistant@contoso.com\r\n") == b""
    assert added(b"From: boss@contoso.com\r\n" + own) == b""
