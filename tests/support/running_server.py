# SPDX-License-Identifier: MIT
"""A `RunningServer` over a real queue store, and the HTTP interface for it on a thread of its own."""

import asyncio
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from bridgehead.admin.health.alarms import sentences
from bridgehead.admin.health.pressure import PressureFacts
from bridgehead.admin.methods.table import METHODS
from bridgehead.admin.ports import ListenerFacts, QueueActivity, ReloadOutcome, ServerFacts
from bridgehead.admin.queue.standing_rules import StandingRules
from bridgehead.delivery.oauth.keeper import Account, TokenKeeper
from bridgehead.delivery.oauth.store import TokenStore
from bridgehead.delivery.resubmission import Resubmissions
from bridgehead.mail.address import parse_mailbox
from bridgehead.mail.content import BytesContent
from bridgehead.mail.envelope import Envelope, EnvelopeRecipient
from bridgehead.mail.item import MailItem
from bridgehead.monitoring.book import AlarmBook
from bridgehead.monitoring.channels import LogChannel
from bridgehead.monitoring.settings import AlarmSettings
from bridgehead.monitoring.watch import Watch
from bridgehead.net.dns.resolver import Resolver
from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.queues.safety_net.net import SafetyNet
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    Problem,
    QueuedItem,
    QueueKind,
    QueueState,
    QueueStatus,
    QueueSummary,
    Transaction,
)  # fmt: skip
from bridgehead.receive.logons.settings import LockoutSettings
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.server.devices import DeviceWatch
from bridgehead.server.logons.lockouts import Lockouts
from bridgehead.tracking.message_tracking import NoTracking
from support.diagnosed_store import DiagnosedStore
from support.interface import Interface
from support.monitored_store import MonitoredStore
from support.queue_actions import actions_over
from support.traces import FolderTraces

NOW = 1_800_000_000.0
CONTOSO = NextHop(DeliveryType.DNS_CONNECTOR, "contoso.com", "Internet")
FABRIKAM = NextHop(DeliveryType.DNS_CONNECTOR, "fabrikam.com", "Internet")

Result = TypeVar("Result")


class Times:
    """Implements `net.clock.Clock`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = self.monotonic = now


class Nobody:
    """Where no categorizer is to be woken."""

    def wake(self) -> None:
        """Nothing."""


class Tokens:
    """Implements `admin.connector.oauth.OAuthDesk`: tokens of the connectors that a test gives to `keeper.use`."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        clock = Times(now)
        resolver = Resolver(clock=clock, hosts={"localhost": ("127.0.0.1",)})
        self.keeper = TokenKeeper(folder, TokenStore(folder, ""), lambda: resolver, clock, lambda: 0.5)

    async def credential_expiry(self, account: Account) -> float:
        return 0.0


class StoreServer:
    """What operators' commands need of a server, done on a store."""

    def __init__(self, store: MemoryQueueStore, now: Callable[[], float] = lambda: NOW) -> None:
        self.store, self.now = store, now
        self.actions = actions_over(store, now)
        self.standing_rules = StandingRules(store, self.actions, lambda rules: None)
        self.alarms: list[str] = []
        self.monitored = MonitoredStore(store, now)
        book = AlarmBook(now, reminder_interval=3600.0, all_clear_delay=0.0)
        self.watch = Watch(self.monitored, book, AlarmSettings(), [LogChannel()], Path())
        self.diagnostics = DiagnosedStore(now)
        self.problems: list[Problem] = []
        self.net_folder = tempfile.TemporaryDirectory(prefix="safety-net-")
        self.net = SafetyNet(Path(self.net_folder.name), QueueSettings(), now, now)
        self.net.open()
        self.safety_net = Resubmissions(store, self.net, NoTracking(), Times(now), Nobody())
        self.lockouts = Lockouts(LockoutSettings(), Path(self.net_folder.name) / "lockout.json", book, now)
        self.devices = DeviceWatch([], Path(self.net_folder.name) / "devices.json", now)
        self.pressure = PressureFacts()
        self.traces = FolderTraces(Path(self.net_folder.name) / "logs")
        self.oauth = Tokens(Path(self.net_folder.name), now)
        self.outcome = ReloadOutcome(changes=["receive_connectors changed"], needs_restart=["logs"])

    def facts(self) -> ServerFacts:
        return ServerFacts(
            version="0.1.0",
            fqdn="mx.contoso.com",
            pid=4711,
            started_at=NOW - 3700,
            data_directory="/var/lib/bridgehead",
            listeners=[ListenerFacts(binding="127.0.0.1:25", connectors=["Default"], connections=2)],
            received=3,
            alarms=[*self.alarms, *sentences(self.watch.book)],
        )

    async def reload(self) -> ReloadOutcome:
        return self.outcome

    def back_pressure(self) -> PressureFacts:
        return self.pressure

    async def queues(self) -> Sequence[QueueSummary]:
        return await self.store.queues()

    async def list_items(self, wanted: ItemFilter) -> Sequence[QueuedItem]:
        return await self.store.list_items(wanted)

    async def item(self, internal_message_id: int) -> QueuedItem | None:
        return await self.store.get(internal_message_id)

    async def retry(self, queue: QueueState) -> int:
        entries = await self.store.list_items(ItemFilter(queue=queue.queue, next_hop=queue.next_hop))
        for listed in entries:
            entry = await self.store.get(listed.id)
            assert entry is not None
            entry.status, entry.due = MessageStatus.READY, 0.0
            await self.store.committed(Transaction(put=[entry]))
        self.store.set_queue_state(QueueState(queue=queue.queue, next_hop=queue.next_hop))
        return len(entries)

    def activity(self, queue: QueueState) -> QueueActivity:
        return QueueActivity()

    async def suspend(self, queue: QueueState, who: str, reason: str = "") -> None:
        state = QueueState(
            queue=queue.queue, next_hop=queue.next_hop, status=QueueStatus.SUSPENDED, suspended_by=who,
            suspend_reason=reason, suspended_at=self.now(),
        )  # fmt: skip
        self.store.set_queue_state(state)

    async def resume(self, queue: QueueState) -> None:
        self.store.set_queue_state(QueueState(queue=queue.queue, next_hop=queue.next_hop))

    async def verify(self) -> Sequence[Problem]:
        return self.problems or await self.store.verify()


def queued(
    store: MemoryQueueStore, recipient: str, *, next_hop: NextHop | None = CONTOSO, subject: str = "Report",
    status: MessageStatus = MessageStatus.READY, last_error: str = "", content: bytes = b"", network_id: str = "",
    queue: QueueKind = QueueKind.DELIVERY, sender: str = "ann@a.example",
) -> QueuedItem:  # fmt: skip
    """An entry for a store, its content a small message."""
    number = store.allocate_id()
    data = content or f"From: {sender}\r\nSubject: {subject}\r\n\r\nHello.\r\n".encode()
    item = MailItem(
        internal_message_id=number,
        network_message_id=network_id or f"net-{number}",
        received_at=NOW - 60 * number,
        envelope=Envelope(parse_mailbox(sender), [EnvelopeRecipient(parse_mailbox(recipient), last_error=last_error)]),
        size=len(data),
        message_id=f"<{number}@a.example>",
        subject=subject,
        connector="mx\\Default",
        client_ip="10.0.0.7",
    )
    return QueuedItem(
        item=item,
        content=BytesContent(data),
        content_id=store.allocate_id(),
        queue=queue,
        next_hop=next_hop if queue is QueueKind.DELIVERY else None,
        status=status,
        due=NOW + 300 if status is MessageStatus.RETRY else 0.0,
        deadline=NOW + 7200,
        last_error=last_error,
    )


class Running:
    """An interface at work on its own thread and event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: StoreServer, path: Path) -> None:
        self.loop, self.server, self.store, self.path = loop, server, server.store, path

    def do(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def put(self, recipient: str, **options: Any) -> QueuedItem:
        """Queue a message."""
        entry = queued(self.store, recipient, **options)
        self.do(self.store.committed(Transaction(put=[entry])))
        return entry

    def set_state(self, state: QueueState) -> None:
        """Set a queue's state."""

        async def set_it() -> None:
            done = asyncio.get_running_loop().create_future()
            self.store.set_queue_state(state, done.set_result)
            await done

        self.do(set_it())


@contextmanager
def running(path: Path, now: Callable[[], float] = lambda: NOW) -> Iterator[Running]:
    """A server over an empty memory store whose control socket is at `path`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = StoreServer(MemoryQueueStore(), now)
    interface = Interface(METHODS, server, path)
    one = Running(loop, server, path)
    one.do(server.store.open())
    one.do(interface.start())
    try:
        yield one
    finally:
        one.do(interface.close())
        one.do(server.store.close())
        server.net.close()
        server.net_folder.cleanup()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
