# SPDX-License-Identifier: MIT
"""The segments of one Safety Net: which there are, and the one that is appended to.

What is worth keeping and what is dropped is decided in `net`; how a segment looks inside is in `frames`.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bridgehead.queues.safety_net import frames
from bridgehead.queues.sqlite.content_files import FileContent

log = logging.getLogger("bridgehead.queues")

WRITE_BYTES: Final = 1024 * 1024


class Segment(msgspec.Struct):
    """One file: since when, until when, and how large with its content."""

    path: Path
    begun: float
    last: float
    size: int


class Waiting(NamedTuple):
    """A message to be appended: its frame in two parts, and the queue's file where its content is one."""

    at: float
    parts: tuple[bytes, bytes]
    content: FileContent | None


class Segments:
    """Files in one folder, oldest first. Callers see to it that one thread at a time changes them.

    Args:
        now: Unix time.
        begun_anew: called when a segment was full, or its hour over.

    Attributes:
        segment_bytes: a segment that is so large is followed by another.
    """

    def __init__(self, folder: Path, now: Callable[[], float], begun_anew: Callable[[], None]) -> None:
        self._folder, self._now, self._begun_anew = folder, now, begun_anew
        self.segment_bytes = 0
        self._segments: list[Segment] = []
        self._file = -1
        self._numbers: dict[str, int] = {}

    def find(self) -> None:
        """Know what is there. Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        found = []
        for path in self._folder.iterdir():
            begun = frames.begun_at(path.name)
            if begun is not None:
                self._numbers[path.name[:10]] = max(self._numbers.get(path.name[:10], 0), frames.number_of(path.name))
                found.append(Segment(path, begun, max(begun, path.stat().st_mtime), frames.size_of(path)))
        self._segments = sorted(found, key=lambda segment: segment.path.name)

    def listed(self) -> list[Segment]:
        """Every segment, oldest first."""
        return list(self._segments)

    @property
    def used(self) -> int:
        """Octets, with large content."""
        return sum(segment.size for segment in self._segments)

    @property
    def oldest(self) -> Segment | None:
        """The one that is dropped next."""
        return self._segments[0] if self._segments else None

    @property
    def oldest_is_in_use(self) -> bool:
        """It is the only one, and appended to."""
        return len(self._segments) == 1 and self._file >= 0

    def forget_oldest(self) -> None:
        """It is not ours any more; the caller deletes it."""
        if self.oldest_is_in_use:
            self.close()
        del self._segments[0]

    def close(self) -> None:
        """Append to a new one from here on."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # --- appending ------------------------------------------------------------------------------------------------

    def append(self, batch: Sequence[Waiting]) -> tuple[int, OSError | None]:
        """Write in pieces; returns how many messages are kept, and what kept others out."""
        looked_at = done = 0
        try:
            while looked_at < len(batch):
                segment = self._current()
                segment.begun = min(segment.begun, batch[looked_at].at)
                piece: list[bytes] = []
                size = count = 0
                while looked_at < len(batch) and size < WRITE_BYTES:
                    one = batch[looked_at]
                    looked_at += 1
                    if one.content is not None and not _link(segment, one.content):
                        continue
                    piece += one.parts
                    size += len(one.parts[0]) + len(one.parts[1])
                    count += 1
                self._write(b"".join(piece))
                segment.size += size
                segment.last = max(segment.last, self._now())
                done += count
        except OSError as error:
            return done, error
        return done, None

    def _write(self, data: bytes) -> None:
        """All of it or nothing, so that no torn frame stands in the midst. Raises OSError."""
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:] if written else data)
        except OSError:
            if written:
                os.ftruncate(self._file, os.lseek(self._file, 0, os.SEEK_END) - written)
            raise

    def _current(self) -> Segment:
        """The segment to append to; a new one each hour, and when it is large. Raises OSError."""
        now = self._now()
        if self._file >= 0:
            segment = self._segments[-1]
            same_hour = frames.segment_name(now, 0)[:10] == segment.path.name[:10]
            if same_hour and segment.size < self.segment_bytes:
                return segment
            self.close()
            self._begun_anew()
        return self._new_segment(now)

    def _new_segment(self, now: float) -> Segment:
        hour = frames.segment_name(now, 0)[:10]
        number = self._numbers.get(hour, 0) + 1
        path = self._folder / frames.segment_name(now, number)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._numbers = {hour: number}
        segment = Segment(path, now, now, 0)
        self._segments.append(segment)
        return segment


def _link(segment: Segment, content: FileContent) -> bool:
    """Keep a file of the queue; whether that could be done."""
    folder = frames.folder_of(segment.path)
    target = folder / content.path.name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not target.exists():  # it does where another fork of the message was delivered before
            os.link(content.path, target)
            segment.size += content.size
    except OSError as error:
        log.error("%s cannot be kept in the Safety Net: %s", content.path.name, error.strerror or error)
        return False
    return True
