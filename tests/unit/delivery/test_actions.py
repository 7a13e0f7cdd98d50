# SPDX-License-Identifier: MIT
"""Administrators' changes against a dispatcher at work: in its memory, at the courier, on disk, and racing all of it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from bridgehead.delivery.actions import Applied, MessageActions
from bridgehead.delivery.ports import Attempt
from bridgehead.mail.delivery_status import DeliveryStatus
from bridgehead.mail.item import Priority
from bridgehead.queues.changes import ChangeKind, ItemChange, changed, former, restored
from bridgehead.queues.store import ItemFilter, MessageStatus, Note, QueuedItem, QueueKind, Transaction
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.tracking.events import EventId
from support.delivery_world import DEFERRED, HOP, MESSAGE, RELAYED, World, always
from support.queue_actions import Woken

OTHER = NextHop(DeliveryType.DNS_CONNECTOR, "elsewhere.example", "Backup")
SUSPEND = ItemChange(kind=ChangeKind.SUSPEND, by="anna", reason="look", at=1.0, action=7)
RESUME = ItemChange(kind=ChangeKind.RESUME, by="anna", at=2.0, action=8)
TELL = ItemChange(kind=ChangeKind.REMOVE, by="anna", reason="spam", at=3.0, action=9, with_ndr=True)
SILENT = ItemChange(kind=ChangeKind.REMOVE, by="anna", reason="spam", at=3.0, action=10)


@pytest.fixture(params=["memory", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    one = World(tmp_path / "queue" if request.param == "sqlite" else None)
    one.answer = None
    await one.start()
    yield one
    await one.stop()


def actions(world: World) -> MessageActions:
    return MessageActions(world.dispatcher, Woken())


async def act(world: World, change: ItemChange, *chosen: QueuedItem) -> Applied:
    entries = [await seen(world, one.id) for one in chosen]
    applied = await actions(world).apply(
        entries, lambda entry: changed(entry, change), lambda entry: Note(1, change.action, entry.id, b"x"), change.kind
    )
    await world.settle()
    return applied


async def seen(world: World, key: int) -> QueuedItem:
    [found] = await world.store.list_items(ItemFilter(internal_message_id=key))  # type: ignore[operator]
    assert isinstance(found, QueuedItem)
    return found


async def status(world: World, one: QueuedItem) -> MessageStatus | None:
    found = await world.store.list_items(ItemFilter(internal_message_id=one.id))  # type: ignore[operator]
    return found[0].status if found else None


def finish(world: World, one: QueuedItem, answer: DeliveryStatus, hop: NextHop = HOP) -> None:
    """End the attempt that the courier is at."""
    courier = world.couriers[hop]
    held = next(entry for entry in courier.held if entry.id == one.id)
    courier.held.remove(held)
    courier.source.finished(held, Attempt(statuses=[answer] * len(held.item.envelope.recipients)))


# --- what a courier has ------------------------------------------------------------------------------------------


async def test_what_is_being_attempted_is_suspended_when_the_attempt_ends(world: World) -> None:
    one = world.entry()
    await world.hand_over(one)
    applied = await act(world, SUSPEND, one)
    assert (applied.done, applied.pending) == ([one.id], 1)
    assert await status(world, one) is MessageStatus.PENDING_SUSPEND
    finish(world, one, DEFERRED)
    await world.settle()
    stored = await seen(world, one.id)
    assert (stored.status, stored.retry_count) == (MessageStatus.SUSPENDED, 1)
    assert stored.item.handling is not None
    assert (stored.item.handling.by, stored.item.handling.reason) == ("anna", "look")
    await world.pass_time(10**5)
    assert await status(world, one) is MessageStatus.SUSPENDED
    assert world.courier.tried == [one.id]


async def test_what_is_delivered_after_all_is_gone_whatever_was_pending(world: World) -> None:
    suspended, removed = world.entry(), world.entry()
    await world.hand_over(suspended, removed)
    await act(world, SUSPEND, suspended)
    await act(world, SILENT, removed)
    finish(world, suspended, RELAYED)
    finish(world, removed, RELAYED)
    await world.settle()
    assert await world.stored(None) == []
    assert world.events.of(EventId.DROP) == []


async def test_what_is_being_attempted_is_removed_when_the_attempt_ends(world: World) -> None:
    told, silent = world.entry(), world.entry()
    await world.hand_over(told, silent)
    await act(world, TELL, told)
    await act(world, SILENT, silent)
    assert await status(world, told) is MessageStatus.PENDING_REMOVE
    finish(world, told, DEFERRED)
    finish(world, silent, DEFERRED)
    await world.settle()
    assert await status(world, told) is None
    [report] = world.submitted
    assert report.item.is_dsn
    [event] = world.events.of(EventId.FAIL)
    assert (event.source, event.source_context) == ("ADMIN", "Action=9;By=anna;Reason=spam")
    kept = await seen(world, silent.id)
    assert (kept.queue, kept.status) == (QueueKind.REMOVED, MessageStatus.SUSPENDED)
    assert len(world.events.of(EventId.DROP)) == 1


async def test_what_is_given_back_untried_is_suspended_or_removed_then(world: World) -> None:
    suspended, removed = world.entry(), world.entry()
    await world.hand_over(suspended, removed)
    await act(world, SUSPEND, suspended)
    await act(world, TELL, removed)
    await world.courier.close()
    await world.settle()
    assert await status(world, suspended) is MessageStatus.SUSPENDED
    assert await status(world, removed) is None
    assert len(world.submitted) == 1
    assert world.dispatcher.bytes_in_memory == 0


async def test_a_pending_change_is_taken_back(world: World) -> None:
    one = world.entry()
    await world.hand_over(one)
    await act(world, SUSPEND, one)
    await act(world, RESUME, one)
    assert await status(world, one) is MessageStatus.ACTIVE
    finish(world, one, DEFERRED)
    await world.settle()
    assert await status(world, one) is MessageStatus.RETRY


async def test_a_message_not_yet_written_to_its_delivery_queue_is_marked_there(world: World) -> None:
    one = world.entry()
    in_submission = msgspec.structs.replace(one, queue=QueueKind.SUBMISSION, next_hop=None)
    await world.store._store.committed(Transaction(put=[in_submission]))
    world.dispatcher.deliver_at_once(one)
    await world.settle()
    assert (await act(world, SUSPEND, one)).done == [one.id]
    stored = await seen(world, one.id)
    assert (stored.queue, stored.status) == (QueueKind.DELIVERY, MessageStatus.PENDING_SUSPEND)
    finish(world, one, DEFERRED)
    await world.settle()
    assert await status(world, one) is MessageStatus.SUSPENDED


# --- what waits in memory ----------------------------------------------------------------------------------------


async def test_what_waits_in_memory_is_withdrawn_and_changed(world: World) -> None:
    world.limit = 1
    first, second, third = world.entry(), world.entry(), world.entry()
    await world.hand_over(first, second, third)
    assert (await act(world, SUSPEND, second)).done == [second.id]
    assert await status(world, second) is MessageStatus.SUSPENDED
    world.courier.limit = 10
    world.courier.wake()
    finish(world, first, RELAYED)
    finish(world, third, RELAYED)
    await world.settle()
    assert world.dispatcher.bytes_in_memory == 0
    assert (await act(world, RESUME, second)).done == [second.id]
    finish(world, second, RELAYED)
    assert await world.stored(None) == []


async def test_what_waits_in_memory_goes_another_way(world: World) -> None:
    world.limit = 0
    one = world.entry()
    await world.hand_over(one)
    world.limit = 10
    redirect = ItemChange(kind=ChangeKind.REDIRECT, at=1.0, action=3, next_hop=OTHER)
    assert (await act(world, redirect, one)).done == [one.id]
    finish(world, one, RELAYED, OTHER)
    assert await world.stored(None) == []
    assert world.courier.tried == []


async def test_a_store_that_fails_leaves_everything_as_it_was(world: World) -> None:
    world.limit = 1
    at_work, waiting = world.entry(), world.entry()
    await world.hand_over(at_work, waiting)
    entries = [await seen(world, one.id) for one in (at_work, waiting)]
    impossible = msgspec.structs.replace(SUSPEND, reason="\ud800")
    with pytest.raises(Exception, match="stored"):
        await actions(world).apply(
            entries, lambda entry: changed(entry, impossible), lambda entry: None, ChangeKind.SUSPEND
        )
    await world.settle()
    world.courier.limit = 10
    world.courier.wake()
    await world.settle()
    finish(world, at_work, RELAYED)
    finish(world, waiting, RELAYED)
    assert await world.stored(None) == []


# --- what is on disk ---------------------------------------------------------------------------------------------


async def test_a_removal_tells_each_sender_or_keeps_the_message(world: World) -> None:
    told = [world.entry() for _ in range(45)]
    silent = world.entry()
    for one in (*told, silent):
        one.status = MessageStatus.SUSPENDED
    await world.store._store.committed(Transaction(put=[*told, silent]))
    assert len((await act(world, TELL, *told)).done) == 45
    assert len(world.submitted) == 45
    assert len(world.events.of(EventId.FAIL)) == 45
    await act(world, SILENT, silent)
    assert (await seen(world, silent.id)).queue is QueueKind.REMOVED
    assert {one.id for one in await world.stored(None)} == {silent.id, *(one.id for one in world.submitted)}


async def test_priority_decides_who_goes_first_from_now_on(world: World) -> None:
    world.limit = 0
    first, second = world.entry(), world.entry()
    await world.hand_over(first, second)
    urgent = ItemChange(kind=ChangeKind.PRIORITY, at=1.0, action=3, priority=Priority.HIGH)
    await act(world, urgent, second)
    world.courier.limit = 10
    world.courier.wake()
    await world.settle()
    assert sorted(world.courier.tried) == [first.id, second.id]
    assert (await seen(world, second.id)).item.priority is Priority.HIGH


async def test_gone_and_unchangeable_messages_are_counted_with_their_reason(world: World) -> None:
    gone, ready = world.entry(), world.entry()
    ready.status = MessageStatus.SUSPENDED
    await world.store._store.committed(Transaction(put=[ready, gone]))
    entries = [await seen(world, one.id) for one in (gone, ready)]
    entries[0].status = MessageStatus.READY
    await world.store._store.committed(Transaction(remove=[gone.id]))
    applied = await actions(world).apply(
        entries, lambda entry: changed(entry, SUSPEND), lambda entry: None, ChangeKind.SUSPEND
    )
    assert applied.skipped == {"gone before it could be changed": 1, "suspended already": 1}


# --- races -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_no_message_is_lost_or_sent_twice_whatever_races(world: World, seed: int) -> None:
    """Actions of every kind against attempts that end in every way, with a window too small for all.

    In the end every message has been relayed exactly once, or removed - and then it was not relayed after that.
    """
    dice = random.Random(seed)
    world.limit = 5
    relayed: list[int] = []
    entries = [world.entry(next_hop=HOP if number % 2 else OTHER) for number in range(60)]
    acting: list[asyncio.Task[Applied]] = []
    kinds: list[Callable[[int], ItemChange]] = [
        lambda action: msgspec.structs.replace(SUSPEND, action=action),
        lambda action: msgspec.structs.replace(RESUME, action=action),
        lambda action: ItemChange(kind=ChangeKind.RETRY, action=action),
        lambda action: ItemChange(kind=ChangeKind.REDIRECT, action=action, next_hop=dice.choice([HOP, OTHER])),
        lambda action: ItemChange(kind=ChangeKind.PRIORITY, action=action, priority=dice.choice(list(Priority))),
        lambda action: msgspec.structs.replace(dice.choice([TELL, SILENT]), action=action),
    ]
    for step in range(300):
        if step < len(entries):
            await world.hand_over(entries[step])
        if dice.random() < 0.5:
            chosen = dice.sample(entries[: step + 1], min(step + 1, dice.randint(1, 8)))
            found = [await world.store.list_items(ItemFilter(internal_message_id=one.id)) for one in chosen]  # type: ignore[operator]
            change = dice.choice(kinds)(step + 1)
            acting.append(
                asyncio.create_task(
                    actions(world).apply(
                        [one for several in found for one in several],
                        lambda entry, change=change: changed(entry, change),  # type: ignore[misc]
                        lambda entry, change=change: Note(1, change.action, entry.id, b"x"),  # type: ignore[misc]
                        change.kind,
                    )
                )
            )
        for _ in range(dice.randint(0, 3)):
            await asyncio.sleep(0)
        for courier in list(world.couriers.values()):
            if courier.held and dice.random() < 0.7:
                held = courier.held.pop(dice.randrange(len(courier.held)))
                if dice.random() < 0.2:
                    courier.source.put_back(held)
                    continue
                answer = dice.choice([RELAYED, DEFERRED])
                if answer is RELAYED:
                    relayed.append(held.id)
                courier.source.finished(held, Attempt(statuses=[answer]))
            courier.wake()
    await asyncio.gather(*acting)
    await _until_all_ended(world, relayed)
    stored = {one.id for one in await world.stored(None) if one.queue is QueueKind.REMOVED}
    reported = {int(event.source_context.partition("=")[2]) for event in world.events.of(EventId.DSN)}
    ids = {one.id for one in entries}
    assert len(relayed) == len(set(relayed))
    assert not stored & set(relayed)
    assert not reported & set(relayed)
    assert set(relayed) | stored | reported == ids
    assert world.dispatcher.bytes_in_memory == 0
    assert await world.store.verify() == []  # type: ignore[operator]


async def _until_all_ended(world: World, relayed: list[int]) -> None:
    """Resume what is suspended and deliver what is left."""
    for _ in range(50):
        waiting = [one for one in await world.stored(None) if one.queue is QueueKind.DELIVERY]
        if not waiting:
            return
        for one in waiting:
            if one.status is MessageStatus.SUSPENDED:
                await act(world, RESUME, one)
        world.dispatcher.retry_now()
        for courier in list(world.couriers.values()):
            courier.wake()
            for held in list(courier.held):
                courier.held.remove(held)
                relayed.append(held.id)
                courier.source.finished(held, Attempt(statuses=[RELAYED]))
        await world.pass_time(301)
    raise AssertionError(f"messages are stuck: {[(one.id, one.status.name) for one in waiting]}")


# --- undo --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        SUSPEND,
        ItemChange(kind=ChangeKind.PRIORITY, at=1.0, action=3, priority=Priority.LOW),
        ItemChange(kind=ChangeKind.EXPIRY, at=1.0, action=4, expires_at=10.0**9),
        ItemChange(kind=ChangeKind.REDIRECT, at=1.0, action=5, next_hop=OTHER),
        SILENT,
    ],
    ids=lambda change: change.kind.value,
)
async def test_undo_restores_what_was(world: World, change: ItemChange) -> None:
    world.answer = always(DEFERRED)
    one = world.entry()
    await world.hand_over(one)
    before = await seen(world, one.id)
    assert before.status is MessageStatus.RETRY
    world.answer, world.limit = None, 0
    was = former(before)
    assert (await act(world, change, one)).done == [one.id]
    assert await seen(world, one.id) != before
    undone = await actions(world).apply(
        [await seen(world, one.id)], lambda entry: restored(entry, was, change), lambda entry: None, ChangeKind.RESUME
    )
    assert undone.done == [one.id]
    after = await seen(world, one.id)
    assert after == before
    found = await world.store.get(one.id)  # type: ignore[operator]
    assert found.content.data == MESSAGE
