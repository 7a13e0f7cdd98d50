# SPDX-License-Identifier: MIT
"""The trace index: an SQLite file beside the logs that says which messages may fit and where their lines stand.

It holds nothing that the logs do not hold; lost, damaged, old or foreign, it is made anew from them. Which part of a
file it covers is written in the same transaction as the rows, with fingerprints by which a file that was changed is
told. Making it is `trace_indexer.py`, asking it `trace_candidates.py`.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.tracking.log_text import LogFolder, LogText

INDEX_NAME: Final = "trace.db"
APPLICATION_ID: Final = 0x42725472
SCHEMA_VERSION: Final = 1
DELIVERED_ONLY: Final = 1
"""`states` of messages of which nothing more is to be said: they are kept out of the index over states."""

SCHEMA: Final = f"""
CREATE TABLE file (id INTEGER PRIMARY KEY, name TEXT UNIQUE, covered INTEGER, size INTEGER, modified INTEGER,
    print BLOB, first INTEGER, last INTEGER, events INTEGER);
CREATE TABLE unreadable (file INTEGER, line INTEGER, what TEXT);
CREATE TABLE message (id INTEGER PRIMARY KEY, key TEXT UNIQUE, first INTEGER, last INTEGER, states INTEGER,
    sender INTEGER, origin INTEGER, facet INTEGER, places BLOB);
CREATE INDEX message_first ON message (first);
CREATE INDEX message_sender ON message (sender, first);
CREATE INDEX message_origin ON message (origin, first);
CREATE INDEX message_facet ON message (facet, first);
CREATE INDEX message_open ON message (first, states) WHERE states <> {DELIVERED_ONLY};
CREATE TABLE word (id INTEGER PRIMARY KEY, kind TEXT, text TEXT, UNIQUE (kind, text));
CREATE TABLE address (id INTEGER PRIMARY KEY, text TEXT UNIQUE);
CREATE TABLE recipient (address INTEGER, message INTEGER, PRIMARY KEY (address, message)) WITHOUT ROWID;
CREATE TABLE subject (message INTEGER PRIMARY KEY, text TEXT);
CREATE TABLE identifier (kind TEXT, text TEXT, message INTEGER, PRIMARY KEY (kind, text, message)) WITHOUT ROWID;
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
        events, messages: in it.
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
    first: int
    last: int
    events: int


class IndexDamaged(Exception):
    """The index holds what cannot be; the message says what."""


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
    rows = connection.execute("SELECT id, name, covered, size, modified, print, first, last, events FROM file")
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
    (messages,) = connection.execute("SELECT coalesce(max(id), 0) - coalesce(min(id), 1) + 1 FROM message").fetchone()
    return IndexFacts(
        state=IndexState.COMPLETE if total - covered <= NEARLY_BYTES else IndexState.BUILDING,
        covered_bytes=covered,
        log_bytes=total,
        size=disk_size(path),
        events=events,
        messages=messages,
    )


NEARLY_BYTES: Final = 32 * 1024 * 1024
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
