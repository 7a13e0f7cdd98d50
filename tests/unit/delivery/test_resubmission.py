# SPDX-License-Identifier: MIT
"""Requests to resubmit: what they take, how they wait, and how they are stopped."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridgehead.delivery import resubmission
from bridgehead.delivery.resubmission import Resubmissions, TooMany
from bridgehead.delivery.resubmit_request import Request, RequestState, Wanted
from bridgehead.mail.envelope import Notify
from bridgehead.mail.item import Source
from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.queues.safety_net.net import SafetyNet
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import ItemFilter, MessageStatus, QueuedItem, QueueKind, StoreFault, Transaction
from support.clock import JumpingClock
from support.delivery_world import Events
from support.queue_store_contract import OTHER_HOP, entry

EVER = Wanted(start=0.0, end=1e11)


class Desk:
    """Implements the categorizer's `wake` as well."""

    def __init__(self, folder: Path) -> None:
        self.store, self.clock, self.events = MemoryQueueStore(), JumpingClock(), Events()
        self.net = SafetyNet(folder, QueueSettings(), self.clock.now, self.clock.monotonic)
        self.net.open()
        self.requests = Resubmissions(self.store, self.net, self.events, self.clock, self)
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1

    def deliver(self, count: int, **facts: object) -> list[QueuedItem]:
        entries = [entry(self.store, **facts) for _ in range(count)]  # type: ignore[arg-type]
        for one in entries:
            self.net.keep(one, one.item.envelope.recipients)
        return entries

    async def submitted(self) -> list[QueuedItem]:
        return await self.store.list_items(ItemFilter(queue=QueueKind.SUBMISSION, limit=10_000))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    one = Desk(tmp_path)
    await one.store.open()
    yield one
    await one.requests.stop()
    one.net.close()


async def ended(request: Request) -> None:
    async with asyncio.timeout(20):
        while request.state is RequestState.RUNNING:
            await asyncio.sleep(0.01)


async def test_each_message_is_a_new_entry_that_nobody_is_told_about(desk: Desk) -> None:
    delivered = desk.deliver(130)
    desk.clock.advance(10)
    request = await desk.requests.start(EVER, dry_run=False, by="ann", reason="restored")
    await ended(request)
    assert (request.state, request.resubmitted, request.scanned) == (RequestState.COMPLETED, 130, 130)
    submitted = await desk.submitted()
    assert len({one.id for one in submitted}.union(one.id for one in delivered)) == 260
    assert {one.item.network_message_id for one in submitted} == {one.item.network_message_id for one in delivered}
    one = submitted[0]
    assert (one.status, one.item.source, one.item.received_at) == (
        MessageStatus.READY, Source.SAFETYNET, desk.clock.now(),
    )  # fmt: skip
    assert [who.notify for who in one.item.envelope.recipients] == [Notify.NEVER]
    assert desk.wakes == 3
    assert {event.source for event in desk.events.all} == {Source.SAFETYNET}
    assert len(desk.events.all) == 130


async def test_what_is_delivered_after_the_start_of_a_request_is_not_meant(desk: Desk) -> None:
    desk.deliver(1)
    desk.clock.advance(1)
    request = await desk.requests.start(EVER, dry_run=False, by="ann", reason="")
    desk.clock.advance(1)
    desk.deliver(1)
    await ended(request)
    assert request.resubmitted == 1
    assert request.wanted.end == desk.clock.now() - 1


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({"sender": "SENDER@*"}, 5),
        ({"sender": "other@example.com"}, 1),
        ({"recipient": "*@example.net"}, 6),
        ({"recipient": "nobody@*"}, 0),
        ({"next_hop": "example.net"}, 5),
        ({"next_hop": "relay.example.com"}, 1),
        ({"next_hop": "Relay/*"}, 1),
        ({"connector": "internet"}, 5),
        ({"message_id": "<*@example.com>"}, 6),
        ({"network_message_id": "net-1"}, 1),
        ({"connector": "internet", "sender": "other*"}, 0),
    ],
)
async def test_what_is_chosen(desk: Desk, wanted: dict[str, str], count: int) -> None:
    desk.deliver(5)
    desk.deliver(1, sender="other", next_hop=OTHER_HOP)
    request = await desk.requests.start(Wanted(start=0.0, end=1e11, **wanted), dry_run=True, by="ann", reason="")
    await ended(request)
    assert (request.matched, request.resubmitted) == (count, 0)
    assert await desk.submitted() == []
    listed, more = await desk.requests.listing(Wanted(start=0.0, end=1e11, **wanted), 100)
    assert (len(listed), more) == (count, False)


async def test_a_request_waits_while_much_is_in_submission_and_can_be_cancelled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resubmission, "WAITING_MOST", 100)
    monkeypatch.setattr(resubmission, "ROOM_SECONDS", 0.01)
    desk.deliver(500)
    request = await desk.requests.start(EVER, dry_run=False, by="ann", reason="")
    while request.resubmitted < 100:
        await asyncio.sleep(0.01)
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert request.resubmitted == 100
    await desk.store.committed(Transaction(remove=[one.id for one in await desk.submitted()]))
    while request.resubmitted < 200:
        await asyncio.sleep(0.01)
    assert await desk.requests.cancel(request.id)
    assert request.state is RequestState.CANCELLED
    assert not await desk.requests.cancel(request.id)
    assert len(await desk.submitted()) == 100


async def test_only_a_few_requests_run_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resubmission, "WAITING_MOST", 0)
    desk.deliver(1)
    for _ in range(resubmission.RUNNING_AT_ONCE):
        await desk.requests.start(EVER, dry_run=False, by="ann", reason="")
    with pytest.raises(TooMany):
        await desk.requests.start(EVER, dry_run=False, by="ann", reason="")


class Failing:
    """A store whose n-th swap fails; otherwise the store behind it."""

    def __init__(self, behind: MemoryQueueStore, failing: int) -> None:
        self._behind, self._left = behind, failing

    def __getattr__(self, name: str) -> object:
        return getattr(self._behind, name)

    async def swap(self, *arguments: object) -> object:
        self._left -= 1
        if self._left == 0:
            raise StoreFault("no space")
        return await self._behind.swap(*arguments)  # type: ignore[arg-type]


async def test_a_store_that_takes_nothing_for_a_while_is_waited_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resubmission, "FAULT_PAUSE", 0.01)
    delivered = desk.deliver(120)
    failing = Failing(desk.store, 3)  # the record, the first batch, and then
    desk.requests = Resubmissions(failing, desk.net, desk.events, desk.clock, desk)  # type: ignore[arg-type]
    request = await desk.requests.start(EVER, dry_run=False, by="ann", reason="")
    await ended(request)
    assert request.state is RequestState.COMPLETED
    assert request.problems == ["the queue store takes nothing: no space"]
    assert (request.scanned, request.matched, request.resubmitted) == (120, 120, 120)
    submitted = await desk.submitted()
    assert [one.item.network_message_id for one in submitted] == [one.item.network_message_id for one in delivered]


async def test_a_request_that_cannot_be_recorded_does_not_begin(desk: Desk) -> None:
    failing = Failing(desk.store, 1)
    requests = Resubmissions(failing, desk.net, desk.events, desk.clock, desk)  # type: ignore[arg-type]
    with pytest.raises(StoreFault):
        await requests.start(EVER, dry_run=False, by="ann", reason="")
    assert not requests.requests


async def restarted(desk: Desk) -> None:
    """Another process on the same store and net."""
    await desk.requests.stop()
    desk.requests = Resubmissions(desk.store, desk.net, desk.events, desk.clock, desk)
    await desk.requests.open()


async def test_a_restart_goes_on_behind_what_was_resubmitted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resubmission, "WAITING_MOST", 100)
    monkeypatch.setattr(resubmission, "ROOM_SECONDS", 0.01)
    delivered = desk.deliver(260)
    again = delivered[30]
    desk.net.keep(again, again.item.envelope.recipients)  # a crash let it be delivered a second time
    first = await desk.requests.start(EVER, dry_run=False, by="ann", reason="restored")
    while first.resubmitted < 100:
        await asyncio.sleep(0.01)
    await restarted(desk)
    assert first.resubmitted == 100
    request = desk.requests.requests[first.id]
    assert (request.state, request.by, request.reason) == (RequestState.RUNNING, "ann", "restored")
    monkeypatch.setattr(resubmission, "WAITING_MOST", 10_000)
    await ended(request)
    assert (request.state, request.resubmitted) == (RequestState.COMPLETED, 260)
    assert (request.scanned, request.matched) == (261, 260)
    submitted = [one.item.network_message_id for one in await desk.submitted()]
    assert sorted(submitted) == sorted(one.item.network_message_id for one in delivered)
    await restarted(desk)
    assert desk.requests.requests[first.id].state is RequestState.COMPLETED
    assert len(await desk.submitted()) == 260


async def test_what_was_cancelled_stays_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resubmission, "WAITING_MOST", 50)
    desk.deliver(200)
    request = await desk.requests.start(EVER, dry_run=False, by="ann", reason="")
    while request.resubmitted < 50:
        await asyncio.sleep(0.01)
    await restarted(desk)
    assert await desk.requests.cancel(request.id)
    await restarted(desk)
    assert desk.requests.requests[request.id].state is RequestState.CANCELLED
    assert len(await desk.submitted()) == 50


async def test_the_latest_requests_are_remembered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resubmission, "REQUESTS_REMEMBERED", 3)
    for _ in range(6):
        await ended(await desk.requests.start(EVER, dry_run=True, by="ann", reason=""))
    await restarted(desk)
    assert len(desk.requests.requests) == 3


async def test_what_a_crash_let_be_delivered_twice_is_resubmitted_once(desk: Desk) -> None:
    [one] = desk.deliver(1)
    desk.net.keep(one, one.item.envelope.recipients)
    request = await desk.requests.start(EVER, dry_run=False, by="ann", reason="")
    await ended(request)
    assert (request.scanned, request.resubmitted) == (2, 1)
