# SPDX-License-Identifier: MIT
"""A dispatcher with everything around it real but time, and couriers that do as a test tells them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from bridgehead.delivery.dispatcher import Dispatcher
from bridgehead.delivery.notify import NotifyReporter
from bridgehead.delivery.ports import Attempt, WorkSource, pending_recipients
from bridgehead.delivery.settings import DeliverySettings
from bridgehead.mail.address import Mailbox, parse_mailbox
from bridgehead.mail.content import BytesContent
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import Envelope, EnvelopeRecipient, Notify
from bridgehead.mail.item import MailItem
from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.queues.retry import deadline_of
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    QueuedItem,
    QueueKind,
    StoreFault,
    Transaction,
)
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.tracking.events import EventId, TrackingEvent
from support.clock import JumpingClock

HOP = NextHop(DeliveryType.DNS_CONNECTOR, "example.com", "Internet")
MESSAGE = b"From: ana@contoso.com\r\nSubject: Offer\r\nMessage-ID: <1@contoso.com>\r\n\r\nHello\r\n"

RELAYED = DeliveryStatus(action=Action.RELAYED, status="2.0.0", diagnostic="250 2.0.0 OK", remote_mta="mx")
REFUSED = DeliveryStatus(action=Action.FAILED, status="5.1.1", diagnostic="550 5.1.1 No such user", remote_mta="mx")
DEFERRED = DeliveryStatus(action=Action.DELAYED, status="4.2.0", diagnostic="450 4.2.0 Later", remote_mta="mx")


class Events:
    """Implements `tracking.ports.Tracker`."""

    def __init__(self) -> None:
        self.all: list[TrackingEvent] = []

    def record(self, event: TrackingEvent) -> None:
        self.all.append(event)

    def of(self, event_id: EventId) -> list[TrackingEvent]:
        return [event for event in self.all if event.event_id is event_id]

    @property
    def names(self) -> list[str]:
        return [event.event_id.value for event in self.all]


class ToldCourier:
    """Implements `delivery.ports.Courier`: takes messages as soon as there are any, up to `limit` at a time.

    With an `answer` every message is finished at once; without one the test finishes what lies in `held`.
    """

    def __init__(self, source: WorkSource, answer: "Answer | None", limit: int = 10_000) -> None:
        self.source = source
        self.answer = answer
        self.limit = limit
        self.held: list[QueuedItem] = []
        self.tried: list[int] = []
        self.closed = False
        self.unreachable = ""
        self.wakes = 0
        self._busy = False

    def wake(self) -> None:
        self.wakes += 1
        if self._busy or self.closed:
            return
        self._busy = True
        while len(self.held) < self.limit and (entry := self.source.take()) is not None:
            if self.unreachable:
                self.source.put_back(entry)
                self.source.connection_failed(self.unreachable)
                continue
            self.source.connection_succeeded()
            self.tried.append(entry.id)
            if self.answer is None:
                self.held.append(entry)
            else:
                self.source.finished(
                    entry, Attempt(statuses=self.answer(entry), remote_host="mx", remote_ip="192.0.2.1")
                )
        self._busy = False

    async def close(self) -> None:
        self.closed = True
        for entry in self.held:
            self.source.put_back(entry)
        self.held.clear()


Answer = Callable[[QueuedItem], list[DeliveryStatus]]


def always(status: DeliveryStatus) -> Answer:
    """Every pending recipient gets this."""
    return lambda entry: [status] * len(pending_recipients(entry))


class FaultyStore:
    """A store whose commits fail while `broken`; everything else is the real one's."""

    def __init__(self, store: SqliteQueueStore | MemoryQueueStore) -> None:
        self._store = store
        self.broken = False
        self.commits = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def commit(
        self, transaction: Transaction, done: Callable[[StoreFault | None], None] | None = None, *, urgent: bool = True
    ) -> None:
        self.commits += 1
        if self.broken:
            if done is not None:
                asyncio.get_running_loop().call_soon(done, StoreFault("no space left on the device"))
            return
        self._store.commit(transaction, done, urgent=urgent)


class World:
    """Everything a test of the dispatcher touches; without a directory the store is in memory."""

    def __init__(self, directory: Path | None, settings: QueueSettings | None = None, **delivery: object) -> None:
        self.settings = settings or QueueSettings(retry_jitter=0.0)
        self.delivery = DeliverySettings(**delivery)  # type: ignore[arg-type]
        self.clock = JumpingClock()
        self.events = Events()
        self.store = FaultyStore(SqliteQueueStore(directory) if directory else MemoryQueueStore())
        self.couriers: dict[NextHop, ToldCourier] = {}
        self.answer: Answer | None = always(RELAYED)
        self.limit = 10_000
        self.submitted: list[QueuedItem] = []
        self.dispatcher = self.new_dispatcher()

    def new_dispatcher(self) -> Dispatcher:
        reporter = NotifyReporter(
            allocate_id=lambda: self.store.allocate_id(), clock=self.clock, random_bytes=lambda n: b"\x11" * n,  # type: ignore[operator]
            delivery_settings=self.delivery, queue_settings=self.settings, fqdn="mail.contoso.com",
            default_domain="contoso.com",
        )  # fmt: skip
        return Dispatcher(
            self.store, self.settings, self.delivery, self.events, self.clock, lambda: 0.5, self.courier_for,  # type: ignore[arg-type]
            reporter, self.submitted.append, "mail.contoso.com",
        )  # fmt: skip

    def courier_for(self, next_hop: NextHop, source: WorkSource) -> ToldCourier:
        courier = self.couriers[next_hop] = ToldCourier(source, self.answer, self.limit)
        return courier

    @property
    def courier(self) -> ToldCourier:
        return self.couriers[HOP]

    async def start(self) -> None:
        await self.store.open()  # type: ignore[operator]
        await self.dispatcher.start()
        await self.dispatcher.take_up()

    async def stop(self) -> None:
        self.store.broken = False
        await self.dispatcher.stop()
        await self.store.close()  # type: ignore[operator]

    def entry(
        self, *recipients: str, notify: Notify = Notify.UNSPECIFIED, next_hop: NextHop | None = HOP, **facts: object
    ) -> QueuedItem:
        """A message as the categorizer would place it."""
        now = self.clock.now()
        who = [
            EnvelopeRecipient(parse_mailbox(address), notify=notify) for address in recipients or ("bob@example.com",)
        ]
        number = self.store.allocate_id()  # type: ignore[operator]
        fields: dict[str, object] = {
            "network_message_id": f"n{number}", "received_at": now, "size": len(MESSAGE), "subject": "Offer",
            "message_id": "<1@contoso.com>",
        }  # fmt: skip
        item = MailItem(
            internal_message_id=number,
            envelope=Envelope(reverse_path=Mailbox("ana", "contoso.com"), recipients=who),
            **(fields | facts),  # type: ignore[arg-type]
        )
        return QueuedItem(
            item=item, content=BytesContent(MESSAGE), content_id=self.store.allocate_id(),  # type: ignore[operator]
            queue=QueueKind.DELIVERY if next_hop else QueueKind.UNREACHABLE, next_hop=next_hop,
            status=MessageStatus.ACTIVE, deadline=deadline_of(item.received_at, self.settings, False),
        )  # fmt: skip

    async def hand_over(self, *entries: QueuedItem) -> None:
        """What the categorizer does: store as ACTIVE and deliver from memory, or store as READY and notify."""
        for entry in entries:
            assert entry.next_hop is not None
            fresh = self.dispatcher.has_room(entry.next_hop, entry.item.size, entry.item)
            entry.status = MessageStatus.ACTIVE if fresh else MessageStatus.READY
            await self.store.committed(Transaction(put=[entry]))  # type: ignore[operator]
            if fresh:
                self.dispatcher.deliver([entry])
            else:
                self.dispatcher.notify(entry.next_hop, [entry])
        await self.settle()

    async def settle(self) -> None:
        """Until the dispatcher and the store have nothing under way."""
        for _ in range(200):
            tasks = list(self.dispatcher._tasks)
            if tasks:
                await asyncio.gather(*tasks)
            await self.store._store.committed(Transaction())
            await asyncio.sleep(0)
            if not self.dispatcher._tasks:
                return
        raise AssertionError("the dispatcher never comes to rest")

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.dispatcher.look()
        await self.settle()
        self.dispatcher.look()
        await self.settle()

    async def stored(self, queue: QueueKind | None = QueueKind.DELIVERY) -> list[QueuedItem]:
        await self.settle()
        found = await self.store.list_items(ItemFilter(queue=queue))  # type: ignore[operator]
        assert isinstance(found, list)
        return found
