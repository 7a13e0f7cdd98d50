# SPDX-License-Identifier: MIT
"""From where this machine can meet one of its own receive connectors, as a client that the connector is for.

Asks the code that decides for real connections. Behind a PROXY protocol source that we are ourselves, any client
address can be played on the wire; else only our own addresses can, of which 127.0.0.0/8 holds sixteen million.
"""

import ipaddress
import socket
from collections.abc import Iterator, Sequence

import msgspec

from bridgehead.net.dialer import is_local_address
from bridgehead.net.ip_range import Binding, IPAddress, IPRange, parse_binding, parse_ip, parse_range
from bridgehead.receive.connectors.selection import ReceiveConnectors
from bridgehead.receive.devices.devices import Devices
from bridgehead.receive.settings import Device, ReceiveConnector

_LOOPBACK = {4: parse_range("127.0.0.1-127.255.255.254"), 6: parse_range("::1")}
_PROXY_PORT = 50_000


class Vantage(msgspec.Struct, frozen=True, kw_only=True):
    """One way to meet a connector.

    Attributes:
        address, port: where to connect.
        source: from which own address.
        client: as whom the server sees us.
        preamble: PROXY protocol header, b"" where none is due.
    """

    address: str
    port: int
    source: str
    client: str
    preamble: bytes = b""


def vantages(
    connectors: Sequence[ReceiveConnector], connector: ReceiveConnector, binding: Binding, client: str = "",
    devices: Sequence[Device] = (),
) -> Iterator[Vantage]:  # fmt: skip
    """The ways to meet `connector` on one of its bindings, as `client` where that is given (normalised address); else
    as a client that is none of `devices`, which have rights of their own."""
    known = Devices(devices)
    for one in _ways(connectors, connector, binding, client):
        if client or known.match(connector.name, one.client) is None:
            yield one


def _ways(
    connectors: Sequence[ReceiveConnector], connector: ReceiveConnector, binding: Binding, client: str
) -> Iterator[Vantage]:  # fmt: skip
    compiled = ReceiveConnectors(connectors)
    seen: set[Vantage] = set()
    for local, source in _pairs(connector, binding, client):
        played = client or source
        expects = expects_proxy(connectors, binding.port, source)
        if not expects and played != source:
            continue
        preamble = _proxy_header(played, local, binding.port) if expects else b""
        one = Vantage(address=local, port=binding.port, source=source, client=played, preamble=preamble)
        if one not in seen and compiled.match(local, binding.port, played).connector is connector:
            seen.add(one)
            yield one
        if expects and not client:
            yield from _played(compiled, connector, one, local, seen)


def expects_proxy(connectors: Sequence[ReceiveConnector], port: int, source: str) -> bool:
    """Whether a client at `source` must send a PROXY header on this port."""
    address = parse_ip(source)
    return any(
        one.enabled
        and any(parse_binding(text).port == port for text in one.bindings)
        and any(parse_range(text).contains(address) for text in one.proxy_protocol_sources)
        for one in connectors
    )


def entry_points(binding: Binding) -> list[str]:
    """The addresses of this machine to connect to for a binding."""
    if not binding.is_wildcard:
        return [str(binding.address)]
    return ["127.0.0.1" if binding.address.version == 4 else "::1"]


def _pairs(connector: ReceiveConnector, binding: Binding, client: str) -> Iterator[tuple[str, str]]:
    """(local address, source address) worth trying, the usual ones first."""
    version = binding.address.version
    ranges = [one for one in map(parse_range, connector.remote_ip_ranges) if one.version == version]
    entries = entry_points(binding)
    for local in entries:
        if client and parse_ip(client).version == version and is_local_address(client):
            yield local, client
        if parse_ip(local).is_loopback:
            yield local, local
            yield from ((local, source) for one in ranges if (source := _loopback_in(one)))
        else:
            yield local, local
    if binding.is_wildcard:
        own = [address for one in ranges if (address := _own_address_in(one))]
        yield from ((address, address) for address in own)


def _played(
    compiled: ReceiveConnectors, connector: ReceiveConnector, base: Vantage, local: str, seen: set[Vantage]
) -> Iterator[Vantage]:  # fmt: skip
    """Clients played by PROXY header: the first address of each remote range."""
    for one in map(parse_range, connector.remote_ip_ranges):
        if one.version != parse_ip(local).version:
            continue
        client = str(_address(one.version, min(one.first + 1, one.last)))
        vantage = msgspec.structs.replace(base, client=client, preamble=_proxy_header(client, local, base.port))
        if vantage not in seen and compiled.match(local, base.port, client).connector is connector:
            seen.add(vantage)
            yield vantage


def _proxy_header(client: str, local: str, port: int) -> bytes:
    family = "TCP6" if ":" in local else "TCP4"
    if (":" in client) != (":" in local):
        return b"PROXY UNKNOWN\r\n"
    return f"PROXY {family} {client} {local} {_PROXY_PORT} {port}\r\n".encode()


def _loopback_in(one: IPRange) -> str:
    """A loopback address within a range, "" for none."""
    loopback = _LOOPBACK[one.version]
    first, last = max(one.first, loopback.first), min(one.last, loopback.last)
    return str(_address(one.version, first)) if first <= last else ""


def _own_address_in(one: IPRange) -> str:
    """Our address on the way to a range, where it lies within the range; nothing is sent to find out."""
    family = socket.AF_INET6 if one.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(_address(one.version, min(one.first + 1, one.last))), 9))
            own = parse_ip(probe.getsockname()[0])
        except (OSError, ValueError):
            return ""
    return str(own) if one.contains(own) and not own.is_loopback else ""


def _address(version: int, number: int) -> IPAddress:
    return ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number)
