# SPDX-License-Identifier: MIT
"""Takes entries out of the queues for this process, and gives back those that a former process held.

Runs on the writer's connection within its transaction: what a lease returns is ACTIVE on disk.
"""

import sqlite3
from pathlib import Path
from typing import Final

from bridgehead.mail.content import Content
from bridgehead.mail.limits import INLINE_CONTENT_BYTES
from bridgehead.queues.database import for_ids
from bridgehead.queues.faults import is_damage
from bridgehead.queues.reading import contents_of
from bridgehead.queues.record import CONTENT_ID, ID, SIZE, ItemRow, entry_of
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, StoreUnreadable

_RECOVERY_SLICE: Final = 1_000
_REMOVAL_INTERRUPTED: Final = (
    "Removal was asked for while this message was being delivered, and the server stopped before that ended."
    " Remove it again or resume it."
)


def within(rows: list[ItemRow], max_bytes: int) -> list[ItemRow]:
    """As many of the rows, from the first, as keep their content in memory within `max_bytes`; at least one."""
    total = 0
    for count, row in enumerate(rows):
        total += row[SIZE] if row[SIZE] <= INLINE_CONTENT_BYTES else 0
        if total > max_bytes and count:
            return rows[:count]
    return rows


def take(connection: sqlite3.Connection, folder: Path, rows: list[ItemRow], epoch: int) -> list[QueuedItem]:
    """Make entries ACTIVE and load them; those that cannot be read go to Poison and are left out."""
    contents = _load(connection, folder, rows)
    taken: list[QueuedItem] = []
    unreadable: list[tuple[int, str]] = []
    for row in rows:
        try:
            content = contents[row[CONTENT_ID]]
            if isinstance(content, str):
                raise StoreUnreadable(content)
            entry = entry_of(row, content)
        except StoreUnreadable as error:
            unreadable.append((row[ID], str(error)))
            continue
        entry.status = MessageStatus.ACTIVE
        taken.append(entry)
    for key, reason in unreadable:
        _set_aside(connection, key, reason)
    for_ids(connection, "UPDATE item SET status = 1, epoch = ? WHERE id IN (ids)", (entry.id for entry in taken), epoch)
    return taken


def _load(connection: sqlite3.Connection, folder: Path, rows: list[ItemRow]) -> dict[int, Content | str]:
    """The rows' contents, one by one where a damaged page would otherwise take the others down with it."""
    try:
        return contents_of(connection, folder, (row[CONTENT_ID] for row in rows))
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
    contents: dict[int, Content | str] = {}
    for row in rows:
        try:
            contents.update(contents_of(connection, folder, [row[CONTENT_ID]]))
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            contents[row[CONTENT_ID]] = f"content {row[CONTENT_ID]} lies in a damaged part of the database: {error}"
    return contents


def _set_aside(connection: sqlite3.Connection, key: int, reason: str) -> None:
    connection.execute(
        "UPDATE item SET queue = ?, next_hop = '', status = ?, last_error = ? WHERE id = ?",
        (int(QueueKind.POISON), int(MessageStatus.SUSPENDED), reason, key),
    )


def give_back(connection: sqlite3.Connection, keys: list[int], epoch: int) -> None:
    """Undo leases whose caller went away before it learned of them."""
    for_ids(
        connection,
        "UPDATE item SET status = CASE WHEN due > 0 THEN 2 ELSE 0 END WHERE epoch = ? AND status = 1 AND id IN (ids)",
        keys,
        epoch,
    )


def recover_slice(connection: sqlite3.Connection, after: int, before: int, epoch: int, crashed: bool) -> int | None:
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
            "SELECT id FROM item WHERE id > ? AND id < ? ORDER BY id LIMIT ?", (after, before, _RECOVERY_SLICE)
        )
    ]
    if not ids:
        return None
    span = (ids[0], ids[-1], epoch)
    connection.execute(
        "UPDATE item SET in_doubt = (in_doubt OR queue = 1), crash_count = crash_count + ?,"
        " last_error = CASE status WHEN 5 THEN ? ELSE last_error END,"
        " status = CASE status WHEN 1 THEN 0 ELSE 3 END"
        " WHERE id BETWEEN ? AND ? AND status IN (1, 4, 5) AND epoch <> ?",
        (int(crashed), _REMOVAL_INTERRUPTED, *span),
    )
    return int(ids[-1])
