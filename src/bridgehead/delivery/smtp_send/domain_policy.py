# SPDX-License-Identifier: MIT
"""Finds out what TLS each host of a next hop must show: DNS for DANE, the domain's MTA-STS policy.

What is decided from it is `routing/domain_tls.py`'s. Asked once for each session that is opened, never for a message.
"""

import msgspec

from bridgehead.delivery.smtp_send.destination import Target
from bridgehead.delivery.smtp_send.tls_memory import TlsMemory
from bridgehead.mail.address import domain_key
from bridgehead.mail.item import TlsRequirement
from bridgehead.net.certificates.server_trust import ServerTrust
from bridgehead.net.clock import Clock
from bridgehead.net.dns.dane_lookup import DaneLookup
from bridgehead.net.dns.resolver import Resolver
from bridgehead.net.dns.secure_resolver import SecureResolver
from bridgehead.net.smtp_client import SmtpClient
from bridgehead.net.sts.policies import StsPolicies
from bridgehead.routing.domain_tls import (
    NO_DANE,
    NO_STS,
    DaneAnswer,
    DaneOutcome,
    DomainTlsPolicy,
    HostFindings,
    StsAnswer,
    TlsLevel,
    host_policy,
)
from bridgehead.routing.next_hop import NextHop
from bridgehead.routing.settings import MtaStsMode, SendConnector, SmtpDaneMode
from bridgehead.routing.tls_policy import TlsPolicy, TlsUse
from bridgehead.tracking.tls_reports.port import TlsResults


class OutboundTls(msgspec.Struct):
    """What is shared by all couriers, and outlives a reload."""

    sts: StsPolicies
    memory: TlsMemory
    results: TlsResults
    trust: ServerTrust


class DomainPolicies:
    """The policies of one next hop.

    Args:
        shared: None where nothing is known of domains: then the connector alone counts, and DANE.
        dns: what the connector asks.
    """

    def __init__(
        self, next_hop: NextHop, connector: SendConnector, dns: object, shared: OutboundTls | None, clock: Clock
    ) -> None:  # fmt: skip
        self.domain = ""
        if connector.routes_by_dns and not next_hop.domain.startswith("["):
            self.domain = domain_key(next_hop.domain)
        self.connector = connector
        self.requirement = next_hop.tls_requirement
        self.shared = shared
        self._dns = dns
        self._dane = DaneLookup(dns, clock) if isinstance(dns, SecureResolver) else None

    async def policy(self, target: Target, demand: TlsPolicy) -> DomainTlsPolicy:
        """What one host must show, over what the connector demands."""
        decided = demand.verify_chain or demand.mutual or demand.use is TlsUse.NEVER
        heeded = bool(self.domain) and self.requirement is not TlsRequirement.OPTIONAL and not decided
        dane = await self._dane_of(target) if heeded else NO_DANE
        wanted = dane.outcome in (DaneOutcome.ABSENT, DaneOutcome.UNTRUSTED) or self.requirement
        sts = await self._sts() if heeded and wanted else NO_STS
        found = HostFindings(
            host=target.host if self.domain else target.tls_name, domain=self.domain,
            mx_is_secure=target.mx_is_secure, dane=dane, sts=sts,
        )  # fmt: skip
        return host_policy(self.connector, self.requirement, demand, found)

    async def level(self, client: SmtpClient, host: str, policy: DomainTlsPolicy) -> TlsLevel | None:
        """How good a session's TLS is, also where nobody demanded that its certificate be checked; None where it cannot
        be told."""
        if client.tls is None:
            return TlsLevel.NONE
        if policy.level is not TlsLevel.ENCRYPTED or self.shared is None:
            return policy.level
        vouched = await self.shared.trust.vouches(
            client.sent_chain, host, ca_file=self.connector.tls_ca_file, resumed=client.resumed
        )
        return None if vouched is None else TlsLevel.VERIFIED if vouched else TlsLevel.ENCRYPTED

    async def _dane_of(self, target: Target) -> DaneAnswer:
        if self.connector.smtp_dane_mode is SmtpDaneMode.NONE:
            return NO_DANE
        if self._dane is None:
            return DaneAnswer(DaneOutcome.UNTRUSTED, reason="no DNS server is trusted to validate")
        return await self._dane.host(target.host, target.port, mx_is_secure=target.mx_is_secure)

    async def _sts(self) -> StsAnswer:
        if self.shared is None or self.connector.mta_sts_mode is MtaStsMode.NONE:
            return NO_STS
        return await self.shared.sts.policy(self.domain, self._dns) if isinstance(self._dns, Resolver) else NO_STS
