# SPDX-License-Identifier: MIT
"""Asking the trace index: every message that may fit, the newest first.

The index only proposes. Each criterion becomes a condition that holds for all messages that fit and for few others;
the lines decide (`search.py`). Patterns are looked for by their parts, in linear time.
"""

import json
import sqlite3
from collections.abc import Iterator
from typing import Final

import msgspec

from bridgehead.tracking.criteria import Criteria, Fits, address_fits, fits
from bridgehead.tracking.event_line import fold
from bridgehead.tracking.outcomes import BITS, Status
from bridgehead.tracking.trace_document import SEPARATOR, Stored, unpack
from bridgehead.tracking.trace_index import DELIVERED_ONLY

_MANY: Final = 20_000
"""Messages that are too many to be sorted for one page."""
_FEW: Final = 8
_OF_SET: Final = "SELECT value FROM json_each(?)"


class Candidate(msgspec.Struct, frozen=True):
    """A message of the index: its key, first event's time in milliseconds, and where its events stand."""

    key: str
    first: int
    places: list[Stored]


def candidates(
    connection: sqlite3.Connection, criteria: Criteria, before: tuple[int, str] | None, *, in_tail: bool = False
) -> Iterator[Candidate]:
    """Messages that may fit, by first event and key, the newest first. Raises sqlite3.Error, struct.error.

    Args:
        before: (first, key) that all come after in this order.
        in_tail: only those that the temporary table `tail` names, whatever became of them: it is not known here.
    """
    conditions = _Conditions(connection)
    conditions.add_all(criteria)
    if in_tail:
        conditions.add("m.key IN (SELECT key FROM temp.tail)")
    elif criteria.status is not None:
        conditions.state(criteria.status)
    if before is not None:
        conditions.add("(m.first < ? OR (m.first = ? AND m.key < ?))", before[0], before[0], before[1])
    where = " AND ".join(conditions.texts) or "1"
    rows = connection.execute(
        f"SELECT m.key, m.first, m.places FROM message m WHERE {where} ORDER BY m.first DESC, m.key DESC",  # noqa: S608
        conditions.values,
    )
    for key, first, places in rows:
        yield Candidate(key, first, unpack(places))


class _Conditions:
    """Conditions over message `m`, gathered."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.texts: list[str] = []
        self.values: list[object] = []

    def add(self, text: str, *values: object) -> None:
        self.texts.append(text)
        self.values += values

    def add_all(self, criteria: Criteria) -> None:
        """The conditions that follow from what events hold."""
        if criteria.sender:
            self._word("sender", criteria.sender, _any_part(fits(criteria.sender)))
        if criteria.source_address:
            self._word("origin", "", _any_part(address_fits(criteria.source_address)))
        self._facet(criteria)
        if criteria.recipient:
            self._recipient(criteria.recipient)
        if criteria.subject:
            parts = criteria.subject.split("*") if "*" in criteria.subject else criteria.subject.split()
            text, values = _holds("text", parts)
            self.add(f"m.id IN (SELECT message FROM subject WHERE {text})", *values)  # noqa: S608
        for kind, pattern in (
            ("m", criteria.message_id.strip("<>")), ("i", criteria.internal_message_id), ("r", criteria.reference)
        ):  # fmt: skip
            if pattern:
                self._identifier(kind, pattern)
        if criteria.network_message_id:
            text, values = _equals("m.key", criteria.network_message_id)
            self.add(text, *values)
        if criteria.any_of:
            self._any_of(criteria.any_of)
        if criteria.start is not None:
            self.add("m.last >= ?", int(criteria.start.timestamp() * 1000) - 1)
        if criteria.end is not None:
            self.add("m.first <= ?", int(criteria.end.timestamp() * 1000) + 1)

    def state(self, status: Status) -> None:
        """Messages in which a recipient stands so."""
        self.add("(m.states & ?) <> 0", BITS[status])
        if status is not Status.DELIVERED:
            self.add(f"m.states <> {DELIVERED_ONLY}")

    def _word(self, kind: str, pattern: str, fit: Fits) -> None:
        text, values = _holds("text", pattern.split("*"))
        rows = self._connection.execute(
            f"SELECT id, text FROM word WHERE kind = ? AND {text}",  # noqa: S608
            (kind, *values),
        )
        self._among(f"m.{kind}", [number for number, words in rows if fit(words)])

    def _facet(self, criteria: Criteria) -> None:
        wanted = [fits(text) if text else None for text in (criteria.event_id, criteria.source, criteria.connector)]
        if not any(wanted):
            return
        event, source, connector = wanted

        def fit(words: str) -> bool:
            for one in words.split(SEPARATOR):
                parts = one.split("\t")
                if (
                    (event is None or event(parts[0]))
                    and (source is None or source(parts[1]))
                    and (connector is None or any(map(connector, parts[2:])))
                ):
                    return True
            return False

        self._word("facet", "", fit)

    def _among(self, column: str, numbers: list[int]) -> None:
        """A column holds one of these; where many messages have one, they are better met in the order of time."""
        chosen = json.dumps(numbers)
        frequent = self._are_many(f"message m WHERE {column} IN ({_OF_SET})", chosen)
        self.add(f"{'+' if frequent else ''}{column} IN ({_OF_SET})", chosen)

    def _are_many(self, rows: str, value: str) -> bool:
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT {_MANY})",  # noqa: S608
            (value,),
        ).fetchone()
        return bool(count == _MANY)

    def _recipient(self, pattern: str) -> None:
        text, values = _equals("text", pattern)
        rows = self._connection.execute(f"SELECT id, text FROM address WHERE {text}", values)  # noqa: S608
        fit = fits(pattern)
        found = [number for number, address in rows if fit(address)]
        numbers = json.dumps(found)
        if len(found) <= _FEW and self._are_many(f"recipient WHERE address IN ({_OF_SET})", numbers):
            row = f"SELECT 1 FROM recipient r WHERE r.address IN ({_OF_SET}) AND r.message = m.id"  # noqa: S608
            self.add(f"EXISTS ({row})", numbers)
            return
        self.add(f"m.id IN (SELECT message FROM recipient WHERE address IN ({_OF_SET}))", numbers)  # noqa: S608

    def _identifier(self, kind: str, pattern: str) -> None:
        text, values = _equals("text", pattern)
        self.add(f"m.id IN (SELECT message FROM identifier WHERE kind = ? AND {text})", kind, *values)  # noqa: S608

    def _any_of(self, wanted: frozenset[str]) -> None:
        folded = sorted(map(fold, wanted))
        keys, bare = json.dumps(folded), json.dumps([text.strip("<>") for text in folded])
        rows = self._connection.execute(
            f"SELECT id FROM message WHERE key IN ({_OF_SET}) UNION SELECT message FROM identifier "  # noqa: S608
            f"WHERE (kind = 'm' AND text IN ({_OF_SET})) OR (kind IN ('i', 'r') AND text IN ({_OF_SET}))",
            (keys, bare, keys),
        )
        self._among("m.id", [number for (number,) in rows])


def _any_part(fit: Fits) -> Fits:
    return lambda words: any(fit(part) for part in words.split(SEPARATOR))


def _holds(column: str, parts: list[str]) -> tuple[str, list[object]]:
    """A condition that a text holds every part."""
    folded: list[object] = [fold(part) for part in parts if part]
    return " AND ".join([f"instr({column}, ?) > 0"] * len(folded)) or "1", folded


def _equals(column: str, pattern: str) -> tuple[str, list[object]]:
    """A condition for a pattern that uses the column's index where the pattern's beginning is given."""
    first, *rest = fold(pattern).split("*")
    if not rest:
        return f"{column} = ?", [first]
    text, values = _holds(column, [first, *rest])
    if first:
        text = f"{column} >= ? AND {column} < ? AND {text}"
        values = [first, first + "\U0010ffff", *values]
    return text, values
