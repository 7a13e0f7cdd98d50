# SPDX-License-Identifier: MIT
"""A queue that an older version left behind, of which nothing may be lost.

`data/queue-schema-1.tar.xz` holds the store of a killed server of schema 1: a mailing of 65 messages (5 of them in
Retry), a few messages of others in every queue, a fork, a large one in a file, three that were under way.
"""

import sqlite3
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from bridgehead.queues.sqlite.database import connect_writer
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.sqlite.verify import verify_directory
from bridgehead.queues.store import ItemFilter, MessageStatus, QueueKind, QueueStatus
from support.queue_store_contract import DELIVERY, HOP, MANY_BYTES, OTHER_HOP, entry, put, text_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with tarfile.open(Path(__file__).parent / "data/queue-schema-1.tar.xz") as archive:
        archive.extractall(tmp_path / "queue", filter="data")
    return tmp_path / "queue"


def version_of(folder: Path) -> int:
    connection = sqlite3.connect(folder / "queue.db")
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


async def test_an_upgrade_keeps_every_entry_with_its_content(folder: Path) -> None:
    assert version_of(folder) == 1
    store = SqliteQueueStore(folder, reserve_bytes=4096)
    await store.open()
    await store.settled()
    found = await store.list_items(ItemFilter())
    assert len(found) == 73
    assert Counter(one.queue for one in found) == {
        DELIVERY: 71, QueueKind.SUBMISSION: 1, QueueKind.UNREACHABLE: 1,
    }  # fmt: skip
    assert Counter(one.status for one in found) == {
        MessageStatus.READY: 68, MessageStatus.RETRY: 4, MessageStatus.SUSPENDED: 1,
    }  # fmt: skip
    assert sum(one.in_doubt for one in found) == 3
    texts = {one.id: await text_of(store, one.id) for one in found}
    assert sum(text == b"Subject: %d\r\n\r\nText\r\n" % number for number, text in texts.items()) == 71
    assert sorted(map(len, texts.values()))[-1] == 200_018
    [state] = [one.state for one in await store.queues() if one.state.next_hop == OTHER_HOP]
    assert (state.status, state.retry_count, state.last_error) == (QueueStatus.RETRY, 3, "451 later")
    assert await store.verify() == []
    await store.close()
    assert version_of(folder) == 2


async def test_what_waited_has_turns_afterwards(folder: Path) -> None:
    store = SqliteQueueStore(folder, reserve_bytes=4096)
    await store.open()
    await store.settled()
    newcomer = entry(store, sender="newcomer")
    await put(store, newcomer)
    taken = await store.lease(DELIVERY, HOP, 2000.0, 5, MANY_BYTES)
    senders = [one.item.envelope.reverse_path.local_part for one in taken]
    assert senders[0] == "single"  # of high priority
    assert Counter(senders)["single"] == 2  # and the one that came after sixty of the mailing
    assert newcomer.id in {one.id for one in taken}
    rest = await store.lease(DELIVERY, HOP, 2000.0, 1000, MANY_BYTES)
    assert len(taken) + len(rest) == 69
    mailing = [one.item.received_at for one in (*taken, *rest) if one.item.priority == 1 and not one.retry_count
               and one.item.envelope.reverse_path.local_part == "mailing"]  # fmt: skip
    assert mailing == sorted(mailing)
    await store.close()


def test_a_stopped_server_s_old_queue_can_be_verified_and_stays_as_it_is(folder: Path) -> None:
    before = (folder / "queue.db").read_bytes()
    assert verify_directory(folder) == []
    assert (folder / "queue.db").read_bytes() == before
    assert version_of(folder) == 1


def test_an_upgrade_that_fails_leaves_the_old_schema(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr("bridgehead.queues.sqlite.database.arrange_waiting", fail)
        with pytest.raises(sqlite3.OperationalError):
            connect_writer(folder / "queue.db")
    assert version_of(folder) == 1
    connect_writer(folder / "queue.db").close()
    assert version_of(folder) == 2


def test_a_new_queue_has_the_schema_of_an_upgraded_one(folder: Path, tmp_path: Path) -> None:
    schemas = []
    for database in (folder / "queue.db", tmp_path / "new.db"):
        connection = connect_writer(database)
        schemas.append(connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall())
        connection.close()
    assert schemas[0] == schemas[1]
