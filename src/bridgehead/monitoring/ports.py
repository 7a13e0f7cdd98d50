# SPDX-License-Identifier: MIT
"""What the watch needs of the server that it watches."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from bridgehead.monitoring.rules import Peer, Verdict
from bridgehead.queues.store import QueueOverview
from bridgehead.routing.next_hop import DeliveryType


class Watched(Protocol):
    """The server. Nothing here blocks; `overview` may wait for the disk."""

    def now(self) -> float:
        """Unix time."""

    async def overview(self) -> tuple[QueueOverview, float]:
        """All queues, and the Unix time at which they were counted. Raises StoreFault."""

    def in_memory(self) -> Mapping[DeliveryType, int]:
        """Messages in delivery queues that are still in Submission on disk, by kind."""

    def peers(self) -> list[Peer]:
        """Next hops with failures within the watched period, or that cannot be reached now."""

    def turn_period(self) -> None:
        """Half of the watched period is over."""

    def rebalance(self) -> None:
        """Give the busiest next hops numbers of their own."""

    def completed(self) -> int:
        """Messages delivered since the start."""

    def lost_log_lines(self) -> int: ...

    def certificates(self) -> Mapping[Path, str]:
        """Certificate files in use, and what for."""

    def renewed_certificates(self) -> Collection[str]:
        """Files of certificates that are renewed by themselves, so far without trouble."""

    def take_sources(self) -> Iterable[str]:
        """Who handed over messages since this was last asked."""

    def is_timed(self, source: str) -> bool:
        """Whether silence of this source is among `conditions`, by a time of its own, so that habits do not count."""

    def conditions(self) -> Iterable[Verdict]:
        """What the server knows of itself: a fault of the store, of the logs, of the management interface."""
