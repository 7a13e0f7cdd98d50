# SPDX-License-Identifier: MIT
"""Asking the trace index: every message that may fit, the newest first.

The index only proposes. Each criterion becomes a condition on one segment's columns that holds for all messages that
fit and for few others; the lines decide (`search.py`). An event that fits stands in one segment, so segments are asked
one by one, and old ones only when a page is not full. Patterns are looked for by their parts, in linear time.
"""

import sqlite3
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from typing import Final
from zlib import crc32

import msgspec

from bridgehead.tracking.event_line import fold
from bridgehead.tracking.outcomes import BITS
from bridgehead.tracking.trace.criteria import Criteria, Fits, address_fits, fits
from bridgehead.tracking.trace.index import StoredSegment, stored_segments
from bridgehead.tracking.trace.segment import FACET, SEPARATOR, TAB

_MANY: Final = 200
"""Messages after which it is worth to know which have events in several segments."""
_ALTERNATIVES: Final = 8
"""Different values that are looked for one after the other; of more, all lines are compared."""
Numbers = Iterable[int]


class Candidate(msgspec.Struct, frozen=True):
    """A message of the index: its key, first event's time in milliseconds, and where its lines stand by file id."""

    key: str
    first: int
    places: list[tuple[int, int]]


class TraceCandidates:
    """One search's questions to the index. Methods raise sqlite3.Error, IndexDamaged.

    Args:
        files: ids of the files that are there as the index knows them. What it says of others is not used.
    """

    def __init__(self, connection: sqlite3.Connection, files: Collection[int], criteria: Criteria) -> None:
        known = stored_segments(connection)
        self._segments = [one for one in known if one.file in files]
        self._gone = [one for one in known if one.file not in files]
        self._criteria = criteria
        self._asked = 0

    def proposed(self, before: tuple[int, str] | None, known: Collection[str]) -> Iterator[Candidate]:
        """Messages that may fit, by first event and key, the newest first.

        Args:
            before: (first, key) that all come after in this order.
            known: keys of messages that are left out.
        """
        waiting = iter(self._segments)
        following = next(waiting, None)
        opened: list[list[tuple[int, bytes, StoredSegment | None, int]]] = [[]]
        later, done = opened[0], set[bytes]()
        while True:
            best = max((entries for entries in opened if entries), key=lambda entries: entries[-1][:2], default=None)
            if following is not None and (best is None or best[-1][0] <= following.newest):
                opened = [entries for entries in opened if entries or entries is later]
                opened.append(self._entries(following))
                following = next(waiting, None)
                continue
            if best is None:
                return
            first, key, segment, number = best.pop()
            text = key.decode("utf-8", "replace")
            if segment is not None:
                if key in done or text in known:
                    continue
                done.add(key)
                places = self._places(key, segment, number)
                begun = min(one.numbers("first")[at] for one, at in places)
                if begun != first:  # it began in another segment, and comes later in this order
                    later.append((begun, key, None, 0))
                    later.sort(key=lambda entry: entry[:2])
                    continue
            else:
                places = self._places(key, None, 0)
            if before is None or (first, text) < before:
                yield _candidate(text, first, places)

    def known(self, keys: Collection[str], *, fitting: bool) -> Iterator[Candidate]:
        """What the index knows of messages.

        Args:
            fitting: only those that may fit, whatever became of them: it is not known here.
        """
        wanted = {crc32(encoded): encoded for encoded in map(_encoded, keys)}
        clashing = len(wanted) < len(keys)
        all_keys = set(map(_encoded, keys))
        found: dict[bytes, list[tuple[StoredSegment, int]]] = {}
        may_fit: set[bytes] = set()
        for segment in self._segments:
            common = set(wanted).intersection(segment.checksums())
            if not common:
                continue
            here: dict[int, bytes] = {}
            for checksum in common:
                alike = [wanted[checksum]] if not clashing else [one for one in all_keys if crc32(one) == checksum]
                for key in alike:
                    if (number := segment.number_of(key, checksum)) is not None:
                        here[number] = key
                        found.setdefault(key, []).append((segment, number))
            if fitting and here:
                fit = _Conditions(segment, self._criteria).numbers()
                may_fit.update(here.values() if fit is None else [here[number] for number in fit if number in here])
        for key, places in found.items():
            if not fitting or key in may_fit:
                yield _candidate(_text(key), min(one.numbers("first")[at] for one, at in places), places)

    def _entries(self, segment: StoredSegment) -> list[tuple[int, bytes, StoredSegment | None, int]]:
        """Messages of one segment that may fit, the newest last."""
        found = _Conditions(segment, self._criteria).numbers()
        numbers: Numbers = range(segment.messages) if found is None else found
        if self._criteria.status is not None:
            bit, states = BITS[self._criteria.status], segment.states
            told = [number for number in numbers if states[number] & bit or self._is_untold(segment, number)]
            numbers = told
        firsts, keys = segment.numbers("first"), segment.keys
        return sorted(
            [(firsts[number], keys[number], segment, number) for number in numbers], key=lambda entry: entry[:2]
        )

    def _is_untold(self, segment: StoredSegment, number: int) -> bool:
        """Whether what became of a message was said with the help of lines that are gone."""
        return bool(self._gone) and crc32(segment.keys[number]) in self._lost

    @cached_property
    def _lost(self) -> set[int]:
        return {checksum for segment in self._gone for checksum in segment.checksums()}

    @cached_property
    def _spread(self) -> set[int]:
        """Checksums of keys that occur in several segments."""
        seen, spread = set[int](), set[int]()
        for segment in self._segments:
            here = set(segment.checksums())
            spread |= seen & here
            seen |= here
        return spread

    def _places(self, key: bytes, segment: StoredSegment | None, number: int) -> list[tuple[StoredSegment, int]]:
        """Segments that have a message, and its number there."""
        checksum = crc32(key)
        self._asked += 1
        if segment is not None and self._asked > _MANY and checksum not in self._spread:
            return [(segment, number)]
        found = []
        for one in self._segments:
            at = number if one is segment else one.number_of(key, checksum)
            if at is not None:
                found.append((one, at))
        return found


def _candidate(key: str, first: int, places: list[tuple[StoredSegment, int]]) -> Candidate:
    return Candidate(
        key, first, [(one.file, one.start + offset) for one, number in places for offset in one.offsets(number)]
    )


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


# --- one segment ------------------------------------------------------------------------------------------------------


class _Conditions:
    """The conditions of criteria in one segment."""

    def __init__(self, segment: StoredSegment, criteria: Criteria) -> None:
        self._segment, self._criteria = segment, criteria

    def numbers(self) -> list[int] | None:
        """Messages of which an event may fit, whatever became of them; None for all."""
        found: list[int] | None = None
        for condition in self._conditions():
            here = condition()
            if here is None:
                continue
            if found is not None:
                both = set(here)
                found = [number for number in found if number in both]
            else:
                found = list(here)
            if not found:
                return []
        return found

    def _conditions(self) -> Iterator[Callable[[], Numbers | None]]:
        wanted, pattern = self._criteria, self._pattern
        if wanted.start is not None or wanted.end is not None:
            yield self._within
        if wanted.any_of:
            yield self._any_of
        for column, text in (
            ("key", wanted.network_message_id), ("message", wanted.message_id.strip("<>")),
            ("internal", wanted.internal_message_id), ("reference", wanted.reference),
            ("recipient", wanted.recipient), ("sender", wanted.sender),
        ):  # fmt: skip
            if text:
                yield lambda column=column, text=text: pattern(column, text)  # type: ignore[misc]
        if wanted.event_id or wanted.source or wanted.connector:
            yield self._facet
        if wanted.source_address:
            yield self._origin
        if "*" in wanted.subject:
            yield lambda: pattern("subject", wanted.subject)
        elif words := fold(wanted.subject).split():
            yield lambda: self._with_lines("subject", _lines_with(self._segment.text("subject"), _needles(words)))

    def _within(self) -> Numbers | None:
        """Messages that have events before the end and after the start."""
        start, end = self._criteria.start, self._criteria.end
        low = int(start.timestamp() * 1000) - 1 if start is not None else -(2**62)
        high = int(end.timestamp() * 1000) + 1 if end is not None else 2**62
        if self._segment.last < low or self._segment.first > high:
            return []
        if low <= self._segment.first and self._segment.last <= high:
            return None
        pairs = zip(self._segment.numbers("first"), self._segment.numbers("last"), strict=True)
        return [number for number, (first, last) in enumerate(pairs) if first <= high and last >= low]

    def _pattern(self, column: str, pattern: str) -> Numbers | None:
        """Messages with a value that may fit a pattern."""
        first, *rest = fold(pattern).split("*")
        if rest:
            *middle, last = rest
            needles = [
                *_needles(middle),
                _encoded(f"\t{first}" if first else ""),
                _encoded(f"{last}\t" if last else ""),
            ]
        else:
            needles = [_encoded(f"\t{first}\t")]
        needles = [needle for needle in needles if needle]
        return self._with_lines(column, _lines_with(self._segment.text(column), needles)) if needles else None

    def _any_of(self) -> Numbers:
        folded = [fold(text) for text in self._criteria.any_of]
        exact = {_encoded(text) for text in folded}
        bare = {_encoded(text.strip("<>")) for text in folded}
        found: set[int] = set()
        for column, values in (("key", exact), ("message", bare), ("internal", exact), ("reference", exact)):
            text = self._segment.text(column)
            if len(values) <= _ALTERNATIVES:
                lines = [line for value in values for line in _lines_with(text, [TAB + value + TAB])]
            else:
                cells = enumerate(text[1:-1].split(SEPARATOR))
                lines = [number for number, line in cells if not values.isdisjoint(line.split(TAB))]
            found.update(self._with_lines(column, lines))
        return sorted(found)

    def _facet(self) -> Numbers:
        wanted = self._criteria
        event, source, connector = (
            fits(text) if text else None for text in (wanted.event_id, wanted.source, wanted.connector)
        )

        def fit(facet: str) -> bool:
            parts = facet.split(FACET.decode())
            if len(parts) != 4:
                return True
            return (
                (event is None or event(parts[0]))
                and (source is None or source(parts[1]))
                and (connector is None or any(map(connector, parts[2:])))
            )

        return self._with_value("facet", fit)

    def _origin(self) -> Numbers | None:
        text = self._criteria.source_address
        return self._pattern("origin", text) if "*" in text else self._with_value("origin", address_fits(text))

    def _with_value(self, column: str, fit: Fits) -> Numbers:
        """Messages with a value that fits; for columns with few different ones."""
        lines = self._segment.text(column)[1:-1].split(SEPARATOR)
        found = [number for number, line in enumerate(lines) if any(map(fit, line.decode().split("\t")))]
        return self._with_lines(column, found)

    def _with_lines(self, column: str, lines: list[int]) -> Numbers:
        """Messages whose line of a column is one of these."""
        if not lines:
            return []
        ids: array[int] = self._segment.numbers(f"{column}.ids")
        if not ids:
            return lines
        wanted = set(lines)
        return [number for number, line in enumerate(ids) if line in wanted]


def _needles(parts: Iterable[str]) -> list[bytes]:
    return [_encoded(part) for part in parts if part]


def _lines_with(text: bytes, needles: list[bytes]) -> list[int]:
    """Numbers of the lines that hold all of these."""
    longest = max(needles, key=len)
    others = [needle for needle in needles if needle is not longest]
    found: list[int] = []
    line, counted = 0, 0
    position = text.find(longest)
    while position >= 0:
        line += text.count(b"\n", counted, position)
        end = text.find(b"\n", position)
        end = len(text) if end < 0 else end
        if others:
            whole = text[text.rfind(b"\n", 0, position) + 1 : end]
            if all(other in whole for other in others):
                found.append(line)
        else:
            found.append(line)
        counted = end
        position = text.find(longest, end)
    return found
