# SPDX-License-Identifier: MIT
"""The method about DNS records that belong to this server."""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.merge import FIRST
from bridgehead.admin.method import Caller, Method, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.tls.dns_check import check_dns
from bridgehead.admin.tls.dns_records import DnsReport
from bridgehead.mail.address import domain_key


class DnsCheckWanted(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`domains`: accepted domains, separated by commas; "" for all."""

    domains: Annotated[str, msgspec.Meta(max_length=10_000)] = ""


async def check(server: RunningServer, params: DnsCheckWanted, _: Caller) -> DnsReport:
    """Records to publish for our domains and hosts, beside what DNS says now."""
    site, dns, lookup = await server.certificate_desk.dns()
    try:
        return await check_dns(site, dns, lookup, _chosen(params.domains, site.domains))
    finally:
        await dns.close()


def _chosen(text: str, known: Sequence[str]) -> list[str]:
    """Raises AdminFault."""
    try:
        domains = [domain_key(one.strip()) for one in text.split(",") if one.strip()]
    except ValueError as error:
        raise AdminFault(INVALID, str(error)) from None
    for one in domains:
        if one not in known:
            raise AdminFault(NOT_FOUND, f"{one} is no accepted domain", f"these are: {', '.join(known)}")
    return domains


METHODS: Final = {
    "dns.check": Method(
        params=DnsCheckWanted, result=DnsReport, answer=check, role=Role.VIEWER, route="GET /dns-check",
        merge=FIRST,
    ),
}  # fmt: skip
