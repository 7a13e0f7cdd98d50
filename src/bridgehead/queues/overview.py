# SPDX-License-Identifier: MIT
"""All queues in a few lines: how many messages wait where, the oldest, and the largest queues.

For numbers that are asked for again and again. SQLite adds up; what reaches Python is bounded however many queues
there are, but for the few bytes of each queue that is in Retry or suspended.
"""

import sqlite3
from collections.abc import Iterable

import msgspec

from bridgehead.queues.record import next_hop_of
from bridgehead.queues.store import MessageStatus, QueueKind, QueueStatus, QueueSummary
from bridgehead.routing.next_hop import DeliveryType, NextHop


class QueueTotal(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that have all of this in common.

    Attributes:
        status: of their queues.
        deferred: they are in Retry themselves, each for its own reason.
        queues: how many queues hold them.
        oldest_received: Unix time.
    """

    queue: QueueKind
    delivery_type: DeliveryType
    status: QueueStatus
    deferred: bool
    queues: int
    messages: int
    oldest_received: float


class LargeQueue(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery queue."""

    next_hop: NextHop
    status: QueueStatus
    messages: int
    oldest_received: float


class QueueOverview(msgspec.Struct, frozen=True, kw_only=True):
    """All queues.

    Attributes:
        totals: every message is in exactly one of them.
        largest: delivery queues with most messages, the largest first.
    """

    totals: list[QueueTotal] = []
    largest: list[LargeQueue] = []


class _Status(msgspec.Struct):
    """Of a stored `QueueState` only what is of use here."""

    status: QueueStatus = QueueStatus.ACTIVE


_decode_status = msgspec.msgpack.Decoder(_Status).decode
_encode = msgspec.json.Encoder().encode
_TOTALS = """\
WITH counted AS MATERIALIZED (
    SELECT queue, next_hop, status = 2 AS deferred, count(*) AS messages, min(received_at) AS oldest
    FROM item GROUP BY queue, next_hop, deferred
), known AS MATERIALIZED (SELECT key, value FROM json_each(?))
SELECT queue, iif(next_hop = '', 'Undefined', json_extract(next_hop, '$[0]')), ifnull(known.value, 0), deferred,
    count(*), sum(messages), min(oldest)
FROM counted LEFT JOIN known ON known.key = next_hop GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""
_LARGEST = """\
SELECT next_hop, count(*), min(received_at) FROM item WHERE queue = 1
GROUP BY next_hop ORDER BY 2 DESC, 1 LIMIT ?"""


def overview(connection: sqlite3.Connection, limit: int) -> QueueOverview:
    """Add up what the database holds; the `limit` largest delivery queues one by one."""
    states = connection.execute("SELECT next_hop, record FROM queue_state WHERE queue = 1").fetchall()
    statuses = {key: int(_decode_status(record).status) for key, record in states}
    totals = [
        QueueTotal(
            queue=QueueKind(queue), delivery_type=DeliveryType(kind), status=QueueStatus(status),
            deferred=bool(deferred), queues=queues, messages=messages, oldest_received=oldest,
        )
        for queue, kind, status, deferred, queues, messages, oldest in connection.execute(_TOTALS, (_encode(statuses),))
    ]  # fmt: skip
    largest = []
    for key, messages, oldest in connection.execute(_LARGEST, (limit,)):
        next_hop = next_hop_of(key)
        assert next_hop is not None
        status = QueueStatus(statuses.get(key, 0))
        largest.append(LargeQueue(next_hop=next_hop, status=status, messages=messages, oldest_received=oldest))
    return QueueOverview(totals=totals, largest=largest)


def overview_of(summaries: Iterable[QueueSummary], limit: int) -> QueueOverview:
    """The same, of queues that are known one by one; of a queue's messages the oldest counts for all."""
    totals: dict[tuple[QueueKind, DeliveryType, QueueStatus, bool], QueueTotal] = {}
    largest = []
    for one in summaries:
        state = one.state
        kind = state.next_hop.delivery_type if state.next_hop is not None else DeliveryType.UNDEFINED
        deferred = one.counts_by_status.get(MessageStatus.RETRY, 0)
        for is_deferred, messages in ((False, one.message_count - deferred), (True, deferred)):
            if not messages:
                continue
            key = (state.queue, kind, state.status, is_deferred)
            former = totals.get(key)
            totals[key] = QueueTotal(
                queue=state.queue, delivery_type=kind, status=state.status, deferred=is_deferred,
                queues=1 + (former.queues if former else 0), messages=messages + (former.messages if former else 0),
                oldest_received=min(one.oldest_received, former.oldest_received if former else one.oldest_received),
            )  # fmt: skip
        if state.queue is QueueKind.DELIVERY and state.next_hop is not None and one.message_count:
            largest.append(
                LargeQueue(
                    next_hop=state.next_hop, status=state.status, messages=one.message_count,
                    oldest_received=one.oldest_received,
                )
            )  # fmt: skip
    largest.sort(key=lambda queue: (-queue.messages, queue.next_hop))
    return QueueOverview(totals=[totals[key] for key in sorted(totals)], largest=largest[:limit])
