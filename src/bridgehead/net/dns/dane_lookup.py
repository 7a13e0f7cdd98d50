# SPDX-License-Identifier: MIT
"""Looks for the TLSA records of a mail host, step by step as RFC 7672 §2.2 has it.

Only where DNSSEC vouches for the MX records, then for the host's addresses, are TLSA records asked for: insecure
zones often have name servers that choke on the question. A host that is an alias is looked up under the name that the
alias leads to, then under its own (§2.2.2). Bogus and unanswered questions are failures, never absence (§2.1.3).
"""

from typing import Final

from bridgehead.net.clock import Clock
from bridgehead.net.dns.resolver import Outcome, Records
from bridgehead.net.dns.secure_resolver import SecureResolver
from bridgehead.routing.dane import TlsaRecord, tlsa_record, usable_records
from bridgehead.routing.domain_tls import DaneAnswer, DaneOutcome

_LONGEST_SECONDS: Final = 3600.0
"""For how long at most a session opened under an answer takes further messages."""
_RECORD_TEXT: Final = 134
"""The longest record with a digest (SHA-512)."""


class DaneLookup:
    """Asks one resolver."""

    def __init__(self, dns: SecureResolver, clock: Clock) -> None:
        self._dns = dns
        self._clock = clock

    async def host(self, host: str, port: int, *, mx_is_secure: bool) -> DaneAnswer:
        """What is known of one mail host. Never raises.

        Args:
            host: as the MX record has it.
            mx_is_secure: DNSSEC vouches for the MX record, or for its absence.
        """
        if not self._dns.is_trusted:
            return DaneAnswer(DaneOutcome.UNTRUSTED, reason="no DNS server is trusted to validate")
        if not mx_is_secure:
            return self._absent("the MX records are not signed", ("MX: insecure",), _LONGEST_SECONDS)
        if self._dns.knows_by_file(host) or host.startswith("["):
            return self._absent("the host is not looked up in DNS", (), _LONGEST_SECONDS)
        six, four = await self._dns.host(host)
        failed = next((one for one in (four, six) if one.outcome is Outcome.TEMPORARY_FAILURE), None)
        found = [one for one in (four, six) if one.outcome is Outcome.FOUND]
        if failed is not None and (failed.bogus or not found):
            return _failed(failed, ("MX: secure",))
        seen = ["MX: secure"]
        address = found[0] if found else four
        end = address.name or host
        if all(one.secure for one in found) and address.secure:
            seen.append(f"addresses of {host}: secure")
            if end != host:
                answer = await self._tlsa(end, port, [*seen, f"{host} is an alias of {end}: secure"])
                if answer.outcome is not DaneOutcome.ABSENT:
                    return answer
            return await self._tlsa(host, port, seen)
        seen.append(f"addresses of {host}: insecure")
        if end == host:
            return self._absent(f"the zone of {host} is not signed", tuple(seen), address.ttl)
        return await self._behind_alias(host, port, seen, address.ttl)

    async def _behind_alias(self, host: str, port: int, seen: list[str], ttl: float) -> DaneAnswer:
        """An alias into an unsigned zone: TLSA records of the alias itself count where the alias is signed."""
        alias = await self._dns.records(host, "CNAME")
        if alias.outcome is Outcome.TEMPORARY_FAILURE:
            return _failed(alias, tuple(seen))
        if alias.outcome is not Outcome.FOUND or not alias.secure:
            return self._absent(f"the zone of {host} is not signed", tuple(seen), ttl)
        return await self._tlsa(host, port, [*seen, f"{host} is an alias: secure"])

    async def _tlsa(self, base: str, port: int, seen: list[str]) -> DaneAnswer:
        name = f"_{port}._tcp.{base}"
        answer = await self._dns.records(name, "TLSA")
        if answer.outcome is Outcome.TEMPORARY_FAILURE:
            return _failed(answer, tuple(seen))
        if answer.outcome is not Outcome.FOUND or not answer.secure:
            how = "none" if answer.outcome is not Outcome.FOUND else "insecure"
            return self._absent(f"{name}: {how}", (*seen, f"TLSA {name}: {how}"), answer.ttl)
        records: list[TlsaRecord] = [one for data in answer.data if (one := tlsa_record(data.data)) is not None]
        usable = usable_records(records)
        lines = (*seen, *(f"TLSA {name}: {_shown(one)}{'' if one in usable else ' (not usable)'}" for one in records))
        expires = self._until(answer.ttl)
        if not usable:
            reason = f"none of the TLSA records of {name} can be used"
            return DaneAnswer(DaneOutcome.UNUSABLE, (), base, reason, expires, lines[:8])
        return DaneAnswer(DaneOutcome.RECORDS, usable, base, "", expires, lines[:8])

    def _absent(self, reason: str, seen: tuple[str, ...], ttl: float) -> DaneAnswer:
        return DaneAnswer(DaneOutcome.ABSENT, (), "", reason, self._until(ttl), seen)

    def _until(self, ttl: float) -> float:
        return self._clock.now() + max(1.0, min(ttl, _LONGEST_SECONDS))


def _shown(record: TlsaRecord) -> str:
    """As zone files have it; whole where it holds a digest, so that it can be compared."""
    text = str(record)
    return text if len(text) <= _RECORD_TEXT else f"{text[:_RECORD_TEXT]}…"


def _failed(records: Records, seen: tuple[str, ...]) -> DaneAnswer:
    return DaneAnswer(
        DaneOutcome.FAILED, reason=records.reason, evidence=(*seen, records.reason), bogus=records.bogus
    )  # fmt: skip
