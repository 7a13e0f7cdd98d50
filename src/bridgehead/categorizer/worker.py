# SPDX-License-Identifier: MIT
"""The categorizer at work: takes messages right after their commit, or from disk, and commits what becomes of them.

`process` is synchronous and is called with the entry that the accept commit has just made durable. What could not be
done then - the directory did not answer, the store failed, the process was restarted - waits in Submission and is
taken from there by one background task, a bounded window at a time. Messages without a route are tried again when
the configuration changes.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from random import random
from typing import Final

import msgspec

from bridgehead.categorizer.bifurcate import bifurcate
from bridgehead.categorizer.finish import Finisher, Outcome
from bridgehead.categorizer.gate import through_gate
from bridgehead.categorizer.mail_flow import MailFlow
from bridgehead.categorizer.ports import DeliveryIntake, Gate, Reporter
from bridgehead.categorizer.refusals import EXPIRED
from bridgehead.categorizer.resolution import Copy, Resolution
from bridgehead.categorizer.resolve import NO_STEPS, resolve
from bridgehead.categorizer.route import route
from bridgehead.categorizer.slices import Work, at_once, in_slices, whole
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.mail.header import clean_text
from bridgehead.mail.item import MailItem, Source, Stage
from bridgehead.mail.limits import LOGGED_TEXT
from bridgehead.net.clock import Clock
from bridgehead.queues.retry import deadline_of, next_resolver_retry
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, QueueStore, StoreFault, Transaction
from bridgehead.tracking.agent_log import NoAgentLog
from bridgehead.tracking.events import EventId, TrackingEvent, event_for
from bridgehead.tracking.metrics import Metrics
from bridgehead.tracking.pipeline_tracing import PipelineTracing
from bridgehead.tracking.ports import AgentLog, Tracker

LEASED_ENTRIES: Final = 64
LEASED_BYTES: Final = 8 * 1024**2
"""The window in which the queue on disk is worked off."""
BACKOFF_SECONDS: Final = (0.2, 30.0)
"""First and longest pause after a fault of the store."""
EVER: Final = 2.0**40
"""A time after every due time."""
IDLE_CHECK_SECONDS: Final = 1.0
"""Shortest pause while Submission holds entries that are due but cannot be leased."""

_SUBMITTED: Final = Stage.SUBMITTED

_log = logging.getLogger(__name__)


class Categorizer:
    """Moves messages from Submission to where they go next. All methods are called on the event loop.

    Args:
        mail_flow: directory, domains, connectors and limits; replaced by `reconfigure`.
        random: spreads retries; 0 <= random() < 1.
    """

    def __init__(
        self, *, store: QueueStore, mail_flow: MailFlow, queue_settings: QueueSettings, tracker: Tracker, clock: Clock,
        reporter: Reporter, intake: DeliveryIntake, random: Callable[[], float] = random,
        metrics: Metrics | None = None, tracing: PipelineTracing | None = None,
        agent_log: AgentLog | None = None,
    ) -> None:  # fmt: skip
        self._agent_log = agent_log or NoAgentLog()
        self._tracing = tracing
        self._metrics = metrics or Metrics()
        self._store = store
        self._mail_flow = mail_flow
        self._queue_settings = queue_settings
        self._tracker = tracker
        self._clock = clock
        self._intake = intake
        self._random = random
        self._finisher = Finisher(reporter, intake, queue_settings, store.allocate_id, self._metrics)
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._long_tasks: set[asyncio.Task[None]] = set()
        self._one_at_length = asyncio.Lock()
        self._stuck: deque[int] = deque()
        """Entries whose commit failed: ACTIVE in Submission on disk, to be read and processed again."""
        self._window: set[int] = set()
        """Entries taken from disk whose commit is under way."""
        self._under_way = 0
        self._progress = asyncio.Event()
        self._fault: StoreFault | None = None
        self._owed: list[QueuedItem] = []
        """Entries leased from Unreachable that are still to be put into Submission."""
        self._resubmit = False
        self._retry_all = False
        self.submission_suspended = self.unreachable_suspended = False
        self.gate: Gate | None = None
        """Standing rules, None while there are none."""
        self._pause = BACKOFF_SECONDS[0]

    # --- what others call ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work off what Submission holds on disk. What had no route is tried again: the configuration may
        have changed since."""
        self._stopping = False
        self._resubmit = True
        self._task = asyncio.get_running_loop().create_task(self.run(), name="categorizer")

    async def stop(self) -> None:
        """Finish what is under way. Entries on disk wait for the next start."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        while self._under_way:
            await self._progressed()

    def wake(self) -> None:
        """Entries were put into Submission as READY, by somebody who does not call `process`."""
        self._wake.set()

    def reconfigure(self, mail_flow: MailFlow, queue_settings: QueueSettings | None = None) -> None:
        """Decide by a new configuration from the next message on; messages without a route are tried again."""
        self._mail_flow = mail_flow
        if queue_settings is not None:
            self._queue_settings = self._finisher.queue_settings = queue_settings
        self.resubmit_unreachable()

    def resubmit_unreachable(self) -> None:
        """Put everything in Unreachable, but what is suspended, through the categorizer again."""
        self._resubmit = True
        self._wake.set()

    def retry_submission(self) -> None:
        """Process what waits in Submission for the directory now, not at its time."""
        self._retry_all = True
        self._wake.set()

    def process(self, entry: QueuedItem) -> None:
        """Categorize an entry of Submission that is ACTIVE on disk and has its content. Never raises."""
        now = self._clock.now()
        if entry.item.stage is _SUBMITTED:
            self._metrics.submission.observe(now - entry.item.received_at)
        else:
            self._metrics.looked_at_again += 1
        tracing = self._tracing
        if tracing is not None and entry.content is not None and tracing.wants(entry.item.envelope.reverse_path):
            tracing.submitted(entry.item, entry.content)
        else:
            tracing = None
        try:
            outcome = self._held_back(entry) if self.submission_suspended else self._decide(entry, now)
        except Exception as error:
            _log.exception("message %d could not be categorized", entry.id)
            outcome = self._crashed(entry, error, now)
        if isinstance(outcome, Outcome):
            self._conclude(entry, outcome, tracing)
        else:
            self._under_way += 1
            task = asyncio.get_running_loop().create_task(self._at_length(entry, outcome, tracing, now))
            self._long_tasks.add(task)
            task.add_done_callback(self._long_tasks.discard)

    async def _at_length(
        self, entry: QueuedItem, work: Work[Outcome], tracing: PipelineTracing | None, now: float
    ) -> None:
        """Categorize what has very many recipients, while other mail goes on. A stop leaves it in Submission."""
        async with self._one_at_length:
            try:
                outcome = await in_slices(work, self._clock.monotonic, lambda: self._stopping)
            except DirectoryUnavailable as error:
                outcome = self._deferred(entry, str(error), now)
            except Exception as error:
                _log.exception("message %d could not be categorized", entry.id)
                outcome = self._crashed(entry, error, now)
        self._under_way -= 1
        self._conclude(entry, outcome or self._held_back(entry), tracing)

    def _conclude(self, entry: QueuedItem, outcome: Outcome, tracing: PipelineTracing | None) -> None:
        """Have an outcome stored, or delivered at once."""
        if tracing is not None:
            self._trace_routed(tracing, entry, outcome)
        if outcome.at_once is not None:
            self._leave_window(entry.id)
            self._intake.deliver_at_once(outcome.at_once)
            return
        self._under_way += 1
        urgent = bool(outcome.deliveries or outcome.reports or self._window)
        self._store.commit(outcome.transaction, partial(self._committed, outcome, entry.id), urgent=urgent)

    def _trace_routed(self, tracing: PipelineTracing, entry: QueuedItem, outcome: Outcome) -> None:
        """Each fork that the message became. The categorizer changes envelopes, never content."""
        assert entry.content is not None
        forks = [outcome.at_once] if outcome.at_once is not None else outcome.transaction.put
        reports = {report.id for report in outcome.reports}
        for fork in forks:
            if fork.id not in reports:
                tracing.routed(fork.item, entry.content)

    def suspend(self, queue: QueueKind) -> None:
        """Suspend-Queue for Submission or Unreachable: what is under way finishes, nothing new is begun."""
        if queue is QueueKind.SUBMISSION:
            self.submission_suspended = True
        else:
            self.unreachable_suspended = True

    def resume(self, queue: QueueKind) -> None:
        """Resume-Queue for Submission or Unreachable."""
        if queue is QueueKind.SUBMISSION:
            self.submission_suspended = False
        else:
            self.unreachable_suspended = False
        self._wake.set()

    # --- one message -----------------------------------------------------------------------------------------------

    def _decide(self, entry: QueuedItem, now: float) -> Outcome | Work[Outcome]:
        if entry.crash_count >= self._queue_settings.poison_threshold:
            return self._set_aside(entry, "it ended the server or failed too often while it was processed", now)
        try:
            return self._categorize(entry, now)
        except DirectoryUnavailable as error:
            return self._deferred(entry, str(error), now)

    def _categorize(self, entry: QueuedItem, now: float) -> Outcome | Work[Outcome]:
        """What becomes of a message; the work that leads there, where it takes long."""
        resolution, steps = resolve(entry.item, self._mail_flow, now)
        if steps is NO_STEPS and (outcome := self._undivided(entry, resolution, self._mail_flow)) is not None:
            return outcome
        work = self._worked_out(entry, resolution, steps, self._mail_flow, now)
        return at_once(work) or work

    def _undivided(self, entry: QueuedItem, resolution: Resolution, mail_flow: MailFlow) -> Outcome | None:
        """The common case: one recipient, nobody to be told."""
        item, main = entry.item, resolution.main
        pending = main.pending
        usual = len(pending) == 1 and not main.results and not resolution.events and resolution.others is None
        if usual and self.gate is None and not item.tls_requirement:
            next_hop = route(pending[0], item.size, mail_flow).next_hop
            if next_hop is not None:
                return self._finisher.finish_whole(entry, next_hop, pending)
        return None

    def _worked_out(
        self, entry: QueuedItem, resolution: Resolution, steps: Iterator[None], mail_flow: MailFlow, now: float
    ) -> Work[Outcome]:  # fmt: skip
        """Every other case. Pauses after each step; raises DirectoryUnavailable."""
        yield from steps
        if (outcome := self._undivided(entry, resolution, mail_flow)) is not None:
            return outcome
        item, gate = entry.item, self.gate
        copies = resolution.copies()
        parts = yield from bifurcate(copies, item.size, mail_flow, item.tls_requirement)
        if gate is not None:
            parts = through_gate(gate, entry, copies, parts, self._agent_log, now)
        return (yield from self._finisher.finish(entry, copies, parts, resolution.events, now))

    def _committed(self, outcome: Outcome, entry_id: int, fault: StoreFault | None) -> None:
        """The outcome is on disk: hand on what follows from it. After a fault nothing has changed there."""
        self._under_way -= 1
        self._leave_window(entry_id)
        if fault is not None:
            self._metrics.kept_back += 1
            self._fault = fault
            self._stuck.append(entry_id)
            self._wake.set()
            return
        for event in outcome.events:
            self._tracker.record(event)
        if outcome.deliveries:
            self._intake.deliver(outcome.deliveries)
        for next_hop in outcome.waiting:
            self._intake.notify(next_hop, outcome.transaction.put)
        if not outcome.deliveries and not outcome.waiting:
            self._wake.set()  # it may be due again in Submission, sooner than what the loop sleeps for
        for report in outcome.reports:
            self.process(report)

    def _leave_window(self, entry_id: int) -> None:
        if self._window or self._stopping:
            self._window.discard(entry_id)
            self._progress.set()

    def _held_back(self, entry: QueuedItem) -> Outcome:
        """Submission is suspended: the message waits there, untouched."""
        self._metrics.kept_back += 1
        waiting = msgspec.structs.replace(entry, status=MessageStatus.READY, content=None)
        return Outcome(Transaction((), (waiting,)), [], [], [], [])

    def _deferred(self, entry: QueuedItem, reason: str, now: float) -> Outcome:
        """The directory could not answer: back to Submission until the resolver's next attempt, or expired."""
        self._retry_all = False  # what else waits for the directory would be answered alike
        self._metrics.resolver_retries += 1
        item = entry.item
        settings = self._queue_settings
        recipients = [recipient for recipient in item.envelope.recipients if not recipient.state]
        if now >= deadline_of(item.received_at, settings, True, item.expires_at, item.priority):
            copy = Copy(item.envelope.reverse_path, [], [(recipient, EXPIRED) for recipient in recipients])
            return whole(self._finisher.finish(entry, [copy], [], [], now))
        reason = clean_text(f"the directory cannot answer: {reason}", LOGGED_TEXT)
        put = _again(entry, next_resolver_retry(settings, now, self._random()), reason)
        put.retry_count += 1
        self._metrics.kept_back += 1
        event = event_for(item, EventId.DEFER, Source.ROUTING, now, [str(each.forward_path) for each in recipients])
        event.source_context = reason
        return self._finisher.put_off(put, event, now)

    def _crashed(self, entry: QueuedItem, error: Exception, now: float) -> Outcome:
        """Processing raised, which is a fault of ours: once more later, then aside."""
        reason = clean_text(f"{type(error).__name__}: {error}", LOGGED_TEXT)
        if entry.crash_count + 1 >= self._queue_settings.poison_threshold:
            return self._set_aside(entry, reason, now)
        put = _again(entry, now + self._queue_settings.queue_glitch_retry_interval.total_seconds(), reason)
        put.crash_count += 1
        self._metrics.kept_back += 1
        return Outcome(Transaction((), (put,)), [], [], [], [])

    def _set_aside(self, entry: QueuedItem, reason: str, now: float) -> Outcome:
        """To the poison queue, where it stays until somebody decides."""
        put = _again(entry, 0.0, reason)
        put.queue, put.status = QueueKind.POISON, MessageStatus.SUSPENDED
        put.crash_count = max(entry.crash_count, self._queue_settings.poison_threshold)
        event = _event(entry.item, EventId.POISONMESSAGE, Source.POISONMESSAGE, now)
        event.source_context = reason
        return Outcome(Transaction((), (put,)), [], [], [], [event])

    # --- what waits on disk ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work off Submission until `stop`; sleeps while there is nothing to do."""
        while not self._stopping:
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
        while self._stuck and not self._stopping:
            await self._take_again()
        if (self._owed or (self._resubmit and not self.unreachable_suspended)) and not self._stopping:
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
        while not self._stopping and not self.submission_suspended:
            due_until = EVER if self._retry_all else self._clock.now()
            entries = await self._store.lease(QueueKind.SUBMISSION, None, due_until, limit, LEASED_BYTES)
            if not entries:
                self._retry_all = False
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
        self._window = {entry.id for entry in entries}
        for entry in entries:
            self.process(entry)
        while self._window:
            await self._progressed()
        if self._fault is not None:
            raise self._fault

    async def _move_unreachable(self) -> None:
        """Put back into Submission what is unreachable now; what becomes unreachable from here on is left alone."""
        last = self._store.allocate_id()
        while not self._stopping:
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
                self._tracker.record(_event(entry.item, EventId.RESUBMIT, Source.QUEUE, now))
            if not moved:
                return

    async def _progressed(self) -> None:
        """Wait for the next commit to end."""
        self._progress.clear()
        await self._progress.wait()

    async def _until_woken(self, seconds: float | None) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            pass

    async def _sleep(self, seconds: float) -> None:
        """Wait out a fault of the store, however many messages ask to be taken again; only `stop` cuts it short."""
        end = self._clock.monotonic() + seconds
        while not self._stopping and (left := end - self._clock.monotonic()) > 0:
            self._wake.clear()
            await self._until_woken(left)


def _again(entry: QueuedItem, due: float, reason: str) -> QueuedItem:
    """The entry as it goes back to Submission."""
    return QueuedItem(
        item=entry.item,
        content=entry.content,
        content_id=entry.content_id,
        queue=QueueKind.SUBMISSION,
        status=MessageStatus.RETRY,
        due=due,
        retry_count=entry.retry_count,
        last_error=reason,
        in_doubt=entry.in_doubt,
        crash_count=entry.crash_count,
    )


def _event(item: MailItem, event_id: EventId, source: Source, now: float) -> TrackingEvent:
    return event_for(item, event_id, source, now, [str(each.forward_path) for each in item.envelope.recipients])
