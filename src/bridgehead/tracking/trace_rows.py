# SPDX-License-Identifier: MIT
"""Rows of the trace index about messages: a batch of events becomes a few statements with many rows each."""

import json
import sqlite3
from typing import Final

from bridgehead.tracking.event_line import FoundEvent
from bridgehead.tracking.log_text import LogFolder, Place
from bridgehead.tracking.trace_document import Document, Stored, document, pack, unpack

_REMEMBERED: Final = 100_000
"""Texts whose numbers are remembered between batches."""
Groups = dict[str, list[tuple[Stored, FoundEvent]]]
"""Events with their places, by message."""


class MessageRows:
    """Writes messages into an index, within the caller's transactions. Raises sqlite3.Error, struct.error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._words: dict[tuple[str, str], int] = {}
        self._addresses: dict[str, int] = {}

    def forget_numbers(self) -> None:
        """Numbers of texts may no longer be true: rows were removed, or a transaction was undone."""
        self._words.clear()
        self._addresses.clear()

    def put(self, groups: Groups, folder: LogFolder, numbers: dict[int, int]) -> None:
        """Add events to messages that are known, and messages that are not.

        Args:
            numbers: number of each indexed file in the folder, by its id here; events of others are not looked at.
        """
        known = self._known(list(groups))
        (last,) = self._connection.execute("SELECT coalesce(max(id), 0) FROM message").fetchone()
        new: list[tuple[object, ...]] = []
        changed: list[tuple[object, ...]] = []
        texts: list[tuple[int, Document]] = []
        for key, pairs in groups.items():
            number, places = known.get(key, (0, b""))
            pairs += self._earlier(places, folder, numbers)
            # The same order as a search has: by time, then as they stand in the logs.
            pairs.sort(key=lambda pair: (pair[1].date_time, numbers.get(pair[0].file, 0), pair[0].offset))
            made = document([event for _, event in pairs])
            values = self._values(made, pack(stored for stored, _ in pairs))
            if number:
                changed.append((*values, number))
            else:
                last = number = last + 1
                new.append((*values, number, key))
            texts.append((number, made))
        self._write(new, changed, texts)

    def _known(self, keys: list[str]) -> dict[str, tuple[int, bytes]]:
        rows = self._connection.execute(
            "SELECT m.key, m.id, m.places FROM json_each(?) j CROSS JOIN message m ON m.key = j.value",
            (json.dumps(keys),),
        )
        return {key: (number, places) for key, number, places in rows}

    def _earlier(
        self, places: bytes, folder: LogFolder, numbers: dict[int, int]
    ) -> list[tuple[Stored, FoundEvent]]:  # fmt: skip
        """Events that are indexed already, read again."""
        found = []
        for stored in unpack(places):
            number = numbers.get(stored.file)
            event = folder.event(Place(number, stored.offset)) if number is not None else None
            if event is not None:
                found.append((stored, event))
        return found

    def _values(self, made: Document, places: bytes) -> tuple[object, ...]:
        return (
            made.first, made.last, made.states, self._word("sender", made.senders), self._word("origin", made.origins),
            self._word("facet", made.facets), places,
        )  # fmt: skip

    def _write(
        self, new: list[tuple[object, ...]], changed: list[tuple[object, ...]], texts: list[tuple[int, Document]]
    ) -> None:
        many = self._connection.executemany
        many(
            "INSERT INTO message (first, last, states, sender, origin, facet, places, id, key) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            new,
        )
        many(
            "UPDATE message SET first = ?, last = ?, states = ?, sender = ?, origin = ?, facet = ?, places = ? "
            "WHERE id = ?",
            changed,
        )
        many(
            "INSERT OR REPLACE INTO subject VALUES (?, ?)",
            [(number, made.subjects) for number, made in texts if made.subjects],
        )
        # In the order of the tables, neighbours are written together.
        many(
            "INSERT OR IGNORE INTO recipient VALUES (?, ?)",
            sorted((self._address(text), number) for number, made in texts for text in made.recipients),
        )
        many(
            "INSERT OR IGNORE INTO identifier VALUES (?, ?, ?)",
            sorted((kind, text, number) for number, made in texts for kind, text in made.identifiers),
        )

    def _word(self, kind: str, text: str) -> int:
        known = self._words.get((kind, text))
        if known is None:
            if len(self._words) >= _REMEMBERED:
                self._words.clear()
            self._connection.execute("INSERT OR IGNORE INTO word (kind, text) VALUES (?, ?)", (kind, text))
            (known,) = self._connection.execute(
                "SELECT id FROM word WHERE kind = ? AND text = ?", (kind, text)
            ).fetchone()
            self._words[kind, text] = known
        return known

    def _address(self, text: str) -> int:
        known = self._addresses.get(text)
        if known is None:
            if len(self._addresses) >= _REMEMBERED:
                self._addresses.clear()
            self._connection.execute("INSERT OR IGNORE INTO address (text) VALUES (?)", (text,))
            (known,) = self._connection.execute("SELECT id FROM address WHERE text = ?", (text,)).fetchone()
            self._addresses[text] = known
        return known
