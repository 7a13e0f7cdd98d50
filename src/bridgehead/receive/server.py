# SPDX-License-Identifier: MIT
"""SMTP Receive as a whole: listening sockets, the sessions on them, their time-outs, and exchange of configuration."""

import asyncio
import contextlib
import copy
import itertools
import logging
import socket
from collections.abc import Callable, Collection, Container, Coroutine, Sequence
from typing import Any

from bridgehead.directory.lookup import Directory
from bridgehead.msgauth.dkim.verify import CheckSignature
from bridgehead.msgauth.lookup import AuthenticationLookup
from bridgehead.net.clock import Clock
from bridgehead.net.ip_range import Binding, IPRange, normalise_ip, parse_binding, parse_ip, parse_range
from bridgehead.net.own_connections import OwnConnections
from bridgehead.queues.pressure import BackPressure
from bridgehead.queues.store import ContentWriter, StoreFault
from bridgehead.receive.acceptance import Acceptance
from bridgehead.receive.connectors.connection_limits import ConnectionLimits
from bridgehead.receive.connectors.selection import ReceiveConnectors
from bridgehead.receive.connectors.served import Certificates, DeviceConnectors, ServedConnector
from bridgehead.receive.devices.book import DeviceBook
from bridgehead.receive.devices.devices import DeviceIdentity, Devices
from bridgehead.receive.implicit_tls import ImplicitTlsDoor
from bridgehead.receive.logons.authentication import Authenticator
from bridgehead.receive.permissions.addresses import AcceptedDomains
from bridgehead.receive.permissions.sender_exceptions import SenderExceptions
from bridgehead.receive.session import Session
from bridgehead.receive.settings import Device, ReceiveConnector
from bridgehead.receive.workers.company import Company
from bridgehead.receive.workers.crowd import SharedAccepting
from bridgehead.smtp import replies
from bridgehead.tracking.agent_log import NoAgentLog
from bridgehead.tracking.metrics import Metrics
from bridgehead.tracking.pipeline_tracing import PipelineTracing
from bridgehead.tracking.ports import AgentLog, Flights, NoFlights, ProtocolLog

log = logging.getLogger("bridgehead.receive")

_SWEEP_SECONDS = 1.0
_BACKLOG = 1024


class ReceiveServices:
    """What every session uses. A reload replaces domains, directory and connectors; running sessions keep theirs.

    `revision` names the configuration in force, for tracking.
    """

    def __init__(
        self,
        *,
        fqdn: str,
        acceptance: Acceptance,
        new_content_file: Callable[[], ContentWriter],
        directory: Directory,
        accepted_domains: AcceptedDomains,
        authenticator: Authenticator,
        certificates: Certificates,
        protocol_log: ProtocolLog,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        metrics: Metrics | None = None,
        pressure: BackPressure | None = None,
        agent_log: AgentLog | None = None,
        tracing: PipelineTracing | None = None,
        revision: str = "",
        flights: Flights | None = None,
        sender_exceptions: SenderExceptions | None = None,
        secure_domains: Collection[str] = (),
        device_book: DeviceBook | None = None,
        authentication_lookup: AuthenticationLookup,
        check_signature: CheckSignature,
        company: Company | None = None,
    ) -> None:
        self.sender_exceptions = sender_exceptions or SenderExceptions()
        self.device_book = device_book or DeviceBook(None, clock.now())
        self.secure_domains = frozenset(secure_domains)
        """Domains whose mail needs their own certificate (TLSReceiveDomainSecureList), lower case."""
        self.authentication_lookup = authentication_lookup
        self.check_signature = check_signature
        self.fqdn = fqdn
        self.acceptance = acceptance
        self.new_content_file = new_content_file
        self.directory = directory
        self.accepted_domains = accepted_domains
        self.authenticator = authenticator
        self.certificates = certificates
        self.protocol_log = protocol_log
        self.clock = clock
        self.random_bytes = random_bytes
        self.metrics = metrics or Metrics()
        self.pressure = pressure or BackPressure()
        self.tracing = tracing
        self.agent_log: AgentLog = agent_log or NoAgentLog()
        self.revision = revision
        self.flights: Flights = flights or NoFlights()
        self.company = company
        """The other processes that accept on the same sockets."""
        self.limits = ConnectionLimits(company.connections if company is not None else None)
        self.own_connections = OwnConnections(company.own_tests if company is not None else None)
        """The server's tests of its own connectors that are under way."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._session_numbers = itertools.count(int.from_bytes(random_bytes(6), "big") << 16)

    def new_session_id(self) -> str:
        """16 hexadecimal digits, as Exchange's session ids."""
        return f"{next(self._session_numbers) & (2**64 - 1):016X}"

    def unseen(self) -> "ReceiveServices":
        """The same for a session of the server's own tests, of which no log, counter or limit takes notice."""
        services = copy.copy(self)
        services.agent_log, services.flights, services.limits = NoAgentLog(), NoFlights(), ConnectionLimits()
        return services

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("in the background: %r", error)

    def alarm(self, fault: StoreFault, session_id: str) -> None:
        """A message could not be stored; its client was told to keep it."""
        log.error("session %s: message not accepted, the store failed: %s", session_id, fault)


class Listener:
    """One listening socket."""

    def __init__(self, server: "ReceiveServer", binding: Binding, listening: socket.socket) -> None:
        self.server = server
        self.binding = binding
        self.socket = listening
        self.services = server.services
        self.sessions = server.sessions
        self.port: int = listening.getsockname()[1]
        self.local_ip = "" if binding.is_wildcard else normalise_ip(str(binding.address))
        """Where its clients arrive, "" for any address."""
        self.tls_first = False
        """Sessions begin when TLS is there."""
        self._asyncio: asyncio.Server | SharedAccepting | None = None
        self._door: ImplicitTlsDoor | None = None

    async def start(self) -> None:
        """Begin to accept; on a binding for implicit TLS sessions begin after the handshake (RFC 8314)."""
        connector = self.server.implicit_tls_on(self.binding)
        if connector is not None:
            connector.tls_context()  # a certificate that cannot be used is told now
            self.tls_first = True
            self._door = ImplicitTlsDoor(self)
            self._door.open()
            return
        if self.server.crowd is not None:
            self._asyncio = SharedAccepting(
                self.socket, self.server.crowd, lambda: Session(self), lambda: len(self.sessions)
            )  # fmt: skip
            self._asyncio.start()
            return
        self._asyncio = await asyncio.get_running_loop().create_server(
            lambda: Session(self), sock=self.socket, backlog=_BACKLOG
        )

    def connector_for(self, local_ip: str, client_ip: str) -> ServedConnector | None:
        """The connector of a client that arrived at this local address."""
        return self.server.connector_for(local_ip, self.binding.port, client_ip)

    def expects_proxy_header(self, client_ip: str) -> bool:
        """Whether this client is a listed proxy of a connector here."""
        return self.server.expects_proxy_header(self.binding.port, client_ip)

    def session_ended(self) -> None:
        """One of its sessions is over."""
        if isinstance(self._asyncio, SharedAccepting):
            self._asyncio.session_ended()

    def close(self) -> None:
        """Accept no more; sessions go on."""
        if self._asyncio is not None:
            self._asyncio.close()
        if self._door is not None:
            self._door.close()
        self.socket.close()


class ReceiveServer:
    """All receive connectors of the server."""

    def __init__(self, services: ReceiveServices) -> None:
        self.services = services
        self.crowd = services.company.crowd if services.company is not None else None
        self.sessions: set[Session] = set()
        self.listeners: dict[Binding, Listener] = {}
        self._connectors = ReceiveConnectors([])
        self._served: dict[str, ServedConnector] = {}
        self.devices = Devices()
        self._proxies: list[tuple[int, IPRange]] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._emptied: asyncio.Event | None = None

    # --- configuration ----------------------------------------------------------------------------------------------

    def bind(self, connectors: list[ReceiveConnector]) -> dict[Binding, socket.socket]:
        """Open the sockets that these connectors need and that are not open yet. Raises OSError naming the binding."""
        return bind_sockets(connectors, self.listeners)

    @staticmethod
    def bind_all(connectors: list[ReceiveConnector]) -> dict[Binding, socket.socket]:
        """Open every socket that these connectors need: at the start, while ports below 1024 may still be had."""
        return bind_sockets(connectors, {})

    def implicit_tls_on(self, binding: Binding) -> ServedConnector | None:
        """A connector of a binding for implicit TLS; None where TLS begins with STARTTLS."""
        for served in self._served.values():
            if served.settings.implicit_tls and served.listens_on(binding):
                return served
        return None

    def listening(self) -> list[tuple[str, list[str], int]]:
        """Each open socket: binding, connectors that share it, sessions on it."""
        return [
            (
                str(binding),
                [one.settings.name for one in self._served.values() if one.listens_on(binding)],
                sum(session.listener is listener for session in self.sessions),
            )
            for binding, listener in self.listeners.items()
        ]

    async def configure(
        self, connectors: list[ReceiveConnector], opened: dict[Binding, socket.socket], devices: Sequence[Device] = ()
    ) -> None:  # fmt: skip
        """Take over a configuration, whole. New sessions follow it; running ones finish under theirs."""
        self._connectors = ReceiveConnectors(connectors)
        former = self._served
        self._served = {
            one.name: ServedConnector(
                one, self.services.fqdn, self.services.certificates, former.get(one.name),
                self.services.metrics.receive_connector(one.name),
            )
            for one in connectors
        }  # fmt: skip
        self.devices = Devices(devices, self.services.device_book.use, self.devices)
        self._count_with_others()
        for one in connectors:
            if self.devices.any_on(one.name):
                self._served[one.name].devices = DeviceConnectors(self.devices, self._maker(one))
        self._proxies = [
            (binding.port, parse_range(source))
            for one in connectors
            if one.enabled
            for binding in map(parse_binding, one.bindings)
            for source in one.proxy_protocol_sources
        ]
        wanted = set(self._connectors.listening())
        for binding in [binding for binding in self.listeners if binding not in wanted]:
            self.listeners.pop(binding).close()
        if self.crowd is not None:
            self.crowd.tell(len(self.sessions))
            await self.crowd.assemble()
        for binding, listening in opened.items():
            listener = self.listeners[binding] = Listener(self, binding, listening)
            await listener.start()
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    def _count_with_others(self) -> None:
        """Let message rates be those of all processes."""
        if self.services.company is not None:
            rates = self.services.company.rates
            for served in self._served.values():
                served.rate.count_with(rates, f"connector {served.settings.name}")
            for device in self.devices.identities:
                device.rate.count_with(rates, f"device {device.settings.name}")

    def _maker(self, connector: ReceiveConnector) -> Callable[[DeviceIdentity], ServedConnector]:
        """Makes of a connector what it is for a device."""
        services = self.services

        def make(device: DeviceIdentity) -> ServedConnector:
            counters = services.metrics.receive_connector(connector.name)
            return ServedConnector(
                connector, services.fqdn, services.certificates, counters=counters, device=device
            )  # fmt: skip

        return make

    def connector_for(self, local_ip: str, port: int, client_ip: str) -> ServedConnector | None:
        """The connector in force for a connection, as it is for the device at the other end where there is one."""
        connector = self._connectors.match(local_ip, port, client_ip).connector
        if connector is None:
            return None
        served = self._served[connector.name]
        return served if served.devices is None else served.devices.served_for(client_ip, served)

    def expects_proxy_header(self, port: int, client_ip: str) -> bool:
        """Whether a client must introduce the real one with the PROXY protocol."""
        if not self._proxies:
            return False
        address = parse_ip(client_ip)
        return any(port == bound and source.contains(address) for bound, source in self._proxies)

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """End sessions that are idle or too long, once a second for all of them."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self.services.clock.monotonic()
            if self.services.company is not None:
                self.services.company.rates.learn()
            for session in list(self.sessions):
                try:
                    session.check_time(now)
                except Exception:
                    log.exception("session %s: its time-outs could not be checked; it ends", session.session_id)
                    session.transport.abort()

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more, let messages under way finish, then close every session with 421."""
        for listener in self.listeners.values():
            listener.close()
        self.listeners.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        for session in list(self.sessions):
            session.shut_down(replies.SHUTTING_DOWN)
        if self.sessions:
            self._emptied = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), grace_seconds)
        for session in list(self.sessions):
            session.transport.abort()

    def closed(self, session: Session) -> None:
        """A session's connection is gone."""
        self.sessions.discard(session)
        if self.crowd is not None:
            self.crowd.tell(len(self.sessions))
            session.listener.session_ended()
        if self._emptied is not None and not self.sessions:
            self._emptied.set()


def bind_sockets(connectors: list[ReceiveConnector], present: Container[Binding]) -> dict[Binding, socket.socket]:
    """Open the sockets that these connectors need and that are not present. Raises OSError naming the binding."""
    opened: dict[Binding, socket.socket] = {}
    try:
        for binding in ReceiveConnectors(connectors).listening():
            if binding not in present:
                opened[binding] = _listen(binding)
    except OSError:
        for one in opened.values():
            one.close()
        raise
    return opened


def _listen(binding: Binding) -> socket.socket:
    """A bound, listening, non-blocking socket. Raises OSError whose text names the binding."""
    family = socket.AF_INET6 if binding.address.version == 6 else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((str(binding.address), binding.port))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"cannot listen on {binding}: {error.strerror}") from error
    return listening
