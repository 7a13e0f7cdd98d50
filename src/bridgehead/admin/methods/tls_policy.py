# SPDX-License-Identifier: MIT
"""Methods about the TLS of recipient domains: show, forget."""

from collections.abc import Sequence
from typing import Final

import msgspec

from bridgehead.admin.merge import Ask, Merge
from bridgehead.admin.method import Caller, Method, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.tls.tls_policy import Forgotten, TlsPolicyView, domain_of
from bridgehead.admin.tls.tls_policy import forget as forget_domain


class Domain(msgspec.Struct, forbid_unknown_fields=True):
    """A recipient domain, or an address in it."""

    domain: str


async def show(server: RunningServer, params: Domain, _: Caller) -> TlsPolicyView:
    """What TLS would be demanded of a domain's mail hosts, and why: DANE, MTA-STS, connector, and the best TLS seen.
    Asks DNS, and policy hosts where need be."""
    return await server.tls_policies.show(domain_of(params.domain))


async def forget(server: RunningServer, params: Domain, _: Caller) -> Forgotten:
    """Forget the best TLS that a domain has shown, as after a change that is meant: what comes next is the best."""
    return forget_domain(server.tls_policies, params.domain)


def _best(answers: Sequence[TlsPolicyView], _: Domain) -> TlsPolicyView:
    """Each worker remembers what its own mail met: what a host showed any of them, of the domain what was seen last."""
    first = answers[0]
    latest = max(answers, key=lambda one: one.seen_at.timestamp() if one.seen_at is not None else 0.0)
    seen = {host.host: host.best_seen for one in answers for host in one.hosts if host.best_seen}
    hosts = [msgspec.structs.replace(one, best_seen=one.best_seen or seen.get(one.host, "")) for one in first.hosts]
    return msgspec.structs.replace(first, hosts=hosts, best_seen=latest.best_seen, seen_at=latest.seen_at)


METHODS: Final = {
    "tls_policy.show": Method(
        params=Domain,
        result=TlsPolicyView,
        answer=show,
        role=Role.VIEWER,
        route="GET /tls-policies/{domain}",
        merge=Merge(Ask.ALL, _best),
    ),
    "tls_policy.forget": Method(
        params=Domain,
        result=Forgotten,
        answer=forget,
        role=Role.OPERATOR,
        route="POST /tls-policies/{domain}/forget",
        merge=Merge(Ask.KNOWING),
    ),
}
