# SPDX-License-Identifier: MIT
"""Facts for `why`, from the flight recorder, the dispatcher, the configuration and DNS. Implements
`admin.why.ports.Diagnostics`.

Nothing here runs unless it is asked; questions to DNS and probes of ports end after a few seconds.
"""

import asyncio
import contextlib
import difflib
import ipaddress
from collections.abc import Coroutine, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from bridgehead.admin.health.pressure import pressure_alarms
from bridgehead.delivery.situation import message_situation, queue_situation, stored_situation
from bridgehead.delivery.smtp_send.destination import split_smart_host
from bridgehead.diagnosis.dns_rules import ALIVE
from bridgehead.diagnosis.door_words import DEVICE_LIMITS, device_of
from bridgehead.diagnosis.facts import AttemptFacts, ConnectorFacts, DnsFacts, HostFacts, RefusalFacts
from bridgehead.diagnosis.scheduler import Situation
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.directory.recipient import Recipient
from bridgehead.mail.address import Mailbox, domain_key
from bridgehead.net.certificates.pairs import chain_words
from bridgehead.net.dns.resolver import Resolver, system_servers
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import QueuedItem, QueueKind, QueueState
from bridgehead.receive.connectors.selection import ReceiveConnectors
from bridgehead.receive.permissions.rights import rights_of, session_principal
from bridgehead.receive.settings import ReceiveConnector
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism, TlsAuthLevel

if TYPE_CHECKING:
    from bridgehead.server.app import Application

_DNS_SECONDS: Final = 2.0
"""For one answer of one server."""
_PROBE_SECONDS: Final = 1.5
_ALL_SECONDS: Final = 6.0
_HOSTS_ASKED: Final = 4
_PORTS_PROBED: Final = (587, 465)
_ADDRESSES_PROBED: Final = 3
_DIRECTORY_READ: Final = 20_000
"""Recipients looked through for one that is much alike."""

T = TypeVar("T")


class ServerDiagnostics:
    """The facts of one running server."""

    def __init__(self, application: "Application") -> None:
        self._application = application

    @property
    def fqdn(self) -> str:
        return self._application.fqdn

    @property
    def queue_settings(self) -> QueueSettings:
        return self._application.loaded.configuration.queues

    # --- what was recorded -------------------------------------------------------------------------------------------

    def attempts(self, queue: str = "") -> list[AttemptFacts]:
        """Kept failures."""
        return self._application.logs.flights.attempts(queue)

    def hosts(self, queue: str = "") -> list[HostFacts]:
        """Addresses that took mail."""
        return self._application.logs.flights.hosts(queue)

    def opening(self, session: str) -> Sequence[str]:
        """How a good session began."""
        return self._application.logs.flights.opening(session)

    def refusals(self, source: str = "") -> list[RefusalFacts]:
        """What clients were refused, with what the configuration says about it now."""
        return [self._completed(one) for one in self._application.logs.flights.refusals(source)]

    def _completed(self, one: RefusalFacts) -> RefusalFacts:
        connector = self._receive_connector(one.connector)
        table = f"receive_connectors {one.connector}"
        if (device := device_of(one)) and one.setting in DEVICE_LIMITS:
            table = f"devices {device}"
        origin, detail, nearest = "", one.detail, ""
        others: tuple[str, ...] = ()
        if one.setting:
            origin = self.origin(table, one.setting)
        elif one.text == "TLS handshake failed" and connector is not None:
            origin = self._own_chain(connector)
        if one.right and one.local_port:
            others = tuple(self._others(one))
        if one.status == "5.1.1":
            nearest = self._nearest_to(one.command)
        if one.status == "4.3.1" and not detail:
            detail = "; ".join(pressure_alarms(self._application.resources.facts()))
        return msgspec.structs.replace(one, origin=origin, detail=detail, others=others, nearest=nearest)

    def _receive_connector(self, name: str) -> ReceiveConnector | None:
        connectors = self._application.loaded.configuration.receive_connectors
        return next((one for one in connectors if one.name == name), None)

    def _others(self, one: RefusalFacts) -> Iterable[str]:
        """Connectors on the same port that would have granted the right, and why they were not chosen."""
        connectors = ReceiveConnectors(self._application.loaded.configuration.receive_connectors)
        for other, reason in connectors.match(one.local_ip, one.local_port, one.source).explain():
            granted = {right.value for right in rights_of(other, session_principal(other))}
            if other.enabled and one.right in granted:
                yield f"{other.name}: {reason}"

    def _own_chain(self, connector: ReceiveConnector) -> str:
        app = self._application
        path = connector.tls_certificate_file or app.loaded.configuration.server.tls_certificate_file
        if not path:
            return "The certificate is the self-signed one that was made at the first start."
        return chain_words(app.loaded.within(path), connector.fqdn or app.fqdn)

    # --- the scheduler -----------------------------------------------------------------------------------------------

    def queue_situation(self, state: QueueState, waits: int) -> Situation:
        """Where the scheduler stands with a queue."""
        dispatcher = self._application.dispatcher
        failing = dispatcher.commits.failing
        queue = dispatcher.queues.get(state.next_hop) if state.next_hop is not None else None
        if state.queue is not QueueKind.DELIVERY or queue is None:
            situation = stored_situation(state, waits)
            situation.store_fails = failing
            return situation
        return queue_situation(queue, max(0, waits - len(queue.active)), store_fails=failing)

    def message_situation(self, entry: QueuedItem, of_queue: Situation) -> Situation:
        """Where it stands with one message."""
        dispatcher = self._application.dispatcher
        queue = dispatcher.queues.get(entry.next_hop) if entry.next_hop is not None else None
        under_way = entry.id in queue.active if queue is not None else None
        of_priority = queue.priority_limit(entry.item.priority) if queue is not None and not under_way else None
        return message_situation(entry, of_queue, dispatcher.suspects.on_trial, under_way, of_priority)

    @property
    def workers(self) -> int:
        """How many share what is limited for the whole server."""
        return self._application.place.count

    def origin(self, table: str, setting: str) -> str:
        """Where a setting is set."""
        name, _, element = table.partition(" ")
        path: tuple[str | int, ...] = (name, setting)
        if element:
            elements = getattr(self._application.loaded.configuration, name)
            index = next((place for place, one in enumerate(elements) if one.name == element), -1)
            path = (name, index, setting)
        return self._application.loaded.findings.where(path) or "the default"

    def connector(self, next_hop: NextHop) -> ConnectorFacts:
        """The send connector of a queue."""
        found = self._send_connector(next_hop)
        if found is None:
            return ConnectorFacts(name=next_hop.connector)
        index, connector = found
        validates = connector.tls_auth_level not in (TlsAuthLevel.NONE, TlsAuthLevel.ENCRYPTION_ONLY)
        return ConnectorFacts(
            name=connector.name,
            origin=self._application.loaded.findings.where(("send_connectors", index)),
            tls_required=connector.require_tls or validates,
            tls_auth_level=connector.tls_auth_level.value,
            tls_domain=connector.tls_domain,
            ca_file=connector.tls_ca_file,
            certificate=connector.tls_certificate_file or connector.tls_certificate_name,
            sources=tuple(connector.source_ip_addresses),
            smart_hosts=tuple(connector.smart_hosts),
            user=connector.authentication_username,
            oauth=connector.smart_host_auth_mechanism is SmartHostAuthMechanism.OAUTH,
            max_message_size=int(connector.max_message_size),
        )

    def _send_connector(self, next_hop: NextHop) -> tuple[int, SendConnector] | None:
        connectors = self._application.loaded.configuration.send_connectors
        return next(((place, one) for place, one in enumerate(connectors) if one.name == next_hop.connector), None)

    # --- questions asked now -----------------------------------------------------------------------------------------

    async def ask_dns(self, next_hop: NextHop) -> tuple[list[DnsFacts], list[str]]:
        """What DNS says now about a next hop, and whether each resolver answers."""
        app = self._application
        found = self._send_connector(next_hop)
        chosen = list(found[1].dns_servers) if found is not None else []
        servers = chosen or list(app.loaded.configuration.server.dns_servers) or system_servers()
        resolver = Resolver(servers, clock=app.clock, timeout=_DNS_SECONDS, tries=1)
        single = [
            (server, Resolver([server], clock=app.clock, timeout=_DNS_SECONDS, tries=1)) for server in servers[:4]
        ]
        try:
            alive = asyncio.gather(*(one.question(ALIVE, "NS", server) for server, one in single))
            names = _names_of(next_hop, found[1] if found is not None else None)
            facts = await _in_time(self._about(resolver, names))
            return [*(facts or []), *(await _in_time(_awaited(alive)) or [])], servers
        finally:
            for one in (resolver, *(one for _, one in single)):
                await one.close()

    async def _about(self, resolver: Resolver, names: Sequence[str]) -> list[DnsFacts]:
        facts: list[DnsFacts] = list(await asyncio.gather(*(resolver.question(name, "MX") for name in names)))
        hosts = [host for fact in facts for host in (fact.values or (fact.name,)) if host][:_HOSTS_ASKED]
        questions = [resolver.question(host, kind) for host in hosts for kind in ("A", "AAAA")]
        return [*facts, *await asyncio.gather(*questions)]

    async def open_ports(self, attempts: Sequence[AttemptFacts]) -> list[int]:
        """Submission ports that answer where others do not."""
        addresses = list(dict.fromkeys(one.address for one in attempts))[:_ADDRESSES_PROBED]
        tried = {one.port for one in attempts}
        ports = [port for port in _PORTS_PROBED if port not in tried]
        probes = [(port, _answers(address, port)) for port in ports for address in addresses]
        answers = await asyncio.gather(*(probe for _, probe in probes))
        return sorted({port for (port, _), answered in zip(probes, answers, strict=True) if answered})

    # --- the directory -----------------------------------------------------------------------------------------------

    def _nearest_to(self, command: str) -> str:
        local_part, _, domain = command.partition("<")[2].partition(">")[0].rpartition("@")
        return self.nearest_recipient(Mailbox(local_part, domain)) if local_part and domain else ""

    def nearest_recipient(self, address: Mailbox) -> str:
        """An address of the directory that is much like this one."""
        wanted, domain = str(address).casefold(), address.domain_key
        known: list[str] = []
        try:
            recipients = cast(Iterable[Recipient], self._application.rooms.directory)
            for recipient in islice(iter(recipients), _DIRECTORY_READ):
                known += [
                    text
                    for text in map(str, recipient.email_addresses)
                    if text.casefold().endswith(f"@{domain}") and abs(len(text) - len(wanted)) <= 3
                ]
        except (DirectoryUnavailable, TypeError):
            return ""
        close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.8)
        return close[0] if close else ""


def _names_of(next_hop: NextHop, connector: SendConnector | None) -> list[str]:
    """Names that the mail of a queue depends on."""
    if next_hop.delivery_type is not DeliveryType.SMART_HOST:
        return [] if next_hop.domain.startswith("[") else [domain_key(next_hop.domain)]
    names = []
    for text in connector.smart_hosts if connector is not None else ():
        with contextlib.suppress(ValueError):
            host, _ = split_smart_host(text, 25)
            if not _is_address(host):
                names.append(domain_key(host))
    return names[:_HOSTS_ASKED]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _in_time(work: Coroutine[Any, Any, T]) -> T | None:
    try:
        async with asyncio.timeout(_ALL_SECONDS):
            return await work
    except TimeoutError:
        return None


async def _awaited(future: "asyncio.Future[T]") -> T:
    return await future


async def _answers(address: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
