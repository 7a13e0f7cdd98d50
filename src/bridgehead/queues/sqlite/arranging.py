# SPDX-License-Identifier: MIT
"""Gives lanes and turns to what waited in a queue database of schema 1, which had none.

Part of the one transaction that brings the database to schema 2: an upgrade that is interrupted begins anew.
"""

import sqlite3
from collections.abc import Callable
from typing import Final

from bridgehead.queues.fairness import Turns, Weights, lane_of, sender_of
from bridgehead.queues.record import item_of
from bridgehead.queues.sqlite.statements import Row, for_ids
from bridgehead.queues.store import MessageStatus, StoreUnreadable

_SLICE: Final = 1_000
_COLUMNS: Final = "SELECT id, queue, next_hop, status, priority, retry_count, record FROM item WHERE id IN (ids)"


def arrange_waiting(connection: sqlite3.Connection) -> None:
    """In order of age, as the entries were to leave. Damaged ones count as one sender's; their lease sets them aside.

    Raises sqlite3.Error.
    """
    turns = Turns(lambda lane: None, Weights({}))
    # The order is known before the first entry changes; only ids are sorted, however many wait.
    by_age = connection.execute("SELECT id FROM item WHERE status IN (0, 1, 2) ORDER BY received_at, id")
    while part := by_age.fetchmany(_SLICE):
        rows = for_ids(connection, _COLUMNS, [row[0] for row in part])
        places = []
        for number, queue, next_hop, status, priority, retry_count, record in sorted(rows, key=_places(part)):
            lane = lane_of(priority, retry_count)
            waits = status != int(MessageStatus.ACTIVE)
            turn = turns.place((queue, next_hop, lane), _sender(record), number) if waits else 0
            places.append((lane, turn, number))
        connection.executemany("UPDATE item SET lane = ?, turn = ? WHERE id = ?", places)


def _places(part: list[Row]) -> Callable[[Row], int]:
    order = {row[0]: place for place, row in enumerate(part)}
    return lambda row: order[row[0]]


def _sender(record: object) -> str:
    try:
        return sender_of(item_of(record))
    except StoreUnreadable:
        return ""
