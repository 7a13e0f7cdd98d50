# SPDX-License-Identifier: MIT
"""Search in message tracking logs, ours or Exchange's: newest files first, bytes first, CSV last.

A file is read whole (they are 10 MB by default), and only lines that hold the wanted words somewhere are taken
apart. Columns are found by each file's own `#Fields`. A line that cannot be read is reported, not fatal. Putting
events together to the story of a message is `story.py`.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.mail.limits import LIST_RESULTS
from bridgehead.tracking.log import LogName, log_files
from bridgehead.tracking.message_tracking import FIELDS, KIND

_BOM: Final = b"\xef\xbb\xbf"
_NEEDED: Final = ("date-time", "event-id")
_WRITE_DELAY: Final = timedelta(days=1)
"""A line may stand in the file of the day after its own: it was written after midnight, or the disk took none."""
_PROBLEMS: Final = 100


class FoundEvent(msgspec.Struct, frozen=True, rename="kebab"):
    """One line of a tracking log. Names and order are Exchange's; columns that a file lacks are ""."""

    date_time: str
    client_ip: str = ""
    client_hostname: str = ""
    server_ip: str = ""
    server_hostname: str = ""
    source_context: str = ""
    connector_id: str = ""
    source: str = ""
    event_id: str = ""
    internal_message_id: str = ""
    message_id: str = ""
    network_message_id: str = ""
    recipient_address: list[str] = []
    recipient_status: list[str] = []
    total_bytes: str = ""
    recipient_count: str = ""
    related_recipient_address: str = ""
    reference: str = ""
    message_subject: str = ""
    sender_address: str = ""
    return_path: str = ""
    message_info: str = ""
    directionality: str = ""
    tenant_id: str = ""
    original_client_ip: str = ""
    original_server_ip: str = ""
    custom_data: str = ""
    transport_traffic_type: str = ""
    log_id: str = ""
    schema_version: str = ""

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.date_time)


class Criteria(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted; all given parts must hold. Text is compared without case, `*` stands for any text.

    Attributes:
        sender: the header's sender or the reverse-path.
        recipient: any of the recipients, or the address one was expanded or redirected from.
        subject: words that all occur in the subject, in any order; with `*`, a pattern for the whole.
        any_of: at least one of these occurs as message id, network message id, internal id or reference.
        start, end: with time zone; `end` is not included.
        limit: the newest so many.
    """

    sender: str = ""
    recipient: str = ""
    message_id: str = ""
    network_message_id: str = ""
    internal_message_id: str = ""
    subject: str = ""
    event_id: str = ""
    source: str = ""
    connector: str = ""
    reference: str = ""
    any_of: frozenset[str] = frozenset()
    start: datetime | None = None
    end: datetime | None = None
    limit: int = LIST_RESULTS


class Unreadable(msgspec.Struct, frozen=True):
    """A line or file that could not be read. `line` is 0 for a file as a whole."""

    file: str
    line: int
    what: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found: events by time, and whether there were more than the limit."""

    events: list[FoundEvent]
    truncated: bool = False
    unreadable: list[Unreadable] = []
    files: int = 0
    bytes_read: int = 0


def search(folder: Path, criteria: Criteria) -> Found:
    """Search all message tracking logs in a folder. A folder without any gives nothing. Never raises OSError."""
    return _Search(criteria).run(log_files(folder, KIND.prefix))


class _Search:
    def __init__(self, criteria: Criteria) -> None:
        self._criteria = criteria
        self._matches = _predicate(criteria)
        self._needles = _needles(criteria)
        self._start = _stamp(criteria.start)
        self._end = _stamp(criteria.end)
        self._unreadable: list[Unreadable] = []
        self._bytes = 0

    def run(self, files: Sequence[LogName]) -> Found:
        found: list[FoundEvent] = []
        count = 0
        for file in reversed(files):
            if not self._may_hold(file):
                continue
            try:
                data = file.path.read_bytes()
            except OSError as error:
                self._report(file.path, 0, f"cannot be read: {error.strerror or error}")
                continue
            count += 1
            self._bytes += len(data)
            found += reversed(list(self._in_file(file.path, data)))
            if len(found) > self._criteria.limit:
                break
        found.reverse()
        found.sort(key=lambda event: event.date_time)
        limit = self._criteria.limit
        return Found(
            events=found[-limit:] if limit else [], truncated=len(found) > limit, unreadable=self._unreadable,
            files=count, bytes_read=self._bytes,
        )  # fmt: skip

    def _may_hold(self, file: LogName) -> bool:
        start, end = self._criteria.start, self._criteria.end
        if start and file.day < start.astimezone(UTC).date():
            return False
        return not (end and file.day > (end.astimezone(UTC) + _WRITE_DELAY).date())

    def _in_file(self, path: Path, data: bytes) -> Iterator[FoundEvent]:
        parse = None
        for position, line in self._candidates(data):
            stamp = line[:23]
            if (self._start and stamp < self._start) or (self._end and stamp >= self._end):
                continue
            if parse is None:
                columns = _columns(data)
                if columns is None:
                    self._report(path, 0, "has no #Fields line with the columns of a message tracking log")
                    return
                parse = _parser(columns)
            event = parse(line)
            if isinstance(event, str):
                self._report(path, data.count(b"\n", 0, position) + 1, event)
            elif self._matches(event):
                yield event

    def _candidates(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Lines that hold one of the first needles and all the others, with their position."""
        if not self._needles:
            yield from _lines(data)
            return
        lowered = data.lower()  # no ASCII letter changes its length, so positions are the same
        rarest_first = sorted(self._needles, key=lambda needles: sum(map(lowered.count, needles)))
        first, *others = rarest_first
        for position, end in _lines_with(lowered, first):
            if lowered[position : position + 1] != b"#" and all(
                any(lowered.find(needle, position, end) >= 0 for needle in needles) for needles in others
            ):
                yield position, data[position:end].rstrip(b"\r\n")

    def _report(self, path: Path, line: int, what: str) -> None:
        if len(self._unreadable) < _PROBLEMS:
            self._unreadable.append(Unreadable(str(path), line, what))


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = len(_BOM) if data.startswith(_BOM) else 0
    while position < len(data):
        end = data.find(b"\n", position)
        if end < 0:
            end = len(data)
        if data[position] != 35 and (line := data[position:end].rstrip(b"\r")):
            yield position, line
        position = end + 1


def _lines_with(data: bytes, needles: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Start and end of each line that holds one of the needles, in order."""
    upcoming = {needle: data.find(needle) for needle in needles}
    while hits := [position for position in upcoming.values() if position >= 0]:
        hit = min(hits)
        start = data.rfind(b"\n", 0, hit) + 1
        if start == 0 and data.startswith(_BOM):
            start = len(_BOM)
        end = data.find(b"\n", hit)
        end = len(data) if end < 0 else end
        yield start, end
        for needle, position in upcoming.items():
            if 0 <= position < end:
                upcoming[needle] = data.find(needle, end)


def _columns(data: bytes) -> list[str] | None:
    """The columns that the header names, None where it names none that we need."""
    at = data.find(b"#Fields:")
    if at < 0 or at > 4096:
        return None
    line = data[at + 8 : data.find(b"\n", at)].decode("utf-8", "replace")
    columns = [name.strip().lower() for name in line.split(",")]
    return columns if all(name in columns for name in _NEEDED) else None


def _parser(columns: list[str]) -> Callable[[bytes], "FoundEvent | str"]:
    """A function that takes a line apart, or says in words what is wrong with it."""
    indexes = [columns.index(name) if name in columns else None for name in FIELDS]
    in_order, width = columns == list(FIELDS), len(columns)

    def parse(line: bytes) -> FoundEvent | str:
        text = line.decode("utf-8", "replace")
        if '"' in text:
            try:
                cells = next(csv.reader((text,), strict=True))
            except csv.Error as error:
                return f"is no CSV: {error}"
        else:
            cells = text.split(",")
        if len(cells) != width:
            return f"has {len(cells)} columns where {width} were expected"
        if not _is_stamp(cells[indexes[0] or 0]):
            return "does not begin with a time such as 2026-11-23T09:00:01.123Z"
        return _event(cells if in_order else [cells[index] if index is not None else "" for index in indexes])

    return parse


def _event(cells: list[str]) -> FoundEvent:
    recipients, status = cells[12], cells[13]
    split_recipients = recipients.split(";") if recipients else []
    # Replies hold semicolons, too: what is said of one recipient is not taken apart.
    split_status = ([status] if len(split_recipients) == 1 else status.split(";")) if status else []
    return FoundEvent(*cells[:12], split_recipients, split_status, *cells[14:])  # type: ignore[call-arg, arg-type]


_is_stamp: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z").fullmatch


def _stamp(when: datetime | None) -> bytes:
    if when is None:
        return b""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.").encode() + b"%03d" % (when.microsecond // 1000)


def _needles(criteria: Criteria) -> list[list[bytes]]:
    """Bytes, in lower case, of which each line that matches holds at least one of every list."""
    patterns = [
        criteria.network_message_id, criteria.message_id, criteria.recipient, criteria.sender, criteria.reference,
        criteria.connector, *criteria.subject.split(),
    ]  # fmt: skip
    cells = [criteria.internal_message_id, criteria.event_id, criteria.source]
    alternatives = [[_needle(text) for text in criteria.any_of]]
    alternatives += [[_needle(text)] for text in patterns]
    alternatives += [[_needle(text) if "*" in text else _cell(text)] for text in cells]
    return [needles for needles in alternatives if needles and all(needles)]


def _needle(text: str) -> bytes:
    """The longest part of a pattern that stands in a line as it is: ASCII, no `*`, no quotation mark."""
    parts = re.split(r'[*"\x00-\x1f\x7f-\U0010ffff]', text.lower())
    return max(parts, key=len).encode()


def _cell(text: str) -> bytes:
    """A number or word that is a cell of its own and never quoted."""
    return f",{text.lower()},".encode() if text.isascii() and text.isalnum() else _needle(text)


def _predicate(criteria: Criteria) -> Callable[[FoundEvent], bool]:
    checks: list[Callable[[FoundEvent], bool]] = []

    def check(pattern: str, values: Callable[[FoundEvent], Iterable[str]]) -> None:
        if pattern:
            fits = _fits(pattern)
            checks.append(lambda event: any(fits(value) for value in values(event)))

    check(criteria.sender, lambda event: (event.sender_address, event.return_path))
    check(criteria.recipient, lambda event: (*event.recipient_address, event.related_recipient_address))
    check(criteria.network_message_id, lambda event: (event.network_message_id,))
    check(criteria.internal_message_id, lambda event: (event.internal_message_id,))
    check(criteria.event_id, lambda event: (event.event_id,))
    check(criteria.source, lambda event: (event.source,))
    check(criteria.connector, lambda event: (event.connector_id,))
    check(criteria.reference, lambda event: (event.reference,))
    if criteria.message_id:
        fits_id = _fits(criteria.message_id.strip("<>"))
        checks.append(lambda event: fits_id(event.message_id.strip("<>")))
    if "*" in criteria.subject:
        check(criteria.subject, lambda event: (event.message_subject,))
    elif words := criteria.subject.casefold().split():
        checks.append(lambda event: all(word in event.message_subject.casefold() for word in words))
    if wanted := criteria.any_of:
        checks.append(
            lambda event: (
                event.network_message_id in wanted or event.message_id in wanted or event.reference in wanted
                or event.internal_message_id in wanted
            )
        )  # fmt: skip
    return lambda event: all(one(event) for one in checks)


@lru_cache(maxsize=64)
def _fits(pattern: str) -> Callable[[str], bool]:
    """Whether a value fits a pattern in which only `*` is special."""
    if "*" not in pattern:
        folded = pattern.casefold()
        return lambda value: value.casefold() == folded
    expression = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.IGNORECASE | re.DOTALL)
    return lambda value: expression.fullmatch(value) is not None
