# SPDX-License-Identifier: MIT
"""What follows from an attempt or from the passing of time: done, again at t, or failed, and what is to be reported.

Pure: time and randomness are arguments, and the entry that went in is not changed. Retry times come from
`queues.retry`; who in the end is told is decided by `dsn.notify`.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from bridgehead.delivery.ports import pending_recipients
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import EnvelopeRecipient, RecipientState
from bridgehead.mail.header import clean_text
from bridgehead.mail.item import Handling
from bridgehead.mail.limits import DIAGNOSTIC_TEXT
from bridgehead.queues.retry import deadline_of, next_message_retry, notice_of
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind
from bridgehead.routing.next_hop import DeliveryType

_STATE: Final = {
    Action.DELIVERED: RecipientState.DELIVERED,
    Action.RELAYED: RecipientState.RELAYED,
    Action.EXPANDED: RecipientState.EXPANDED,
    Action.FAILED: RecipientState.FAILED,
    Action.DELAYED: RecipientState.PENDING,
}


class Outcome(msgspec.Struct, kw_only=True):
    """What an attempt, or a deadline, leads to.

    Attributes:
        entry: the entry with its recipients as they now are, without content; to be stored unless `done`.
        done: every recipient is at its end, the entry leaves the queue.
        results: the recipients concerned as they now are, each with the status that counts. Expiry is already in it:
            what was delayed for the last time stands here as failed.
        to_report: those of `results` worth a report, in case the sender wants one.
        expired: recipients of `results` ended by the message's age rather than by this attempt.
    """

    entry: QueuedItem
    done: bool
    results: list[tuple[EnvelopeRecipient, DeliveryStatus]]
    to_report: list[tuple[EnvelopeRecipient, DeliveryStatus]]
    expired: int = 0


def of_attempt(
    entry: QueuedItem, statuses: Sequence[DeliveryStatus], settings: QueueSettings, now: float, random: float
) -> Outcome:
    """What follows from one attempt.

    Args:
        statuses: one for each recipient still pending, in order. Raises ValueError where the numbers differ.
        now: Unix time.
        random: 0 <= random < 1, spreads retries.
    """
    pending = pending_recipients(entry)
    if len(pending) != len(statuses):
        raise ValueError(f"{len(statuses)} statuses for {len(pending)} pending recipients")
    held = entry.status is MessageStatus.PENDING_SUSPEND
    expired = now >= _expiry(entry, settings) and not held
    final = [_expired(status) if expired and status.action is Action.DELAYED else status for status in statuses]
    late = now >= notice_of(entry.item.received_at, settings, entry.item.priority)
    outcome = _settle(entry, pending, final, tell_delay=late)
    outcome.expired = sum(1 for before, after in zip(statuses, final, strict=True) if before is not after)
    if not outcome.done:
        kept = outcome.entry
        kept.status = MessageStatus.SUSPENDED if held else MessageStatus.RETRY
        kept.retry_count += 1
        to_mailbox = entry.next_hop is not None and entry.next_hop.delivery_type is DeliveryType.MAILBOX
        kept.due = next_message_retry(settings, now, random, to_mailbox=to_mailbox)
        kept.deadline = deadline_of(kept.item.received_at, settings, late, kept.item.expires_at, kept.item.priority)
        kept.in_doubt = any(status.in_doubt for status in final)
        kept.last_error = next((status.diagnostic for status in final if status.action is Action.DELAYED), "")
    return outcome


def of_deadline(entry: QueuedItem, settings: QueueSettings, now: float, queue_error: str = "") -> Outcome:
    """What follows from a deadline that came while the entry only waited: a delay report, or the end.

    Args:
        queue_error: why its queue does not move, used where the entry has no error of its own.
    """
    pending = pending_recipients(entry)
    error = entry.last_error or queue_error
    delayed = DeliveryStatus(
        action=Action.DELAYED, status="4.4.7", diagnostic=_with("400 4.4.7 Message delayed", error)
    )
    if now >= _expiry(entry, settings):
        outcome = _settle(entry, pending, [_expired(delayed, error)] * len(pending), tell_delay=False)
        outcome.expired = len(pending)
        return outcome
    late = now >= notice_of(entry.item.received_at, settings, entry.item.priority)
    outcome = _settle(entry, pending, [delayed] * len(pending), tell_delay=late)
    for recipient, before in zip(pending_recipients(outcome.entry), pending, strict=True):
        recipient.last_error = before.last_error or error
    outcome.entry.status = waiting_status(entry, now)
    outcome.entry.deadline = deadline_of(
        entry.item.received_at, settings, late, entry.item.expires_at, entry.item.priority
    )
    return outcome


def removal_status(handling: Handling | None) -> DeliveryStatus:
    """What the sender of a message is told that an administrator, or a standing rule, removed."""
    why = f": {handling.reason}" if handling is not None and handling.rule and handling.reason else ""
    text = clean_text(f"550 5.7.1 QUEUE.Admin; message removed by the administrator{why}", DIAGNOSTIC_TEXT)
    return DeliveryStatus(action=Action.FAILED, status="5.7.1", diagnostic=text)


def of_removal(entry: QueuedItem) -> Outcome:
    """What follows from its removal for the recipients that still wait: they fail, the others stay as they are."""
    pending = pending_recipients(entry)
    return _settle(entry, pending, [removal_status(entry.item.handling)] * len(pending), tell_delay=False)


def waiting_status(entry: QueuedItem, now: float) -> MessageStatus:
    """READY, or RETRY where the entry's own time has not come: what a lease that is given back leaves behind."""
    return MessageStatus.RETRY if entry.queue is QueueKind.DELIVERY and entry.due > now else MessageStatus.READY


def _settle(
    entry: QueuedItem, pending: list[EnvelopeRecipient], statuses: Sequence[DeliveryStatus], *, tell_delay: bool
) -> Outcome:
    """New recipients and entry from one status for each pending recipient."""
    results: list[tuple[EnvelopeRecipient, DeliveryStatus]] = []
    to_report: list[tuple[EnvelopeRecipient, DeliveryStatus]] = []
    changed: dict[int, EnvelopeRecipient] = {}
    for before, status in zip(pending, statuses, strict=True):
        after = msgspec.structs.replace(
            before, state=_STATE[status.action], last_error=clean_text(status.diagnostic, DIAGNOSTIC_TEXT)
        )
        changed[id(before)] = after
        results.append((after, status))
        if status.action is not Action.DELAYED:
            to_report.append((after, status))
        elif tell_delay and not before.delay_notified:
            # The report is made from the recipient as it was; what is stored says that it has been told.
            to_report.append((before, status))
            after.delay_notified = True
    recipients = [changed.get(id(recipient), recipient) for recipient in entry.item.envelope.recipients]
    envelope = msgspec.structs.replace(entry.item.envelope, recipients=recipients)
    item = msgspec.structs.replace(entry.item, envelope=envelope)
    return Outcome(
        entry=msgspec.structs.replace(entry, item=item, content=None),
        done=all(recipient.state for recipient in changed.values()),
        results=results,
        to_report=to_report,
    )


def _expired(status: DeliveryStatus, error: str | None = None) -> DeliveryStatus:
    """The end by age. Exchange writes 4.4.7 in such a report; RFC 3464 §2.3.4 wants class 5 for what has failed."""
    last = status.diagnostic if error is None else error
    return DeliveryStatus(
        action=Action.FAILED,
        status="5.4.7",
        diagnostic=_with("550 5.4.7 QUEUE.Expired; message expired", last),
        in_doubt=status.in_doubt,
    )


def _with(text: str, error: str) -> str:
    return clean_text(f"{text}; last error: {error}" if error else text, DIAGNOSTIC_TEXT)


def _expiry(entry: QueuedItem, settings: QueueSettings) -> float:
    return deadline_of(entry.item.received_at, settings, True, entry.item.expires_at, entry.item.priority)
