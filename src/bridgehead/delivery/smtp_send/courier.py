# SPDX-License-Identifier: MIT
"""Couriers that deliver by SMTP for Send connectors: one for each next hop, each with its own pool of sessions.

What happens at one next hop waits for nothing at another; only the limit on connections in all is shared.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from bridgehead.delivery.ports import WorkSource
from bridgehead.delivery.settings import DeliverySettings
from bridgehead.delivery.smtp_send.destination import Ourselves, Target, Unresolvable, resolve_destination
from bridgehead.delivery.smtp_send.domain_policy import DomainPolicies, OutboundTls
from bridgehead.delivery.smtp_send.error_policy import changes_nothing
from bridgehead.delivery.smtp_send.flight import FlightFacts
from bridgehead.delivery.smtp_send.log_on import TokenSource
from bridgehead.delivery.smtp_send.opening import NoHost, SessionOpener
from bridgehead.delivery.smtp_send.pool import SessionPoolCourier
from bridgehead.delivery.smtp_send.security import TlsMaker
from bridgehead.delivery.smtp_send.session import SendSession, SessionPolicy
from bridgehead.delivery.smtp_send.shared import ConnectionLimiter, HostMemory
from bridgehead.mail.address import domain_key
from bridgehead.net.certificates.pairs import CertificatePair
from bridgehead.net.clock import Clock
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.smtp_client import ConnectionLost
from bridgehead.net.tls import ClientContexts
from bridgehead.routing.domain_tls import DomainTlsPolicy, PolicySource
from bridgehead.routing.next_hop import NextHop
from bridgehead.routing.settings import SendConnector
from bridgehead.smtp.client_events import Transaction
from bridgehead.tracking.ports import ConnectivityLog, Flights, NoFlights, ProtocolLog
from bridgehead.tracking.tls_reports.port import PolicyType, ResultType, TlsResult

NO_FLIGHTS = NoFlights()


def _no_certificate(_: SendConnector) -> None:
    """For connectors that show none."""


class SmtpCourierFactory:
    """Makes couriers; holds what they share.

    Args:
        connectors: Send connectors by name.
        fqdn: our name for EHLO where the connector has none.
        own_addresses: (address, port) of our receive connectors, to see mail that would loop back.
        resolver: DNS of the server; connectors with `dns_servers` ask those.
        random: gives floats from 0 up to 1.
        client_pair: the certificate that a connector shows, None for none. Raises CertificateError.
        secure_domains: TLSSendDomainSecureList, lower case.
        outbound_tls: what is known of recipient domains; None: nothing, and nobody is told.
        tokens: for connectors that log on with access tokens.
    """

    def __init__(
        self, connectors: Mapping[str, SendConnector], settings: DeliverySettings, fqdn: str,
        own_addresses: Sequence[tuple[str, int]], resolver: DnsLookup, clock: Clock, random: Callable[[], float],
        protocol_log: ProtocolLog, connectivity_log: ConnectivityLog, flights: Flights = NO_FLIGHTS,
        client_pair: Callable[[SendConnector], CertificatePair | None] = _no_certificate,
        secure_domains: Collection[str] = (), outbound_tls: OutboundTls | None = None,
        tokens: TokenSource | None = None,
    ) -> None:  # fmt: skip
        self.tokens = tokens
        self.outbound_tls = outbound_tls
        self.client_pair = client_pair
        self.secure_domains = frozenset(secure_domains)
        self.flights = flights
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


class SmtpCourier(SessionPoolCourier):
    """Delivers the messages of one next hop. Implements `delivery.ports.Courier`."""

    def __init__(
        self, factory: SmtpCourierFactory, next_hop: NextHop, connector: SendConnector, source: WorkSource
    ) -> None:  # fmt: skip
        self._factory = factory
        self._next_hop = next_hop
        self._connector = connector
        limit = connector.max_outbound_connections_per_domain
        super().__init__(
            source, limit or int(factory.settings.max_per_domain_outbound_connections), factory.limiter, factory.clock
        )
        if limit:
            self.limit_setting = (f"send_connectors {connector.name}", "max_outbound_connections_per_domain")
        plain = changes_nothing(connector.error_policies)
        self._policy = SessionPolicy(
            connector=connector.name,
            max_messages=connector.smtp_max_messages_per_connection or 2**31,
            preserve_routing_headers=connector.preserve_routing_headers,
            error_policies=() if plain else tuple(connector.error_policies),
            custom_failures=frozenset(connector.custom_failures),
        )
        self._dns = factory.resolver.for_servers(connector.dns_servers)
        self._opener = SessionOpener(
            next_hop, connector, fqdn=connector.fqdn or factory.fqdn, settings=factory.settings,
            maker=TlsMaker(connector, factory.contexts, lambda: factory.client_pair(connector)),
            secure_domains=factory.secure_domains, hosts=factory.hosts, random=factory.random,
            protocol_log=factory.protocol_log, connectivity_log=factory.connectivity_log,
            flights=factory.flights, clock=factory.clock,
            policies=DomainPolicies(next_hop, connector, self._dns, factory.outbound_tls, factory.clock),
            tokens=factory.tokens,
        )  # fmt: skip
        self._flight = FlightFacts(next_hop, connector, factory.clock)
        self._targets: dict[SendSession, Target] = {}

    async def _connect(self) -> SendSession:
        """A session with the first host that takes us. Raises NoHost."""
        self.resolving += 1
        try:
            found = await resolve_destination(
                self._next_hop, self._connector, self._dns, self._factory.ourselves, self._factory.random
            )
        finally:
            self.resolving -= 1
        if isinstance(found, Unresolvable):
            self._factory.flights.failed(self._flight.unresolved(found))
            if found.bogus:
                self._tell_bogus(found)
            raise NoHost(found.error, found.status, permanent=found.permanent)
        opened = await self._opener.open(self._factory.hosts.in_order(found))
        session = SendSession(
            opened.client, self._source, self, self._policy, session_id=opened.session_id, host=opened.target.host,
            failed=self._message_failed, tls=self._tls_note(opened.policy), expired=self._expiry(opened.policy),
            tls_assured=opened.policy.requires_keyword and opened.policy.is_authenticated,
        )  # fmt: skip
        self._targets[session] = opened.target
        return session

    def _tell_bogus(self, found: Unresolvable) -> None:
        """For reports to the domain: its DNSSEC is wrong."""
        shared = self._factory.outbound_tls
        if shared is not None:
            shared.results.record(
                TlsResult(
                    domain=domain_key(self._next_hop.domain), policy_type=PolicyType.TLSA,
                    result=ResultType.DNSSEC_INVALID, information=found.error,
                )
            )  # fmt: skip

    def _tls_note(self, policy: DomainTlsPolicy) -> str:
        return "" if policy.source is PolicySource.CONNECTOR else str(policy)

    def _expiry(self, policy: DomainTlsPolicy) -> Callable[[], bool] | None:
        """Whether a session must take no further messages because its policy must be looked up anew."""
        if not policy.expires:
            return None
        clock = self._factory.clock
        until = clock.monotonic() + max(1.0, policy.expires - clock.now())
        return lambda: clock.monotonic() >= until

    def _message_failed(self, session: SendSession, transaction: Transaction, ended: ConnectionLost | None) -> None:
        facts = self._flight.transaction(session.session_id, session.client, session.host, transaction, ended)
        target = self._targets.get(session)
        if facts is None or target is None:
            return
        self._tell_good(session, target)
        self._factory.flights.failed(facts)

    def _tell_good(self, session: SendSession, target: Target) -> None:
        """Tell the flight recorder of messages that were taken since it was told last."""
        if session.good == session.told:
            return
        client = session.client
        self._factory.flights.delivered(
            self._flight.queue, target.host, target.address, target.port, messages=session.good - session.told,
            last=self._factory.clock.now(), local=client.local, encrypted=client.tls is not None,
            heard=client.heard_at_opening, session=session.session_id, opening=client.opening, tls=client.tls,
        )  # fmt: skip
        session.told = session.good

    def _session_over(self, session: SendSession, reason: str, *, fruitless: bool) -> None:
        target = self._targets.pop(session, None)
        if target is not None:
            if fruitless:
                self._factory.hosts.failed(target)
            self._tell_good(session, target)
        self._opener.ended(session, reason)
