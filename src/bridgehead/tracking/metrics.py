# SPDX-License-Identifier: MIT
"""Numbers about the server at work: plain counters and histograms of fixed buckets, added to where things happen.

Nothing here formats, names or allocates while a message passes: a stage holds the object it adds to, and adding is an
`int` or one `bisect`. Names, help and the text that Prometheus reads are made on demand in `admin/health/metrics.py`.

Numbers of the sending side have two labels, send connector and destination. Destinations are as many as there are next
hops, so only some (`destinations`) have numbers of their own and the rest of each connector is counted as OTHER. Which
these are is looked at now and then (`rebalance`); what was counted under one name stays there, so that no counter ever
goes back.
"""

import heapq
from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import Final

from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.item import MailItem
from bridgehead.mail.limits import METRIC_CONNECTORS, METRIC_HOPS, METRIC_SOURCES
from bridgehead.routing.next_hop import DeliveryType, NextHop

SHORT_SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
"""Upper bounds of buckets for what takes milliseconds when all is well."""
LONG_SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0,
)  # fmt: skip
"""The same for what may wait for hours."""
GROUP_SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
OTHER: Final = "other"
"""Destination of next hops without numbers of their own."""
_NO_HOP: Final = NextHop(DeliveryType.UNDEFINED, OTHER, OTHER)

_TAKEN: Final = (Action.RELAYED, Action.DELIVERED, Action.EXPANDED)
_DELAYED: Final = Action.DELAYED
_BY_GRAVITY: Final = (Action.FAILED, Action.DELAYED, Action.EXPANDED, Action.RELAYED, Action.DELIVERED)
_NAMELESS: Final = frozenset({"anonymous", "externally-secured"})
"""Principals that many clients share: there the address says who it was."""


class Histogram:
    """Observations counted by bucket: as many as there are bounds, and one for what is larger.

    While messages pass, a value is only put into a list; `settle` counts them, which is done at least once a second.

    Attributes:
        observe: take a value. The list's own method, since several are called for every message.
    """

    __slots__ = ("_counts", "_new", "_total", "bounds", "observe")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._new: list[float] = []
        self.observe = self._new.append

    def settle(self) -> None:
        """Count what was observed since the last time."""
        new = self._new
        if not new:
            return
        new.sort()
        self._total += sum(new)
        position = 0
        for bucket, bound in enumerate(self.bounds):
            end = bisect_right(new, bound, position)
            self._counts[bucket] += end - position
            position = end
        self._counts[-1] += len(new) - position
        new.clear()

    @property
    def counts(self) -> list[int]:
        """Observations in each bucket."""
        self.settle()
        return self._counts

    @property
    def total(self) -> float:
        """Sum of all observations."""
        self.settle()
        return self._total


class ReceiveCounters:
    """What one receive connector did.

    Attributes:
        until_mail: seconds from the connection to its first MAIL.
        until_reply: seconds from MAIL to the 250 for the content, the commit included.
    """

    __slots__ = (
        "bytes", "connections", "current", "logon_failures", "logons_deferred", "messages", "recipients", "refused",
        "rejected_permanent", "rejected_temporary", "tarpits", "timeouts", "tls_failures", "tls_sessions",
        "until_mail", "until_reply",
    )  # fmt: skip

    def __init__(self) -> None:
        self.connections = self.current = self.refused = self.timeouts = self.tarpits = 0
        self.tls_sessions = self.tls_failures = self.logon_failures = self.logons_deferred = 0
        self.messages = self.recipients = self.bytes = 0
        self.rejected_permanent = self.rejected_temporary = 0
        self.until_mail = Histogram(SHORT_SECONDS)
        self.until_reply = Histogram(SHORT_SECONDS)

    def connected(self, *, tls: bool) -> None:
        """A session has begun."""
        self.connections += 1
        self.current += 1
        self.tls_sessions += tls

    def accepted(self, recipients: int, size: int, seconds: float) -> None:
        """A message was taken."""
        self.messages += 1
        self.recipients += recipients
        self.bytes += size
        self.until_reply.observe(seconds)

    def rejected(self, code: int) -> None:
        """A command was answered; counts where it was refused."""
        if code >= 500:
            self.rejected_permanent += 1
        elif code >= 400:
            self.rejected_temporary += 1


class SendCounters:
    """What was sent through one connector to one destination, or to OTHER.

    Attributes:
        messages: attempts after which nobody of the message was left to be tried again, all taken.
        delivered, deferred, failed: recipients by outcome of an attempt.
        connections: sessions that got as far as to take mail.
        waiting: seconds from being due in the delivery queue to the attempt.
        attempt: seconds of an attempt.
        end_to_end: seconds from acceptance to delivery of a message.
    """

    __slots__ = (
        "attempt", "bytes", "connection_failures", "connections", "connector", "deferred", "delivered", "destination",
        "dns_failures", "end_to_end", "failed", "messages", "waiting",
    )  # fmt: skip

    def __init__(self, connector: str, destination: str) -> None:
        self.connector, self.destination = connector, destination
        self.messages = self.bytes = self.delivered = self.deferred = self.failed = 0
        self.connections = self.connection_failures = self.dns_failures = 0
        self.waiting = Histogram(LONG_SECONDS)
        self.attempt = Histogram(LONG_SECONDS)
        self.end_to_end = Histogram(LONG_SECONDS)

    def settle(self) -> None:
        """See `Metrics.settle`."""
        self.waiting.settle()
        self.attempt.settle()
        self.end_to_end.settle()


class HopCounters:
    """What a delivery queue adds to.

    Attributes:
        in_use: a delivery queue adds to it.
        series: the labels under which it counts at present.
        score: attempts, older ones counting less; decides who has numbers of its own.
        taken, refused: messages taken, and put off or refused, since the start.
    """

    __slots__ = (
        "_turn", "_turn_before", "in_use", "next_hop", "refused", "score", "series", "taken",
    )  # fmt: skip

    def __init__(self, next_hop: NextHop, series: SendCounters) -> None:
        self.next_hop = next_hop
        self.in_use = True
        self.series = series
        self.score = 0.0
        self.taken = self.refused = 0
        self._turn = self._turn_before = (0, 0)

    def attempted(self, item: MailItem, statuses: Sequence[DeliveryStatus], seconds: float, now: float) -> None:
        """An attempt has ended.

        Args:
            seconds: how long it took.
            now: Unix time.
        """
        series = self.series
        series.attempt.observe(seconds)
        self.score += 1
        if len(statuses) == 1 and statuses[0].action in _TAKEN:
            series.delivered += 1
        elif self._others(series, statuses):
            self.refused += 1
            return
        self.taken += 1
        series.messages += 1
        series.bytes += item.size
        series.end_to_end.observe(now - item.received_at)

    def _others(self, series: SendCounters, statuses: Sequence[DeliveryStatus]) -> bool:
        """Count each recipient; whether any was not taken."""
        delayed = sum(status.action is _DELAYED for status in statuses)
        taken = sum(status.action in _TAKEN for status in statuses)
        series.deferred += delayed
        series.delivered += taken
        series.failed += len(statuses) - delayed - taken
        return taken < len(statuses)

    def connected(self) -> None:
        """A session takes mail."""
        self.series.connections += 1

    def connection_failed(self, status: str) -> None:
        """No session with any host; `status` 4.4.3, 4.4.4 and 5.4.4 speak of DNS (RFC 3463 §3.5)."""
        self.series.connection_failures += 1
        self.series.dns_failures += status[2:] in ("4.3", "4.4")

    def failed_all(self, recipients: int) -> None:
        """A message failed without an attempt of its own."""
        self.refused += 1
        self.series.failed += recipients

    @property
    def recent(self) -> tuple[int, int]:
        """Messages taken, and messages put off or refused, within the watched period."""
        taken, refused = self._turn_before
        return self.taken - taken, self.refused - refused

    def turn(self) -> None:
        """Half of the watched period is over."""
        self._turn_before, self._turn = self._turn, (self.taken, self.refused)


class Metrics:
    """All numbers of one server.

    Args:
        destinations: how many next hops have numbers of their own.
    """

    def __init__(self, destinations: int = 20) -> None:
        self.destinations = destinations
        self.receive: dict[str, ReceiveCounters] = {}
        self.submission = Histogram(SHORT_SECONDS)
        """Seconds from acceptance to the categorizer's decision."""
        self.commit = Histogram(SHORT_SECONDS)
        """Seconds from handing a group of transactions to the disk to its being stable."""
        self.commit_group = Histogram(GROUP_SIZES)
        """Transactions in a group."""
        self.queued_for_delivery = 0
        """Messages, or parts of them, put into delivery queues."""
        self.looked_at_again = self.kept_back = 0
        """Messages that the categorizer took up without `submission` counting them, and that it left in Submission."""
        self.unreachable = self.rerouted = 0
        """Messages put into Unreachable, and taken from there to Submission."""
        self.resolver_retries = 0
        """Messages put off because the directory did not answer."""
        self.dsn: dict[str, int] = {}
        """Reports made, by the worst that they tell: failed, delayed, delivered, relayed, expanded."""
        self.sources: dict[str, int] = {}
        """Messages by who handed them over, login or address, since the watch last took them."""
        self.series: dict[tuple[str, str], SendCounters] = {}
        self._hops: dict[NextHop, HopCounters] = {}
        self._named: set[NextHop] = set()

    # --- where the stages find what they add to ------------------------------------------------------------------

    def receive_connector(self, name: str) -> ReceiveCounters:
        """The counters of a receive connector, kept across reloads."""
        counters = self.receive.get(name)
        if counters is None:
            if len(self.receive) >= METRIC_CONNECTORS:
                name = OTHER
            counters = self.receive.setdefault(name, ReceiveCounters())
        return counters

    def hop(self, next_hop: NextHop) -> HopCounters:
        """The counters of a delivery queue. Beyond METRIC_HOPS, next hops share one."""
        hop = self._hops.get(next_hop)
        if hop is None:
            if len(self._hops) >= METRIC_HOPS:
                next_hop = _NO_HOP
                hop = self._hops.get(next_hop)
                if hop is not None:
                    return hop
            named = len(self._named) < self.destinations and next_hop is not _NO_HOP
            if named:
                self._named.add(next_hop)
            hop = self._hops[next_hop] = HopCounters(next_hop, self._series(next_hop, named))
        hop.in_use = True
        return hop

    def hops(self) -> list[HopCounters]:
        """Every next hop that is counted."""
        return list(self._hops.values())

    def committed(self, transactions: int, seconds: float) -> None:
        """A group of transactions is stable."""
        self.commit.observe(seconds)
        self.commit_group.observe(transactions)

    def seen(self, item: MailItem) -> None:
        """Somebody handed a message over."""
        principal, sources = item.principal, self.sources
        source = item.client_ip if principal in _NAMELESS else principal
        if source in sources:
            sources[source] += 1
        elif len(sources) < METRIC_SOURCES:
            sources[source] = 1

    def take_sources(self) -> dict[str, int]:
        """Messages by source since this was last called."""
        taken, self.sources = self.sources, {}
        return taken

    def reported(self, actions: Collection[Action]) -> None:
        """A report was made that tells of these."""
        worst = next((action for action in _BY_GRAVITY if action in actions), Action.FAILED)
        self.dsn[worst.value] = self.dsn.get(worst.value, 0) + 1

    # --- now and then ----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Count what histograms were given. To be called every second, so that they hold no more than that."""
        for one in (self.submission, self.commit, self.commit_group):
            one.settle()
        for connector in self.receive.values():
            connector.until_mail.settle()
            connector.until_reply.settle()
        for series in {id(hop.series): hop.series for hop in self._hops.values()}.values():
            series.settle()

    def rebalance(self) -> None:
        """Give the busiest next hops numbers of their own, and let what was long ago count half."""
        busiest = heapq.nlargest(self.destinations, self._hops.values(), key=_rank)
        self._named = {hop.next_hop for hop in busiest if hop.next_hop is not _NO_HOP}
        for hop in self._hops.values():
            hop.series.settle()
            hop.series = self._series(hop.next_hop, hop.next_hop in self._named)
            hop.score /= 2
        used = {(hop.series.connector, hop.series.destination) for hop in self._hops.values()}
        self.series = {key: one for key, one in self.series.items() if key in used or key[1] == OTHER}

    def turn_period(self) -> None:
        """Half of the watched period is over; next hops that were idle in all of it are forgotten."""
        for hop in list(self._hops.values()):
            if hop.in_use or any(hop.recent):
                hop.turn()
            else:
                del self._hops[hop.next_hop]
                self._named.discard(hop.next_hop)

    def _series(self, next_hop: NextHop, named: bool) -> SendCounters:
        key = (next_hop.connector, next_hop.domain if named else OTHER)
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = SendCounters(*key)
        return series


def _rank(hop: HopCounters) -> tuple[float, str, str]:
    return hop.score, hop.next_hop.connector, hop.next_hop.domain
