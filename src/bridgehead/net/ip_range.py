# SPDX-License-Identifier: MIT
"""IP addresses, ranges of them and bindings, as administrators write them (RemoteIPRanges, Bindings).

The one place where a client's address takes its normal form: IPv4 mapped into IPv6 is IPv4, a scope id goes.
"""

import ipaddress
from functools import lru_cache

import msgspec

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class RangeError(ValueError):
    """The text is no range or binding; the message says what was expected."""


@lru_cache(maxsize=4096)
def normalise_ip(text: str) -> str:
    """An address as text in its normal form. Raises ValueError. Asked twice by each connection, mostly the same."""
    return str(parse_ip(text))


def parse_ip(text: str) -> IPAddress:
    """An address in its normal form, so that `::ffff:192.0.2.1` never gets round a rule for `192.0.2.1`.

    Raises ValueError.
    """
    if "." in text and ":" not in text:
        return ipaddress.IPv4Address(text)
    address = ipaddress.IPv6Address(text.partition("%")[0])
    return address.ipv4_mapped or address


_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10",
        "fc00::/7", "fe80::/10", "::1/128",
    )
)  # fmt: skip


class IPRange(msgspec.Struct, frozen=True):
    """Addresses of one family from `first` to `last`, both included; `text` is as written."""

    version: int
    first: int
    last: int
    text: str

    def contains(self, address: IPAddress) -> bool:
        """Whether a normalised address lies within."""
        return address.version == self.version and self.first <= int(address) <= self.last

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    @property
    def is_private(self) -> bool:
        """Whether it lies within networks that the Internet does not route (RFC 1918, RFC 4193 and the like)."""
        kind = ipaddress.IPv4Address if self.version == 4 else ipaddress.IPv6Address
        first, last = kind(self.first), kind(self.last)
        return any(first in network and last in network for network in _PRIVATE if network.version == self.version)

    def covers(self, other: "IPRange") -> bool:
        """Whether all of `other` lies within."""
        return self.version == other.version and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: "IPRange") -> bool:
        return self.version == other.version and self.first <= other.last and other.first <= self.last

    def equals(self, other: "IPRange") -> bool:
        """The same addresses, however they are written."""
        return self.version == other.version and self.first == other.first and self.last == other.last


def parse_range(text: str) -> IPRange:
    """Read "10.0.0.0/8", "10.2.0.1-10.2.0.99", "10.2.0.17", IPv6 alike. Raises RangeError."""
    written = text.strip()
    try:
        if "/" in written:
            return _parse_network(written)
        first_text, dash, last_text = written.partition("-")
        first = parse_ip(first_text.strip())
        last = parse_ip(last_text.strip()) if dash else first
    except RangeError:
        raise
    except ValueError:
        raise RangeError(
            f'an IP range such as "10.0.0.0/8", "10.2.0.1-10.2.0.99" or "10.2.0.17" was expected, not {text!r}'
        ) from None
    if first.version != last.version:
        raise RangeError(f"{text!r} begins in one address family and ends in the other")
    if int(first) > int(last):
        raise RangeError(f'{text!r} ends before it begins; "{last}-{first}" was perhaps meant')
    return IPRange(first.version, int(first), int(last), written)


def _parse_network(written: str) -> IPRange:
    network = ipaddress.ip_network(written, strict=False)
    given = ipaddress.ip_address(written.partition("/")[0])
    if given != network.network_address:
        raise RangeError(f'{written!r} has bits set behind its prefix; "{network}" or "{given}" was perhaps meant')
    first, last = network.network_address, network.broadcast_address
    if isinstance(first, ipaddress.IPv6Address) and network.prefixlen >= 96 and first.ipv4_mapped:
        first, last = parse_ip(str(first)), parse_ip(str(last))
    return IPRange(first.version, int(first), int(last), written)


WIDE_RANGE = 2**16
"""IPv4 addresses in a range beyond which it holds more than the machines somebody knows; of IPv6, 2**64."""


def is_wide(addresses: IPRange) -> bool:
    """Whether a range holds strangers: beyond private networks, more addresses than anybody has machines."""
    kind = ipaddress.IPv4Address if addresses.version == 4 else ipaddress.IPv6Address
    if addresses.first and kind(addresses.first).is_private and kind(addresses.last).is_private:
        return False
    return addresses.size > (WIDE_RANGE if addresses.version == 4 else 2**64)


class Binding(msgspec.Struct, frozen=True):
    """An address and port to listen on. `0.0.0.0` stands for all of IPv4, `::` for all of IPv6 and no IPv4."""

    address: IPAddress
    port: int

    @property
    def is_wildcard(self) -> bool:
        return int(self.address) == 0

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


def parse_binding(text: str) -> Binding:
    """Read "0.0.0.0:25", "127.0.0.1:2525" or "[::]:25"; port 0 lets the system choose. Raises RangeError."""
    host, colon, port = text.strip().rpartition(":")
    try:
        if not colon or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise ValueError
        if host.startswith("[") != (":" in host) or host.startswith("[") != host.endswith("]"):
            raise ValueError
        return Binding(parse_ip(host.strip("[]")), int(port))
    except ValueError:
        raise RangeError(
            f'a binding such as "0.0.0.0:25", "127.0.0.1:2525" or "[::]:25" was expected, not {text!r}'
        ) from None
