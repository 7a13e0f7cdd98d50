# SPDX-License-Identifier: MIT
"""What the stages need of tracking, and nothing more: somewhere to put events and transcript lines."""

from typing import Protocol

from bridgehead.tracking.events import TrackingEvent


class Tracker(Protocol):
    """Takes tracking events. Never blocks and never raises; a full disk is alarmed once and counted."""

    def record(self, event: TrackingEvent) -> None: ...


class ProtocolLog(Protocol):
    """Takes one line of an SMTP conversation. Secrets and content never reach it."""

    def record(
        self, *, connector_id: str, session_id: str, sequence: int, local: str, remote: str, event: str, data: str,
        context: str = "",
    ) -> None:  # fmt: skip
        """`event` is one of + - > < *."""


class ConnectivityLog(Protocol):
    """Takes one line about outbound connections."""

    def record(self, *, session: str, source: str, destination: str, direction: str, description: str) -> None:
        """`direction` is one of + - >."""
