# SPDX-License-Identifier: MIT
"""Who a session is and what it may do: principals, and rights by permission group (Exchange's PermissionGroups).

A session has the rights of exactly one principal. Groups are fixed tables, as in Exchange; `extended_rights` of a
connector add or deny single ones, and a denial wins. Nothing here looks at names, HELO or header fields.
"""

from collections.abc import Collection
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from bridgehead.mail.address import Mailbox, domain_key, parse_domain, parse_mailbox
from bridgehead.receive.settings import AuthMechanism, Grantee, PermissionGroup, ReceiveConnector, Right


class PrincipalKind(StrEnum):
    """Classes of principals; the values begin the `principal` of a MailItem."""

    ANONYMOUS = "anonymous"
    USER = "user"
    EXTERNALLY_SECURED = "externally-secured"
    PARTNER = "partner"
    DEVICE = "device"
    SYSTEM = "system"


_SEND_AS_THEMSELVES: Final = (PrincipalKind.USER, PrincipalKind.DEVICE)
"""Those who send as the addresses that are theirs or granted, and as nobody else."""


class Principal(msgspec.Struct, frozen=True):
    """As whom a session runs.

    Attributes:
        name: of the user, partner or device, "" for the others.
        addresses: keys (`Mailbox.key`) of the addresses that are its own.
        primary_address: the first of a user's own, as written.
        send_as: further ones it may send as: keys, "*@domain" for all of a domain, or "*".
        send_on_behalf: in whose name a user may write (From), while Sender shows the user's own address; as `send_as`.
        capabilities: what a partner's certificate entitles it to here (TlsDomainCapabilities).
        rights: what a device's settings give it.
    """

    kind: PrincipalKind
    name: str = ""
    addresses: frozenset[str] = frozenset()
    send_as: frozenset[str] = frozenset()
    send_on_behalf: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    rights: frozenset[Right] = frozenset()
    primary_address: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}" if self.name else self.kind.value

    def may_send_as(self, address: Mailbox) -> bool:
        """Whether the address is its own or granted. A name never matches by pattern, only a whole domain does."""
        return address.key in self.addresses or is_granted(address, self.send_as)

    def may_write_for(self, address: Mailbox) -> bool:
        """Whether the address may stand in From while Sender shows who really wrote."""
        return is_granted(address, self.send_on_behalf)

    @property
    def sends_as_itself(self) -> bool:
        """Whether it has addresses of its own, which bind it."""
        return self.kind in _SEND_AS_THEMSELVES


def is_granted(address: Mailbox, granted: Collection[str]) -> bool:
    """Whether an address is among grants: keys, "*@domain" for all of a domain, "*" for any."""
    return bool(granted) and (address.key in granted or f"*@{address.domain_key}" in granted or "*" in granted)


def grant_key(grant: str) -> str:
    """A grant as `is_granted` compares it. Raises AddressError."""
    if grant == "*":
        return grant
    if grant.startswith("*@"):
        return f"*@{domain_key(parse_domain(grant[2:]))}"
    return parse_mailbox(grant).key


ANONYMOUS: Final = Principal(PrincipalKind.ANONYMOUS)
EXTERNALLY_SECURED: Final = Principal(PrincipalKind.EXTERNALLY_SECURED)
SYSTEM: Final = Principal(PrincipalKind.SYSTEM)
"""The server itself: pickup, replay, reports."""

ALL_RIGHTS: Final = frozenset(Right)

_SERVER_RIGHTS = ALL_RIGHTS - {Right.ACCEPT_HEADERS_ORGANIZATION, Right.ACCEPT_HEADERS_FOREST}

GROUP_RIGHTS: Final[dict[PermissionGroup, dict[PrincipalKind, frozenset[Right]]]] = {
    PermissionGroup.NONE: {},
    PermissionGroup.ANONYMOUS_USERS: {
        PrincipalKind.ANONYMOUS: frozenset({
            Right.SUBMIT, Right.ACCEPT_ANY_SENDER, Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER,
            Right.ACCEPT_HEADERS_ROUTING,
        }),
    },
    PermissionGroup.EXCHANGE_USERS: {
        PrincipalKind.USER: frozenset({
            Right.SUBMIT, Right.ACCEPT_ANY_RECIPIENT, Right.BYPASS_ANTI_SPAM, Right.ACCEPT_HEADERS_ROUTING,
        }),
    },
    PermissionGroup.EXCHANGE_SERVERS: {PrincipalKind.EXTERNALLY_SECURED: _SERVER_RIGHTS},
    # Its principal, ExchangeLegacyInterop, exists within an Active Directory only; here the group grants nothing.
    PermissionGroup.EXCHANGE_LEGACY_SERVERS: {},
    PermissionGroup.PARTNERS: {
        PrincipalKind.PARTNER: frozenset({Right.SUBMIT, Right.ACCEPT_HEADERS_ROUTING}),
    },
    PermissionGroup.CUSTOM: {},
}  # fmt: skip

CAPABILITY_RIGHTS: Final[dict[str, frozenset[Right]]] = dict.fromkeys(
    ("AcceptCloudServicesMail", "AcceptOorgProtocol"),
    frozenset({
        Right.SUBMIT, Right.ACCEPT_AUTHENTICATION_FLAG, Right.ACCEPT_HEADERS_ROUTING, Right.ACCEPT_HEADERS_ORGANIZATION,
    }),
)  # fmt: skip
"""What a capability of TlsDomainCapabilities adds: mail of the cloud half of an organization counts as from inside."""

_KIND_OF: Final = {
    Grantee.ANONYMOUS: PrincipalKind.ANONYMOUS,
    Grantee.AUTHENTICATED_USERS: PrincipalKind.USER,
    Grantee.EXTERNALLY_SECURED: PrincipalKind.EXTERNALLY_SECURED,
    Grantee.PARTNERS: PrincipalKind.PARTNER,
}

EFFECT_IF_MISSING: Final = {
    Right.SUBMIT: "MAIL and AUTH are refused",
    Right.ACCEPT_ANY_RECIPIENT: "only recipients in accepted domains; others get 550 5.7.1 Unable to relay",
    Right.ACCEPT_ANY_SENDER: "a login sends only as its own addresses, others only as strangers to our domains",
    Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER: "senders in authoritative domains are refused, but for a login's own",
    Right.ACCEPT_AUTHENTICATION_FLAG: "messages count as coming from outside, except those of a login",
    Right.ACCEPT_HEADERS_ROUTING: "Received and Resent-* header fields are removed",
    Right.ACCEPT_HEADERS_ORGANIZATION: "X-MS-Exchange-Organization-* header fields are removed",
    Right.ACCEPT_HEADERS_FOREST: "X-MS-Exchange-Forest-* header fields are removed",
    Right.BYPASS_ANTI_SPAM: "messages pass the anti-spam checks",
    Right.BYPASS_MESSAGE_SIZE_LIMIT: "max_message_size applies",
}


class RightState(NamedTuple):
    """One right of one principal: held or not, by what, and the effect where it is missing."""

    right: Right
    held: bool
    reason: str


def session_principal(connector: ReceiveConnector) -> Principal:
    """As whom a session begins: externally secured where the connector says so, else anonymous."""
    if AuthMechanism.EXTERNAL_AUTHORITATIVE in connector.auth_mechanism:
        return EXTERNALLY_SECURED
    return ANONYMOUS


def rights_of(connector: ReceiveConnector, principal: Principal) -> frozenset[Right]:
    """The rights of a principal on a connector. Worked out once when a session begins and once after a login."""
    if principal.kind is PrincipalKind.SYSTEM:
        return ALL_RIGHTS
    if principal.kind is PrincipalKind.DEVICE:
        return principal.rights
    rights: frozenset[Right] = frozenset()
    for group in connector.permission_groups:
        rights |= GROUP_RIGHTS[group].get(principal.kind, frozenset())
    mine = [extended for extended in connector.extended_rights if _KIND_OF[extended.principal] is principal.kind]
    for capability in principal.capabilities:
        rights |= CAPABILITY_RIGHTS[capability]
    for extended in mine:
        rights |= frozenset(extended.grant)
    for extended in mine:
        rights -= frozenset(extended.deny)
    return rights


def capabilities_of(text: str) -> frozenset[str]:
    """The capabilities of one domain, "AcceptCloudServicesMail,…". Raises ValueError for one that is unknown."""
    found = frozenset(one.strip() for one in text.split(",") if one.strip())
    if unknown := found - CAPABILITY_RIGHTS.keys():
        raise ValueError(f"{sorted(unknown)[0]!r} is no capability; known: {', '.join(CAPABILITY_RIGHTS)}")
    return found


def is_from_inside(rights: frozenset[Right], principal: Principal) -> bool:
    """Whether a message counts as authenticated: Accept-Authentication-Flag, or a login that sent it."""
    return principal.kind is PrincipalKind.USER or Right.ACCEPT_AUTHENTICATION_FLAG in rights


def explain(connector: ReceiveConnector, principal: Principal) -> list[RightState]:
    """Every right there is: what grants it to this principal, or what its absence means."""
    held = rights_of(connector, principal)
    return [RightState(right, right in held, _reason(connector, principal, right, right in held)) for right in Right]


def _reason(connector: ReceiveConnector, principal: Principal, right: Right, held: bool) -> str:
    mine = [extended for extended in connector.extended_rights if _KIND_OF[extended.principal] is principal.kind]
    if held:
        if principal.kind is PrincipalKind.SYSTEM:
            return "the server itself has every right"
        if principal.kind is PrincipalKind.DEVICE:
            return f'given by the settings of the device "{principal.name}"'
        for group in connector.permission_groups:
            if right in GROUP_RIGHTS[group].get(principal.kind, ()):
                return f"granted by permission group {group.value}"
        return "granted by extended_rights"
    effect = EFFECT_IF_MISSING[right]
    if any(right in extended.deny for extended in mine):
        return f"denied by extended_rights: {effect}"
    return f"not granted: {effect}"
