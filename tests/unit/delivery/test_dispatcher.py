# SPDX-License-Identifier: MIT
"""The dispatcher with a real store and a clock that jumps."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from bridgehead.delivery import delivery_queue, queue_window
from bridgehead.delivery import dispatcher as delivery_dispatcher
from bridgehead.delivery.ports import Attempt
from bridgehead.dsn.parse import parse_report
from bridgehead.mail.address import NULL
from bridgehead.mail.envelope import Envelope, Notify, RecipientState
from bridgehead.mail.units import ByteSize
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    QueuedItem,
    QueueKind,
    QueueStatus,
    StoreFault,
    Transaction,
)
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.tracking.events import EventId
from support.delivery_world import DEFERRED, HOP, REFUSED, RELAYED, World, always


@pytest.fixture(params=["sqlite", "memory"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path if request.param == "sqlite" else None)
    await world.start()
    yield world
    await world.stop()


def report_of(world: World) -> tuple[str, str, str]:
    """Action, status and diagnostic of the only report."""
    assert len(world.submitted) == 1
    entry = world.submitted[0]
    assert entry.content is not None
    assert entry.content.data is not None
    recipient = parse_report(entry.content.data).recipients[0]
    return recipient.action, recipient.status, recipient.diagnostic


async def test_a_fresh_message_is_delivered_from_memory_and_leaves_one_event_and_nothing_stored(world: World) -> None:
    entry = world.entry()
    await world.hand_over(entry)
    assert world.events.names == ["SEND"]
    event = world.events.all[0]
    assert event.recipient_address == ["bob@example.com"]
    assert event.recipient_status == ["250 2.0.0 OK"]
    assert (event.server_hostname, event.server_ip, event.connector_id) == ("mx", "192.0.2.1", "Internet")
    assert await world.stored(None) == []
    assert world.dispatcher.bytes_in_memory == 0


async def test_local_delivery_is_tracked_as_deliver(world: World) -> None:
    hop = NextHop(DeliveryType.MAILBOX, "Mailboxes", "Mailboxes")
    await world.hand_over(world.entry(next_hop=hop))
    assert world.events.names == ["DELIVER"]
    assert world.events.all[0].source == "STOREDRIVER"


async def test_what_is_deferred_comes_back_at_its_time_and_not_before(world: World) -> None:
    world.answer = always(DEFERRED)
    await world.hand_over(world.entry())
    assert world.events.names == ["DEFER"]
    assert world.events.all[0].recipient_status == ["450 4.2.0 Later"]
    (kept,) = await world.stored()
    assert kept.status is MessageStatus.RETRY
    assert kept.due == world.clock.now() + 300
    assert (kept.retry_count, kept.last_error) == (1, "450 4.2.0 Later")
    assert kept.item.envelope.recipients[0].last_error == "450 4.2.0 Later"
    await world.pass_time(299)
    assert world.events.names == ["DEFER"]
    world.courier.answer = always(RELAYED)
    await world.pass_time(2)
    assert world.events.names == ["DEFER", "SEND"]
    assert await world.stored(None) == []


async def test_what_is_refused_is_reported_in_one_transaction(world: World) -> None:
    world.answer = always(REFUSED)
    await world.hand_over(world.entry())
    assert world.events.names == ["FAIL", "DSN"]
    assert report_of(world) == ("failed", "5.1.1", "550 5.1.1 No such user")
    (report,) = await world.stored(None)
    assert (report.queue, report.id) == (QueueKind.SUBMISSION, world.submitted[0].id)
    assert report.item.envelope.reverse_path is NULL or report.item.envelope.reverse_path.is_null
    assert report.item.is_dsn
    dsn = world.events.of(EventId.DSN)[0]
    assert dsn.recipient_address == ["ana@contoso.com"]
    assert dsn.reference == "<1@contoso.com>"


async def test_nothing_answers_a_report(world: World) -> None:
    world.answer = always(REFUSED)
    await world.hand_over(world.entry(is_dsn=True))
    assert world.events.names == ["FAIL"]
    assert await world.stored(None) == []


async def test_each_recipient_goes_its_own_way(world: World) -> None:
    world.answer = lambda entry: [RELAYED, DEFERRED, REFUSED][: len(entry.item.envelope.recipients)]
    await world.hand_over(world.entry("a@example.com", "b@example.com", "c@example.com"))
    assert world.events.names == ["SEND", "DEFER", "FAIL", "DSN"]
    (kept,) = await world.stored()
    states = [recipient.state for recipient in kept.item.envelope.recipients]
    assert states == [RecipientState.RELAYED, RecipientState.PENDING, RecipientState.FAILED]
    world.courier.answer = always(RELAYED)
    await world.pass_time(301)
    assert world.events.all[-1].recipient_address == ["b@example.com"]
    assert [entry.queue for entry in await world.stored(None)] == [QueueKind.SUBMISSION]


async def test_success_is_reported_where_it_is_wanted(world: World) -> None:
    await world.hand_over(world.entry(notify=Notify.SUCCESS))
    assert world.events.names == ["SEND", "DSN"]
    assert report_of(world)[0] == "relayed"


async def test_delay_is_told_once_and_then_the_end(world: World) -> None:
    world.answer = always(DEFERRED)
    await world.hand_over(world.entry())
    for _ in range(60):
        await world.pass_time(300)
    assert [event.event_id for event in world.events.all if event.event_id is EventId.DSN] == [EventId.DSN]
    assert report_of(world) == ("delayed", "4.2.0", "450 4.2.0 Later")
    world.submitted.clear()
    for _ in range(60):
        await world.pass_time(3600)
    assert world.events.names[-2:] == ["FAIL", "DSN"]
    action, status, diagnostic = report_of(world)
    assert (action, status) == ("failed", "5.4.7")
    assert diagnostic == "550 5.4.7 QUEUE.Expired; message expired; last error: 450 4.2.0 Later"
    assert await world.stored() == []


async def test_a_queue_that_cannot_connect_climbs_the_ladder(world: World) -> None:
    world.limit = 0
    first = world.entry()
    await world.hand_over(first)
    world.courier.limit, world.courier.unreachable = 10, "connection timed out"
    world.courier.wake()
    await world.settle()
    queue = world.dispatcher.queues[HOP]
    assert queue.status == "Retry"
    assert queue.state.next_retry == world.clock.now() + 60
    (kept,) = await world.stored()
    assert (kept.status, kept.retry_count) == (MessageStatus.READY, 0)
    assert world.dispatcher.bytes_in_memory == 0
    assert not world.dispatcher.has_room(HOP, 10, world.entry().item)
    await world.hand_over(world.entry())
    assert world.courier.tried == []
    intervals = []
    for _ in range(12):
        before = world.clock.now()
        intervals.append(queue.state.next_retry - before)
        await world.pass_time(intervals[-1])
    assert intervals == [60] * 4 + [300] * 6 + [600] * 2
    world.courier.unreachable = ""
    await world.pass_time(600)
    assert len(world.events.of(EventId.SEND)) == 2
    assert queue.state.retry_count == 0
    assert queue.status == "Ready"
    assert await world.stored(None) == []


async def test_mail_passes_before_it_is_known_what_waits_and_suspended_queues_stay_so(world: World) -> None:
    other = NextHop(DeliveryType.SMART_HOST, "other.example.net", "Other")
    world.limit = 0
    await world.hand_over(world.entry())
    world.dispatcher.suspend(other, "admin")
    await world.settle()
    await world.dispatcher.stop()
    world.limit = 10
    world.dispatcher = world.new_dispatcher()
    await world.dispatcher.start()
    await world.settle()
    assert world.dispatcher.queues.keys() == {other}
    assert world.dispatcher.queues[other].status == "Suspended"
    assert not world.events.all
    await world.hand_over(world.entry())
    await world.settle()
    assert world.dispatcher.queues[HOP].status != "Suspended"
    await world.dispatcher.take_up()
    await world.settle()
    assert world.events.names == ["SEND", "SEND"]
    assert world.dispatcher.queues[other].status == "Suspended"


async def test_the_state_of_a_queue_outlives_the_process(world: World) -> None:
    world.limit = 0
    await world.hand_over(world.entry())
    world.courier.limit, world.courier.unreachable = 10, "no route to host"
    world.courier.wake()
    await world.settle()
    retry_at = world.dispatcher.queues[HOP].state.next_retry
    await world.dispatcher.stop()
    world.dispatcher = world.new_dispatcher()
    await world.dispatcher.start()
    await world.settle()
    queue = world.dispatcher.queues[HOP]
    assert (queue.state.status, queue.state.next_retry) == (QueueStatus.RETRY, retry_at)
    assert queue.state.last_error == "no route to host"
    assert world.events.names == ["DEFER"]
    world.limit = 10
    await world.pass_time(60)
    assert world.events.names == ["DEFER", "SEND"]


async def test_a_permanent_fault_of_the_next_hop_fails_all_its_messages(world: World) -> None:
    world.limit = 0
    await world.hand_over(*[world.entry() for _ in range(5)])
    late = world.entry()
    late.status, late.due = MessageStatus.RETRY, world.clock.now() + 1000
    await world.store.committed(Transaction(put=[late]))  # type: ignore[operator]
    world.dispatcher.queues[HOP].connection_failed("example.com does not exist", permanent=True, status="5.4.4")
    await world.settle()
    assert world.events.names.count("FAIL") == 6
    assert len(world.submitted) == 6
    assert await world.stored() == []
    assert world.dispatcher.queues[HOP].status == "Ready"
    assert world.dispatcher.bytes_in_memory == 0
    assert world.dispatcher.has_room(HOP, 10, world.entry().item)


async def test_waiting_messages_expire_also_in_unreachable_and_in_retry(world: World) -> None:
    lost = world.entry(next_hop=None)
    lost.status, lost.last_error = MessageStatus.READY, "no connector for example.com"
    await world.store.committed(Transaction(put=[lost]))  # type: ignore[operator]
    await world.pass_time(4 * 3600 + 1)
    assert report_of(world) == (
        "delayed",
        "4.4.7",
        "400 4.4.7 Message delayed; last error: no connector for example.com",
    )
    (kept,) = await world.stored(QueueKind.UNREACHABLE)
    assert kept.status is MessageStatus.READY
    assert kept.item.envelope.recipients[0].delay_notified
    world.submitted.clear()
    await world.pass_time(2 * 86400)
    assert report_of(world)[:2] == ("failed", "5.4.7")
    assert world.events.names == ["DSN", "FAIL", "DSN"]
    assert await world.stored(QueueKind.UNREACHABLE) == []


async def test_a_delay_of_a_queue_is_told_with_its_reason_and_the_message_stays(world: World) -> None:
    world.limit = 0
    await world.hand_over(world.entry())
    world.courier.limit, world.courier.unreachable = 10, "connection timed out"
    world.courier.wake()
    await world.settle()
    await world.pass_time(4 * 3600 + 1)
    await world.pass_time(31)  # the sweep after the attempt that came due at the same time
    assert report_of(world) == ("delayed", "4.4.7", "400 4.4.7 Message delayed; last error: connection timed out")
    world.courier.unreachable = ""
    await world.pass_time(3600)
    assert world.events.names == ["DEFER", "DSN", "SEND"]


async def test_the_window_is_bounded_and_everything_arrives_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_queue, "WINDOW_ENTRIES", 10)
    monkeypatch.setattr(queue_window, "LEASE_ENTRIES", 4)
    world.limit = 0
    entries = [world.entry() for _ in range(40)]
    await world.hand_over(*entries)
    queue = world.dispatcher.queues[HOP]
    assert queue.in_memory <= 14
    assert len(await world.stored()) == 40
    world.courier.limit = 10_000
    world.courier.wake()
    await world.settle()
    assert len(world.courier.tried) == 40
    assert sorted(world.courier.tried) == [entry.id for entry in entries]
    assert await world.stored(None) == []


async def test_memory_over_all_queues_is_bounded(tmp_path: Path) -> None:
    world = World(tmp_path, outbound_window_bytes=ByteSize(300))
    await world.start()
    world.limit = 0
    hops = [NextHop(DeliveryType.DNS_CONNECTOR, f"d{number}.example", "Internet") for number in range(8)]
    await world.hand_over(*[world.entry(next_hop=hop) for hop in hops])
    in_memory = sum(queue.in_memory for queue in world.dispatcher.queues.values())
    assert world.dispatcher.bytes_in_memory <= 300 + 8 * 90
    assert in_memory == 8  # a queue always gets one message, or it would never move
    for courier in world.couriers.values():
        courier.limit = 10
        courier.wake()
    await world.settle()
    assert len(world.events.of(EventId.SEND)) == 8
    await world.stop()


async def test_delivered_is_never_delivered_again_because_the_store_failed(world: World) -> None:
    world.answer = None
    await world.hand_over(world.entry(), world.entry())
    first, second = world.courier.held
    world.store.broken = True
    world.courier.source.finished(first, Attempt(statuses=[RELAYED]))
    await asyncio.sleep(0)
    assert world.dispatcher.commits.failing
    world.courier.held.clear()
    world.courier.source.put_back(second)
    world.courier.wake()
    assert world.courier.held == []  # nothing new is begun that could not be written down
    world.dispatcher.commits.retry()
    await asyncio.sleep(0)
    assert world.dispatcher.commits.unsaved == 1
    world.store.broken = False
    world.courier.answer = always(RELAYED)
    world.dispatcher.commits.retry()
    await world.settle()
    assert len(world.events.of(EventId.SEND)) == 2
    assert await world.stored(None) == []


async def test_the_store_is_asked_again_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridgehead.delivery.commits.FIRST_DELAY", 0.001)
    world.dispatcher.commits._delay = 0.001
    saved = asyncio.Event()
    world.store.broken = True
    await world.store._store.committed(Transaction(put=[entry := world.entry()]))
    world.dispatcher.commits.commit(Transaction(remove=[entry.id]), saved.set)
    while world.store.commits < 3:
        await asyncio.sleep(0.001)
    world.store.broken = False
    await asyncio.wait_for(saved.wait(), 10)
    assert await world.stored(None) == []


async def store_ready(world: World, *crash_counts: int) -> list[QueuedItem]:
    """READY messages as a restart finds them."""
    entries = []
    for number in crash_counts:
        entry = world.entry()
        entry.status, entry.crash_count = MessageStatus.READY, number
        entries.append(entry)
    await world.store.committed(Transaction(put=entries))  # type: ignore[operator]
    return entries


async def test_what_crashes_alone_is_set_aside_and_the_rest_goes_on(world: World) -> None:
    bad, _ = await store_ready(world, 3, 0)
    world.dispatcher.notify(HOP)
    await world.settle()
    assert world.events.names == ["POISONMESSAGE", "SEND"]
    (aside,) = await world.stored(None)
    assert (aside.queue, aside.status, aside.id) == (QueueKind.POISON, MessageStatus.SUSPENDED, bad.id)


async def test_suspects_are_tried_one_at_a_time_while_others_wait_safe_on_disk(world: World) -> None:
    world.answer = None
    suspects = [entry.id for entry in await store_ready(world, 2, 2, 2)]
    (innocent,) = await store_ready(world, 1)
    world.dispatcher.notify(HOP)
    tried = []
    while len(tried) < 4:
        while not world.couriers or not world.courier.held:
            await asyncio.sleep(0)
        for entry in list(world.courier.held):
            tried.append(entry.id)
            active = [one.id for one in await world.store._store.list_items(ItemFilter(status=MessageStatus.ACTIVE))]
            if entry.id in suspects:
                assert [one for one in active if one in suspects] == [entry.id]
            world.courier.held.remove(entry)
            world.courier.source.finished(entry, Attempt(statuses=[RELAYED]))
            world.courier.wake()
    await world.settle()
    assert sorted(tried) == sorted([*suspects, innocent.id])
    assert world.events.names == ["SEND"] * 4
    assert await world.stored(None) == []
    assert not world.dispatcher.suspects


async def test_suspects_come_again_after_a_fault_of_the_store(world: World) -> None:
    await store_ready(world, 2, 2)
    real = world.store._store.get

    async def fails(number: int) -> QueuedItem | None:
        raise StoreFault("input/output error")

    world.store._store.get = fails  # type: ignore[method-assign]
    world.dispatcher.notify(HOP)
    await world.settle()
    assert not world.dispatcher.suspects
    assert world.events.names == []
    world.store._store.get = real  # type: ignore[method-assign]
    await world.pass_time(600)
    assert world.events.names == ["SEND", "SEND"]


async def test_suspects_of_a_queue_that_cannot_connect_wait_and_are_not_lost(world: World) -> None:
    world.limit = 0
    await store_ready(world, 2, 2)
    world.dispatcher.notify(HOP)
    while not world.couriers or not world.courier.source.backlog():
        await asyncio.sleep(0)
    world.courier.limit, world.courier.unreachable = 10, "down"
    world.courier.wake()
    await world.settle()
    assert not world.dispatcher.suspects
    assert len(await world.stored()) == 2
    world.courier.unreachable = ""
    for _ in range(4):
        await world.pass_time(600)
    assert world.events.names == ["DEFER", "SEND", "SEND"]


async def test_a_report_that_cannot_be_made_loses_no_message(world: World) -> None:
    class Broken:
        def report(self, *_: object) -> QueuedItem | None:
            raise RuntimeError("bug")

    world.dispatcher.recorder._reporter = Broken()
    world.answer = always(REFUSED)
    await world.hand_over(world.entry())
    (aside,) = await world.stored(None)
    assert aside.queue is QueueKind.POISON
    assert aside.item.envelope.recipients[0].state is RecipientState.FAILED


async def test_a_next_hop_without_connector_waits_with_the_reason(world: World) -> None:
    def missing(next_hop: NextHop, source: object) -> object:
        raise KeyError("Internet")

    world.dispatcher._courier_for = missing  # type: ignore[assignment]
    await world.hand_over(world.entry())
    queue = world.dispatcher.queues[HOP]
    assert queue.status == "Retry"
    assert "Internet" in queue.state.last_error
    assert len(await world.stored()) == 1


async def test_suspended_queues_do_nothing_until_resumed_and_stay_so_over_a_restart(world: World) -> None:
    world.limit = 0
    await world.hand_over(world.entry())
    world.dispatcher.suspend(HOP, "admin")
    await world.hand_over(world.entry())
    world.dispatcher.retry_now()
    await world.pass_time(60)
    assert world.dispatcher.queues[HOP].status == "Suspended"
    await world.dispatcher.stop()
    world.limit = 10
    world.dispatcher = world.new_dispatcher()
    await world.dispatcher.start()
    await world.pass_time(60)
    queue = world.dispatcher.queues[HOP]
    assert (queue.status, queue.state.suspended_by, len(await world.stored())) == ("Suspended", "admin", 2)
    assert not world.events.all
    world.dispatcher.resume(HOP)
    await world.settle()
    assert world.events.names == ["SEND", "SEND"]


async def test_retry_now_does_not_wait_for_queue_or_message(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_window, "LEASE_ENTRIES", 2)
    world.answer = always(DEFERRED)
    await world.hand_over(*[world.entry() for _ in range(5)])
    tried = list(world.courier.tried)
    await world.pass_time(10)
    assert world.dispatcher.retry_now(HOP) == 1
    await world.settle()
    assert world.courier.tried == tried * 2  # one attempt each ahead of time, not one after the other
    await world.pass_time(10)
    world.courier.unreachable = "down"
    world.dispatcher.retry_now()
    await world.settle()
    assert world.dispatcher.queues[HOP].status == "Retry"
    world.courier.unreachable, world.courier.answer = "", always(RELAYED)
    world.dispatcher.retry_now()
    await world.settle()
    assert len(world.events.of(EventId.SEND)) == 5


async def test_deferred_messages_keep_their_interval_when_the_clock_is_set_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.answer = always(DEFERRED)
    await world.hand_over(world.entry())
    await world.pass_time(100)
    await world.hand_over(world.entry())
    first, second = world.courier.tried
    world.clock.set_wall_clock(world.clock.now() - 86_400)
    await world.pass_time(delivery_dispatcher.LONGEST_SLEEP)
    assert [record.message for record in caplog.records if "set back" in record.message] == [
        "the system clock was set back by 86400 seconds; retries are kept to their intervals"
    ]
    await world.pass_time(169)
    assert world.courier.tried == [first, second]
    await world.pass_time(2)
    assert world.courier.tried == [first, second, first]
    world.courier.answer = always(RELAYED)
    await world.pass_time(98)
    assert world.courier.tried == [first, second, first]  # deferred again after the jump, and not due for that
    await world.pass_time(2)
    assert world.courier.tried == [first, second, first, second]
    await world.pass_time(201)
    assert world.courier.tried == [first, second, first, second, first]
    assert await world.stored() == []
    assert len(caplog.records) == 1


async def test_a_queue_in_retry_keeps_its_interval_when_the_clock_is_set_back(world: World) -> None:
    world.limit = 0
    await world.hand_over(world.entry())
    queue = world.dispatcher.queues[HOP]
    queue.connection_failed("no answer")
    world.courier.limit = 10
    world.clock.set_wall_clock(world.clock.now() - 86_400)
    await world.pass_time(30)
    assert queue.state.next_retry == world.clock.now() + 30
    (summary,) = await world.store.queues()  # type: ignore[operator]
    assert summary.state.next_retry == queue.state.next_retry
    await world.pass_time(29)
    assert world.courier.tried == []
    await world.pass_time(2)
    assert world.events.names == ["DEFER", "SEND"]


async def test_a_message_in_memory_that_goes_back_to_disk_after_the_clock_was_set_back_does_not_wait_for_it(
    world: World,
) -> None:
    world.answer = always(DEFERRED)
    await world.hand_over(world.entry())
    world.courier.limit, world.courier.answer = 0, always(RELAYED)
    await world.pass_time(301)
    queue = world.dispatcher.queues[HOP]
    assert queue.in_memory == 1
    world.clock.set_wall_clock(world.clock.now() - 86_400)
    await world.pass_time(30)
    queue.connection_failed("no answer")
    world.courier.limit = 10
    await world.pass_time(61)
    assert world.events.names == ["DEFER", "DEFER", "SEND"]


@pytest.mark.parametrize("unreachable", ["", "no answer"])
async def test_nothing_waits_longer_because_the_clock_was_set_back_before_a_restart(
    world: World, unreachable: str
) -> None:
    world.answer = always(DEFERRED)
    await world.hand_over(world.entry())
    if unreachable:
        world.dispatcher.queues[HOP].connection_failed(unreachable)
    await world.settle()
    await world.dispatcher.stop()
    world.clock.set_wall_clock(world.clock.now() - 86_400)
    world.dispatcher = world.new_dispatcher()
    await world.dispatcher.start()
    await world.dispatcher.take_up()
    await world.settle()
    assert world.events.names == ["DEFER", "DEFER"]  # tried at once, and once only
    world.courier.answer = always(RELAYED)
    await world.pass_time(301)
    assert world.events.names == ["DEFER", "DEFER", "SEND"]


async def test_what_the_store_refuses_to_bring_forward_is_brought_forward_later(world: World) -> None:
    world.answer = always(DEFERRED)
    await world.hand_over(world.entry())
    real = world.store.bring_forward

    async def refuse(later_than: float, seconds: float) -> int:
        raise StoreFault("no space left on the device")

    world.store.bring_forward = refuse  # type: ignore[method-assign]
    world.clock.set_wall_clock(world.clock.now() - 86_400)
    await world.pass_time(30)
    await world.pass_time(271)
    assert world.events.names == ["DEFER"]
    world.store.bring_forward = real  # type: ignore[method-assign]
    world.courier.answer = always(RELAYED)
    await world.pass_time(30)
    assert world.events.names == ["DEFER", "SEND"]


async def test_an_empty_queue_disappears_after_a_while(world: World) -> None:
    await world.hand_over(world.entry())
    courier = world.courier
    for _ in range(5):
        await world.pass_time(30)
    assert HOP in world.dispatcher.queues
    for _ in range(4):
        await world.pass_time(30)
    assert world.dispatcher.queues == {}
    assert courier.closed
    await world.hand_over(world.entry())
    assert len(world.events.of(EventId.SEND)) == 2


async def test_stopping_gives_back_what_was_not_tried(world: World) -> None:
    world.limit = 1
    world.answer = None
    await world.hand_over(world.entry(), world.entry(), world.entry())
    await world.dispatcher.stop()
    entries = await world.stored()
    assert [entry.status for entry in entries] == [MessageStatus.READY] * 3
    assert not any(entry.in_doubt for entry in entries)
    assert world.courier.closed


async def test_in_doubt_is_recorded_before_the_retry_and_told_with_the_next(world: World) -> None:
    doubtful = type(DEFERRED)(action=DEFERRED.action, status="4.4.2", diagnostic="lost after the dot", in_doubt=True)
    world.answer = always(doubtful)
    await world.hand_over(world.entry())
    (kept,) = await world.stored()
    assert kept.in_doubt
    world.courier.answer = always(RELAYED)
    await world.pass_time(301)
    assert "earlier attempt" in world.events.of(EventId.SEND)[0].custom_data


async def test_a_second_report_of_the_same_attempt_is_ignored(world: World) -> None:
    world.answer = None
    await world.hand_over(world.entry())
    (entry,) = world.courier.held
    world.courier.held.clear()
    world.courier.source.finished(entry, Attempt(statuses=[RELAYED]))
    world.courier.source.finished(entry, Attempt(statuses=[REFUSED]))
    await world.settle()
    assert world.events.names == ["SEND"]


async def test_a_wrong_number_of_statuses_sets_the_message_aside(world: World) -> None:
    world.answer = lambda entry: [RELAYED, RELAYED]
    await world.hand_over(world.entry())
    assert [entry.queue for entry in await world.stored(None)] == [QueueKind.POISON]


async def test_the_null_reverse_path_hears_nothing(world: World) -> None:
    entry = world.entry()
    entry.item.envelope = Envelope(reverse_path=NULL, recipients=entry.item.envelope.recipients)
    world.answer = always(REFUSED)
    await world.hand_over(entry)
    assert world.events.names == ["FAIL"]


async def test_the_clock_set_back_does_not_stop_the_queue(tmp_path: Path) -> None:
    world = World(tmp_path, QueueSettings(retry_jitter=0.0))
    await world.start()
    world.clock.set_wall_clock(world.clock.now() - 86400)
    await world.hand_over(world.entry())
    assert world.events.names == ["SEND"]
    await world.stop()


async def test_the_clock_set_forward_by_a_day_brings_one_attempt_and_no_end(world: World) -> None:
    world.answer = always(DEFERRED)
    await world.hand_over(world.entry())
    world.clock.set_wall_clock(world.clock.now() + 86400)
    await world.pass_time(0)
    assert len(world.courier.tried) == 2
    await world.pass_time(1)
    assert len(world.courier.tried) == 2
    assert "FAIL" not in world.events.names
    world.answer = world.courier.answer = always(RELAYED)
    await world.pass_time(300)
    assert world.events.of(EventId.SEND)
    assert await world.stored() == []


async def test_the_clock_set_back_by_a_day_and_right_again_loses_nothing(world: World) -> None:
    world.answer = always(DEFERRED)
    await world.hand_over(world.entry())
    right = world.clock.now()
    world.clock.set_wall_clock(right - 86400)
    await world.pass_time(1)
    world.answer = world.courier.answer = always(RELAYED)
    await world.hand_over(world.entry())
    assert len(world.events.of(EventId.SEND)) == 1
    world.clock.set_wall_clock(right + 300)
    await world.pass_time(1)
    assert len(world.events.of(EventId.SEND)) == 2
    assert await world.stored(None) == []


async def test_a_message_that_failed_with_its_queue_is_not_written_down_again(world: World) -> None:
    """It was still in Submission on disk when its domain turned out not to exist: once it has ended it stays so."""
    entry = world.entry()
    in_submission = msgspec.structs.replace(entry, queue=QueueKind.SUBMISSION, next_hop=None)
    await world.store.committed(Transaction(put=[in_submission]))  # type: ignore[operator]
    world.dispatcher.deliver_at_once(entry)
    world.dispatcher.queues[HOP].connection_failed("example.com does not exist", permanent=True, status="5.4.4")
    await world.settle()
    world.dispatcher._write_unwritten()
    await world.settle()
    assert [one for one in await world.stored(None) if not one.item.is_dsn] == []
