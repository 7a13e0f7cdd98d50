# SPDX-License-Identifier: MIT
"""Which classes of clients meet a receive connector, and what each may do there, in plain words.

Rights come from `receive.permissions.rights`, the code that decides for sessions.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from bridgehead.mail.address import Mailbox
from bridgehead.receive.connectors.selection import is_protected
from bridgehead.receive.connectors.served import asks_for_certificate
from bridgehead.receive.logons.authentication import mechanisms
from bridgehead.receive.permissions.addresses import check_recipient
from bridgehead.receive.permissions.rights import (
    ALL_RIGHTS,
    ANONYMOUS,
    EXTERNALLY_SECURED,
    Principal,
    PrincipalKind,
    capabilities_of,
    is_from_inside,
    rights_of,
    session_principal,
)
from bridgehead.receive.settings import ReceiveConnector, Right
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.settings import AcceptedDomain

_FOREIGN: Final = ("relay-test.invalid", "relay-test.example.net", "relay-test.arpa")
"""Nobody receives mail there; where reserved domains are refused, each is for another reason (RFC 2606, RFC 3172)."""

_WHO: Final = {
    PrincipalKind.ANONYMOUS: "Clients without login",
    PrincipalKind.USER: "Users with a login",
    PrincipalKind.PARTNER: "Partners known by their certificate",
    PrincipalKind.EXTERNALLY_SECURED: "Clients trusted by address (externally secured)",
}


class ClientClass(msgspec.Struct, frozen=True, kw_only=True):
    """One class of clients on one connector.

    Attributes:
        principal: as which their sessions run.
        absent: why no client can be one of them here, "" where some can.
        rights: what they hold.
        checked: in our own domains' names they send only what SPF or DKIM vouches for.
    """

    principal: Principal
    absent: str
    rights: frozenset[Right]
    checked: bool = False

    @property
    def may_submit(self) -> bool:
        return not self.absent and Right.SUBMIT in self.rights

    @property
    def may_relay(self) -> bool:
        return self.may_submit and Right.ACCEPT_ANY_RECIPIENT in self.rights


def client_classes(connector: ReceiveConnector) -> list[ClientClass]:
    """Every class there is: those without a login, users, partners, externally secured ones."""
    first = session_principal(connector)
    offers = mechanisms(connector, True)
    absent = {
        ANONYMOUS: "" if first is ANONYMOUS else "all are trusted by address (ExternalAuthoritative)",
        Principal(PrincipalKind.USER): "" if offers else "no login is offered",
        **_partners(connector),
        EXTERNALLY_SECURED: "" if first is EXTERNALLY_SECURED else "auth_mechanism does not name ExternalAuthoritative",
    }
    return [
        ClientClass(
            principal=principal,
            absent=reason,
            rights=rights_of(connector, principal),
            checked=principal is ANONYMOUS and is_protected(connector),
        )
        for principal, reason in absent.items()
    ]


def _partners(connector: ReceiveConnector) -> dict[Principal, str]:
    """Who may be known by a certificate: those of Domain Security, and each name with capabilities."""
    if not asks_for_certificate(connector):
        return {Principal(PrincipalKind.PARTNER): "no client is asked for a certificate"}
    found = {Principal(PrincipalKind.PARTNER): ""} if connector.domain_secure_enabled else {}
    for text in connector.tls_domain_capabilities:
        domain, _, capabilities = text.partition(":")
        if domain.upper() != "NO-TLS":
            found[Principal(PrincipalKind.PARTNER, domain.lower(), capabilities=capabilities_of(capabilities))] = ""
    return found


def class_sentence(connector: ReceiveConnector, one: ClientClass) -> str:
    """What a class of clients may do, in one sentence."""
    name = f" {one.principal.name}" if one.principal.name else ""
    who = f"{_WHO[one.principal.kind]}{name}"
    if one.absent:
        return f"{who}: none here, since {one.absent}"
    where = ", ".join(connector.remote_ip_ranges)
    return f"{who} from {where} {'; '.join(powers(one))}"


def powers(one: ClientClass) -> list[str]:
    """What it may do, the most important first."""
    rights = one.rights
    if Right.SUBMIT not in rights:
        return ["may not send"]
    found = ["may relay to anywhere" if one.may_relay else "may send to accepted domains only", _senders(one)]
    found.append(f"count as {'inside' if is_from_inside(rights, one.principal) else 'outside'}")
    if Right.BYPASS_MESSAGE_SIZE_LIMIT in rights:
        found.append("have no size limit")
    if Right.BYPASS_ANTI_SPAM in rights:
        found.append("pass by the anti-spam checks")
    if rights & {Right.ACCEPT_HEADERS_ORGANIZATION, Right.ACCEPT_HEADERS_FOREST}:
        found.append("may set the organization's own header fields")
    return found


def _senders(one: ClientClass) -> str:
    any_sender = Right.ACCEPT_ANY_SENDER in one.rights
    ours = Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER in one.rights
    if one.principal.kind is PrincipalKind.USER and not any_sender:
        return "send as their own addresses only"
    if any_sender and ours and one.checked:
        return "send as anybody, in the name of our own domains only what SPF, DKIM or an exception vouches for"
    if any_sender and ours:
        return "send as anybody, our own domains included"
    return "send as anybody outside of our domains"


def foreign_recipient(connector: ReceiveConnector, domains: Sequence[AcceptedDomain]) -> Mailbox:
    """A recipient outside of our domains, such that only the right to relay decides about it."""
    accepted = AcceptedDomains(domains)
    for domain in _FOREIGN:
        recipient = Mailbox("relay-test", domain)
        if (
            accepted.find(domain) is None
            and check_recipient(recipient, ALL_RIGHTS, connector, accepted, _NOBODY) is None
        ):
            return recipient
    return Mailbox("relay-test", _FOREIGN[0])


class _NoDirectory:
    """A directory that knows nobody: foreign recipients are never looked up."""

    def find(self, address: Mailbox) -> None:
        return None

    def find_by_name(self, name: str) -> None:
        return None

    def __len__(self) -> int:
        return 0


_NOBODY: Final = _NoDirectory()
