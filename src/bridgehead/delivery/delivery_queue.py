# SPDX-License-Identifier: MIT
"""One delivery queue at work: what its courier takes from, and when it may be tried at all (Exchange's queue status).

Memory holds a window of messages that are ACTIVE on disk; the rest waits there as READY or RETRY and is leased in
batches. While connections fail (Retry) or an administrator says so (Suspended) the window is empty and all is on disk.
"""

import logging
from collections import Counter
from typing import Final

import msgspec

from bridgehead.delivery.hold_up import HoldUp
from bridgehead.delivery.ports import Attempt, Courier, pending_recipients
from bridgehead.delivery.queue_window import (
    FAULT_PAUSE,
    LEASE_BYTES,
    LEASE_ENTRIES,
    LIGHT_ENTRIES,
    WINDOW_ENTRIES,
    QueueHost,
    QueueWindow,
    weight,
)  # fmt: skip
from bridgehead.diagnosis.scheduler import Limit
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.header import clean_text
from bridgehead.mail.item import MailItem, Priority
from bridgehead.mail.limits import DIAGNOSTIC_TEXT, INLINE_CONTENT_BYTES
from bridgehead.queues.retry import message_interval, next_connection_retry
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, QueueState, QueueStatus, StoreFault
from bridgehead.routing.next_hop import DeliveryType

logger = logging.getLogger("bridgehead.delivery")

FOREVER: Final = 1e11
"""A Unix time by which everything is due."""


class DeliveryQueue(QueueWindow):
    """The queue of one next hop; its courier sees it as `WorkSource`.

    Attributes:
        active: messages that the courier has.
        connected: the last thing heard from the courier is that a host answered.
        is_stopped: the server stops.
        taken: messages taken since the queue exists.
    """

    def __init__(self, state: QueueState, host: QueueHost) -> None:
        super().__init__(state, host)
        self.connected = self.is_stopped = False
        self.courier: Courier | None = None
        self.active: dict[int, QueuedItem] = {}
        self.taken = 0
        self._failing: DeliveryStatus | None = None
        self.counters = host.metrics.hop(self.next_hop)

    # --- what the courier calls ------------------------------------------------------------------------------------

    def take(self) -> QueuedItem | None:
        """See `WorkSource`."""
        if not self.is_open or self._host.commits.failing:
            return None
        window = self._window
        if not window:
            self._refill()
            return None
        entry = window.take(self._held_up()) if self._host.settings.priority_queuing_enabled else window.take()
        if entry is None:
            return None
        self.active[entry.item.internal_message_id] = entry
        self.taken += 1
        now = self._host.clock.monotonic()
        self.counters.series.waiting.observe(now - entry.since)
        entry.since = now
        if self.on_disk and len(window) < WINDOW_ENTRIES // 2:
            self._refill()
        return entry

    def backlog(self) -> int:
        """See `WorkSource`."""
        if not self.is_open:
            return 0
        if not self._host.settings.priority_queuing_enabled:
            return len(self._window)
        room = self._room()
        return sum(min(number, room[priority]) for priority, number in self._window.by_priority().items())

    def finished(self, entry: QueuedItem, attempt: Attempt) -> None:
        """See `WorkSource`."""
        key, size = entry.item.internal_message_id, entry.item.size
        if self.active.pop(key, None) is None:
            logger.error("queue %s: message %d is reported a second time; ignored", self.next_hop, entry.id)
            return
        host = self._host
        clock = host.clock
        self.counters.attempted(entry.item, attempt.statuses, clock.monotonic() - entry.since, clock.now())
        if size <= INLINE_CONTENT_BYTES:  # as `weight` says
            host.bytes_in_memory -= size
        host.unwritten.pop(key, None)
        self.flow.left += 1
        try:
            host.recorder.conclude(entry, attempt, self._kept_again)
        except Exception:
            # A bug of ours must not leave a message ACTIVE with nobody at it.
            logger.exception("message %d: its attempt could not be recorded", entry.id)
            host.recorder.set_aside(entry, "an attempt could not be recorded; it may have been delivered")
        if host.suspects.on_trial:
            host.suspects.over(entry.id)
        if host.settings.priority_queuing_enabled and self._window:
            self._soon_wake()  # one of its priority may have waited for this one

    def _kept_again(self, entry: QueuedItem) -> None:
        """An attempt has ended and the message stays."""
        self.flow.left -= 1
        self.kept(entry)

    def put_back(self, entry: QueuedItem) -> None:
        """See `WorkSource`."""
        if self.active.pop(entry.item.internal_message_id, None) is None:
            return
        if entry.status is not MessageStatus.ACTIVE:
            self._host.bytes_in_memory -= weight(entry)
            self._host.unwritten.pop(entry.id, None)
            self._host.recorder.given_back(entry)
        elif self.is_open:
            self._window.put_back(entry)
        else:
            self._host.bytes_in_memory -= weight(entry)
            self.hold_up([entry])
            self._to_disk([entry])

    def connection_failed(self, error: str, *, permanent: bool = False, status: str = "4.4.1") -> None:
        """See `WorkSource`."""
        error = clean_text(error, DIAGNOSTIC_TEXT)
        self.connected = False
        self.counters.connection_failed(status)
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
        self.counters.connected()
        if self.state.status is QueueStatus.RETRY:
            self._set_state(QueueState(queue=QueueKind.DELIVERY, next_hop=self.next_hop))
            self._open()

    def priority_limit(self, priority: Priority) -> Limit | None:
        """What keeps messages of this priority waiting while others go."""
        settings = self._host.settings
        if not settings.priority_queuing_enabled or self._room()[priority]:
            return None
        limit = settings.priority_connections[priority]
        setting = f"max_per_domain_{priority.name.lower()}_priority_connections"
        return Limit(setting, limit, limit, table="queues")

    def _room(self) -> dict[Priority, int]:
        """How many more messages of each priority may be delivered at a time (MaxPerDomain…PriorityConnections)."""
        under_way = Counter(entry.item.priority for entry in self.active.values())
        limits = self._host.settings.priority_connections
        return {priority: max(0, limits[priority] - under_way[priority]) for priority in Priority}

    def _held_up(self) -> list[Priority]:
        return [priority for priority, room in self._room().items() if not room]

    # --- what the dispatcher calls ---------------------------------------------------------------------------------

    def has_room(self, item: MailItem) -> bool:
        """Whether a fresh message may stay in memory. Half of the window is kept for older messages on disk, and some
        room beyond for senders who have next to nothing waiting."""
        if not self.is_open or self.state.status is not QueueStatus.ACTIVE:
            return False
        waiting = len(self._window)
        if waiting < (WINDOW_ENTRIES // 2 if self.on_disk else WINDOW_ENTRIES):
            return True
        return waiting < WINDOW_ENTRIES + LIGHT_ENTRIES and self._window.is_light(item)

    def is_light(self, item: MailItem) -> bool:
        """Whether the sender of a fresh message has next to nothing waiting in memory."""
        return self._window.is_light(item)

    def store_recovered(self) -> None:
        """The store takes commits again."""
        if self.is_open:
            self._open()

    def dismiss(self) -> None:
        """The queue is empty and disappears; a state other than ACTIVE must not outlive it."""
        self.is_open = False
        self.counters.in_use = False
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
        if self.state.status is QueueStatus.SUSPENDED or self._failing is not None:
            return
        # What is deferred again from here on is due later than this, so nothing is tried twice by one command.
        settings = self._host.settings
        interval = message_interval(settings, to_mailbox=self.next_hop.delivery_type is DeliveryType.MAILBOX)
        spread = interval.total_seconds() * (1 - settings.retry_jitter)
        self._horizon = self._host.clock.now() + spread - 0.001
        if self.state.status is QueueStatus.RETRY and not self.is_open:
            self.state.next_retry = self._host.clock.now()
        self._open()

    def connect_now(self) -> None:
        """An administrator does not want single messages to wait for the queue's next retry."""
        if self.state.status is QueueStatus.RETRY and not self.is_open and self._failing is None:
            self.state.next_retry = self._host.clock.now()
            self._open()

    def clock_set_back(self, seconds: float) -> None:
        """Everything in memory that waits for a Unix time waits for one that much earlier."""
        if self.wake_at:
            self.wake_at -= seconds
        if self._horizon:
            self._horizon -= seconds
        for entry in (*self._window, *self.active.values()):
            entry.due = max(0.0, entry.due - seconds)
        if self.state.next_retry:
            self.state.next_retry -= seconds
            self._set_state(self.state)

    def suspend(self, by: str, reason: str = "") -> None:
        """Nothing new is begun; what is under way finishes."""
        self._close_window()
        self.state.suspended_by, self.state.suspend_reason = by, reason
        self.state.suspended_at = self._host.clock.now()
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
        self.is_open, self.is_stopped = False, True
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
    def is_failing(self) -> bool:
        """Every message of the queue is being ended."""
        return self._failing is not None

    @property
    def outgoing_rate(self) -> float:
        """Messages by the second over the last minute."""
        return self.flow.rates(self._host.clock.monotonic())[1]

    @property
    def now(self) -> float:
        """Unix time."""
        return self._host.clock.now()

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
        self._horizon = 0.0
        if state.retry_count == 1:
            self._hold_up_all(error)
        self._close_window()
        self._set_state(state)
        self._host.schedule(self, state.next_retry)

    def _hold_up_all(self, error: str) -> None:
        """The queue begins to wait: say so of each message once, of those on disk little by little."""
        told = set()
        for entry in self._window:
            self._host.recorder.held_up(entry, error)
            told.add(entry.id)
        if self.on_disk:
            self._host.spawn(HoldUp(self, self._host, told).run())

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
                self.flow.left += len(waiting)
                for entry in waiting:
                    # It is at its end: nobody must write down any more that it left Submission.
                    self._host.unwritten.pop(entry.id, None)
                    attempt = Attempt(statuses=[status] * len(pending_recipients(entry)))
                    self.counters.failed_all(len(attempt.statuses))
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
