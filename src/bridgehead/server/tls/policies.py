# SPDX-License-Identifier: MIT
"""What TLS a recipient domain's hosts would have to show, found out as delivery does it. Implements
`admin.tls.tls_policy.TlsPolicyDesk`."""

from typing import TYPE_CHECKING, Final

from bridgehead.admin.tls.tls_policy import HostPolicyView, StsView, TlsPolicyView, moment
from bridgehead.delivery.smtp_send.destination import Ourselves, Target, Unresolvable, resolve_destination
from bridgehead.delivery.smtp_send.domain_policy import DomainPolicies
from bridgehead.net.dns.resolver import Resolver
from bridgehead.net.dns.secure_resolver import SecureResolver
from bridgehead.routing.domain_tls import DomainTlsPolicy
from bridgehead.routing.next_hop import NextHop
from bridgehead.routing.settings import MtaStsMode, SendConnector
from bridgehead.routing.tls_policy import TlsUse, tls_policy

if TYPE_CHECKING:
    from bridgehead.server.app import Application

_HOSTS: Final = 10


class TlsPolicies:
    """Asks for operators."""

    def __init__(self, application: "Application") -> None:
        self._application = application

    async def show(self, domain: str) -> TlsPolicyView:
        """Everything that is known, and can be asked, of one domain."""
        app = self._application
        selection = app.rooms.connectors.select(domain, 0)
        view = TlsPolicyView(domain=domain)
        seen = app.domain_tls.shared.memory.seen(domain)
        if seen is not None:
            view.best_seen, view.seen_at = seen.best.name.lower(), moment(seen.at)
        connector, next_hop = selection.connector, selection.next_hop
        if not isinstance(connector, SendConnector) or next_hop is None:
            view.problem = "no send connector takes mail there by SMTP"
            return view
        view.connector = connector.name
        view.routed_by = "dns" if connector.routes_by_dns else "smart host"
        view.smtp_dane_mode, view.mta_sts_mode = connector.smtp_dane_mode.value, connector.mta_sts_mode.value
        view.tls_downgrade_mode = connector.tls_downgrade_mode.value
        dns = app.rooms.resolver.for_servers(connector.dns_servers)
        view.dnssec = _dnssec(dns)
        if connector.routes_by_dns and connector.mta_sts_mode is not MtaStsMode.NONE:
            view.sts = await self._sts(domain, dns)
        await self._hosts(view, connector, next_hop, dns)
        return view

    def forget(self, domain: str) -> bool:
        """Forget the best TLS seen."""
        return self._application.domain_tls.shared.memory.forget(domain)

    async def _sts(self, domain: str, dns: Resolver) -> StsView | None:
        sts = self._application.domain_tls.shared.sts
        answer = await sts.policy(domain, dns)
        if answer.policy is None:
            return StsView(problem=answer.failure) if answer.failure else None
        view = StsView(
            id=answer.id, mode=answer.policy.mode.value, mx=list(answer.policy.mx), problem=answer.failure
        )  # fmt: skip
        if (kept := sts.known(domain)) is not None:  # one with max_age 0 holds for one session and is not kept
            view.fetched_at, view.expires_at = moment(kept.fetched_at), moment(kept.expires_at)
        return view

    async def _hosts(
        self, view: TlsPolicyView, connector: SendConnector, next_hop: NextHop, dns: Resolver
    ) -> None:  # fmt: skip
        app = self._application
        found = await resolve_destination(next_hop, connector, dns, Ourselves(), lambda: 0.0)
        if isinstance(found, Unresolvable):
            view.problem = found.error
            return
        secure = app.loaded.configuration.tls.tls_send_domain_secure_list
        policies = DomainPolicies(next_hop, connector, dns, app.domain_tls.shared, app.clock)
        targets = {target.host: target for target in found}
        for target in list(targets.values())[:_HOSTS]:
            demand = tls_policy(connector, target.tls_name, secure, policies.domain)
            view.hosts.append(self._host(view.domain, target, await policies.policy(target, demand)))

    def _host(self, domain: str, target: Target, policy: DomainTlsPolicy) -> HostPolicyView:
        seen = self._application.domain_tls.shared.memory.seen(domain)
        best = seen.hosts.get(target.host) if seen is not None else None
        return HostPolicyView(
            host=target.host, policy=str(policy), demands=_demands(policy), refused=policy.refusal,
            only_tested=policy.testing,
            records=[str(one) for one in policy.records], evidence=list(policy.evidence),
            best_seen=best.name.lower() if best is not None else "",
        )  # fmt: skip


def _dnssec(dns: Resolver) -> str:
    if isinstance(dns, SecureResolver) and dns.is_trusted:
        return "validation by the DNS servers on this machine, or named in tls.dnssec_resolvers, is believed"
    return "no DNS server is believed to validate: DANE is out of use (tls.dnssec_resolvers)"


def _demands(policy: DomainTlsPolicy) -> str:
    """A policy in words."""
    if policy.refusal and not policy.testing:
        return "nothing: it is not used"
    if policy.use is TlsUse.NEVER:
        return "no TLS"
    if policy.use is TlsUse.OPPORTUNISTIC:
        return "TLS where it is offered, with any certificate"
    if policy.records:
        return "TLS with a certificate that the TLSA records vouch for"
    if policy.verify_chain:
        name = f" for {policy.match_name}" if policy.match_name else ""
        return f"TLS with a valid certificate{name}"
    return "TLS with any certificate"
