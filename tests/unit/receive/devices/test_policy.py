# SPDX-License-Identifier: MIT
"""As whom a device's message leaves: what stays, what is rewritten and how, what is refused."""

import pytest

from bridgehead.mail.address import NULL, Mailbox, parse_mailbox
from bridgehead.receive.content import HeaderDecision
from bridgehead.receive.devices.devices import DeviceIdentity
from bridgehead.receive.devices.policy import DeviceCheck, decide_path
from bridgehead.receive.permissions.senders import FAULT_FIELD
from bridgehead.receive.settings import Device, NonCompliantSenderPolicy, SignedContent
from bridgehead.smtp import replies

SCANNER = "scanner@contoso.test"
REJECT = NonCompliantSenderPolicy.REJECT


def device(**settings: object) -> DeviceIdentity:
    given = {"allowed_senders": [SCANNER], "rewrite_sender": "devices@contoso.test", **settings}
    return DeviceIdentity(Device(name="printer-3", remote_ip_ranges=["10.2.0.17"], **given))  # type: ignore[arg-type]


def judge(
    header: bytes, one: DeviceIdentity, policy: NonCompliantSenderPolicy = REJECT, default_domain: str = ""
) -> tuple[HeaderDecision, DeviceCheck]:
    path = parse_mailbox(SCANNER)
    check = DeviceCheck(one, path, path, default_domain, policy)
    return check.header(header), check


@pytest.mark.parametrize(
    ("path", "settings", "becomes", "refusal"),
    [
        (Mailbox("scanner", "contoso.test"), {}, SCANNER, None),
        (Mailbox("SCANNER", "Contoso.Test"), {}, "SCANNER@Contoso.Test", None),
        (Mailbox("boss", "contoso.test"), {}, "devices@contoso.test", None),
        (Mailbox("root", "localhost"), {}, "devices@contoso.test", None),
        (Mailbox("scanner", ""), {}, "devices@contoso.test", None),
        (NULL, {}, "", None),
        (Mailbox("boss", "contoso.test"), {"rewrite_sender": ""}, None, replies.SEND_AS_DENIED),
        (Mailbox("scanner", ""), {"rewrite_sender": ""}, None, replies.BAD_SENDER_SYNTAX),
        (Mailbox("a", "devices.test"), {"allowed_senders": ["*@devices.test"]}, "a@devices.test", None),
        (Mailbox("a", "x.devices.test"), {"allowed_senders": ["*@devices.test"]}, "devices@contoso.test", None),
        (Mailbox("a", "b.test"), {"allowed_senders": ["*"], "rewrite_sender": ""}, "a@b.test", None),
    ],
)
def test_what_becomes_of_mail(path: Mailbox, settings: dict[str, object], becomes: str | None, refusal: object) -> None:
    decision = decide_path(device(**settings), path)
    assert decision.refusal is refusal
    if becomes is not None:
        assert str(decision.path) == becomes


STAYS = [
    b"From: scanner@contoso.test\r\nTo: a@b.test\r\n",
    b'from : "Scanner, 3rd floor" <Scanner@CONTOSO.test>\r\n',
    b"From: scanner@contoso.test\r\nSender: devices@contoso.test\r\nDKIM-Signature: v=1\r\n",
]


@pytest.mark.parametrize("header", STAYS)
def test_allowed_authors_stay_octet_for_octet(header: bytes) -> None:
    decision, check = judge(header, device())
    assert decision == HeaderDecision()
    assert check.custom_data == "S:Device=printer-3"
    assert not check.rewritten


REWRITTEN = [
    (
        b"To: a@b.test\r\nFrom: boss@contoso.test\r\nX-Odd:a\r\n\tb\r\n",
        b"To: a@b.test\r\nFrom: <devices@contoso.test>\r\nReply-To: boss@contoso.test\r\nX-Odd:a\r\n\tb\r\n",
    ),
    (
        b"From:\r\n =?utf-8?q?B=C3=BCro?= <scan@localhost>\r\nTo: a@b.test\r\n",
        (
            b"From: =?utf-8?q?B=C3=BCro?= <devices@contoso.test>\r\n"
            b"Reply-To:\r\n =?utf-8?q?B=C3=BCro?= <scan@localhost>\r\nTo: a@b.test\r\n"
        ),
    ),
    (
        b"From: x@y.test\r\nReply-To: helpdesk@contoso.test\r\n",
        b"From: <devices@contoso.test>\r\nReply-To: helpdesk@contoso.test\r\n",
    ),
    (b"From: Scanner\r\nTo: a@b.test\r\n", b'From: "Scanner" <devices@contoso.test>\r\nTo: a@b.test\r\n'),
    (b"From:\r\nTo: a@b.test\r\n", b"From: <devices@contoso.test>\r\nTo: a@b.test\r\n"),
    (b"To: a@b.test\r\n", b"From: <scanner@contoso.test>\r\nTo: a@b.test\r\n"),
    (b"Sender: boss@contoso.test\r\n", b"From: <scanner@contoso.test>\r\n"),
    (
        b"From: scanner@contoso.test\r\nSender: boss@contoso.test\r\n",
        b"From: <devices@contoso.test>\r\nReply-To: scanner@contoso.test\r\n",
    ),
    (
        b"From: a@x.test, b@x.test\r\nSubject: s\r\n",
        b"From: <devices@contoso.test>\r\nReply-To: a@x.test, b@x.test\r\nSubject: s\r\n",
    ),
    (
        b"From: scanner@contoso.test\r\nFrom: boss@contoso.test\r\n",
        b"From: <devices@contoso.test>\r\nReply-To: scanner@contoso.test, boss@contoso.test\r\n",
    ),
    (
        b'From: "boss@contoso.test" <scan@localhost>\r\n',
        b'From: <devices@contoso.test>\r\nReply-To: "boss@contoso.test" <scan@localhost>\r\n',
    ),
    (b"From: g: boss@contoso.test;\r\n", b"From: <devices@contoso.test>\r\nReply-To: boss@contoso.test\r\n"),
]


@pytest.mark.parametrize(("header", "becomes"), REWRITTEN)
def test_other_authors_are_rewritten_and_nothing_else_is(header: bytes, becomes: bytes) -> None:
    decision, check = judge(header, device())
    assert decision.refusal is None
    assert decision.header == becomes
    assert check.rewritten
    assert "S:RewrittenFrom=" in check.custom_data


@pytest.mark.parametrize("header", [before for before, _ in REWRITTEN if b"From:" in before])
def test_without_an_address_to_rewrite_to_other_authors_are_refused(header: bytes) -> None:
    decision, check = judge(header, device(rewrite_sender=""))
    assert decision.refusal in (replies.SEND_AS_DENIED, replies.SEVERAL_AUTHORS, replies.BAD_FROM)
    assert check.reason


def test_single_labels_are_completed_where_there_is_a_default_domain() -> None:
    one = device(rewrite_sender="")
    decision, check = judge(b"From: scanner\r\n", one, default_domain="contoso.test")
    assert decision.header == b"From: <scanner@contoso.test>\r\n".replace(b"From: ", b'From: "scanner" ')
    assert check.rewritten
    decision, _ = judge(b"From: fax\r\n", one, default_domain="contoso.test")
    assert decision.refusal is replies.SEND_AS_DENIED
    decision, _ = judge(b"From: Fax <fax>\r\n", device(), default_domain="contoso.test")
    assert decision.header == b"From: <devices@contoso.test>\r\nReply-To: fax@contoso.test\r\n"


def test_signed_mail_is_never_rewritten_blindly() -> None:
    header = b"DKIM-Signature: v=1; a=rsa-sha256;\r\n b=abc\r\nFrom: boss@contoso.test\r\nSubject: s\r\n"
    decision, check = judge(header, device())
    assert decision.refusal is replies.SIGNED_BY_DEVICE
    assert "signed" in check.reason
    decision, _ = judge(header, device(signed_content=SignedContent.REMOVE_SIGNATURES))
    assert decision.header == b"From: <devices@contoso.test>\r\nReply-To: boss@contoso.test\r\nSubject: s\r\n"
    unchanged = header.replace(b"boss", b"scanner")
    assert judge(unchanged, device())[0] == HeaderDecision()


def test_odd_fields_that_name_only_allowed_authors_are_tagged() -> None:
    header = b"From: Scanner scanner@contoso.test\r\n"
    assert judge(header, device())[0].fields == FAULT_FIELD
    assert judge(header, device(), NonCompliantSenderPolicy.ACCEPT)[0] == HeaderDecision()


def test_what_a_device_said_cannot_break_a_log_line() -> None:
    path = parse_mailbox(SCANNER)
    check = DeviceCheck(device(), Mailbox('a";b', "x.test"), path, "", REJECT)
    check.header(b'From: ";S:Principal=system,x\r\n')
    assert check.custom_data.count(";S:") == 2
    assert "," not in check.custom_data
    assert '"' not in check.custom_data
