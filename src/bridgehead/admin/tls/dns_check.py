# SPDX-License-Identifier: MIT
"""`dns check`: the records that belong to our domains and hosts, beside what DNS says now.

For each accepted domain: MX, SPF (RFC 7208), DKIM, DMARC, MTA-STS (RFC 8461), TLS-RPT (RFC 8460). For each name that
connectors use: addresses, the names of our addresses (PTR), TLSA for the certificates in use and to come (RFC 7672).
Only what is there is judged; what could be published is said and never counts as a failure.
"""

from collections.abc import Awaitable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from bridgehead.admin.probe.steps import Verdict, worst
from bridgehead.admin.tls.certificate_check import agrees, tlsa_for
from bridgehead.admin.tls.dns_records import DnsRecordCheck, DnsReport, PolicyFile, quoted
from bridgehead.admin.tls.own_policies import POLICY_HOST, policy_record, policy_text
from bridgehead.msgauth.lookup import AuthenticationLookup
from bridgehead.msgauth.spf import SpfVerdict, check_spf
from bridgehead.net.certificates.chain import ChainFacts
from bridgehead.net.dns.resolver import Outcome, Records
from bridgehead.routing.dane import TlsaRecord, tlsa_record
from bridgehead.routing.mta_sts import StsMode, StsPolicy, policy_id
from bridgehead.tracking.tls_reports.making import destinations

_FAILURE, _WARNING, _PASS, _NOTE = Verdict.FAILURE, Verdict.WARNING, Verdict.PASS, Verdict.NOTE
_SHOWN: Final = 20


class DnsRecords(Protocol):
    """Asks DNS, past every cache of ours."""

    def records(self, name: str, kind: str) -> Awaitable[Records]:
        """Any records; never raises for what DNS says."""


class HostKeys(msgspec.Struct, frozen=True, kw_only=True):
    """A name by which we are known.

    Attributes:
        receives: mail comes to it, to `ports`.
        sends: it is said in EHLO.
        current: the certificate that is shown; None where there is none.
        coming: others that carry the name, or wait to be bound.
    """

    name: str
    receives: bool = False
    sends: bool = False
    ports: Sequence[int] = ()
    current: ChainFacts | None = None
    coming: Sequence[ChainFacts] = ()


class DnsSite(msgspec.Struct, frozen=True, kw_only=True):
    """What the records are derived from.

    Attributes:
        domains: accepted ones, in A-label form.
        hosts: names of connectors.
        egress: addresses that our mail comes from; empty where they are not known.
        policy: of our own; `policy_domains` have it, `policy_served` by this server.
        report_address: where TLS reports go; "" for postmaster of each domain.
        now: Unix time.
    """

    domains: Sequence[str]
    hosts: Sequence[HostKeys]
    egress: Sequence[str]
    policy: StsPolicy
    policy_domains: Sequence[str]
    policy_served: bool
    now: float
    report_address: str = ""

    @property
    def mail_hosts(self) -> list[str]:
        return [one.name for one in self.hosts if one.receives]


async def check_dns(
    site: DnsSite, dns: DnsRecords, lookup: AuthenticationLookup, domains: Sequence[str] = ()
) -> DnsReport:  # fmt: skip
    """Everything, or what concerns some domains."""
    check = _Check(site, dns, lookup)
    for domain in domains or site.domains:
        await check.domain(domain)
    for host in site.hosts:
        await check.host(host)
    await check.egress()
    wanted = [one for one in domains or site.domains if one in site.policy_domains]
    return DnsReport(
        at=datetime.fromtimestamp(site.now, UTC),
        verdict=worst([one.verdict for one in check.found]),
        records=check.found,
        policies=[
            PolicyFile(
                url=f"https://{POLICY_HOST}{domain}/.well-known/mta-sts.txt", text=policy_text(site.policy),
                served=site.policy_served,
            )
            for domain in wanted
        ],
    )  # fmt: skip


class _Check:
    """One check under way."""

    def __init__(self, site: DnsSite, dns: DnsRecords, lookup: AuthenticationLookup) -> None:
        self._site, self._dns, self._lookup = site, dns, lookup
        self.found: list[DnsRecordCheck] = []

    # --- domains ------------------------------------------------------------------------------------------------------

    async def domain(self, domain: str) -> None:
        """What others ask about a domain that we accept mail for."""
        exchanges = await self._mx(domain)
        await self._spf(domain)
        self._say(
            domain, f"SELECTOR._domainkey.{domain}", "TXT", _NOTE,
            "no DKIM key is published for this server: it does not sign mail yet",
        )  # fmt: skip
        await self._dmarc(domain)
        await self._mta_sts(domain, exchanges)
        await self._tls_reports(domain)

    async def _mx(self, domain: str) -> list[str]:
        answer = await self._dns.records(domain, "MX")
        publish = [f"10 {host}." for host in self._site.mail_hosts]
        exchanges = [str(one.exchange).rstrip(".").lower() for one in answer.data]
        found = [f"{one.priority} {str(one.exchange) or '.'}" for one in answer.data]
        ours = [one for one in exchanges if one in self._site.mail_hosts]
        if self._unknown(domain, domain, "MX", answer, publish):
            return []
        if ours:
            sentence = f"mail for {domain} comes to {', '.join(ours)}"
            self._say(domain, domain, "MX", _PASS, sentence, found=found, publish=publish)
        elif exchanges == [""]:
            sentence = f"{domain} says that it takes no mail (null MX), and is an accepted domain here"
            self._say(domain, domain, "MX", _FAILURE, sentence, "publish MX", publish, found)
        elif exchanges:
            sentence = f"mail for {domain} comes to {', '.join(exchanges[:5])}, which is not this server"
            self._say(domain, domain, "MX", _NOTE, sentence, "right where a service in front hands it on", [], found)
        else:
            sentence = f"{domain} has no MX record: mail for it goes to the domain's own address, if anywhere"
            self._say(domain, domain, "MX", _WARNING, sentence, "publish MX", publish)
        return exchanges

    async def _spf(self, domain: str) -> None:
        answer = await self._dns.records(domain, "TXT")
        mechanisms = [f"ip{6 if ':' in address else 4}:{address}" for address in self._site.egress]
        publish = [quoted(" ".join(["v=spf1", "mx", *mechanisms, "-all"]))]
        found = [text for text in _texts(answer) if text.lower().split(" ")[0] == "v=spf1"]
        if self._unknown(domain, domain, "TXT", answer, publish):
            return
        missing = f"{domain} has no SPF record: whoever wants sends in its name"
        several = f"{domain} has {len(found)} SPF records, which counts as an error (RFC 7208 §4.5)"
        if not self._is_one(domain, domain, found, publish, missing, "publish SPF", several):
            return
        if not self._site.egress:
            sentence = "SPF is there; from which addresses our mail comes is not known here"
            remedy = "set source_ip_addresses of send connectors"
            self._say(domain, domain, "TXT", _NOTE, sentence, remedy, found=found)
        else:
            await self._spf_of_our_addresses(domain, publish, found)

    async def _spf_of_our_addresses(self, domain: str, publish: list[str], found: list[str]) -> None:
        refused = []
        for address in self._site.egress:
            helo = next((one.name for one in self._site.hosts if one.sends), domain)
            result = await check_spf(address, f"postmaster@{domain}", helo, self._lookup)
            if result.verdict is not SpfVerdict.PASS:
                refused.append(f"{address}: {result.verdict.value}{f' ({result.reason})' if result.reason else ''}")
        if refused:
            sentence = f"SPF of {domain} does not let our mail pass: {'; '.join(refused)}"
            mechanisms = " ".join(f"ip{6 if ':' in one else 4}:{one}" for one in self._site.egress)
            self._say(domain, domain, "TXT", _FAILURE, sentence, f"add {mechanisms} in front of all", publish, found)
        else:
            sentence = f"SPF of {domain} lets our mail from {', '.join(self._site.egress)} pass"
            self._say(domain, domain, "TXT", _PASS, sentence, found=found)

    async def _dmarc(self, domain: str) -> None:
        name = f"_dmarc.{domain}"
        answer = await self._dns.records(name, "TXT")
        publish = [quoted(f"v=DMARC1; p=none; rua=mailto:postmaster@{domain}")]
        found = [text for text in _texts(answer) if text.replace(" ", "").upper().startswith("V=DMARC1")]
        if self._unknown(domain, name, "TXT", answer, publish):
            return
        missing = f"{domain} has no DMARC record of its own: nobody is told what to do with forgeries"
        several = f"{domain} has {len(found)} DMARC records, which count as none"
        if not self._is_one(domain, name, found, publish, missing, "publish DMARC; p=none to begin with", several):
            return
        if "p=none" in found[0].replace(" ", "").lower():
            sentence = f"DMARC of {domain} only observes (p=none)"
            self._say(domain, name, "TXT", _NOTE, sentence, "p=quarantine or p=reject once reports are good", [], found)
        else:
            self._say(domain, name, "TXT", _PASS, f"DMARC of {domain} is in force", found=found)

    def _is_one(
        self, domain: str, name: str, found: list[str], publish: list[str], missing: str, remedy: str, several: str
    ) -> bool:  # fmt: skip
        """Whether there is one record, as there must be; what is wrong otherwise is said."""
        if not found:
            self._say(domain, name, "TXT", _WARNING, missing, remedy, publish)
        elif len(found) > 1:
            self._say(domain, name, "TXT", _FAILURE, several, "leave one", publish, found)
        return len(found) == 1

    async def _mta_sts(self, domain: str, exchanges: Sequence[str]) -> None:
        name = f"_mta-sts.{domain}"
        answer = await self._dns.records(name, "TXT")
        wanted = policy_record(self._site.policy)
        ours = domain in self._site.policy_domains and bool(self._site.policy.mx)
        publish = [quoted(wanted)] if ours else []
        texts = [text for text in _texts(answer) if text.startswith("v=STSv1")]
        if self._unknown(domain, name, "TXT", answer, publish):
            return
        id = policy_id([text.encode() for text in texts])
        if not texts:
            verdict = _WARNING if self._site.policy_served else _NOTE
            sentence = f"{domain} has no MTA-STS record: who is in between can keep TLS from others' mail to it"
            self._say(domain, name, "TXT", verdict, sentence, "serve the policy, then publish this", publish)
        elif not id:
            sentence = f"the MTA-STS record of {domain} is none that counts"
            self._say(domain, name, "TXT", _FAILURE, sentence, "leave one, with an id of letters and digits",
                      publish, texts)  # fmt: skip
        elif self._site.policy_served and id != policy_id([wanted.encode()]):
            sentence = f"the id of {domain} is {id}, and the policy served here has another: senders do not look again"
            self._say(domain, name, "TXT", _FAILURE, sentence, "publish the new id", publish, texts)
        else:
            self._say(domain, name, "TXT", _PASS, f"{domain} announces an MTA-STS policy", found=texts)
        if self._site.policy_served and domain in self._site.policy_domains:
            self._policy_hosts(domain, exchanges)
            await self._policy_address(domain)

    def _policy_hosts(self, domain: str, exchanges: Sequence[str]) -> None:
        strangers = [one for one in exchanges if one and not self._site.policy.allows(one)]
        if strangers and self._site.policy.mode is not StsMode.NONE:
            verdict = _FAILURE if self._site.policy.mode is StsMode.ENFORCE else _WARNING
            self._say(
                domain, domain, "MX", verdict,
                f"our MTA-STS policy does not name {', '.join(strangers)}, where mail for {domain} goes",
                "add it to mx of [mta_sts]",
            )  # fmt: skip

    async def _policy_address(self, domain: str) -> None:
        name = f"{POLICY_HOST}{domain}"
        answers = [await self._dns.records(name, kind) for kind in ("A", "AAAA")]
        if any(one.outcome is Outcome.FOUND for one in answers):
            self._say(domain, name, "A", _PASS, f"{name} has an address", found=_addresses(answers))
        else:
            hosts = self._site.mail_hosts
            publish = [f"{hosts[0]}."] if hosts else []
            sentence = f"{name} has no address: nobody finds the policy"
            self._say(domain, name, "CNAME", _FAILURE, sentence, "publish the address of this server", publish)

    async def _tls_reports(self, domain: str) -> None:
        name = f"_smtp._tls.{domain}"
        answer = await self._dns.records(name, "TXT")
        publish = [quoted(f"v=TLSRPTv1; rua=mailto:{self._site.report_address or f'postmaster@{domain}'}")]
        found = [text for text in _texts(answer) if text.startswith("v=TLSRPTv1")]
        if self._unknown(domain, name, "TXT", answer, publish):
            return
        if not found:
            sentence = f"{domain} asks for no TLS reports: nobody tells when others' mail to it fails on TLS"
            self._say(domain, name, "TXT", _NOTE, sentence, "publish TLS-RPT", publish)
            return
        wanted, problem = destinations([text.encode() for text in found])
        if problem:
            sentence = f"the TLS-RPT record of {domain} is none that counts: {problem}"
            self._say(domain, name, "TXT", _FAILURE, sentence, "leave one, with rua=", publish, found)
        elif self._site.report_address and self._site.report_address.lower() not in [
            one.mail.lower() for one in wanted
        ]:
            sentence = f"{domain} asks for TLS reports, and not at {self._site.report_address}, where they are read"
            self._say(domain, name, "TXT", _NOTE, sentence, "add it to rua=, or let them be read there", publish, found)
        else:
            self._say(domain, name, "TXT", _PASS, f"{domain} asks for TLS reports", found=found)

    # --- hosts --------------------------------------------------------------------------------------------------------

    async def host(self, host: HostKeys) -> None:
        """A name that connectors use."""
        answers = [await self._dns.records(host.name, kind) for kind in ("A", "AAAA")]
        publish_four = [one for one in self._site.egress if ":" not in one]
        failed = next((one for one in answers if one.outcome is Outcome.TEMPORARY_FAILURE), None)
        if any(one.outcome is Outcome.FOUND for one in answers):
            self._say(host.name, host.name, "A", _PASS, f"{host.name} has an address", found=_addresses(answers))
        elif failed is not None:
            self._unknown(host.name, host.name, "A", failed, publish_four)
        else:
            sentence = f"{host.name} has no address, and is how this server calls itself"
            self._say(host.name, host.name, "A", _FAILURE, sentence, "publish its address", publish_four)
        if host.receives:
            await self._tlsa(host, any(one.secure for one in answers))

    async def _tlsa(self, host: HostKeys, signed: bool) -> None:
        if host.current is None:
            return
        keys = [tlsa_for(facts.ders[0]) for facts in (host.current, *host.coming)]
        publish = list(dict.fromkeys(str(one) for one in keys))
        for port in host.ports or (25,):
            name = f"_{port}._tcp.{host.name}"
            answer = await self._dns.records(name, "TLSA")
            if self._unknown(host.name, name, "TLSA", answer, publish):
                continue
            records = [record for one in answer.data if (record := tlsa_record(one.data)) is not None]
            self._judge_tlsa(host, name, records, publish, signed)

    def _judge_tlsa(
        self, host: HostKeys, name: str, records: Sequence[TlsaRecord], publish: list[str], signed: bool
    ) -> None:  # fmt: skip
        assert host.current is not None
        found = [str(one) for one in records]
        lacking = [one for one in host.coming if records and not agrees(records, one.ders)]
        if not records:
            sentence = f"{name} has no TLSA record"
            remedy = "publish it" if signed else "of use once the zone is signed with DNSSEC"
            self._say(host.name, name, "TLSA", _NOTE, sentence, remedy, publish if signed else [])
        elif not agrees(records, host.current.ders):
            sentence = f"no TLSA record of {host.name} is of the key in use: senders with DANE keep their mail"
            self._say(host.name, name, "TLSA", _FAILURE, sentence, "publish it at once", publish, found)
        elif lacking:
            sentence = f"TLSA records know the key in use, not that of the one to come, valid until {_until(lacking)}"
            remedy = "publish it beside the other, wait for the TTL, then bind the certificate"
            self._say(host.name, name, "TLSA", _WARNING, sentence, remedy, publish, found)
        else:
            self._say(host.name, name, "TLSA", _PASS, f"TLSA records of {host.name} know its key", found=found)

    async def egress(self) -> None:
        """Names of the addresses that our mail comes from: many refuse mail from those without."""
        from ipaddress import ip_address

        names = [one.name for one in self._site.hosts if one.sends]
        for address in self._site.egress:
            reverse = ip_address(address).reverse_pointer
            answer = await self._dns.records(reverse, "PTR")
            publish = [f"{names[0]}."] if names else []
            if self._unknown(address, reverse, "PTR", answer, publish):
                continue
            found = [str(one.dname).rstrip(".").lower() for one in answer.data]
            back = [name for name in found if address in await self._back(name)]
            if not found:
                sentence = f"{address} has no name: many servers refuse mail from it"
                self._say(address, reverse, "PTR", _FAILURE, sentence, "whoever gave you the address sets it", publish)
            elif not back:
                sentence = f"{address} is named {found[0]}, which does not lead back to it"
                self._say(address, reverse, "PTR", _FAILURE, sentence, "publish its address", publish, found)
            elif not set(back) & set(names):
                sentence = f"{address} is named {back[0]}; this server says {', '.join(names) or 'nothing'} in EHLO"
                self._say(address, reverse, "PTR", _WARNING, sentence, "let both be the same", publish, found)
            else:
                self._say(address, reverse, "PTR", _PASS, f"{address} is named {back[0]}, and back", found=found)

    async def _back(self, name: str) -> list[str]:
        return _addresses([await self._dns.records(name, kind) for kind in ("A", "AAAA")])

    # --- saying -------------------------------------------------------------------------------------------------------

    def _unknown(self, about: str, name: str, kind: str, answer: Records, publish: list[str]) -> bool:
        """Whether DNS did not answer, which is no absence."""
        if answer.outcome is not Outcome.TEMPORARY_FAILURE:
            return False
        self._say(about, name, kind, _WARNING, f"DNS does not answer: {answer.reason}", "look again", publish)
        return True

    def _say(
        self, about: str, name: str, kind: str, verdict: Verdict, sentence: str, remedy: str = "",
        publish: Sequence[str] = (), found: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.found.append(
            DnsRecordCheck(
                about=about, name=name, kind=kind, verdict=verdict, sentence=sentence, remedy=remedy,
                publish=list(publish), found=list(found)[:_SHOWN],
            )
        )  # fmt: skip


def _texts(answer: Records) -> Iterator[str]:
    for one in answer.data:
        yield one.data.decode("utf-8", "replace") if isinstance(one.data, bytes) else str(one.data)


def _addresses(answers: Sequence[Records]) -> list[str]:
    return [str(one.addr) for answer in answers for one in answer.data]


def _until(facts: Sequence[ChainFacts]) -> str:
    return f"{datetime.fromtimestamp(max(one.leaf.not_after for one in facts), UTC):%Y-%m-%d}"
