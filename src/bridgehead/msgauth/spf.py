# SPDX-License-Identifier: MIT
"""SPF: may this address send for this domain? (RFC 7208 §4–§6). Records are parsed in `spf_record.py`.

Look-ups are bounded as §4.6.4 says, in all records together, so that no domain makes us ask without end.
"""

from collections.abc import Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import msgspec

from bridgehead.mail.limits import SPF_LOOKUPS, SPF_NAMES_PER_LOOKUP, SPF_VOID_LOOKUPS
from bridgehead.msgauth.lookup import AuthenticationLookup, LookupFailed
from bridgehead.msgauth.spf_record import (
    MacroValues,
    Mechanism,
    SpfRecord,
    SpfSyntaxError,
    domain_of,
    expand,
    is_spf,
    parse_record,
)


class SpfVerdict(StrEnum):
    """Results of RFC 7208 §2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class SpfResult(msgspec.Struct, frozen=True):
    """A verdict about `domain`, what it rests on in words, and the domain's own explanation of a fail."""

    verdict: SpfVerdict
    domain: str
    reason: str = ""
    explanation: str = ""


_BY_QUALIFIER = {"+": SpfVerdict.PASS, "-": SpfVerdict.FAIL, "~": SpfVerdict.SOFTFAIL, "?": SpfVerdict.NEUTRAL}


class _PermError(Exception):
    """The record cannot be used."""


async def check_spf(
    client_ip: str, reverse_path: str, helo: str, lookup: AuthenticationLookup, *, receiver: str = "unknown",
    now: int = 0,
) -> SpfResult:  # fmt: skip
    """check_host() for a MAIL command (§2.4); for the null reverse-path the HELO name stands in (§2.4).

    Args:
        client_ip: in text form.
        reverse_path: "anna@contoso.com", "" for null.
        receiver, now: our name and Unix time, for explanations alone.
    """
    sender = reverse_path or f"postmaster@{helo}"
    local_part, _, domain = sender.rpartition("@")
    domain = domain.rstrip(".").lower()
    if not _is_domain(domain):
        return SpfResult(SpfVerdict.NONE, domain, "the domain of the sender is none that DNS could hold")
    ip = ip_address(client_ip)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    values = MacroValues(f"{local_part or 'postmaster'}@{domain}", domain, ip, helo, receiver=receiver, timestamp=now)
    check = _Check(lookup, values)
    try:
        return await check.host(domain, explain=True)
    except LookupFailed as error:
        return SpfResult(SpfVerdict.TEMPERROR, domain, str(error))
    except (_PermError, SpfSyntaxError) as error:
        return SpfResult(SpfVerdict.PERMERROR, domain, str(error))


def _is_domain(domain: str) -> bool:
    labels = domain.split(".")
    return 0 < len(domain) <= 253 and len(labels) > 1 and all(0 < len(label) <= 63 for label in labels)


class _Check:
    """One evaluation with its counts of look-ups."""

    def __init__(self, lookup: AuthenticationLookup, values: MacroValues) -> None:
        self._lookup, self._values = lookup, values
        self._lookups = self._voids = 0

    async def host(self, domain: str, *, explain: bool) -> SpfResult:
        """Evaluate the record of one domain. Raises LookupFailed, _PermError, SpfSyntaxError."""
        if not _is_domain(domain):
            return SpfResult(SpfVerdict.NONE, domain, f"{domain!r} is no domain")
        record = await self._record(domain)
        if record is None:
            return SpfResult(SpfVerdict.NONE, domain, f"{domain} publishes no SPF record")
        values = self._values._replace(domain=domain)
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, values):
                verdict = _BY_QUALIFIER[mechanism.qualifier]
                text = ""
                if verdict is SpfVerdict.FAIL and explain and record.explanation:
                    text = await self._explanation(record.explanation, values)
                return SpfResult(verdict, domain, f"matched by {_shown(mechanism)} of {domain}", text)
        if record.redirect:
            self._count()
            target = domain_of(record.redirect, await self._validated(record.redirect, values))
            result = await self.host(target, explain=explain)
            if result.verdict is SpfVerdict.NONE:
                raise _PermError(f"{domain} redirects to {target}, which publishes no SPF record")
            return result
        return SpfResult(SpfVerdict.NEUTRAL, domain, f"no mechanism of {domain} matched")

    async def _record(self, domain: str) -> SpfRecord | None:
        found = [record for record in await self._lookup.txt(domain) if is_spf(record)]
        if len(found) > 1:
            raise _PermError(f"{domain} publishes {len(found)} SPF records")
        return parse_record(found[0]) if found else None

    # --- mechanisms -------------------------------------------------------------------------------------------------

    async def _matches(self, mechanism: Mechanism, values: MacroValues) -> bool:
        name = mechanism.name
        if name == "all":
            return True
        if mechanism.network:
            return values.ip in ip_network(mechanism.network)
        self._count()
        values = await self._validated(mechanism.domain, values)
        target = domain_of(mechanism.domain, values) if mechanism.domain else values.domain
        match name:
            case "include":
                return await self._include(target)
            case "a":
                return await self._address_matches(target, mechanism, values.ip)
            case "mx":
                return await self._mx_matches(target, mechanism, values.ip)
            case "exists":
                return bool(self._noted(await self._lookup.addresses(target, ipv6=False)))
            case _:
                return await self._ptr_matches(target, values.ip)

    async def _include(self, target: str) -> bool:
        result = await self.host(target, explain=False)
        if result.verdict is SpfVerdict.NONE:
            raise _PermError(f"{target} is included and publishes no SPF record")
        return result.verdict is SpfVerdict.PASS

    async def _address_matches(self, host: str, mechanism: Mechanism, ip: IPv4Address | IPv6Address) -> bool:
        addresses = self._noted(await self._lookup.addresses(host, ipv6=ip.version == 6))
        bits = mechanism.ipv6_bits if ip.version == 6 else mechanism.ipv4_bits
        return any(ip in ip_network(f"{address}/{bits}", strict=False) for address in addresses)

    async def _mx_matches(self, domain: str, mechanism: Mechanism, ip: IPv4Address | IPv6Address) -> bool:
        exchanges = self._noted(await self._lookup.mx(domain))
        if len(exchanges) > SPF_NAMES_PER_LOOKUP:
            raise _PermError(f"{domain} has more than {SPF_NAMES_PER_LOOKUP} mail exchangers")
        bits = mechanism.ipv6_bits if ip.version == 6 else mechanism.ipv4_bits
        for exchange in exchanges:
            addresses = await self._lookup.addresses(exchange, ipv6=ip.version == 6) if exchange else ()
            if any(ip in ip_network(f"{address}/{bits}", strict=False) for address in addresses):
                return True
        return False

    async def _ptr_matches(self, target: str, ip: IPv4Address | IPv6Address) -> bool:
        names = await self._confirmed_names(ip)
        return any(name == target or name.endswith("." + target) for name in names)

    async def _confirmed_names(self, ip: IPv4Address | IPv6Address) -> list[str]:
        """Names of the address that lead back to it (§5.5); failures of DNS count as no match here."""
        confirmed = []
        try:
            names = self._noted(await self._lookup.ptr(str(ip)))
        except LookupFailed:
            return []
        for name in names[:SPF_NAMES_PER_LOOKUP]:
            try:
                addresses = await self._lookup.addresses(name.rstrip("."), ipv6=ip.version == 6)
            except LookupFailed:
                continue
            if any(ip_address(address) == ip for address in addresses):
                confirmed.append(name.rstrip(".").lower())
        return confirmed

    # --- bounds and texts ---------------------------------------------------------------------------------------------

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > SPF_LOOKUPS:
            raise _PermError(f"more than {SPF_LOOKUPS} look-ups would be needed")

    def _noted(self, answer: Sequence[str]) -> Sequence[str]:
        """An answer, counted where it is empty (§4.6.4)."""
        if not answer:
            self._voids += 1
            if self._voids > SPF_VOID_LOOKUPS:
                raise _PermError(f"more than {SPF_VOID_LOOKUPS} look-ups found nothing")
        return answer

    async def _validated(self, text: str, values: MacroValues) -> MacroValues:
        """`values` with the %{p} macro worked out where the text uses it (§7.3 discourages it)."""
        if "%{p" not in text.lower():
            return values
        names = await self._confirmed_names(values.ip)
        best = next((name for name in names if name == values.domain), "") or next(
            (name for name in names if name.endswith("." + values.domain)), names[0] if names else "unknown"
        )
        return values._replace(validated=best)

    async def _explanation(self, text: str, values: MacroValues) -> str:
        """The domain's own words about a fail; whatever goes wrong leaves them out (§6.2)."""
        try:
            values = await self._validated(text, values)
            records = await self._lookup.txt(domain_of(text, values))
            if len(records) != 1:
                return ""
            words = records[0].decode("ascii")
            return expand(words, await self._validated(words, values), explanation=True)
        except (LookupFailed, SpfSyntaxError, UnicodeDecodeError):
            return ""


def _shown(mechanism: Mechanism) -> str:
    argument = mechanism.network or mechanism.domain
    sign = "" if mechanism.qualifier == "+" else mechanism.qualifier
    return f"{sign}{mechanism.name}{':' + argument if argument else ''}"
