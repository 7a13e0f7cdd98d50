# SPDX-License-Identifier: MIT
"""Attempts written down: tracking events, the one transaction, and the report to the sender.

What follows from an attempt is decided in `outcome`; here it happens. Everything about one attempt goes into one
transaction: the entry that leaves or stays with its recipients' states, and the report that enters Submission.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from bridgehead.delivery import outcome
from bridgehead.delivery.commits import After, LastingCommits
from bridgehead.delivery.outcome import Outcome
from bridgehead.delivery.ports import Attempt
from bridgehead.mail.content import Content
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.mail.item import Handling, MailItem, Source
from bridgehead.net.clock import Clock
from bridgehead.queues.changes import removed
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, Transaction
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.tracking.events import EventId, TrackingEvent, event_for, event_of_attempt, handling_context
from bridgehead.tracking.ports import Tracker

logger = logging.getLogger("bridgehead.delivery")

Stored = Callable[[QueuedItem], None]
"""Told of an entry once it is on stable storage."""
Results = Sequence[tuple[EnvelopeRecipient, DeliveryStatus]]

_RELAYED: Final = Action.RELAYED
_DELIVERED: Final = Action.DELIVERED
_UNDEFINED: Final = DeliveryType.UNDEFINED
_MAILBOX: Final = DeliveryType.MAILBOX
_SEND: Final = EventId.SEND
_DELIVER: Final = EventId.DELIVER
_SMTP: Final = Source.SMTP
_SUCCESS: Final = (Action.DELIVERED, Action.RELAYED, Action.EXPANDED)
_EARLIER_DOUBT: Final = "S:InDoubt=an earlier attempt may have delivered this message"
_SOURCE: Final = {DeliveryType.MAILBOX: Source.STOREDRIVER, DeliveryType.NON_SMTP_GATEWAY: Source.GATEWAY}


def _nothing() -> None:
    """Nobody waits for it."""


class Reporter(Protocol):
    """Makes reports to senders; `delivery.notify.NotifyReporter` is it."""

    def report(
        self, item: MailItem, content: Content | None, statuses: list[tuple[EnvelopeRecipient, DeliveryStatus]]
    ) -> QueuedItem | None:
        """The report about these outcomes as an entry for Submission; None when nobody is to be told."""

    def is_draft(self, report: QueuedItem) -> bool:
        """Whether a report must be written before it can be committed, since it returns a large message."""

    async def write(self, report: QueuedItem) -> object:
        """Write a draft. Raises only for a fault of ours."""


class Keeper(Protocol):
    """Keeps delivered mail for a while; `queues.safety_net.SafetyNet` is it."""

    def keep(self, entry: QueuedItem, recipients: list[EnvelopeRecipient]) -> None:
        """These recipients of a message have it. Before the commit that says so; never raises."""


class AttemptRecorder:
    """Turns what became of a message into events and one transaction.

    Args:
        random: gives 0 <= x < 1.
        submit: takes a stored report to the categorizer.
        fqdn: our name in tracking.
        keeper: of delivered mail, None where none is kept.
    """

    def __init__(
        self, *, commits: LastingCommits, settings: QueueSettings, tracker: Tracker, clock: Clock,
        random: Callable[[], float], reporter: Reporter, submit: Stored, fqdn: str, keeper: Keeper | None = None,
    ) -> None:  # fmt: skip
        self._keeper = keeper
        self._commits = commits
        self.settings = settings
        self._tracker = tracker
        self._clock = clock
        self._random = random
        self._reporter = reporter
        self._submit = submit
        self._fqdn = fqdn
        self._writing: set[asyncio.Task[None]] = set()

    def conclude(self, entry: QueuedItem, attempt: Attempt, kept: Stored) -> None:
        """Record one attempt. `kept` is told when the entry is stored to be tried again later."""
        recipients, statuses = entry.item.envelope.recipients, attempt.statuses
        if len(recipients) == 1 and len(statuses) == 1:
            # The usual message: one recipient, taken, no report wanted. This path is budgeted in microseconds.
            status, recipient = statuses[0], recipients[0]
            action = status.action
            if (action is _RELAYED or action is _DELIVERED) and not int.__and__(recipient.notify, 1):
                self._track_success(entry, attempt, [str(recipient.forward_path)], [status.diagnostic])
                if self._keeper is not None:
                    self._keeper.keep(entry, recipients)
                self._commits.commit(Transaction((entry.item.internal_message_id,)))
                return
        try:
            result = outcome.of_attempt(entry, statuses, self.settings, self._clock.now(), self._random())
        except ValueError as error:
            logger.error("message %d: an attempt's result is unusable: %s", entry.id, error)
            self.set_aside(entry, f"an attempt's result was unusable: {error}")
            return
        self._track(entry, attempt, result)
        if self._keeper is not None:
            taken = [who for who, status in result.results if status.action in _SUCCESS]
            if taken:
                self._keeper.keep(entry, taken)
        if entry.status is MessageStatus.PENDING_REMOVE and not result.done:
            told = [pair for pair in result.to_report if pair[1].action is not Action.DELAYED]
            self.remove(msgspec.structs.replace(result.entry, content=entry.content), _nothing, told)
            return
        self._apply(entry, result, kept)

    def given_back(self, entry: QueuedItem) -> None:
        """An entry that was to be suspended or removed after its attempt, and that was not tried after all."""
        if entry.status is MessageStatus.PENDING_REMOVE:
            self.remove(entry)
            return
        suspended = msgspec.structs.replace(entry, status=MessageStatus.SUSPENDED, content=None)
        self._commits.commit(Transaction(put=(suspended,)))

    def remove(self, entry: QueuedItem, done: After = _nothing, told: Results = ()) -> None:
        """End an entry that is PENDING_REMOVE on disk and that nobody else has, as its `handling` says.

        Args:
            entry: with its content where there is to be a report.
            done: called once that is stored.
            told: recipients that ended otherwise, for the same report.

        A removal of which nobody is told can be undone for a while, so the message is kept.
        """
        handling = entry.item.handling or Handling()
        result = outcome.of_removal(entry)
        report = None

        def spoilt() -> None:
            logger.exception("message %d: no report to its sender could be made", entry.id)
            self.set_aside(entry, "it was to be removed, but no report to its sender could be made")
            done()

        try:
            reported = [*told, *(result.to_report if handling.with_ndr else ())]
            report = self._reporter.report(entry.item, entry.content, reported) if reported else None
        except Exception:
            spoilt()
            return
        ended = handling.with_ndr and report is not None
        self._track_removal(entry, handling, result, ended)
        until = self._clock.now() + self.settings.removed_message_hold_time.total_seconds()
        put = [] if ended else [removed(entry, until)]
        if report is not None:
            put.append(report)

        def stored() -> None:
            self._stored(entry, result, report, _keep_nothing)
            done()

        self._commit(Transaction(remove=(entry.id,) if ended else (), put=put), report, stored, spoilt)

    def _track_removal(self, entry: QueuedItem, handling: Handling, result: Outcome, ended: bool) -> None:
        """FAIL where the sender is told, DROP where nobody is; by whom and why, as the trace shows it."""
        addresses = [str(who.forward_path) for who, _ in result.results]
        event = event_for(
            entry.item, EventId.FAIL if ended else EventId.DROP, Source.ADMIN, self._clock.now(), addresses
        )
        event.recipient_status = [status.diagnostic for _, status in result.results] if ended else []
        event.source_context = handling_context(handling)
        if entry.next_hop is not None:
            event.connector_id = entry.next_hop.connector
        self._tracker.record(event)

    def deadline(self, entry: QueuedItem, queue_error: str, kept: Stored) -> None:
        """Record what follows from a deadline of an entry that only waited."""
        result = outcome.of_deadline(entry, self.settings, self._clock.now(), queue_error)
        if result.expired:
            self._track_group(entry, EventId.FAIL, Source.QUEUE, result.results, None)
        self._apply(entry, result, kept)

    def set_aside(self, entry: QueuedItem, reason: str) -> None:
        """Move an entry to the poison queue, where only an administrator touches it."""
        event = event_for(
            entry.item,
            EventId.POISONMESSAGE,
            Source.POISONMESSAGE,
            self._clock.now(),
            entry.item.envelope.recipient_addresses(),
        )
        event.source_context = reason
        self._tracker.record(event)
        poison = msgspec.structs.replace(
            entry,
            queue=QueueKind.POISON,
            next_hop=None,
            status=MessageStatus.SUSPENDED,
            content=None,
            last_error=reason,
        )
        self._commits.commit(Transaction(put=(poison,)))

    def _apply(self, entry: QueuedItem, result: Outcome, kept: Stored) -> None:
        """One transaction for the entry and the report about it."""

        def spoilt() -> None:
            # A report that cannot be made must neither vanish nor stop the queue: an administrator sees the message.
            logger.exception("message %d: no report to its sender could be made", entry.id)
            self.set_aside(result.entry, "no report to its sender could be made")

        try:
            report = self._reporter.report(entry.item, entry.content, result.to_report) if result.to_report else None
        except Exception:
            spoilt()
            return
        put = [] if result.done else [result.entry]
        remove = (entry.id,) if result.done else ()
        if report is not None:
            put.append(report)

        def stored() -> None:
            self._stored(entry, result, report, kept)

        self._commit(Transaction(remove=remove, put=put), report, stored, spoilt)

    def _commit(self, transaction: Transaction, report: QueuedItem | None, after: After, spoilt: After) -> None:
        """Commit, as soon as the report among what is put is written; `spoilt` is called where that cannot be."""
        if report is None or not self._reporter.is_draft(report):
            self._commits.commit(transaction, after)
            return

        async def written() -> None:
            try:
                await self._reporter.write(report)
            except Exception:
                spoilt()
            else:
                self._commits.commit(transaction, after)

        task = asyncio.get_running_loop().create_task(written())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def settle(self) -> None:
        """Wait until everything that was recorded is handed to the store."""
        await asyncio.gather(*self._writing)

    def _stored(self, entry: QueuedItem, result: Outcome, report: QueuedItem | None, kept: Stored) -> None:
        if not result.done:
            kept(result.entry)
        if report is None:
            return
        event = event_for(
            report.item, EventId.DSN, Source.DSN, self._clock.now(), report.item.envelope.recipient_addresses()
        )
        event.reference = report.item.reference
        event.source_context = f"InternalMessageId={entry.id}"
        self._tracker.record(event)
        self._submit(report)

    def _track_success(self, entry: QueuedItem, attempt: Attempt, addresses: list[str], replies: list[str]) -> None:
        next_hop = entry.next_hop
        kind = next_hop.delivery_type if next_hop is not None else _UNDEFINED
        # All at once, since this happens for every message; `_record` says the same step by step.
        self._tracker.record(
            event_of_attempt(
                entry.item, _DELIVER if kind is _MAILBOX else _SEND, _SOURCE.get(kind, _SMTP), self._clock.now(),
                addresses, replies, attempt.local_ip, self._fqdn, attempt.remote_ip, attempt.remote_host,
                attempt.source_context, attempt.connector or ("" if next_hop is None else next_hop.connector),
                self._spent(entry, _EARLIER_DOUBT if entry.in_doubt else "", attempt.tls),
            )
        )  # fmt: skip

    def _track(self, entry: QueuedItem, attempt: Attempt, result: Outcome) -> None:
        """One event for each kind of outcome that occurs."""
        taken = [pair for pair in result.results if pair[1].action in _SUCCESS]
        if taken:
            replies = [status.diagnostic for _, status in taken]
            self._track_success(entry, attempt, [str(who.forward_path) for who, _ in taken], replies)
        source = _SOURCE.get(_kind(entry.next_hop), Source.SMTP)
        delayed = [pair for pair in result.results if pair[1].action is Action.DELAYED]
        self._track_group(entry, EventId.DEFER, source, delayed, attempt)
        failed = [pair for pair in result.results if pair[1].action is Action.FAILED]
        self._track_group(entry, EventId.FAIL, Source.QUEUE if result.expired else source, failed, attempt)

    def held_up(self, entry: QueuedItem, error: str) -> None:
        """An entry waits untried, because its next hop cannot be reached."""
        status = DeliveryStatus(action=Action.DELAYED, status="4.4.1", diagnostic=error)
        pending = [(one, status) for one in entry.item.envelope.recipients if not one.state]
        self._track_group(entry, EventId.DEFER, _SOURCE.get(_kind(entry.next_hop), Source.SMTP), pending, None)

    def _track_group(
        self, entry: QueuedItem, event_id: EventId, source: Source,
        group: list[tuple[EnvelopeRecipient, DeliveryStatus]], attempt: Attempt | None,
    ) -> None:  # fmt: skip
        if not group:
            return
        addresses = [str(who.forward_path) for who, _ in group]
        event = event_for(entry.item, event_id, source, self._clock.now(), addresses)
        replies = [status.diagnostic or status.status for _, status in group]
        if any(status.in_doubt for _, status in group):
            event.custom_data = "S:InDoubt=connection lost after the final dot"
        self._record(event, entry, attempt, replies)

    def _spent(self, entry: QueuedItem, more: str, tls: str = "") -> str:
        """How long the attempt took, in seconds, and what else custom-data is to say."""
        if tls:
            more = f"{more};S:TlsPolicy={tls}" if more else f"S:TlsPolicy={tls}"
        latency = f"S:AttemptLatency={self._clock.monotonic() - entry.since:.3f}" if entry.since else ""
        return f"{latency};{more}" if latency and more else latency or more

    def _record(self, event: TrackingEvent, entry: QueuedItem, attempt: Attempt | None, replies: list[str]) -> None:
        event.recipient_status = replies
        event.client_hostname = self._fqdn
        if attempt is not None:
            event.client_ip = attempt.local_ip
            event.server_ip = attempt.remote_ip
            event.server_hostname = attempt.remote_host
            event.connector_id = attempt.connector
            # What follows the session id is the reply to the message, which these recipients had no part in.
            event.source_context = attempt.source_context.partition(";")[0]
        if not event.connector_id and entry.next_hop is not None:
            event.connector_id = entry.next_hop.connector
        if entry.in_doubt:
            event.custom_data = _EARLIER_DOUBT
        if attempt is not None:
            event.custom_data = self._spent(entry, event.custom_data, attempt.tls)
        self._tracker.record(event)


def _keep_nothing(entry: QueuedItem) -> None:
    """What was removed does not come back to its queue."""


def _kind(next_hop: NextHop | None) -> DeliveryType:
    return next_hop.delivery_type if next_hop is not None else DeliveryType.UNDEFINED
