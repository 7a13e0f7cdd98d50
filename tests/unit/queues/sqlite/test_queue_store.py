# SPDX-License-Identifier: MIT
"""What only the SQLite store does: locks, recovery in the background, damage, content files, faults of the disk."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bridgehead.mail.content import BytesContent
from bridgehead.queues.fairness import Turns
from bridgehead.queues.sqlite import leasing
from bridgehead.queues.sqlite.database import DATABASE_NAME, connect, connect_writer
from bridgehead.queues.sqlite.leasing import recover_slice
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.sqlite.verify import verify_directory
from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    QueuedItem,
    QueueKind,
    StoreFault,
    StoreFull,
    StoreUnreadable,
    Transaction,
)
from support.queue_store_contract import ACTIVE, DELIVERY, HOP, MANY_BYTES, SUBMISSION, entry, put, text_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "queue"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[SqliteQueueStore]:
    store = SqliteQueueStore(folder, reserve_bytes=65_536)
    await store.open()
    yield store
    await store.close()


async def put_file(store: SqliteQueueStore, text: bytes = b"Subject: large\r\n\r\n" + b"x" * 200_000) -> QueuedItem:
    writer = store.new_content_file()
    await writer.write(text)
    one = entry(store, content=await writer.finish())
    await put(store, one)
    return one


def files_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "content"))


def meddle(folder: Path, statement: str, *values: object) -> None:
    """Change the database behind the store's back, as damage does."""
    connection = sqlite3.connect(folder / DATABASE_NAME)
    with connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


def test_a_connection_caches_as_much_as_it_is_told_to(tmp_path: Path) -> None:
    """SQLite itself takes a size in KiB for one in pages of 4096 bytes, and ours are larger."""
    writer = connect_writer(tmp_path / DATABASE_NAME)
    reader = connect(tmp_path / DATABASE_NAME, read_only=True, cache_kib=4096)
    try:
        for connection, kib in ((writer, 16 * 1024), (reader, 4096)):
            ((pages,), (page,)) = (
                connection.execute(f"PRAGMA {name}").fetchone() for name in ("cache_size", "page_size")
            )
            assert pages * page == kib * 1024
    finally:
        reader.close()
        writer.close()


async def leased(store: SqliteQueueStore, limit: int = 100) -> list[QueuedItem]:
    return await store.lease(DELIVERY, HOP, 2000.0, limit, MANY_BYTES)


async def poisoned(store: SqliteQueueStore) -> list[tuple[int, str]]:
    found = await store.list_items(ItemFilter(queue=QueueKind.POISON))
    return [(one.id, one.last_error) for one in found]


# --- opening -------------------------------------------------------------------------------------------------------


async def test_one_process_at_a_time(store: SqliteQueueStore, folder: Path) -> None:
    with pytest.raises(StoreFault, match="another process has the queue"):
        await SqliteQueueStore(folder).open()


async def test_a_newer_schema_is_left_alone(folder: Path) -> None:
    store = SqliteQueueStore(folder, reserve_bytes=65_536)
    await store.open()
    await store.close()
    connection = sqlite3.connect(folder / DATABASE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreFault, match="newer version"):
        await store.open()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFault, match="opening the queue in"):
        await SqliteQueueStore(tmp_path / "file" / "queue").open()


async def test_many_active_entries_are_given_back_before_lease_says_that_nothing_is_due(
    store: SqliteQueueStore, folder: Path
) -> None:
    await put(store, *(entry(store, status=ACTIVE) for _ in range(2_500)))
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    again = SqliteQueueStore(copy, reserve_bytes=65_536)
    await again.open()
    found: set[int] = set()
    while entries := await leased(again, 400):
        assert all(one.in_doubt and one.crash_count == 1 for one in entries)
        found.update(one.id for one in entries)
    assert len(found) == 2_500
    await again.close()


async def test_recovery_leaves_alone_what_this_process_leased(store: SqliteQueueStore) -> None:
    one = entry(store)
    await put(store, one)
    await leased(store)
    connection, epoch, turns = store._writer.committer.connection, store._epoch, store._writer.committer.writing.turns
    assert recover_slice(connection, 0, one.id + 1, epoch, True, turns) == one.id
    assert [entry.status for entry in await store.list_items(ItemFilter())] == [ACTIVE]
    assert recover_slice(connection, 0, one.id + 1, epoch + 1, True, turns) == one.id
    assert [entry.status for entry in await store.list_items(ItemFilter())] == [MessageStatus.READY]


async def test_nothing_is_said_to_be_due_before_recovery_has_looked(
    store: SqliteQueueStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = entry(store, status=ACTIVE)
    await put(store, one)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    may_look = threading.Event()

    def gated(
        connection: sqlite3.Connection, after: int, before: int, epoch: int, crashed: bool, turns: Turns
    ) -> int | None:
        return recover_slice(connection, after, before, epoch, crashed, turns) if may_look.is_set() else after

    monkeypatch.setattr(leasing, "recover_slice", gated)
    again = SqliteQueueStore(copy, reserve_bytes=65_536)
    await again.open()
    due = asyncio.ensure_future(again.next_due(DELIVERY, HOP))
    lease = asyncio.ensure_future(leased(again))
    for _ in range(5):
        await again.committed(Transaction())
    assert not due.done()
    assert not lease.done()
    may_look.set()
    assert await due == 0.0
    assert [found.id for found in await lease] == [one.id]
    await again.close()


async def test_a_lease_whose_caller_went_away_is_given_back(store: SqliteQueueStore) -> None:
    one = entry(store)
    await put(store, one)
    task = asyncio.ensure_future(leased(store))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.committed(Transaction())
    await store.committed(Transaction())
    assert [one.id for one in await leased(store)] == [one.id]


async def test_ids_grow_although_a_run_stored_none_of_them(folder: Path) -> None:
    store = SqliteQueueStore(folder, reserve_bytes=65_536)
    await store.open()
    highest = max(store.allocate_id() for _ in range(50))
    await store.close()
    await store.open()
    assert store.allocate_id() > highest
    await store.close()


async def test_ids_beyond_the_reserve_stay_ahead_of_a_crash(store: SqliteQueueStore, folder: Path) -> None:
    for _ in range(1_100_000):
        store.allocate_id()
    await store.committed(Transaction())
    highest = store.allocate_id()
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    again = SqliteQueueStore(copy, reserve_bytes=65_536)
    await again.open()
    assert again.allocate_id() > highest
    await again.close()


async def test_close_waits_for_what_was_committed(folder: Path) -> None:
    store = SqliteQueueStore(folder, reserve_bytes=65_536)
    await store.open()
    one = entry(store)
    faults: list[object] = []
    store.commit(Transaction(put=[one]), faults.append)
    await store.close()
    assert faults == [None]
    await store.open()
    assert await store.get(one.id) == one
    await store.close()


# --- what is written ----------------------------------------------------------------------------------------------


async def test_what_comes_and_goes_within_a_batch_never_touches_the_disk(store: SqliteQueueStore, folder: Path) -> None:
    one = entry(store, content=BytesContent(b"Subject: fleeting-words\r\n\r\n"))
    store.commit(Transaction(put=[one]))
    store.commit(Transaction(remove=[one.id]))
    await store.committed(Transaction())
    assert not any(b"fleeting-words" in path.read_bytes() for path in folder.glob("queue.db*"))


async def test_content_files_go_with_their_last_entry(store: SqliteQueueStore, folder: Path) -> None:
    one = await put_file(store)
    fork = entry(store, content_id=one.content_id, with_content=False)
    await put(store, fork)
    await store.committed(Transaction(remove=[one.id]))
    assert len(files_in(folder)) == 1
    [again] = await leased(store)
    assert again.content is not None
    assert again.content.data is None
    assert (await text_of(store, fork.id)).endswith(b"x" * 200_000)
    await store.committed(Transaction(remove=[fork.id]))
    assert files_in(folder) == []


async def test_a_content_file_that_comes_and_goes_within_a_batch(store: SqliteQueueStore, folder: Path) -> None:
    writer = store.new_content_file()
    await writer.write(b"Subject: x\r\n\r\n")
    one = entry(store, content=await writer.finish())
    store.commit(Transaction(put=[one]))
    store.commit(Transaction(remove=[one.id]))
    await store.committed(Transaction())
    assert files_in(folder) == []


async def test_a_fork_that_comes_and_goes_leaves_the_content_file_to_the_other(
    store: SqliteQueueStore, folder: Path
) -> None:
    one = await put_file(store)
    fork = entry(store, content=one.content, content_id=one.content_id)
    store.commit(Transaction(put=[fork]))
    store.commit(Transaction(remove=[fork.id]))
    await store.committed(Transaction())
    assert len(files_in(folder)) == 1
    assert await store.verify() == []


async def test_discard(store: SqliteQueueStore, folder: Path) -> None:
    for finish in (False, True):
        writer = store.new_content_file()
        await writer.write(b"Subject: x\r\n\r\n")
        assert len(files_in(folder)) == 1
        if finish:
            await writer.finish()
        await writer.discard()
        assert files_in(folder) == []


async def test_files_that_a_crash_left_without_entry_are_removed_and_others_kept(folder: Path) -> None:
    store = SqliteQueueStore(folder, reserve_bytes=65_536)
    await store.open()
    one = await put_file(store)
    (folder / "content" / f"{store.allocate_id():016x}.eml").write_bytes(b"half a mess")
    await store.close()
    (folder / "content" / "README").write_text("not ours")
    assert len(files_in(folder)) == 3
    await store.open()
    await store.settled()
    await store.close()
    assert one.content is not None
    assert files_in(folder) == sorted(["README", f"{one.id - 1:016x}.eml"])


# --- damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE item SET record = x'c1' WHERE id = ?", "record of entry"),
        ("UPDATE item SET record = (SELECT record FROM item WHERE id <> ?1) WHERE id = ?1", "is that of entry"),
        ("UPDATE item SET crash_count = 'x', next_hop = next_hop, record = substr(record, 5) WHERE id = ?", "record"),
        ("UPDATE content SET data = zeroblob(size) WHERE id = ?", "checksum differs"),
        ("UPDATE content SET data = x'00' WHERE id = ?", "another size"),
        ("DELETE FROM content WHERE id = ?", "missing"),
    ],
)
async def test_what_cannot_be_read_is_set_aside_and_the_rest_goes_on(
    store: SqliteQueueStore, folder: Path, statement: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[QueuedItem] = []
    store._set_aside = told.append
    bad, good = entry(store, received_at=1), entry(store, received_at=2)
    await put(store, bad, good)
    meddle(folder, statement, bad.id)
    problems = await store.verify()
    assert any(problem.lost and reason in problem.what for problem in problems), problems
    assert [one.id for one in await leased(store)] == [good.id]
    [(key, why)] = await poisoned(store)
    assert key == bad.id
    assert reason in why
    assert [(one.id, one.queue, one.last_error) for one in told] == [(bad.id, QueueKind.POISON, why)]
    assert [record.levelname for record in caplog.records if f"message {bad.id} cannot be read" in record.message] == [
        "ERROR"
    ]
    with pytest.raises(StoreUnreadable):
        await store.get(bad.id)
    assert await leased(store) == []
    await store.committed(Transaction(remove=[bad.id]))
    assert await poisoned(store) == []


@pytest.mark.parametrize("remains", [None, b"short"])
async def test_a_damaged_content_file_sets_its_entry_aside(
    store: SqliteQueueStore, folder: Path, remains: bytes | None
) -> None:
    one = await put_file(store)
    [name] = files_in(folder)
    path = folder / "content" / name
    path.unlink() if remains is None else path.write_bytes(remains)
    assert [name in problem.what for problem in await store.verify()] == [True]
    assert await leased(store) == []
    [(key, reason)] = await poisoned(store)
    assert key == one.id
    assert name in reason


async def test_a_damaged_page_costs_only_the_messages_on_it(folder: Path) -> None:
    store = SqliteQueueStore(folder, reserve_bytes=65_536)
    await store.open()
    entries = [entry(store, content=BytesContent(b"%03d" % n * 2_000), received_at=n) for n in range(40)]
    await put(store, *entries)
    await store.close()
    connection = sqlite3.connect(folder / DATABASE_NAME)
    [(page, size)] = connection.execute(
        "SELECT pageno, (SELECT page_size FROM pragma_page_size) FROM dbstat WHERE name = 'content'"
        " AND pagetype = 'leaf' LIMIT 1 OFFSET 1"
    ).fetchall()
    connection.close()
    with open(folder / DATABASE_NAME, "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    await store.open()
    assert any(problem.lost for problem in await store.verify())
    alive = {one.id for one in await leased(store)}
    lost = {key for key, _ in await poisoned(store)}
    assert lost
    assert alive
    assert lost | alive == {one.id for one in entries}
    assert any("damaged part" in reason for _, reason in await poisoned(store))
    fresh = entry(store)
    await put(store, fresh)
    assert [one.id for one in await leased(store)] == [fresh.id]
    await store.close()


# --- verify ---------------------------------------------------------------------------------------------------------


async def test_verify_of_a_stopped_server_changes_nothing(store: SqliteQueueStore, folder: Path) -> None:
    one = await put_file(store)
    await put(store, entry(store), entry(store, SUBMISSION, status=ACTIVE))
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    (copy / "content" / f"{one.id + 5:016x}.eml").write_bytes(b"without owner")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    problems = verify_directory(copy)
    assert [(problem.subject, problem.lost) for problem in problems] == [(f"file {one.id + 5:016x}.eml", False)]
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


async def test_verify_finds_wrong_counts_of_holders(store: SqliteQueueStore, folder: Path) -> None:
    one = entry(store)
    await put(store, one, entry(store, content=one.content, content_id=one.content_id))
    meddle(folder, "UPDATE sharing SET holders = 1")
    assert any("2 entries use this content, 1 are counted" in problem.what for problem in await store.verify())


def test_verify_of_what_is_no_queue(tmp_path: Path) -> None:
    with pytest.raises(StoreFault, match="holds no queue"):
        verify_directory(tmp_path)
    (tmp_path / DATABASE_NAME).write_bytes(b"this is no database" * 100)
    [problem] = verify_directory(tmp_path)
    assert problem.lost


# --- faults of the disk ----------------------------------------------------------------------------------------------


async def test_a_full_database_refuses_and_recovers(store: SqliteQueueStore) -> None:
    """SQLITE_FULL, from a quota on the database."""
    kept = entry(store)
    await put(store, kept)

    def bound(pages: int) -> None:
        store._writer.committer.connection.execute(f"PRAGMA max_page_count = {pages}")

    bound(1)  # SQLite takes the present size instead
    faults: list[StoreFault | None] = []
    for _ in range(3):
        store.commit(Transaction(put=[entry(store, content=BytesContent(b"x" * 100_000))]), faults.append)
    store.commit(Transaction(remove=[kept.id]), faults.append)
    await store.committed(Transaction())
    assert [type(fault) for fault in faults] == [StoreFull, StoreFull, StoreFull, type(None)]
    assert await store.list_items(ItemFilter()) == []
    bound(2**30)
    after = entry(store, content=BytesContent(b"x" * 100_000))
    await put(store, after)
    assert await store.get(after.id) == after


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


async def fill(store: SqliteQueueStore) -> list[QueuedItem]:
    """Put entries until the disk is full; those that the store took."""
    stored: list[QueuedItem] = []
    for _ in range(1_000):
        one = entry(store, content=BytesContent(os.urandom(60_000)))
        try:
            await put(store, one)
        except StoreFull:
            assert stored
            return stored
        stored.append(one)
    raise AssertionError("the disk is larger than it should be")


async def test_a_full_disk_refuses_and_recovers(small_disk: Path) -> None:
    store = SqliteQueueStore(small_disk / "queue", reserve_bytes=3_200_000)
    await store.open()
    stored = await fill(store)
    writer = store.new_content_file()
    with pytest.raises(StoreFull):
        await writer.write(os.urandom(8_000_000))
    await writer.discard()
    assert "full" in store.trouble
    assert {one.id for one in await store.list_items(ItemFilter())} == {one.id for one in stored}
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)
    one = entry(store, content=BytesContent(os.urandom(60_000)))
    await put(store, one)
    assert store.trouble == ""
    for known in [*stored, one]:
        assert await store.get(known.id) == known
    assert await store.verify() == []
    await store.close()


async def test_a_full_disk_lets_deliveries_end_and_that_makes_room(small_disk: Path) -> None:
    store = SqliteQueueStore(small_disk / "queue", reserve_bytes=3_200_000)
    await store.open()
    for one in await fill(store):
        await store.committed(Transaction(remove=[one.id]))
    await put(store, entry(store, content=BytesContent(os.urandom(60_000))))
    await store.close()


async def test_a_disk_that_turns_read_only_refuses_and_recovers(small_disk: Path) -> None:
    store = SqliteQueueStore(small_disk / "queue", reserve_bytes=3_200_000)
    await store.open()
    kept = entry(store)
    await put(store, kept)
    await store.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreFault):
        await store.open()
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    await store.open()
    assert await store.get(kept.id) == kept
    await store.close()


FILE_SIZE_LIMIT = """
import asyncio, resource, signal, sys
from pathlib import Path
from support.queue_store_contract import BytesContent, entry, put
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import ItemFilter, StoreFault

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = SqliteQueueStore(Path(sys.argv[1]))
    await store.open()
    await put(store, entry(store))
    first = store._writer.committer.connection
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    for _ in range(3):
        try:
            await put(store, entry(store, content=BytesContent(b"x" * 300_000)))
        except StoreFault as fault:
            print(type(fault).__name__, "IOERR" in str(fault))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await put(store, entry(store, content=BytesContent(b"x" * 300_000)))
    print(len(await store.list_items(ItemFilter())), await store.verify(), store._writer.committer.connection is first)
    await store.close()

asyncio.run(main())
"""


def test_an_input_output_error_refuses_and_recovers(folder: Path) -> None:
    """A write that fails with EFBIG is SQLITE_IOERR_WRITE to SQLite: the connection is opened anew afterwards."""
    tests = Path(__file__).parents[3]
    outcome = subprocess.run(
        [sys.executable, "-c", FILE_SIZE_LIMIT, str(folder)], env={**os.environ, "PYTHONPATH": str(tests)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert outcome.stderr == ""
    assert outcome.stdout.splitlines() == ["StoreFault True"] * 3 + ["2 [] False"]


async def test_a_lock_held_by_another_program_is_a_fault_not_a_hang(store: SqliteQueueStore, folder: Path) -> None:
    store._writer.committer.connection.execute("PRAGMA busy_timeout = 10")
    intruder = sqlite3.connect(folder / DATABASE_NAME, isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    one = entry(store)
    with pytest.raises(StoreFault, match="locked"):
        await put(store, one)
    intruder.execute("ROLLBACK")
    intruder.close()
    await put(store, one)
    assert (await store.get(one.id)) == one


async def test_status_of_listing_after_fault_is_unchanged(store: SqliteQueueStore) -> None:
    """A failed batch with a lease in it leaves the entry to the next lease."""
    one = entry(store)
    await put(store, one)
    store._writer.committer.connection.execute("PRAGMA max_page_count = 1")
    faults: list[StoreFault | None] = []
    store.commit(Transaction(put=[entry(store, content=BytesContent(b"x" * 500_000))]), faults.append)
    [again] = await leased(store)
    assert isinstance(faults[0], StoreFull)
    assert again.id == one.id
    assert again.status is MessageStatus.ACTIVE


async def test_what_must_not_be_behind_the_queue_is_written_before_each_commit(tmp_path: Path) -> None:
    """A killed process once forgot where a message had gone whose removal was on disk already."""
    order: list[str] = []
    store = SqliteQueueStore(tmp_path / "queue", before_commit=lambda: order.append("log"))
    await store.open()
    await store.settled()
    order.clear()
    submitted = entry(store, SUBMISSION)
    done = asyncio.Event()

    def committed(fault: StoreFault | None) -> None:
        order.append("done")
        done.set()

    store.commit(Transaction(put=(submitted,)), committed)
    await done.wait()
    assert order == ["log", "done"]
    done.clear()
    store.commit(Transaction(remove=(submitted.id,)), committed, urgent=False)
    await done.wait()
    assert order == ["log", "done"] * 2
    await store.close()
