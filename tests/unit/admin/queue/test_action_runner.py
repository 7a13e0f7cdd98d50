# SPDX-License-Identifier: MIT
"""Actions over a deep queue: in batches, stopped in the middle and gone on with, undone, purged, forgotten."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridgehead.admin.faults import AdminFault
from bridgehead.admin.queue import action_archive
from bridgehead.admin.queue.action_record import COMPLETED, RUNNING, Target
from bridgehead.admin.queue.action_runner import ActionRunner
from bridgehead.delivery.actions import MessageActions
from bridgehead.queues.changes import ChangeKind, ItemChange
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import ItemFilter, MessageStatus, QueueKind, Transaction
from bridgehead.tracking.events import EventId
from support.delivery_world import Events
from support.queue_actions import Around, Woken, idle_dispatcher
from support.running_server import queued

MANY = 1_000
ALL = Target(filter="Size -ge 0")
SUSPEND = ItemChange(kind=ChangeKind.SUSPEND, by="anna", reason="look")
REMOVE = ItemChange(kind=ChangeKind.REMOVE, by="anna", reason="spam")


class Desk:
    """A store with many messages, and runners over it, one after the other."""

    def __init__(self, store: SqliteQueueStore) -> None:
        self.store = store
        self.time = 1_800_000_000.0
        self.events = Events()
        self.runner = self.new_runner()

    def new_runner(self) -> ActionRunner:
        dispatcher = idle_dispatcher(self.store, lambda: self.time, self.events)
        around = Around(lambda: self.time, dispatcher.settings)
        return ActionRunner(self.store, MessageActions(dispatcher, Woken()), self.events, around)

    async def restart(self) -> None:
        await self.runner.stop()
        self.runner = self.new_runner()
        await self.runner.start()

    async def count(self, **wanted: object) -> int:
        return len(await self.store.list_items(ItemFilter(limit=10**6, **wanted)))  # type: ignore[arg-type]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = SqliteQueueStore(tmp_path / "queue", reserve_bytes=65_536)
    await store.open()
    one = Desk(store)
    await one.runner.start()
    yield one
    await one.runner.stop()
    await store.close()


async def fill(desk: Desk, count: int, status: MessageStatus = MessageStatus.READY) -> None:
    entries = [queued(desk.store, f"x{number}@contoso.com", status=status) for number in range(count)]  # type: ignore[arg-type]
    await desk.store.committed(Transaction(put=entries))


async def test_an_action_that_a_stop_cuts_short_goes_on_and_is_counted_once(desk: Desk) -> None:
    await fill(desk, MANY)
    record = await desk.runner.begin(ALL, SUSPEND)
    while not 0 < await desk.count(status=MessageStatus.SUSPENDED) < MANY:
        await asyncio.sleep(0)
    await desk.runner.stop()
    assert 0 < await desk.count(status=MessageStatus.SUSPENDED) < MANY
    assert (await desk.runner.archive.record(record.id)).state == RUNNING
    await desk.restart()
    ended = await desk.runner.ended(record.id, 30)
    assert (ended.state, ended.done, ended.skipped) == (COMPLETED, MANY, {})
    assert await desk.count(status=MessageStatus.SUSPENDED) == MANY


async def test_mail_that_comes_after_an_action_began_is_left_alone(desk: Desk) -> None:
    await fill(desk, 10)
    record = await desk.runner.begin(ALL, SUSPEND)
    await fill(desk, 5)
    await desk.runner.ended(record.id, 30)
    assert await desk.count(status=MessageStatus.READY) == 5


async def test_the_event_loop_goes_on_while_an_action_runs(desk: Desk) -> None:
    await fill(desk, MANY)
    loop, longest = asyncio.get_running_loop(), 0.0
    record = await desk.runner.begin(ALL, SUSPEND)
    while desk.runner.running:
        before = loop.time()
        await asyncio.sleep(0)
        longest = max(longest, loop.time() - before)
    assert (await desk.runner.archive.record(record.id)).done == MANY
    assert longest < 0.5


async def test_a_dry_run_counts_what_the_action_then_does(desk: Desk) -> None:
    await fill(desk, 30)
    await fill(desk, 12, MessageStatus.SUSPENDED)
    preview = await desk.runner.preview(ALL, SUSPEND, 5)
    assert (len(preview.applied.done), len(preview.sample)) == (30, 5)
    assert preview.applied.skipped == {"suspended already": 12}
    assert await desk.count(status=MessageStatus.SUSPENDED) == 12
    record = await desk.runner.begin(ALL, SUSPEND)
    ended = await desk.runner.ended(record.id, 30)
    assert (ended.done, ended.skipped) == (30, {"suspended already": 12})


async def test_what_was_removed_is_kept_for_a_while_and_then_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(desk, 300)
    record = await desk.runner.begin(ALL, REMOVE)
    await desk.runner.ended(record.id, 30)
    assert await desk.count(queue=QueueKind.REMOVED) == 300
    assert len(desk.events.of(EventId.DROP)) == 300
    desk.time += 23 * 3600
    await desk.restart()
    await asyncio.sleep(0.1)
    assert await desk.count(queue=QueueKind.REMOVED) == 300
    desk.time += 2 * 3600
    monkeypatch.setattr(action_archive, "HOUSEKEEPING_SECONDS", 0.01)
    await desk.restart()
    async with asyncio.timeout(20):
        while await desk.count(queue=QueueKind.REMOVED):
            await asyncio.sleep(0.01)
    assert await desk.store.verify() == []
    undone = await desk.runner.undo(record.id, "anna", "")
    ended = await desk.runner.ended(undone.id, 30)
    assert (ended.done, ended.skipped) == (0, {"gone from the queues": 300})


async def test_undo_brings_back_what_was_removed_and_cannot_be_had_twice(desk: Desk) -> None:
    await fill(desk, 250)
    before = await desk.store.list_items(ItemFilter(limit=1000))
    record = await desk.runner.begin(ALL, REMOVE)
    await desk.runner.ended(record.id, 30)
    undone = await desk.runner.undo(record.id, "ben", "mistake")
    assert (await desk.runner.ended(undone.id, 30)).done == 250
    assert await desk.store.list_items(ItemFilter(limit=1000)) == before
    assert len(desk.events.of(EventId.RESUBMIT)) == 250
    with pytest.raises(AdminFault, match="undone already"):
        await desk.runner.undo(record.id, "ben", "")
    with pytest.raises(AdminFault, match="cannot be undone"):
        await desk.runner.undo(undone.id, "ben", "")
    assert [one.id for one in await desk.runner.archive.records(10)] == [undone.id, record.id]


async def test_records_are_bounded_in_number(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_archive, "ACTIONS_KEPT", 3)
    monkeypatch.setattr(action_archive, "HOUSEKEEPING_SECONDS", 0.01)
    await desk.restart()
    await fill(desk, 3)
    for _ in range(6):
        record = await desk.runner.begin(ALL, SUSPEND)
        await desk.runner.ended(record.id, 30)
    async with asyncio.timeout(20):
        while len(await desk.runner.archive.records(100)) > 3:
            await asyncio.sleep(0.01)
    assert [one.id for one in await desk.runner.archive.records(100)] == [6, 5, 4]
    assert await desk.store.notes(1, 1) == []
