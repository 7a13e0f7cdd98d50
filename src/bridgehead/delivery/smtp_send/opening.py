# SPDX-License-Identifier: MIT
"""Opens sessions: tries hosts in order until one greets us, offers the TLS we want and lets us log on (RFC 5321 §5.1).

A host that says 4yz, 5yz or 421 in its greeting or to EHLO is passed over for the next, and so is one that the policy
of the recipient domain forbids. Writes the protocol log of Verbose connectors and the connectivity log.
"""

from collections.abc import Callable, Collection, Sequence

import msgspec

from bridgehead.delivery.settings import DeliverySettings
from bridgehead.delivery.smtp_send.destination import Target
from bridgehead.delivery.smtp_send.domain_policy import DomainPolicies
from bridgehead.delivery.smtp_send.flight import FlightFacts
from bridgehead.delivery.smtp_send.log_on import TokenRefused, TokenSource, log_on
from bridgehead.delivery.smtp_send.security import (
    HostUnusable,
    TlsBroken,
    TlsMaker,
    begin_secure,
    check_keyword,
    secure_session,
)
from bridgehead.delivery.smtp_send.session import SendSession
from bridgehead.delivery.smtp_send.shared import HostMemory
from bridgehead.delivery.smtp_send.tls_story import is_about_tls, result_type, tls_result
from bridgehead.diagnosis.facts import How, Phase
from bridgehead.mail.item import TlsRequirement
from bridgehead.net.clock import Clock
from bridgehead.net.dialer import DialError, dial, shown
from bridgehead.net.smtp_client import ConnectionLost, SmtpClient
from bridgehead.routing.domain_tls import DomainTlsPolicy, PolicySource
from bridgehead.routing.next_hop import NextHop
from bridgehead.routing.settings import ProtocolLoggingLevel, SendConnector, TlsDowngradeMode
from bridgehead.routing.tls_policy import TlsUse, tls_policy
from bridgehead.smtp.client import ClientConnection
from bridgehead.smtp.client_events import HelloDone, Refused
from bridgehead.tracking.ports import ConnectivityLog, Flights, ProtocolLog
from bridgehead.tracking.tls_reports.port import ResultType

_REASONS = 5


class NoHost(Exception):
    """No session with any host. The message says why; `status` fits `connection_failed`."""

    def __init__(self, reason: str, status: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.permanent = permanent


class Opened(msgspec.Struct):
    """A session that is ready for transactions."""

    client: SmtpClient
    target: Target
    session_id: str
    policy: DomainTlsPolicy


class Transcript:
    """Numbers one session's lines and hands them to the protocol log; "+" is the first and comes once, whether the
    greeting or whoever waits for the connection is quicker."""

    def __init__(self, log: ProtocolLog, connector: str, session_id: str) -> None:
        self._log = log
        self._connector = connector
        self._session_id = session_id
        self._sequence = 0
        self.client: SmtpClient | None = None

    def __call__(self, event: str, data: str, context: str = "") -> None:
        if event == "+":
            if self._sequence:
                return
        elif not self._sequence:
            self("+", "")
        client = self.client
        self._log.record(
            connector_id=self._connector, session_id=self._session_id, sequence=self._sequence,
            local=client.local if client else "", remote=client.remote if client else "",
            event=event, data=data, context=context,
        )  # fmt: skip
        self._sequence += 1


class SessionOpener:
    """Opens the sessions of one next hop."""

    def __init__(
        self, next_hop: NextHop, connector: SendConnector, *, fqdn: str, settings: DeliverySettings,
        maker: TlsMaker, secure_domains: Collection[str], hosts: HostMemory, random: Callable[[], float],
        protocol_log: ProtocolLog, connectivity_log: ConnectivityLog, flights: Flights, clock: Clock,
        policies: DomainPolicies, tokens: TokenSource | None = None,
    ) -> None:  # fmt: skip
        self._tokens = tokens
        self._policies = policies
        self._flights = flights
        self._flight = FlightFacts(next_hop, connector, clock)
        self._next_hop = next_hop
        self._connector = connector
        self._fqdn = fqdn
        self._connect_seconds = settings.connect_timeout.total_seconds()
        self._maker, self._secure_domains = maker, secure_domains
        self._hosts = hosts
        self._random = random
        self._protocol_log = protocol_log
        self._connectivity_log = connectivity_log
        self._transcripts: dict[str, Transcript] = {}

    async def open(self, targets: Sequence[Target]) -> Opened:
        """A session with the first target that works. Raises NoHost with the reasons of all."""
        reasons: list[str] = []
        status = "4.4.1"
        permanent = bool(targets)
        for target in targets:
            try:
                opened = await self._try(target)
            except TokenRefused as error:  # it would be the same with every host
                raise NoHost(str(error), error.status) from None
            except (DialError, ConnectionLost, HostUnusable) as error:
                permanent = permanent and getattr(error, "permanent", False)
                if not getattr(error, "permanent", False):
                    self._hosts.failed(target)
                reasons.append(str(error))
                status = getattr(error, "status", "4.4.1")
            else:
                self._hosts.worked(target)
                return opened
        more = f" (and {len(reasons) - _REASONS} more)" if len(reasons) > _REASONS else ""
        if not permanent:
            status = "4" + status[1:]
        raise NoHost("; ".join(reasons[-_REASONS:]) + more or "there is no address to try", status, permanent=permanent)

    async def _try(self, target: Target) -> Opened:
        """A session with one host, under what its domain asks for; where that is only being tested, else without."""
        domain = self._policies.domain
        demand = tls_policy(self._connector, target.tls_name, self._secure_domains, domain)
        policy = await self._policies.policy(target, demand)
        if not policy.testing:
            return await self._under(target, policy)
        untested = DomainTlsPolicy(**{name: getattr(demand, name) for name in demand.__struct_fields__})
        untested = msgspec.structs.replace(
            untested, source=policy.source, testing=True, evidence=policy.evidence, expires=policy.expires
        )  # fmt: skip
        failed = self._hosts.failed_test(self._connector.name, target, domain)
        if failed is None:
            try:
                return await self._under(target, policy)
            except (ConnectionLost, HostUnusable) as error:
                if not is_about_tls(error):
                    raise
                self._hosts.test_failed(self._connector.name, target, domain, result_type(error, policy), str(error))
        opened = await self._under(target, untested, told=True)
        if failed is not None and failed.result is not None:  # one more session that the policy would have refused
            self._tell(policy, target, opened.client, failed.result, failed.words)
        return opened

    async def _under(self, target: Target, policy: DomainTlsPolicy, *, told: bool = False) -> Opened:
        """A session under one policy. `told`: how it comes out was reported already."""
        try:
            opened = await self._with_fallback(target, policy)
        except (ConnectionLost, HostUnusable) as error:
            if not told and (result := result_type(error, policy)) is not None:
                self._tell(policy, target, None, result, str(error))
            raise
        if not told:
            self._tell(policy, target, opened.client, *self._how_opened(target, policy, opened.client))
        return opened

    def _how_opened(self, target: Target, policy: DomainTlsPolicy, client: SmtpClient) -> tuple[ResultType, str]:
        """What reports say of a session that there is: it may be in clear, or under records that nobody can use."""
        if client.tls is not None:
            return policy.failure or ResultType.SUCCESS, "; ".join(policy.evidence[-1:]) if policy.failure else ""
        broken = self._hosts.broken_tls(self._connector.name, target)
        if broken is not None and broken.result is not None:
            return broken.result, broken.words
        return ResultType.STARTTLS_NOT_SUPPORTED, ""

    async def _with_fallback(self, target: Target, policy: DomainTlsPolicy) -> Opened:
        if policy.refusal:
            error = HostUnusable(policy.refusal, policy.status, Phase.POLICY, permanent=policy.permanent)
            self._flights.failed(self._flight.opening(error, "", target, None, policy))
            raise error
        if policy.use is TlsUse.OPPORTUNISTIC and self._hosts.broken_tls(self._connector.name, target) is not None:
            policy = msgspec.structs.replace(policy, use=TlsUse.NEVER)
        try:
            return await self._attempt(target, policy)
        except TlsBroken as error:
            if policy.use is not TlsUse.OPPORTUNISTIC:
                raise
            self._hosts.tls_failed(self._connector.name, target, result_type(error, policy), str(error))
        return await self._attempt(target, msgspec.structs.replace(policy, use=TlsUse.NEVER))

    def _tell(
        self, policy: DomainTlsPolicy, target: Target, client: SmtpClient | None, result: ResultType, words: str = ""
    ) -> None:  # fmt: skip
        """For reports to the domain; nothing of smart hosts, and of connectors that have their own way."""
        shared, domain = self._policies.shared, self._policies.domain
        if shared is not None and domain and policy.source is not PolicySource.HEADER:
            shared.results.record(tls_result(domain, policy, target, client, result, words))

    async def _remember(self, client: SmtpClient, target: Target, policy: DomainTlsPolicy) -> None:
        """Compare with what the domain showed before. Raises HostUnusable where worse is not to be taken,
        ConnectionLost."""
        shared, domain, mode = self._policies.shared, self._policies.domain, self._connector.tls_downgrade_mode
        if shared is None or not domain or self._policies.requirement is TlsRequirement.OPTIONAL:
            return
        level = await self._policies.level(client, target.host, policy)
        if client.ended is not None:
            raise client.ended
        if level is None:
            return
        if mode is TlsDowngradeMode.REFUSE and (problem := shared.memory.judge(domain, target.host, level)):
            shared.memory.raise_alarm(domain, problem)
            reason = f"{problem} (tls_downgrade_mode is Refuse)"
            raise HostUnusable(reason, "4.7.5", Phase.POLICY)
        shared.memory.opened(domain, target.host, level, alarm=mode is not TlsDowngradeMode.NONE)

    async def _attempt(self, target: Target, policy: DomainTlsPolicy) -> Opened:
        session_id = f"{int(self._random() * 2**53) << 11:016X}"
        self._record(session_id, "+", f"{target.host} {shown(target.address, target.port)}")
        client: SmtpClient | None = None
        try:
            transcript = self._transcript(session_id)
            engine = ClientConnection(
                self._fqdn, force_helo=self._connector.force_helo, remote_mta=target.host, transcript=transcript
            )
            silence = self._connector.connection_inactivity_timeout.total_seconds()
            client = await dial(
                lambda: remembered(SmtpClient(engine, longest_silence=silence), transcript),
                target.address, target.port, sources=self._connector.source_ip_addresses,
                seconds=self._connect_seconds,
            )  # fmt: skip
            if transcript is not None:
                transcript("+", "")
                self._transcripts[session_id] = transcript
            if self._connector.implicit_tls:
                await begin_secure(client, policy, self._maker, target.host, self._connect_seconds)
            hello = await self._greeted(client, target)
            if client.tls is None:
                hello = await secure_session(client, hello, policy, self._maker, target.host, self._connect_seconds)
            if transcript is not None and client.tls is not None:
                transcript("*", f"TLS negotiated: {client.tls}")
            check_keyword(hello, policy, target.host)
            await self._remember(client, target, policy)
            if transcript is not None and policy.evidence:
                transcript("*", f"TLS policy {policy}: {'; '.join(policy.evidence)}")
            await log_on(client, hello, self._connector, target.host, self._tokens)
        except BaseException as error:
            reason = str(error) or type(error).__name__
            if client is not None:
                client.abort(reason)
            self._record_end(session_id, reason, 0)
            if isinstance(error, Exception):
                self._flights.failed(self._flight.opening(error, session_id, target, client, policy))
            raise
        self._record(session_id, ">", _established(client, policy))
        return Opened(client, target, session_id, policy)

    async def _greeted(self, client: SmtpClient, target: Target) -> HelloDone:
        event = await client.hello()
        if isinstance(event, Refused):
            reason = f"{target.host} {shown(target.address, target.port)} answered {event.reply}"
            raise HostUnusable(reason, "4.4.1", Phase.BANNER, reply=event.reply)
        if not isinstance(event, HelloDone):
            raise HostUnusable(f"{target.host} ended the session before it began", "4.4.2", Phase.BANNER, How.DROPPED)
        return event

    def ended(self, session: SendSession, reason: str) -> None:
        """A session that was opened here is over."""
        self._record_end(session.session_id, reason, session.messages)

    def _record_end(self, session_id: str, reason: str, messages: int) -> None:
        transcript = self._transcripts.pop(session_id, None)
        if transcript is not None:
            transcript("-", "", reason)
        self._record(session_id, "-", f"Messages: {messages} ({reason})")

    def _record(self, session_id: str, direction: str, description: str) -> None:
        self._connectivity_log.record(
            session=session_id, source="SMTP", destination=str(self._next_hop), direction=direction,
            description=description,
        )  # fmt: skip

    def _transcript(self, session_id: str) -> Transcript | None:
        if self._connector.protocol_logging_level is ProtocolLoggingLevel.NONE:
            return None
        return Transcript(self._protocol_log, self._connector.name, session_id)


def remembered(client: SmtpClient, transcript: Transcript | None) -> SmtpClient:
    """A new connection, known to its transcript, which asks it for its addresses."""
    if transcript is not None:
        transcript.client = client
    return client


def _established(client: SmtpClient, policy: DomainTlsPolicy) -> str:
    security = f"TLS ({client.tls})" if client.tls is not None else "no TLS"
    if policy.source is not PolicySource.CONNECTOR:
        security = f"policy {policy}, {security}"
    return f"Established connection to {client.remote} from {client.local}, {security}"
