# SPDX-License-Identifier: MIT
"""Restrictions that a recipient or group has on who may write to it, and how much.

Checked in this order: size, authenticated senders only, accept list, reject list. A list is compared in two passes:
the sender itself first, then the groups in the list, as deep as they are nested. Reports of ours are exempt.
Comparing with lists pauses after each look-up, since there may be very many.
"""

from collections.abc import Generator

from bridgehead.categorizer.refusals import AUTHENTICATION_REQUIRED, NOT_AUTHORIZED, TOO_LARGE_FOR_RECIPIENT
from bridgehead.directory.lookup import Directory
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.mail.address import Mailbox
from bridgehead.mail.delivery_status import DeliveryStatus
from bridgehead.mail.item import MailItem
from bridgehead.mail.limits import EXPANDED_RECIPIENTS

SYSTEM_PRINCIPAL = "system"


Check = Generator[None, None, DeliveryStatus | None]


def refusal(found: Recipient, item: MailItem) -> DeliveryStatus | None:
    """Why this recipient does not take this message whoever wrote it, None where it does."""
    if item.is_dsn or item.principal == SYSTEM_PRINCIPAL:
        return None
    if item.size > found.max_receive_size:
        return TOO_LARGE_FOR_RECIPIENT
    if found.require_sender_authentication and not item.authenticated:
        return AUTHENTICATION_REQUIRED
    return None


def listed_refusal(found: Recipient, item: MailItem, directory: Directory) -> Check:
    """Why this recipient does not take this message, its lists included. Raises DirectoryUnavailable."""
    if item.is_dsn or item.principal == SYSTEM_PRINCIPAL:
        return None
    if (reason := refusal(found, item)) is not None:
        return reason
    accepted, rejected = found.accept_messages_only_from, found.reject_messages_from
    if accepted or rejected:
        names = sender_names(item.envelope.reverse_path, directory)
        if accepted and not (yield from _is_listed(names, accepted, directory)):
            return NOT_AUTHORIZED
        if rejected and (yield from _is_listed(names, rejected, directory)):
            return NOT_AUTHORIZED
    return None


def sender_names(sender: Mailbox, directory: Directory) -> set[str]:
    """Every name and address, case-folded, under which a list may mean this sender."""
    names = {sender.key}
    if not sender.is_null and (found := directory.find(sender)):
        names.add(found.name.casefold())
        names.add(found.primary_smtp_address.key)
        names.update(address.key for address in found.email_addresses)
    return names


def _is_listed(names: set[str], entries: tuple[str, ...], directory: Directory) -> Generator[None, None, bool]:
    """True where one of the sender's names is in the list, or in a group that is."""
    if any(entry.strip().casefold() in names for entry in entries):
        return True
    visited: set[str] = set()
    groups = list(entries)
    while groups and len(visited) < EXPANDED_RECIPIENTS:
        entry = groups.pop()
        found = directory.find_by_name(entry)
        yield
        if found is None or found.name in visited:
            continue
        visited.add(found.name)
        if found.name.casefold() in names or found.primary_smtp_address.key in names:
            return True
        if found.type is RecipientType.GROUP:
            if any(member.strip().casefold() in names for member in found.members):
                return True
            groups.extend(found.members)
    return False
