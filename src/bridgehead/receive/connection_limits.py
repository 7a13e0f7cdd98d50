# SPDX-License-Identifier: MIT
"""How many connections a connector takes: in all, from one source, and one source's share of what is still free.

MaxInboundConnection, MaxInboundConnectionPerSource and MaxInboundConnectionPercentagePerSource. A source is one IP
address, as in Exchange, for IPv6 too; the share of the remainder is what keeps many addresses of one /64 in bounds.
"""

from bridgehead.mail.reply import Reply
from bridgehead.receive.settings import ReceiveConnector
from bridgehead.smtp import replies


class _Counts:
    """Open connections of one connector, in all and by source."""

    __slots__ = ("by_source", "total")

    def __init__(self) -> None:
        self.by_source: dict[str, int] = {}
        self.total = 0


class ConnectionLimits:
    """Counts open connections by connector name, so that a reload with other limits forgets none.

    Memory is bounded by the connections that are open.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}

    def open_connections(self, connector_name: str) -> int:
        """How many are open now."""
        counts = self._counts.get(connector_name)
        return counts.total if counts else 0

    def held(self, connector_name: str, source: str) -> int:
        """How many of them one source has open."""
        counts = self._counts.get(connector_name)
        return counts.by_source.get(source, 0) if counts else 0

    def acquire(self, connector: ReceiveConnector, source: str) -> Reply | None:
        """Count a connection from a source (normalised address), or the reply that refuses it and counts nothing.

        The share of a source is of what others leave, so that 100 percent is no limit of its own. A source may always
        hold one connection while any is free: a percentage that rounds to none must not shut everybody off.
        """
        counts = self._counts.get(connector.name)
        if counts is None:
            counts = self._counts[connector.name] = _Counts()
        if counts.total >= connector.max_inbound_connection:
            return replies.TOO_MANY_CONNECTIONS
        held = counts.by_source.get(source, 0)
        remaining = connector.max_inbound_connection - (counts.total - held)
        share = max(1, remaining * connector.max_inbound_connection_percentage_per_source // 100)
        if held >= connector.max_inbound_connection_per_source or held >= share:
            return replies.TOO_MANY_CONNECTIONS_FROM_SOURCE
        counts.by_source[source] = held + 1
        counts.total += 1
        return None

    def release(self, connector_name: str, source: str) -> None:
        """Give back a connection that `acquire` counted. Raises ValueError where none is."""
        counts = self._counts.get(connector_name)
        held = counts.by_source.get(source, 0) if counts else 0
        if counts is None or held == 0:
            raise ValueError(f"no connection from {source} is counted for {connector_name}")
        if held == 1:
            del counts.by_source[source]
        else:
            counts.by_source[source] = held - 1
        counts.total -= 1
        if counts.total == 0:
            del self._counts[connector_name]
