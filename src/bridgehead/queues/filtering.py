# SPDX-License-Identifier: MIT
"""Which entries a listing wants: `ItemFilter` as a predicate. Pure."""

import re
from collections.abc import Callable

from bridgehead.queues.store import ItemFilter, QueuedItem

Predicate = Callable[[QueuedItem], bool]


def predicate(wanted: ItemFilter) -> Predicate:
    """True for entries of which every given part of the filter holds. `<>` as sender means the null reverse-path."""
    checks: list[Predicate] = [*_exact(wanted)]
    if wanted.network_message_id:
        checks.append(_text(wanted.network_message_id, lambda entry: [entry.item.network_message_id]))
    if wanted.message_id:
        checks.append(_text(wanted.message_id, lambda entry: [entry.item.message_id]))
    if wanted.sender:
        checks.append(_text(wanted.sender, lambda entry: [str(entry.item.envelope.reverse_path) or "<>"]))
    if wanted.recipient:
        checks.append(_text(wanted.recipient, lambda entry: entry.item.envelope.recipient_addresses()))
    if wanted.subject:
        checks.append(_text(wanted.subject, lambda entry: [entry.item.subject]))
    return lambda entry: all(check(entry) for check in checks)


def _exact(wanted: ItemFilter) -> list[Predicate]:
    checks: list[Predicate] = []
    if wanted.queue is not None:
        checks.append(lambda entry: entry.queue == wanted.queue)
    if wanted.next_hop is not None:
        checks.append(lambda entry: entry.next_hop == wanted.next_hop)
    if wanted.status is not None:
        checks.append(lambda entry: entry.status == wanted.status)
    if wanted.internal_message_id is not None:
        checks.append(lambda entry: entry.id == wanted.internal_message_id)
    return checks


def _text(pattern: str, values: Callable[[QueuedItem], list[str]]) -> Predicate:
    """`*` stands for any text; the comparison ignores case."""
    parts = [re.escape(part) for part in pattern.split("*")]
    found = re.compile(".*".join(parts), re.IGNORECASE | re.DOTALL).fullmatch
    return lambda entry: any(found(value) for value in values(entry))
