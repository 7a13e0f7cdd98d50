# SPDX-License-Identifier: MIT
"""The end of categorization: one transaction that takes a message out of Submission and puts its parts where they go.

The first part keeps the entry's id and so replaces it; every further one is a fork with an id of its own (TRANSFER).
Recipients that are settled already are reported in the same transaction. Committing is `worker.py`.
"""

from collections.abc import Callable, Coroutine, Generator

import msgspec

from bridgehead.categorizer.bifurcate import Part
from bridgehead.categorizer.ports import DeliveryIntake, Reporter
from bridgehead.categorizer.refusals import DELAYED
from bridgehead.categorizer.resolution import Copy, Result
from bridgehead.mail.address import Mailbox
from bridgehead.mail.delivery_status import Action
from bridgehead.mail.envelope import Envelope, EnvelopeRecipient, RecipientState
from bridgehead.mail.item import MailItem, Source, Stage
from bridgehead.queues.retry import deadline_of, notice_of
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, Transaction
from bridgehead.routing.next_hop import NextHop
from bridgehead.tracking.events import EventId, TrackingEvent, event_for, handling_context
from bridgehead.tracking.metrics import Metrics

_NOTHING = Transaction()
NO_ROUTE = "no send connector has an address space for "


class Outcome(msgspec.Struct):
    """A transaction, and what is to follow once it is on disk.

    Attributes:
        deliveries: entries that the dispatcher takes from memory.
        waiting: next hops whose entries it finds on disk.
        reports: new entries in Submission, to be categorized next.
        events: to be tracked.
        at_once: the one entry of the common case, to be delivered without a commit in between.
        undo: takes back what was written to files for it, where the commit fails.
    """

    transaction: Transaction
    deliveries: list[QueuedItem]
    waiting: list[NextHop]
    reports: list[QueuedItem]
    events: list[TrackingEvent]
    at_once: QueuedItem | None = None
    undo: list[Callable[[], Coroutine[None, None, None]]] = []


class Finisher:
    """Builds outcomes. Nothing in the entry changes before the last look at it, so that a fault leaves it as it was."""

    def __init__(
        self, reporter: Reporter, intake: DeliveryIntake, queue_settings: QueueSettings, allocate_id: Callable[[], int],
        metrics: Metrics | None = None,
    ) -> None:  # fmt: skip
        self._metrics = metrics or Metrics()
        self._reporter = reporter
        self._intake = intake
        self.queue_settings = queue_settings
        self._allocate_id = allocate_id

    def finish(
        self, entry: QueuedItem, copies: list[Copy], parts: list[Part], events: list[TrackingEvent], now: float,
    ) -> Generator[None, None, Outcome]:  # fmt: skip
        """The outcome for an entry of Submission whose recipients were resolved and split into `parts`; pauses after
        each part."""
        outcome = Outcome(Transaction(), [], [], [], events)
        for copy in copies:
            if copy.results:
                self._report(entry, copy, outcome, now)
        put: list[QueuedItem] = []
        parent = entry.item
        forks: list[MailItem] = []
        for part in parts[1:]:
            forks.append(self._fork(parent, part, outcome, now))
            yield
        if parts:
            put.append(self._placed(entry, _reshaped(parent, parts[0]), parts[0], outcome, now))
        for item, part in zip(forks, parts[1:], strict=True):
            put.append(self._placed(entry, item, part, outcome, now))
            yield
        put += outcome.reports
        outcome.transaction.remove = () if parts else (entry.id,)
        outcome.transaction.put = put
        return outcome

    def finish_whole(self, entry: QueuedItem, next_hop: NextHop, recipients: list[EnvelopeRecipient]) -> Outcome:
        """The outcome for the common case: one recipient, nobody to be told, nothing to be tracked."""
        item, content = entry.item, entry.content
        data = content.data if content is not None else None
        in_memory = content is not None and self._intake.has_room(next_hop, len(data) if data is not None else 0, item)
        item.envelope.recipients = recipients
        item.stage = Stage.CATEGORIZED
        self._metrics.queued_for_delivery += 1
        placed = QueuedItem(
            item=item,
            content=content,
            content_id=entry.content_id,
            queue=QueueKind.DELIVERY,
            next_hop=next_hop,
            status=MessageStatus.ACTIVE if in_memory else MessageStatus.READY,
            deadline=deadline_of(
                item.received_at, self.queue_settings, recipients[0].delay_notified, item.expires_at, item.priority
            ),
            in_doubt=entry.in_doubt,
        )
        if in_memory and not entry.crash_count:
            return Outcome(_NOTHING, [], [], [], [], placed)
        if in_memory:
            # After a crash each step is written down, so that it can be told which one ends the process.
            return Outcome(Transaction((), (placed,)), [placed], [], [], [])
        return Outcome(Transaction((), (placed,)), [], [next_hop], [], [])

    def put_off(self, entry: QueuedItem, deferred: TrackingEvent, now: float) -> Outcome:
        """The outcome for an entry that stays in Submission, with the delay report where one is due by now."""
        outcome = Outcome(Transaction(), [], [], [], [deferred])
        item = entry.item
        late = now >= notice_of(item.received_at, self.queue_settings, item.priority)
        untold = [one for one in item.envelope.recipients if not one.state and not one.delay_notified]
        if late and untold:
            self._write_report(entry, item, [(recipient, DELAYED) for recipient in untold], outcome, now)
            told = [
                msgspec.structs.replace(one, delay_notified=True) if one in untold else one
                for one in item.envelope.recipients
            ]
            entry.item = msgspec.structs.replace(item, envelope=_envelope(item, item.envelope.reverse_path, told))
        outcome.transaction.put = [entry, *outcome.reports]
        return outcome

    def _placed(self, entry: QueuedItem, item: MailItem, part: Part, outcome: Outcome, now: float) -> QueuedItem:
        """The entry for one part: in its delivery queue, or in Unreachable."""
        placed = QueuedItem(
            item=item,
            content=entry.content,
            content_id=entry.content_id,
            queue=QueueKind.DELIVERY,
            next_hop=part.next_hop,
            deadline=self._deadline(item),
            in_doubt=entry.in_doubt,
        )
        if part.handling is not None:
            placed.item = msgspec.structs.replace(item, handling=part.handling)
            placed.status = MessageStatus.SUSPENDED
        if part.next_hop is None:
            self._metrics.unreachable += 1
            placed.queue = QueueKind.UNREACHABLE
            placed.last_error = NO_ROUTE + part.recipients[0].forward_path.domain_key
            event = event_for(item, EventId.DEFER, Source.ROUTING, now, _addresses(part.recipients))
            event.source_context = placed.last_error
            outcome.events.append(event)
            return placed
        self._metrics.queued_for_delivery += 1
        if part.handling is not None:
            return placed
        data = entry.content.data if entry.content is not None else None
        if entry.content is not None and self._intake.has_room(
            part.next_hop, len(data) if data is not None else 0, item
        ):
            placed.status = MessageStatus.ACTIVE
            outcome.deliveries.append(placed)
        elif part.next_hop not in outcome.waiting:
            outcome.waiting.append(part.next_hop)
        return placed

    def _deadline(self, item: MailItem) -> float:
        """When the message's delay report is due or, where that is done with, its expiry."""
        notified = all(recipient.delay_notified for recipient in item.envelope.recipients)
        return deadline_of(item.received_at, self.queue_settings, notified, item.expires_at, item.priority)

    def has_drafts(self, outcome: Outcome) -> bool:
        """Whether reports must be written before the outcome is committed."""
        return any(map(self._reporter.is_draft, outcome.reports))

    async def write_drafts(self, outcome: Outcome) -> None:
        """Write them, and let their events say how large they are. Raises only for a fault of ours."""
        for report in filter(self._reporter.is_draft, outcome.reports):
            outcome.undo.append(await self._reporter.write(report))
            for event in outcome.events:
                if event.internal_message_id == report.id:
                    event.total_bytes, event.message_subject = report.item.size, report.item.subject

    def _fork(self, parent: MailItem, part: Part, outcome: Outcome, now: float) -> MailItem:
        """A further copy of the message, for some of its recipients."""
        item = msgspec.structs.replace(
            parent,
            internal_message_id=self._allocate_id(),
            envelope=_envelope(parent, part.reverse_path, part.recipients),
            stage=Stage.CATEGORIZED,
            original_from=_original_from(parent, part.reverse_path),
        )
        event = event_for(item, EventId.TRANSFER, Source.ROUTING, now, _addresses(part.recipients))
        event.reference = str(parent.internal_message_id)
        outcome.events.append(event)
        return item

    def _report(self, entry: QueuedItem, copy: Copy, outcome: Outcome, now: float) -> None:
        """Settle recipients, track those that failed, and have the report written that they call for."""
        settled = [
            (_settled(recipient, status.action, status.diagnostic), status) for recipient, status in copy.results
        ]
        item = msgspec.structs.replace(
            entry.item, envelope=_envelope(entry.item, copy.reverse_path, [recipient for recipient, _ in settled])
        )
        failed: list[Result] = [result for result in settled if result[1].action is Action.FAILED]
        if failed:
            source = Source.ROUTING if copy.handling is None else Source.ADMIN
            event = event_for(item, EventId.FAIL, source, now, _addresses([each for each, _ in failed]))
            if copy.handling is not None:
                event.source_context = handling_context(copy.handling)
            event.recipient_status = [status.diagnostic for _, status in failed]
            outcome.events.append(event)
        self._write_report(entry, item, settled, outcome, now)

    def _write_report(
        self, entry: QueuedItem, item: MailItem, results: list[Result], outcome: Outcome, now: float
    ) -> None:
        """Have a report written where one is called for."""
        report = self._reporter.report(item, entry.content, results)
        if report is not None:
            report.queue, report.status = QueueKind.SUBMISSION, MessageStatus.ACTIVE
            outcome.reports.append(report)
            event = event_for(report.item, EventId.DSN, Source.DSN, now, _addresses(report.item.envelope.recipients))
            event.reference = report.item.reference
            event.source_context = f"InternalMessageId={entry.id}"
            outcome.events.append(event)


def _reshaped(item: MailItem, part: Part) -> MailItem:
    """The message itself, from here on for the recipients of its first part only."""
    return msgspec.structs.replace(
        item,
        envelope=_envelope(item, part.reverse_path, part.recipients),
        stage=Stage.CATEGORIZED,
        original_from=_original_from(item, part.reverse_path),
    )


def _original_from(item: MailItem, reverse_path: Mailbox) -> str:
    """The sender that a part keeps beside another reverse-path."""
    changed = reverse_path != item.envelope.reverse_path
    return item.original_from or (str(item.envelope.reverse_path) or "<>" if changed else "")


def _envelope(item: MailItem, reverse_path: Mailbox, recipients: list[EnvelopeRecipient]) -> Envelope:
    """The envelope under another reverse-path and for other recipients; a manager did not choose the ENVID."""
    envelope = item.envelope
    kept = envelope.envelope_id if reverse_path == envelope.reverse_path else ""
    return msgspec.structs.replace(envelope, reverse_path=reverse_path, recipients=recipients, envelope_id=kept)


def _settled(recipient: EnvelopeRecipient, action: Action, diagnostic: str) -> EnvelopeRecipient:
    state = RecipientState.FAILED if action is Action.FAILED else RecipientState.EXPANDED
    return msgspec.structs.replace(recipient, state=state, last_error=diagnostic)


def _addresses(recipients: list[EnvelopeRecipient]) -> list[str]:
    return [str(recipient.forward_path) for recipient in recipients]
