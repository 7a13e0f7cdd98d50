# SPDX-License-Identifier: MIT
"""A delivery queue between memory and disk: the window of messages ACTIVE in memory, and how it is filled and emptied.

What its courier and the administrator see of the queue is in `delivery_queue`.
"""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable
from typing import Final, Protocol

import msgspec

from bridgehead.delivery.attempt import AttemptRecorder
from bridgehead.delivery.commits import LastingCommits
from bridgehead.delivery.fair_window import FairWindow
from bridgehead.delivery.outcome import waiting_status
from bridgehead.delivery.ports import Courier, WorkSource
from bridgehead.delivery.rates import FlowMeter
from bridgehead.delivery.suspects import WAIT, Suspects
from bridgehead.mail.limits import INLINE_CONTENT_BYTES
from bridgehead.net.clock import Clock
from bridgehead.queues.fairness import Weights
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import QueuedItem, QueueKind, QueueState, QueueStatus, QueueStore, StoreFault, Transaction
from bridgehead.routing.next_hop import NextHop
from bridgehead.tracking.metrics import Metrics

logger = logging.getLogger("bridgehead.delivery")

WINDOW_ENTRIES: Final = 1000
"""Messages of one queue in memory."""
LIGHT_ENTRIES: Final = 250
"""Messages beyond that, of senders with next to nothing waiting: they need not queue up on disk behind a mailing."""
LEASE_ENTRIES: Final = 100
"""Messages read from disk at a time."""
PROBE_ENTRIES: Final = 10
"""Messages read when it is not known whether anybody answers."""
LEASE_BYTES: Final = 4 * 1024**2
"""Content read from disk at a time."""
FAULT_PAUSE: Final = 5.0
"""Seconds until the disk is asked again after it failed."""
SHORTEST_PAUSE: Final = 0.05


class QueueHost(Protocol):
    """What a delivery queue needs of its dispatcher."""

    store: QueueStore
    settings: QueueSettings
    clock: Clock
    commits: LastingCommits
    recorder: AttemptRecorder
    suspects: Suspects
    metrics: Metrics
    unwritten: dict[int, QueuedItem]
    """Entries in memory that are still in Submission on disk."""
    weights: Weights
    bytes_in_memory: int
    window_bytes: int

    def random(self) -> float: ...

    def schedule(self, queue: "QueueWindow", when: float) -> None:
        """Call the queue's `look` at this Unix time, or earlier if asked for earlier already."""

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something in the background; it is awaited before the store closes."""

    def courier_for(self, next_hop: NextHop, source: WorkSource) -> Courier: ...


class QueueWindow:
    """Messages of one next hop in memory, and the way to those on disk.

    Attributes:
        is_open: messages may be taken: not suspended, not waiting for the next retry.
        on_disk: there may be entries on disk that are due.
        wake_at: Unix time of the next look, 0 for none; kept by the dispatcher.
        flow: counts what enters and leaves, for rates.
    """

    def __init__(self, state: QueueState, host: QueueHost) -> None:
        assert state.next_hop is not None
        self.next_hop = state.next_hop
        self.state = state
        self.is_open = state.status is QueueStatus.ACTIVE
        self.on_disk = False
        self.wake_at = 0.0
        self._host = host
        self._window = FairWindow(host.weights)
        self.flow = FlowMeter(host.clock.monotonic())
        self._leasing = False
        self._waking = False
        self._horizon = 0.0
        """Entries due up to this time are taken although it is ahead, 0 for none."""

    def wake(self) -> None:
        """There is something in the window."""
        raise NotImplementedError

    def look(self) -> None:
        """The time that was asked for has come."""
        raise NotImplementedError

    def add(self, entry: QueuedItem) -> None:
        """A fresh message, ACTIVE on disk, with its content."""
        self.flow.entered += 1
        if not self.is_open:
            self.hold_up([entry])
            self._to_disk([entry])
            return
        self._host.bytes_in_memory += weight(entry)
        entry.since = self._host.clock.monotonic()
        self._window.add(entry)
        # One wake for all messages of a commit: sessions then find the next one to send along.
        self._soon_wake()

    def add_unwritten(self, entry: QueuedItem) -> None:
        """A fresh message that is still in Submission on disk."""
        self._host.unwritten[entry.id] = entry
        self.add(entry)

    def _soon_wake(self) -> None:
        if not self._waking:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._wake_now)

    def _wake_now(self) -> None:
        self._waking = False
        if self.is_open and self._window:
            self.wake()

    def notice_disk(self) -> None:
        """Entries were stored as READY."""
        self.on_disk = True
        if self.is_open and not self._window:
            self._refill()

    def hold_up(self, entries: Iterable[QueuedItem]) -> None:
        """Messages join the queue; while its next hop cannot be reached, say so of each."""
        if self.state.status is QueueStatus.RETRY:
            for entry in entries:
                self._host.recorder.held_up(entry, self.state.last_error)

    def kept(self, entry: QueuedItem) -> None:
        """An entry is stored to be tried again at its time."""
        if entry.due > self._host.clock.now():
            self._host.schedule(self, entry.due)
        else:
            self.notice_disk()

    @property
    def in_memory(self) -> int:
        """Messages in the window, those with the courier not counted."""
        return len(self._window)

    @property
    def takes_suspects(self) -> bool:
        """See `TrialQueue`."""
        return self.is_open

    def try_suspect(self, entry: QueuedItem) -> None:
        """See `TrialQueue`."""
        self.flow.entered -= 1  # it has been here
        self.add(entry)

    def in_window(self) -> dict[int, QueuedItem]:
        """Messages that wait in memory, by id."""
        return {entry.id: entry for entry in self._window}

    def as_given_back(self, entry: QueuedItem) -> QueuedItem:
        """A message that waits in memory, as it would be on disk if it were given back now."""
        return self._as_ready([entry])[0]

    def withdraw(self, ids: Collection[int]) -> None:
        """Take these out of memory, for a caller that writes down at once what becomes of them."""
        for entry in self._window.without(ids):
            self._host.bytes_in_memory -= weight(entry)
            self._host.unwritten.pop(entry.id, None)
            if self._host.suspects.on_trial:
                self._host.suspects.over(entry.id)

    def dehydrate(self) -> None:
        """Let what waits in memory go to disk; it comes back as room allows."""
        self._to_disk(self._emptied_window())

    def _emptied_window(self) -> list[QueuedItem]:
        """What lay in the window, which no longer counts as memory in use."""
        waiting = self._window.emptied()
        for entry in waiting:
            self._host.bytes_in_memory -= weight(entry)
        return waiting

    def _refill(self) -> None:
        """Read a batch from disk unless one is being read."""
        if self.on_disk and self.is_open and not self._leasing and not self._host.commits.failing:
            self._leasing = True
            self._host.spawn(self._lease())

    async def _lease(self) -> None:
        host = self._host
        now = host.clock.now()
        limit = PROBE_ENTRIES if self.state.status is QueueStatus.RETRY else LEASE_ENTRIES
        self.on_disk = False
        until = max(now, self._horizon)
        batch: list[QueuedItem] = []
        try:
            room = max(0, min(LEASE_BYTES, host.window_bytes - host.bytes_in_memory))
            batch = await host.store.lease(QueueKind.DELIVERY, self.next_hop, until, limit, room)
            if len(batch) == limit:
                self.on_disk = True
            else:
                await self._see_what_is_left(until, bool(batch))
        except StoreFault as fault:
            logger.error("queue %s: messages could not be read from disk: %s", self.next_hop, fault)
            host.schedule(self, now + FAULT_PAUSE)
        finally:
            self._leasing = False
            if batch:
                self._arrived(batch)
            elif self.on_disk:
                self._refill()

    async def _see_what_is_left(self, until: float, got_some: bool) -> None:
        """After a short batch: nothing, something later, or something that did not fit."""
        due = await self._host.store.next_due(QueueKind.DELIVERY, self.next_hop)
        if due is not None and due <= until and got_some:
            self.on_disk = True
            return
        self._horizon = 0.0
        if due is not None:
            # At least a moment later: an entry that became due just now must not be asked for in a tight loop.
            self._host.schedule(self, max(due, self._host.clock.now() + SHORTEST_PAUSE))

    def _arrived(self, batch: list[QueuedItem]) -> None:
        """A batch from disk: into the window, before what is younger."""
        threshold = self._host.settings.poison_threshold
        good = [entry for entry in batch if entry.crash_count < threshold]
        if len(good) < len(batch):
            self._sort_out([entry for entry in batch if entry.crash_count >= threshold])
        if not self.is_open:
            if self.state.retry_count == 1:  # read before the queue began to wait
                self.hold_up(good)
            self._to_disk(good)
            return
        self._host.bytes_in_memory += sum(map(weight, good))
        ahead = self._host.clock.monotonic() - self._host.clock.now()
        for entry in good:
            entry.since = ahead + (entry.due or entry.item.received_at)
        self._window.add_older(good)
        if self._window:
            self.wake()

    def _sort_out(self, crashed: list[QueuedItem]) -> None:
        """What was under way in as many crashes as are allowed is tried alone; after one more it is set aside."""
        threshold, suspects = self._host.settings.poison_threshold, self._host.suspects
        for entry in crashed:
            if entry.crash_count > threshold:
                self._host.recorder.set_aside(entry, f"the server crashed {entry.crash_count} times on this message")
        on_trial = [entry for entry in crashed if entry.crash_count == threshold]
        if on_trial:
            self._host.commits.commit(suspects.admit(self, on_trial), self._suspects_stored)

    def _suspects_stored(self) -> None:
        # Those whose turn does not come, because the queue closes or the store fails, are due again then.
        self._host.schedule(self, self._host.clock.now() + WAIT)
        self._host.spawn(self._host.suspects.run())

    def _to_disk(self, entries: list[QueuedItem]) -> None:
        """Give entries back untried; their content leaves memory."""
        if not entries:
            return
        for entry in entries:
            self._host.unwritten.pop(entry.id, None)
            if self._host.suspects.on_trial:
                self._host.suspects.over(entry.id)
        self._host.commits.commit(Transaction(put=self._as_ready(entries)), self._is_on_disk)

    def _as_ready(self, entries: list[QueuedItem]) -> list[QueuedItem]:
        now = self._host.clock.now()
        return [msgspec.structs.replace(entry, content=None, status=waiting_status(entry, now)) for entry in entries]

    def _is_on_disk(self) -> None:
        if self.is_open:
            self.notice_disk()


def weight(entry: QueuedItem) -> int:
    """Octets of content that an entry keeps in memory."""
    size = entry.item.size
    return size if size <= INLINE_CONTENT_BYTES else 0
