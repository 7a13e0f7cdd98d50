# SPDX-License-Identifier: MIT
"""Reading logs from end to end for what no index covers: bytes first, CSV only for lines that may fit.

A line that cannot be read is reported, not fatal; a last line without line end may still be under the pen and is not.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from bridgehead.tracking.event_line import FoundEvent, LineFormat
from bridgehead.tracking.trace.criteria import Matcher, needle
from bridgehead.tracking.trace.log_text import LogFolder, LogText, Place, Unreadable, lines

CHUNK_BYTES: Final = 4 * 1024 * 1024
Lines = Iterator[tuple[int, bytes]]
_PROBLEMS: Final = 100
_FEW: Final = 20
"""Messages whose lines are looked for one by one; with more, reading all lines is quicker."""
_TELLING: Final = 8
"""Characters of a message's key that are worth looking for."""
NO_FIELDS: Final = "has no #Fields line with the columns of a message tracking log"


class Region(msgspec.Struct, frozen=True):
    """A part of a file: its number in the folder, first byte and end."""

    file: int
    start: int
    end: int


class Scan(msgspec.Struct):
    """What regions hold.

    Attributes:
        places: where each message's events stand, by its key.
        first: time of the first of these, in milliseconds.
        hits: keys of messages of which an event fits.
        decided: keys of messages that can have the status that is wanted.
    """

    places: dict[str, list[Place]]
    first: dict[str, int]
    hits: set[str]
    decided: set[str]
    unreadable: list[Unreadable]
    bytes_read: int = 0


def scan(folder: LogFolder, regions: list[Region], matcher: Matcher) -> Scan:
    """Read regions through and know every message in them. Never raises OSError."""
    return _scan(folder, regions, matcher, lines)


def scan_alone(folder: LogFolder, regions: list[Region], matcher: Matcher) -> Scan:
    """Read regions through and know the messages that fit; for logs without an index. Never raises OSError.

    Where the criteria have bytes that can be looked for, only lines that hold them are taken apart, and then those of
    the few messages that fit.
    """
    if not matcher.needles:
        return scan(folder, regions, matcher)
    hits = _scan(folder, regions, matcher, lambda data, base: lines_with(data, base, matcher.needles)).hits
    keys = [needle(key) for key in hits]
    if len(hits) > _FEW or any(" " in key for key in hits) or any(len(key) < _TELLING for key in keys):
        return scan(folder, regions, matcher)
    return _scan(folder, regions, matcher, lambda data, base: lines_with(data, base, [keys]))


def _scan(
    folder: LogFolder, regions: list[Region], matcher: Matcher, lines_of: Callable[[bytes, int], Lines]
) -> Scan:  # fmt: skip
    found = Scan({}, {}, set(), set(), [])
    for region in regions:
        file = folder.use(region.file)
        try:
            if file.format is None:
                _report(found, file, 0, NO_FIELDS)
                continue
            for data, base in chunks(file, region):
                found.bytes_read += len(data)
                _scan_chunk(found, file, region.file, data, base, matcher, lines_of)
        except FileNotFoundError:
            continue  # deleted since the folder was listed
        except OSError as error:
            _report(found, file, 0, f"cannot be read: {error.strerror or error}")
    return found


def lines_with(data: bytes, base: int, needles: Sequence[Sequence[bytes]]) -> Lines:
    """As `lines`, but only those that hold one of each list of needles, which are in lower case."""
    lowered = data.lower()  # no ASCII letter changes its length, so positions are the same
    first, *others = sorted(needles, key=lambda alternatives: sum(map(lowered.count, alternatives))) or ([],)
    upcoming = {one: lowered.find(one) for one in first}
    while hits := [position for position in upcoming.values() if position >= 0]:
        hit = min(hits)
        start, end = lowered.rfind(b"\n", 0, hit) + 1, lowered.find(b"\n", hit)
        end = len(lowered) if end < 0 else end
        line = lowered[start:end]
        if all(any(one in line for one in alternatives) for alternatives in others):
            yield from lines(data[start:end], base + start)
        for one, position in upcoming.items():
            if 0 <= position < end:
                upcoming[one] = lowered.find(one, end)


def chunks(file: LogText, region: Region) -> Iterator[tuple[bytes, int]]:
    """A region in parts that end with a line; the last may not. Raises OSError."""
    start, size = region.start, CHUNK_BYTES
    while start < region.end:
        data = file.read(start, min(start + size, region.end))
        if not data:
            return
        if start + len(data) < region.end:
            whole = data.rfind(b"\n") + 1
            if not whole:
                size *= 4  # one line longer than a chunk
                continue
            data = data[:whole]
        yield data, start
        start, size = start + len(data), CHUNK_BYTES


def parsed(
    file: LogText, data: bytes, base: int, report: Callable[[int, str], None]
) -> Iterator[tuple[int, FoundEvent]]:
    """Every event of a chunk with its offset; what cannot be read is told to `report` by offset and reason."""
    parse = _format(file).parse
    for offset, line in lines(data, base):
        event = parse(line)
        if isinstance(event, str):
            report(offset, event)
        else:
            yield offset, event


def _scan_chunk(
    found: Scan, file: LogText, number: int, data: bytes, base: int, matcher: Matcher,
    lines_of: Callable[[bytes, int], Lines],
) -> None:  # fmt: skip
    line_format = _format(file)
    lowered = data.lower()
    may_fit = all(any(needle in lowered for needle in needles) for needles in matcher.needles)
    del lowered
    deciding = matcher.deciding
    for offset, line in lines_of(data, base):
        key = line_format.key(line)
        time = line_format.milliseconds(line) if key else 0
        if not time:
            _report_line(found, file, data, base, offset, line, line_format)
            continue
        places = found.places.get(key)
        if places is None:
            found.places[key] = places = []
            found.first[key] = time
        elif time < found.first[key]:
            found.first[key] = time
        places.append(Place(number, offset))
        if deciding and key not in found.decided and any(needle in line for needle in deciding):
            found.decided.add(key)
        if may_fit and key not in found.hits and matcher.line_may_fit(line):
            event = line_format.parse(line)
            if isinstance(event, str):
                places.pop()
                _report_line(found, file, data, base, offset, line, line_format)
            elif matcher.event(event):
                found.hits.add(key)


def _format(file: LogText) -> LineFormat:
    assert file.format is not None
    return file.format


def _report_line(
    found: Scan, file: LogText, data: bytes, base: int, offset: int, line: bytes, line_format: LineFormat
) -> None:
    if len(found.unreadable) >= _PROBLEMS or offset + len(line) >= file.size:
        return
    what = line_format.parse(line)
    if isinstance(what, str):
        before = file.read(0, base).count(b"\n") if base else 0
        _report(found, file, before + data.count(b"\n", 0, offset - base) + 1, what)


def _report(found: Scan, file: LogText, line: int, what: str) -> None:
    if len(found.unreadable) < _PROBLEMS:
        found.unreadable.append(Unreadable(str(file.path), line, what))
