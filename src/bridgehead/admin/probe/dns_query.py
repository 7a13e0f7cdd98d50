# SPDX-License-Identifier: MIT
"""One question to one DNS server over UDP or TCP (RFC 1035, RFC 7766), for tests: each server and transport by itself.

Delivery asks through `net/dns/resolver.py`, which falls back among servers; a test wants to see each fall.
"""

from collections.abc import Callable, Sequence

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import msgspec

from bridgehead.mail.limits import MX_RECORDS
from bridgehead.net.dns.resolver import endpoint


class DnsReply(msgspec.Struct, frozen=True, kw_only=True):
    """What one server said to one question.

    Attributes:
        rcode: "NOERROR", "NXDOMAIN", "SERVFAIL", …; "" where nothing came.
        records: of the type asked for, in text form, names in lower case without the last dot.
        alias: the name that a CNAME led to, "" for none.
        error: why nothing came: "timeout" or words.
        truncated: the answer did not fit into a datagram.
    """

    rcode: str = ""
    records: tuple[str, ...] = ()
    alias: str = ""
    error: str = ""
    truncated: bool = False
    milliseconds: float = 0.0

    @property
    def answered(self) -> bool:
        return bool(self.rcode)

    def __str__(self) -> str:
        if self.error:
            return "no answer" if self.error == "timeout" else self.error
        if self.truncated:
            return "truncated, to be asked again over TCP"
        if self.rcode != "NOERROR":
            return self.rcode
        shown = ", ".join(self.records) or "no such record"
        return f"alias of {self.alias}: {shown}" if self.alias else shown


async def ask(
    server: str, name: str, kind: str, *, tcp: bool, seconds: float, time: Callable[[], float]
) -> DnsReply:  # fmt: skip
    """Ask; whatever happens is a value. `name` in A-label form."""
    began = time()
    try:
        address, port = endpoint(server)
        query = dns.message.make_query(name, kind, use_edns=0)
        if tcp:
            response = await dns.asyncquery.tcp(query, address, timeout=seconds, port=port)
        else:
            response = await dns.asyncquery.udp(query, address, timeout=seconds, port=port, ignore_errors=True)
    except dns.exception.Timeout:
        return DnsReply(error="timeout", milliseconds=_passed(began, time))
    except (OSError, EOFError, ValueError, dns.exception.DNSException) as error:
        reason = getattr(error, "strerror", "") or str(error) or type(error).__name__
        return DnsReply(error=reason, milliseconds=_passed(began, time))
    return _read(response, name, kind, _passed(began, time))


def _passed(began: float, time: Callable[[], float]) -> float:
    return round((time() - began) * 1000, 1)


def _read(response: dns.message.Message, name: str, kind: str, milliseconds: float) -> DnsReply:
    wanted = dns.rdatatype.from_text(kind)
    records: list[str] = []
    alias = ""
    for rrset in response.answer:
        if rrset.rdtype == dns.rdatatype.CNAME:
            alias = _name(next(iter(rrset)).to_text())
        elif rrset.rdtype == wanted:
            records += [_record(rdata.to_text(), kind) for rdata in rrset]
    return DnsReply(
        rcode=dns.rcode.to_text(response.rcode()),
        records=tuple(sorted(records, key=_order(kind))[:MX_RECORDS]),
        alias=alias,
        truncated=bool(response.flags & dns.flags.TC),
        milliseconds=milliseconds,
    )


def _record(text: str, kind: str) -> str:
    if kind != "MX":
        return text
    preference, _, host = text.partition(" ")
    return f"{preference} {_name(host) or '.'}"


def _order(kind: str) -> Callable[[str], tuple[int, str]]:
    if kind == "MX":
        return lambda text: (int(text.partition(" ")[0]), text)
    return lambda text: (0, text)


def _name(text: str) -> str:
    return text.rstrip(".").lower()


def exchangers(reply: DnsReply) -> Sequence[tuple[int, str]]:
    """Preference and host of MX records; the host of a null MX is ""."""
    pairs = (record.partition(" ") for record in reply.records)
    return [(int(preference), host.rstrip(".")) for preference, _, host in pairs]
