# SPDX-License-Identifier: MIT
"""The queue database as SQLite sees it: connections, schema, and statements over many rows at once.

The `sqlite3` module gives up the GIL and takes it back around every step of a statement. With a busy event loop
beside it each of these costs far more than the work itself, hence one statement for up to 64 rows.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, Final

from bridgehead.queues.store import StoreFault

DATABASE_NAME: Final = "queue.db"
SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x42726471
PAGE_BYTES: Final = 8192
ROWS_PER_STATEMENT: Final = 64
BUSY_MILLISECONDS: Final = 5000
WAL_KEPT_BYTES: Final = 64 * 1024 * 1024

NOTE_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS note (kind INTEGER NOT NULL, id INTEGER NOT NULL, part INTEGER NOT NULL,"
    " record BLOB NOT NULL, PRIMARY KEY (kind, id, part)) WITHOUT ROWID"
)
"""What administrators did and ordered (`swapping.py`); a table that older versions of this schema lack."""

Row = tuple[Any, ...]


def connect(path: Path, *, read_only: bool = False, cache_kib: int = 16 * 1024) -> sqlite3.Connection:
    """A connection that begins and ends transactions only where told to. Raises sqlite3.Error."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False,
        cached_statements=256,
    )  # fmt: skip
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        if read_only:
            connection.execute("PRAGMA query_only = 1")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes; creates database and schema where missing. Raises sqlite3.Error, StoreFault."""
    connection = connect(path)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreFault(
                f"{path}: SQLite offers no write-ahead log here (journal mode {mode}); is it a network disk?"
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        # Debian builds SQLite so that deleted content is overwritten, which doubles what a delivered message writes.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
        _prepare_schema(connection, path)
        connection.execute(NOTE_SCHEMA)
    except (sqlite3.Error, StoreFault):
        connection.close()
        raise
    return connection


def check_schema(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version found, 0 for an empty file. Raises StoreFault where this program cannot use it."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise StoreFault(f"{path} was written by a newer version (schema {version}, known up to {SCHEMA_VERSION})")
    if version and application != APPLICATION_ID:
        raise StoreFault(f"{path} is a database, but not a queue of this server")
    return version


def _prepare_schema(connection: sqlite3.Connection, path: Path) -> None:
    if check_schema(connection, path) == SCHEMA_VERSION:
        return
    script = files("bridgehead.queues").joinpath("schema/1.sql").read_text("utf-8")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(script):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit on its own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that failed; some errors have ended it already."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        pass  # the connection is opened anew after such an error


def pieces(count: int, largest: int = ROWS_PER_STATEMENT) -> Iterator[int]:
    """`count` as a sum of powers of two, so that few different statements exist and stay prepared."""
    while count >= largest:
        yield largest
        count -= largest
    while count:
        size = 1 << (count.bit_length() - 1)
        yield size
        count -= size


@lru_cache(maxsize=256)
def _with_values(statement: str, columns: int, rows: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return statement + ",".join([row] * rows)


@lru_cache(maxsize=256)
def _with_list(statement: str, count: int) -> str:
    return statement.replace("(ids)", "(" + ",".join("?" * count) + ")")


def insert_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[Row]) -> None:
    """Run `statement`, which ends in VALUES, for all rows."""
    position = 0
    for size in pieces(len(rows)):
        part = rows[position : position + size]
        values = part[0] if size == 1 else tuple(chain.from_iterable(part))
        connection.execute(_with_values(statement, len(part[0]), size), values)
        position += size


def for_ids(connection: sqlite3.Connection, statement: str, ids: Iterable[int], *first: object) -> list[Row]:
    """Run `statement`, in which `(ids)` stands for a list, for all ids; the rows it gives. `first` is bound before."""
    wanted = tuple(ids)
    found: list[Row] = []
    position = 0
    for size in pieces(len(wanted)):
        part = wanted[position : position + size]
        found += connection.execute(_with_list(statement, size), first + part if first else part).fetchall()
        position += size
    return found
