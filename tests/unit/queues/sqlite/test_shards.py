# SPDX-License-Identifier: MIT
"""Queues of several workers: their numbers, and how those of former workers come into the first one's."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bridgehead.queues.numbers import Numbers
from bridgehead.queues.safety_net.frames import folder_of, segment_name
from bridgehead.queues.sqlite import shards
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.sqlite.verify import verify_directory
from bridgehead.queues.store import ItemFilter, Note, QueuedItem, StoreFault
from support.queue_store_contract import ACTIVE, DELIVERY, HOP, entry, put, text_of

KIND = 2


async def worker(queue: Path, number: int, count: int, start: int = 1) -> SqliteQueueStore:
    numbers = Numbers(start, count, (number - 1) % count)
    store = SqliteQueueStore(shards.shard_folder(queue, number), reserve_bytes=65_536, numbers=numbers)
    await store.open()
    return store


async def small_and_large(store: SqliteQueueStore) -> list[QueuedItem]:
    small = entry(store, queue=DELIVERY, next_hop=HOP)
    await put(store, small)
    writer = store.new_content_file()
    await writer.write(b"Subject: large\r\n\r\n" + b"x" * 200_000)
    large = entry(store, queue=DELIVERY, next_hop=HOP, content=await writer.finish())
    await put(store, large)
    return [small, large]


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    return tmp_path / "queue"


@pytest.mark.parametrize(
    ("numbers", "least", "first"),
    [
        (Numbers(), 1, 1),
        (Numbers(), 8, 8),
        (Numbers(10, 3, 1), 1, 10),
        (Numbers(10, 3, 0), 1, 12),
        (Numbers(1, 3, 2), 9, 11),
    ],
)
def test_numbers(numbers: Numbers, least: int, first: int) -> None:
    assert numbers.first(least) == first
    assert first % numbers.step == numbers.offset % numbers.step


async def test_no_two_workers_give_a_number_and_none_is_given_again(queue: Path) -> None:
    alone = await worker(queue, 1, 1)
    given = [alone.allocate_id() for _ in range(100)]
    await alone.close()
    for count in (3, 2, 3):
        start = shards.numbers_from(queue, 3)
        stores = [await worker(queue, number, count, start) for number in range(1, count + 1)]
        given += [store.allocate_id() for store in stores for _ in range(50)]
        for store in stores:
            await store.close()
    assert len(set(given)) == len(given)


async def test_a_worker_that_crashed_gives_no_number_again(queue: Path) -> None:
    """Within one start of the server: the same orders, other numbers."""
    first = await worker(queue, 2, 2)
    given = {first.allocate_id() for _ in range(10)}
    shutil.copytree(queue / "2", queue / "as it is")
    await first.close()
    shutil.rmtree(queue / "2")
    (queue / "as it is").rename(queue / "2")  # what a kill would have left
    second = await worker(queue, 2, 2)
    assert not given & {second.allocate_id() for _ in range(10)}
    await second.close()


async def test_what_former_workers_had_comes_to_the_first_one(queue: Path) -> None:
    stores = [await worker(queue, number, 3) for number in (1, 2, 3)]
    expected = [one for store in stores for one in await small_and_large(store)]
    await stores[1].swap([], [Note(KIND, 7, 0, b"seven")])
    for store in stores:
        await store.close()
    assert shards.gather(queue, 1, {}) == {2: 2, 3: 2}
    assert shards.shards(queue) == []
    assert verify_directory(queue) == []
    store = await worker(queue, 1, 1)
    try:
        found = await store.list_items(ItemFilter())
        assert {one.id for one in found} == {one.id for one in expected}
        for one in expected:
            assert one.content is not None
            with one.content.open() if one.content.data is not None else nullcontext() as content:
                assert content is None or await text_of(store, one.id) == content.read()
            assert len(await text_of(store, one.id)) == one.content.size
        assert await store.notes(KIND) == [Note(KIND, 7, 0, b"seven")]
        assert store.allocate_id() > max(one.id for one in expected)
    finally:
        await store.close()


async def test_records_of_one_number_become_one_and_their_other_parts_stay(queue: Path) -> None:
    stores = [await worker(queue, number, 3) for number in (1, 2, 3)]
    for number, store in enumerate(stores, 1):
        await store.swap([], [Note(KIND, 8, 0, b"%d" % number), Note(KIND, 8, 10 + number, b"part")])
        await store.close()
    shards.gather(queue, 1, {KIND: b"+".join})
    store = await worker(queue, 1, 1)
    try:
        assert await store.notes(KIND) == [Note(KIND, 8, 0, b"1+2+3")]
        assert [note.part for note in await store.notes(KIND, 8)] == [0, 11, 12, 13]
    finally:
        await store.close()


async def test_what_a_killed_worker_was_delivering_is_in_doubt(queue: Path) -> None:
    first, second = await worker(queue, 1, 2), await worker(queue, 2, 2)
    held = entry(second, queue=DELIVERY, next_hop=HOP, status=ACTIVE)
    await put(second, held)
    shutil.copytree(queue / "2", queue / "as it is")
    await first.close()
    await second.close()
    shutil.rmtree(queue / "2")
    (queue / "as it is").rename(queue / "2")  # what a kill would have left
    shards.gather(queue, 1, {})
    store = await worker(queue, 1, 1)
    await store.settled()
    (taken,) = await store.lease(DELIVERY, HOP, 1e12, 10, 10**9)
    assert (taken.id, taken.in_doubt, taken.crash_count) == (held.id, True, 1)
    await store.close()


@pytest.mark.parametrize("step", ["_link_content", "_move_rows", "_move_safety_net", "shutil.rmtree"])
async def test_a_crash_in_between_loses_nothing_and_doubles_nothing(
    queue: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is done, and then the process dies; the next start does everything again."""
    stores = [await worker(queue, number, 2) for number in (1, 2)]
    expected = [one for store in stores for one in await small_and_large(store)]
    for store in stores:
        await store.close()
    segment = queue / "2/safety_net" / segment_name(1_800_000_000, 1)
    segment.parent.mkdir()
    segment.write_bytes(b"")
    folder_of(segment).mkdir()
    (folder_of(segment) / "large.eml").write_bytes(b"large")

    class Died(BaseException):
        pass

    owner: Any = shards
    *way, name = step.split(".")
    for part in way:
        owner = getattr(owner, part)
    original: Callable[..., Any] = getattr(owner, name)

    def fatal(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, fatal)
        with pytest.raises(Died):
            shards.gather(queue, 1, {})
    shards.gather(queue, 1, {})
    assert shards.shards(queue) == []
    assert verify_directory(queue) == []
    (kept,) = (queue / "safety_net").glob("*.sn")
    assert [one.name for one in folder_of(kept).iterdir()] == ["large.eml"]
    store = await worker(queue, 1, 1)
    assert sorted(one.id for one in await store.list_items(ItemFilter())) == sorted(one.id for one in expected)
    await store.close()


async def test_a_queue_that_cannot_be_moved_stays_and_is_said(queue: Path) -> None:
    stores = [await worker(queue, number, 2) for number in (1, 2)]
    one = entry(stores[1])
    await put(stores[1], one)
    for store in stores:
        await store.close()
    with sqlite3.connect(queue / "queue.db") as connection:  # something that cannot be: two entries with one number
        connection.execute(f"ATTACH '{queue / '2/queue.db'}' AS other")
        connection.execute("INSERT INTO item SELECT * FROM other.item")
    connection.close()
    with pytest.raises(StoreFault, match="with as many workers as before"):
        shards.gather(queue, 1, {})
    again = await worker(queue, 2, 2)
    assert [found.id for found in await again.list_items(ItemFilter())] == [one.id]
    await again.close()


async def test_rules_of_the_first_worker_are_those_of_all(queue: Path) -> None:
    first, second = await worker(queue, 1, 2), await worker(queue, 2, 2)
    await first.swap([], [Note(KIND, 1, 0, b"rule"), Note(9, 1, 0, b"its own")])
    await second.swap([], [Note(KIND, 5, 0, b"no longer"), Note(9, 2, 0, b"its own")])
    await first.close()
    await second.close()
    shards.hand_out(queue, 3, [KIND])
    for number in (2, 3):
        store = await worker(queue, number, 3)
        assert await store.notes(KIND) == [Note(KIND, 1, 0, b"rule")]
        assert await store.notes(9) == ([Note(9, 2, 0, b"its own")] if number == 2 else [])
        await store.close()
    assert shards.notes_from(queue, 3, 9) == 3
