# SPDX-License-Identifier: MIT
"""The running server as those see it who watch it: the watch, scrapes, probes."""

import asyncio
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from bridgehead import __version__
from bridgehead.admin.health.metrics import ProcessFacts
from bridgehead.admin.health.pressure import PressureFacts
from bridgehead.monitoring.rules import Peer, Verdict
from bridgehead.queues.store import QueueOverview, QueueStatus
from bridgehead.receive.connectors.selection import ReceiveConnectors
from bridgehead.routing.next_hop import DeliveryType
from bridgehead.server.config.checks.files import certificate_pairs
from bridgehead.server.config.load import Loaded
from bridgehead.tracking.alarms import Severity

if TYPE_CHECKING:
    from bridgehead.server.app import Application

LARGEST_QUEUES: Final = 50
COUNT_SHARE: Final = 0.05
"""The most of its time that the store spends on counting, however large queues are and however often it is asked."""
COUNT_SECONDS: Final = 1.0
"""A count that is no older than this is given again in any case."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Monitored:
    """Implements `monitoring.ports.Watched`, `admin.health.metrics.MetricsSource` and `admin.health.health.Ready`."""

    version = __version__

    def __init__(self, application: "Application") -> None:
        self._application = application
        self.started_at = application.started_at
        self.metrics = application.metrics
        self.tracker = application.tracker
        self.heard_elsewhere: set[str] = set()
        """Who handed over messages to other workers since the sources were last taken."""
        self._count: tuple[QueueOverview, float] | None = None
        self._count_again_at = 0.0
        self._counting: asyncio.Task[tuple[QueueOverview, float]] | None = None

    def now(self) -> float:
        """Unix time."""
        return self._application.clock.now()

    async def overview(self) -> tuple[QueueOverview, float]:
        """The last count of the queues, or a new one where that would not take too much of the store's time."""
        counting = self._counting
        if counting is None and monotonic() >= self._count_again_at:
            counting = self._counting = asyncio.get_running_loop().create_task(self._recount())
        elif self._count is not None:
            return self._count
        assert counting is not None
        return await asyncio.shield(counting)  # others may wait for it, too

    async def _recount(self) -> tuple[QueueOverview, float]:
        began = monotonic()
        try:
            overview = await self._application.store.overview(LARGEST_QUEUES)
        finally:
            self._counting = None
            ended = monotonic()
            seconds = max(COUNT_SECONDS, (ended - began) / COUNT_SHARE)
            self._count_again_at = ended + seconds if self._count is not None else 0.0
        self._count = (overview, self.now())
        self._count_again_at = ended + seconds
        return self._count

    def in_memory(self) -> dict[DeliveryType, int]:
        """Messages in delivery queues that are still in Submission on disk, by kind."""
        found: dict[DeliveryType, int] = {}
        for entry in self._application.dispatcher.unwritten.values():
            if entry.next_hop is not None:
                kind = entry.next_hop.delivery_type
                found[kind] = found.get(kind, 0) + 1
        return found

    def peers(self) -> list[Peer]:
        """Next hops with failures within the watched period, or that cannot be reached now."""
        queues, flights = self._application.dispatcher.queues, self._application.logs.flights
        found = []
        for hop in self.metrics.hops():
            taken, refused = hop.recent
            queue = queues.get(hop.next_hop)
            if refused or (queue is not None and queue.state.status is QueueStatus.RETRY):
                error = queue.state.last_error if queue is not None else ""
                if not error and (attempts := flights.attempts(str(hop.next_hop))):
                    error = attempts[-1].error  # messages were refused for good, so that no queue remembers
                found.append(Peer(identity=str(hop.next_hop), taken=taken, refused=refused, last_error=error))
        return found

    def turn_period(self) -> None:
        """Half of the watched period is over."""
        self.metrics.turn_period()

    def rebalance(self) -> None:
        """Give the busiest next hops numbers of their own."""
        self.metrics.rebalance()

    def completed(self) -> int:
        """Messages delivered since the start."""
        return sum(series.messages for series in self.metrics.series.values())

    def take_sources(self) -> Iterable[str]:
        """Who handed over messages since this was last asked. The first of several workers asks for all of them."""
        if not self._application.place.is_first:
            return ()
        heard, self.heard_elsewhere = self.heard_elsewhere, set()
        return heard.union(self.metrics.take_sources())

    def is_timed(self, source: str) -> bool:
        """Whether silence of this source is judged by a time of its own."""
        return self._application.devices.is_timed(source)

    def sessions_out(self) -> int:
        """Connections to next hops."""
        return self._application.rooms.open_connections

    def lost_log_lines(self) -> int:
        """Lines that no disk took."""
        return self._application.logs.lost_lines

    def otlp_exports(self) -> tuple[int, int]:
        """Attempts to send numbers that the collector took, and others."""
        return self._application.telemetry.sent, self._application.telemetry.failed

    def store_trouble(self) -> str:
        """Why mail cannot be stored."""
        trouble = self._application.store.trouble
        return f"mail cannot be stored: {trouble}" if trouble else ""

    def outcomes_trouble(self) -> str:
        """Why what became of messages cannot be stored."""
        failing = self._application.dispatcher.commits.failing
        return "delivery pauses, because what became of messages cannot be stored" if failing else ""

    def closed_bindings(self) -> list[str]:
        """Bindings on which nobody listens though a connector wants them."""
        app = self._application
        wanted = ReceiveConnectors(app.loaded.configuration.receive_connectors).listening()
        return [str(binding) for binding in wanted if binding not in app.receive.listeners]

    def back_pressure(self) -> PressureFacts:
        """Levels of the resources that are metered."""
        return self._application.resources.facts()

    def standing_alarms(self) -> Iterable[tuple[str, str]]:
        """(kind, severity) of each."""
        return [(alarm.id.partition("/")[0], alarm.severity.value) for alarm in self._application.alarms.standing()]

    def certificates(self) -> Mapping[Path, str]:
        """Certificate files in use, and what for."""
        return _certificate_files(self._application.loaded, self._application.server_pair.certificate)

    def renewed_certificates(self) -> Collection[str]:
        """Files of certificates that ACME renews, so far without trouble."""
        return self._application.certificate_desk.renewals.cared_for()

    def certificate_dates(self) -> Iterable[tuple[str, float]]:
        """(file, Unix time of expiry) as of the last look."""
        return [(one.file, one.expires) for one in self._application.watch.certificates]

    def process(self) -> ProcessFacts:
        """Of this process, from the system."""
        times = os.times()
        try:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
            files = len(os.listdir("/proc/self/fd"))
        except (OSError, ValueError, IndexError):
            resident = files = 0
        return ProcessFacts(cpu_seconds=times.user + times.system, resident_bytes=resident, open_files=files)

    def conditions(self) -> Iterable[Verdict]:
        """What the server knows of itself without asking."""
        app = self._application
        closed = ", ".join(self.closed_bindings())
        text = f"nobody listens on {closed}" if closed else ""
        yield _condition("listeners", text, Severity.CRITICAL, "see the log for why, then start the server again")
        trouble = self.store_trouble()
        remedy = "make room on the queue's disk" if "is full" in trouble else "bridgehead queue verify"
        yield _condition("store", trouble, Severity.CRITICAL, remedy)
        yield _condition("outcomes", self.outcomes_trouble(), Severity.CRITICAL, "make room on the queue's disk")
        if app.management is not None:
            for id, text in app.management.troubles().items():
                yield _condition(id, text, Severity.WARNING)
        yield from app.elsewhere.conditions()
        yield from app.oauth.conditions()
        if app.place.is_first:
            yield from app.devices.conditions()


def _condition(id: str, text: str, severity: Severity, remedy: str = "") -> Verdict:
    return Verdict(id, severity if text else None, text, remedy)


def _certificate_files(loaded: Loaded, own: Path) -> dict[Path, str]:
    """The server's own certificate and those of receive connectors and of the management interface."""
    configuration = loaded.configuration
    users: dict[Path, list[str]] = {own: ["the server"]}
    for connector in configuration.receive_connectors:
        if connector.enabled and connector.tls_certificate_file:
            file = loaded.within(connector.tls_certificate_file)
            users.setdefault(file, []).append(f'receive connector "{connector.name}"')
    for pair in certificate_pairs(loaded):
        users.setdefault(pair.certificate, []).append("connectors that choose it by name")
    for send in configuration.send_connectors:
        if send.enabled and send.tls_certificate_file:
            users.setdefault(loaded.within(send.tls_certificate_file), []).append(f'send connector "{send.name}"')
    if configuration.api.tls_certificate_file:
        file = loaded.within(configuration.api.tls_certificate_file)
        users.setdefault(file, []).append("the management interface")
    return {file: ", ".join(names) for file, names in users.items()}
