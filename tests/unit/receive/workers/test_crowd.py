# SPDX-License-Identifier: MIT
"""Several processes on one listening socket: who takes the next connection."""

import asyncio
import socket

import pytest

from bridgehead.receive.workers import crowd
from bridgehead.receive.workers.crowd import Crowd, SharedAccepting


def test_who_has_more_leaves_the_next_one_to_others() -> None:
    memory = Crowd.make(2)
    one, other, supervisor = Crowd(memory, 2, 0), Crowd(memory, 2, 1), Crowd(memory, 2)
    one.tell(1)
    assert not one.others_have_fewer()  # the other is not there yet
    other.tell(0)
    assert one.others_have_fewer()
    assert not other.others_have_fewer()
    supervisor.absent(1)
    assert not one.others_have_fewer()


async def test_whoever_is_there_first_waits_for_those_who_start_with_it() -> None:
    memory = Crowd.make(3)
    one, other, supervisor = Crowd(memory, 3, 0), Crowd(memory, 3, 1), Crowd(memory, 3)
    one.tell(0)
    waiting = asyncio.create_task(one.assemble())
    other.tell(0)
    assert not (await asyncio.wait([waiting], timeout=0.02))[0]  # the third is still expected
    supervisor.absent(2)  # it ended
    await asyncio.wait_for(waiting, 2)
    other.tell(1)
    await asyncio.wait_for(one.assemble(), 0.1)  # a reload waits for nobody


@pytest.mark.parametrize(("mine", "others", "leaves_it"), [
    (2, 1, True), (4, 3, True), (5, 4, False), (6, 4, True), (50, 40, False), (51, 40, True), (3, 3, False),
])  # fmt: skip
def test_a_quarter_more_is_as_many(mine: int, others: int, leaves_it: bool) -> None:
    memory = Crowd.make(3)
    one = Crowd(memory, 3, 0)
    for place in (1, 2):
        Crowd(memory, 3, place).tell(others)
    one.tell(mine)
    assert one.others_have_fewer() is leaves_it


async def test_who_stands_back_is_there_again_once_a_session_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "_COURTESY_SECONDS", 3600.0)
    memory = Crowd.make(2)
    one, other = Crowd(memory, 2, 0), Crowd(memory, 2, 1)
    one.tell(1)
    other.tell(0)
    stood_back = asyncio.Event()
    asked = one.others_have_fewer

    def others_have_fewer() -> bool:
        found = asked()
        if found:
            stood_back.set()
        return found

    monkeypatch.setattr(one, "others_have_fewer", others_have_fewer)
    taken = asyncio.Event()

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            taken.set()
            assert isinstance(transport, asyncio.Transport)
            transport.abort()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        accepting = SharedAccepting(listening, one, Protocol, lambda: 0)
        accepting.start()
        with socket.create_connection(listening.getsockname()):
            async with asyncio.timeout(10):
                await stood_back.wait()
                accepting.session_ended()  # the one session goes on
                assert not taken.is_set()
                one.tell(0)
                accepting.session_ended()
                await taken.wait()
        accepting.close()
