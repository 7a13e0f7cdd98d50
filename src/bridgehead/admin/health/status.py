# SPDX-License-Identifier: MIT
"""How the server is: one report for people, monitoring and scripts."""

from datetime import datetime

import msgspec

from bridgehead.admin.health.pressure import PressureView, view_pressure
from bridgehead.admin.ports import ListenerFacts, RunningServer
from bridgehead.admin.queue.queues import QueueView, view_queue
from bridgehead.admin.times import moment


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    """The server's state. `healthy` is false while there are alarms.

    Attributes:
        uptime_seconds: since the start.
        queued_messages: in all queues together.
        retrying_queues: those whose next hop cannot be reached, the largest first.
        back_pressure: how full disks, memory and Submission are, and what follows from it.
    """

    healthy: bool
    version: str
    fqdn: str
    pid: int
    started: datetime
    uptime_seconds: int
    data_directory: str
    configuration_files: list[str]
    configuration_read: datetime | None
    listeners: list[ListenerFacts]
    sessions_in: int
    sessions_out: int
    received: int
    delivered: int
    failed: int
    deferred: int
    lost_log_lines: int
    alarms: list[str]
    queued_messages: int
    messages_by_queue_type: dict[str, int]
    retrying_queues: list[QueueView]
    back_pressure: PressureView


async def report_status(server: RunningServer) -> StatusReport:
    """Ask the server and its queues. Raises StoreFault."""
    await server.watch.look()
    facts = server.facts()
    queues = [view_queue(summary) for summary in await server.queues()]
    by_type: dict[str, int] = {}
    for queue in queues:
        by_type[queue.type] = by_type.get(queue.type, 0) + queue.message_count
    started = moment(facts.started_at)
    assert started is not None
    return StatusReport(
        healthy=not facts.alarms,
        version=facts.version,
        fqdn=facts.fqdn,
        pid=facts.pid,
        started=started,
        uptime_seconds=max(0, int(server.now() - facts.started_at)),
        data_directory=facts.data_directory,
        configuration_files=list(facts.configuration_files),
        configuration_read=moment(facts.configuration_read_at),
        listeners=list(facts.listeners),
        sessions_in=facts.sessions_in,
        sessions_out=facts.sessions_out,
        received=facts.received,
        delivered=facts.delivered,
        failed=facts.failed,
        deferred=facts.deferred,
        lost_log_lines=facts.lost_log_lines,
        alarms=list(facts.alarms),
        queued_messages=sum(by_type.values()),
        messages_by_queue_type=by_type,
        retrying_queues=sorted(
            (queue for queue in queues if queue.status == "Retry"), key=lambda queue: -queue.message_count
        ),
        back_pressure=view_pressure(server.back_pressure()),
    )
