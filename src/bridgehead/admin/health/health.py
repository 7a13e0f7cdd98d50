# SPDX-License-Identifier: MIT
"""Whether the server is alive, and whether it is ready to take mail: for probes, and in agreement with `status`."""

from typing import Protocol

import msgspec

from bridgehead.admin.health.pressure import PressureFacts
from bridgehead.queues.pressure import Level


class ReadinessCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One condition; `reason` says why it does not hold, "" where it does."""

    name: str
    ok: bool
    reason: str = ""


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether mail is taken. False sends new connections elsewhere; it is no reason to start the server again.

    Attributes:
        checks: store_writable, outcomes_stored, listeners_open, back_pressure.
    """

    ready: bool
    checks: list[ReadinessCheck]


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """The process that moves mail answers."""

    alive: bool = True


class Ready(Protocol):
    """What readiness is found from."""

    def store_trouble(self) -> str:
        """Why mail cannot be stored, "" while it can."""

    def outcomes_trouble(self) -> str:
        """Why what became of messages cannot be stored, "" while it can."""

    def closed_bindings(self) -> list[str]:
        """Bindings of enabled receive connectors on which nobody listens."""

    def back_pressure(self) -> PressureFacts: ...


def readiness(server: Ready) -> Readiness:
    """Ask each condition."""
    pressure = server.back_pressure()
    closed = server.closed_bindings()
    reasons = {
        "store_writable": server.store_trouble(),
        "outcomes_stored": server.outcomes_trouble(),
        "listeners_open": f"nobody listens on {', '.join(closed)}" if closed else "",
        "back_pressure": "back pressure is High" if pressure.level is Level.HIGH else "",
    }
    checks = [ReadinessCheck(name=name, ok=not reason, reason=reason) for name, reason in reasons.items()]
    return Readiness(ready=not any(reasons.values()), checks=checks)
