# SPDX-License-Identifier: MIT
"""DNS look-ups: MX, addresses and names, each answer classed, cached for as long as its TTL says (RFC 1035, RFC 2308).

An error in DNS is a value here (`Outcome`), because what it means - final or to be tried again - is the caller's to
decide. c-ares does the wire; the cache is ours, so that it is bounded and shared by all who ask the same servers.
"""

import asyncio
import ipaddress
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, Protocol

import aiodns
import msgspec
import pycares

from bridgehead.diagnosis.facts import DnsFacts
from bridgehead.mail.limits import (
    ADDRESSES_PER_HOST,
    DNS_CACHE_ENTRIES,
    DNS_TTL_SECONDS_MAX,
    MX_RECORDS,
    TXT_RECORDS,
)
from bridgehead.net.clock import Clock

NEGATIVE_TTL_SECONDS: Final = 300
"""How long NXDOMAIN and empty answers are believed at most (RFC 2308 §5 advises one to three hours at most)."""
FAILURE_TTL_SECONDS: Final = 5
"""How long a failed look-up is not repeated, so that a burst of mail does not become a burst of questions."""
SERVER_TIMEOUT_SECONDS: Final = 5.0
"""Exchange waits five seconds for each DNS server."""

_EMPTY: Final = {pycares.errno.ARES_ENODATA}
_MISSING: Final = {pycares.errno.ARES_ENOTFOUND}
_MALFORMED: Final = {pycares.errno.ARES_EBADNAME, pycares.errno.ARES_EBADQUERY}


class Outcome(IntEnum):
    """What a look-up came to."""

    FOUND = 0
    NO_DATA = 1
    """The name exists, this type does not."""
    NO_SUCH_DOMAIN = 2
    """NXDOMAIN, or a name that DNS cannot hold."""
    TEMPORARY_FAILURE = 3
    """SERVFAIL, REFUSED, no answer, an answer that makes no sense."""


_WORDS: Final = {
    Outcome.FOUND: "found", Outcome.NO_DATA: "no data", Outcome.NO_SUCH_DOMAIN: "no such domain",
    Outcome.TEMPORARY_FAILURE: "failed",
}  # fmt: skip


class MxRecord(msgspec.Struct, frozen=True, order=True):
    """One MX record; `exchange` in lower case without the last dot, "" for the null MX (RFC 7505)."""

    preference: int
    exchange: str


class MxAnswer(msgspec.Struct, frozen=True):
    """The MX records of a domain, as they came. `secure`: signatures vouch for the answer, also for an empty one;
    `bogus`: they are wrong."""

    outcome: Outcome
    records: tuple[MxRecord, ...] = ()
    reason: str = ""
    secure: bool = False
    bogus: bool = False


class NameAnswer(msgspec.Struct, frozen=True):
    """Addresses of a host, or names of an address. `bogus`: signatures are wrong."""

    outcome: Outcome
    values: tuple[str, ...] = ()
    reason: str = ""
    bogus: bool = False


class TextAnswer(msgspec.Struct, frozen=True):
    """TXT records."""

    outcome: Outcome
    values: tuple[bytes, ...] = ()
    reason: str = ""


class DnsLookup(Protocol):
    """What users of DNS need."""

    async def mx(self, domain: str) -> MxAnswer:
        """MX records of a domain in A-label form. Never raises for what DNS says or fails to say."""

    async def addresses(self, host: str) -> NameAnswer:
        """IPv6 and IPv4 addresses of a host, in text form."""

    async def ptr(self, address: str) -> NameAnswer:
        """Names of an address."""

    def for_servers(self, servers: Sequence[str]) -> "DnsLookup":
        """The look-up that asks these servers; itself where `servers` is empty."""


class Records(msgspec.Struct, frozen=True):
    """What one question came to.

    Attributes:
        ttl: seconds that it may be kept.
        data: c-ares' records, or whatever has attributes of the same names.
        secure: DNSSEC vouches for it. `bogus`: its signatures are wrong. Both false from c-ares, which cannot tell.
        name: of the records, where aliases led elsewhere; "" for the name asked for.
    """

    outcome: Outcome
    ttl: float
    data: tuple[Any, ...] = ()
    reason: str = ""
    secure: bool = False
    bogus: bool = False
    name: str = ""


class Resolver:
    """Asks one list of DNS servers. Implements `DnsLookup`.

    Args:
        servers: "192.0.2.53", "192.0.2.53:5353", "2001:db8::53" or "[2001:db8::53]:5353"; empty: /etc/resolv.conf.
        clock: for the age of cached answers.
        timeout: seconds for one server.
        tries: rounds over the servers.
        hosts: names with addresses of their own, as in /etc/hosts; None reads that file.
    """

    def __init__(
        self, servers: Sequence[str] = (), *, clock: Clock, timeout: float = SERVER_TIMEOUT_SECONDS, tries: int = 2,
        hosts: dict[str, tuple[str, ...]] | None = None,
    ) -> None:  # fmt: skip
        self._servers = tuple(servers)
        self._clock = clock
        self._timeout = timeout
        self._tries = tries
        self._hosts = read_hosts_file() if hosts is None else hosts
        self._dns: aiodns.DNSResolver | None = None
        self._cache: dict[tuple[str, str], tuple[float, Records]] = {}
        self._under_way: dict[tuple[str, str], asyncio.Task[Records]] = {}
        self._others: dict[tuple[str, ...], Resolver] = {}

    def flush_cache(self) -> None:
        """Forget what can be asked again, here and in the resolvers for other servers."""
        for resolver in (self, *self._others.values()):
            resolver._cache.clear()

    def for_servers(self, servers: Sequence[str]) -> "Resolver":
        """The resolver for other servers, made once for each list; itself where `servers` is empty."""
        key = tuple(servers)
        if not key or key == self._servers:
            return self
        found = self._others.get(key)
        if found is None:
            found = self._others[key] = self._for(key)
        return found

    def _for(self, servers: tuple[str, ...]) -> "Resolver":
        return Resolver(servers, clock=self._clock, timeout=self._timeout, tries=self._tries, hosts=self._hosts)

    async def mx(self, domain: str) -> MxAnswer:
        """MX records of a domain. A name from /etc/hosts has none."""
        name = domain.rstrip(".").lower()
        if name == "localhost" or name in self._hosts:
            return MxAnswer(Outcome.NO_DATA)
        found = await self._lookup(name, "MX")
        records = (MxRecord(data.priority, data.exchange.rstrip(".").lower()) for data in found.data[:MX_RECORDS])
        return MxAnswer(found.outcome, tuple(records), found.reason, found.secure, found.bogus)

    async def addresses(self, host: str) -> NameAnswer:
        """Addresses of a host, IPv6 first. Found where either family is; a failure where one family failed and the
        other has nothing, since the address may be in the one that failed."""
        name = host.rstrip(".").lower()
        if name in self._hosts:
            return NameAnswer(Outcome.FOUND, self._hosts[name])
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 §6.3
            return NameAnswer(Outcome.FOUND, ("127.0.0.1", "::1"))
        six, four = await asyncio.gather(self._lookup(name, "AAAA"), self._lookup(name, "A"))
        values = tuple(data.addr for data in (*six.data, *four.data))[:ADDRESSES_PER_HOST]
        if values:
            return NameAnswer(Outcome.FOUND, values)
        for outcome in (Outcome.TEMPORARY_FAILURE, Outcome.NO_SUCH_DOMAIN):
            for answer in (four, six):
                if answer.outcome is outcome:
                    return NameAnswer(outcome, (), answer.reason, answer.bogus)
        return NameAnswer(Outcome.NO_DATA, (), four.reason)

    async def txt(self, name: str) -> TextAnswer:
        """TXT records of a name, the strings of each joined."""
        found = await self._lookup(name.rstrip(".").lower(), "TXT")
        return TextAnswer(found.outcome, tuple(_text(data) for data in found.data[:TXT_RECORDS]), found.reason)

    async def of_type(self, host: str, kind: str) -> NameAnswer:
        """Addresses of one family: "A" or "AAAA"."""
        found = await self._lookup(host.rstrip(".").lower(), kind)
        return NameAnswer(found.outcome, tuple(data.addr for data in found.data[:ADDRESSES_PER_HOST]), found.reason)

    async def ptr(self, address: str) -> NameAnswer:
        """Names of an address in text form. Raises ValueError where it is none."""
        name = ipaddress.ip_address(address).reverse_pointer
        found = await self._lookup(name, "PTR")
        names = (data.dname.rstrip(".").lower() for data in found.data[:ADDRESSES_PER_HOST])
        return NameAnswer(found.outcome, tuple(names), found.reason)

    async def question(self, name: str, kind: str, server: str = "") -> DnsFacts:
        """One question and what came of it, for diagnosis. `server` is only noted."""
        began = self._clock.monotonic()
        found = await self._lookup(name.rstrip(".").lower() or ".", kind)
        values = tuple(_shown(data) for data in found.data[:ADDRESSES_PER_HOST])
        seconds = round(self._clock.monotonic() - began, 3)
        return DnsFacts(name, kind, _WORDS[found.outcome], server, values, found.reason, seconds)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._under_way.values()):
            task.cancel()
        if self._dns is not None:
            dns, self._dns = self._dns, None
            await dns.close()
        for other in self._others.values():
            await other.close()

    async def _lookup(self, name: str, kind: str) -> Records:
        """From the cache, or from DNS; who asks for the same while a question is under way shares its answer."""
        key = (name, kind)
        cached = self._cache.get(key)
        if cached is not None:
            if cached[0] > self._clock.monotonic():
                return cached[1]
            del self._cache[key]
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.ensure_future(self._ask(name, kind))
            task.add_done_callback(lambda done: self._arrived(key, done))
        return await asyncio.shield(task)

    def _arrived(self, key: tuple[str, str], task: "asyncio.Task[Records]") -> None:
        self._under_way.pop(key, None)
        if task.cancelled() or task.exception() is not None:
            return
        records = task.result()
        if len(self._cache) >= DNS_CACHE_ENTRIES:
            for oldest in list(self._cache)[: DNS_CACHE_ENTRIES // 10]:
                del self._cache[oldest]
        if records.ttl > 0:
            self._cache[key] = (self._clock.monotonic() + records.ttl, records)

    async def _ask(self, name: str, kind: str) -> Records:
        if not name.isascii() or not name:
            return Records(Outcome.NO_SUCH_DOMAIN, 0, reason="the name is empty or not in A-label form")
        try:
            result = await self._channel().query_dns(name, kind)
        except aiodns.error.DNSError as error:
            return _failure(error, name, kind)
        wanted = getattr(pycares, f"QUERY_TYPE_{kind}")
        records = [record for record in result.answer if record.type == wanted]
        if not records:
            return Records(Outcome.NO_DATA, NEGATIVE_TTL_SECONDS, reason=f"{name} has no {kind} record")
        ttl = min(DNS_TTL_SECONDS_MAX, *(record.ttl for record in result.answer))
        return Records(Outcome.FOUND, ttl, tuple(record.data for record in records))

    def _channel(self) -> aiodns.DNSResolver:
        if self._dns is None:
            self._dns = aiodns.DNSResolver(
                nameservers=[server_text(server) for server in self._servers] or None,
                loop=asyncio.get_running_loop(), timeout=self._timeout, tries=self._tries,
            )  # fmt: skip
        return self._dns


def _text(data: Any) -> bytes:
    """A TXT record's data as octets, whichever form the library gives."""
    value = data.data
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)


def _failure(error: Exception, name: str, kind: str) -> Records:
    code, text = (*error.args, 0, "")[:2]
    if code in _EMPTY:
        return Records(Outcome.NO_DATA, NEGATIVE_TTL_SECONDS, reason=f"{name} has no {kind} record")
    if code in _MISSING:
        return Records(Outcome.NO_SUCH_DOMAIN, NEGATIVE_TTL_SECONDS, reason=f"{name} does not exist")
    if code in _MALFORMED:
        return Records(Outcome.NO_SUCH_DOMAIN, NEGATIVE_TTL_SECONDS, reason=f"{name} is no name that DNS can hold")
    return Records(Outcome.TEMPORARY_FAILURE, FAILURE_TTL_SECONDS, reason=f"looking up {kind} of {name}: {text}")


def _shown(data: Any) -> str:
    """One record's value."""
    for field in ("addr", "exchange", "dname", "nsdname"):
        if value := getattr(data, field, None):
            return str(value).rstrip(".").lower()
    return ""


def system_servers(path: str = "/etc/resolv.conf") -> list[str]:
    """The resolvers of this machine; none where the file cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            words = [line.split() for line in file]
    except OSError:
        return []
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]


def server_text(server: str) -> str:
    """A DNS server in the form c-ares reads. Raises ValueError naming what was expected."""
    host, port = server, ""
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        port = rest.removeprefix(":")
    elif server.count(":") == 1:
        host, port = server.split(":")
    try:
        address = ipaddress.ip_address(host)
        if port and not 0 < int(port) < 65536:
            raise ValueError(port)
    except ValueError:
        raise ValueError(
            f'a DNS server such as "192.0.2.53" or "192.0.2.53:5353" was expected, not "{server}"'
        ) from None
    if not port:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def endpoint(server: str) -> tuple[str, int]:
    """Address and port of a DNS server as settings name it, or /etc/resolv.conf, whose address may end in "%" and an
    interface. Raises ValueError."""
    text = server_text(server) if "%" not in server else server
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
        return host, int(port)
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, int(port)
    return text, 53


def read_hosts_file(path: str = "/etc/hosts") -> dict[str, tuple[str, ...]]:
    """Names and addresses of a hosts file; what is malformed is left out, a missing file is empty."""
    found: dict[str, list[str]] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return {}
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        try:
            ipaddress.ip_address(address)
        except ValueError:
            continue
        for name in names:
            known = found.setdefault(name.rstrip(".").lower(), [])
            if address not in known:
                known.append(address)
    return {name: tuple(addresses) for name, addresses in found.items()}
