# SPDX-License-Identifier: MIT
"""Takes entries out of the queues for this process, and gives back those that a former process held.

Runs on the writer's connection within its transaction: what a lease returns is ACTIVE on disk.
"""

import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.mail.content import Content
from bridgehead.mail.limits import INLINE_CONTENT_BYTES
from bridgehead.queues.fairness import Turns, sender_of
from bridgehead.queues.record import (
    CONTENT_ID,
    ID,
    ITEM_COLUMNS,
    LANE,
    NEXT_HOP,
    QUEUE,
    SIZE,
    ItemRow,
    entry_of,
    entry_without_record,
)
from bridgehead.queues.sqlite.faults import ContentDamaged, is_damage
from bridgehead.queues.sqlite.reading import contents_of
from bridgehead.queues.sqlite.statements import for_ids
from bridgehead.queues.states import Event, next_status
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, StoreUnreadable

log = logging.getLogger("bridgehead.queues")

SLICE: Final = 1_000
"""Entries changed at a time by what goes over the whole store, so that commits do not wait long for it."""
_AFTER_RESTART: Final = "CASE status{} END".format(
    "".join(
        f" WHEN {status:d} THEN {next_status(status, Event.RESTART):d}"
        for status in (MessageStatus.ACTIVE, MessageStatus.PENDING_SUSPEND, MessageStatus.PENDING_REMOVE)
    )
)
_REMOVAL_INTERRUPTED: Final = (
    "Removal was asked for while this message was being delivered, and the server stopped before that ended."
    " Remove it again or resume it."
)


class Taken(msgspec.Struct):
    """What a lease gave: entries ACTIVE with their content, and what was set aside, as far as it can be read."""

    entries: list[QueuedItem]
    aside: list[QueuedItem]


def within(rows: list[ItemRow], max_bytes: int) -> list[ItemRow]:
    """As many of the rows, from the first, as keep their content in memory within `max_bytes`; at least one."""
    total = 0
    for count, row in enumerate(rows):
        total += row[SIZE] if row[SIZE] <= INLINE_CONTENT_BYTES else 0
        if total > max_bytes and count:
            return rows[:count]
    return rows


def take(
    connection: sqlite3.Connection, folder: Path, rows: list[ItemRow], epoch: int, damaged: Mapping[int, str]
) -> Taken:
    """Make entries ACTIVE and load them; those that cannot be read go to Poison.

    Args:
        damaged: contents not even to be tried, and why.

    Raises ContentDamaged where others turn out to be damaged as well.
    """
    contents = _load(connection, folder, [row[CONTENT_ID] for row in rows if row[CONTENT_ID] not in damaged])
    taken: list[QueuedItem] = []
    aside: list[QueuedItem] = []
    for row in rows:
        try:
            content = damaged.get(row[CONTENT_ID]) or contents[row[CONTENT_ID]]
            if isinstance(content, str):
                raise StoreUnreadable(content)
            entry = entry_of(row, content)
        except StoreUnreadable as error:
            aside.append(_set_aside(connection, row, str(error)))
            continue
        entry.status = MessageStatus.ACTIVE
        taken.append(entry)
    for_ids(connection, "UPDATE item SET status = 1, epoch = ? WHERE id IN (ids)", (entry.id for entry in taken), epoch)
    return Taken(taken, aside)


def _load(connection: sqlite3.Connection, folder: Path, contents: list[int]) -> dict[int, Content | str]:
    try:
        return contents_of(connection, folder, contents)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise ContentDamaged(contents, error) from error
        raise


def _set_aside(connection: sqlite3.Connection, row: ItemRow, reason: str) -> QueuedItem:
    """Move an entry to Poison; what of it can be read."""
    log.error("message %d cannot be read and was set aside in the Poison queue: %s", row[ID], reason)
    connection.execute(
        "UPDATE item SET queue = ?, next_hop = '', status = ?, last_error = ? WHERE id = ?",
        (int(QueueKind.POISON), int(MessageStatus.SUSPENDED), reason, row[ID]),
    )
    try:
        entry = entry_of(row)
    except StoreUnreadable:
        # Its columns may be damaged as well.
        entry = entry_without_record((*row[:1], int(QueueKind.POISON), "", int(MessageStatus.SUSPENDED), *row[4:]))
    entry.queue, entry.next_hop, entry.status = QueueKind.POISON, None, MessageStatus.SUSPENDED
    entry.last_error = reason
    return entry


def give_back(connection: sqlite3.Connection, keys: list[int], epoch: int) -> None:
    """Undo leases whose caller went away before it learned of them."""
    for_ids(
        connection,
        "UPDATE item SET status = CASE WHEN due > 0 THEN 2 ELSE 0 END WHERE epoch = ? AND status = 1 AND id IN (ids)",
        keys,
        epoch,
    )


def due_after(connection: sqlite3.Connection, later_than: float) -> list[int]:
    """Entries in RETRY whose time is later than that; read from the index alone."""
    rows = connection.execute("SELECT id FROM item INDEXED BY item_retry WHERE status = 2 AND due > ?", (later_than,))
    return [row[0] for row in rows]


def bring_forward(connection: sqlite3.Connection, keys: list[int], later_than: float, seconds: float) -> None:
    """Make those of the entries that still are in RETRY with due > `later_than` due that much earlier."""
    for_ids(
        connection,
        "UPDATE item SET due = max(0.0, due - ?) WHERE status = 2 AND due > ? AND id IN (ids)",
        keys,
        seconds,
        later_than,
    )


def recover_slice(
    connection: sqlite3.Connection, after: int, before: int, epoch: int, crashed: bool, turns: Turns
) -> int | None:
    """Give back what former processes held, among the next entries with `after` < id < `before`.

    Args:
        epoch: of this process, whose own leases are left alone.
        crashed: the former process did not end in order, so what it held counts a crash.

    Returns:
        the last id looked at; None when there was nothing more to look at.
    """
    ids = [
        row[0]
        for row in connection.execute(
            "SELECT id FROM item WHERE id > ? AND id < ? ORDER BY id LIMIT ?", (after, before, SLICE)
        )
    ]
    if not ids:
        return None
    span = (ids[0], ids[-1], epoch)
    _give_turns(connection, span, turns)
    connection.execute(
        "UPDATE item SET in_doubt = (in_doubt OR queue IN (0, 1)), crash_count = crash_count + ?,"  # noqa: S608
        " last_error = CASE status WHEN 5 THEN ? ELSE last_error END,"
        f" status = {_AFTER_RESTART}"
        " WHERE id BETWEEN ? AND ? AND status IN (1, 4, 5) AND epoch <> ?",
        (int(crashed), _REMOVAL_INTERRUPTED, *span),
    )
    turns.look_again()
    return int(ids[-1])


def _give_turns(connection: sqlite3.Connection, span: tuple[int, int, int], turns: Turns) -> None:
    """Turns for entries that never waited until now."""
    rows = connection.execute(
        f"SELECT {ITEM_COLUMNS} FROM item WHERE id BETWEEN ? AND ? AND status = 1 AND turn = 0 AND epoch <> ?",  # noqa: S608
        span,
    ).fetchall()
    places = []
    for row in rows:
        try:
            sender = sender_of(entry_of(row).item)
        except StoreUnreadable:
            sender = ""
        places.append((turns.place((row[QUEUE], row[NEXT_HOP], row[LANE]), sender, row[ID]), row[ID]))
    connection.executemany("UPDATE item SET turn = ? WHERE id = ?", places)
