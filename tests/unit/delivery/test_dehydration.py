# SPDX-License-Identifier: MIT
"""Under memory pressure message bodies wait on disk, and every message is still delivered once."""

from pathlib import Path

from bridgehead.delivery.ports import Attempt
from bridgehead.mail.content import BytesContent
from bridgehead.mail.units import ByteSize
from bridgehead.queues.store import QueuedItem
from support.delivery_world import RELAYED, World

LARGE = b"Subject: large\r\n\r\n" + b"x" * 100_000 + b"\r\n"


def large(world: World) -> QueuedItem:
    entry = world.entry(size=len(LARGE))
    entry.content = BytesContent(LARGE)
    return entry


async def test_bodies_leave_memory_and_come_back_in_small_batches(tmp_path: Path) -> None:
    world = World(tmp_path, outbound_window_bytes=ByteSize(64 * 1024**2))
    world.answer, world.limit = None, 1
    await world.start()
    entries = [large(world) for _ in range(100)]
    await world.hand_over(*entries)
    before = world.dispatcher.bytes_in_memory
    assert before == 100 * len(LARGE)

    world.dispatcher.dehydrate(True)
    await world.settle()
    assert world.dispatcher.bytes_in_memory <= 4 * 1024**2 + len(LARGE)
    assert world.dispatcher.window_bytes == 4 * 1024**2

    delivered: list[int] = []
    while world.courier.held:
        held = world.courier.held.pop()
        assert held.content is not None
        assert held.content.size == len(LARGE)
        delivered.append(held.id)
        world.courier.source.finished(held, Attempt(statuses=[RELAYED]))
        world.courier.wake()
        await world.settle()
    assert sorted(delivered) == [entry.id for entry in entries]

    world.dispatcher.dehydrate(False)
    assert world.dispatcher.window_bytes == 64 * 1024**2
    await world.stop()
