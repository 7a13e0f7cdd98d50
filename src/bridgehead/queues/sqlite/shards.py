# SPDX-License-Identifier: MIT
"""The stores of several workers: where each lies, and how those of workers that are no more come into the first.

The first worker's store is the queue's folder itself, as it is without workers; those of the others lie within it, in
folders named by their numbers. Stores are brought together before any is opened, in one transaction over both:
SQLite keeps that whole only without a write-ahead log, so both are without one meanwhile.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bridgehead.queues.record import ITEM_COLUMNS
from bridgehead.queues.safety_net import frames
from bridgehead.queues.safety_net.net import FOLDER_NAME as SAFETY_NET_FOLDER
from bridgehead.queues.sqlite import content_files
from bridgehead.queues.sqlite.database import DATABASE_NAME, connect, connect_writer, roll_back
from bridgehead.queues.sqlite.epoch import LOCK_NAME, hold
from bridgehead.queues.sqlite.faults import store_fault
from bridgehead.queues.store import StoreFault

JoinedNotes = Mapping[int, Callable[[Sequence[bytes]], bytes]]

_FIRST: Final = 1
_COLUMNS: Final = {
    "item": ITEM_COLUMNS,
    "content": "id, size, crc, data",
    "content_file": "id, size, crc, name",
    "sharing": "content_id, holders",
}
"""What has numbers that no other store gave."""
_ALIKE: Final = {"queue_state": "queue, next_hop, record", "note": "kind, id, part, record"}
"""What several stores may say alike; the first one's word counts."""


def shard_folder(queue: Path, number: int) -> Path:
    """The store of a worker, who are counted from 1."""
    return queue if number == _FIRST else queue / str(number)


def shards(queue: Path) -> list[int]:
    """Workers but the first that have a store."""
    try:
        names = os.listdir(queue)
    except FileNotFoundError:
        return []
    numbers = (int(name) for name in names if name.isascii() and name.isdecimal())
    return sorted(one for one in numbers if one > _FIRST and (queue / str(one)).is_dir())


def gather(queue: Path, workers: int, joined: JoinedNotes) -> dict[int, int]:
    """Bring what lies in stores of workers beyond so many into the first one's; their folders go.

    `joined` makes one of the records that the stores have under one number, by kind of note. Returns how many messages
    came from each of those workers. Raises StoreFault, and then what was there is there.
    """
    gone = [number for number in shards(queue) if number > workers]
    return {number: absorb(queue, shard_folder(queue, number), joined) for number in gone}


def numbers_from(queue: Path, workers: int) -> int:
    """A number above all that any of the stores of so many workers gave. Raises StoreFault."""
    return _highest(queue, workers, "SELECT value FROM meta WHERE name = 'next_id'")


def notes_from(queue: Path, workers: int, kind: int) -> int:
    """A number above those of all notes of a kind in the stores of so many workers. Raises StoreFault."""
    return _highest(queue, workers, f"SELECT ifnull(max(id), 0) + 1 FROM note WHERE kind = {kind:d}")  # noqa: S608


def _highest(queue: Path, workers: int, question: str) -> int:
    found = [1]
    for number in range(_FIRST, workers + 1):
        path = shard_folder(queue, number) / DATABASE_NAME
        if not path.exists():
            continue
        try:
            connection = connect_writer(path)
            try:
                found += [row[0] for row in connection.execute(question)]
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise store_fault(error, f"reading {path}") from error
    return max(found)


def hand_out(queue: Path, workers: int, kinds: Sequence[int]) -> None:
    """Let the stores of all workers have the first one's notes of these kinds, and no others. Raises StoreFault."""
    source = queue / DATABASE_NAME
    if not source.exists():
        return
    marks = ",".join("?" * len(kinds))
    for number in range(_FIRST + 1, workers + 1):
        folder = shard_folder(queue, number)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            connection = connect_writer(folder / DATABASE_NAME)
            try:
                connection.execute("ATTACH ? AS first", (str(source.absolute()),))
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(f"DELETE FROM main.note WHERE kind IN ({marks})", kinds)  # noqa: S608
                copy = f"INSERT INTO main.note SELECT * FROM first.note WHERE kind IN ({marks})"  # noqa: S608
                connection.execute(copy, kinds)
                connection.execute("COMMIT")
            finally:
                roll_back(connection)
                connection.close()
        except (OSError, sqlite3.Error) as error:
            raise store_fault(error, f"preparing the queue in {folder}") from error


def absorb(into: Path, shard: Path, joined: JoinedNotes) -> int:
    """Move everything of one store into another and delete its folder; how many messages. Neither may be open.

    A crash in between repeats steps: what has been moved is found moved. Raises StoreFault.
    """
    try:
        locks = []
        try:
            for folder in (into, shard):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                locks.append(hold(folder / LOCK_NAME))
            _link_content(shard / content_files.FOLDER_NAME, into / content_files.FOLDER_NAME)
            count = _move_rows(into / DATABASE_NAME, shard / DATABASE_NAME, joined)
            _move_safety_net(shard / SAFETY_NET_FOLDER, into / SAFETY_NET_FOLDER)
            shutil.rmtree(shard)
            content_files.sync_folder(into)
        finally:
            for lock in locks:
                os.close(lock)
    except (OSError, sqlite3.Error, StoreFault) as error:
        fault = store_fault(error, f"bringing the queue of a former worker in {shard} into {into}")
        raise type(fault)(f"{fault}; with as many workers as before the server starts all the same") from error
    return count


def _link_content(source: Path, target: Path) -> None:
    """Large content has a name in both folders until the database says which one counts."""
    if not source.is_dir():
        return
    target.mkdir(mode=0o700, exist_ok=True)
    for file in source.iterdir():
        if not (target / file.name).exists():
            os.link(file, target / file.name)
    content_files.sync_folder(target)


def _move_rows(into: Path, shard: Path, joined: JoinedNotes) -> int:
    if not shard.exists():
        return 0
    _without_log(shard)
    _without_log(into)
    connection = connect(into)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("ATTACH ? AS shard", (str(shard.absolute()),))
        connection.execute("PRAGMA shard.synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        count = int(connection.execute("SELECT count(*) FROM shard.item").fetchone()[0])
        for table, columns in _COLUMNS.items():
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM shard.{table}")  # noqa: S608
            connection.execute(f"DELETE FROM shard.{table}")  # noqa: S608
        for kind, join in joined.items():
            _join_notes(connection, kind, join)
        for table, columns in _ALIKE.items():
            connection.execute(
                f"INSERT OR IGNORE INTO main.{table} ({columns}) SELECT {columns} FROM shard.{table}"  # noqa: S608
            )
            connection.execute(f"DELETE FROM shard.{table}")  # noqa: S608
        _join_meta(connection)
        connection.execute("COMMIT")
    finally:
        roll_back(connection)
        connection.close()
    return count


def _join_notes(connection: sqlite3.Connection, kind: int, join: Callable[[Sequence[bytes]], bytes]) -> None:
    """Make one of the first notes under each number; the other parts are those of single messages."""
    found: dict[int, list[bytes]] = {}
    for schema in ("main", "shard"):
        question = f"SELECT id, record FROM {schema}.note WHERE kind = ? AND part = 0"  # noqa: S608
        for number, record in connection.execute(question, (kind,)):
            found.setdefault(number, []).append(record)
    connection.executemany(
        "INSERT OR REPLACE INTO main.note (kind, id, part, record) VALUES (?, ?, 0, ?)",
        [(kind, number, join(records)) for number, records in found.items()],
    )


def _join_meta(connection: sqlite3.Connection) -> None:
    """Numbers and runs go on above those of both; one that did not end in order counts for both."""
    for name, function in (("next_id", "max"), ("epoch", "max"), ("clean", "min")):
        connection.execute(
            f"INSERT OR REPLACE INTO main.meta SELECT name, {function}(value) FROM"  # noqa: S608
            " (SELECT * FROM main.meta UNION ALL SELECT * FROM shard.meta) WHERE name = ? GROUP BY name",
            (name,),
        )


def _without_log(path: Path) -> None:
    """Bring a database up to date, its write-ahead log into it, and leave it in SQLite's own journal mode."""
    connection = connect_writer(path)
    try:
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        if mode != "delete":
            raise StoreFault(f"{path} is in use (journal mode {mode})")
    finally:
        connection.close()


def _move_safety_net(source: Path, target: Path) -> None:
    """Segments get numbers that are free in their hour; their large content is there before they are."""
    if not source.is_dir():
        return
    target.mkdir(mode=0o700, exist_ok=True)
    for segment in sorted(source.glob(f"*{frames.SUFFIX}")):
        begun, number = frames.begun_at(segment.name), frames.number_of(segment.name)
        if begun is None:
            continue
        while (place := target / frames.segment_name(begun, number)).exists():
            number += 1
        _link_content(frames.folder_of(segment), frames.folder_of(place))
        segment.rename(place)
