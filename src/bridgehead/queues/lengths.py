# SPDX-License-Identifier: MIT
"""Queue lengths as Exchange's performance counters define them (MSExchangeTransport Queues). Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

from bridgehead.queues.store import QueueKind, QueueOverview, QueueStatus, QueueTotal
from bridgehead.routing.next_hop import DeliveryType

PATHS: Final = {
    "remote": (DeliveryType.DNS_CONNECTOR, DeliveryType.SMART_HOST),
    "mailbox": (DeliveryType.MAILBOX,),
    "non_smtp": (DeliveryType.NON_SMTP_GATEWAY,),
}
"""Exchange's Remote, Mailbox and Non-Smtp delivery."""


class QueueLengths(msgspec.Struct, frozen=True, kw_only=True):
    """Lengths under the names of Exchange's counters; `active`, `retry` and `largest` by remote, mailbox, non_smtp."""

    submission: int
    aggregate: int
    unreachable: int
    poison: int
    active: dict[str, int]
    retry: dict[str, int]
    largest: dict[str, int]
    largest_of_all: int


def queue_lengths(overview: QueueOverview, in_memory: Mapping[DeliveryType, int]) -> QueueLengths:
    """What Exchange's queue counters would say."""
    by_kind = dict.fromkeys(QueueKind, 0)
    for total in overview.totals:
        by_kind[total.queue] += total.messages
    # What is on its way already counts where it is, not where its record still lies.
    early = sum(in_memory.values())
    delivery = [total for total in overview.totals if total.queue is QueueKind.DELIVERY]
    active = {
        name: sum(one.messages for one in delivery if one.delivery_type in types and not _waits(one))
        + sum(in_memory.get(kind, 0) for kind in types)
        for name, types in PATHS.items()
    }
    retry = {
        name: sum(one.messages for one in delivery if one.delivery_type in types and _waits(one))
        for name, types in PATHS.items()
    }
    largest = {
        name: max((one.messages for one in overview.largest if one.next_hop.delivery_type in types), default=0)
        for name, types in PATHS.items()
    }
    return QueueLengths(
        submission=max(0, by_kind[QueueKind.SUBMISSION] - early),
        aggregate=by_kind[QueueKind.DELIVERY] + early,
        unreachable=by_kind[QueueKind.UNREACHABLE],
        poison=by_kind[QueueKind.POISON],
        active=active,
        retry=retry,
        largest=largest,
        largest_of_all=max(largest.values()),
    )


def _waits(total: QueueTotal) -> bool:
    """Whether messages wait for a retry, their own or that of their queue."""
    return total.deferred or total.status is QueueStatus.RETRY
