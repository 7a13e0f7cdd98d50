# SPDX-License-Identifier: MIT
"""The queue database as SQLite sees it: connections and schema."""

import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from bridgehead.queues.sqlite.arranging import arrange_waiting
from bridgehead.queues.store import StoreFault

DATABASE_NAME: Final = "queue.db"
SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x42726471
PAGE_BYTES: Final = 8192
BUSY_MILLISECONDS: Final = 5000
WAL_KEPT_BYTES: Final = 64 * 1024 * 1024


def connect(path: Path, *, read_only: bool = False, cache_kib: int = 16 * 1024) -> sqlite3.Connection:
    """A connection that begins and ends transactions only where told to. Raises sqlite3.Error."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False,
        cached_statements=256,
    )  # fmt: skip
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        # In pages: SQLite works KiB out for pages of 4096 bytes, before it has seen how large ours are.
        connection.execute(f"PRAGMA cache_size = {cache_kib * 1024 // PAGE_BYTES}")
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
        prepare_schema(connection, path)
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


def prepare_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Create the schema, or bring an older one up to date. Raises sqlite3.Error, StoreFault."""
    found = check_schema(connection, path)
    if found == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(found + 1, SCHEMA_VERSION + 1):
            script = files("bridgehead.queues.sqlite").joinpath(f"schema/{version}.sql").read_text("utf-8")
            for statement in _statements(script):
                connection.execute(statement)
        if 0 < found < 2:
            arrange_waiting(connection)
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
