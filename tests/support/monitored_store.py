# SPDX-License-Identifier: MIT
"""What scrapes, probes and alarm commands ask, over a queue store; tests say the rest."""

from collections.abc import Callable, Iterable
from pathlib import Path

from bridgehead.admin.health.metrics import ProcessFacts
from bridgehead.admin.health.pressure import PressureFacts
from bridgehead.monitoring.rules import Peer, Verdict
from bridgehead.queues.store import QueueOverview, QueueStore
from bridgehead.routing.next_hop import DeliveryType
from bridgehead.tracking.counters import CountingTracker
from bridgehead.tracking.events import TrackingEvent
from bridgehead.tracking.metrics import Metrics


class _Nowhere:
    def record(self, event: TrackingEvent) -> None:
        """Forget it."""


class MonitoredStore:
    """Implements `admin.ports.MonitoredServer` and `monitoring.ports.Watched`; attributes are what it says."""

    version = "0.1.0"

    def __init__(self, store: QueueStore, now: Callable[[], float]) -> None:
        self._store = store
        self.now = now
        self.started_at = now()
        self.metrics = Metrics()
        self.tracker = CountingTracker(_Nowhere())
        self.trouble = ""
        self.closed: list[str] = []
        self.pressure = PressureFacts()
        self.lost = 0
        self.failing_peers: list[Peer] = []
        self.senders: list[str] = []
        self.files: dict[Path, str] = {}
        self.found: list[Verdict] = []
        self.done = 0
        self.timed: set[str] = set()

    async def overview(self) -> tuple[QueueOverview, float]:
        return await self._store.overview(50), self.now()

    def in_memory(self) -> dict[DeliveryType, int]:
        return {}

    def is_timed(self, source: str) -> bool:
        return source in self.timed

    def sessions_out(self) -> int:
        return 0

    def store_trouble(self) -> str:
        return self.trouble

    def outcomes_trouble(self) -> str:
        return ""

    def closed_bindings(self) -> list[str]:
        return self.closed

    def otlp_exports(self) -> tuple[int, int]:
        return 0, 0

    def lost_log_lines(self) -> int:
        return self.lost

    def process(self) -> ProcessFacts:
        return ProcessFacts()

    def back_pressure(self) -> PressureFacts:
        return self.pressure

    def standing_alarms(self) -> Iterable[tuple[str, str]]:
        return ()

    def certificate_dates(self) -> Iterable[tuple[str, float]]:
        return ()

    def renewed_certificates(self) -> tuple[str, ...]:
        return ()

    def certificates(self) -> dict[Path, str]:
        return self.files

    def peers(self) -> list[Peer]:
        return self.failing_peers

    def turn_period(self) -> None:
        self.metrics.turn_period()

    def rebalance(self) -> None:
        self.metrics.rebalance()

    def completed(self) -> int:
        return self.done

    def take_sources(self) -> list[str]:
        taken, self.senders = self.senders, []
        return taken

    def conditions(self) -> Iterable[Verdict]:
        return self.found
