# SPDX-License-Identifier: MIT
"""What the logs learn by asking instead of being told: every queue at an interval, the routing table at each change."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from heapq import nlargest
from pathlib import Path

from bridgehead.admin.queue.queues import view_queue
from bridgehead.net.clock import Clock
from bridgehead.queues.store import MessageStatus, QueueSummary, StoreFault
from bridgehead.routing.snapshot import routing_table
from bridgehead.server.config.schema import Configuration
from bridgehead.tracking.logs import ROUTING_FOLDER, Logs
from bridgehead.tracking.queue_log import QUEUES_MOST, QueueDigest
from bridgehead.tracking.snapshot_folder import SnapshotFolder

log = logging.getLogger("bridgehead.server")


class LogSnapshots:
    """Writes the queue log and the routing table log.

    Args:
        folder: of all logs.
        queues: every queue that holds a message. Raises StoreFault.
    """

    def __init__(
        self, logs: Logs, folder: Path, configuration: Configuration, fqdn: str, clock: Clock,
        queues: Callable[[], Awaitable[Sequence[QueueSummary]]],
    ) -> None:  # fmt: skip
        settings = configuration.logs
        self._logs, self._configuration, self._fqdn, self._clock, self._queues = (
            logs, configuration, fqdn, clock, queues,
        )  # fmt: skip
        self._settings = settings
        self._routing = SnapshotFolder(
            folder / ROUTING_FOLDER, settings.routing_table_log_max_age, settings.routing_table_log_max_directory_size
        )
        self._tables = 0
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; the routing table is written at once."""
        loop = asyncio.get_running_loop()
        if self._logs.queues is not None:
            self._tasks.append(loop.create_task(self._watch_queues(), name="queue log"))
        if self._settings.routing_table_log_enabled:
            self._tasks.append(loop.create_task(self._watch_routing(), name="routing table log"))

    async def stop(self) -> None:
        """End; nothing is left half written."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reconfigured(self, configuration: Configuration) -> None:
        """Another configuration is in force: its routing table is written."""
        self._configuration = configuration
        settings = self._settings = configuration.logs
        self._routing.limit(settings.routing_table_log_max_age, settings.routing_table_log_max_directory_size)
        self._changed.set()

    # --- queues -----------------------------------------------------------------------------------------------------

    async def _watch_queues(self) -> None:
        assert self._logs.queues is not None
        while True:
            await asyncio.sleep(self._settings.queue_log_interval.total_seconds())
            try:
                summaries = await self._queues()
            except StoreFault as fault:
                log.warning("the queue log misses a snapshot: %s", fault)
                continue
            largest = nlargest(QUEUES_MOST, summaries, key=lambda one: one.message_count)
            self._logs.queues.record(self._clock.now(), [_digest(one) for one in largest])

    # --- routing ----------------------------------------------------------------------------------------------------

    async def _watch_routing(self) -> None:
        while True:
            self._changed.clear()
            # Once begun, a file is finished although the server stops meanwhile.
            await asyncio.shield(asyncio.to_thread(self._write_table, self._configuration, self._clock.now()))
            try:
                interval = self._settings.routing_config_reload_interval.total_seconds()
                await asyncio.wait_for(self._changed.wait(), interval)
            except TimeoutError:
                pass

    def _write_table(self, configuration: Configuration, now: float) -> None:
        """On a thread."""
        when = datetime.fromtimestamp(now, UTC)
        data = routing_table(
            server=self._fqdn,
            time=when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            accepted_domains=configuration.accepted_domains,
            send_connectors=configuration.send_connectors,
            foreign_connectors=configuration.foreign_connectors,
            mailbox_store=configuration.mailbox_store,
        )
        self._tables += 1
        self._routing.write(f"RoutingConfig#{self._tables}@{when:%m_%d_%Y %H_%M_%S}.xml", data)
        self._routing.trim(now)


def _digest(summary: QueueSummary) -> QueueDigest:
    view, state = view_queue(summary), summary.state
    counts = summary.counts_by_status
    return QueueDigest(
        identity=view.identity,
        queue_type=view.type,
        status=view.status,
        delivery_type=view.delivery_type,
        next_hop_domain=view.next_hop_domain,
        next_hop_connector=view.next_hop_connector,
        message_count=summary.message_count,
        deferred=counts.get(MessageStatus.RETRY, 0),
        suspended=counts.get(MessageStatus.SUSPENDED, 0),
        total_bytes=summary.total_bytes,
        oldest_received=summary.oldest_received,
        retry_count=state.retry_count,
        first_retry=state.first_retry,
        last_retry=state.last_retry,
        next_retry=state.next_retry,
        last_error=state.last_error,
    )
