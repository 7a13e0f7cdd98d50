# SPDX-License-Identifier: MIT
"""How many connections a connector takes: in all, from one source, and one source's share of what is still free.

MaxInboundConnection, MaxInboundConnectionPerSource and MaxInboundConnectionPercentagePerSource. A source is one IP
address, as in Exchange, for IPv6 too; the share of the remainder is what keeps many addresses of one /64 in bounds.
"""

from bridgehead.mail.reply import Reply
from bridgehead.net.shared_slots import SharedSlots, key_of
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

    Args:
        shared: where several processes of this server tell each other what they hold.
    """

    __slots__ = ("_counts", "_shared", "_slots")

    def __init__(self, shared: SharedSlots | None = None) -> None:
        self._counts: dict[str, _Counts] = {}
        self._shared = shared
        self._slots: dict[tuple[str, str], list[int]] = {}

    def open_connections(self, connector_name: str) -> int:
        """How many are open now."""
        counts = self._counts.get(connector_name)
        return (counts.total if counts else 0) + self._elsewhere(connector_name)

    def held(self, connector_name: str, source: str) -> int:
        """How many of them one source has open."""
        counts = self._counts.get(connector_name)
        return (counts.by_source.get(source, 0) if counts else 0) + self._elsewhere(connector_name, source)

    def acquire(self, connector: ReceiveConnector, source: str) -> Reply | None:
        """Count a connection from a source (normalised address), or the reply that refuses it and counts nothing.

        The share of a source is of what others leave, so that 100 percent is no limit of its own. A source may always
        hold one connection while any is free: a percentage that rounds to none must not shut everybody off.
        """
        name = connector.name
        counts = self._counts.get(name)
        if counts is None:
            counts = self._counts[name] = _Counts()
        here = held = counts.by_source.get(source, 0)
        total = counts.total
        if self._shared is not None:
            self._tell(self._shared, name, source)
            total, held = total + self._elsewhere(name), held + self._elsewhere(name, source)
        refusal = _refusal(connector, total, held)
        if refusal is not None:
            self._withdraw(name, source)
            return refusal
        counts.by_source[source] = here + 1
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
        self._withdraw(connector_name, source)
        if counts.total == 0:
            del self._counts[connector_name]

    def _elsewhere(self, *names: str) -> int:
        """Connections of a connector, or of a source to it, with other processes."""
        return self._shared.others(key_of(*names)) if self._shared is not None else 0

    def _tell(self, shared: SharedSlots, connector_name: str, source: str) -> None:
        """Told before it is judged: of two processes that take the last place at once, none passes the limit."""
        slots = self._slots.setdefault((connector_name, source), [])
        slots += [shared.put(key_of(connector_name)), shared.put(key_of(connector_name, source))]

    def _withdraw(self, connector_name: str, source: str) -> None:
        if self._shared is None:
            return
        slots = self._slots[connector_name, source]
        self._shared.free(slots.pop())
        self._shared.free(slots.pop())
        if not slots:
            del self._slots[connector_name, source]


def _refusal(connector: ReceiveConnector, total: int, held: int) -> Reply | None:
    """Why one more is not taken where so many are open, in all and from its source."""
    if total >= connector.max_inbound_connection:
        return replies.TOO_MANY_CONNECTIONS
    remaining = connector.max_inbound_connection - (total - held)
    share = max(1, remaining * connector.max_inbound_connection_percentage_per_source // 100)
    if held >= connector.max_inbound_connection_per_source or held >= share:
        return replies.TOO_MANY_CONNECTIONS_FROM_SOURCE
    return None
