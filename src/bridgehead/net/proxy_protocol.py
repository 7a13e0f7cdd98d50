# SPDX-License-Identifier: MIT
"""The PROXY protocol, versions 1 and 2 (haproxy.org, "The PROXY protocol", §2.1, §2.2): who the client really is.

Sans I/O: octets in, a header or an error out. Only a peer that the administrator listed may send a header, and it
must, before anything else; that is the caller's to enforce. Whoever sends one is believed whatever it claims.
"""

import ipaddress
from typing import Final

import msgspec

from bridgehead.mail.limits import PROXY_HEADER_BYTES

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V1_PREFIX: Final = b"PROXY "
_V1_BYTES: Final = 107
"""Longest header of version 1 with its CR LF (§2.1)."""
_V2_FIXED: Final = 16
_PORT_DIGITS: Final = 5


class ProxyProtocolError(Exception):
    """The octets are no valid header; the message says why in words fit for a log."""


class ProxyHeader(msgspec.Struct, frozen=True):
    """What the proxy said.

    Attributes:
        source_ip, destination_ip: as the proxy wrote them, valid; "" where it speaks for itself (LOCAL) or does not
            know (UNKNOWN): the connection's own addresses hold then.
        rest: octets after the header, the client's first.
    """

    source_ip: str
    source_port: int
    destination_ip: str
    destination_port: int
    rest: bytes


class ProxyProtocolParser:
    """Reads one header from the start of a connection."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Take octets; the header once it is complete, None while more is needed. Raises ProxyProtocolError."""
        self._buffer += data
        buffer = self._buffer
        if buffer[: len(_SIGNATURE)] == _SIGNATURE[: len(buffer)]:
            return _parse_v2(buffer)
        if buffer[: len(_V1_PREFIX)] == _V1_PREFIX[: len(buffer)]:
            return _parse_v1(buffer)
        raise ProxyProtocolError("the connection does not begin with a PROXY header")


def _parse_v1(buffer: bytes) -> ProxyHeader | None:
    end = buffer.find(b"\r\n", 0, _V1_BYTES)
    if end < 0:
        if len(buffer) >= _V1_BYTES:
            raise ProxyProtocolError(f"the line of version 1 is longer than {_V1_BYTES} octets")
        return None
    rest = buffer[end + 2 :]
    words = buffer[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return ProxyHeader("", 0, "", 0, rest)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyProtocolError("the line of version 1 is malformed")
    _, family, source, destination, source_port, destination_port = words
    kind = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
    try:
        source_ip, destination_ip = str(kind(source.decode("ascii"))), str(kind(destination.decode("ascii")))
    except ValueError:
        raise ProxyProtocolError("an address of version 1 is malformed") from None
    if "%" in source_ip or "%" in destination_ip:
        raise ProxyProtocolError("an address of version 1 has a scope")
    return ProxyHeader(source_ip, _port(source_port), destination_ip, _port(destination_port), rest)


def _port(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > _PORT_DIGITS or (digits[:1] == b"0" and digits != b"0"):
        raise ProxyProtocolError("a port of version 1 is malformed")
    port = int(digits)
    if port > 65535:
        raise ProxyProtocolError("a port of version 1 is above 65535")
    return port


def _parse_v2(buffer: bytes) -> ProxyHeader | None:
    if len(buffer) < _V2_FIXED:
        return None
    version, command, family = buffer[12] >> 4, buffer[12] & 0x0F, buffer[13]
    length = int.from_bytes(buffer[14:16], "big")
    if version != 2 or command > 1:
        raise ProxyProtocolError(f"version {version} with command {command} is unknown")
    if length > PROXY_HEADER_BYTES:
        raise ProxyProtocolError(f"the header of version 2 is longer than {PROXY_HEADER_BYTES} octets")
    end = _V2_FIXED + length
    if command == 1 and family not in (0x00, 0x11, 0x21):
        raise ProxyProtocolError(f"address family and protocol 0x{family:02x} are not TCP over IP")
    needed = {0x11: 12, 0x21: 36}.get(family, 0) if command == 1 else 0
    if length < needed:
        raise ProxyProtocolError("the header of version 2 is too short for its addresses")
    if len(buffer) < end:
        return None
    rest = buffer[end:]
    if not needed:
        return ProxyHeader("", 0, "", 0, rest)
    size = (needed - 4) // 2
    at = _V2_FIXED
    source, destination = buffer[at : at + size], buffer[at + size : at + 2 * size]
    ports = buffer[at + 2 * size : at + needed]
    return ProxyHeader(
        str(ipaddress.ip_address(source)), int.from_bytes(ports[:2], "big"),
        str(ipaddress.ip_address(destination)), int.from_bytes(ports[2:], "big"), rest,
    )  # fmt: skip
