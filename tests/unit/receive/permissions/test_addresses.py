# SPDX-License-Identifier: MIT
from typing import Any

import pytest

from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.mail.address import NULL, Mailbox, parse_mailbox
from bridgehead.mail.author import read_author
from bridgehead.mail.header import HeaderBlock
from bridgehead.mail.reply import Reply
from bridgehead.receive.permissions.addresses import (
    check_header_from,
    check_recipient,
    check_sender,
    own_address,
    with_domain,
)
from bridgehead.receive.permissions.rights import (
    ANONYMOUS,
    EXTERNALLY_SECURED,
    Principal,
    PrincipalKind,
    rights_of,
)
from bridgehead.receive.settings import PermissionGroup, ReceiveConnector, Right
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.settings import AcceptedDomain, DomainType
from bridgehead.smtp import replies
from bridgehead.smtp.commands import parse_rcpt
from bridgehead.smtp.events import Rcpt
from bridgehead.smtp.extensions import Features

ACCEPTED = AcceptedDomains(
    [
        AcceptedDomain(domain_name="contoso.com"),
        AcceptedDomain(domain_name="ours.test"),
        AcceptedDomain(domain_name="shared.example", domain_type=DomainType.INTERNAL_RELAY),
        AcceptedDomain(domain_name="partner.example", domain_type=DomainType.EXTERNAL_RELAY),
    ]
)
USER = Principal(PrincipalKind.USER, "scanner", frozenset({"scanner@contoso.com"}))
PARTNER = Principal(PrincipalKind.PARTNER, "fabrikam.com")


class People:
    """A directory of two, or one that cannot answer."""

    def __init__(self, down: bool = False) -> None:
        self.down = down

    def find(self, address: Mailbox) -> Recipient | None:
        if self.down:
            raise DirectoryUnavailable("the directory is down")
        if address.key in ("ann@contoso.com", "bob%home@shared.example"):
            return Recipient(name="ann", type=RecipientType.MAILBOX, primary_smtp_address=address)
        return None

    def find_by_name(self, name: str) -> Recipient | None:
        return None

    def __len__(self) -> int:
        return 2


def connector(*groups: PermissionGroup, **settings: Any) -> ReceiveConnector:
    return ReceiveConnector(name="One", bindings=["0.0.0.0:25"], permission_groups=list(groups), **settings)


INTERNET = connector(PermissionGroup.ANONYMOUS_USERS, PermissionGroup.EXCHANGE_USERS, PermissionGroup.PARTNERS)
ANONYMOUS_RIGHTS = rights_of(INTERNET, ANONYMOUS)
USER_RIGHTS = rights_of(INTERNET, USER)


def sender(text: str, rights: frozenset[Right], principal: Principal) -> Reply | None:
    return check_sender(parse_mailbox(text) if text else NULL, rights, principal, ACCEPTED)


def recipient(
    address: str | Mailbox, rights: frozenset[Right] = ANONYMOUS_RIGHTS, settings: ReceiveConnector = INTERNET,
    down: bool = False,
) -> Reply | None:  # fmt: skip
    forward_path = parse_mailbox(address) if isinstance(address, str) else address
    return check_recipient(forward_path, rights, settings, ACCEPTED, People(down))


# --- senders ------------------------------------------------------------------------------------------------------


def test_without_the_right_to_submit_nobody_sends() -> None:
    for address in ("a@fabrikam.com", ""):
        assert sender(address, frozenset(), ANONYMOUS) is replies.NOT_AUTHENTICATED
        assert sender(address, frozenset(), USER) is replies.SUBMIT_DENIED


def test_anonymous_clients_send_as_anybody_unless_hardened() -> None:
    assert sender("a@fabrikam.com", ANONYMOUS_RIGHTS, ANONYMOUS) is None
    assert sender("ann@contoso.com", ANONYMOUS_RIGHTS, ANONYMOUS) is None
    hardened = ANONYMOUS_RIGHTS - {Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER}
    assert sender("ann@contoso.com", hardened, ANONYMOUS) is replies.SENDER_DOMAIN_DENIED
    assert sender("ann@CONTOSO.COM", hardened, ANONYMOUS) is replies.SENDER_DOMAIN_DENIED
    assert sender("a@shared.example", hardened, ANONYMOUS) is None
    assert sender("a@fabrikam.com", hardened, ANONYMOUS) is None
    assert sender("", hardened, ANONYMOUS) is None


def test_a_login_sends_as_its_own_addresses_only() -> None:
    assert sender("scanner@contoso.com", USER_RIGHTS, USER) is None
    assert sender("Scanner@Contoso.com", USER_RIGHTS, USER) is None
    assert sender("", USER_RIGHTS, USER) is None
    for address in ("boss@contoso.com", "scanner@fabrikam.com", "scanner+x@contoso.com"):
        assert sender(address, USER_RIGHTS, USER) is replies.SEND_AS_DENIED
    any_sender = USER_RIGHTS | {Right.ACCEPT_ANY_SENDER}
    assert sender("app@fabrikam.com", any_sender, USER) is None
    assert sender("boss@contoso.com", any_sender, USER) is replies.SENDER_DOMAIN_DENIED
    assert sender("boss@contoso.com", any_sender | {Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER}, USER) is None


def test_a_partner_sends_from_outside_but_not_as_us() -> None:
    rights = rights_of(INTERNET, PARTNER)
    assert sender("a@fabrikam.com", rights, PARTNER) is None
    assert sender("ann@contoso.com", rights, PARTNER) is replies.SENDER_DOMAIN_DENIED
    assert sender("ann@shared.example", rights, PARTNER) is replies.SEND_AS_DENIED


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        (b"From: scanner@contoso.com\r\n", True),
        (b'From: "The Boss" <scanner@contoso.com>\r\n', True),
        (b"Subject: no From\r\n", True),
        (b"From: boss@contoso.com\r\n", False),
        (b'From: "scanner@contoso.com" <boss@contoso.com>\r\n', False),
        (b"From: (scanner@contoso.com) boss@contoso.com\r\n", False),
        (b"From: scanner@contoso.com\r\nSender: boss@contoso.com\r\n", False),
        (b"From: scanner@contoso.com\r\nFROM : boss@contoso.com\r\n", False),
        (b"From: nobody\r\n", False),
    ],
)
def test_forged_from_of_a_login_is_refused(header: bytes, allowed: bool) -> None:
    block = HeaderBlock(header)
    assert check_header_from(block, read_author(block), USER_RIGHTS, USER) is (
        None if allowed else replies.SEND_AS_DENIED
    )
    assert check_header_from(block, read_author(block), USER_RIGHTS | {Right.ACCEPT_ANY_SENDER}, USER) is None
    assert check_header_from(block, read_author(block), ANONYMOUS_RIGHTS, ANONYMOUS) is None


# --- recipients -----------------------------------------------------------------------------------------------------


def test_known_and_unknown_recipients() -> None:
    assert recipient("Ann@Contoso.com") is None
    assert recipient("nobody@contoso.com") is replies.USER_UNKNOWN
    assert recipient("nobody@contoso.com", USER_RIGHTS) is replies.USER_UNKNOWN
    lenient = connector(PermissionGroup.ANONYMOUS_USERS, reject_unknown_recipients=False)
    assert recipient("nobody@contoso.com", settings=lenient) is None
    assert recipient("nobody@shared.example") is None
    assert recipient("nobody@partner.example") is None


def test_a_directory_that_is_down_defers() -> None:
    assert recipient("ann@contoso.com", down=True) is replies.DIRECTORY_UNAVAILABLE


OPEN_RELAY_TRIES = [
    "<relaytest@other.example>",
    "<relaytest%other.example@contoso.com>",
    "<relaytest%other.example@[192.0.2.1]>",
    '<"relaytest@other.example">',
    '<"relaytest%other.example">',
    '<"relaytest@other.example"@contoso.com>',
    '<"relaytest%other.example"@contoso.com>',
    "<other.example!relaytest>",
    "<other.example!relaytest@contoso.com>",
    "<@contoso.com:relaytest@other.example>",
    "<@contoso.com,@ours.test:relaytest@other.example>",
    "<@[192.0.2.1]:relaytest@other.example>",
    "<relaytest@other.example@contoso.com>",
    "<relaytest@other.example@[192.0.2.1]>",
    "<relaytest@contoso.com@other.example>",
    "<@other.example:relaytest%other.example@contoso.com>",
    "<relaytest%other.example%contoso.com@contoso.com>",
    "<contoso.com!other.example!relaytest@contoso.com>",
    "<relaytest@[203.0.113.9]>",
    "<relaytest@[IPv6:::ffff:203.0.113.9]>",
    "<postmaster@other.example>",
    '<"postmaster"@other.example>',
    "<relaytest%other.example@shared.example>",
    '<"relaytest@other.example"@shared.example>',
    "<other.example!relaytest@partner.example>",
    "<relaytest@contoso.com.other.example>",
    "<relaytest@notcontoso.com>",
    "<relaytest@contoso.com.>",
    "<relaytest@other.example\0@contoso.com>",
    "relaytest@other.example",
]


@pytest.mark.parametrize("path", OPEN_RELAY_TRIES)
def test_no_open_relay_by_ambiguity(path: str) -> None:
    command = parse_rcpt(b"TO:" + path.encode(), Features(), False)
    if isinstance(command, Rcpt):
        refusal = recipient(command.forward_path)
        assert refusal in (replies.UNABLE_TO_RELAY, replies.USER_UNKNOWN, replies.DOMAIN_REQUIRED)
    else:
        assert command.is_permanent


def test_relay_follows_the_right_alone() -> None:
    assert recipient("a@other.example") is replies.UNABLE_TO_RELAY
    assert recipient("a@other.example", USER_RIGHTS) is None
    servers = connector(PermissionGroup.EXCHANGE_SERVERS)
    assert recipient("a@other.example", rights_of(servers, EXTERNALLY_SECURED), servers) is None
    assert recipient("a@[192.0.2.1]", USER_RIGHTS) is None


def test_percent_hack_is_a_local_part_where_it_is_known() -> None:
    assert recipient("bob%home@shared.example") is None
    assert recipient("other%home@shared.example", USER_RIGHTS) is None
    assert recipient("other%home@shared.example", down=True) is replies.DIRECTORY_UNAVAILABLE


def test_postmaster_is_always_accepted() -> None:
    assert recipient(Mailbox("Postmaster", "")) is None
    assert recipient("postmaster@contoso.com") is None
    assert recipient(Mailbox("ann", "")) is replies.DOMAIN_REQUIRED


def test_bare_addresses_get_the_default_domain() -> None:
    assert with_domain(Mailbox("postmaster", ""), "contoso.com") == Mailbox("postmaster", "contoso.com")
    assert with_domain(Mailbox("a", "b.example"), "contoso.com") == Mailbox("a", "b.example")
    assert with_domain(NULL, "contoso.com") is NULL
    assert with_domain(Mailbox("postmaster", ""), "") == Mailbox("postmaster", "")


@pytest.mark.parametrize(
    ("setting", "address", "reply"),
    [
        ("reject_reserved_top_level_recipient_domains", "a@b.test", replies.RESERVED_TOP_LEVEL_DOMAIN),
        ("reject_reserved_top_level_recipient_domains", "a@LOCALHOST", replies.RESERVED_TOP_LEVEL_DOMAIN),
        ("reject_reserved_second_level_recipient_domains", "a@example.com", replies.RESERVED_SECOND_LEVEL_DOMAIN),
        ("reject_reserved_second_level_recipient_domains", "a@x.Example.org", replies.RESERVED_SECOND_LEVEL_DOMAIN),
        ("reject_single_label_recipient_domains", "a@intranet", replies.SINGLE_LABEL_DOMAIN),
    ],
)
def test_reserved_and_single_label_domains(setting: str, address: str, reply: Reply) -> None:
    assert recipient(address, USER_RIGHTS) is None
    strict = connector(PermissionGroup.EXCHANGE_USERS, **{setting: True})
    assert recipient(address, USER_RIGHTS, strict) is reply
    for other in ("a@contest", "a@myexample.com", "a@example.de"):
        if setting != "reject_single_label_recipient_domains" or "." in other:
            assert recipient(other, USER_RIGHTS, strict) is None


def test_our_own_domain_is_never_a_reserved_one() -> None:
    strict = connector(PermissionGroup.ANONYMOUS_USERS, reject_reserved_top_level_recipient_domains=True)
    assert recipient("nobody@ours.test", settings=strict) is replies.USER_UNKNOWN


ASSISTANT = Principal(
    PrincipalKind.USER, "assistant", frozenset({"assistant@contoso.com", "a2@contoso.com"}),
    send_as=frozenset({"shared@contoso.com"}), send_on_behalf=frozenset({"boss@contoso.com", "*@board.contoso.com"}),
    primary_address="Assistant@contoso.com",
)  # fmt: skip


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        (b"From: boss@contoso.com\r\nSender: assistant@contoso.com\r\n", True),
        (b"From: boss@contoso.com\r\nSender: A2@Contoso.com\r\n", True),
        (b"From: boss@contoso.com\r\n", True),
        (b"From: chair@board.contoso.com\r\n", True),
        (b"From: boss@contoso.com, chair@board.contoso.com\r\n", True),
        (b"From: boss@contoso.com, assistant@contoso.com\r\nSender: assistant@contoso.com\r\n", True),
        (b"From: boss@contoso.com, ceo@contoso.com\r\nSender: assistant@contoso.com\r\n", False),
        (b"From: boss@contoso.com\r\nSender: boss@contoso.com\r\n", False),
        (b"From: boss@contoso.com\r\nSender: shared@contoso.com\r\n", False),
        (b"From: boss@contoso.com\r\nSender: assistant@contoso.com\r\nSender: boss@contoso.com\r\n", False),
        (b"From: boss@contoso.com\r\nSender:\r\n", False),
        (b"From: boss@contoso.com\r\nFrom: boss@contoso.com\r\n", False),
        (b"From: x@board.contoso.com.evil.example\r\n", False),
        (b"From: ceo@contoso.com\r\n", False),
    ],
)
def test_a_login_writes_on_behalf_of_others_only_where_sender_is_its_own(header: bytes, allowed: bool) -> None:
    block = HeaderBlock(header)
    refusal = check_header_from(block, read_author(block), USER_RIGHTS, ASSISTANT)
    assert refusal is (None if allowed else replies.SEND_AS_DENIED)


def test_on_behalf_is_no_right_to_the_envelope() -> None:
    assert sender("boss@contoso.com", USER_RIGHTS, ASSISTANT) is replies.SEND_AS_DENIED
    assert sender("shared@contoso.com", USER_RIGHTS, ASSISTANT) is None


def test_which_address_shows_who_wrote() -> None:
    assert str(own_address(ASSISTANT, Mailbox("a2", "contoso.com"))) == "a2@contoso.com"
    assert str(own_address(ASSISTANT, Mailbox("shared", "contoso.com"))) == "Assistant@contoso.com"
    assert own_address(USER, Mailbox("x", "y.example")) is None
