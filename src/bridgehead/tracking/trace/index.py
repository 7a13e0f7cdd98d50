# SPDX-License-Identifier: MIT
"""The trace index: an SQLite file beside the logs that says which messages may fit and where their lines stand.

It holds nothing that the logs do not hold; lost, damaged, old or foreign, it is made anew from them. It consists of
segments (`segment.py`), each of some megabytes of one log, whose columns are rows of one table with a checksum.
Which part of a file it covers is written in the same transaction, with fingerprints by which a file that was changed is
told. Making it is `indexer.py`, asking it `candidates.py`.
"""

import sqlite3
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from bridgehead.tracking.trace.backlog import MOST_BYTES
from bridgehead.tracking.trace.log_text import LogFolder, LogText
from bridgehead.tracking.trace.segment import ARRAYS, SEPARATOR

INDEX_NAME: Final = "trace.db"
APPLICATION_ID: Final = 0x42725472
SCHEMA_VERSION: Final = 2

SCHEMA: Final = f"""
CREATE TABLE file (id INTEGER PRIMARY KEY, name TEXT UNIQUE, covered INTEGER, size INTEGER, modified INTEGER,
    print BLOB, events INTEGER);
CREATE TABLE unreadable (file INTEGER, line INTEGER, what TEXT);
CREATE TABLE segment (id INTEGER PRIMARY KEY, file INTEGER, start INTEGER, first INTEGER, newest INTEGER, last INTEGER,
    messages INTEGER);
CREATE TABLE part (segment INTEGER, name TEXT, sum INTEGER, data BLOB, PRIMARY KEY (segment, name));
CREATE TABLE open_message (key TEXT PRIMARY KEY, file INTEGER, last TEXT, states TEXT) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


class IndexState(StrEnum):
    """How far the index can be used."""

    COMPLETE = "complete"
    BUILDING = "building"
    MISSING = "missing"
    DAMAGED = "damaged"
    OFF = "off"


class IndexFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How the index stands.

    Attributes:
        covered_bytes, log_bytes: how much of the logs it covers; the rest is read through by each search.
        size: of its file on disk, in octets.
        events, messages: in it. A message whose events stand far apart counts in each part of the logs.
        fault: what is wrong with it.
    """

    state: IndexState
    covered_bytes: int = 0
    log_bytes: int = 0
    size: int = 0
    events: int = 0
    messages: int = 0
    fault: str = ""


class CoveredFile(msgspec.Struct):
    """A file as the index knows it."""

    id: int
    name: str
    covered: int
    size: int
    modified: int
    print: bytes
    events: int


class IndexDamaged(Exception):
    """The index holds what cannot be; the message says what."""


class StoredSegment:
    """A segment in the index, whose parts are read when they are asked for.

    Attributes:
        id, file: numbers of the segment and its file in the index.
        start: position of its first line in the file.
        first, newest, last: see `segment.Segment`.

    Reading raises sqlite3.Error, IndexDamaged.
    """

    def __init__(self, connection: sqlite3.Connection, *columns: int) -> None:
        self._connection = connection
        self.id, self.file, self.start, self.first, self.newest, self.last, self.messages = columns
        self._arrays: dict[str, array[int]] = {}

    def part(self, name: str) -> bytes | None:
        """A part as octets; None where there is none of this name."""
        found = self._connection.execute(
            "SELECT data, sum FROM part WHERE segment = ? AND name = ?", (self.id, name)
        ).fetchone()
        if found is None:
            return None
        data: bytes = found[0]
        if crc32(data) != found[1]:
            raise IndexDamaged(f"part {name} of segment {self.id} is not what was written")
        return data

    def text(self, name: str) -> bytes:
        """A column of text."""
        data = self.part(name)
        if data is None:
            raise IndexDamaged(f"segment {self.id} has no part {name}")
        return data

    def numbers(self, name: str) -> "array[int]":
        """A column of numbers; empty where there is none. Kept for the next time."""
        found = self._arrays.get(name)
        if found is None:
            found = self._arrays[name] = array(ARRAYS.get(name, "I"), self.part(name) or b"")
        return found

    @cached_property
    def keys(self) -> list[bytes]:
        """Keys of its messages, by number."""
        return self.text("key")[1:-1].split(SEPARATOR)

    @cached_property
    def states(self) -> bytearray:
        """What became of each message, as far as the index goes."""
        return bytearray(self.text("states"))

    def offsets(self, number: int) -> "array[int]":
        """Positions of a message's lines in the file, less `start`."""
        ends = self.numbers("ends")
        return self.numbers("offsets")[ends[number - 1] if number else 0 : ends[number]]

    def checksums(self) -> memoryview:
        """Checksums of all keys, as numbers."""
        return memoryview(self.numbers("hash")).cast("B").cast("I")[_UPPER_HALF::2]

    def number_of(self, key: bytes, checksum: int) -> int | None:
        """The number of the message with this key, if it has one here."""
        hashes = self.numbers("hash")
        at = bisect_left(hashes, checksum << 32)
        while at < len(hashes) and hashes[at] >> 32 == checksum:
            number = hashes[at] & 0xFFFFFFFF
            if self.keys[number] == key:
                return number
            at += 1
        return None


_UPPER_HALF: Final = 1 if sys.byteorder == "little" else 0


def stored_segments(connection: sqlite3.Connection) -> list[StoredSegment]:
    """All segments, those that hold the newest messages first."""
    rows = connection.execute("SELECT id, file, start, first, newest, last, messages FROM segment ORDER BY newest DESC")
    return [StoredSegment(connection, *row) for row in rows]


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, in one read transaction. Raises sqlite3.Error, IndexDamaged."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0, isolation_level=None)
    try:
        check_identity(connection)
        connection.execute("PRAGMA mmap_size = 268435456")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM file").fetchone()  # from here on, nothing changes
    except BaseException:
        connection.close()
        raise
    return connection


def check_identity(connection: sqlite3.Connection) -> None:
    """Raises IndexDamaged where the file is no index of this version."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise IndexDamaged("it is not a trace index")
    if version != SCHEMA_VERSION:
        raise IndexDamaged(f"it has version {version} where {SCHEMA_VERSION} is expected")


def covered_files(connection: sqlite3.Connection) -> list[CoveredFile]:
    """All files that the index covers in part or whole."""
    rows = connection.execute("SELECT id, name, covered, size, modified, print, events FROM file")
    return [CoveredFile(*row) for row in rows]


def still_true(row: CoveredFile, file: LogText) -> bool:
    """Whether a file still begins with what the index covers."""
    if file.size < row.covered or (file.size == row.size and file.modified != row.modified):
        return False
    try:
        return file.print_at(row.covered) == row.print
    except OSError:
        return False


def valid_files(connection: sqlite3.Connection, folder: LogFolder) -> dict[int, CoveredFile]:
    """What the index says about files that are there and unchanged, by their number in the folder."""
    rows = {row.name: row for row in covered_files(connection)}
    found = {}
    for number, file in enumerate(folder.files):
        row = rows.get(file.path.name)
        if row is not None and still_true(row, folder.use(number)):
            found[number] = row
    return found


def facts_about(
    folder: LogFolder, valid: Iterable[tuple[int, CoveredFile]], path: Path, connection: sqlite3.Connection
) -> IndexFacts:
    """How an index that can be read stands."""
    covered = events = 0
    for _, row in valid:
        covered += row.covered
        events += row.events
    total = sum(file.size for file in folder.files)
    (messages,) = connection.execute("SELECT coalesce(sum(messages), 0) FROM segment").fetchone()
    return IndexFacts(
        state=IndexState.COMPLETE if total - covered <= NEARLY_BYTES else IndexState.BUILDING,
        covered_bytes=covered,
        log_bytes=total,
        size=disk_size(path),
        events=events,
        messages=messages,
    )


NEARLY_BYTES: Final = MOST_BYTES
"""An index that lacks no more than this is as good as complete: the rest is read in a moment."""


def disk_size(path: Path) -> int:
    """Octets of the index with its journal."""
    size = 0
    for one in index_files(path):
        with suppress(OSError):
            size += one.stat().st_size
    return size


def index_files(path: Path) -> list[Path]:
    """All files that belong to an index."""
    return [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]
