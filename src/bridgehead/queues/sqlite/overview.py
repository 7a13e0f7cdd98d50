# SPDX-License-Identifier: MIT
"""All queues in a few lines: how many messages wait where, the oldest, and the largest queues.

For numbers that are asked for again and again. SQLite adds up; what reaches Python is bounded however many queues
there are, but for the few bytes of each queue that is in Retry or suspended.
"""

import sqlite3

import msgspec

from bridgehead.queues.record import next_hop_of
from bridgehead.queues.store import (
    LargeQueue,
    QueueKind,
    QueueOverview,
    QueueStatus,
    QueueTotal,
)
from bridgehead.routing.next_hop import DeliveryType


class _Status(msgspec.Struct):
    """Of a stored `QueueState` only what is of use here."""

    status: QueueStatus = QueueStatus.ACTIVE


_decode_status = msgspec.msgpack.Decoder(_Status).decode
_encode = msgspec.json.Encoder().encode
_COUNTED = """\
SELECT queue, next_hop, 0 AS deferred, count(*) AS messages, min(received_at) AS oldest
FROM item INDEXED BY item_ready WHERE status = 0 GROUP BY queue, next_hop
UNION ALL SELECT queue, next_hop, 1, count(*), min(received_at)
FROM item INDEXED BY item_retry WHERE status = 2 GROUP BY queue, next_hop
UNION ALL SELECT queue, next_hop, 0, count(*), min(received_at)
FROM item NOT INDEXED WHERE status NOT IN (0, 2) GROUP BY queue, next_hop"""
"""What waits is read from its indexes, already in order; the rest, ACTIVE for the most part, is short."""
_TOTALS = f"""\
WITH counted AS MATERIALIZED ({_COUNTED}), known AS MATERIALIZED (SELECT key, value FROM json_each(?))
SELECT queue, iif(next_hop = '', 'Undefined', json_extract(next_hop, '$[0]')), ifnull(known.value, 0), deferred,
    count(DISTINCT next_hop), sum(messages), min(oldest)
FROM counted LEFT JOIN known ON known.key = next_hop GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""  # noqa: S608
_LARGEST = f"""\
SELECT next_hop, messages, oldest FROM (
    SELECT next_hop, sum(messages) AS messages, min(oldest) AS oldest,
        row_number() OVER (PARTITION BY json_extract(next_hop, '$[0]') ORDER BY sum(messages) DESC) AS place
    FROM ({_COUNTED}) WHERE queue = 1 GROUP BY next_hop
) ORDER BY place > 1, messages DESC, next_hop LIMIT ?"""  # noqa: S608
"""The largest of each delivery type is among them in any case."""


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
    largest.sort(key=lambda queue: -queue.messages)
    return QueueOverview(totals=totals, largest=largest)
