# SPDX-License-Identifier: MIT
"""Runs a batch's plan against the database, within a transaction that the caller begins and ends.

Knows, for a bounded number of entries, which content they hold, so that the common life of a message (in, moved,
out) needs no look-up.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from bridgehead.mail.content import Content
from bridgehead.queues.batch import Change, Plan, check_complete, give_turns, plan
from bridgehead.queues.fairness import Turns, Weights
from bridgehead.queues.record import CONTENT_ID, ID, LANE, NEXT_HOP, QUEUE, TURN, ItemRow
from bridgehead.queues.sqlite.content_files import FileContent
from bridgehead.queues.sqlite.reading import first_turn
from bridgehead.queues.sqlite.statements import for_ids, insert_rows
from bridgehead.queues.store import StoreFault

_KNOWN_ENTRIES: Final = 20_000
_INSERT_ITEM: Final = "INSERT OR REPLACE INTO item VALUES "


class Writing:
    """One connection's view of what is stored."""

    def __init__(self, connection: sqlite3.Connection, weights: Weights) -> None:
        self._connection = connection
        self.turns = Turns(partial(first_turn, connection), weights)
        self._known: dict[int, int] = {}
        """Entry → content, oldest first; a bounded part of what is stored."""
        self._highest = 0
        self._highest_content = 0
        self.forget()

    def forget(self) -> None:
        """Ask the database again; after a transaction that did not commit."""
        self._known.clear()
        row = self._connection.execute(
            "SELECT (SELECT max(id) FROM item), (SELECT max(id) FROM content), (SELECT max(id) FROM content_file),"
            " EXISTS (SELECT 1 FROM sharing), EXISTS (SELECT 1 FROM content_file)"
        ).fetchone()
        self._highest = row[0] or 0
        self._highest_content = max(row[1] or 0, row[2] or 0)
        self._shares, self._has_files = bool(row[3]), bool(row[4])

    def remember(self, rows: Iterable[ItemRow], *, in_turn: bool) -> None:
        """Entries just leased, which are likely to change soon."""
        for row in rows:
            self._known[row[ID]] = row[CONTENT_ID]
            self.turns.leased((row[QUEUE], row[NEXT_HOP], row[LANE]), row[TURN], row[ID], in_turn=in_turn)
        self._trim()

    def apply(self, changes: Sequence[Change]) -> list[str]:
        """Write what the changes come to. Names of content files to delete once it is committed.

        Raises sqlite3.Error and StoreFault; the caller rolls back and calls `forget`.
        """
        todo = plan(changes, self._contents_of)
        present = self._present(todo)
        check_complete(todo.gained, todo.contents, present)
        give_turns(todo, self.turns)
        new = [content for content in todo.gained if content not in present]
        self._write_contents([(content, todo.contents[content]) for content in new])
        if todo.rows:
            insert_rows(self._connection, _INSERT_ITEM, todo.rows)
        if todo.gone:
            for_ids(self._connection, "DELETE FROM item WHERE id IN (ids)", todo.gone)
        unused = self._count_holders(todo, set(new))
        unused_files = self._remove_contents(unused)
        if todo.states:
            self._write_states(todo.states)
        self._note(todo)
        return unused_files + self._never_stored(todo)

    def _contents_of(self, entries: Iterable[int]) -> dict[int, int]:
        known, highest = self._known, self._highest
        found, unsure = {}, []
        for entry in entries:
            content = known.get(entry)
            if content is not None:
                found[entry] = content
            elif entry <= highest:
                unsure.append(entry)
        if unsure:
            found.update(for_ids(self._connection, "SELECT id, content_id FROM item WHERE id IN (ids)", unsure))
        return found

    def _present(self, todo: Plan) -> set[int]:
        """Those of the contents that gain holders which are stored already."""
        present = todo.held.intersection(todo.gained)
        unsure = [one for one in todo.gained if one <= self._highest_content and one not in present]
        if unsure:
            for table in ("content", "content_file") if self._has_files else ("content",):
                rows = for_ids(self._connection, f"SELECT id FROM {table} WHERE id IN (ids)", unsure)  # noqa: S608
                present.update(row[0] for row in rows)
        return present

    def _write_contents(self, contents: list[tuple[int, Content]]) -> None:
        in_rows, in_files = [], []
        for key, content in contents:
            data = content.data
            if data is not None:
                in_rows.append((key, len(data), zlib.crc32(data), data))
            elif isinstance(content, FileContent):
                in_files.append((key, content.size, content.crc, content.path.name))
            else:
                raise StoreFault(f"content {key} is neither in memory nor in a file of the queue")
        if in_rows:
            insert_rows(self._connection, "INSERT INTO content VALUES ", in_rows)
        if in_files:
            self._has_files = True
            insert_rows(self._connection, "INSERT INTO content_file VALUES ", in_files)

    def _count_holders(self, todo: Plan, new: set[int]) -> list[int]:
        """Keep the number of holders where it is not one; the contents that nobody holds any longer."""
        changed = {content: count for content, count in todo.gained.items() if content not in new or count > 1}
        if not self._shares and not changed:
            return list(todo.lost)
        self._shares = True
        changed.update({content: -count for content, count in todo.lost.items()})
        before: dict[int, int] = dict(
            for_ids(self._connection, "SELECT content_id, holders FROM sharing WHERE content_id IN (ids)", changed)
        )
        unused, shared = [], []
        for content, difference in changed.items():
            holders = (0 if content in new else before.get(content, 1)) + difference
            if holders > 0:
                shared.append((content, holders))
            else:
                unused.append(content)
        insert_rows(self._connection, "INSERT OR REPLACE INTO sharing VALUES ", shared)
        for_ids(self._connection, "DELETE FROM sharing WHERE content_id IN (ids)", set(unused) & set(before))
        return unused

    def _remove_contents(self, unused: list[int]) -> list[str]:
        if not unused:
            return []
        for_ids(self._connection, "DELETE FROM content WHERE id IN (ids)", unused)
        if not self._has_files:
            return []
        names = [row[0] for row in for_ids(self._connection, "SELECT name FROM content_file WHERE id IN (ids)", unused)]
        if names:
            for_ids(self._connection, "DELETE FROM content_file WHERE id IN (ids)", unused)
        return names

    def _never_stored(self, todo: Plan) -> list[str]:
        """Files that came with an entry which left within the same batch."""
        idle = {
            key: content.path.name
            for key, content in todo.contents.items()
            if key not in todo.gained and key not in todo.held and isinstance(content, FileContent)
        }
        for row in for_ids(self._connection, "SELECT id FROM content_file WHERE id IN (ids)", idle):
            del idle[row[0]]
        return list(idle.values())

    def _write_states(self, states: list[tuple[int, str, bytes]]) -> None:
        for queue, next_hop, record in states:
            if record:
                self._connection.execute(
                    "INSERT OR REPLACE INTO queue_state VALUES (?, ?, ?)", (queue, next_hop, record)
                )
            else:
                self._connection.execute("DELETE FROM queue_state WHERE queue = ? AND next_hop = ?", (queue, next_hop))

    def _note(self, todo: Plan) -> None:
        known = self._known
        for row in todo.rows:
            known[row[ID]] = row[CONTENT_ID]
        for gone in todo.gone:
            known.pop(gone, None)
        self._highest = max(self._highest, max((row[ID] for row in todo.rows), default=0))
        self._highest_content = max(self._highest_content, max(todo.gained, default=0))
        self._trim()

    def _trim(self) -> None:
        while len(self._known) > _KNOWN_ENTRIES:
            del self._known[next(iter(self._known))]
