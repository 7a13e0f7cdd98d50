# SPDX-License-Identifier: MIT
"""A small DNS server with scripted answers, on UDP and TCP of one loopback port.

    async with ScriptedDns() as dns:
        dns.add("example.com", "MX", "10 mx1.example.com.", "20 mx2.example.com.")
        dns.add("mx1.example.com", "A", "127.0.0.1")
        dns.servfail("broken.example")
        dns.silent("slow.example")
        dns.silent("half.example", "AAAA")
        resolver = Resolver([dns.address], clock=SystemClock())

A name that was never mentioned is NXDOMAIN; a name known with another type only is an empty answer (NODATA). Aliases
are followed. `truncate` makes UDP answers say TC, so that the client comes back by TCP.
"""

import asyncio
from types import TracebackType
from typing import Self, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

_SOA = "ns.test. hostmaster.test. 1 3600 600 86400 {minimum}"


class ScriptedDns:
    """The server. Names are compared without case; the records may be changed while it runs.

    Attributes:
        address: "127.0.0.1:PORT", the form `dns_servers` takes.
        questions: every question as (name in lower case without the last dot, type), in order of arrival.
        answers_udp, answers_tcp: whether it says anything over that transport.
        negative_ttl: SOA minimum in negative answers, seconds.
    """

    def __init__(self) -> None:
        self.address = ""
        self.questions: list[tuple[str, str]] = []
        self.negative_ttl = 60
        self._records: dict[str, dict[str, tuple[int, tuple[str, ...]]]] = {}
        self._rcodes: dict[str, dns.rcode.Rcode] = {}
        self._silent: set[tuple[str, str]] = set()
        self._garbled: set[tuple[str, str]] = set()
        self.answers_udp = self.answers_tcp = True
        self._truncated: set[str] = set()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    def add(self, name: str, kind: str, *values: str, ttl: int = 300) -> None:
        """Records in zone-file form; a second call for the same name and type replaces the first."""
        self._records.setdefault(_key(name), {})[kind.upper()] = (ttl, values)

    def remove(self, name: str) -> None:
        """Forget all records of a name."""
        self._records.pop(_key(name), None)

    def servfail(self, name: str) -> None:
        """Every question about `name` fails with SERVFAIL."""
        self._rcodes[_key(name)] = dns.rcode.SERVFAIL

    def refused(self, name: str) -> None:
        """Every question about `name` is REFUSED."""
        self._rcodes[_key(name)] = dns.rcode.REFUSED

    def silent(self, name: str, *kinds: str) -> None:
        """Questions about `name` get no answer at all; with `kinds`, those of these types."""
        self._silent.update((_key(name), kind.upper()) for kind in kinds or ("",))

    def garble(self, name: str, kind: str) -> None:
        """Questions of this type are answered with octets that are no DNS message behind the header."""
        self._garbled.add((_key(name), kind.upper()))

    def truncate(self, name: str) -> None:
        """Answers about `name` over UDP are truncated."""
        self._truncated.add(_key(name))

    def count(self, name: str, kind: str) -> int:
        """How often this was asked."""
        return self.questions.count((_key(name), kind.upper()))

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for _ in range(20):  # the TCP port that goes with a free UDP port may be taken
            self._udp, _protocol = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=("127.0.0.1", 0)
            )
            port = self._udp.get_extra_info("sockname")[1]
            try:
                self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", port)
            except OSError:
                self._udp.close()
                continue
            self.address = f"127.0.0.1:{port}"
            return self
        raise RuntimeError("no port is free for both UDP and TCP")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
            for writer in list(self._connections):
                writer.close()
            await self._tcp.wait_closed()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                answer = self.answer(await reader.readexactly(size), tcp=True)
                if answer is not None:
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    def answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        """The reply to one question, None where it stays unanswered."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = _key(question.name.to_text()), dns.rdatatype.to_text(question.rdtype)
        self.questions.append((name, kind))
        if {(name, ""), (name, kind)} & self._silent or not (self.answers_tcp if tcp else self.answers_udp):
            return None
        if (name, kind) in self._garbled:
            return wire[:2] + b"\x81\x80\x00\x01\x00\x05" + b"\xff" * 40
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | dns.flags.AA
        if not tcp and name in self._truncated:
            response.flags |= dns.flags.TC
        elif name in self._rcodes:
            response.set_rcode(self._rcodes[name])
        else:
            self._fill(response, name, kind)
        return response.to_wire()

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        for _ in range(8):
            known = self._records.get(name)
            if known is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                break
            found = kind if kind in known else "CNAME" if "CNAME" in known else ""
            if not found:
                break
            ttl, values = known[found]
            response.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", found, *values))
            if found == kind:
                return
            name = _key(values[0])
        soa = _SOA.format(minimum=self.negative_ttl)
        zone = name.rpartition(".")[2] + "."
        response.authority.append(dns.rrset.from_text(zone, self.negative_ttl, "IN", "SOA", soa))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: ScriptedDns) -> None:
        self.server = server
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # uvloop's and asyncio's share no base class

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.server.answer(data, tcp=False)
        if answer is not None and self.transport is not None:
            self.transport.sendto(answer, addr)


def _key(name: str) -> str:
    return name.rstrip(".").lower()
