# SPDX-License-Identifier: MIT
"""All queues in a few lines, from entries one by one: for a store in memory. Pure."""

from collections.abc import Iterable, Mapping

from bridgehead.queues.record import next_hop_key
from bridgehead.queues.store import (
    LargeQueue,
    MessageStatus,
    QueuedItem,
    QueueKind,
    QueueOverview,
    QueueStatus,
    QueueTotal,
)
from bridgehead.routing.next_hop import DeliveryType, NextHop


def overview_of(
    entries: Iterable[QueuedItem], statuses: Mapping[tuple[QueueKind, NextHop | None], QueueStatus], limit: int
) -> QueueOverview:
    """How many messages wait where, the oldest, and the `limit` largest delivery queues."""
    groups: dict[tuple[QueueKind, DeliveryType, QueueStatus, bool], list[QueuedItem]] = {}
    hops: dict[NextHop, list[QueuedItem]] = {}
    for entry in entries:
        hop = entry.next_hop
        status = statuses.get((entry.queue, hop), QueueStatus.ACTIVE)
        kind = hop.delivery_type if hop is not None else DeliveryType.UNDEFINED
        groups.setdefault((entry.queue, kind, status, entry.status is MessageStatus.RETRY), []).append(entry)
        if hop is not None:
            hops.setdefault(hop, []).append(entry)
    totals = [
        QueueTotal(
            queue=queue, delivery_type=kind, status=status, deferred=deferred,
            queues=len({entry.next_hop for entry in group}), messages=len(group), oldest_received=_oldest(group),
        )
        for (queue, kind, status, deferred), group in sorted(groups.items(), key=lambda pair: pair[0])
    ]  # fmt: skip
    largest = [
        LargeQueue(
            next_hop=hop, status=statuses.get((QueueKind.DELIVERY, hop), QueueStatus.ACTIVE), messages=len(group),
            oldest_received=_oldest(group),
        )
        for hop, group in sorted(hops.items(), key=lambda pair: (-len(pair[1]), next_hop_key(pair[0])))
    ]  # fmt: skip
    return QueueOverview(totals=totals, largest=largest[:limit])


def _oldest(entries: list[QueuedItem]) -> float:
    return min(entry.item.received_at for entry in entries)
