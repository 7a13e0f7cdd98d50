# SPDX-License-Identifier: MIT
"""Putting segments into the index, and what became of messages that have events in several of them.

A message is in each segment that holds an event of it, and in all of them stands what became of it by all events. So
the end of one that waited for days is known without reading its first lines again: how the recipients of open messages
stand is kept. What cannot be known that way, since events do not come in the order of time or some were forgotten, is
ANY_STATE: then the lines are looked at.
"""

import json
import sqlite3
from typing import Final
from zlib import crc32

import msgspec

from bridgehead.tracking.outcomes import Status
from bridgehead.tracking.trace.index import StoredSegment, stored_segments
from bridgehead.tracking.trace.segment import (
    ANY_STATE,
    Groups,
    Row,
    Segment,
    States,
    after_rows,
    bits_of,
    is_open,
    make_segment,
    times,
)

_Elsewhere = dict[bytes, list[tuple[StoredSegment, int]]]
"""Other segments that have a message, and its number there, by its key."""
_states: Final = msgspec.json.Decoder(dict[str, Status])


class _Open(msgspec.Struct):
    """An open message: the id of the file of its last event, that one's stamp, how its recipients stand."""

    file: int
    last: str
    states: States


class Segments:
    """The segments of an index, within the caller's transaction. Raises sqlite3.Error, IndexDamaged.

    Args:
        order: place of each indexed file in the order of time, by its id.
    """

    def __init__(self, connection: sqlite3.Connection, order: dict[int, int]) -> None:
        self._connection, self._order = connection, order

    def put(self, file: int, start: int, groups: Groups) -> None:
        """Add a segment of a file, whose lines before `start` are there already."""
        segment = make_segment(groups)
        elsewhere = self._elsewhere(segment.keys, stored_segments(self._connection))
        self._bring_together(segment, file, groups, elsewhere)
        (number,) = self._connection.execute("SELECT coalesce(max(id), 0) + 1 FROM segment").fetchone()
        self._connection.execute(
            "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, file, start, segment.first, segment.newest, segment.last, len(segment.keys)),
        )
        parts = {**segment.parts, "states": bytes(segment.states)}
        self._connection.executemany(
            "INSERT INTO part VALUES (?, ?, ?, ?)",
            [(number, name, crc32(data), data) for name, data in parts.items()],
        )

    def forget(self, file: int) -> None:
        """Remove the segments of a file. What became of messages that have events elsewhere is not known then."""
        gone = [segment for segment in stored_segments(self._connection) if segment.file == file]
        others = [segment for segment in stored_segments(self._connection) if segment.file != file]
        for segment in gone:
            elsewhere = self._elsewhere(segment.keys, others)
            self._mark(elsewhere, dict.fromkeys(elsewhere, ANY_STATE))
            self._close(segment.keys)
            self._connection.execute("DELETE FROM part WHERE segment = ?", (segment.id,))
            self._connection.execute("DELETE FROM segment WHERE id = ?", (segment.id,))

    def _elsewhere(self, keys: list[bytes], segments: list[StoredSegment]) -> _Elsewhere:
        by_checksum: dict[int, list[bytes]] = {}
        for key in keys:
            by_checksum.setdefault(crc32(key), []).append(key)
        wanted, found = set(by_checksum), _Elsewhere()
        for segment in segments:
            for checksum in wanted.intersection(segment.checksums()):
                for key in by_checksum[checksum]:
                    number = segment.number_of(key, checksum)
                    if number is not None:
                        found.setdefault(key, []).append((segment, number))
        return found

    def _bring_together(self, segment: Segment, file: int, groups: Groups, elsewhere: _Elsewhere) -> None:
        """Set what became of messages that are elsewhere, too, and keep how open ones stand."""
        carried = self._carried(list(elsewhere))
        bits: dict[bytes, int] = {}
        closed: list[bytes] = []
        opened: list[tuple[str, int, str, str]] = []
        for number, (key, rows) in enumerate(groups.items()):
            states: States | None = {}
            if key in elsewhere:
                states = self._earlier(carried.get(key), file, rows)
                if states is None:
                    segment.states[number] = bits[key] = ANY_STATE
                    closed.append(key)
                    continue
                segment.states[number] = bits[key] = bits_of(after_rows(states, rows))
            if is_open(segment.states[number]):
                states = states or after_rows({}, rows)
                opened.append((_text(key), file, times(rows)[1], json.dumps(states)))
            elif key in carried:
                closed.append(key)
        self._mark(elsewhere, bits)
        self._close(closed)
        self._connection.executemany("INSERT OR REPLACE INTO open_message VALUES (?, ?, ?, ?)", sorted(opened))

    def _earlier(self, known: _Open | None, file: int, rows: list[Row]) -> States | None:
        """How recipients stood before these events; None where that is not known."""
        if known is None or known.last > times(rows)[0]:
            return None
        if known.file != file and self._order.get(known.file, file) >= self._order[file]:
            return None
        return known.states

    def _carried(self, keys: list[bytes]) -> dict[bytes, _Open]:
        rows = self._connection.execute(
            "SELECT o.key, o.file, o.last, o.states FROM json_each(?) j CROSS JOIN open_message o ON o.key = j.value",
            (json.dumps([_text(key) for key in keys]),),
        )
        return {key.encode(): _Open(file, last, _states.decode(states)) for key, file, last, states in rows}

    def _close(self, keys: list[bytes]) -> None:
        self._connection.executemany("DELETE FROM open_message WHERE key = ?", [(_text(key),) for key in keys])

    def _mark(self, elsewhere: _Elsewhere, bits: dict[bytes, int]) -> None:
        """Write what became of messages into the segments that have them."""
        changed: dict[int, StoredSegment] = {}
        for key, places in elsewhere.items():
            for segment, number in places:
                if segment.states[number] != bits[key]:
                    segment.states[number] = bits[key]
                    changed[segment.id] = segment
        for segment in changed.values():
            data = bytes(segment.states)
            self._connection.execute(
                "UPDATE part SET data = ?, sum = ? WHERE segment = ? AND name = 'states'",
                (data, crc32(data), segment.id),
            )


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")
