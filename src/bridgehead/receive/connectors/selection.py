# SPDX-License-Identifier: MIT
"""Which receive connector a connection belongs to: by binding, then by the most specific remote range.

Exchange's rule: of the connectors listening where the client arrived, the one whose range around the client's
address is smallest. A binding to the very address comes before one to all addresses. Only addresses decide, never
names. What a connector then allows is `permissions`; whether a set of connectors is sound, `check.py`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from bridgehead.net.ip_range import Binding, IPAddress, IPRange, normalise_ip, parse_binding, parse_ip, parse_range
from bridgehead.receive.connectors.check import check
from bridgehead.receive.settings import ReceiveConnector

__all__ = ["Match", "Mismatch", "ReceiveConnectors", "check", "normalise_ip", "parse_binding", "parse_range"]


class Mismatch(NamedTuple):
    """A connector that was not chosen, and why not."""

    connector: ReceiveConnector
    reason: str


class _Compiled(NamedTuple):
    connector: ReceiveConnector
    bindings: tuple[Binding, ...]
    ranges: tuple[IPRange, ...]


class _Candidate(NamedTuple):
    """One connector's one remote range on one binding."""

    remote_range: IPRange
    binding: Binding
    connector: ReceiveConnector


class Match(msgspec.Struct, frozen=True):
    """The connector of a connection.

    Attributes:
        connector: None where none accepts the client; the connection is then refused.
        binding, remote_range: what decided, None without a connector.
    """

    connector: ReceiveConnector | None
    binding: Binding | None
    remote_range: IPRange | None
    explain: Callable[[], list[Mismatch]]
    """Why each of the other connectors was not chosen, in the order of the configuration; worked out when called."""


class ReceiveConnectors:
    """The connectors of one configuration, compiled for look-up. Disabled ones are never chosen.

    Raises RangeError on bindings or ranges that `check` would have refused.
    """

    def __init__(self, connectors: Sequence[ReceiveConnector]) -> None:
        self.connectors = tuple(connectors)
        self._compiled = [
            _Compiled(one, tuple(map(parse_binding, one.bindings)), tuple(map(parse_range, one.remote_ip_ranges)))
            for one in connectors
        ]
        self._by_binding: dict[Binding, list[_Candidate]] = {}
        for one in self._compiled:
            if one.connector.enabled:
                for binding in one.bindings:
                    self._by_binding.setdefault(binding, []).extend(
                        _Candidate(remote_range, binding, one.connector) for remote_range in one.ranges
                    )
        for candidates in self._by_binding.values():
            candidates.sort(key=lambda candidate: candidate.remote_range.size)  # the first that fits is the closest
        self._any = {4: parse_binding("0.0.0.0:0").address, 6: parse_binding("[::]:0").address}
        self._cached: Callable[[str, int, str], Match] = lru_cache(maxsize=4096)(self._match)

    def match(self, local_ip: str, local_port: int, client_ip: str) -> Match:
        """The connector for a client that arrived at this local address. Raises ValueError on what is no address."""
        return self._cached(local_ip, local_port, client_ip)

    def listening(self) -> list[Binding]:
        """The bindings to open: each once, without those that a binding to all addresses includes."""
        return [
            binding
            for binding in self._by_binding
            if binding.is_wildcard or self._wildcard(binding.address, binding.port) not in self._by_binding
        ]

    def _wildcard(self, address: IPAddress, port: int) -> Binding:
        return Binding(self._any[address.version], port)

    def _match(self, local_ip: str, local_port: int, client_ip: str) -> Match:
        local, client = parse_ip(local_ip), parse_ip(client_ip)

        def explain() -> list[Mismatch]:
            return self._mismatches(local, local_port, client, chosen)

        chosen = None
        for binding in (Binding(local, local_port), self._wildcard(local, local_port)):
            for candidate in self._by_binding.get(binding, ()):
                if candidate.remote_range.contains(client):
                    chosen = candidate
                    return Match(candidate.connector, binding, candidate.remote_range, explain)
        return Match(None, None, None, explain)

    def _mismatches(
        self, local: IPAddress, port: int, client: IPAddress, chosen: _Candidate | None
    ) -> list[Mismatch]:  # fmt: skip
        return [
            Mismatch(one.connector, self._reason(one, local, port, client, chosen))
            for one in self._compiled
            if chosen is None or one.connector is not chosen.connector
        ]

    def _reason(
        self, one: _Compiled, local: IPAddress, port: int, client: IPAddress, chosen: _Candidate | None
    ) -> str:  # fmt: skip
        if not one.connector.enabled:
            return "it is disabled"
        exact, wildcard = Binding(local, port), self._wildcard(local, port)
        if exact not in one.bindings and wildcard not in one.bindings:
            return f"it does not listen on {exact}, only on {', '.join(map(str, one.bindings)) or 'nothing'}"
        around = [remote_range for remote_range in one.ranges if remote_range.contains(client)]
        if not around:
            return f"no remote range of it contains {client}"
        if chosen is not None and chosen.binding == exact != wildcard and exact not in one.bindings:
            return f"its binding {wildcard} is less specific than {exact}"
        closest = min(around, key=lambda remote_range: remote_range.size)
        other = chosen.remote_range.text if chosen else "none"
        return f"its remote range {closest.text} is less specific than {other}"


def is_protected(connector: ReceiveConnector) -> bool:
    """Whether strangers who write in our name must show that they may (AntiSpoofingEnabled)."""
    if connector.anti_spoofing_enabled is not None:
        return connector.anti_spoofing_enabled
    return is_internet_facing(connector)


def is_internet_facing(connector: ReceiveConnector) -> bool:
    """Whether strangers can reach it: neither its bindings nor its remote ranges are private all through."""
    private = all(parse_range(text).is_private for text in connector.remote_ip_ranges)
    return not private and not is_loopback_only(connector)


def is_loopback_only(connector: ReceiveConnector) -> bool:
    """Whether nobody but this machine can reach it. A proxy on this machine brings clients from anywhere."""
    return not connector.proxy_protocol_sources and all(
        parse_binding(text).address.is_loopback for text in connector.bindings
    )
