# SPDX-License-Identifier: MIT
"""One delivery queue at work: what its courier takes from, and when it may be tried at all (Exchange's queue status).

Memory holds a window of messages that are ACTIVE on disk; the rest waits there as READY or RETRY and is leased in
batches. While connections fail (Retry) or an administrator says so (Suspended) the window is empty and all is on disk.
"""

import logging
from collections import deque
from collections.abc import Coroutine
from typing import Final, Protocol

import msgspec

from bridgehead.delivery.attempt import AttemptRecorder
from bridgehead.delivery.commits import LastingCommits
from bridgehead.delivery.outcome import waiting_status
from bridgehead.delivery.ports import Attempt, Courier, WorkSource, pending_recipients
from bridgehead.delivery.suspects import Suspects
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.header import clean_text
from bridgehead.mail.item import Priority
from bridgehead.mail.limits import DIAGNOSTIC_TEXT, INLINE_CONTENT_BYTES
from bridgehead.net.clock import Clock
from bridgehead.queues.retry import next_connection_retry
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import QueuedItem, QueueKind, QueueState, QueueStatus, QueueStore, StoreFault, Transaction
from bridgehead.routing.next_hop import DeliveryType, NextHop

logger = logging.getLogger("bridgehead.delivery")

WINDOW_ENTRIES: Final = 1000
"""Messages of one queue in memory."""
LEASE_ENTRIES: Final = 100
"""Messages read from disk at a time."""
PROBE_ENTRIES: Final = 10
"""Messages read when it is not known whether anybody answers."""
LEASE_BYTES: Final = 4 * 1024**2
"""Content read from disk at a time."""
FAULT_PAUSE: Final = 5.0
"""Seconds until the disk is asked again after it failed."""
FOREVER: Final = 1e11


class QueueHost(Protocol):
    """What a delivery queue needs of its dispatcher."""

    store: QueueStore
    settings: QueueSettings
    clock: Clock
    commits: LastingCommits
    recorder: AttemptRecorder
    suspects: Suspects
    bytes_in_memory: int
    window_bytes: int

    def random(self) -> float: ...

    def schedule(self, queue: "DeliveryQueue", when: float) -> None:
        """Call the queue's `look` at this Unix time, or earlier if asked for earlier already."""

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something in the background; it is awaited before the store closes."""

    def courier_for(self, next_hop: NextHop, source: WorkSource) -> Courier: ...


class DeliveryQueue:
    """The queue of one next hop; its courier sees it as `WorkSource`."""

    def __init__(self, state: QueueState, host: QueueHost) -> None:
        assert state.next_hop is not None
        self.next_hop = state.next_hop
        self.state = state
        self.is_open = state.status is QueueStatus.ACTIVE
        """Messages may be taken: not suspended, not waiting for the next retry."""
        self.connected = False
        self.courier: Courier | None = None
        self.active: dict[int, QueuedItem] = {}
        self.on_disk = False
        """There may be entries on disk that are due."""
        self.taken = 0
        self.wake_at = 0.0
        """Unix time of the next look, 0 for none; kept by the dispatcher."""
        self._host = host
        self._window: deque[QueuedItem] = deque()
        self._leasing = False
        self._failing: DeliveryStatus | None = None
        self._forced: set[int] | None = None

    # --- what the courier calls ------------------------------------------------------------------------------------

    def take(self) -> QueuedItem | None:
        """See `WorkSource`."""
        if not self.is_open or self._host.commits.failing:
            return None
        window = self._window
        if not window:
            self._refill()
            return None
        entry = window.popleft()
        self.active[entry.item.internal_message_id] = entry
        self.taken += 1
        if self.on_disk and len(window) < WINDOW_ENTRIES // 2:
            self._refill()
        return entry

    def backlog(self) -> int:
        """See `WorkSource`."""
        return len(self._window) if self.is_open else 0

    def finished(self, entry: QueuedItem, attempt: Attempt) -> None:
        """See `WorkSource`."""
        if self.active.pop(entry.item.internal_message_id, None) is None:
            logger.error("queue %s: message %d is reported a second time; ignored", self.next_hop, entry.id)
            return
        host = self._host
        host.bytes_in_memory -= _weight(entry)
        try:
            host.recorder.conclude(entry, attempt, self.kept)
        except Exception:
            # A bug of ours must not leave a message ACTIVE with nobody at it.
            logger.exception("message %d: its attempt could not be recorded", entry.id)
            host.recorder.set_aside(entry, "an attempt could not be recorded; it may have been delivered")
        if host.suspects.on_trial:
            host.suspects.over(entry.id)

    def put_back(self, entry: QueuedItem) -> None:
        """See `WorkSource`."""
        if self.active.pop(entry.item.internal_message_id, None) is None:
            return
        if self.is_open:
            self._window.appendleft(entry)
        else:
            self._host.bytes_in_memory -= _weight(entry)
            self._to_disk([entry])

    def connection_failed(self, error: str, *, permanent: bool = False, status: str = "4.4.1") -> None:
        """See `WorkSource`."""
        error = clean_text(error, DIAGNOSTIC_TEXT)
        self.connected = False
        if permanent:
            self._fail_all(DeliveryStatus(action=Action.FAILED, status=f"5{status[1:]}", diagnostic=error))
        elif not self.is_open:
            # Other connections of the same attempt end one after the other; one step up the ladder is enough.
            self.state.last_error = error
        else:
            self._enter_retry(error)

    def connection_succeeded(self) -> None:
        """See `WorkSource`."""
        self.connected = True
        if self.state.status is QueueStatus.RETRY:
            self._set_state(QueueState(queue=QueueKind.DELIVERY, next_hop=self.next_hop))
            self._open()

    # --- what the dispatcher calls ---------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether a fresh message may stay in memory. Half of the window is kept for older messages on disk."""
        limit = WINDOW_ENTRIES // 2 if self.on_disk else WINDOW_ENTRIES
        return self.is_open and self.state.status is QueueStatus.ACTIVE and len(self._window) < limit

    def add(self, entry: QueuedItem) -> None:
        """A fresh message, ACTIVE on disk, with its content."""
        if not self.is_open:
            self._to_disk([entry])
            return
        self._host.bytes_in_memory += _weight(entry)
        if entry.item.priority is Priority.HIGH:
            self._window.appendleft(entry)
        else:
            self._window.append(entry)
        self.wake()

    def notice_disk(self) -> None:
        """Entries were stored as READY."""
        self.on_disk = True
        if self.is_open and not self._window:
            self._refill()

    def kept(self, entry: QueuedItem) -> None:
        """An entry is stored to be tried again at its time."""
        if entry.due > self._host.clock.now():
            self._host.schedule(self, entry.due)
        else:
            self.notice_disk()

    def store_recovered(self) -> None:
        """The store takes commits again."""
        if self.is_open:
            self._open()

    def dismiss(self) -> None:
        """The queue is empty and disappears; a state other than ACTIVE must not outlive it."""
        self.is_open = False
        if self.state.status is not QueueStatus.ACTIVE:
            self._set_state(QueueState(queue=QueueKind.DELIVERY, next_hop=self.next_hop))

    def look(self) -> None:
        """The time that was asked for has come: a retry of the queue, or of entries in it."""
        if self.state.status is QueueStatus.SUSPENDED:
            return
        if self.state.status is QueueStatus.RETRY and not self.is_open:
            now = self._host.clock.now()
            if now < self.state.next_retry:
                self._host.schedule(self, self.state.next_retry)
                return
            self._open()
            return
        self.on_disk = True
        self._refill()

    def retry_now(self) -> None:
        """An administrator does not want to wait: neither for the queue nor for single messages."""
        if self.state.status is QueueStatus.SUSPENDED:
            return
        self._forced = set()
        if self.state.status is QueueStatus.RETRY and not self.is_open:
            self.state.next_retry = self._host.clock.now()
        self._open()

    def suspend(self, by: str) -> None:
        """Nothing new is begun; what is under way finishes."""
        self._close_window()
        self.state.suspended_by = by
        self.state.next_retry = 0.0
        self.state.status = QueueStatus.SUSPENDED
        self._set_state(self.state)

    def resume(self) -> None:
        """Undo `suspend`."""
        if self.state.status is QueueStatus.SUSPENDED:
            self._set_state(QueueState(queue=QueueKind.DELIVERY, next_hop=self.next_hop))
            self._open()

    def stop(self) -> list[QueuedItem]:
        """Begin nothing any more; returns what lies in memory untouched, as it is to be stored."""
        self.is_open = False
        return self._as_ready(self._emptied_window())

    def wake(self) -> None:
        """Tell the courier, making one first where there is none."""
        try:
            if self.courier is None:
                self.courier = self._host.courier_for(self.next_hop, self)
            self.courier.wake()
        except Exception as error:
            logger.exception("queue %s: delivery could not be started", self.next_hop)
            if self.courier is None and self.is_open:
                self._enter_retry(f"delivery could not be started: {error}")

    @property
    def takes_suspects(self) -> bool:
        """See `TrialQueue`."""
        return self.is_open

    def try_suspect(self, entry: QueuedItem) -> None:
        """See `TrialQueue`."""
        self.add(entry)

    @property
    def in_memory(self) -> int:
        """Messages in the window, those with the courier not counted."""
        return len(self._window)

    @property
    def is_busy(self) -> bool:
        """False when nothing is in memory, under way or known on disk."""
        return bool(self._window or self.active or self.on_disk or self._leasing or self._failing or self.wake_at)

    @property
    def status(self) -> str:
        """Exchange's word."""
        if self.state.status is QueueStatus.SUSPENDED:
            return "Suspended"
        if self.state.status is QueueStatus.RETRY:
            return "Connecting" if self.is_open else "Retry"
        if self.active:
            return "Active" if self.connected or self.next_hop.delivery_type is DeliveryType.MAILBOX else "Connecting"
        return "Ready"

    # --- queue status --------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Take from disk and memory again."""
        self.is_open = True
        self.on_disk = True
        self._refill()
        if self._window:
            self.wake()

    def _enter_retry(self, error: str) -> None:
        now, state = self._host.clock.now(), self.state
        state.retry_count += 1
        state.first_retry = state.first_retry or now
        state.last_retry = now
        state.last_error = error
        state.next_retry = self._next_retry(now)
        if state.status is not QueueStatus.SUSPENDED:
            state.status = QueueStatus.RETRY
        self._forced = None
        self._close_window()
        self._set_state(state)
        self._host.schedule(self, state.next_retry)

    def _next_retry(self, now: float) -> float:
        return next_connection_retry(
            self._host.settings, self.state.retry_count, now, self._host.random(),
            to_mailbox=self.next_hop.delivery_type is DeliveryType.MAILBOX,
        )  # fmt: skip

    def _close_window(self) -> None:
        """Leave only what the courier has; everything else goes back to disk."""
        self.is_open = False
        self._to_disk(self._emptied_window())

    def _set_state(self, state: QueueState) -> None:
        self.state = state
        self._host.store.set_queue_state(msgspec.structs.replace(state), self._state_stored)

    def _state_stored(self, fault: StoreFault | None) -> None:
        if fault is not None:
            # Not worth a second try: after a restart the queue is merely tried at once.
            logger.error("queue %s: its state could not be stored: %s", self.next_hop, fault)

    def _fail_all(self, status: DeliveryStatus) -> None:
        """The next hop can never be reached: end every message in the queue, batch by batch."""
        if self._failing is not None:
            return
        self._failing = status
        self.is_open = False
        self._host.spawn(self._fail_in_batches())

    async def _fail_in_batches(self) -> None:
        status = self._failing
        assert status is not None
        try:
            while waiting := self._emptied_window() or await self._host.store.lease(
                QueueKind.DELIVERY, self.next_hop, FOREVER, LEASE_ENTRIES, LEASE_BYTES
            ):
                for entry in waiting:
                    attempt = Attempt(statuses=[status] * len(pending_recipients(entry)))
                    self._host.recorder.conclude(entry, attempt, self.kept)
        except StoreFault as fault:
            logger.error("queue %s: its messages could not be read to be failed: %s", self.next_hop, fault)
            self._host.schedule(self, self._host.clock.now() + FAULT_PAUSE)
        finally:
            self._failing = None
            if self.state.status is not QueueStatus.SUSPENDED:
                self._set_state(
                    QueueState(queue=QueueKind.DELIVERY, next_hop=self.next_hop, last_error=status.diagnostic)
                )
                self._open()

    def _emptied_window(self) -> list[QueuedItem]:
        """What lay in the window, which no longer counts as memory in use."""
        waiting, self._window = list(self._window), deque()
        for entry in waiting:
            self._host.bytes_in_memory -= _weight(entry)
        return waiting

    # --- memory and disk -------------------------------------------------------------------------------------------

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
        forced = self._forced is not None
        batch: list[QueuedItem] = []
        try:
            until = FOREVER if forced else now
            room = max(0, min(LEASE_BYTES, host.window_bytes - host.bytes_in_memory))
            batch = await host.store.lease(QueueKind.DELIVERY, self.next_hop, until, limit, room)
            if len(batch) == limit:
                self.on_disk = True
            else:
                await self._see_what_is_left(forced, bool(batch))
        except StoreFault as fault:
            logger.error("queue %s: messages could not be read from disk: %s", self.next_hop, fault)
            host.schedule(self, now + FAULT_PAUSE)
        finally:
            self._leasing = False
            if batch:
                self._arrived(batch)
            elif self.on_disk:
                self._refill()

    async def _see_what_is_left(self, forced: bool, got_some: bool) -> None:
        """After a short batch: nothing, something later, or something that did not fit."""
        due = await self._host.store.next_due(QueueKind.DELIVERY, self.next_hop)
        if due is not None and (due <= self._host.clock.now() or (forced and got_some)):
            self.on_disk = True
        else:
            if forced:
                self._forced = None
            if due is not None:
                self._host.schedule(self, due)

    def _arrived(self, batch: list[QueuedItem]) -> None:
        """A batch from disk: into the window, before what is younger."""
        threshold = self._host.settings.poison_threshold
        good = [entry for entry in batch if entry.crash_count < threshold]
        if len(good) < len(batch):
            self._sort_out([entry for entry in batch if entry.crash_count >= threshold])
        if self._forced is not None:
            good = self._not_twice(good)
        if not self.is_open:
            self._to_disk(good)
            return
        self._host.bytes_in_memory += sum(map(_weight, good))
        if self._window and good and good[0].id < self._window[0].id:
            self._window.extendleft(reversed(good))
        else:
            self._window.extend(good)
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
            self._host.commits.commit(suspects.admit(self, on_trial), lambda: self._host.spawn(suspects.run()))

    def _not_twice(self, batch: list[QueuedItem]) -> list[QueuedItem]:
        """With `retry_now`, every message gets one attempt ahead of its time, not one after the other."""
        assert self._forced is not None
        again = [entry for entry in batch if entry.id in self._forced]
        if not again:
            self._forced.update(entry.id for entry in batch)
            return batch
        fresh = [entry for entry in batch if entry.id not in self._forced]
        self._forced = None
        self._to_disk(again)
        return fresh

    def _to_disk(self, entries: list[QueuedItem]) -> None:
        """Give entries back untried; their content leaves memory."""
        if not entries:
            return
        if self._host.suspects.on_trial:
            for entry in entries:
                self._host.suspects.over(entry.id)
        self._host.commits.commit(Transaction(put=self._as_ready(entries)), self._is_on_disk)

    def _as_ready(self, entries: list[QueuedItem]) -> list[QueuedItem]:
        now = self._host.clock.now()
        return [msgspec.structs.replace(entry, content=None, status=waiting_status(entry, now)) for entry in entries]

    def _is_on_disk(self) -> None:
        if self.is_open:
            self.notice_disk()


def _weight(entry: QueuedItem) -> int:
    """Octets of content that an entry keeps in memory."""
    return entry.item.size if entry.item.size <= INLINE_CONTENT_BYTES else 0
