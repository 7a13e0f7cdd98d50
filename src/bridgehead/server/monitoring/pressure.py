# SPDX-License-Identifier: MIT
"""Meters the server's resources at an interval and puts back pressure in force (Exchange's Resource Manager).

Readings are taken on a thread; levels and actions follow by `queues/pressure.py`. What changes is logged with
Exchange's event numbers (`admin/health/pressure.py` has the words).
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import msgspec

from bridgehead.admin.health.pressure import REMEDIES, PressureFacts, ResourceFacts, change_texts, sentence
from bridgehead.net.clock import Clock
from bridgehead.queues.pressure import (
    Action,
    BackPressure,
    Level,
    Meter,
    Reading,
    Resource,
    effective_thresholds,
)
from bridgehead.queues.settings import BackPressureSettings
from bridgehead.queues.store import QueueKind, StoreFault
from bridgehead.server.monitoring import resource_readings
from bridgehead.tracking.alarms import Alarms, Severity

log = logging.getLogger("bridgehead.server.monitoring.pressure")

_DRIVES: Final = (Resource.DATABASE_USED_SPACE, Resource.USED_DISK_SPACE)
_CONSUMERS_SECONDS: Final = 60.0
"""Between two looks at what takes the space of a drive that is full."""
_FAULT_PAUSES: Final = 30
"""A resource that cannot be read is reported once in so many readings."""


class Relief(Protocol):
    """What can be let go of when memory is short."""

    def dehydrate(self, on: bool) -> None:
        """Keep message bodies on disk rather than in memory, from now on or no longer."""


class ResourceMonitor:
    """Meters and what follows from them.

    Args:
        pressure: what the stages look at.
        queue_folder, log_folder: whose drives are metered.
        waiting: counts the messages that wait in a queue, up to a bound. Raises StoreFault.
        relief: lets message bodies go.
        flush_caches: forgets what can be asked for again.
    """

    def __init__(
        self, settings: BackPressureSettings, pressure: BackPressure, *, queue_folder: Path, log_folder: Path,
        waiting: Callable[[QueueKind, int], Awaitable[int]], relief: Relief, flush_caches: Callable[[], None],
        alarms: Alarms, clock: Clock,
    ) -> None:  # fmt: skip
        self.pressure = pressure
        self._settings = settings
        self._queue_folder, self._log_folder = queue_folder, log_folder
        self._waiting, self._relief, self._flush_caches = waiting, relief, flush_caches
        self._alarms, self._clock = alarms, clock
        self._memory = resource_readings.MemoryReader()
        self._meters: dict[Resource, Meter] = {}
        self._faults = 0
        self._consumers, self._consumers_since = "", 0.0
        self._since = clock.now()
        self._level = Level.LOW
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, then at the interval until `stop`."""
        if self._settings.enable_resource_monitoring:
            await self.look()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="resource monitor")

    async def stop(self) -> None:
        """Look no more; what is in force stays so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), self._settings.resource_metering_interval.total_seconds())
            except TimeoutError:
                pass
            self._wake.clear()
            if self._settings.enable_resource_monitoring:
                await self.look()

    def reconfigure(self, settings: BackPressureSettings) -> None:
        """Meter by other settings from now on. Levels are found anew; without monitoring nothing is in force."""
        if settings == self._settings:
            return
        self._settings = settings
        for meter in self._meters.values():
            meter.thresholds = effective_thresholds(meter.resource, settings, meter.reading.capacity)
            meter.history_depth = self._depth(meter.resource)
        if not settings.enable_resource_monitoring:
            for resource in self._meters:
                self._alarms.clear(f"back_pressure/{resource}")
            self._meters.clear()
            self._apply()
        self._wake.set()

    async def look(self) -> None:
        """Read everything once and act on it."""
        readings = await asyncio.to_thread(self._read)
        limit = 2 * int(self._settings.submission_queue_length.medium_to_high)
        try:
            waiting = await self._waiting(QueueKind.SUBMISSION, limit)
            readings[Resource.QUEUE_LENGTH] = Reading(waiting, left=f"{waiting} messages wait")
        except StoreFault as fault:
            self._fault(f"Submission cannot be counted: {fault}")
        if not self._settings.enable_resource_monitoring:
            return  # switched off meanwhile
        now, moment = self._clock.now(), self._clock.monotonic()
        for resource, reading in readings.items():
            self._meter(resource, reading).take(reading, now, moment)
        self._apply()

    def facts(self) -> PressureFacts:
        """Levels, causes and outlooks now."""
        return PressureFacts(
            enabled=self._settings.enable_resource_monitoring,
            level=self._level,
            since=self._since,
            actions=self.pressure.actions,
            delay=self.pressure.delay,
            refused=self.pressure.refused,
            resources=[_facts(meter) for meter in self._meters.values()],
        )

    # --- inside -----------------------------------------------------------------------------------------------------

    def _read(self) -> dict[Resource, Reading]:
        """On a thread: what can be read of disks and memory."""
        readings: dict[Resource, Reading] = {}
        meters: dict[Resource, Callable[[], Reading]] = {
            Resource.DATABASE_USED_SPACE: partial(resource_readings.disk, self._queue_folder),
            Resource.USED_DISK_SPACE: partial(resource_readings.disk, self._log_folder),
            Resource.PRIVATE_BYTES: self._memory.private,
            Resource.SYSTEM_MEMORY: self._memory.system,
        }
        for resource, read in meters.items():
            try:
                readings[resource] = self._with_consumers(resource, read())
            except (OSError, ValueError, KeyError, IndexError) as error:
                self._fault(f"{resource} cannot be read: {error}")
        return readings

    def _with_consumers(self, resource: Resource, reading: Reading) -> Reading:
        """On a thread: of a drive that is above Low also what takes the space that is ours."""
        meter = self._meters.get(resource)
        if resource not in _DRIVES or meter is None or meter.level is Level.LOW:
            return reading
        moment = self._clock.monotonic()
        if not self._consumers or moment - self._consumers_since > _CONSUMERS_SECONDS:
            self._consumers_since = moment
            sizes = (resource_readings.folder_size(folder) for folder in (self._queue_folder, self._log_folder))
            queue, logs = map(resource_readings.size_text, sizes)
            self._consumers = f"{queue} queue, {logs} logs"
        return msgspec.structs.replace(reading, left=f"{reading.left}, {self._consumers}")

    def _meter(self, resource: Resource, reading: Reading) -> Meter:
        meter = self._meters.get(resource)
        if meter is None:
            thresholds = effective_thresholds(resource, self._settings, reading.capacity)
            meter = self._meters[resource] = Meter(resource, thresholds, self._depth(resource))
        elif meter.reading.capacity != reading.capacity:
            meter.thresholds = effective_thresholds(resource, self._settings, reading.capacity)
        return meter

    def _depth(self, resource: Resource) -> int:
        if resource is Resource.PRIVATE_BYTES:
            return self._settings.private_bytes_history_depth
        return self._settings.submission_queue_history_depth if resource is Resource.QUEUE_LENGTH else 0

    def _apply(self) -> None:
        """Put in force what all meters together ask for."""
        meters = self._meters.values()
        actions = Action.NONE
        for meter in meters:
            actions |= meter.actions
        if not self._settings.dehydrate_messages_under_memory_pressure:
            actions &= ~Action.DEHYDRATE
        level = max((meter.level for meter in meters), default=Level.LOW)
        before, level_before = self.pressure.actions, self._level
        self.pressure.set(actions, max((meter.tarpit for meter in meters), default=0.0))
        self._relieve(before, actions)
        self._alarm()
        if level is not level_before:
            self._level, self._since = level, self._clock.now()
        if level is not level_before or actions != before:
            self._tell(level_before)

    def _relieve(self, before: Action, actions: Action) -> None:
        if (before ^ actions) & Action.DEHYDRATE:
            self._relief.dehydrate(Action.DEHYDRATE in actions)
        if Action.FLUSH_CACHES in actions & ~before:
            self._flush_caches()
            gc.collect()

    def _alarm(self) -> None:
        for one in map(_facts, self._meters.values()):
            severity = Severity.CRITICAL if one.level is Level.HIGH else Severity.WARNING
            if one.level:
                text = f"back pressure: {sentence(one)}"
                self._alarms.raise_(f"back_pressure/{one.resource}", severity, text, REMEDIES[one.resource])
            else:
                self._alarms.clear(f"back_pressure/{one.resource}")

    def _tell(self, before: Level) -> None:
        for number, text in change_texts(before, self.facts()):
            severity = logging.INFO if number == 15005 else logging.ERROR if number > 15005 else logging.WARNING
            log.log(severity, "event %d: %s", number, text)

    def _fault(self, text: str) -> None:
        if self._faults % _FAULT_PAUSES == 0:
            log.warning("back pressure: %s", text)
        self._faults += 1


def _facts(meter: Meter) -> ResourceFacts:
    outlook, reading = meter.outlook(), meter.reading
    return ResourceFacts(
        resource=meter.resource,
        subject=reading.subject,
        left=reading.left,
        value=reading.value,
        level=meter.level,
        thresholds=meter.thresholds,
        since=meter.since,
        actions=meter.actions,
        outlook=outlook,
    )
