# SPDX-License-Identifier: MIT
"""The text of message tracking logs as a search reads it: files opened once, lines by position.

A file that is deleted while it is searched can be read to its end; one that was deleted before has no lines any more.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.mail.limits import TRACE_LINE_BYTES
from bridgehead.tracking.event_line import HEADER_BYTES, FoundEvent, LineFormat
from bridgehead.tracking.log import LogName

_OPEN_FILES: Final = 128
_LINE_GUESS: Final = 1024
_PRINT_BYTES: Final = 256
BOM: Final = b"\xef\xbb\xbf"


class Unreadable(msgspec.Struct, frozen=True):
    """A line or file that could not be read. `line` is 0 for a file as a whole."""

    file: str
    line: int
    what: str


class Place(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where a line stands: number of the file in its folder's order, and offset of its first byte."""

    file: int
    offset: int


class LogText:
    """One file, as long as it was when the search began. Methods raise OSError."""

    def __init__(self, name: LogName) -> None:
        self.name = name
        self.path: Path = name.path
        status = os.stat(name.path)
        self.size, self.modified = status.st_size, status.st_mtime_ns
        self._fd = -1

    @property
    def fd(self) -> int:
        """The open file."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._fd

    def close(self) -> None:
        """Give the descriptor back; the next read opens the file anew."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @cached_property
    def head(self) -> bytes:
        """The first bytes, where the header stands."""
        return os.pread(self.fd, min(HEADER_BYTES, self.size), 0)

    @cached_property
    def format(self) -> LineFormat | None:
        """How its lines are read; None where the header does not say it."""
        return LineFormat.of_header(self.head)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`."""
        return os.pread(self.fd, max(0, end - start), start)

    def line(self, offset: int) -> bytes:
        """The line that begins there, without its line end."""
        length = _LINE_GUESS
        while True:
            data = os.pread(self.fd, min(length, self.size - offset), offset)
            end = data.find(b"\n")
            if end >= 0:
                return data[:end].rstrip(b"\r")
            if len(data) < length or length >= TRACE_LINE_BYTES:
                return data
            length *= 8

    def print_at(self, offset: int) -> bytes:
        """A fingerprint of the file's beginning and of what stands before `offset`."""
        start = max(0, offset - _PRINT_BYTES)
        return hashlib.blake2b(self.head[:_PRINT_BYTES] + self.read(start, offset), digest_size=16).digest()


class LogFolder:
    """The log files of one folder, oldest first, as they were when the search began."""

    def __init__(self, names: Sequence[LogName]) -> None:
        self.files: list[LogText] = []
        for name in names:
            try:
                self.files.append(LogText(name))
            except OSError:
                continue  # deleted a moment ago
        self._open: OrderedDict[int, None] = OrderedDict()

    def use(self, number: int) -> LogText:
        """A file for reading; the one used longest ago is closed where too many are open."""
        self._open[number] = None
        self._open.move_to_end(number)
        if len(self._open) > _OPEN_FILES:
            oldest, _ = self._open.popitem(last=False)
            self.files[oldest].close()
        return self.files[number]

    def event(self, place: Place) -> FoundEvent | None:
        """The event at a place; None where there is none (any more)."""
        try:
            file = self.use(place.file)
            if file.format is None:
                return None
            event = file.format.parse(file.line(place.offset))
        except OSError:
            return None
        return None if isinstance(event, str) else event

    def events(self, places: Sequence[Place]) -> list[FoundEvent]:
        """The events at these places, by time."""
        found = [event for place in sorted(places) if (event := self.event(place)) is not None]
        found.sort(key=lambda event: event.date_time)
        return found

    def close(self) -> None:
        """Close every file."""
        for file in self.files:
            file.close()


def lines(data: bytes, base: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a part of a file that begins at `base`, with their offsets; headers and empty lines are left out."""
    position = len(BOM) if base == 0 and data.startswith(BOM) else 0
    for line in data[position:].split(b"\n") if position else data.split(b"\n"):
        if line and line[0] != 35 and line != b"\r":
            yield base + position, line.removesuffix(b"\r")
        position += len(line) + 1
