# SPDX-License-Identifier: MIT
"""The dispatcher: all delivery queues, their timers, the deadlines of what waits, and the intake from the categorizer.

Memory holds a bounded window over all queues; queue depth lives in the store. How one queue works is in
`delivery_queue`, what an attempt leads to in `outcome` and `attempt`.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable, Coroutine, Iterable
from itertools import count
from typing import Final

import msgspec

from bridgehead.delivery.attempt import AttemptRecorder, Keeper, Reporter, Stored
from bridgehead.delivery.commits import LastingCommits
from bridgehead.delivery.delivery_queue import DeliveryQueue
from bridgehead.delivery.ports import Courier, WorkSource
from bridgehead.delivery.queue_window import LEASE_BYTES, QueueWindow
from bridgehead.delivery.rates import SAMPLE_SECONDS
from bridgehead.delivery.set_back import SetBack
from bridgehead.delivery.settings import DeliverySettings
from bridgehead.delivery.suspects import Suspects
from bridgehead.mail.item import MailItem
from bridgehead.mail.limits import INLINE_CONTENT_BYTES
from bridgehead.net.clock import Clock
from bridgehead.queues.fairness import Weights
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import QueuedItem, QueueKind, QueueState, QueueStatus, QueueStore, StoreFault, Transaction
from bridgehead.routing.next_hop import NextHop
from bridgehead.tracking.metrics import Metrics
from bridgehead.tracking.ports import Tracker

logger = logging.getLogger("bridgehead.delivery")

LONGEST_SLEEP: Final = 30.0
"""Seconds after which the dispatcher looks at the clock again, whatever it waits for: clocks are set by hand."""
UNWRITTEN_SECONDS: Final = 1.0
"""How long a message may be under way before it is written down that it left Submission."""
DEADLINE_BATCH: Final = 100

CourierFor = Callable[[NextHop, WorkSource], Courier]


class Dispatcher:
    """Keeps one `DeliveryQueue` for each next hop that has work.

    Args:
        random: gives 0 <= x < 1.
        courier_for: makes the courier of a next hop; what it raises sends the queue to Retry with that reason.
        submit: takes a report, stored in Submission as ACTIVE, to the categorizer.
        fqdn: our name in tracking events.
    """

    def __init__(
        self, store: QueueStore, queue_settings: QueueSettings, delivery_settings: DeliverySettings, tracker: Tracker,
        clock: Clock, random: Callable[[], float], courier_for: CourierFor, reporter: Reporter, submit: Stored,
        fqdn: str = "", metrics: Metrics | None = None, keeper: Keeper | None = None,
    ) -> None:  # fmt: skip
        self.metrics = metrics or Metrics()
        self.store = store
        self.settings = queue_settings
        self.clock = clock
        self.commits = LastingCommits(store, self._store_recovered)
        self.recorder = AttemptRecorder(
            commits=self.commits, settings=queue_settings, tracker=tracker, clock=clock, random=random,
            reporter=reporter, submit=submit, fqdn=fqdn, keeper=keeper,
        )  # fmt: skip
        self.suspects = Suspects(store, self.commits, clock)
        self.bytes_in_memory = 0
        self.weights = Weights(queue_settings.weights)
        self.unwritten: dict[int, QueuedItem] = {}
        self._writing: asyncio.TimerHandle | None = None
        self._sampling: asyncio.TimerHandle | None = None
        self._window_bytes_set = self.window_bytes = int(delivery_settings.outbound_window_bytes)
        self._dehydrated = False
        self.queues: dict[NextHop, DeliveryQueue] = {}
        self._random = random
        self._courier_for = courier_for
        self._timers: list[tuple[float, int, QueueWindow]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._set_back = SetBack(store, clock)
        self._next_sweep = 0.0
        self._sweeping = False
        self._idle: dict[NextHop, tuple[int, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = False
        self.ended_unreachable = 0
        """Messages that failed for their age in Unreachable."""

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin with the queues whose state is kept; `take_up` finds the others. Raises StoreFault."""
        self._running = True
        self._next_sweep = self.clock.monotonic()
        latest = self._set_back.started(self.settings)
        await self._set_back.catch_up()
        for state in await self.store.queue_states():
            if state.next_retry > latest:
                state.next_retry = self.clock.now()
            if state.queue is QueueKind.DELIVERY and state.next_hop is not None:
                queue = self.queues[state.next_hop] = DeliveryQueue(msgspec.structs.replace(state), self)
                if state.status is QueueStatus.RETRY:
                    self.schedule(queue, state.next_retry)
                queue.notice_disk()
        self._sample()
        self.look()

    async def take_up(self) -> None:
        """Deliver from every queue that the store holds, which takes a while to find out where messages are many: mail
        may come and leave meanwhile. Raises StoreFault."""
        for summary in await self.store.queues():
            if self._running and summary.state.next_hop is not None:
                self._queue(summary.state.next_hop).notice_disk()

    async def stop(self) -> None:
        """Begin nothing new, let couriers finish or put back, and give back what lies in memory."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        for timer in (self._writing, self._sampling):
            if timer is not None:
                timer.cancel()
        self.suspects.stop()
        back = [entry for queue in self.queues.values() for entry in queue.stop()]
        await asyncio.gather(*(_close(queue) for queue in self.queues.values()))
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.recorder.settle()
        try:
            # Waits behind everything that was committed before, so that nothing is under way afterwards.
            await self.store.committed(Transaction(put=back))
        except StoreFault as fault:
            logger.error("messages in memory could not be given back, they stay in doubt: %s", fault)
        self.commits.close()
        self.queues.clear()
        self._timers.clear()

    async def reconfigure(
        self, queue_settings: QueueSettings, delivery_settings: DeliverySettings, courier_for: CourierFor
    ) -> None:
        """Use new settings from now on; couriers are made anew, those at work finish first."""
        self.settings = self.recorder.settings = queue_settings
        self.weights.replace(queue_settings.weights)
        self._window_bytes_set = int(delivery_settings.outbound_window_bytes)
        self._fit_window()
        self._courier_for = courier_for
        closing = []
        for queue in self.queues.values():
            if queue.courier is not None:
                closing.append(_close_courier(queue.next_hop, queue.courier))
                queue.courier = None
        await asyncio.gather(*closing)
        for queue in self.queues.values():
            if queue.in_memory:
                queue.wake()

    # --- intake (what the categorizer uses) ---------------------------------------------------------------------

    def has_room(self, next_hop: NextHop, size: int, item: MailItem) -> bool:
        """Whether a message with `size` octets of content for `next_hop` may be stored as ACTIVE and given to `deliver`
        with its content. Otherwise it is stored as READY and `notify` is called."""
        if not self._running:
            return False
        queue = self.queues.get(next_hop)
        if size <= INLINE_CONTENT_BYTES and (total := self.bytes_in_memory + size) > self.window_bytes:
            # An eighth more for senders with next to nothing waiting, so that a mailing does not keep them out.
            fits = total <= self.window_bytes * 9 // 8
            return fits and queue is not None and queue.is_light(item) and queue.has_room(item)
        return queue is None or queue.has_room(item)

    def deliver(self, entries: Iterable[QueuedItem]) -> None:
        """Fresh messages, stored as ACTIVE, with their content."""
        for entry in entries:
            assert entry.next_hop is not None
            self._queue(entry.next_hop).add(entry)

    def deliver_at_once(self, entry: QueuedItem) -> None:
        """A fresh message with its content that is still in Submission on disk, ACTIVE there."""
        assert entry.next_hop is not None
        self._queue(entry.next_hop).add_unwritten(entry)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(UNWRITTEN_SECONDS, self._write_unwritten)

    def _sample(self) -> None:
        """Note how much has entered and left each queue, for rates."""
        now = self.clock.monotonic()
        for queue in self.queues.values():
            queue.flow.sample(now)
        self._sampling = asyncio.get_running_loop().call_later(SAMPLE_SECONDS, self._sample)

    def _write_unwritten(self) -> None:
        """Write down where messages are that are not through yet. Not insisted on: Submission has them still."""
        self._writing = None
        entries, self.unwritten = list(self.unwritten.values()), {}
        if entries:
            self.store.commit(Transaction(put=entries), urgent=False)

    def notify(self, next_hop: NextHop, stored: Iterable[QueuedItem] = ()) -> None:
        """READY entries for `next_hop` were stored, perhaps among others."""
        queue = self._queue(next_hop)
        queue.flow.entered += 1
        queue.hold_up(entry for entry in stored if entry.next_hop == next_hop)
        queue.notice_disk()

    def waits(self, entry: QueuedItem) -> None:
        """An entry of a delivery queue was stored as READY or RETRY."""
        assert entry.next_hop is not None
        self._queue(entry.next_hop).kept(entry)

    # --- operations ------------------------------------------------------------------------------------------------

    def retry_now(self, next_hop: NextHop | None = None) -> int:
        """Retry-Queue: connect now, and try messages in Retry ahead of their time; of all queues without an argument.

        Returns how many queues that concerns; suspended ones are left alone.
        """
        chosen = list(self.queues.values()) if next_hop is None else [self._queue(next_hop)]
        chosen = [queue for queue in chosen if queue.state.status is not QueueStatus.SUSPENDED]
        for queue in chosen:
            queue.retry_now()
        return len(chosen)

    def suspend(self, next_hop: NextHop, by: str, reason: str = "") -> None:
        """Suspend-Queue: what is under way finishes, nothing new is begun."""
        self._queue(next_hop).suspend(by, reason)

    def resume(self, next_hop: NextHop) -> None:
        """Resume-Queue."""
        self._queue(next_hop).resume()

    def dehydrate(self, on: bool) -> None:
        """Memory is short: what waits goes to disk and comes back in small batches, until it is switched off."""
        self._dehydrated = on
        self._fit_window()
        if on:
            for queue in self.queues.values():
                queue.dehydrate()

    def _fit_window(self) -> None:
        self.window_bytes = min(self._window_bytes_set, LEASE_BYTES) if self._dehydrated else self._window_bytes_set

    # --- what the queues use -----------------------------------------------------------------------------------

    def random(self) -> float:
        return self._random()

    def courier_for(self, next_hop: NextHop, source: WorkSource) -> Courier:
        return self._courier_for(next_hop, source)

    def schedule(self, queue: QueueWindow, when: float) -> None:
        """See `QueueHost`."""
        if not self._running or (queue.wake_at and queue.wake_at <= when):
            return
        queue.wake_at = when
        heapq.heappush(self._timers, (when, next(self._order), queue))
        if self._timers[0][0] == when:
            self._set_timer()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """See `QueueHost`."""
        task = asyncio.get_running_loop().create_task(_contained(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- time -----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Do what is due by the clock. Called by the dispatcher's own timer, and by whoever made time jump."""
        self._mind_set_back()
        now = self.clock.now()
        while self._timers and self._timers[0][0] <= now:
            when, _, queue = heapq.heappop(self._timers)
            if queue.wake_at == when:
                queue.wake_at = 0.0
                if self.queues.get(queue.next_hop) is queue:
                    queue.look()
        if self.clock.monotonic() >= self._next_sweep and not self._sweeping:
            self._sweeping = True
            self._next_sweep = self.clock.monotonic() + self._sweep_interval
            self.spawn(self._sweep())
        self._set_timer()

    def _mind_set_back(self) -> None:
        """Keep retries to their intervals when somebody set the wall clock back."""
        if back := self._set_back.noticed():
            self._timers = [(when - back, order, queue) for when, order, queue in self._timers]
            for queue in self.queues.values():
                queue.clock_set_back(back)
        if self._set_back.owes:
            self.spawn(self._catch_up())

    async def _catch_up(self) -> None:
        if await self._set_back.catch_up():
            for queue in list(self.queues.values()):
                queue.notice_disk()

    @property
    def _sweep_interval(self) -> float:
        """Half a minute, or a tenth of the shortest deadline where somebody set that very short."""
        settings = self.settings
        shortest = min(settings.delay_notification_timeout, settings.message_expiration_timeout)
        if settings.priority_queuing_enabled:
            shortest = min(
                shortest, settings.high_priority_delay_notification_timeout,
                settings.high_priority_message_expiration_timeout, settings.low_priority_delay_notification_timeout,
                settings.low_priority_message_expiration_timeout,
            )  # fmt: skip
        return max(0.1, min(LONGEST_SLEEP, shortest.total_seconds() / 10))

    def _set_timer(self) -> None:
        if not self._running:
            return
        if self._timer is not None:
            self._timer.cancel()
        delay = min(LONGEST_SLEEP, max(0.0, self._next_sweep - self.clock.monotonic()))
        if self._timers:
            delay = max(0.001, min(delay, self._timers[0][0] - self.clock.now()))
        self._timer = asyncio.get_running_loop().call_later(delay, self.look)

    async def _sweep(self) -> None:
        """Deadlines of everything that waits, in Unreachable as well; then queues that nobody needs any more."""
        try:
            while self._running and not self.commits.failing and not self.suspects:
                overdue = await self.store.past_deadline(self.clock.now(), DEADLINE_BATCH)
                for entry in overdue:
                    self._deadline(entry)
                if len(overdue) < DEADLINE_BATCH:
                    break
        except StoreFault as fault:
            logger.error("messages past their deadline could not be read: %s", fault)
        finally:
            self._sweeping = False
        await self._remove_idle()

    def _deadline(self, entry: QueuedItem) -> None:
        error, kept = "", self._still_unreachable
        if entry.next_hop is not None:
            queue = self._queue(entry.next_hop)
            error, kept = queue.state.last_error, queue.kept
        else:
            self.ended_unreachable += 1
        self.recorder.deadline(entry, error, kept)

    def _still_unreachable(self, entry: QueuedItem) -> None:
        """Its sender was told of the delay; Unreachable has no queue at work that would have to know."""
        self.ended_unreachable -= 1

    async def _remove_idle(self) -> None:
        """QueueMaxIdleTime: an empty queue disappears, its connections with it."""
        now, limit = self.clock.monotonic(), self.settings.queue_max_idle_time.total_seconds()
        closing = []
        for next_hop, queue in list(self.queues.items()):
            if queue.is_busy or queue.state.status is QueueStatus.SUSPENDED:
                self._idle.pop(next_hop, None)
                continue
            taken, since = self._idle.get(next_hop, (-1, now))
            if taken != queue.taken:
                self._idle[next_hop] = (queue.taken, now)
            elif now - since >= limit:
                del self.queues[next_hop], self._idle[next_hop]
                queue.dismiss()
                closing.append(_close(queue))
        if closing:
            await asyncio.gather(*closing)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _queue(self, next_hop: NextHop) -> DeliveryQueue:
        queue = self.queues.get(next_hop)
        if queue is None:
            state = QueueState(queue=QueueKind.DELIVERY, next_hop=next_hop)
            queue = self.queues[next_hop] = DeliveryQueue(state, self)
        return queue

    def _store_recovered(self) -> None:
        for queue in list(self.queues.values()):
            queue.store_recovered()


async def _contained(work: Coroutine[None, None, None]) -> None:
    """An error in one queue's background work is logged and hurts nobody else."""
    try:
        await work
    except Exception:
        logger.exception("background work of delivery failed")


async def _close(queue: DeliveryQueue) -> None:
    if queue.courier is not None:
        await _close_courier(queue.next_hop, queue.courier)


async def _close_courier(next_hop: NextHop, courier: Courier) -> None:
    try:
        await courier.close()
    except Exception:
        logger.exception("queue %s: its connections could not be closed", next_hop)
