# SPDX-License-Identifier: MIT
"""Putting a new certificate in the place of an old one, and back: only what passed the check, unless it is forced
(Import-ExchangeCertificate and Enable-ExchangeCertificate in one)."""

import asyncio
from collections.abc import Collection
from typing import Protocol

from bridgehead.admin.faults import FAILED, INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.probe.steps import Verdict
from bridgehead.admin.tls.certificate_check import Candidate, PublishedKeys, check_candidate, read_candidate
from bridgehead.admin.tls.certificate_site import CertificateSite
from bridgehead.admin.tls.certificate_views import CertificateBound, CertificateCheck, RenewalView
from bridgehead.admin.tls.dns_check import DnsRecords, DnsSite
from bridgehead.msgauth.lookup import AuthenticationLookup
from bridgehead.net.certificates.chain import read_bounded
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair


class DnsResolver(DnsRecords, Protocol):
    """A resolver of one use."""

    async def close(self) -> None:
        """Give up what is under way."""


class Renewals(Protocol):
    """Certificates that ACME fetches and renews."""

    def views(self) -> list[RenewalView]:
        """Each that is configured."""

    def start(self, name: str) -> RenewalView:
        """Renew now, whatever its dates. One that is under way is not started again. Raises AdminFault."""


class CertificateDesk(Protocol):
    """What the running server does for certificates."""

    def site(self) -> CertificateSite:
        """Connectors and certificates of this moment."""

    async def tlsa(self, host: str, port: int) -> PublishedKeys:
        """TLSA records that DNS has now."""

    async def dns(self) -> "tuple[DnsSite, DnsResolver, AuthenticationLookup]":
        """What `dns check` needs, with a resolver that has cached nothing; the caller closes it."""

    def put_in_force(self, forced: Collection[CertificatePair]) -> None:
        """Choose among the certificates on the disk from now on; `forced` ones though they are worse."""

    @property
    def renewals(self) -> Renewals:
        """ACME."""


async def check_pair(desk: CertificateDesk, certificate: str, key: str, name: str) -> CertificateCheck:
    """What would come of binding a pair, PEM. Raises AdminFault."""
    candidate = await asyncio.to_thread(read_candidate, certificate.encode(), key.encode(), name)
    return await check_candidate(desk.site(), candidate, desk.tlsa)


async def bind_pair(desk: CertificateDesk, certificate: str, key: str, name: str, *, force: bool) -> CertificateBound:
    """Check a pair, keep it, and put it in force. Raises AdminFault with the reasons where it fails the check."""
    candidate = await asyncio.to_thread(read_candidate, certificate.encode(), key.encode(), name)
    return await bind_candidate(desk, candidate, force=force)


async def bind_candidate(desk: CertificateDesk, candidate: Candidate, *, force: bool) -> CertificateBound:
    """As `bind_pair`, of what was read before."""
    site = desk.site()
    check = await check_candidate(site, candidate, desk.tlsa)
    failures = [one for one in check.findings if one.verdict is Verdict.FAILURE]
    unusable = next((one for one in failures if "key" in one.sentence and one.subject == "the certificate"), None)
    if unusable is not None:
        raise AdminFault(INVALID, unusable.sentence, unusable.remedy)
    if failures and not force:
        reasons = "; ".join(f"{one.subject}: {one.sentence}" for one in failures)
        remedy = next((one.remedy for one in failures if one.remedy), "")
        raise AdminFault(
            FAILED, f"the certificate in use stays: {reasons}", f"{remedy}; --force binds it nevertheless".lstrip("; ")
        )
    try:
        pair = await asyncio.to_thread(
            site.folder.install, candidate.name, candidate.certificate, candidate.key, site.now
        )  # fmt: skip
    except (CertificateError, OSError) as error:
        raise AdminFault(FAILED, f"the certificate cannot be kept: {error}", "see the data directory") from error
    desk.put_in_force([pair] if force else [])
    return CertificateBound(
        name=candidate.name, fingerprint=candidate.facts.leaf.fingerprint, forced=bool(failures), check=check
    )  # fmt: skip


async def roll_back(desk: CertificateDesk, name: str, *, force: bool) -> CertificateBound:
    """Bring back the version before the current one, after the same check. Raises AdminFault."""
    site = desk.site()
    try:
        previous = await asyncio.to_thread(site.folder.previous, name)
        if previous is None:
            raise AdminFault(NOT_FOUND, f"no version of {name} before the current one is kept", "bind it anew")
        certificate, key = read_bounded(previous.certificate), read_bounded(previous.key)
    except CertificateError as error:
        raise AdminFault(INVALID, str(error)) from None
    candidate = await asyncio.to_thread(read_candidate, certificate, key, name)
    return await bind_candidate(desk, candidate, force=force)
