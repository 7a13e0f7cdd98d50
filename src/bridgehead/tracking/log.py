# SPDX-License-Identifier: MIT
"""One log file after the other, in the shape of Exchange's text logs: UTF-8 with BOM, CR LF, five # lines, CSV.

Callers append finished lines from one thread at the price of a list append; the thread of `logs.py` writes
them. Files roll by size and UTC day (`PREFIXyyyymmdd-nnnn.log`) and go by age and by size of the directory. A
failing disk is reported once and counted; lines wait, up to LOG_BACKLOG_BYTES, until it works again. What a line
holds is the business of the modules that call this one.
"""

import fcntl
import logging
import os
import re
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.mail.limits import LOG_BACKLOG_BYTES

SOFTWARE: Final = "Microsoft Exchange Server"
"""The word in the first line. It names the format: readers of these files, scripts and format detectors among them,
take a file for an Exchange log by exactly this line and skip it otherwise."""
VERSION: Final = "15.02.1748.010"
"""Version of the format (Exchange Server 2019, the 30-column tracking schema), not of this program."""
FLUSH_BYTES: Final = 256 * 1024
"""A batch of this size is written without waiting for the interval."""

_NAME = re.compile(
    r"(?P<prefix>[A-Za-z]+?)(?P<day>\d{8})(?P<hour>\d{2})?-(?P<number>\d+)\.(?P<suffix>log|jsonl)", re.IGNORECASE
)
_logger = logging.getLogger("bridgehead.logs")


class LogKind(msgspec.Struct, frozen=True):
    """What tells one log from another: file prefix, Log-type and columns; without columns, files have no # lines.

    `numbers` and `lists` are columns that hold one number, or values joined by ;.
    """

    prefix: str
    log_type: str
    fields: tuple[str, ...]
    numbers: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    suffix: str = "log"


class LogLimits(msgspec.Struct, frozen=True):
    """How much is kept. `max_age` zero keeps files whatever their age (Exchange's 00:00:00)."""

    max_age: timedelta
    max_file_size: int
    max_directory_size: int


class LogName(msgspec.Struct, frozen=True, order=True):
    """A log file's name in parts; sorts by age."""

    day: date
    hour: int
    number: int
    path: Path


def log_files(folder: Path, prefix: str, suffix: str = "log") -> list[LogName]:
    """The log files with this prefix and ending, oldest first. A folder that is not there has none."""
    found = []
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    for name in names:
        match = _NAME.fullmatch(name)
        if match and match["prefix"].upper() == prefix and match["suffix"].lower() == suffix:
            try:
                day = datetime.strptime(match["day"], "%Y%m%d").replace(tzinfo=UTC).date()
            except ValueError:
                continue
            found.append(LogName(day, int(match["hour"] or 0), int(match["number"]), folder / name))
    return sorted(found)


class LogFile:
    """The log of one kind in one folder.

    Args:
        folder: made when the first line is written.
        now: Unix time; decides the day of a file and what is too old.
        wake: called when FLUSH_BYTES have gathered; must not block.
    """

    def __init__(
        self, folder: Path, kind: LogKind, limits: LogLimits, now: Callable[[], float],
        wake: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        self.folder, self.kind, self.limits = folder, kind, limits
        self.lost_lines = 0
        self._now, self.wake = now, wake
        self.follower: Callable[[list[bytes]], object] | None = None
        """Gets all lines on their way to the file, from the thread that writes; must not block."""
        self._lines: list[bytes] = []
        self._gathered = 0
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._failing = False
        self._lock = threading.Lock()
        self._fd = -1
        self._path: Path | None = None
        self._day = date.min
        self._size = 0
        self._header_bytes = 0

    def append(self, line: bytes) -> None:
        """Take one line, with its CR LF. Never blocks, never raises. From one thread only."""
        self._lines.append(line)
        self._gathered += len(line)
        if self._gathered >= FLUSH_BYTES:
            self._gathered = 0
            self.wake()

    def flush(self) -> None:
        """Write what was appended. From any thread; never raises."""
        with self._lock:
            # Each of these list operations is atomic, so a line appended meanwhile is in this batch or in the next.
            count = len(self._lines)
            batch = self._lines[:count]
            del self._lines[:count]
            self._keep(batch)
            if self.follower is not None and batch:
                self.follower(batch)
            if not self._unwritten:
                return
            try:
                self._write()
            except OSError as error:
                self._failed(error)
            else:
                if self._failing:
                    self._failing = False
                    _logger.warning("%s: the log is written again; %d lines were lost", self.folder, self.lost_lines)

    def sync(self) -> None:
        """Write what was appended and have the disk keep it. Raises OSError where it does not."""
        self.flush()
        with self._lock:
            if self._unwritten:
                raise OSError(f"{self.folder}: {len(self._unwritten)} lines wait for the disk")
            if self._fd >= 0:
                os.fsync(self._fd)

    def close(self) -> None:
        """Write what is left and close the file. Never raises."""
        self.flush()
        with self._lock:
            self._close_file()

    def _keep(self, batch: list[bytes]) -> None:
        size = sum(map(len, batch))
        if self._unwritten_bytes + size > LOG_BACKLOG_BYTES:
            self.lost_lines += len(batch)
            return
        self._unwritten += batch
        self._unwritten_bytes += size

    def _failed(self, error: OSError) -> None:
        self._close_file()
        if self._size == self._header_bytes and self._path is not None:
            _delete(self._path)  # nothing but a header: attempts on a full disk leave no trail of files
        self._path = None
        if not self._failing:
            self._failing = True
            _logger.error(
                "%s: the log cannot be written: %s; lines are kept in memory up to %d MiB, then lost, until it works",
                self.folder, error.strerror or error, LOG_BACKLOG_BYTES >> 20,
            )  # fmt: skip

    def _write(self) -> None:
        """Write all lines, rolling where needed; what was written leaves the list even when a later write fails."""
        while self._unwritten:
            today = datetime.fromtimestamp(self._now(), UTC).date()
            if self._fd < 0 or today != self._day or self._is_full(len(self._unwritten[0])):
                self._roll(today)
            count = self._fitting()
            self._write_lines(count)

    def _is_full(self, line_bytes: int) -> bool:
        return self._size > self._header_bytes and self._size + line_bytes > self.limits.max_file_size

    def _fitting(self) -> int:
        """How many lines the open file still takes; at least one."""
        room = self.limits.max_file_size - self._size
        if self._unwritten_bytes <= room:
            return len(self._unwritten)
        count = 0
        for line in self._unwritten:
            room -= len(line)
            if room < 0:
                break
            count += 1
        return max(1, count)

    def _write_lines(self, count: int) -> None:
        data = b"".join(self._unwritten[:count])
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:] if written else data)
        finally:
            self._size += written
            self._forget(written)

    def _forget(self, written: int) -> None:
        """Drop the first octets of what waits; a line that was written in part is written whole once more."""
        count = 0
        while count < len(self._unwritten) and written >= len(self._unwritten[count]):
            written -= len(self._unwritten[count])
            self._unwritten_bytes -= len(self._unwritten[count])
            count += 1
        del self._unwritten[:count]

    def _roll(self, today: date) -> None:
        """Open the next file of the day. A new process begins a new file, so no file ever has a BOM inside."""
        self._close_file()
        self._path = None
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        existing = log_files(self.folder, self.kind.prefix, self.kind.suffix)
        number = 1 + max((file.number for file in existing if file.day == today), default=0)
        header = self._header()
        path = self._create(today, number)
        try:
            if os.write(self._fd, header) != len(header):
                raise OSError(28, "No space left on device")
        except OSError:
            self._close_file()
            path.unlink(missing_ok=True)
            raise
        self._path = path
        self._day, self._size, self._header_bytes = today, len(header), len(header)
        self._delete_old(existing, today)

    def _create(self, today: date, number: int) -> Path:
        """The file with this number, or the next one that no other worker has taken meanwhile.

        It is locked as long as it is open, so that another worker does not delete it for its age.
        """
        while True:
            path = self.folder / f"{self.kind.prefix}{today:%Y%m%d}-{number:04}.{self.kind.suffix}"
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            except FileExistsError:
                number += 1
            else:
                fcntl.flock(self._fd, fcntl.LOCK_SH)
                return path

    def _header(self) -> bytes:
        if not self.kind.fields:
            return b""
        stamp = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines = (
            f"#Software: {SOFTWARE}",
            f"#Version: {VERSION}",
            f"#Log-type: {self.kind.log_type}",
            f"#Date: {stamp}",
            f"#Fields: {','.join(self.kind.fields)}",
        )
        return b"\xef\xbb\xbf" + "".join(f"{line}\r\n" for line in lines).encode()

    def _delete_old(self, existing: list[LogName], today: date) -> None:
        """Delete files past the age, then the oldest until the directory holds no more than it may."""
        kept = []
        for file in existing:
            if self.limits.max_age and today - file.day > self.limits.max_age and not _is_open(file.path):
                _delete(file.path)
            else:
                kept.append((file, _size_of(file.path)))
        total = self._size + sum(size for _, size in kept)
        for file, size in kept:
            if total <= self.limits.max_directory_size:
                break
            if _is_open(file.path):
                continue
            _delete(file.path)
            total -= size

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_open(path: Path) -> bool:
    """Whether a worker writes this file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _logger.warning("%s: the old log file cannot be deleted: %s", path, error.strerror or error)
