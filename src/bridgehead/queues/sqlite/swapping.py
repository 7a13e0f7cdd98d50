# SPDX-License-Identifier: MIT
"""Administrators' changes on the writer's connection: what swaps compare with, notes, and listings in steps.

A swap (`queues/swaps.py`) is settled within the transaction that the writer has open, so nobody can lease, deliver or
change an entry in between. Notes live in a table of their own, which messages never touch.
"""

import sqlite3
from collections.abc import Callable, Iterable
from typing import Final

from bridgehead.queues.filtering import predicate
from bridgehead.queues.record import ID, ITEM_COLUMNS, ItemRow
from bridgehead.queues.sqlite.reading import conditions, shown
from bridgehead.queues.sqlite.statements import for_ids
from bridgehead.queues.store import ItemFilter, Note, Page, QueuedItem

PAGE_STEP: Final = 400
"""Entries that one step of a page looks at: a few milliseconds of the interpreter."""

_ROWS: Final = f"SELECT {ITEM_COLUMNS} FROM item WHERE id IN (ids)"  # noqa: S608


def rows_of(connection: sqlite3.Connection, ids: Iterable[int]) -> dict[int, ItemRow]:
    """Rows by id."""
    return {row[ID]: row for row in for_ids(connection, _ROWS, ids)}


def write_notes(connection: sqlite3.Connection, notes: Iterable[Note]) -> None:
    """Keep notes, and delete those without a record."""
    for note in notes:
        if note.record:
            connection.execute(
                "INSERT OR REPLACE INTO note VALUES (?, ?, ?, ?)", (note.kind, note.id, note.part, note.record)
            )
        else:
            connection.execute(
                "DELETE FROM note WHERE kind = ? AND id = ? AND part = ?", (note.kind, note.id, note.part)
            )


def read_notes(connection: sqlite3.Connection, kind: int, id_: int | None, after: int, limit: int) -> list[Note]:
    """See `QueueStore.notes`."""
    if id_ is None:
        rows = connection.execute(
            "SELECT kind, id, part, record FROM note WHERE kind = ? AND id > ? AND part = 0 ORDER BY id LIMIT ?",
            (kind, after, limit),
        )
    else:
        rows = connection.execute(
            "SELECT kind, id, part, record FROM note WHERE kind = ? AND id = ? AND part > ? ORDER BY part LIMIT ?",
            (kind, id_, after, limit),
        )
    return [Note(*row) for row in rows]


def read_page(
    connection: sqlite3.Connection, wanted: ItemFilter, accepts: Callable[[QueuedItem], bool], after: int, before: int
) -> Page:  # fmt: skip
    """See `QueueStore.page`. Damaged entries show what their columns say."""
    where, values = conditions(wanted)
    joined = f"{where} AND" if where else " WHERE"
    fits = predicate(wanted)
    rows = connection.execute(
        f"SELECT {ITEM_COLUMNS} FROM item{joined} id > ? AND id < ? ORDER BY id LIMIT ?",  # noqa: S608
        (*values, after, before, PAGE_STEP),
    )
    found: list[QueuedItem] = []
    last = seen = 0
    for row in rows:
        seen, last = seen + 1, row[ID]
        entry = shown(row)
        if entry is not None and fits(entry) and accepts(entry):
            found.append(entry)
            if len(found) >= wanted.limit:
                return Page(found, last)
    return Page(found, last if seen == PAGE_STEP else 0)
