# SPDX-License-Identifier: MIT
"""A world in which recipient domains have TLS policies: signed DNS, policy hosts, mail hosts, and our own delivery."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from bridgehead.delivery.settings import DeliverySettings
from bridgehead.delivery.smtp_send.courier import SmtpCourierFactory
from bridgehead.delivery.smtp_send.domain_policy import OutboundTls
from bridgehead.delivery.smtp_send.tls_memory import TlsMemory
from bridgehead.diagnosis.facts import AttemptFacts
from bridgehead.mail.item import TlsRequirement
from bridgehead.mail.units import Duration
from bridgehead.net.certificates.server_trust import ServerTrust
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.secure_resolver import SecureResolver
from bridgehead.net.sts.policies import StsPolicies
from bridgehead.net.sts.policy_file import PolicyFile
from bridgehead.net.sts.policy_host import PolicyHosts
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import SendConnector
from bridgehead.tracking.ports import NoFlights
from bridgehead.tracking.tls_reports.port import PolicyType, TlsResult
from support.certificates import Authority, Pair
from support.policy_host import PolicyHostServer
from support.ports import free_port
from support.signed_dns import SignedDns
from support.sink import Sink
from support.work_source import ListLog, MemorySource, queued


def der_of(pair: Pair) -> bytes:
    """The first certificate of a pair."""
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).public_bytes(serialization.Encoding.DER)


def key_of(certificate: bytes) -> bytes:
    """A certificate's public key, as DER."""
    return (
        x509.load_der_x509_certificate(certificate)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def tlsa(certificate: bytes, usage: int = 3, selector: int = 1, matching: int = 1) -> str:
    """A TLSA record's data in zone-file form."""
    data = key_of(certificate) if selector == 1 else certificate
    data = {0: lambda: data, 1: hashlib.sha256(data).digest, 2: hashlib.sha512(data).digest}[matching]()
    return f"{usage} {selector} {matching} {data.hex()}"


def with_chain(pair: Pair, authority: Authority) -> Pair:
    """The same pair, with its authority's certificate sent as well."""
    path = pair.certificate.with_suffix(".chain.pem")
    path.write_bytes(pair.certificate.read_bytes() + authority.root.read_bytes())
    return Pair(path, pair.key)


@dataclass
class Sent:
    """What became of one message. `error`: "" where it was taken."""

    error: str = ""
    permanent: bool = False
    status: str = ""
    note: str = ""


class Alarms:
    """Keeps what is raised."""

    def __init__(self) -> None:
        self.raised: dict[str, str] = {}

    def raise_(self, id: str, severity: object, text: str, remedy: str = "") -> None:
        self.raised[id] = text

    def clear(self, id: str) -> None:
        self.raised.pop(id, None)


class Results(list[TlsResult]):
    """Keeps results."""

    def record(self, result: TlsResult) -> None:
        self.append(result)


class Kept(NoFlights):
    """Keeps failed sessions."""

    def __init__(self) -> None:
        self.failures: list[AttemptFacts] = []

    def failed(self, facts: AttemptFacts) -> None:
        self.failures.append(facts)


class PolicyWorld:
    """All of it. Mail hosts have addresses of their own, 127.0.0.x, and one port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder / "ca")
        self.strangers = Authority(folder / "strangers", "Strangers' Root")
        self.dns = SignedDns(folder)
        self.hosts = PolicyHostServer()
        self.port = free_port()
        self.clock = SystemClock()
        self.sinks: list[Sink] = []
        self.seconds = 3.0
        self.resolver: SecureResolver | None = None
        self.forget_all()

    def forget_all(self) -> None:
        """As after a restart; the file of policies stays."""
        self.alarms, self.results, self.flights, self.log = Alarms(), Results(), Kept(), ListLog()
        self.faults: list[str] = []
        self.file = PolicyFile(self.folder / "policies.db", lambda problem: self.faults.append(problem))
        hosts = PolicyHosts(ca_file=str(self.authority.root), port=self.hosts.port, seconds=self.seconds)
        sts = StsPolicies(self.file, hosts, self._not_fetched, self.clock)
        memory = TlsMemory(self.file, self.alarms, self.clock.now)
        self.shared = OutboundTls(sts, memory, self.results, ServerTrust(self.clock.monotonic))
        sts.load()
        memory.load()
        self.resolver = None

    def _not_fetched(self, domain: str, result: object, reason: str) -> None:
        self.results.record(
            TlsResult(domain=domain, policy_type=PolicyType.STS, result=result, information=reason)  # type: ignore[arg-type]
        )

    def tlsa_name(self, host: str = "mx") -> str:
        return f"_{self.port}._tcp.{host}"

    def mail_host(self, address: str, pair: Pair | None, **behaviour: object) -> Sink:
        """A mail host; without a pair it has no TLS."""
        context = pair.server_context() if pair is not None else None
        sink = Sink(address=address, port=self.port, context=context, **behaviour)
        self.sinks.append(sink)
        return sink

    def factory(self, **connector: object) -> SmtpCourierFactory:
        """What delivers, by one connector."""
        values: dict[str, object] = {"port": self.port, "tls_ca_file": str(self.authority.root), **connector}
        made = SendConnector(name="out", address_spaces=["*"], **values)  # type: ignore[arg-type]
        if self.resolver is None:
            self.resolver = SecureResolver([self.dns.address], clock=self.clock, timeout=2, tries=1, hosts={})
        return SmtpCourierFactory(
            {"out": made}, DeliverySettings(connect_timeout=Duration(seconds=3)), "me.example", [], self.resolver,
            self.clock, random.random, self.log, self.log, flights=self.flights, outbound_tls=self.shared,
        )  # fmt: skip

    async def send(
        self, domain: str, requirement: TlsRequirement = TlsRequirement.NONE, *, sender: str = "a@example.com",
        factory: SmtpCourierFactory | None = None, **connector: object,
    ) -> Sent:  # fmt: skip
        """Deliver one message to a domain."""
        source = MemorySource([queued(recipients=[f"b@{domain}"], sender=sender, tls_requirement=requirement)])
        next_hop = NextHop(DeliveryType.DNS_CONNECTOR, domain, "out", requirement)
        courier = (factory or self.factory(**connector)).courier(next_hop, source)
        courier.wake()
        try:
            await source._until(lambda: bool(source.attempts or source.failures), 20)
        finally:
            await courier.close()
        if source.failures:
            error, permanent, status = source.failures[0]
            return Sent(error, permanent, status)
        (attempt,) = source.attempts.values()
        status = attempt.statuses[0]
        return Sent("" if status.status[0] == "2" else status.diagnostic, note=attempt.tls, status=status.status)

    async def rest(self) -> None:
        """Write what is to be written; nothing of this event loop stays."""
        await self.file.close()
        if self.resolver is not None:
            await self.resolver.close()

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()
        self.hosts.close()
        self.dns.stop()
