# SPDX-License-Identifier: MIT
"""Methods about the TLS of recipient domains: show, forget."""

from typing import Final

import msgspec

from bridgehead.admin.merge import FIRST, Ask, Merge
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


METHODS: Final = {
    "tls_policy.show": Method(
        params=Domain,
        result=TlsPolicyView,
        answer=show,
        role=Role.VIEWER,
        route="GET /tls-policies/{domain}",
        merge=FIRST,
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
