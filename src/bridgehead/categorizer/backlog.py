# SPDX-License-Identifier: MIT
"""What Submission and Unreachable hold on disk: read again by one background task, a bounded window at a time.

Entries wait there because the directory did not answer, the store failed or the server was started anew. What becomes
of each is decided by `worker`, which tells `done` or `failed` of those that came from here.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from bridgehead.mail.item import Source
from bridgehead.net.clock import Clock
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, QueueStore, StoreFault, Transaction
from bridgehead.tracking.events import EventId, event_for
from bridgehead.tracking.metrics import Metrics
from bridgehead.tracking.ports import Tracker

LEASED_ENTRIES: Final = 64
LEASED_BYTES: Final = 8 * 1024**2
"""The window in which the queue on disk is worked off."""
BACKOFF_SECONDS: Final = (0.2, 30.0)
"""First and longest pause after a fault of the store."""
EVER: Final = 2.0**40
"""A time after every due time."""
IDLE_CHECK_SECONDS: Final = 1.0
"""Shortest pause while Submission holds entries that are due but cannot be leased."""

_log = logging.getLogger(__name__)


class Backlog:
    """Works off what waits on disk, while it is started. All methods are called on the event loop.

    Args:
        process: takes an entry that is ACTIVE in Submission; `done` or `failed` follows, perhaps before it returns.

    Attributes:
        submission_suspended, unreachable_suspended: nothing is taken from there.
        retry_all: entries are taken ahead of their time until none is left.
        window: entries taken from disk whose commit is under way.
    """

    def __init__(
        self, store: QueueStore, clock: Clock, tracker: Tracker, metrics: Metrics,
        process: Callable[[QueuedItem], None],
    ) -> None:  # fmt: skip
        self._store, self._clock, self._tracker, self._metrics = store, clock, tracker, metrics
        self._process = process
        self.submission_suspended = self.unreachable_suspended = False
        self.retry_all = False
        self.window: set[int] = set()
        self.stopping = False
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._stuck: deque[int] = deque()
        """Entries whose commit failed: ACTIVE in Submission on disk, to be read and processed again."""
        self._fault: StoreFault | None = None
        self._owed: list[QueuedItem] = []
        """Entries leased from Unreachable that are still to be put into Submission."""
        self._resubmit = False
        self._pause = BACKOFF_SECONDS[0]

    def start(self) -> None:
        """Begin. What had no route is tried again: the configuration may have changed since."""
        self.stopping = False
        self._resubmit = True
        self._task = asyncio.get_running_loop().create_task(self._run(), name="categorizer")

    async def stop(self) -> None:
        """Take nothing more; what is under way finishes."""
        self.stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None

    def wake(self) -> None:
        """Look at the disk now."""
        self._wake.set()

    def resubmit_unreachable(self) -> None:
        """Put everything in Unreachable, but what is suspended, through the categorizer again."""
        self._resubmit = True
        self._wake.set()

    def done(self, entry_id: int) -> None:
        """The outcome of an entry, from here or from elsewhere, is on disk or in delivery."""
        if self.window or self.stopping:
            self.window.discard(entry_id)
            self._progress.set()

    def failed(self, entry_id: int, fault: StoreFault) -> None:
        """The outcome of an entry could not be stored: it is taken from disk once more."""
        self.done(entry_id)
        self._fault = fault
        self._stuck.append(entry_id)
        self._wake.set()

    async def progressed(self) -> None:
        """Wait for the next `done` or `failed`; while stopping, or while entries from here are under way."""
        self._progress.clear()
        await self._progress.wait()

    # --- the task -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Work off Submission until `stop`; sleeps while there is nothing to do."""
        while not self.stopping:
            self._wake.clear()
            try:
                pause = await self._work()
                self._pause = BACKOFF_SECONDS[0]
            except StoreFault as fault:
                _log.error("the categorizer waits for the store: %s", fault)
                pause = self._pause
                self._pause = min(self._pause * 2, BACKOFF_SECONDS[1])
                await self._sleep(pause)
                continue
            await self._until_woken(pause)

    async def _work(self) -> float | None:
        """One round; returns the seconds until the next is due, None to wait until woken. Raises StoreFault."""
        while self._stuck and not self.stopping:
            await self._take_again()
        if (self._owed or (self._resubmit and not self.unreachable_suspended)) and not self.stopping:
            self._resubmit = False
            await self._move_unreachable()
        await self._drain()
        if self.submission_suspended:
            return None
        due = await self._store.next_due(QueueKind.SUBMISSION, None)
        return None if due is None else max(due - self._clock.now(), IDLE_CHECK_SECONDS)

    async def _drain(self) -> None:
        """Process everything that is due, a window at a time; an entry that was there when the server ended is taken
        alone, so that the one which may be the cause does not bring its neighbours to the poison queue."""
        limit = LEASED_ENTRIES
        while not self.stopping and not self.submission_suspended:
            due_until = EVER if self.retry_all else self._clock.now()
            entries = await self._store.lease(QueueKind.SUBMISSION, None, due_until, limit, LEASED_BYTES)
            if not entries:
                self.retry_all = False
                return
            suspects = [entry for entry in entries if entry.crash_count]
            if len(entries) > 1 and suspects:
                await self._give_back(suspects, entries)
                entries = [entry for entry in entries if not entry.crash_count]
            await self._process_window(entries)
            limit = 1 if suspects else LEASED_ENTRIES

    async def _give_back(self, suspects: list[QueuedItem], leased: list[QueuedItem]) -> None:
        """Make some of the leased entries READY again. Raises StoreFault, and then all of them are taken up later."""
        for entry in suspects:
            entry.status = MessageStatus.READY
        try:
            await self._store.committed(Transaction((), suspects))
        except StoreFault:
            self._stuck.extend(entry.id for entry in leased)
            raise

    async def _take_again(self) -> None:
        """Process a window of the entries whose commit failed. Raises StoreFault, and then none is forgotten."""
        entries: list[QueuedItem] = []
        size = 0
        while self._stuck and len(entries) < LEASED_ENTRIES and size < LEASED_BYTES:
            try:
                entry = await self._store.get(self._stuck[0])
            except StoreFault:
                self._stuck.extend(entry.id for entry in entries)
                raise
            self._stuck.popleft()
            if entry is not None and entry.queue is QueueKind.SUBMISSION:
                entries.append(entry)
                size += entry.item.size
        await self._process_window(entries)

    async def _process_window(self, entries: list[QueuedItem]) -> None:
        """Process entries from disk and wait until they are on disk again. Raises StoreFault."""
        self._fault = None
        self.window = {entry.id for entry in entries}
        for entry in entries:
            self._process(entry)
        while self.window:
            await self.progressed()
        if self._fault is not None:
            raise self._fault

    async def _move_unreachable(self) -> None:
        """Put back into Submission what is unreachable now; what becomes unreachable from here on is left alone."""
        last = self._store.allocate_id()
        while not self.stopping:
            now = self._clock.now()
            entries = self._owed or await self._store.lease(
                QueueKind.UNREACHABLE, None, now, LEASED_ENTRIES, LEASED_BYTES
            )
            self._owed = entries
            moved = [entry for entry in entries if entry.id < last]
            for entry in entries:
                entry.status = MessageStatus.READY
                if entry.id < last:
                    entry.queue, entry.last_error, entry.deadline = QueueKind.SUBMISSION, "", 0.0
            if entries:
                await self._store.committed(Transaction((), entries))
            self._owed = []
            self._metrics.rerouted += len(moved)
            for entry in moved:
                recipients = entry.item.envelope.recipient_addresses()
                self._tracker.record(event_for(entry.item, EventId.RESUBMIT, Source.QUEUE, now, recipients))
            if not moved:
                return

    async def _until_woken(self, seconds: float | None) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            pass

    async def _sleep(self, seconds: float) -> None:
        """Wait out a fault of the store, however many messages ask to be taken again; only `stop` cuts it short."""
        end = self._clock.monotonic() + seconds
        while not self.stopping and (left := end - self._clock.monotonic()) > 0:
            self._wake.clear()
            await self._until_woken(left)
