# SPDX-License-Identifier: MIT
"""What the stages need of tracking, and nothing more: somewhere to put events and transcript lines."""

from collections.abc import Sequence
from typing import Protocol

from bridgehead.diagnosis.facts import AttemptFacts, RefusalFacts
from bridgehead.tracking.agent_log import AgentEvent
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


class AgentLog(Protocol):
    """Takes what our own checks refused. Secrets and content never reach it."""

    def record(self, event: AgentEvent) -> None: ...


class ConnectivityLog(Protocol):
    """Takes one line about outbound connections."""

    def record(self, *, session: str, source: str, destination: str, direction: str, description: str) -> None:
        """`direction` is one of + - >."""


class Flights(Protocol):
    """Takes what is known of sessions, for `why`; `tracking.flight_recorder` is it. Never blocks, never raises."""

    def failed(self, facts: AttemptFacts) -> None:
        """A session failed, or a message in one."""

    def delivered(
        self, queue: str, host: str, address: str, port: int, *, messages: int, last: float, local: str,
        encrypted: bool, heard: bytes, session: str = "", opening: Sequence[tuple[bool, bytes]] = (),
        tls: object = None,
    ) -> None:  # fmt: skip
        """A session is over in which so many messages were taken, the last at this Unix time.

        `opening`: what was said at its beginning, without secrets; `tls`: protocol and cipher as text, or None.
        """

    def refused(self, facts: RefusalFacts) -> None:
        """Our own door refused something."""


class NoFlights:
    """A `Flights` that forgets."""

    def failed(self, facts: AttemptFacts) -> None:
        """Forget it."""

    def delivered(
        self, queue: str, host: str, address: str, port: int, *, messages: int, last: float, local: str,
        encrypted: bool, heard: bytes, session: str = "", opening: Sequence[tuple[bool, bytes]] = (),
        tls: object = None,
    ) -> None:  # fmt: skip
        """Forget it."""

    def refused(self, facts: RefusalFacts) -> None:
        """Forget it."""
