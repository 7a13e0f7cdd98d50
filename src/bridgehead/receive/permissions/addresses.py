# SPDX-License-Identifier: MIT
"""Whether a sender and a recipient are accepted: decisions at MAIL, RCPT and on the From field (pure).

Relaying is decided by rights alone, which follow from connector and login; never by HELO, names in DNS or the sender's
address. Addresses arrive parsed: the last @ outside quotes parted local part and domain, source routes are gone,
and no local part is ever taken apart again, so `user%other@ours` and `"user@other"@ours` are local parts of ours.
"""

from typing import Final, Protocol

from bridgehead.directory.lookup import Directory, DirectoryUnavailable
from bridgehead.mail.address import AddressError, Mailbox, parse_mailbox
from bridgehead.mail.author import Author, FromFault
from bridgehead.mail.header import HeaderBlock, first_address
from bridgehead.mail.reply import Reply
from bridgehead.receive.permissions.rights import Principal, PrincipalKind
from bridgehead.receive.settings import ReceiveConnector, Right
from bridgehead.routing.settings import AcceptedDomain, DomainType
from bridgehead.smtp import replies

_RESERVED_TOP_LEVEL: Final = (".test", ".example", ".invalid", ".localhost")
_RESERVED_SECOND_LEVEL: Final = frozenset({"example.com", "example.net", "example.org"})
_ROUTING_CHARACTERS: Final = "@%!"
"""With these, older servers behind us would read a second address in a local part."""


class AcceptedDomains(Protocol):
    """What is asked about the domains we accept mail for."""

    def find(self, domain_key: str) -> AcceptedDomain | None:
        """The accepted domain that a domain (A-labels, lower case) belongs to."""

    @property
    def default_name(self) -> str:
        """The default accepted domain, "" where there is none."""


def with_domain(address: Mailbox, default_domain: str) -> Mailbox:
    """A bare address (`<postmaster>`) completed with DefaultDomain; others and the null reverse-path unchanged."""
    if address.domain or not address.local_part or not default_domain:
        return address
    return Mailbox(address.local_part, default_domain)


def check_sender(
    reverse_path: Mailbox, rights: frozenset[Right], principal: Principal, accepted: AcceptedDomains
) -> Reply | None:  # fmt: skip
    """The reply that refuses a reverse-path, None where MAIL may go on.

    The null reverse-path is nobody's address, so it meets only the right to submit (RFC 5321 §4.5.5).
    """
    if Right.SUBMIT not in rights:
        anonymous = principal.kind is PrincipalKind.ANONYMOUS
        return replies.NOT_AUTHENTICATED if anonymous else replies.SUBMIT_DENIED
    if reverse_path.is_null:
        return None
    return _check_identity(reverse_path, rights, principal, accepted)


def _check_identity(
    sender: Mailbox, rights: frozenset[Right], principal: Principal, accepted: AcceptedDomains
) -> Reply | None:  # fmt: skip
    any_sender = Right.ACCEPT_ANY_SENDER in rights
    if any_sender and Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER in rights:
        return None
    if principal.sends_as_itself:
        if principal.may_send_as(sender):
            return None
        if not any_sender:
            return replies.SEND_AS_DENIED
    domain = accepted.find(sender.domain_key)
    if domain is None:
        return None
    if domain.domain_type is DomainType.AUTHORITATIVE and Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER not in rights:
        return replies.SENDER_DOMAIN_DENIED
    return None if any_sender else replies.SEND_AS_DENIED


def check_header_from(
    header: HeaderBlock, author: Author, rights: frozenset[Right], principal: Principal
) -> Reply | None:  # fmt: skip
    """The reply that refuses a login's message whose From or Sender is not its own, None otherwise.

    Without it a login could sign as anybody in what people read. Every author that some reader could see must be the
    login's own, or one on whose behalf it may write; then Sender must be its own in the strict sense, and where it is
    missing it will be added (RFC 5322 §3.6.2). A message without From passes.
    """
    if principal.kind is not PrincipalKind.USER or Right.ACCEPT_ANY_SENDER in rights:
        return None
    if not author.addresses and FromFault.MISSING not in author.faults:
        return replies.SEND_AS_DENIED
    others = [address for address in author.addresses if not principal.may_send_as(address)]
    if not all(principal.may_write_for(address) for address in others):
        return replies.SEND_AS_DENIED
    if others and (set(author.faults) - {FromFault.SEVERAL_AUTHORS} or not principal.addresses):
        return replies.SEND_AS_DENIED
    senders = list(header.raw_values(b"sender"))
    if others and len(senders) > 1:
        return replies.SEND_AS_DENIED
    for value in senders:
        try:
            address = parse_mailbox(first_address(value))
        except AddressError:
            return replies.SEND_AS_DENIED
        if not principal.may_send_as(address) or (others and address.key not in principal.addresses):
            return replies.SEND_AS_DENIED
    return None


def own_address(principal: Principal, reverse_path: Mailbox) -> Mailbox | None:
    """The login's own address that shows who wrote: that of MAIL where it is one of its own, else its first."""
    if reverse_path.key in principal.addresses:
        return reverse_path
    return parse_mailbox(principal.primary_address) if principal.primary_address else None


def check_recipient(
    forward_path: Mailbox, rights: frozenset[Right], connector: ReceiveConnector, accepted: AcceptedDomains,
    directory: Directory,
) -> Reply | None:  # fmt: skip
    """The reply that refuses a forward-path, None where RCPT may go on. Give it completed (`with_domain`)."""
    domain_key = forward_path.domain_key
    if not domain_key:
        # Only <postmaster> comes without a domain; it must be accepted (RFC 5321 §4.5.1).
        return None if forward_path.local_part.lower() == "postmaster" else replies.DOMAIN_REQUIRED
    domain = accepted.find(domain_key)
    if domain is None:
        return _check_domain(domain_key, connector) or _check_relay(rights)
    if domain.domain_type is not DomainType.AUTHORITATIVE:
        return _check_passed_on(forward_path, rights, directory)
    if not connector.reject_unknown_recipients or forward_path.local_part.lower() == "postmaster":
        return None
    try:
        return None if directory.find(forward_path) is not None else replies.USER_UNKNOWN
    except DirectoryUnavailable:
        return replies.DIRECTORY_UNAVAILABLE


def _check_relay(rights: frozenset[Right]) -> Reply | None:
    return None if Right.ACCEPT_ANY_RECIPIENT in rights else replies.UNABLE_TO_RELAY


def _check_domain(domain_key: str, connector: ReceiveConnector) -> Reply | None:
    """RejectReserved…RecipientDomains and RejectSingleLabelRecipientDomains, for domains that are not ours."""
    if domain_key.startswith("["):
        return None
    if connector.reject_reserved_top_level_recipient_domains and f".{domain_key}".endswith(_RESERVED_TOP_LEVEL):
        return replies.RESERVED_TOP_LEVEL_DOMAIN
    if connector.reject_reserved_second_level_recipient_domains:
        second_level = ".".join(domain_key.rsplit(".", 2)[-2:])
        if second_level in _RESERVED_SECOND_LEVEL:
            return replies.RESERVED_SECOND_LEVEL_DOMAIN
    if connector.reject_single_label_recipient_domains and "." not in domain_key:
        return replies.SINGLE_LABEL_DOMAIN
    return None


def _check_passed_on(forward_path: Mailbox, rights: frozenset[Right], directory: Directory) -> Reply | None:
    """A recipient of a relay domain: an unknown one is passed on, unless the next server might relay it further."""
    if Right.ACCEPT_ANY_RECIPIENT in rights or not any(sign in forward_path.local_part for sign in _ROUTING_CHARACTERS):
        return None
    try:
        return None if directory.find(forward_path) is not None else replies.UNABLE_TO_RELAY
    except DirectoryUnavailable:
        return replies.DIRECTORY_UNAVAILABLE
