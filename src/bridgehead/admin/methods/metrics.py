# SPDX-License-Identifier: MIT
"""Methods for machines that watch: numbers, health."""

from typing import Final

from bridgehead.admin.health import joining
from bridgehead.admin.health.health import Liveness, Readiness, readiness
from bridgehead.admin.health.metrics import MetricsSnapshot, take_snapshot
from bridgehead.admin.merge import Ask, Merge
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.admin.ports import RunningServer


async def snapshot(server: RunningServer, _: NoParameters, __: Caller) -> MetricsSnapshot:
    """Every number, by the name that Prometheus knows it by; `/metrics` has them as text."""
    return await take_snapshot(server.monitored)


async def live(server: RunningServer, _: NoParameters, __: Caller) -> Liveness:
    """Whether the process that moves mail answers."""
    return Liveness()


async def ready(server: RunningServer, _: NoParameters, __: Caller) -> Readiness:
    """Whether mail is taken: the store takes it, connectors listen, back pressure is not High."""
    return readiness(server.monitored)


METHODS: Final = {
    "metrics.snapshot": Method(
        params=NoParameters,
        result=MetricsSnapshot,
        answer=snapshot,
        role=Role.VIEWER,
        route="GET /metrics",
        merge=Merge(Ask.WORKING, joining.metrics),
    ),
    "health.live": Method(
        params=NoParameters,
        result=Liveness,
        answer=live,
        role=Role.HELP_DESK,
        route="GET /health/live",
        merge=Merge(Ask.WORKING),
    ),
    "health.ready": Method(
        params=NoParameters,
        result=Readiness,
        answer=ready,
        role=Role.HELP_DESK,
        route="GET /health/ready",
        merge=Merge(Ask.WORKING, joining.readiness),
    ),
}
