# SPDX-License-Identifier: MIT
"""What TLS would be demanded of a recipient domain's mail hosts, and why; and what it has shown before."""

from datetime import UTC, datetime
from typing import Protocol

import msgspec

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.mail.address import AddressError, parse_domain


class HostPolicyView(msgspec.Struct, kw_only=True):
    """One mail host.

    Attributes:
        policy: whose demand counts: "connector", "dane", "mta-sts:enforce", "mta-sts:testing".
        demands: in words.
        refused: why the host would not be used at all, "" where it would.
        only_tested: the policy is in testing mode: what it demands or refuses is reported, and mail goes all the same.
        records: usable TLSA records.
        evidence: what was asked of DNS and policy host, and what came.
        best_seen: the best TLS that the host showed before, "" for nothing yet.
    """

    host: str
    policy: str
    demands: str
    refused: str = ""
    only_tested: bool = False
    records: list[str] = []
    evidence: list[str] = []
    best_seen: str = ""


class StsView(msgspec.Struct, kw_only=True):
    """The MTA-STS policy that holds. `problem`: why there is none, or no newer one could be fetched."""

    id: str = ""
    mode: str = ""
    mx: list[str] = []
    fetched_at: datetime | None = None
    expires_at: datetime | None = None
    problem: str = ""


class TlsPolicyView(msgspec.Struct, kw_only=True):
    """One recipient domain.

    Attributes:
        connector: the send connector that mail there takes; "" where there is none.
        dnssec: whose word on DNSSEC counts, in words.
        problem: why there are no hosts, "" where there are.
        best_seen: the best TLS that the domain showed before; `seen_at`: when last.
    """

    domain: str
    connector: str = ""
    routed_by: str = ""
    smtp_dane_mode: str = ""
    mta_sts_mode: str = ""
    tls_downgrade_mode: str = ""
    dnssec: str = ""
    problem: str = ""
    hosts: list[HostPolicyView] = []
    sts: StsView | None = None
    best_seen: str = ""
    seen_at: datetime | None = None


class Forgotten(msgspec.Struct, kw_only=True):
    """The domain's best TLS is no longer remembered."""

    domain: str


class TlsPolicyDesk(Protocol):
    """Who knows."""

    async def show(self, domain: str) -> TlsPolicyView:
        """Asks DNS and, where a policy is announced and not known, the policy host."""

    def forget(self, domain: str) -> bool:
        """Forget the best TLS seen; False where nothing was known."""


def domain_of(text: str) -> str:
    """A domain as A-labels in lower case. Raises AdminFault."""
    try:
        return parse_domain(text.rpartition("@")[2].rstrip(".")).lower()
    except AddressError as error:
        raise AdminFault(INVALID, f'"{text}" is no domain: {error}', "name one such as contoso.com") from None


def forget(desk: TlsPolicyDesk, text: str) -> Forgotten:
    """Forget the best TLS seen of a domain. Raises AdminFault where nothing was known."""
    domain = domain_of(text)
    if not desk.forget(domain):
        raise AdminFault(NOT_FOUND, f"nothing is remembered of {domain}", f"bridgehead tls-policy show {domain}")
    return Forgotten(domain=domain)


def moment(unix: float) -> datetime | None:
    """A time, None for 0."""
    return datetime.fromtimestamp(unix, UTC) if unix else None
