# SPDX-License-Identifier: MIT
"""DMARC: does SPF or DKIM vouch for the domain that readers see in From? (RFC 9989; before it RFC 7489).

The organizational domain is found by a tree walk over `_dmarc` records, not by a list of suffixes.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from bridgehead.mail.limits import DMARC_TREE_WALK
from bridgehead.msgauth.dkim.tags import DkimSyntaxError, parse_tags
from bridgehead.msgauth.dkim.verify import DkimResult, DkimVerdict
from bridgehead.msgauth.lookup import AuthenticationLookup, LookupFailed
from bridgehead.msgauth.spf import SpfResult, SpfVerdict


class DmarcVerdict(StrEnum):
    """Results of RFC 8601 as extended for DMARC."""

    NONE = "none"
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    TEMPERROR = "temperror"


class DmarcRecord(msgspec.Struct, frozen=True):
    """A policy record.

    Attributes:
        policy, subdomain_policy, nonexistent_policy: none, quarantine or reject.
        strict_dkim, strict_spf: alignment must be exact (adkim=s, aspf=s).
        public_suffix: psd=: "y", "n" or "u".
        testing: t=y.
    """

    policy: str = "none"
    subdomain_policy: str = ""
    nonexistent_policy: str = ""
    strict_dkim: bool = False
    strict_spf: bool = False
    public_suffix: str = "u"
    testing: bool = False


class DmarcResult(msgspec.Struct, frozen=True):
    """What is known of the author's domain.

    Attributes:
        aligned: what vouches for it: "spf=contoso.com", "dkim=mail.contoso.com"; "" for nothing.
        policy: what the domain asks for on a fail; "" without a record.
    """

    verdict: DmarcVerdict
    domain: str
    aligned: str = ""
    policy: str = ""
    reason: str = ""


def parse_record(record: bytes) -> DmarcRecord | None:
    """A DMARC record, None for a TXT record that is none or cannot be used."""
    text = record.decode("ascii", "replace").strip()
    if not text.replace(" ", "").startswith("v=DMARC1"):
        return None
    try:
        tags = {name.lower(): value.strip().lower() for name, value in parse_tags(text).items()}
    except DkimSyntaxError:
        return None
    known = ("none", "quarantine", "reject")
    policy = tags.get("p", "none")
    return DmarcRecord(
        policy=policy if policy in known else "none",
        subdomain_policy=tags.get("sp", "") if tags.get("sp") in known else "",
        nonexistent_policy=tags.get("np", "") if tags.get("np") in known else "",
        strict_dkim=tags.get("adkim") == "s",
        strict_spf=tags.get("aspf") == "s",
        public_suffix=tags.get("psd", "u") if tags.get("psd") in ("y", "n") else "u",
        testing=tags.get("t") == "y",
    )


async def record_of(domain: str, lookup: AuthenticationLookup) -> DmarcRecord | None:
    """The record published at exactly this domain. Raises LookupFailed."""
    found = [one for record in await lookup.txt(f"_dmarc.{domain}") if (one := parse_record(record)) is not None]
    return found[0] if len(found) == 1 else None


class DmarcTree:
    """Policy records along the way up from domains, each asked for once.

    One for each message: its three domains are mostly relatives.
    """

    def __init__(self, lookup: AuthenticationLookup) -> None:
        self._lookup = lookup
        self._records: dict[str, DmarcRecord | None] = {}

    async def record(self, domain: str) -> DmarcRecord | None:
        """Raises LookupFailed."""
        if domain not in self._records:
            self._records[domain] = await record_of(domain, self._lookup)
        return self._records[domain]

    async def organizational_domain(self, domain: str) -> str:
        """The domain under which relatives are aligned (RFC 9989 §4.10). Raises LookupFailed."""
        highest = domain
        for candidate in _walk(domain):
            record = await self.record(candidate)
            if record is None:
                continue
            if record.public_suffix == "n":
                return candidate
            if record.public_suffix == "y" and candidate != domain:
                labels = domain.split(".")
                return ".".join(labels[-(candidate.count(".") + 2) :])
            highest = candidate
        return highest

    async def policy(self, domain: str) -> tuple[str, DmarcRecord | None]:
        """(where, record) that applies to an author's domain (RFC 9989 §4.10.1). Raises LookupFailed."""
        record = await self.record(domain)
        if record is not None:
            return domain, record
        organization = await self.organizational_domain(domain)
        return organization, await self.record(organization)


def _walk(domain: str) -> list[str]:
    """The domain and those above it, at most eight; of long names only the last seven labels are climbed."""
    labels = domain.split(".")
    names = [domain]
    rest = labels[1:] if len(labels) < DMARC_TREE_WALK else labels[-(DMARC_TREE_WALK - 1) :]
    while rest:
        names.append(".".join(rest))
        rest = rest[1:]
    return names[:DMARC_TREE_WALK]


async def check_dmarc(
    author_domain: str, spf: SpfResult, dkim: Sequence[DkimResult], lookup: AuthenticationLookup
) -> DmarcResult:
    """Whether SPF or a DKIM signature vouches for the domain in From. Never raises; DNS trouble is a temperror."""
    author = author_domain.rstrip(".").lower()
    tree = DmarcTree(lookup)
    try:
        where, record = await tree.policy(author)
        rules = record or DmarcRecord()
        wanted = await tree.organizational_domain(author)
        for result in dkim:
            if result.verdict is DkimVerdict.PASS and await _aligned(
                author, wanted, result.domain, rules.strict_dkim, tree
            ):
                return _result(DmarcVerdict.PASS, author, where, record, f"dkim={result.domain}")
        if spf.verdict is SpfVerdict.PASS and await _aligned(author, wanted, spf.domain, rules.strict_spf, tree):
            return _result(DmarcVerdict.PASS, author, where, record, f"spf={spf.domain}")
    except LookupFailed as error:
        return DmarcResult(DmarcVerdict.TEMPERROR, author, reason=str(error))
    if spf.verdict is SpfVerdict.TEMPERROR or any(one.verdict is DkimVerdict.TEMPERROR for one in dkim):
        return DmarcResult(DmarcVerdict.TEMPERROR, author, reason="SPF or DKIM could not be checked now")
    verdict = DmarcVerdict.NONE if record is None else DmarcVerdict.FAIL
    return _result(verdict, author, where, record, "")


async def _aligned(author: str, organization: str, domain: str, strict: bool, tree: DmarcTree) -> bool:
    if domain == author:
        return True
    return not strict and await tree.organizational_domain(domain) == organization


def _result(verdict: DmarcVerdict, author: str, where: str, record: DmarcRecord | None, aligned: str) -> DmarcResult:
    policy = ""
    if record is not None:
        policy = record.policy if where == author else record.subdomain_policy or record.policy
    reason = f"aligned by {aligned}" if aligned else "neither SPF nor DKIM vouches for it"
    return DmarcResult(verdict, author, aligned, policy, reason)
