# SPDX-License-Identifier: MIT
"""A huge mailing, and single messages that must not wait for it: with a real store on disk and one delivery at a time."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from bridgehead.delivery.ports import Attempt
from bridgehead.mail.address import Mailbox
from bridgehead.mail.item import Priority
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import MessageStatus, QueuedItem, Transaction
from support.delivery_world import HOP, RELAYED, World

MAILING = 30_000
"""Far more than memory holds of one queue."""
AMONG_THE_NEXT = 3


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    one = World(tmp_path)
    one.limit, one.answer = 1, None
    yield one
    await one.stop()


def message(world: World, sender: str, **facts: object) -> QueuedItem:
    entry = world.entry(**facts)  # type: ignore[arg-type]
    entry.item.envelope.reverse_path = Mailbox(sender, "contoso.com")
    return entry


async def store(
    world: World, count: int, sender: str, status: MessageStatus = MessageStatus.READY, **facts: object
) -> None:
    """Messages on disk, sharing one content."""
    first = message(world, sender, **facts)
    for start in range(0, count, 1_000):
        entries = []
        for _ in range(min(1_000, count - start)):
            number = world.store.allocate_id()  # type: ignore[operator]
            item = msgspec.structs.replace(first.item, internal_message_id=number)
            entries.append(
                msgspec.structs.replace(
                    first, item=item, status=status, due=1.0 if status is MessageStatus.RETRY else 0.0,
                    retry_count=1 if status is MessageStatus.RETRY else 0,
                )
            )  # fmt: skip
        await world.store.committed(Transaction(put=entries))  # type: ignore[operator]


def deliver_one(world: World) -> str:
    """Let the message under way end; whose it was."""
    [entry] = world.courier.held
    world.courier.held.clear()
    world.courier.source.finished(entry, Attempt(statuses=[RELAYED], remote_host="mx"))
    world.courier.wake()
    return entry.item.envelope.reverse_path.local_part


async def deliver(world: World, count: int) -> list[str]:
    gone = []
    for _ in range(count):
        await world.settle()
        gone.append(deliver_one(world))
    return gone


@pytest.mark.parametrize("status", [MessageStatus.READY, MessageStatus.RETRY])
async def test_a_single_message_leaves_among_the_next_of_a_mailing_on_disk(world: World, status: MessageStatus) -> None:
    await world.store.open()  # type: ignore[operator]
    await store(world, MAILING, "mailing", status)
    await store(world, 1, "stored-too", status)
    await world.store.close()  # type: ignore[operator]
    await world.start()
    await world.settle()
    assert "stored-too" in await deliver(world, AMONG_THE_NEXT)
    await deliver(world, 700)
    await world.hand_over(message(world, "single"))
    assert "single" in await deliver(world, AMONG_THE_NEXT)


async def test_it_does_so_while_the_mailing_pours_in(world: World) -> None:
    await world.start()
    await store(world, 3_000, "mailing")
    world.dispatcher.notify(HOP)
    await world.hand_over(*(message(world, "mailing") for _ in range(1_200)))
    for _ in range(10):
        await world.hand_over(*(message(world, "mailing") for _ in range(20)))
        await world.hand_over(message(world, "single"))
        assert "single" in await deliver(world, AMONG_THE_NEXT)
        await deliver(world, 10)


async def test_every_other_message_is_another_sender_s_while_both_pour_in(world: World) -> None:
    await world.start()
    await store(world, 2_000, "mailing")
    world.dispatcher.notify(HOP)
    await world.hand_over(*(message(world, "mailing") for _ in range(800)))
    await world.hand_over(*(message(world, "other") for _ in range(100)))
    gone = await deliver(world, 60)
    assert 25 <= gone.count("other") <= 35


async def test_a_weight_changes_the_share_of_a_sender_also_by_reload(world: World) -> None:
    settings = msgspec.convert(
        {"sender_weights": [{"sender": "vip@contoso.com", "weight": 30}]}, QueueSettings
    )  # fmt: skip
    await world.start()
    await world.dispatcher.reconfigure(settings, world.delivery, world.courier_for)
    await world.hand_over(*(message(world, "mailing") for _ in range(300)))
    await world.hand_over(*(message(world, "vip") for _ in range(300)))
    await deliver(world, 5)
    gone = await deliver(world, 80)
    assert 55 <= gone.count("vip") <= 65


async def test_retries_have_their_share_and_no_more(world: World) -> None:
    await world.start()
    await store(world, 2_000, "mailing", MessageStatus.RETRY)
    await store(world, 500, "fresh")
    world.dispatcher.notify(HOP)
    await world.settle()
    gone = await deliver(world, 200)
    assert 30 <= gone.count("mailing") <= 60, gone


async def test_low_priority_does_not_wait_for_ever(world: World) -> None:
    await world.start()
    await store(world, 2_000, "normal")
    await store(world, 200, "low", priority=Priority.LOW)
    world.dispatcher.notify(HOP)
    await world.hand_over(*(message(world, "high", priority=Priority.HIGH) for _ in range(3)))
    gone = await deliver(world, 200)
    assert {0, 1, 2, 3, 4}.issuperset(place for place, who in enumerate(gone) if who == "high")
    assert 25 <= gone.count("low") <= 60


async def test_connections_of_a_priority_are_limited_where_priority_queuing_is_on(world: World) -> None:
    settings = QueueSettings(priority_queuing_enabled=True, max_per_domain_low_priority_connections=2)
    world.limit = 50
    await world.start()
    await world.dispatcher.reconfigure(settings, world.delivery, world.courier_for)
    await world.hand_over(*(message(world, "low", priority=Priority.LOW) for _ in range(10)))
    assert len(world.courier.held) == 2
    assert world.courier.source.backlog() == 0
    await world.hand_over(*(message(world, "normal") for _ in range(20)))
    held = [entry.item.priority for entry in world.courier.held]
    assert (held.count(Priority.LOW), held.count(Priority.NORMAL)) == (2, 15)
    for entry in list(world.courier.held):
        world.courier.held.remove(entry)
        world.courier.source.finished(entry, Attempt(statuses=[RELAYED], remote_host="mx"))
        await world.settle()
    while world.courier.held:
        entry = world.courier.held.pop()
        world.courier.source.finished(entry, Attempt(statuses=[RELAYED], remote_host="mx"))
        await world.settle()
    assert len(world.events.of(world.events.all[0].event_id)) == 30
