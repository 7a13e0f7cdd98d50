# SPDX-License-Identifier: MIT
"""Couriers that deliver by SMTP: one for each next hop, each with its own pool of sessions (Send connectors, §4.5.4).

A courier opens sessions as the backlog asks, within its own limit and the one that all share. Sessions pull messages.
What happens at one next hop waits for nothing at another.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from bridgehead.delivery.ports import WorkSource
from bridgehead.delivery.settings import DeliverySettings
from bridgehead.delivery.smtp_send.destination import Ourselves, Unresolvable, resolve_destination
from bridgehead.delivery.smtp_send.error_policy import changes_nothing
from bridgehead.delivery.smtp_send.opening import NoHost, SessionOpener
from bridgehead.delivery.smtp_send.session import SendSession, SessionPolicy
from bridgehead.delivery.smtp_send.shared import ConnectionLimiter, HostMemory
from bridgehead.net.clock import Clock
from bridgehead.net.resolver import DnsLookup
from bridgehead.net.tls import ClientContexts
from bridgehead.routing.next_hop import NextHop
from bridgehead.routing.settings import SendConnector
from bridgehead.tracking.ports import ConnectivityLog, ProtocolLog

_CLOSE_SECONDS = 5.0
_NO_GROWTH_SECONDS = 10.0
_DESTINATION_SECONDS = 5.0


class SmtpCourierFactory:
    """Makes couriers; holds what they share.

    Args:
        connectors: Send connectors by name.
        fqdn: our name for EHLO where the connector has none.
        own_addresses: (address, port) of our receive connectors, to see mail that would loop back.
        resolver: DNS of the server; connectors with `dns_servers` ask those.
        random: gives floats from 0 up to 1.
    """

    def __init__(
        self, connectors: Mapping[str, SendConnector], settings: DeliverySettings, fqdn: str,
        own_addresses: Sequence[tuple[str, int]], resolver: DnsLookup, clock: Clock, random: Callable[[], float],
        protocol_log: ProtocolLog, connectivity_log: ConnectivityLog,
    ) -> None:  # fmt: skip
        self.connectors = connectors
        self.settings = settings
        self.fqdn = fqdn
        self.ourselves = Ourselves(frozenset({fqdn.lower()}), frozenset(own_addresses))
        self.resolver = resolver
        self.clock = clock
        self.random = random
        self.protocol_log = protocol_log
        self.connectivity_log = connectivity_log
        self.limiter = ConnectionLimiter(settings.max_outbound_connections)
        self.hosts = HostMemory(clock)
        self.contexts = ClientContexts()

    def courier(self, next_hop: NextHop, source: WorkSource) -> "SmtpCourier":
        """The courier of one next hop. Raises KeyError where its connector does not exist."""
        return SmtpCourier(self, next_hop, self.connectors[next_hop.connector], source)


class SmtpCourier:
    """Delivers the messages of one next hop. Implements `delivery.ports.Courier`."""

    def __init__(
        self, factory: SmtpCourierFactory, next_hop: NextHop, connector: SendConnector, source: WorkSource
    ) -> None:  # fmt: skip
        self._factory = factory
        self._next_hop = next_hop
        self._connector = connector
        self._source = source
        self._limit = connector.max_outbound_connections_per_domain or int(
            factory.settings.max_per_domain_outbound_connections
        )
        plain = changes_nothing(connector.error_policies)
        self._policy = SessionPolicy(
            connector=connector.name,
            max_messages=connector.smtp_max_messages_per_connection or 2**31,
            preserve_routing_headers=connector.preserve_routing_headers,
            error_policies=() if plain else tuple(connector.error_policies),
            custom_failures=frozenset(connector.custom_failures),
        )
        self._opener = SessionOpener(
            next_hop, connector, fqdn=connector.fqdn or factory.fqdn, settings=factory.settings,
            contexts=factory.contexts, hosts=factory.hosts, random=factory.random,
            protocol_log=factory.protocol_log, connectivity_log=factory.connectivity_log,
        )  # fmt: skip
        self._dns = factory.resolver.for_servers(connector.dns_servers)
        self._sessions: set[SendSession] = set()
        self._idle: list[SendSession] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._no_growth_until = 0.0
        self._closing = False
        self._all_ended: asyncio.Future[None] | None = None

    # --- delivery.ports.Courier -------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There is work: idle sessions take it, and new ones open where that is not enough."""
        if self._closing:
            return
        while self._idle and self._source.backlog() > 0:
            session = self._idle.pop()
            session.resume()
            if self._idle and self._idle[-1] is session:
                break  # it found nothing to take
        self._grow()

    async def close(self) -> None:
        """Let sessions end what they are at, a few seconds at most; then drop them."""
        self._closing = True
        for task in self._opening:
            task.cancel()
        for session in list(self._sessions):
            session.stop()
        if self._sessions:
            self._all_ended = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._all_ended
            except TimeoutError:
                for session in list(self._sessions):
                    session.client.abort("the server is stopping")
        if self._opening:
            await asyncio.gather(*self._opening, return_exceptions=True)

    # --- the pool -----------------------------------------------------------------------------------------------------

    def session_idle(self, session: SendSession) -> None:
        if session not in self._idle:
            self._idle.append(session)

    def session_ended(self, session: SendSession, reason: str) -> None:
        if session in self._idle:
            self._idle.remove(session)
        if session in self._sessions:
            self._sessions.discard(session)
            self._factory.limiter.release()
        self._opener.ended(session, reason)
        if self._all_ended is not None and not self._sessions and not self._all_ended.done():
            self._all_ended.set_result(None)
        if not self._closing:
            self._grow()

    def _grow(self) -> None:
        """Open another session for a backlog that is larger than what is being opened already; at most as many at a
        time as there are, so that a host that takes few is not stormed."""
        while (
            not self._closing
            and self._source.backlog() > len(self._opening)
            and not self._idle
            and len(self._sessions) + len(self._opening) < self._limit
            and len(self._opening) < max(1, len(self._sessions))
            and self._factory.clock.monotonic() >= self._no_growth_until
        ):
            if not self._factory.limiter.acquire(self.wake):
                return
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)

    async def _open(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        session: SendSession | None = None
        problem: NoHost | None = None
        try:
            session = await self._connect()
        except NoHost as error:
            problem = error
        except Exception as error:  # a fault of ours must not leave the queue without an answer
            problem = NoHost(f"no session could be opened: {type(error).__name__}: {error}", "4.3.0")
        finally:
            self._opening.discard(task)
            if session is None:
                self._factory.limiter.release()
        if session is None:
            self._failed(problem or NoHost("no session could be opened", "4.3.0"))
        elif session.client.is_open:
            self._sessions.add(session)
            session.resume()
            self._grow()
        else:
            self._factory.limiter.release()
            self._opener.ended(session, "closed at once")
            self._failed(NoHost(f"{session.host} closed the connection at once", "4.4.2"))

    async def _connect(self) -> SendSession:
        """A session with the first host that takes us. Raises NoHost."""
        found = await resolve_destination(
            self._next_hop, self._connector, self._dns, self._factory.ourselves, self._factory.random
        )
        if isinstance(found, Unresolvable):
            raise NoHost(found.error, found.status, permanent=found.permanent)
        opened = await self._opener.open(self._factory.hosts.in_order(found))
        return SendSession(
            opened.client, self._source, self, self._policy, session_id=opened.session_id, host=opened.host
        )  # fmt: skip

    def _failed(self, problem: NoHost) -> None:
        """No host could be used. With sessions at work that only means: not more of them for now."""
        if self._closing:
            return
        if self._sessions or self._opening:
            self._no_growth_until = self._factory.clock.monotonic() + _NO_GROWTH_SECONDS
            return
        self._source.connection_failed(str(problem), permanent=problem.permanent, status=problem.status)
