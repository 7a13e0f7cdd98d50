# SPDX-License-Identifier: MIT
"""A next hop that cannot be reached: one DEFER event for each message that waits, not one for each retry."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridgehead.delivery import hold_up
from bridgehead.queues.store import MessageStatus, Transaction
from bridgehead.tracking.events import EventId
from support.delivery_world import HOP, RELAYED, World, always


@pytest.fixture(params=["sqlite", "memory"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path if request.param == "sqlite" else None)
    world.limit, world.answer = 1, None
    await world.start()
    yield world
    await world.stop()


def deferred(world: World) -> Counter[int]:
    return Counter(event.internal_message_id for event in world.events.of(EventId.DEFER))


async def break_down(world: World, error: str = "no route to host") -> None:
    """The message under way comes back, and no host can be reached from here on."""
    world.courier.source.put_back(world.courier.held.pop())
    world.courier.unreachable = error
    world.courier.source.connection_failed(error)
    await world.settle()


async def test_each_message_has_one_event_however_many_retries_follow(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold_up, "AT_ONCE", 7)
    monkeypatch.setattr(hold_up, "PAUSE_SECONDS", 0.0)
    on_disk = [world.entry() for _ in range(50)]
    for one in on_disk:
        one.status = MessageStatus.READY
    await world.hand_over(*(world.entry() for _ in range(5)))
    await world.store.committed(Transaction(put=on_disk))  # type: ignore[operator]
    world.dispatcher.notify(HOP)
    await break_down(world)
    await world.hand_over(world.entry())
    assert len(deferred(world)) == 56
    for _ in range(4):
        await world.pass_time(60)
    assert set(deferred(world).values()) == {1}
    event = world.events.of(EventId.DEFER)[0]
    assert event.recipient_status == ["no route to host"]
    assert event.connector_id == "Internet"
    world.courier.unreachable, world.courier.answer, world.courier.limit = "", always(RELAYED), 100
    await world.pass_time(300)
    assert len(world.events.of(EventId.SEND)) == 56


async def test_a_queue_that_begins_to_wait_again_says_so_again(world: World) -> None:
    await world.hand_over(world.entry(), world.entry())
    await break_down(world)
    assert set(deferred(world).values()) == {1}
    world.courier.unreachable = ""
    await world.pass_time(60)
    assert world.dispatcher.queues[HOP].state.retry_count == 0
    await break_down(world, "connection refused")
    assert set(deferred(world).values()) == {2}


async def test_it_ends_when_the_queue_is_at_work_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_up, "AT_ONCE", 5)
    on_disk = [world.entry() for _ in range(300)]
    for one in on_disk:
        one.status = MessageStatus.READY
    await world.hand_over(world.entry())
    await world.store.committed(Transaction(put=on_disk))  # type: ignore[operator]
    world.dispatcher.notify(HOP)
    world.courier.source.connection_failed("no route to host")
    world.courier.source.connection_succeeded()
    await world.settle()
    assert len(deferred(world)) < 150
