# SPDX-License-Identifier: MIT
"""The check of a new certificate against everybody who would show it, before it goes live (Enable-ExchangeCertificate
asks none of this).

Who would show it is found by choosing with it in its place; what speaks against it are the rules of
`net/certificates/change.py`, a handshake in memory with each connector's own versions and ciphers, and the TLSA records
that DNS has for the old key.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.probe.steps import Verdict, worst
from bridgehead.admin.tls.certificate_site import Certificates, CertificateSite, CertificateUser
from bridgehead.admin.tls.certificate_views import CertificateCheck, CheckFinding
from bridgehead.admin.tls.certificates import chain_warnings, how_chosen
from bridgehead.net.certificates.chain import ChainFacts, check_key, read_chain
from bridgehead.net.certificates.change import change_problems
from bridgehead.net.certificates.folder import folder_name
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair, in_memory, make_server_context
from bridgehead.routing.dane import TlsaRecord
from bridgehead.routing.tls_policy import name_matches

_SMTP_PORT: Final = 25
_THE_CERTIFICATE: Final = "the certificate"


class PublishedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """TLSA records of a host, or why they are not known."""

    records: tuple[TlsaRecord, ...] = ()
    problem: str = ""


class TlsaLookup(Protocol):
    """Asks DNS."""

    def __call__(self, host: str, port: int) -> Awaitable[PublishedKeys]:
        """TLSA records of a host; validated or not: published is published."""


class Candidate(msgspec.Struct, frozen=True):
    """A new certificate with its chain, and its key, PEM."""

    certificate: bytes
    key: bytes
    name: str
    facts: ChainFacts


def read_candidate(certificate: bytes, key: bytes, name: str) -> Candidate:
    """What somebody wants bound. Raises AdminFault.

    Args:
        name: under which it is to be kept; "" for its first name.
    """
    try:
        facts = read_chain(certificate)
    except CertificateError as error:
        raise AdminFault(INVALID, str(error), "give a PEM file: the certificate, then its intermediates") from None
    name = folder_name(name or next(iter(facts.leaf.names), ""))
    return Candidate(certificate, key, name, facts)


async def check_candidate(site: CertificateSite, candidate: Candidate, tlsa: TlsaLookup) -> CertificateCheck:
    """Everything that speaks for and against it. Raises AdminFault."""
    try:
        pair = site.folder.pair(candidate.name)
    except CertificateError as error:
        raise AdminFault(INVALID, str(error), "bridgehead certificate bind --name mail.contoso.com") from None
    check = _Check(site, candidate, pair)
    await asyncio.to_thread(check.run)
    for name, port in check.published_names():
        await check.published(name, port, tlsa)
    leaf = candidate.facts.leaf
    return CertificateCheck(
        name=candidate.name,
        names=list(leaf.names),
        fingerprint=leaf.fingerprint,
        not_after=datetime.fromtimestamp(leaf.not_after, UTC),
        replaces=check.replaces,
        verdict=worst([one.verdict for one in check.findings]),
        findings=check.findings,
    )


class _Check:
    """One check under way."""

    def __init__(self, site: CertificateSite, candidate: Candidate, pair: CertificatePair) -> None:
        self._site, self._candidate, self._pair = site, candidate, pair
        self._new = candidate.facts
        self.findings: list[CheckFinding] = []
        self.showing: list[CertificateUser] = []
        self.replaces = ""

    def run(self) -> None:
        """Blocks for the disk."""
        before, after = Certificates(self._site), Certificates(self._site, {self._pair: self._new})
        old = _facts_or_none(before, self._pair)
        self.replaces = old.leaf.fingerprint if old else ""
        if not self._by_itself(old):
            return
        for user in self._site.users:
            self._for_user(user, before, after)
        if not self.showing:
            self._say(
                Verdict.WARNING, _THE_CERTIFICATE,
                f"no connector would show it by default: none is known as {', '.join(self._new.leaf.names[:3])}",
                "clients that ask for its names get it (SNI); set fqdn or tls_certificate_name of a connector",
            )  # fmt: skip

    def _by_itself(self, old: ChainFacts | None) -> bool:
        """False where nobody could show it at all, so that nothing is to be said of connectors."""
        problem = check_key(self._candidate.key, self._new.ders[0])
        self._say_either(problem, "the key belongs to it", "give the key that the request was made with")
        for one in change_problems(old, self._new, now=self._site.now):
            self._say(Verdict.FAILURE, _THE_CERTIFICATE, one, _remedy(one))
        if self._new.complete and self._new.trusted:
            count = self._new.leaf.chain_length
            self._say(Verdict.PASS, _THE_CERTIFICATE, f"its chain of {count} leads to a trust anchor of this system")
        for warning in chain_warnings(self._new):
            incomplete = bool(self._new.missing) and (old is None or old.complete)
            told = any("incomplete" in one.sentence or "broken" in one.sentence for one in self.findings)
            if not told:
                self._say(Verdict.FAILURE if incomplete else Verdict.WARNING, _THE_CERTIFICATE, warning)
        lost = [name for name in old.leaf.names if not name_matches(self._new.leaf.names, name)] if old else []
        if lost:
            self._say(
                Verdict.WARNING, _THE_CERTIFICATE, f"clients that ask for {', '.join(lost[:5])} get another certificate"
            )
        return not problem and self._new.leaf.not_after > self._site.now

    def _for_user(self, user: CertificateUser, before: Certificates, after: Certificates) -> None:
        former = _shown_or_none(before, user)
        try:
            chosen = after.shown_by(user)
        except CertificateError as error:
            if former is not None:
                self._say(
                    Verdict.FAILURE, user.label, f"would have no certificate: {error}",
                    "pin it by a name that it carries: tls_certificate_name",
                )  # fmt: skip
            return
        if chosen != self._pair:
            self._passed_over(user, former, chosen, after)
            return
        self.showing.append(user)
        old = _facts_or_none(before, former) if former is not None else None
        problems = change_problems(
            old, self._new, fqdn=user.fqdn, pin=user.tls.pin, now=self._site.now, as_client=user.client
        )  # fmt: skip
        about = {one.sentence for one in self.findings if one.subject == _THE_CERTIFICATE}
        found = [one for one in problems if one not in about]
        for one in found:
            self._say(Verdict.FAILURE, user.label, one, _remedy(one))
        if not user.client and not self._trial(user):
            return
        if not problems:
            self._say(Verdict.PASS, user.label, f"would show it {how_chosen(user, self._new)}")

    def _passed_over(
        self, user: CertificateUser, former: CertificatePair | None, chosen: CertificatePair, after: Certificates
    ) -> None:  # fmt: skip
        if former == self._pair:
            facts = _facts_or_none(after, chosen)
            instead = ", ".join(facts.leaf.names[:3]) if facts else str(chosen.certificate)
            self._say(
                Verdict.FAILURE, user.label, f"shows the one in use and would show that of {instead} instead",
                f"have {user.fqdn or user.tls.pin} among the names of the new one",
            )  # fmt: skip
        elif user.fqdn and name_matches(self._new.leaf.names, user.fqdn):
            if user.tls.certificate_file:
                sentence = f"is not reached: it shows its own file {user.tls.certificate_file}"
                remedy = "remove tls_certificate_file and tls_key_file, and it chooses by its name"
                self._say(Verdict.WARNING, user.label, sentence, remedy)
            else:
                self._say(
                    Verdict.WARNING, user.label, f"goes on showing {chosen.certificate}, which lasts longer",
                    "remove that entry of [[certificates]]",
                )  # fmt: skip

    def _trial(self, user: CertificateUser) -> bool:
        """A handshake as this connector would do it."""
        try:
            _shake_hands(user, self._candidate)
        except (CertificateError, ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or str(error)
            sentence = f"a handshake with it fails: {str(reason).replace('_', ' ').lower()}"
            self._say(Verdict.FAILURE, user.label, sentence, "see tls_minimum_version and tls_ciphers")
            return False
        return True

    def published_names(self) -> dict[tuple[str, int], CertificateUser]:
        """Host and port of the TLSA records that the connectors which would show it may have, with the first of
        these."""
        found: dict[tuple[str, int], CertificateUser] = {}
        for user in self.showing:
            if user.fqdn and not user.client:
                for port in [_SMTP_PORT] if _SMTP_PORT in user.ports else [_SMTP_PORT, *user.ports]:
                    found.setdefault((user.fqdn, port), user)
        return found

    async def published(self, name: str, port: int, tlsa: TlsaLookup) -> None:
        """Whether TLSA records of a host still agree: senders with DANE refuse a key that DNS does not know."""
        user, where = self.published_names()[name, port], f"_{port}._tcp.{name}"
        found = await tlsa(name, port)
        if found.problem:
            self._say(Verdict.WARNING, user.label, f"TLSA records of {where} are not known: {found.problem}")
        elif found.records and not agrees(found.records, self._new.ders):
            self._say(
                Verdict.FAILURE, user.label,
                f"DNS has TLSA records for {where} of another key: senders with DANE would keep their mail",
                f"publish beside them: {where}. IN TLSA {tlsa_for(self._new.ders[0])}; bind it after their TTL",
            )  # fmt: skip
        elif found.records:
            self._say(Verdict.PASS, user.label, f"the TLSA records of {where} know its key")

    def _say_either(self, problem: str, good: str, remedy: str) -> None:
        verdict = Verdict.FAILURE if problem else Verdict.PASS
        self._say(verdict, _THE_CERTIFICATE, problem or good, remedy if problem else "")

    def _say(self, verdict: Verdict, subject: str, sentence: str, remedy: str = "") -> None:
        self.findings.append(CheckFinding(verdict=verdict, subject=subject, sentence=sentence, remedy=remedy))


def agrees(records: Sequence[TlsaRecord], chain: Sequence[bytes]) -> bool:
    """Whether a usable record is of the certificate or of an authority behind it."""
    usable = [one for one in records if one.is_usable]
    return not usable or any(
        one.matches(certificate) for one in usable for certificate in (chain[:1] if one.usage == 3 else chain[1:])
    )


def tlsa_for(certificate: bytes) -> TlsaRecord:
    """The record to publish for a certificate (DER): its public key by SHA-256 (RFC 7672 §3.1.1)."""
    import hashlib

    from bridgehead.routing.dane import public_key_of

    return TlsaRecord(3, 1, 1, hashlib.sha256(public_key_of(certificate)).digest())


def _remedy(problem: str) -> str:
    if "missing from the file" in problem:
        return "append it: most authorities give it as fullchain.pem"
    if "expired" in problem or "valid only from" in problem:
        return "renew it"
    if "Authentication usage" in problem:
        return "ask the authority for one that has it"
    if "the pin" in problem:
        return "set tls_certificate_name to a name that it carries"
    return ""


def _facts_or_none(known: Certificates, pair: CertificatePair) -> ChainFacts | None:
    try:
        return known.facts(pair)
    except CertificateError:
        return None


def _shown_or_none(known: Certificates, user: CertificateUser) -> CertificatePair | None:
    try:
        return known.shown_by(user)
    except CertificateError:
        return None


def _shake_hands(user: CertificateUser, candidate: Candidate) -> None:
    """A handshake in memory with what the connector asks of TLS. Raises CertificateError, ssl.SSLError, OSError."""
    options = msgspec.structs.replace(user.tls.options, ask_client=False)
    with in_memory(candidate.certificate) as certificate, in_memory(candidate.key) as key:
        server_context = make_server_context(CertificatePair(certificate, key), options)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up)
    server = server_context.wrap_bio(up, down, server_side=True)
    waiting: list[Callable[[], None]] = [client.do_handshake, server.do_handshake]
    for _ in range(10):
        for step in list(waiting):
            try:
                step()
                waiting.remove(step)
            except ssl.SSLWantReadError:
                continue
    if waiting:
        raise CertificateError("it does not come to an end")
