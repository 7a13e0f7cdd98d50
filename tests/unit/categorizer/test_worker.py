# SPDX-License-Identifier: MIT
"""The categorizer at work on a queue store: from memory, from disk, and through every kind of fault."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from bridgehead.categorizer.backlog import LEASED_ENTRIES
from bridgehead.categorizer.mail_flow import MailFlow
from bridgehead.categorizer.worker import Categorizer
from bridgehead.delivery.notify import NotifyReporter
from bridgehead.delivery.settings import DeliverySettings
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.directory.memory import MemoryDirectory
from bridgehead.directory.recipient import Recipient
from bridgehead.mail.address import Mailbox
from bridgehead.mail.content import BytesContent
from bridgehead.mail.envelope import Notify
from bridgehead.mail.item import Handling, MailItem, Stage
from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    QueuedItem,
    QueueKind,
    QueueStore,
    StoreFault,
    Transaction,
)
from bridgehead.routing.next_hop import NextHop
from bridgehead.routing.settings import SendConnector
from bridgehead.tracking.events import TrackingEvent
from support.categorizing import NOW, contact, group, mail_flow, mailbox, message, to
from support.clock import JumpingClock

CONTENT = b"From: sender@outside.example\r\nSubject: hello\r\nMessage-ID: <1@outside.example>\r\n\r\nhello\r\n"
PEOPLE = [
    mailbox("anna", aliases=("office@contoso.com",)),
    mailbox("bob"),
    mailbox("carla"),
    group("team", "anna", "bob"),
    group("managed", "gone@contoso.com", "anna", report_to_manager=True, managed_by="carla"),
    contact("supplier", "orders@supplier.example"),
]
NO_JITTER = QueueSettings(retry_jitter=0.0)


class Intake:
    """The dispatcher's place: says what there is room for, and keeps what it is given."""

    def __init__(self) -> None:
        self.store: QueueStore | None = None
        self.room = True
        self.delivered: list[QueuedItem] = []
        self.notified: list[NextHop] = []

    def has_room(self, next_hop: NextHop, size: int, item: MailItem) -> bool:
        return self.room

    def deliver_at_once(self, entry: QueuedItem) -> None:
        """As the dispatcher does it that has to wait: written down, not insisted on."""
        self.delivered.append(entry)
        if self.store is not None:
            self.store.commit(Transaction(put=(entry,)), urgent=False)

    def deliver(self, entries: list[QueuedItem]) -> None:
        self.delivered += entries

    def notify(self, next_hop: NextHop, stored: Sequence[QueuedItem]) -> None:
        self.notified.append(next_hop)


class Events:
    def __init__(self) -> None:
        self.all: list[TrackingEvent] = []

    def record(self, event: TrackingEvent) -> None:
        self.all.append(event)

    @property
    def names(self) -> list[str]:
        return [event.event_id.value for event in self.all]


class MoodyDirectory(MemoryDirectory):
    """A directory that can be away, or broken in a way nobody thought of."""

    trouble: Exception | None = None
    patience = 0
    """Look-ups that are still answered."""

    def find(self, address: Mailbox) -> Recipient | None:
        self._answer()
        return super().find(address)

    def find_by_name(self, name: str) -> Recipient | None:
        self._answer()
        return super().find_by_name(name)

    def _answer(self) -> None:
        if self.trouble is not None:
            if self.patience <= 0:
                raise self.trouble
            self.patience -= 1


class World:
    """A categorizer with everything around it."""

    def __init__(self, store: QueueStore) -> None:
        self.store = store
        self.clock = JumpingClock(NOW)
        self.intake = Intake()
        self.intake.store = store
        self.events = Events()
        self.directory = MoodyDirectory(PEOPLE)
        self.refuse: Callable[[Transaction], bool] = lambda transaction: False
        self._commit = store.commit
        store.commit = self._faulty_commit  # type: ignore[method-assign]
        self.categorizer = Categorizer(
            store=store,
            mail_flow=self.flow(),
            queue_settings=NO_JITTER,
            tracker=self.events,
            clock=self.clock,
            reporter=NotifyReporter(
                allocate_id=store.allocate_id,
                clock=self.clock,
                random_bytes=lambda count: bytes(count),
                delivery_settings=DeliverySettings(),
                queue_settings=NO_JITTER,
                fqdn="mail.contoso.com",
                new_content_file=store.new_content_file,
            ),
            intake=self.intake,
        )

    def flow(self, *connectors: SendConnector) -> MailFlow:
        made = mail_flow(connectors=connectors or [SendConnector(name="out", address_spaces=["*.example"])])
        made.directory = self.directory
        return made

    def _faulty_commit(
        self, transaction: Transaction, done: Callable[[StoreFault | None], None] | None = None, *, urgent: bool = True
    ) -> None:
        if self.refuse(transaction):
            if done is not None:
                asyncio.get_running_loop().call_soon(done, StoreFault("the disk is full"))
            return
        self._commit(transaction, done, urgent=urgent)

    async def accept(self, item: MailItem, **facts: object) -> QueuedItem:
        """Commit a message to Submission as receive does."""
        item.internal_message_id = self.store.allocate_id()
        entry = QueuedItem(
            item=item,
            content=BytesContent(CONTENT),
            content_id=item.internal_message_id,
            queue=QueueKind.SUBMISSION,
            **{"status": MessageStatus.ACTIVE, **facts},  # type: ignore[arg-type]
        )
        await self.store.committed(Transaction(put=[entry]))
        return entry

    async def categorize(self, item: MailItem, **facts: object) -> QueuedItem:
        entry = await self.accept(item, **facts)
        self.categorizer.process(entry)
        await self.settle()
        return entry

    async def settle(self) -> None:
        """Until everything that was asked of the store is done, reports of reports included."""
        for _ in range(3):
            await self.store.committed(Transaction())
            await asyncio.sleep(0)

    async def queue(self, kind: QueueKind) -> list[QueuedItem]:
        return await self.store.list_items(ItemFilter(queue=kind))

    async def counts(self) -> dict[str, int]:
        with contextlib.suppress(StoreFault):
            await self.store.committed(Transaction())  # behind whatever is not urgent
        return {kind.name: len(found) for kind in QueueKind if (found := await self.queue(kind))}

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait for the background task; the suite's time limit ends what never comes."""
        while not met():
            await asyncio.sleep(0.001)


@pytest.fixture(params=["memory", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    store: QueueStore = MemoryQueueStore() if request.param == "memory" else SqliteQueueStore(tmp_path / "queue")
    await store.open()
    built = World(store)
    yield built
    built.refuse = lambda transaction: False
    await built.categorizer.stop()
    await store.close()


async def test_a_message_for_elsewhere_is_handed_on_from_memory(world: World) -> None:
    entry = await world.categorize(message("x@there.example"))
    (delivered,) = world.intake.delivered
    assert (delivered.id, str(delivered.next_hop)) == (entry.id, "out/there.example")
    assert delivered.content is not None
    assert delivered.content.data == CONTENT
    (stored,) = await world.queue(QueueKind.DELIVERY)
    assert (stored.status, stored.item.stage, stored.deadline) == (
        MessageStatus.ACTIVE,
        Stage.CATEGORIZED,
        NOW + NO_JITTER.delay_notification_timeout.total_seconds(),
    )
    assert (await world.counts(), world.events.names) == ({"DELIVERY": 1}, [])


async def test_a_message_for_a_mailbox_names_it(world: World) -> None:
    await world.categorize(message("anna@contoso.com"))
    (delivered,) = world.intake.delivered
    assert str(delivered.next_hop) == "Mailboxes/Mailboxes"
    assert [each.mailbox for each in delivered.item.envelope.recipients] == ["anna"]
    assert world.events.names == []


async def test_without_room_the_message_waits_on_disk(world: World) -> None:
    world.intake.room = False
    await world.categorize(message("x@there.example", "office@contoso.com"))
    assert world.intake.delivered == []
    assert [str(next_hop) for next_hop in world.intake.notified] == ["out/there.example", "Mailboxes/Mailboxes"]
    for stored in await world.queue(QueueKind.DELIVERY):
        assert stored.status is MessageStatus.READY
        (leased,) = await world.store.lease(QueueKind.DELIVERY, stored.next_hop, NOW, 10, 10**6)
        assert leased.content is not None
        assert leased.content.data == CONTENT


async def test_forks_share_content_and_tell_their_parent(world: World) -> None:
    entry = await world.categorize(message("x@there.example", "y@other.example", "z@there.example", "bob@contoso.com"))
    shapes = {
        str(each.next_hop): [recipient.forward_path.local_part for recipient in each.item.envelope.recipients]
        for each in world.intake.delivered
    }
    assert shapes == {"out/there.example": ["x", "z"], "out/other.example": ["y"], "Mailboxes/Mailboxes": ["bob"]}
    first, *forks = world.intake.delivered
    assert first.id == entry.id
    assert len({each.id for each in world.intake.delivered}) == 3
    assert {each.item.stage for each in world.intake.delivered} == {Stage.CATEGORIZED}
    assert {each.content_id for each in world.intake.delivered} == {entry.content_id}
    assert {each.item.network_message_id for each in world.intake.delivered} == {entry.item.network_message_id}
    assert [(event.event_id, event.internal_message_id, event.reference) for event in world.events.all] == [
        ("TRANSFER", fork.id, str(entry.id)) for fork in forks
    ]
    assert await world.counts() == {"DELIVERY": 3}


async def test_an_unknown_recipient_is_reported_to_the_sender(world: World) -> None:
    entry = await world.categorize(message("nobody@contoso.com"))
    (report,) = world.intake.delivered
    assert str(report.next_hop) == "out/outside.example"
    assert report.item.is_dsn
    assert report.item.envelope.reverse_path.is_null
    assert report.content is not None
    assert b"5.1.10" in (report.content.data or b"")
    assert await world.counts() == {"DELIVERY": 1}, "the message itself has gone"
    fail, dsn = world.events.all
    assert (fail.event_id, fail.recipient_address, fail.internal_message_id) == (
        "FAIL",
        ["nobody@contoso.com"],
        entry.id,
    )
    assert "RESOLVER.ADR.RecipientNotFound" in fail.recipient_status[0]
    assert (dsn.event_id, dsn.internal_message_id, dsn.reference) == ("DSN", report.id, entry.item.message_id)


@pytest.mark.parametrize(
    "item", [message("nobody@contoso.com", sender=""), message(to("nobody@contoso.com", Notify.NEVER))]
)
async def test_nobody_is_told_who_is_not_to_be(world: World, item: MailItem) -> None:
    await world.categorize(item)
    assert (await world.counts(), world.events.names) == ({}, ["FAIL"])


async def test_some_recipients_go_and_others_fail(world: World) -> None:
    await world.categorize(message("nobody@contoso.com", "anna@contoso.com"))
    assert sorted(str(each.next_hop) for each in world.intake.delivered) == [
        "Mailboxes/Mailboxes",
        "out/outside.example",
    ]
    assert await world.counts() == {"DELIVERY": 2}


async def test_a_group_with_its_expanded_report(world: World) -> None:
    await world.categorize(message(to("team@contoso.com", Notify.SUCCESS)))
    copy, report = world.intake.delivered
    assert [each.mailbox for each in copy.item.envelope.recipients] == ["anna", "bob"]
    assert b"Action: expanded" in ((report.content.data if report.content else None) or b"")
    assert world.events.names == ["EXPAND", "DSN"]


async def test_failures_behind_a_managed_group_go_to_its_manager(world: World) -> None:
    await world.categorize(message("managed@contoso.com"))
    copy, report = world.intake.delivered
    assert str(copy.item.envelope.reverse_path) == "carla@contoso.com"
    assert [each.mailbox for each in report.item.envelope.recipients] == ["carla"]


async def test_no_route_means_the_unreachable_queue_until_there_is_one(world: World) -> None:
    entry = await world.categorize(message("x@nowhere.invalid", "bob@contoso.com"))
    (stranded,) = await world.queue(QueueKind.UNREACHABLE)
    assert stranded.last_error == "no send connector has an address space for nowhere.invalid"
    assert stranded.id == entry.id
    assert stranded.deadline > NOW
    world.intake.delivered.clear()
    world.events.all.clear()
    world.categorizer.start()
    world.categorizer.reconfigure(world.flow(SendConnector(name="all", address_spaces=["*"])))
    await world.until(lambda: bool(world.intake.delivered))
    (delivered,) = world.intake.delivered
    assert (delivered.id, str(delivered.next_hop)) == (entry.id, "all/nowhere.invalid")
    assert delivered.content is not None
    assert world.events.names == ["RESUBMIT"]
    assert await world.counts() == {"DELIVERY": 2}


async def test_what_stays_unreachable_is_resubmitted_once(world: World) -> None:
    for _ in range(3):
        await world.categorize(message("x@nowhere.invalid"))
    world.events.all.clear()
    world.categorizer.start()
    world.categorizer.resubmit_unreachable()
    await world.until(lambda: len(world.events.all) >= 6)
    await world.settle()
    assert sorted(world.events.names) == ["DEFER"] * 3 + ["RESUBMIT"] * 3
    assert await world.counts() == {"UNREACHABLE": 3}


async def test_what_becomes_unreachable_during_a_resubmission_is_left_alone(world: World) -> None:
    """Else mail that keeps coming for a domain without a route would keep the resubmission going for ever."""
    old = await world.categorize(message("x@nowhere.invalid"))
    later = message("y@nowhere.invalid")
    later.internal_message_id = old.id + 1000
    entry = QueuedItem(
        item=later, content=BytesContent(CONTENT), content_id=later.internal_message_id, queue=QueueKind.UNREACHABLE
    )
    await world.store.committed(Transaction(put=[entry]))
    world.events.all.clear()
    world.categorizer.start()
    world.categorizer.resubmit_unreachable()
    await world.until(lambda: "DEFER" in world.events.names)
    assert [event.internal_message_id for event in world.events.all if event.event_id == "RESUBMIT"] == [old.id]
    assert {each.status for each in await world.queue(QueueKind.UNREACHABLE)} == {MessageStatus.READY}


async def test_a_reporter_that_raises_breaks_no_caller(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def report(*_: object) -> None:
        raise RuntimeError("no report")

    monkeypatch.setattr(NotifyReporter, "report", report)
    world.directory.trouble = DirectoryUnavailable("no answer")
    world.clock.advance(2 * 86400)
    await world.categorize(message("x@there.example"))
    (stored,) = await world.queue(QueueKind.SUBMISSION)
    assert (stored.crash_count, stored.last_error) == (1, "RuntimeError: no report")


async def test_suspended_messages_stay_unreachable(world: World) -> None:
    entry = await world.categorize(message("x@nowhere.invalid"))
    (stored,) = [await world.store.get(entry.id)]
    assert stored is not None
    stored.status = MessageStatus.SUSPENDED
    await world.store.committed(Transaction(put=[stored]))
    other = await world.categorize(message("y@elsewhere.invalid"))
    world.categorizer.start()
    world.categorizer.reconfigure(world.flow(SendConnector(name="all", address_spaces=["*"])))
    await world.until(lambda: bool(world.intake.delivered))
    assert [each.id for each in world.intake.delivered] == [other.id]
    assert [each.id for each in await world.queue(QueueKind.UNREACHABLE)] == [entry.id]


async def test_submission_is_worked_off_at_start(world: World) -> None:
    for number in range(200):
        await world.accept(message(f"u{number}@there.example"), status=MessageStatus.READY)
    world.categorizer.start()
    await world.until(lambda: len(world.intake.delivered) == 200)
    assert {each.item.envelope.recipients[0].forward_path.local_part for each in world.intake.delivered} == {
        f"u{number}" for number in range(200)
    }


async def test_entries_put_by_others_are_taken_when_woken(world: World) -> None:
    world.categorizer.start()
    await world.settle()
    await world.accept(message("x@there.example"), status=MessageStatus.READY)
    world.categorizer.wake()
    await world.until(lambda: bool(world.intake.delivered))


async def test_a_directory_that_is_away_defers_and_changes_nothing(world: World) -> None:
    world.directory.trouble, world.directory.patience = DirectoryUnavailable("no answer"), 1
    entry = await world.categorize(message("office@contoso.com", "bob@contoso.com"))
    (stored,) = await world.queue(QueueKind.SUBMISSION)
    assert (stored.status, stored.due, stored.retry_count) == (MessageStatus.RETRY, NOW + 1800, 1)
    assert stored.last_error == "the directory cannot answer: no answer"
    assert [str(each.forward_path) for each in stored.item.envelope.recipients] == [
        "office@contoso.com",
        "bob@contoso.com",
    ]
    assert world.events.names == ["DEFER"]
    world.directory.trouble = None
    world.clock.advance(1801)
    world.categorizer.start()
    await world.until(lambda: bool(world.intake.delivered))
    assert [each.mailbox for each in world.intake.delivered[0].item.envelope.recipients] == ["anna", "bob"]
    assert world.intake.delivered[0].id == entry.id
    assert world.events.names == ["DEFER", "RESOLVE"]


async def test_deferred_messages_can_be_retried_at_once(world: World) -> None:
    world.directory.trouble = DirectoryUnavailable("no answer")
    for _ in range(2):
        await world.categorize(message("bob@contoso.com"))
    world.categorizer.start()
    world.categorizer.retry_submission()
    await world.until(lambda: len(world.events.all) >= 4)
    await world.settle()
    assert world.events.names == ["DEFER"] * 4, "each once more, then the directory is known to be away"
    world.directory.trouble = None
    world.categorizer.retry_submission()
    await world.until(lambda: len(world.intake.delivered) == 2)


async def test_a_sender_hears_once_that_the_directory_keeps_a_message_waiting(world: World) -> None:
    world.directory.trouble, world.directory.patience = DirectoryUnavailable("no answer"), 0
    world.clock.advance(4 * 3600 + 1)
    await world.categorize(message("x@there.example", sender="ann@a.example"))
    waiting = [one for one in await world.queue(QueueKind.SUBMISSION) if not one.item.is_dsn]
    assert [one.item.envelope.recipients[0].delay_notified for one in waiting] == [True]
    assert world.events.names.count("DSN") == 1
    (report,) = [one for one in await world.queue(QueueKind.SUBMISSION) if one.item.is_dsn]
    stored = await world.store.get(report.id)
    assert stored is not None
    assert stored.content is not None
    assert b"Action: delayed" in stored.content.data  # type: ignore[operator]
    world.categorizer.start()
    world.categorizer.retry_submission()
    await world.until(lambda: world.events.names.count("DEFER") >= 3)
    assert world.events.names.count("DSN") == 1


async def test_a_message_expires_where_the_directory_never_comes_back(world: World) -> None:
    world.directory.trouble, world.directory.patience = DirectoryUnavailable("no answer"), 0
    world.clock.advance(2 * 86400)
    await world.categorize(message("x@there.example", sender=""))
    assert (await world.counts(), world.events.names) == ({}, ["FAIL"])
    assert "QUEUE.Expired" in world.events.all[0].recipient_status[0]


async def test_a_message_that_breaks_the_categorizer_is_set_aside_and_the_rest_goes_on(world: World) -> None:
    world.directory.trouble = RuntimeError("a bug\r\nwith two lines")
    entry = await world.categorize(message("bob@contoso.com"))
    (stored,) = await world.queue(QueueKind.SUBMISSION)
    assert (stored.crash_count, stored.status) == (1, MessageStatus.RETRY)
    assert stored.last_error == "RuntimeError: a bug with two lines"
    world.clock.advance(61)
    world.categorizer.start()
    await world.until(lambda: "POISONMESSAGE" in world.events.names)
    (poisoned,) = await world.queue(QueueKind.POISON)
    assert (poisoned.id, poisoned.status, poisoned.crash_count) == (entry.id, MessageStatus.SUSPENDED, 2)
    kept = await world.store.get(entry.id)
    assert kept is not None
    assert kept.content is not None, "the message can be looked at and resumed"
    world.directory.trouble = None
    await world.categorize(message("bob@contoso.com"))
    assert len(world.intake.delivered) == 1


async def test_a_message_that_ended_the_server_twice_is_not_tried_again(world: World) -> None:
    await world.accept(message("bob@contoso.com"), status=MessageStatus.READY, crash_count=2)
    world.categorizer.start()
    await world.until(lambda: world.events.names == ["POISONMESSAGE"])
    assert await world.counts() == {"POISON": 1}
    assert world.intake.delivered == []


async def test_suspects_are_taken_one_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        await world.accept(
            message(f"u{number}@there.example"), status=MessageStatus.READY, crash_count=int(number % 3 == 0)
        )
    windows: list[list[int]] = []
    lease = world.store.lease
    process = world.categorizer.process

    async def leased(*args: object) -> list[QueuedItem]:
        windows.append([])
        return await lease(*args)  # type: ignore[arg-type]

    def processed(entry: QueuedItem) -> None:
        windows[-1].append(entry.crash_count)
        process(entry)

    monkeypatch.setattr(world.store, "lease", leased)
    monkeypatch.setattr(world.categorizer._backlog, "_process", processed)
    world.categorizer.start()
    await world.until(lambda: len(world.intake.delivered) == 9)
    assert sorted(window for window in windows if window) == [[0] * 6, [1], [1], [1]]
    assert {each.crash_count for each in await world.queue(QueueKind.DELIVERY)} == {0}


async def test_suspects_that_cannot_be_given_back_are_not_forgotten(world: World) -> None:
    for number in range(4):
        await world.accept(message(f"u{number}@there.example"), status=MessageStatus.READY, crash_count=number % 2)
    world.refuse = lambda transaction: any(each.queue is QueueKind.SUBMISSION for each in transaction.put)
    world.store.committed = faulty_committed(world)  # type: ignore[method-assign]
    world.categorizer.start()
    await world.until(lambda: len(world.categorizer._backlog._stuck) == 4)
    world.refuse = lambda transaction: False
    world.clock.advance(60)
    world.categorizer.wake()
    await world.until(lambda: len(world.intake.delivered) == 4)


async def test_nothing_is_lost_while_the_store_fails(world: World) -> None:
    world.categorizer.start()
    world.refuse = lambda transaction: any(each.queue is QueueKind.DELIVERY for each in transaction.put)
    entries = [
        await world.categorize(message("office@contoso.com", "x@there.example")),
        await world.categorize(message("office@contoso.com", "y@there.example")),
    ]
    assert (world.intake.delivered, world.events.names) == ([], []), "what is not on disk is not told"
    assert await world.counts() == {"SUBMISSION": 2}
    world.refuse = lambda transaction: False
    world.clock.advance(60)
    world.categorizer.wake()
    await world.until(lambda: len(world.intake.delivered) == 4)
    assert {each.content_id for each in world.intake.delivered} == {entry.id for entry in entries}
    assert sorted(world.events.names) == ["RESOLVE", "RESOLVE", "TRANSFER", "TRANSFER"]
    assert await world.counts() == {"DELIVERY": 4}


async def test_a_large_report_leaves_no_file_where_the_store_fails(tmp_path: Path) -> None:
    store = SqliteQueueStore(tmp_path / "queue")
    await store.open()
    world, folder = World(store), tmp_path / "queue" / "content"
    writer = store.new_content_file()
    await writer.write(CONTENT + b"a line\r\n" * 100_000)
    content = await writer.finish()
    item = message("nobody@contoso.com", size=content.size)
    item.internal_message_id = store.allocate_id()
    entry = QueuedItem(
        item=item, content=content, content_id=item.internal_message_id, queue=QueueKind.SUBMISSION,
        status=MessageStatus.ACTIVE,
    )  # fmt: skip
    await store.committed(Transaction(put=[entry]))
    asked: list[int] = []
    world.refuse = lambda transaction: asked.append(len(list(folder.iterdir()))) is None
    world.categorizer.process(entry)
    await world.until(lambda: asked == [2])
    await world.until(lambda: len(list(folder.iterdir())) == 1)
    assert world.events.names == []
    world.refuse = lambda transaction: False
    world.categorizer.start()
    world.clock.advance(60)
    world.categorizer.wake()
    await world.until(lambda: "DSN" in world.events.names)
    (report,) = world.intake.delivered
    assert report.content is not None
    assert report.content.data is None
    with report.content.open() as stream:
        assert stream.read().count(b"a line\r\n") == 100_000
    await world.categorizer.stop()
    await store.close()


async def test_the_common_case_goes_to_delivery_without_a_commit_in_between(world: World) -> None:
    """Submission on disk still has it, and gives it back in doubt after a crash."""
    entry = await world.accept(message("x@there.example"))
    world.refuse = lambda transaction: True
    world.categorizer.process(entry)
    assert [each.id for each in world.intake.delivered] == [entry.id]
    assert await world.counts() == {"SUBMISSION": 1}


async def test_after_a_crash_each_step_is_written_down(world: World) -> None:
    entry = await world.accept(message("x@there.example"))
    entry.crash_count = 1
    world.refuse = lambda transaction: True
    world.categorizer.process(entry)
    assert world.intake.delivered == []


async def test_a_fault_while_resubmitting_loses_nothing(world: World) -> None:
    await world.categorize(message("x@nowhere.invalid"))
    world.refuse = lambda transaction: any(each.queue is QueueKind.SUBMISSION for each in transaction.put)
    world.store.committed = faulty_committed(world)  # type: ignore[method-assign]
    world.categorizer.start()
    world.categorizer.reconfigure(world.flow(SendConnector(name="all", address_spaces=["*"])))
    await world.until(lambda: world.categorizer._backlog._owed != [])
    world.refuse = lambda transaction: False
    world.clock.advance(60)
    world.categorizer.wake()
    await world.until(lambda: bool(world.intake.delivered))
    assert await world.counts() == {"DELIVERY": 1}


def faulty_committed(world: World) -> Callable[..., object]:
    original = world.store.committed

    async def committed(transaction: Transaction) -> None:
        if world.refuse(transaction):
            raise StoreFault("the disk is full")
        await original(transaction)

    return committed


async def test_a_restart_in_the_middle_repeats_the_step(tmp_path: Path) -> None:
    store = SqliteQueueStore(tmp_path / "queue")
    await store.open()
    world = World(store)
    entry = await world.accept(message("bob@contoso.com"))
    await store.close()
    again = SqliteQueueStore(tmp_path / "queue")
    await again.open()
    second = World(again)
    second.categorizer.start()
    await second.until(lambda: bool(second.intake.delivered))
    assert [each.id for each in second.intake.delivered] == [entry.id]
    await second.categorizer.stop()
    await again.close()


async def test_a_route_that_came_while_the_server_was_down_is_used(world: World) -> None:
    entry = await world.categorize(message("x@nowhere.invalid"))
    world.categorizer._mail_flow = world.flow(SendConnector(name="all", address_spaces=["*"]))
    world.categorizer.start()
    await world.until(lambda: bool(world.intake.delivered))
    assert [each.id for each in world.intake.delivered] == [entry.id]


async def test_stopping_waits_for_what_is_under_way(world: World) -> None:
    world.categorizer.start()
    for number in range(50):
        world.categorizer.process(await world.accept(message(f"u{number}@there.example")))
    await world.categorizer.stop()
    assert len(world.intake.delivered) == 50


async def test_a_single_message_does_not_wait_for_a_mailing_that_the_directory_held_up(world: World) -> None:
    """Tens of thousands of one sender wait in Submission when the directory comes back, and more keep coming."""
    mailing = 20_000 if isinstance(world.store, SqliteQueueStore) else 300
    waiting = []
    for number in range(mailing):
        item = message("someone@far.example", sender="mailing@contoso.com")
        item.internal_message_id = world.store.allocate_id()
        waiting.append(
            QueuedItem(
                item=item, content=BytesContent(CONTENT) if not number else None, content_id=1,
                queue=QueueKind.SUBMISSION, status=MessageStatus.RETRY, due=NOW - 1, retry_count=1,
            )
        )  # fmt: skip
    await world.store.committed(Transaction(put=waiting))
    await world.accept(
        message("someone@far.example", sender="single@contoso.com"), status=MessageStatus.RETRY, due=NOW - 1,
        retry_count=1,
    )  # fmt: skip
    world.categorizer.start()
    while not any(str(one.item.envelope.reverse_path) == "single@contoso.com" for one in world.intake.delivered):
        world.categorizer.process(await world.accept(message("someone@far.example", sender="mailing@contoso.com")))
    await world.categorizer.stop()
    senders = [str(one.item.envelope.reverse_path) for one in world.intake.delivered]
    assert senders.index("single@contoso.com") < LEASED_ENTRIES


async def test_a_managers_copy_remembers_who_sent_it(world: World) -> None:
    item = message("managed@contoso.com")
    sender = str(item.envelope.reverse_path)
    await world.categorize(item)
    copy, _ = world.intake.delivered
    assert copy.item.original_from == sender != str(copy.item.envelope.reverse_path)


class Orders:
    """A gate that treats all mail but reports alike."""

    def __init__(self, *, with_ndr: bool) -> None:
        self.handling = Handling(by="anna", reason="wave", rule=4, with_ndr=with_ndr)

    def judge(self, entry: QueuedItem) -> Handling | None:
        return None if entry.item.is_dsn else self.handling


async def test_what_a_standing_rule_holds_waits_suspended_in_its_queue(world: World) -> None:
    world.categorizer.gate = Orders(with_ndr=False)
    await world.categorize(message("anna@contoso.com"))
    assert world.intake.delivered == []
    (held,) = await world.queue(QueueKind.DELIVERY)
    assert held.status is MessageStatus.SUSPENDED
    assert held.item.handling == Handling(by="anna", reason="wave", rule=4)


async def test_what_a_standing_rule_fails_is_reported_with_its_reason(world: World) -> None:
    world.categorizer.gate = Orders(with_ndr=True)
    await world.categorize(message("anna@contoso.com"))
    await world.until(lambda: bool(world.intake.delivered))
    (report,) = world.intake.delivered
    text = (report.content.data if report.content else None) or b""
    assert b"removed by the administrator: wave" in text.replace(b"\r\n ", b" ")
    [event] = [event for event in world.events.all if event.event_id.value == "FAIL"]
    assert (event.source.value, event.source_context) == ("ADMIN", "StandingRule=4;By=anna;Reason=wave")


async def test_submission_suspended_accepts_and_keeps(world: World) -> None:
    world.categorizer.suspend(QueueKind.SUBMISSION)
    world.categorizer.start()
    await world.categorize(message("anna@contoso.com"))
    (waiting,) = await world.queue(QueueKind.SUBMISSION)
    assert waiting.status is MessageStatus.READY
    assert world.intake.delivered == []
    world.categorizer.resume(QueueKind.SUBMISSION)
    await world.until(lambda: bool(world.intake.delivered))


# --- very many recipients --------------------------------------------------------------------------------------------

MANY = 2_500
"""Members of a group that is too large to be followed at once."""


@pytest.fixture
def everybody(world: World) -> World:
    """With a group that all mailboxes of a large house are in."""
    people = [mailbox(f"p{number}") for number in range(MANY)]
    everybody = group("everybody", *(one.name for one in people))
    world.directory = MoodyDirectory([*PEOPLE, *people, everybody])
    world.categorizer.reconfigure(world.flow())
    return world


async def at_length(world: World) -> None:
    """Until a message that is worked on in slices is done with."""
    async with asyncio.timeout(30):
        while world.categorizer._under_way:
            await asyncio.sleep(0)
    await world.settle()


async def test_other_mail_goes_on_while_a_large_group_is_followed(everybody: World) -> None:
    large = await everybody.accept(message("everybody@contoso.com"))
    everybody.categorizer.process(large)
    small = await everybody.categorize(message("anna@contoso.com"))
    await at_length(everybody)
    assert everybody.intake.delivered[0].id == small.id, "it came later and went first"
    parts = [one for one in await everybody.queue(QueueKind.DELIVERY) if one.id != small.id]
    reached = [str(who.forward_path) for one in parts for who in one.item.envelope.recipients]
    assert sorted(reached) == sorted(f"p{number}@contoso.com" for number in range(MANY))
    assert everybody.events.names.count("EXPAND") == 1


async def test_a_directory_that_fails_half_way_through_a_large_group_leaves_it_whole(everybody: World) -> None:
    large = await everybody.accept(message("everybody@contoso.com", "anna@contoso.com"))
    everybody.categorizer.process(large)
    everybody.directory.trouble, everybody.directory.patience = DirectoryUnavailable("no answer"), 0
    await at_length(everybody)
    (waiting,) = await everybody.queue(QueueKind.SUBMISSION)
    assert (waiting.id, waiting.status) == (large.id, MessageStatus.RETRY)
    assert [str(one.forward_path) for one in waiting.item.envelope.recipients] == [
        "everybody@contoso.com", "anna@contoso.com"
    ]  # fmt: skip


async def test_a_stop_leaves_a_message_to_a_large_group_in_submission(everybody: World) -> None:
    large = await everybody.accept(message("everybody@contoso.com"))
    everybody.categorizer.process(large)
    async with asyncio.timeout(10):
        await everybody.categorizer.stop()
    (waiting,) = await everybody.queue(QueueKind.SUBMISSION)
    assert (waiting.id, waiting.status, waiting.crash_count) == (large.id, MessageStatus.READY, 0)
    assert not await everybody.queue(QueueKind.DELIVERY)
    assert not everybody.events.all


async def test_a_fault_in_the_midst_of_a_large_group_comes_again_later(everybody: World) -> None:
    large = await everybody.accept(message("everybody@contoso.com"))
    everybody.categorizer.process(large)
    everybody.directory.trouble = RuntimeError("nobody thought of this")
    await at_length(everybody)
    (waiting,) = await everybody.queue(QueueKind.SUBMISSION)
    assert (waiting.status, waiting.crash_count) == (MessageStatus.RETRY, 1)
