# SPDX-License-Identifier: MIT
import ipaddress

import pytest

from bridgehead.net.proxy_protocol import ProxyHeader, ProxyProtocolError, ProxyProtocolParser

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def parse(data: bytes, size: int = 0) -> ProxyHeader | None:
    """Feed whole, or in pieces of `size`; what comes after the header stays unread then."""
    parser = ProxyProtocolParser()
    if not size:
        return parser.feed(data)
    for start in range(0, len(data), size):
        if (header := parser.feed(data[start : start + size])) is not None:
            return header
    return None


def v2(family: int, payload: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(payload).to_bytes(2, "big") + payload


V4 = ipaddress.ip_address("192.0.2.7").packed + ipaddress.ip_address("10.0.0.1").packed + b"\x30\x39\x00\x19"
V6 = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("2001:db8::1").packed + b"\x30\x39\x00\x19"


@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize(
    ("data", "source", "destination"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 25\r\n", "192.0.2.7", "10.0.0.1"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 25\r\n", "2001:db8::7", "2001:db8::1"),
        (v2(0x11, V4), "192.0.2.7", "10.0.0.1"),
        (v2(0x21, V6), "2001:db8::7", "2001:db8::1"),
        (v2(0x11, V4 + b"\x04\x00\x03abc"), "192.0.2.7", "10.0.0.1"),
    ],
)
def test_client_is_learned_however_the_octets_arrive(size: int, data: bytes, source: str, destination: str) -> None:
    assert parse(data, size) == ProxyHeader(source, 12345, destination, 25, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        v2(0, b"", 0x20),
        v2(0x11, V4, 0x20),
        v2(0, b"xyz"),
    ],
)
def test_a_proxy_that_speaks_for_itself_names_nobody(data: bytes) -> None:
    assert parse(data + b"EHLO x\r\n") == ProxyHeader("", 0, "", 0, b"EHLO x\r\n")


def test_what_follows_is_the_clients() -> None:
    header = parse(v2(0x11, V4) + b"EHLO x\r\n")
    assert header is not None
    assert header.rest == b"EHLO x\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"EHLO client\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 25 x\r\n",
        b"PROXY TCP4  192.0.2.7 10.0.0.1 12345 25\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 012 25\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 25\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 25\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 12 25\n",
        b"PROXY TCP4 2001:db8::1 10.0.0.1 12 25\r\n",
        b"PROXY TCP6 192.0.2.7 10.0.0.1 12 25\r\n",
        b"PROXY TCP6 fe80::1%eth0 fe80::2 12 25\r\n",
        b"PROXY UDP4 192.0.2.7 10.0.0.1 12 25\r\n",
        b"proxy TCP4 192.0.2.7 10.0.0.1 12 25\r\n",
        b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
        v2(0x11, V4, 0x11),
        v2(0x11, V4, 0x22),
        v2(0x12, V4),
        v2(0x31, b"\0" * 216),
        v2(0x11, V4[:-1]),
        v2(0x21, V4),
        v2(0x11, V4 + b"\0" * 4096),
    ],
)
def test_what_is_no_header_is_an_error_and_never_a_client(data: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        parse(data + b"EHLO x\r\n" * 20)


def test_a_header_that_never_ends_is_refused_early() -> None:
    parser = ProxyProtocolParser()
    assert parser.feed(b"PROXY TCP4 " + b"1" * 90) is None
    with pytest.raises(ProxyProtocolError, match="longer"):
        parser.feed(b"1" * 10)
