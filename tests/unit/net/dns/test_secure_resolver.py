# SPDX-License-Identifier: MIT
"""What the validating look-up makes of odd answers, octet by octet; tests with real servers are in
`tests/unit/delivery/smtp_send/test_dane.py`."""

import asyncio
import struct

import dns.message
import dns.name
import dns.rdatatype
import pytest

from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.dane_lookup import DaneLookup
from bridgehead.net.dns.resolver import Outcome
from bridgehead.net.dns.secure_resolver import SecureResolver, is_believed
from bridgehead.routing.domain_tls import DaneOutcome

_AD, _TC = 0x0020, 0x0200


class OddServer(asyncio.DatagramProtocol):
    """Answers with AD; `rdata` by type, as octets. A type that is not mentioned has no record."""

    def __init__(self, rdata, *, truncated=False, garbage=False):
        self.rdata, self.truncated, self.garbage = rdata, truncated, garbage

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        if self.garbage:
            self.transport.sendto(b"\0" * 7, addr)
            self.transport.sendto(data[:2] + b"\xff" * 40, addr)
        self.transport.sendto(self.answer(data, truncated=self.truncated), addr)

    def answer(self, data, *, truncated=False):
        question = dns.message.from_wire(data).question[0]
        records = [] if truncated else self.rdata.get(dns.rdatatype.to_text(question.rdtype), [])
        flags = 0x8180 | _AD | (_TC if truncated else 0)
        name = question.name.to_wire()
        body = name + struct.pack("!HH", question.rdtype, 1)
        for rdata in records:
            body += name + struct.pack("!HHIH", question.rdtype, 1, 60, len(rdata)) + rdata
        return data[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + body

    async def serve_tcp(self, reader, writer):
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        answer = self.answer(await reader.readexactly(length))
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()
        writer.close()


@pytest.fixture
async def odd():
    """Starts a server, gives a resolver that asks it."""
    started = []

    async def start(rdata, **how):
        loop = asyncio.get_running_loop()
        server = OddServer(rdata, **how)
        while True:
            transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
            port = transport.get_extra_info("sockname")[1]
            try:
                tcp = await asyncio.start_server(server.serve_tcp, "127.0.0.1", port)
            except OSError:  # another program has this port for TCP
                transport.close()
                continue
            break
        resolver = SecureResolver([f"127.0.0.1:{port}"], clock=SystemClock(), timeout=2, tries=1, hosts={})
        started.append((transport, tcp, resolver))
        return resolver

    yield start
    for transport, tcp, resolver in started:
        transport.close()
        tcp.close()
        await tcp.wait_closed()
        await resolver.close()
    await asyncio.sleep(0)  # a closed transport lets its socket go in the loop's next round


GOOD = b"\x03\x01\x01" + bytes(32)


@pytest.mark.parametrize(
    ("records", "outcome", "usable"),
    [
        ([GOOD], DaneOutcome.RECORDS, 1),
        ([b"\x03\x01\x01\x00", GOOD], DaneOutcome.RECORDS, 1),
        ([b"", GOOD], DaneOutcome.RECORDS, 1),
        ([b"\x03\x01\x01\x00"], DaneOutcome.UNUSABLE, 0),
        ([b""], DaneOutcome.UNUSABLE, 0),
        ([b"\x03"], DaneOutcome.UNUSABLE, 0),
        ([b"\xff" * 400], DaneOutcome.UNUSABLE, 0),
        ([GOOD] * 3, DaneOutcome.RECORDS, 1),
        ([], DaneOutcome.ABSENT, 0),
    ],
)
async def test_d4_garbled_tlsa_records_hide_no_others_and_are_not_absence(odd, records, outcome, usable):
    resolver = await odd({"TLSA": records, "A": [b"\x7f\0\0\1"]})
    answer = await DaneLookup(resolver, SystemClock()).host("mx.contoso.test", 25, mx_is_secure=True)
    assert answer.outcome is outcome
    assert len(answer.records) == usable


async def test_an_mx_record_that_cannot_be_read_is_no_answer(odd):
    resolver = await odd({"MX": [b"\0"]})
    assert (await resolver.mx("contoso.test")).outcome is Outcome.TEMPORARY_FAILURE


async def test_a_cut_answer_is_asked_for_by_tcp(odd):
    resolver = await odd({"A": [bytes((127, 0, 0, number)) for number in range(1, 9)]}, truncated=True)
    found = await resolver.addresses("mx.contoso.test")
    assert len(found.values) == 8


async def test_datagrams_that_are_no_answer_are_passed_over(odd):
    resolver = await odd({"A": [b"\x7f\0\0\1"]}, garbage=True)
    assert (await resolver.addresses("mx.contoso.test")).values == ("127.0.0.1",)


async def test_other_kinds_come_as_from_the_other_resolver(odd):
    target = dns.name.from_text("mx.contoso.test.").to_wire()
    resolver = await odd({"MX": [b"\0\x0a" + target], "PTR": [target], "TXT": [b"\3abc\2de"]})
    (record,) = (await resolver.mx("contoso.test")).records
    assert (record.preference, record.exchange) == (10, "mx.contoso.test")
    assert (await resolver.ptr("192.0.2.1")).values == ("mx.contoso.test",)
    assert (await resolver.txt("contoso.test")).values == (b"abcde",)
    shown = await resolver.question("contoso.test", "MX")
    assert shown.values == ("mx.contoso.test",)


@pytest.mark.parametrize("name", ["a" * 64 + ".test", "a..test", "x." * 130 + "test"])
async def test_a_name_that_dns_cannot_hold_does_not_exist(odd, name):
    resolver = await odd({})
    assert (await resolver.mx(name)).outcome is Outcome.NO_SUCH_DOMAIN


def test_what_is_no_server_in_resolv_conf_is_left_out(monkeypatch):
    listed = ["nonsense", "127.0.0.53", "fe80::1%eth0", "300.1.1.1"]
    monkeypatch.setattr("bridgehead.net.dns.secure_resolver.system_servers", lambda: listed)
    resolver = SecureResolver(clock=SystemClock())
    assert resolver._endpoints == [("127.0.0.53", 53), ("fe80::1%eth0", 53)]
    assert resolver.is_trusted


@pytest.mark.parametrize(
    ("server", "trusted", "believed"),
    [
        ("127.0.0.1", (), True),
        ("127.0.0.53:53", (), True),
        ("[::1]:53", (), True),
        ("::1", (), True),
        ("192.0.2.53", (), False),
        ("192.0.2.53", ("192.0.2.53",), True),
        ("192.0.2.53:5353", ("192.0.2.53",), True),
        ("192.0.2.54", ("192.0.2.53",), False),
        ("nonsense", (), False),
    ],
)
def test_d12_whose_ad_bit_counts(server, trusted, believed):
    assert is_believed(server, trusted) is believed
