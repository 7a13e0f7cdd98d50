# SPDX-License-Identifier: MIT
"""Checks a store without changing it: structure, each record, each content, what has no owner.

`verify_directory` does so for the store of a stopped server; a running one calls `verify_connection` on its reader.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bridgehead.queues.record import ITEM_COLUMNS, entry_of, next_hop_of, state_of
from bridgehead.queues.safety_net.net import FOLDER_NAME as SAFETY_NET_FOLDER
from bridgehead.queues.safety_net.net import verify_folder
from bridgehead.queues.sqlite.content_files import FOLDER_NAME, FileContent, damage_of_file, orphans
from bridgehead.queues.sqlite.database import DATABASE_NAME, check_schema, connect, prepare_schema
from bridgehead.queues.sqlite.reading import damage_of_bytes
from bridgehead.queues.sqlite.statements import for_ids
from bridgehead.queues.store import Problem, StoreFault, StoreUnreadable

_AT_LEASE: Final = "the message is moved to the Poison queue when its turn comes; ask its sender to send it again"
_DAMAGED: Final = "stop the server, copy the folder, export what can be read, and check the disk"
_HARMLESS: Final = "none needed: it is removed at the next start"


def verify_directory(path: Path) -> list[Problem]:
    """Check the store of a stopped server. Nothing in the folder is changed: a database whose write-ahead log was
    left by a crash is read from a copy. Raises StoreFault where it cannot be read at all."""
    database = path / DATABASE_NAME
    if not database.is_file():
        raise StoreFault(f"{path} holds no queue: there is no {DATABASE_NAME}")
    try:
        with tempfile.TemporaryDirectory(prefix="queue-verify-") as scratch:
            copy = Path(scratch) / DATABASE_NAME
            shutil.copyfile(database, copy)
            log = path / f"{DATABASE_NAME}-wal"
            if log.exists():
                shutil.copyfile(log, copy.with_name(log.name))
            connection = connect(copy)
            try:
                if check_schema(connection, database):
                    prepare_schema(connection, copy)  # as the next start would
                return [
                    *verify_connection(connection, path / FOLDER_NAME, 2**63),
                    *verify_folder(path / SAFETY_NET_FOLDER),
                ]
            finally:
                connection.close()
    except OSError as error:
        raise StoreFault(f"reading {path}: {error}") from error
    except sqlite3.Error as error:
        return [Problem(str(database), f"the database cannot be read: {error}", _DAMAGED, lost=True)]


def verify_connection(connection: sqlite3.Connection, folder: Path, before: int) -> list[Problem]:
    """Check through a connection.

    Args:
        folder: of the content files.
        before: files with this number or a higher one belong to messages that are just arriving.
    """
    found: list[Problem] = []
    for check in (_structure, _records, _contents, _ownership, _sharing, _states):
        try:
            found += check(connection)
        except sqlite3.DatabaseError as error:
            found.append(Problem("queue database", f"{check.__name__.strip('_')}: {error}", _DAMAGED, lost=True))
    found += _files(connection, folder)
    found += _files_without_owner(connection, folder, before)
    return found


def _structure(connection: sqlite3.Connection) -> Iterator[Problem]:
    for (text,) in connection.execute("PRAGMA quick_check(100)"):
        if text != "ok":
            yield Problem("queue database", text, _DAMAGED, lost=True)


def _records(connection: sqlite3.Connection) -> Iterator[Problem]:
    for row in connection.execute(f"SELECT {ITEM_COLUMNS} FROM item"):  # noqa: S608
        try:
            entry_of(row)
        except StoreUnreadable as error:
            yield Problem(f"entry {row[0]}", str(error), _AT_LEASE, lost=True)


def _contents(connection: sqlite3.Connection) -> Iterator[Problem]:
    for key, size, crc, data in connection.execute("SELECT id, size, crc, data FROM content"):
        if text := damage_of_bytes(key, size, crc, data):
            yield Problem(f"content {key}", text, _AT_LEASE, lost=True)


def _ownership(connection: sqlite3.Connection) -> Iterator[Problem]:
    for key, content in connection.execute(
        "SELECT id, content_id FROM item WHERE NOT EXISTS (SELECT 1 FROM content WHERE content.id = content_id)"
        " AND NOT EXISTS (SELECT 1 FROM content_file WHERE content_file.id = content_id)"
    ):
        yield Problem(f"entry {key}", f"content {content} is missing", _AT_LEASE, lost=True)
    for table in ("content", "content_file"):
        for (key,) in connection.execute(
            f"SELECT id FROM {table} EXCEPT SELECT content_id FROM item"  # noqa: S608
        ):
            yield Problem(f"content {key}", "no entry uses this content", "none needed: it only takes up space")


def _sharing(connection: sqlite3.Connection) -> Iterator[Problem]:
    for content, holders, counted in connection.execute(
        "SELECT content_id, holders, counted FROM (SELECT content_id, count(*) AS counted, ifnull((SELECT holders"
        " FROM sharing WHERE sharing.content_id = item.content_id), 1) AS holders FROM item GROUP BY content_id)"
        " WHERE holders <> counted"
    ):
        yield Problem(
            f"content {content}", f"{counted} entries use this content, {holders} are counted",
            "report this as a fault of the server" if holders < counted else "none needed: it only takes up space",
            lost=holders < counted,
        )  # fmt: skip


def _states(connection: sqlite3.Connection) -> Iterator[Problem]:
    for queue, key, record in connection.execute("SELECT queue, next_hop, record FROM queue_state"):
        try:
            state_of(record)
            next_hop_of(key)
        except StoreUnreadable as error:
            yield Problem(f"state of queue {queue} {key!r}", str(error), "suspend or retry the queue to write it anew")


def _files(connection: sqlite3.Connection, folder: Path) -> Iterator[Problem]:
    suspects: dict[int, str] = {}
    try:
        for key, size, crc, name in connection.execute("SELECT id, size, crc, name FROM content_file"):
            if text := damage_of_file(FileContent(folder / name, size, crc), read=True):
                suspects[key] = text
        # A running server may have delivered the message meanwhile, and its file went with it.
        for (key,) in for_ids(connection, "SELECT id FROM content_file WHERE id IN (ids)", suspects):
            yield Problem(f"content {key}", suspects[key], _AT_LEASE, lost=True)
    except sqlite3.DatabaseError as error:
        yield Problem("queue database", f"content files: {error}", _DAMAGED, lost=True)


def _files_without_owner(connection: sqlite3.Connection, folder: Path, before: int) -> Iterator[Problem]:
    def named(names: list[str]) -> set[str]:
        marks = ",".join("?" * len(names))
        rows = connection.execute(f"SELECT name FROM content_file WHERE name IN ({marks})", names)  # noqa: S608
        return {row[0] for row in rows}

    try:
        for name in orphans(folder, before, named):
            yield Problem(f"file {name}", "no entry uses this content file", _HARMLESS)
    except (OSError, sqlite3.DatabaseError) as error:
        yield Problem(f"folder {folder.name}", f"its files cannot be listed: {error}", "check the disk")
