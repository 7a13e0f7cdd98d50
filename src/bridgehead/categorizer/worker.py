# SPDX-License-Identifier: MIT
"""The categorizer at work: takes messages right after their commit and commits what becomes of them.

`process` is synchronous and is called with the entry that the accept commit has just made durable. What could not be
done then waits in Submission and comes again from `backlog`. Messages without a route are tried again when the
configuration changes.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from random import random
from typing import Final

import msgspec

from bridgehead.categorizer.backlog import Backlog
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
        self.tracing = tracing
        self._metrics = metrics or Metrics()
        self._store = store
        self._mail_flow = mail_flow
        self._queue_settings = queue_settings
        self._tracker = tracker
        self._clock = clock
        self._intake = intake
        self._random = random
        self._finisher = Finisher(reporter, intake, queue_settings, store.allocate_id, self._metrics)
        self._backlog = Backlog(store, clock, tracker, self._metrics, self.process)
        self._long_tasks: set[asyncio.Task[None]] = set()
        self._one_at_length = asyncio.Lock()
        self._under_way = 0
        self.gate: Gate | None = None
        """Standing rules, None while there are none."""

    # --- what others call ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work off what waits on disk."""
        self._backlog.start()

    async def stop(self) -> None:
        """Finish what is under way. Entries on disk wait for the next start."""
        await self._backlog.stop()
        while self._under_way:
            await self._backlog.progressed()

    def wake(self) -> None:
        """Entries were put into Submission as READY, by somebody who does not call `process`."""
        self._backlog.wake()

    def reconfigure(self, mail_flow: MailFlow, queue_settings: QueueSettings | None = None) -> None:
        """Decide by a new configuration from the next message on; messages without a route are tried again."""
        self._mail_flow = mail_flow
        if queue_settings is not None:
            self._queue_settings = self._finisher.queue_settings = queue_settings
        self.resubmit_unreachable()

    def resubmit_unreachable(self) -> None:
        """Put everything in Unreachable, but what is suspended, through the categorizer again."""
        self._backlog.resubmit_unreachable()

    def retry_submission(self) -> None:
        """Process what waits in Submission for the directory now, not at its time."""
        self._backlog.retry_all = True
        self._backlog.wake()

    def suspend(self, queue: QueueKind) -> None:
        """Suspend-Queue for Submission or Unreachable: what is under way finishes, nothing new is begun."""
        self._set_suspended(queue, True)

    def resume(self, queue: QueueKind) -> None:
        """Resume-Queue for Submission or Unreachable."""
        self._set_suspended(queue, False)
        self._backlog.wake()

    def _set_suspended(self, queue: QueueKind, suspended: bool) -> None:
        if queue is QueueKind.SUBMISSION:
            self._backlog.submission_suspended = suspended
        else:
            self._backlog.unreachable_suspended = suspended

    def process(self, entry: QueuedItem) -> None:
        """Categorize an entry of Submission that is ACTIVE on disk and has its content. Never raises."""
        now = self._clock.now()
        if entry.item.stage is _SUBMITTED:
            self._metrics.submission.observe(now - entry.item.received_at)
        else:
            self._metrics.looked_at_again += 1
        tracing = self.tracing
        if tracing is not None and entry.content is not None and tracing.wants(entry.item.envelope.reverse_path):
            tracing.submitted(entry.item, entry.content)
        else:
            tracing = None
        try:
            outcome = self._held_back(entry) if self._backlog.submission_suspended else self._decide(entry, now)
        except Exception as error:
            _log.exception("message %d could not be categorized", entry.id)
            outcome = self._crashed(entry, error, now)
        if isinstance(outcome, Outcome):
            self._conclude(entry, outcome, tracing)
        else:
            self._under_way += 1
            self._begin(self._at_length(entry, outcome, tracing, now))

    async def _at_length(
        self, entry: QueuedItem, work: Work[Outcome], tracing: PipelineTracing | None, now: float
    ) -> None:
        """Categorize what has very many recipients, while other mail goes on. A stop leaves it in Submission."""
        async with self._one_at_length:
            try:
                outcome = await in_slices(work, self._clock.monotonic, lambda: self._backlog.stopping)
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
            self._backlog.done(entry.id)
            self._intake.deliver_at_once(outcome.at_once)
            return
        self._under_way += 1
        if outcome.reports and self._finisher.has_drafts(outcome):
            self._begin(self._written(entry, outcome))
        else:
            self._commit(entry.id, outcome)

    async def _written(self, entry: QueuedItem, outcome: Outcome) -> None:
        """Commit once large reports are written, while other mail goes on."""
        try:
            await self._finisher.write_drafts(outcome)
        except Exception as error:
            _log.exception("message %d: no report to its sender could be made", entry.id)
            outcome = self._crashed(entry, error, self._clock.now())
        self._commit(entry.id, outcome)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._long_tasks.add(task)
        task.add_done_callback(self._long_tasks.discard)

    def _commit(self, entry_id: int, outcome: Outcome) -> None:
        urgent = bool(outcome.deliveries or outcome.reports or self._backlog.window)
        self._store.commit(outcome.transaction, partial(self._committed, outcome, entry_id), urgent=urgent)

    def _trace_routed(self, tracing: PipelineTracing, entry: QueuedItem, outcome: Outcome) -> None:
        """Each fork that the message became. The categorizer changes envelopes, never content."""
        assert entry.content is not None
        forks = [outcome.at_once] if outcome.at_once is not None else outcome.transaction.put
        reports = {report.id for report in outcome.reports}
        for fork in forks:
            if fork.id not in reports:
                tracing.routed(fork.item, entry.content)

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
        if fault is not None:
            self._metrics.kept_back += 1
            self._backlog.failed(entry_id, fault)
            for undo in outcome.undo:
                self._begin(undo())
            return
        self._backlog.done(entry_id)
        for event in outcome.events:
            self._tracker.record(event)
        if outcome.deliveries:
            self._intake.deliver(outcome.deliveries)
        for next_hop in outcome.waiting:
            self._intake.notify(next_hop, outcome.transaction.put)
        if not outcome.deliveries and not outcome.waiting:
            self._backlog.wake()  # it may be due again in Submission, sooner than what the loop sleeps for
        for report in outcome.reports:
            self.process(report)

    def _held_back(self, entry: QueuedItem) -> Outcome:
        """Submission is suspended: the message waits there, untouched."""
        self._metrics.kept_back += 1
        waiting = msgspec.structs.replace(entry, status=MessageStatus.READY, content=None)
        return Outcome(Transaction((), (waiting,)), [], [], [], [])

    def _deferred(self, entry: QueuedItem, reason: str, now: float) -> Outcome:
        """The directory could not answer: back to Submission until the resolver's next attempt, or expired."""
        self._backlog.retry_all = False  # what else waits for the directory would be answered alike
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
    return event_for(item, event_id, source, now, item.envelope.recipient_addresses())
