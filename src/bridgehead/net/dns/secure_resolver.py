# SPDX-License-Identifier: MIT
"""DNS through resolvers that validate and whose word we take: each answer with what DNSSEC says of it (RFC 4033 §4.3,
RFC 6840 §5.8, RFC 8914).

The AD bit counts only from servers that are trusted: those on this machine, and those that an administrator names,
because whoever sits between could set it. SERVFAIL is asked once more without validation: where that finds something,
the signatures are wrong (bogus) and nothing may be concluded from it. dnspython does the wire; c-ares shows no AD bit.
"""

import asyncio
import ipaddress
from collections.abc import Collection, Sequence
from typing import Any, Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import DNS_TTL_SECONDS_MAX, LOGGED_TEXT, MX_RECORDS
from bridgehead.net.clock import Clock
from bridgehead.net.dns.exchange import NoAnswer, exchange
from bridgehead.net.dns.resolver import (
    FAILURE_TTL_SECONDS,
    NEGATIVE_TTL_SECONDS,
    SERVER_TIMEOUT_SECONDS,
    Outcome,
    Records,
    Resolver,
    endpoint,
    system_servers,
)

_PAYLOAD: Final = 1232
"""Octets over UDP: what passes everywhere without fragments (DNS flag day 2020)."""
_DEFINITE: Final = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
_ALIASES: Final = 16
_VALIDATED: Final = frozenset({"MX", "A", "AAAA", "CNAME", "TLSA"})
"""What DANE depends on; all else is left to c-ares, which takes a fifth of the time."""


class _Datum(msgspec.Struct, frozen=True):
    """One record, under the names that c-ares gives its fields."""

    addr: str = ""
    priority: int = 0
    exchange: str = ""
    dname: str = ""
    data: bytes = b""


class SecureResolver(Resolver):
    """Asks one list of servers, of which some are trusted to validate.

    Args:
        trusted: addresses of servers elsewhere whose AD bit counts; those on this machine always do.
    """

    def __init__(
        self, servers: Sequence[str] = (), *, clock: Clock, trusted: Collection[str] = (),
        timeout: float = SERVER_TIMEOUT_SECONDS, tries: int = 2, hosts: dict[str, tuple[str, ...]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(servers, clock=clock, timeout=timeout, tries=tries, hosts=hosts)
        self._trusted = frozenset(trusted)
        self._endpoints = [endpoint(one) for one in servers or system_servers() if _is_server(one)]
        self._any_trusted = any(self._believes(address) for address, _ in self._endpoints)

    def _for(self, servers: tuple[str, ...]) -> "SecureResolver":
        return SecureResolver(
            servers, clock=self._clock, trusted=self._trusted, timeout=self._timeout, tries=self._tries,
            hosts=self._hosts,
        )  # fmt: skip

    @property
    def is_trusted(self) -> bool:
        """Whether the word of any of its servers counts."""
        return self._any_trusted

    def _believes(self, address: str) -> bool:
        return is_believed(address, self._trusted)

    async def records(self, name: str, kind: str) -> Records:
        """Any records, with what DNSSEC says of them; `data` of other types than those of `Resolver` has the record's
        octets in `data`."""
        return await self._lookup(name.rstrip(".").lower() or ".", kind)

    async def host(self, name: str) -> tuple[Records, Records]:
        """The two answers that `addresses` joins: IPv6 and IPv4, from the cache where `addresses` was asked before."""
        six, four = await asyncio.gather(self.records(name, "AAAA"), self.records(name, "A"))
        return six, four

    def knows_by_file(self, name: str) -> bool:
        """Its addresses come from /etc/hosts."""
        return name.rstrip(".").lower() in self._hosts

    # --- asking -----------------------------------------------------------------------------------------------------

    async def _ask(self, name: str, kind: str) -> Records:
        if kind not in _VALIDATED or not self.is_trusted:
            return await super()._ask(name, kind)
        try:
            question = dns.message.make_query(
                name, kind, use_edns=0, payload=_PAYLOAD, flags=dns.flags.RD | dns.flags.AD
            )
        except (dns.exception.DNSException, ValueError, UnicodeError):
            return Records(Outcome.NO_SUCH_DOMAIN, 0, reason=f"{clean_text(name, 100)} is no name that DNS can hold")
        reasons: list[str] = []
        for _ in range(self._tries):
            for address, port in self._endpoints:
                answer = await self._exchange(question, address, port, reasons)
                if answer is None:
                    continue
                if answer.rcode() in _DEFINITE:
                    return _records(answer, question, name, kind, believed=self._believes(address))
                found = await self._without_validation(answer, question, address, port, name, kind)
                if found is not None:
                    return found
                reasons.append(f"{address} answered {dns.rcode.to_text(answer.rcode())}{_extended(answer)}")
        why = "; ".join(dict.fromkeys(reasons)) or "there is no server to ask"
        return Records(
            Outcome.TEMPORARY_FAILURE, FAILURE_TTL_SECONDS, reason=f"looking up {kind} of {name}: {why[:LOGGED_TEXT]}"
        )

    async def _exchange(
        self, question: dns.message.QueryMessage, address: str, port: int, reasons: list[str]
    ) -> dns.message.Message | None:  # fmt: skip
        """One answer; None, and why in `reasons`, for none."""
        try:
            return await exchange(question, address, port, self._timeout)
        except NoAnswer as error:
            reasons.append(f"{address}: {clean_text(str(error), 100)}")
            return None

    async def _without_validation(
        self, answer: dns.message.Message, question: dns.message.QueryMessage, address: str, port: int, name: str,
        kind: str,
    ) -> Records | None:  # fmt: skip
        """Whether SERVFAIL was for signatures that are wrong: then the same question finds something with checking
        disabled. None where it does not."""
        if answer.rcode() != dns.rcode.SERVFAIL or not self._believes(address):
            return None
        unchecked = dns.message.make_query(
            question.question[0].name, kind, use_edns=0, payload=_PAYLOAD, flags=dns.flags.RD | dns.flags.CD
        )
        again = await self._exchange(unchecked, address, port, [])
        if again is None or again.rcode() not in _DEFINITE:
            return None
        reason = f"the DNSSEC signatures of {kind} of {name} are not valid (bogus){_extended(answer)}"
        return Records(Outcome.TEMPORARY_FAILURE, FAILURE_TTL_SECONDS, reason=reason, bogus=True)


def _records(
    answer: dns.message.Message, question: dns.message.QueryMessage, name: str, kind: str, *, believed: bool
) -> Records:  # fmt: skip
    secure = believed and bool(answer.flags & dns.flags.AD)
    if answer.rcode() == dns.rcode.NXDOMAIN:
        return Records(
            Outcome.NO_SUCH_DOMAIN, NEGATIVE_TTL_SECONDS, reason=f"{name} does not exist", secure=secure,
            name=_end_of_aliases(answer, question)[0],
        )  # fmt: skip
    end, ttl = _end_of_aliases(answer, question)
    wanted = dns.rdatatype.from_text(kind)
    sets = [one for one in answer.answer if one.rdtype == wanted and one.name.to_text(True).lower() == end]
    data = tuple(_datum(record) for one in sets for record in one)
    if not data and answer.errors:
        # Of TLSA records that nobody can read it counts that they are there (RFC 7672 §2.2).
        outcome = Outcome.FOUND if kind == "TLSA" else Outcome.TEMPORARY_FAILURE
        reason = f"the {kind} records of {name} cannot be read"
        return Records(outcome, FAILURE_TTL_SECONDS, reason=reason, secure=secure, name=end)
    if not data:
        reason = f"{name} has no {kind} record"
        return Records(Outcome.NO_DATA, NEGATIVE_TTL_SECONDS, reason=reason, secure=secure, name=end)
    ttl = min(DNS_TTL_SECONDS_MAX, ttl, *(one.ttl for one in sets))
    return Records(Outcome.FOUND, ttl, data[: 10 * MX_RECORDS], secure=secure, name=end)


def _end_of_aliases(answer: dns.message.Message, question: dns.message.QueryMessage) -> tuple[str, int]:
    """Where the aliases in an answer lead, and the shortest TTL on the way. Aliases asked for are not followed."""
    name, ttl = question.question[0].name, DNS_TTL_SECONDS_MAX
    if question.question[0].rdtype == dns.rdatatype.CNAME:
        return name.to_text(True).lower(), int(ttl)
    for _ in range(_ALIASES):
        found = next((one for one in answer.answer if one.rdtype == dns.rdatatype.CNAME and one.name == name), None)
        if found is None:
            break
        name, ttl = found[0].target, min(ttl, found.ttl)
    return name.to_text(True).lower(), int(ttl)


def _datum(record: Any) -> _Datum:
    kind = record.rdtype
    if kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
        return _Datum(addr=record.address)
    if kind == dns.rdatatype.MX:
        return _Datum(priority=record.preference, exchange=record.exchange.to_text(True))
    if kind in (dns.rdatatype.PTR, dns.rdatatype.CNAME, dns.rdatatype.NS):
        return _Datum(dname=record.target.to_text(True))
    if kind == dns.rdatatype.TXT:
        return _Datum(data=b"".join(record.strings))
    return _Datum(data=record.to_wire() or b"")


def _extended(answer: dns.message.Message) -> str:
    """What the server says of its failure (RFC 8914), "" for nothing."""
    told = [option for option in answer.options if isinstance(option, dns.edns.EDEOption)]
    return "".join(f", {clean_text(str(option.text or option.code.name), 200)}" for option in told[:2])


def is_believed(server: str, trusted: Collection[str]) -> bool:
    """Whether a DNS server's word on DNSSEC counts: it is on this machine, or named as trusted."""
    try:
        address, _ = endpoint(server)
        return address in trusted or ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _is_server(text: str) -> bool:
    """Whether it can be asked; what /etc/resolv.conf holds beside is left out, as c-ares does."""
    try:
        address, _ = endpoint(text)
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return True
