# SPDX-License-Identifier: MIT
"""What every `QueueStore` must do for administrators: swaps, notes, pages. Run like `QueueStoreContract`."""

import asyncio

import msgspec
import pytest

from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    Note,
    QueuedItem,
    QueueKind,
    QueueStore,
    StoreFault,
    Swap,
    Transaction,
)
from support.queue_store_contract import DELIVERY, HOP, OTHER_HOP, READY, RETRY, entry, lease, put, text_of

SUSPENDED = MessageStatus.SUSPENDED


def anything(_: QueuedItem) -> bool:
    return True


def suspended(one: QueuedItem) -> QueuedItem:
    return msgspec.structs.replace(one, status=SUSPENDED, content=None)


async def seen(store: QueueStore, key: int) -> QueuedItem:
    [found] = await store.list_items(ItemFilter(internal_message_id=key))
    return found


class QueueChangesContract:
    """Subclasses give a fixture `store` (open) and override `restarted`."""

    async def restarted(self, store: QueueStore) -> QueueStore:
        """The store as it is after its process was killed and started again."""
        raise NotImplementedError

    async def test_a_swap_changes_what_is_still_as_it_was_seen_and_keeps_its_note(self, store: QueueStore) -> None:
        one = entry(store)
        await put(store, one)
        before = await seen(store, one.id)
        note = Note(1, 7, one.id, b"former")
        assert await store.swap([Swap(id=one.id, before=before, after=suspended(before), note=note)]) == set()
        again = await self.restarted(store)
        assert (await seen(again, one.id)).status is SUSPENDED
        assert await again.notes(1, 7) == [note]
        assert await text_of(again, one.id) == await text_of(store, one.id)

    async def test_a_swap_of_what_changed_meanwhile_is_refused_alone(self, store: QueueStore) -> None:
        leased, gone, changed, stays = (entry(store, status=READY) for _ in range(4))
        await put(store, leased, gone, changed, stays)
        swaps = []
        for one in (leased, gone, changed, stays):
            before = await seen(store, one.id)
            note = Note(1, 1, one.id, b"x")
            swaps.append(Swap(id=one.id, before=before, after=suspended(before), note=note))
        await store.committed(Transaction(remove=[gone.id]))
        await store.committed(Transaction(put=[msgspec.structs.replace(changed, retry_count=1)]))
        assert leased.id in await lease(store, limit=1)
        assert await store.swap(swaps, [Note(2, 1, 0, b"always")]) == {leased.id, gone.id, changed.id}
        assert {one.id for one in await store.list_items(ItemFilter(status=SUSPENDED))} == {stays.id}
        assert [note.part for note in await store.notes(1, 1)] == [stays.id]
        assert len(await store.notes(2)) == 1

    async def test_a_swap_follows_what_was_committed_before_it(self, store: QueueStore) -> None:
        one = entry(store)
        await put(store, one)
        before = await seen(store, one.id)
        store.commit(Transaction(put=[msgspec.structs.replace(one, retry_count=1)]))
        assert await store.swap([Swap(id=one.id, before=before, after=suspended(before))]) == {one.id}

    async def test_what_the_caller_holds_is_swapped_as_it_says(self, store: QueueStore) -> None:
        one = entry(store)
        await put(store, one)
        [held] = await store.lease(DELIVERY, HOP, 2000.0, 10, 10**6)
        assert await store.swap([Swap(id=held.id, before=None, after=suspended(held))]) == set()
        assert (await seen(store, one.id)).status is SUSPENDED

    async def test_a_swap_can_take_an_entry_away_with_its_content(self, store: QueueStore) -> None:
        one = entry(store)
        await put(store, one)
        assert await store.swap([Swap(id=one.id, before=await seen(store, one.id), after=None)]) == set()
        assert await store.get(one.id) is None
        assert await store.verify() == []

    async def test_a_swap_into_another_queue_is_leased_there(self, store: QueueStore) -> None:
        one = entry(store, status=RETRY, due=10**9)
        await put(store, one)
        before = await seen(store, one.id)
        after = msgspec.structs.replace(before, next_hop=OTHER_HOP, status=READY, due=0.0)
        await store.swap([Swap(id=one.id, before=before, after=after)])
        assert [found.id for found in await store.lease(DELIVERY, OTHER_HOP, 0.0, 10, 10**6)] == [one.id]

    async def test_new_entries_come_with_the_note_that_tells_of_them_or_not_at_all(self, store: QueueStore) -> None:
        writer = store.new_content_file()
        await writer.write(b"Subject: large\r\n\r\n" + b"x" * 300_000)
        one, large = entry(store), entry(store, content=await writer.finish())
        assert await store.swap([], [Note(3, 1, 0, b"two")], [one, large]) == set()
        assert [note.record for note in await store.notes(3)] == [b"two"]
        for new in (one, large):
            stored = await store.get(new.id)
            assert stored is not None
            assert stored.content is not None
            assert stored.content.size == new.item.size
        lacks_content = msgspec.structs.replace(entry(store), content=None)
        with pytest.raises(StoreFault):
            await store.swap([], [Note(3, 1, 0, b"four")], [entry(store), lacks_content])
        assert [note.record for note in await store.notes(3)] == [b"two"]
        assert len(await store.list_items(ItemFilter())) == 2

    async def test_a_swap_that_cannot_be_stored_changes_nothing(self, store: QueueStore) -> None:
        one, other = entry(store), entry(store)
        await put(store, one, other)
        before = await seen(store, one.id)
        lacks_content = msgspec.structs.replace(before, content_id=store.allocate_id())
        with pytest.raises(StoreFault):
            await store.swap([Swap(id=one.id, before=before, after=lacks_content)], [Note(1, 1, 0, b"x")])
        assert await store.get(one.id) == one
        assert await store.notes(1) == []

    async def test_a_fault_of_one_swap_leaves_others_of_its_batch_alone(self, store: QueueStore) -> None:
        one, other = entry(store), entry(store)
        await put(store, one)
        before = await seen(store, one.id)
        lacks_content = msgspec.structs.replace(before, content_id=store.allocate_id())
        swap = asyncio.create_task(store.swap([Swap(id=one.id, before=before, after=lacks_content)]))
        await asyncio.sleep(0)
        await put(store, other)
        with pytest.raises(StoreFault):
            await swap
        assert await store.get(other.id) == other

    async def test_notes_are_read_in_order_a_part_at_a_time_and_forgotten(self, store: QueueStore) -> None:
        notes = [Note(1, key, part, b"%d" % part) for key in (3, 5) for part in (0, 2, 9)]
        await store.swap([], notes)
        assert [note.id for note in await store.notes(1)] == [3, 5]
        assert [note.id for note in await store.notes(1, after=3)] == [5]
        assert [note.part for note in await store.notes(1, 5, limit=2)] == [0, 2]
        assert [note.part for note in await store.notes(1, 5, after=2)] == [9]
        await store.swap([], [Note(1, 5, 2, b""), Note(1, 5, 0, b"new")])
        assert [(note.part, note.record) for note in await store.notes(1, 5)] == [(0, b"new"), (9, b"9")]
        assert await store.notes(2) == []

    async def test_pages_give_everything_that_fits_once(self, store: QueueStore) -> None:
        entries = [entry(store, next_hop=HOP if number % 3 else OTHER_HOP) for number in range(1000)]
        await put(store, *entries)
        found: list[int] = []
        last = 0
        while True:
            page = await store.page(
                ItemFilter(next_hop=HOP, limit=7), lambda one: one.id % 2 == 0, last, entries[-1].id
            )
            assert len(page.entries) <= 7
            assert all(one.content is None for one in page.entries)
            found += [one.id for one in page.entries]
            if not page.last:
                break
            last = page.last
        assert found == [one.id for one in entries[:-1] if one.next_hop == HOP and one.id % 2 == 0]

    async def test_what_was_removed_is_neither_leased_nor_past_its_deadline(self, store: QueueStore) -> None:
        one = entry(store, QueueKind.REMOVED, status=SUSPENDED, due=1.0, deadline=1.0)
        await put(store, one)
        assert await store.lease(QueueKind.REMOVED, None, 10**9, 10, 10**6) == []
        assert await store.past_deadline(10**9, 10) == []
