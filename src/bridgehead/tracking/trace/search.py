# SPDX-License-Identifier: MIT
"""Search in message tracking logs: messages that fit, the newest first, each with its events and what became of it.

The index proposes messages; what it does not cover yet is read through; each message is then judged by its own lines.
So an answer is the same with an index, with half of one, or without, and complete up to the last line written. Putting
messages together to stories is `story.py`.
"""

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.tracking.event_line import FoundEvent, fold
from bridgehead.tracking.log import log_files
from bridgehead.tracking.message_tracking import KIND
from bridgehead.tracking.outcomes import Outcome, Status, outcomes_of, status_of
from bridgehead.tracking.trace.candidates import Candidate, TraceCandidates
from bridgehead.tracking.trace.criteria import Criteria, CriteriaError, Matcher
from bridgehead.tracking.trace.index import (
    CoveredFile,
    IndexDamaged,
    IndexFacts,
    IndexState,
    connect_to_read,
    disk_size,
    facts_about,
    valid_files,
)
from bridgehead.tracking.trace.log_scan import Region, Scan, scan, scan_alone
from bridgehead.tracking.trace.log_text import LogFolder, Place, Unreadable

__all__ = [
    "Criteria", "CriteriaError", "Found", "FoundEvent", "FoundMessage", "IndexFacts", "IndexState", "Outcome", "Status",
    "Unreadable", "search",
]  # fmt: skip

_PROBLEMS: Final = 100
_Proposed = tuple[int, str, list[Place]]
"""First event's time, key and places of a message that may fit."""


class FoundMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of which an event fits.

    Attributes:
        key: what its events share; the same in every search.
        events: all of them, by time.
        fitting: those that fit.
        outcomes: what became of each recipient.
        status: what became of the whole.
    """

    key: str
    first: int
    events: list[FoundEvent]
    fitting: list[FoundEvent]
    outcomes: list[Outcome]
    status: Status

    @property
    def cursor(self) -> str:
        """What `Criteria.after` takes to go on behind this message."""
        return f"{self.first}/{self.key}"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found: the newest first, and where the next page begins ("" when there is none)."""

    messages: list[FoundMessage]
    next: str = ""
    unreadable: list[Unreadable] = []
    index: IndexFacts = IndexFacts(state=IndexState.OFF)
    files: int = 0
    bytes_read: int = 0


def search(folder: Path, criteria: Criteria, index: Path | None = None) -> Found:
    """Search the message tracking logs in a folder; one without any gives nothing. Raises CriteriaError.

    Args:
        index: the folder's index where it has one; anything wrong with it makes the search slower, not wrong.
    """
    matcher = Matcher(criteria)
    if index is None:
        return _search(folder, matcher, None, None)
    fault, state = "", IndexState.MISSING
    if index.exists():
        try:
            connection = connect_to_read(index)
        except (sqlite3.Error, IndexDamaged) as error:
            fault, state = str(error), IndexState.DAMAGED
        else:
            try:
                return _search(folder, matcher, connection, index)
            except (sqlite3.Error, IndexDamaged) as error:
                fault, state = str(error), IndexState.DAMAGED
            finally:
                connection.close()
    found = _search(folder, matcher, None, None)
    facts = IndexFacts(state=state, log_bytes=found.bytes_read, size=disk_size(index), fault=fault)
    return msgspec.structs.replace(found, index=facts)


def _search(path: Path, matcher: Matcher, connection: sqlite3.Connection | None, index: Path | None) -> Found:
    folder = LogFolder(log_files(path, KIND.prefix))
    try:
        return _Search(folder, matcher, connection, index).run()
    finally:
        folder.close()


class _Search:
    """One search over one state of the logs and the index."""

    def __init__(
        self, folder: LogFolder, matcher: Matcher, connection: sqlite3.Connection | None, path: Path | None
    ) -> None:
        self._folder, self._matcher = folder, matcher
        self._criteria = matcher.criteria
        self._connection, self._path = connection, path
        self._index: TraceCandidates | None = None
        self._covered: dict[int, CoveredFile] = valid_files(connection, folder) if connection is not None else {}
        self._numbers = {row.id: number for number, row in self._covered.items()}
        if connection is not None:
            self._index = TraceCandidates(connection, self._numbers, self._criteria)
        self._tail = Scan({}, {}, set(), set(), [])

    def run(self) -> Found:
        """Search."""
        regions = [
            Region(number, self._covered[number].covered if number in self._covered else 0, file.size)
            for number, file in enumerate(self._folder.files)
        ]
        regions = [region for region in regions if region.start < region.end]
        read = scan_alone if self._connection is None else scan
        self._tail = read(self._folder, regions, self._matcher)
        limit = self._criteria.limit
        messages: list[FoundMessage] = []
        more = False
        for message in self._fitting():
            if len(messages) >= limit:
                more = True
                break
            messages.append(message)
        return Found(
            messages=messages,
            next=messages[-1].cursor if more and messages else "",
            unreadable=self._unreadable(),
            index=self._facts(),
            files=len(self._folder.files),
            bytes_read=self._tail.bytes_read,
        )

    def _fitting(self) -> Iterator[FoundMessage]:
        """Messages that fit, in order."""
        before = _cursor(self._criteria.after)
        streams: list[Iterable[_Proposed]] = [self._from_tail(before)]
        if self._index is not None:
            streams.append(map(self._placed, self._index.proposed(before, self._tail.places.keys())))
        for first, key, places in heapq.merge(*streams, key=lambda one: (-one[0], _Descending(one[1]))):
            message = self._message(first, key, places)
            if message is not None:
                yield message

    def _message(self, first: int, key: str, places: list[Place]) -> FoundMessage | None:
        events = self._folder.events(places)
        fitting = [event for event in events if self._matcher.event(event)]
        if not fitting:
            return None
        outcomes = outcomes_of(events)
        if not self._matcher.outcomes(outcomes):
            return None
        return FoundMessage(
            key=key, first=first, events=events, fitting=fitting, outcomes=outcomes, status=status_of(outcomes)
        )

    def _from_tail(self, before: tuple[int, str] | None) -> list[_Proposed]:
        """Messages that have events outside the index: those that fit by these, and those that the index proposes."""
        known: dict[str, Candidate] = {}
        if self._index is not None and self._tail.places:
            known = {one.key: one for one in self._index.known(self._tail.hits, fitting=False)}
            known |= {one.key: one for one in self._index.known(self._tail.places.keys(), fitting=True)}
        found: list[_Proposed] = []
        fit = self._tail.hits & self._tail.decided if self._matcher.deciding else self._tail.hits
        for key in fit | known.keys():
            first, _, indexed = self._placed(known[key]) if key in known else (2**62, key, [])
            first = min(first, self._tail.first[key])
            if before is None or (first, key) < before:
                found.append((first, key, [*indexed, *self._tail.places[key]]))
        found.sort(key=lambda one: (one[0], one[1]), reverse=True)
        return found

    def _placed(self, one: Candidate) -> _Proposed:
        return one.first, one.key, [Place(self._numbers[file], offset) for file, offset in one.places]

    def _unreadable(self) -> list[Unreadable]:
        found = list(self._tail.unreadable)
        if self._connection is not None:
            rows = self._connection.execute("SELECT file, line, what FROM unreadable LIMIT ?", (_PROBLEMS,))
            found += [
                Unreadable(str(self._folder.files[self._numbers[file]].path), line, what)
                for file, line, what in rows
                if file in self._numbers
            ]
        return found[:_PROBLEMS]

    def _facts(self) -> IndexFacts:
        if self._connection is None or self._path is None:
            return IndexFacts(state=IndexState.OFF, log_bytes=sum(file.size for file in self._folder.files))
        return facts_about(self._folder, self._covered.items(), self._path, self._connection)


class _Descending(str):
    """A text that sorts from Z to A."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def _cursor(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    first, slash, key = text.partition("/")
    if not slash or not first.lstrip("-").isdecimal() or len(first) > 18:
        raise CriteriaError(f'"{text}" is not where a page ended')
    return int(first), fold(key)
