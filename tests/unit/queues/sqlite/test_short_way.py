# SPDX-License-Identifier: MIT
"""Commits that the event loop makes and the kernel syncs: what happens when such a sync fails."""

import asyncio
import errno
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bridgehead.mail.content import BytesContent
from bridgehead.queues.sqlite import writer
from bridgehead.queues.sqlite.database import DATABASE_NAME, connect, connect_writer
from bridgehead.queues.sqlite.disk_sync import DiskSync
from bridgehead.queues.sqlite.log_end import LogEnd
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import ItemFilter, StoreFault, Transaction
from support.queue_store_contract import entry, put

EIO = OSError(errno.EIO, "Input/output error")


class Disk:
    """Stands between the store and the real syncs.

    Attributes:
        short: how many syncs of the short way there were.
        fails: asked before each sync of the short way whether it fails.
    """

    def __init__(self) -> None:
        self.short = 0
        self.fails: Callable[[], bool] = lambda: False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk, begin = Disk(), DiskSync.begin

    def counted(self: DiskSync, finished: Callable[[OSError | None], object]) -> None:
        disk.short += 1
        failing = disk.fails()
        begin(self, (lambda error: finished(EIO)) if failing else finished)

    monkeypatch.setattr(DiskSync, "begin", counted)
    monkeypatch.setattr(writer, "_QUICK_SECONDS", 60.0)
    return disk


@pytest.fixture
async def store(tmp_path: Path, disk: Disk) -> AsyncIterator[SqliteQueueStore]:
    store = SqliteQueueStore(tmp_path / "queue", reserve_bytes=65_536)
    await store.open()
    await store.settled()
    while store._writer._chores:  # the thread is about to cross the last one off
        await asyncio.sleep(0.001)
    yield store
    await store.close()


def after_a_crash(folder: Path, copy: Path) -> list[int]:
    """Entries that a start would find if the process were killed now, with the database checked."""
    copy.mkdir()
    for name in (DATABASE_NAME, f"{DATABASE_NAME}-wal"):
        shutil.copy(folder / name, copy / name)
    connection = connect(copy / DATABASE_NAME)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = [row[0] for row in connection.execute("SELECT id FROM item ORDER BY id")]
    connection.close()
    return found


async def test_ordinary_transactions_take_the_short_way(store: SqliteQueueStore, disk: Disk, tmp_path: Path) -> None:
    one = entry(store)
    await put(store, one)
    assert disk.short == 1
    assert after_a_crash(tmp_path / "queue", tmp_path / "copy") == [one.id]


async def test_what_takes_long_takes_the_plain_way(store: SqliteQueueStore, disk: Disk) -> None:
    await put(store, entry(store, content=BytesContent(b"x" * 200_000)))
    await put(store, *(entry(store) for _ in range(50)))  # a group of 50,000 members
    await store.next_due(entry(store).queue, entry(store).next_hop)
    assert disk.short == 0


async def test_a_slow_disk_has_the_plain_way(
    store: SqliteQueueStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A write that waits for the disk must not keep the event loop waiting."""
    monkeypatch.setattr(writer, "_QUICK_SECONDS", 0.0)
    for _ in range(3):
        await put(store, entry(store))
    assert disk.short == 0


async def test_a_failed_sync_is_done_over(store: SqliteQueueStore, disk: Disk, tmp_path: Path) -> None:
    first, second, third = entry(store), entry(store), entry(store)
    await put(store, first)
    disk.fails = lambda: True
    await put(store, second)
    disk.fails = lambda: False
    await put(store, third)
    assert disk.short == 3
    assert [one.id for one in await store.list_items(ItemFilter())] == [first.id, second.id, third.id]
    assert await store.verify() == []
    assert after_a_crash(tmp_path / "queue", tmp_path / "copy") == [first.id, second.id, third.id]


async def test_a_commit_whose_sync_fails_for_good_does_not_stand(
    store: SqliteQueueStore, disk: Disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    """The kernel forgets pages that it could not write, and a later sync does not say so."""
    kept, refused, after = entry(store), entry(store), entry(store)
    await put(store, kept)
    disk.fails = lambda: True

    def broken(self: object, batch: object) -> list[StoreFault]:
        return [StoreFault("the disk fails")]

    with monkeypatch.context() as patch:
        patch.setattr("bridgehead.queues.sqlite.committer.Committer.execute", broken)
        with pytest.raises(StoreFault, match="the disk fails"):
            await put(store, refused)
    disk.fails = lambda: False
    assert [one.id for one in await store.list_items(ItemFilter())] == [kept.id]
    await put(store, after)
    assert [one.id for one in await store.list_items(ItemFilter())] == [kept.id, after.id]
    assert await store.verify() == []
    assert after_a_crash(tmp_path / "queue", tmp_path / "copy") == [kept.id, after.id]


async def test_any_syncs_may_fail(store: SqliteQueueStore, disk: Disk, tmp_path: Path) -> None:
    """Many batches of all kinds, checkpoints among them, with a third of the syncs failing."""
    chance = random.Random(7)
    disk.fails = lambda: chance.random() < 0.33
    expected: set[int] = set()
    for _ in range(150):
        faults: list[StoreFault | None] = []
        for _ in range(chance.randint(1, 12)):
            gone = chance.sample(sorted(expected), min(len(expected), chance.randint(0, 3)))
            new = entry(store, content=BytesContent(bytes([chance.randrange(256)]) * chance.randint(1, 40_000)))
            store.commit(Transaction(remove=gone, put=[new]), faults.append)
            expected = expected - set(gone) | {new.id}
        await store.committed(Transaction())
        assert set(faults) == {None}
    assert disk.short > 50
    assert {one.id for one in await store.list_items(ItemFilter(limit=10_000))} == expected
    assert await store.verify() == []
    assert set(after_a_crash(tmp_path / "queue", tmp_path / "copy")) == expected


async def test_a_log_begun_anew_meanwhile_ends_all_writing(
    store: SqliteQueueStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nobody can say any longer what the disk holds; the next start reads it."""
    await put(store, entry(store))
    where = LogEnd.where
    monkeypatch.setattr(LogEnd, "where", lambda self: where(self)[:32] + b"another." + where(self)[40:])
    disk.fails = lambda: True
    with pytest.raises(StoreFault, match=r"begun anew.*started anew"):
        await put(store, entry(store))
    with pytest.raises(StoreFault, match="begun anew"):
        await put(store, entry(store))


async def test_no_asynchronous_syncs_means_the_plain_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    store = SqliteQueueStore(tmp_path / "queue", reserve_bytes=65_536)
    await store.open()
    one = entry(store)
    await put(store, one)
    await store.close()
    await store.open()
    assert await store.get(one.id) == one
    await store.close()


def test_the_end_of_the_log_put_back_hides_one_commit(tmp_path: Path) -> None:
    database = tmp_path / DATABASE_NAME
    connection = connect_writer(database)
    connection.execute("INSERT INTO meta VALUES ('a', 1)")
    end = LogEnd(database)
    before = end.where()
    connection.execute("INSERT INTO meta VALUES ('b', 2)")
    assert sqlite3.connect(database).execute("SELECT count(*) FROM meta WHERE name = 'b'").fetchone() == (1,)
    end.put_back(before)
    assert connection.execute("SELECT name FROM meta WHERE name IN ('a', 'b')").fetchall() == [("a",)]
    connection.execute("INSERT INTO meta VALUES ('c', 3)")
    assert connection.execute("SELECT name FROM meta WHERE name IN ('a', 'b', 'c')").fetchall() == [("a",), ("c",)]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    end.close()
