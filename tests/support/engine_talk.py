# SPDX-License-Identifier: MIT
"""The server's transport pipeline without sockets, files or processes, and a client that talks to its sessions.

`Pipeline` composes what `server/app.py` composes, around a queue store and a directory in memory and with couriers to
which every delivery succeeds. `EngineTalk` is a `Talk` whose octets go through a transport in memory straight into
`Session.data_received`, in segments as they are sent or octet by octet. The event loop runs only while a reply is
awaited.
"""

import asyncio
import os
import ssl
from collections import deque
from collections.abc import Collection, Coroutine, Iterable
from typing import Any, Self, TypeVar, cast

from bridgehead.categorizer.mail_flow import MailFlow
from bridgehead.categorizer.worker import Categorizer
from bridgehead.delivery.dispatcher import Dispatcher
from bridgehead.delivery.notify import NotifyReporter
from bridgehead.delivery.ports import Attempt, WorkSource, pending_recipients
from bridgehead.directory.memory import MemoryDirectory
from bridgehead.directory.recipient import Recipient
from bridgehead.directory.user_record import User
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.net.certificates.store import ServerTls
from bridgehead.net.clock import SystemClock
from bridgehead.net.ip_range import parse_binding
from bridgehead.net.randomness import RandomBytes
from bridgehead.net.signatures import check_signature
from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.receive.acceptance import Acceptance
from bridgehead.receive.logons.authentication import Authenticator
from bridgehead.receive.logons.lockout import LockoutTable
from bridgehead.receive.logons.settings import LockoutSettings
from bridgehead.receive.server import Listener, ReceiveServer, ReceiveServices
from bridgehead.receive.session import Session
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.connector_selection import ConnectorSelection
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.server.config.schema import Configuration
from bridgehead.tracking.events import TrackingEvent
from support.auth_zone import Zone
from support.conversation import event_matches
from support.talk import Talk

T = TypeVar("T")
SECONDS = 15.0
_CLIENT = ("127.0.0.1", 40000)


class NoLogins:
    """Credentials of a server that nobody may log on to."""

    def find(self, name: str) -> None:
        return None

    def find_by_certificate(self, identities: Collection[str]) -> list[User]:
        return []

    def credential(self, name: str) -> Any:
        raise AssertionError("conversations with logins need the real server")

    def verify(self, name: str, password: object) -> bool:
        return False


class NoCertificates:
    """Certificates of a server that TLS is never begun with."""

    def context_for(self, tls: ServerTls) -> ssl.SSLContext:
        raise AssertionError("conversations with TLS need the real server")


class NoProtocolLog:
    """Forgets the transcripts."""

    def record(self, **_: object) -> None:
        pass


class Address:
    """In place of a listening socket: nothing but where it would be bound."""

    def __init__(self, port: int) -> None:
        self._port = port

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self._port


class WillingCourier:
    """Every message is taken at once, by a mailbox or by a next hop that knows nothing of DSN."""

    def __init__(self, next_hop: NextHop, source: WorkSource) -> None:
        self._source = source
        here = next_hop.delivery_type is DeliveryType.MAILBOX
        action = Action.DELIVERED if here else Action.RELAYED
        self._status = DeliveryStatus(action=action, status="2.0.0", diagnostic="250 2.0.0 taken", remote_mta="sink")

    def wake(self) -> None:
        while (entry := self._source.take()) is not None:
            self._source.connection_succeeded()
            statuses = [self._status] * len(pending_recipients(entry))
            self._source.finished(entry, Attempt(statuses=statuses, remote_host="sink", remote_ip="127.0.0.1"))

    async def close(self) -> None:
        pass


class Events:
    """Keeps tracking events and shows them as lines of the tracking log, so that scripts can speak of either."""

    def __init__(self) -> None:
        self.lines: list[dict[str, str]] = []
        self.changed = asyncio.Event()

    def record(self, event: TrackingEvent) -> None:
        line = {}
        for name in event.__struct_fields__:
            value = getattr(event, name)
            line[name.replace("_", "-")] = ";".join(value) if isinstance(value, list) else str(value)
        self.lines.append(line)
        self.changed.set()

    async def matching(self, event_id: str, columns: dict[str, str]) -> list[dict[str, str]]:
        """The events like this once there is one; none where none comes in time."""
        try:
            async with asyncio.timeout(SECONDS):
                while not (found := self.now_matching(event_id, columns)):
                    self.changed.clear()
                    await self.changed.wait()
                return found
        except TimeoutError:
            return []

    def now_matching(self, event_id: str, columns: dict[str, str]) -> list[dict[str, str]]:
        return [line for line in self.lines if event_matches(line, event_id, columns)]


class Pipeline:
    """A running pipeline with an event loop of its own; a context manager."""

    def __init__(self, configuration: Configuration, recipients: Iterable[Recipient]) -> None:
        self.configuration = configuration
        self._recipients = tuple(recipients)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._stop())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the pipeline run until this is done."""
        return self._runner.run(work)

    def listener(self, connector: str) -> Listener:
        """The listener of a connector."""
        return self._listeners[connector]

    async def _start(self) -> None:
        configuration, clock, random_bytes = self.configuration, SystemClock(), RandomBytes()
        fqdn = configuration.server.fqdn
        self.events = Events()
        self.store = MemoryQueueStore()
        domains = AcceptedDomains(configuration.accepted_domains)
        directory = MemoryDirectory(self._recipients)
        reporter = NotifyReporter(
            allocate_id=self.store.allocate_id, clock=clock, random_bytes=random_bytes,
            delivery_settings=configuration.delivery, queue_settings=configuration.queues, fqdn=fqdn,
            default_domain=domains.default_name,
        )  # fmt: skip
        self.dispatcher = Dispatcher(
            self.store, configuration.queues, configuration.delivery, self.events, clock, lambda: 0.5,
            WillingCourier, reporter, lambda entry: self.categorizer.process(entry), fqdn,
        )  # fmt: skip
        self.categorizer = Categorizer(
            store=self.store,
            mail_flow=MailFlow(
                directory=directory,
                accepted_domains=domains,
                connectors=ConnectorSelection(configuration.send_connectors, configuration.foreign_connectors, domains),
                mailbox_store=configuration.mailbox_store.name,
                settings=configuration.categorizer,
            ),
            queue_settings=configuration.queues, tracker=self.events, clock=clock, reporter=reporter,
            intake=self.dispatcher,
        )  # fmt: skip
        self.authenticator = Authenticator(NoLogins(), os.urandom, LockoutTable(LockoutSettings()), clock.now)
        self.receive = ReceiveServer(
            ReceiveServices(
                fqdn=fqdn, acceptance=Acceptance(self.store, self.events, self.categorizer),
                new_content_file=self.store.new_content_file, directory=directory, accepted_domains=domains,
                authenticator=self.authenticator, certificates=NoCertificates(), protocol_log=NoProtocolLog(),
                clock=clock, random_bytes=random_bytes, authentication_lookup=Zone({}), check_signature=check_signature,
            )
        )  # fmt: skip
        await self.store.open()
        await self.dispatcher.start()
        self.categorizer.start()
        await self.receive.configure(configuration.receive_connectors, {})
        self._listeners = {}
        for one in configuration.receive_connectors:
            binding = parse_binding(one.bindings[0])
            address = cast(Any, Address(binding.port))
            self._listeners[one.name] = Listener(self.receive, binding, address)

    async def _stop(self) -> None:
        await self.receive.stop(1.0)
        await self.categorizer.stop()
        await self.dispatcher.stop()
        await self.store.close()
        self.authenticator.close()


class MemoryTransport(asyncio.Transport):
    """A connection to a session: what the session writes is kept for the client.

    Args:
        piece: at most so many octets of what the client sent come in one segment, one segment in a turn of the loop.
    """

    def __init__(self, session: Session, port: int, piece: int) -> None:
        super().__init__({"peername": _CLIENT, "sockname": ("127.0.0.1", port)})
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._piece = piece
        self._sent: deque[bytes] = deque()
        self._reading = True
        self._pumping = False
        self._closing = False
        self._written = b""
        self._news = asyncio.Event()

    # --- the session's side -----------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._closing, f"written after the end: {bytes(data)!r}"
        self._written += data
        self._news.set()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._news.set()
            self._loop.call_soon(self._session.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._pump_soon()

    # --- the client's side ------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Let these octets come to the session, behind those sent before."""
        self._sent.append(data)
        self._pump_soon()

    async def receive(self) -> bytes:
        """What the session wrote since the last call, once there is something; nothing once it has closed."""
        async with asyncio.timeout(SECONDS):
            while not self._written and not self._closing:
                self._news.clear()
                await self._news.wait()
        written, self._written = self._written, b""
        return written

    def hang_up(self) -> None:
        """The client closes."""
        if not self._closing:
            self._session.eof_received()
            self.close()

    def _pump_soon(self) -> None:
        if not self._pumping and self._reading and self._sent and not self._closing:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._closing or not self._reading:
            return
        data = self._sent.popleft()
        if len(data) > self._piece:
            data, rest = data[: self._piece], data[self._piece :]
            self._sent.appendleft(rest)
        self._session.data_received(data)
        self._pump_soon()


class EngineTalk(Talk):
    """A `Talk` to a pipeline in memory.

    Args:
        connector: whom to talk to.
        piece: see `MemoryTransport`.
    """

    def __init__(self, pipeline: Pipeline, connector: str, piece: int = 65536) -> None:
        self._pipeline = pipeline
        self._received = b""
        pipeline.run(self._connect(pipeline.listener(connector), piece))
        self.greeting = self.read()

    async def _connect(self, listener: Listener, piece: int) -> None:
        session = Session(listener)
        self.transport = MemoryTransport(session, listener.port, piece)
        session.connection_made(self.transport)

    def __exit__(self, *_: object) -> None:
        self._pipeline.run(self._hang_up())

    async def _hang_up(self) -> None:
        self.transport.hang_up()

    def send(self, data: bytes) -> None:
        self._pipeline.run(self._send(data))

    async def _send(self, data: bytes) -> None:
        self.transport.send(data)

    def receive(self) -> bytes:
        return self._pipeline.run(self.transport.receive())

    def start_tls(self) -> None:
        raise AssertionError("conversations with TLS need the real server")
