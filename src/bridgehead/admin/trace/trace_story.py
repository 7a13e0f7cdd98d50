# SPDX-License-Identifier: MIT
"""The story of one message in order: received, resolved, routed, each attempt, and how it ended or what it waits for.

Pure: told from what the logs and the flight recorder hold, the configurations of then and now, and the message's
entries in the queues. Why a connector was chosen is `trace_reasons.py`, what was said `trace_transcripts.py`.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from bridgehead.admin.connector.connectors import Connectors, NotChosen
from bridgehead.admin.queue.messages import MessageView
from bridgehead.admin.trace.trace_reasons import Past, Reason, Reasons
from bridgehead.admin.trace.trace_transcripts import MADE_FROM_LOG, Known, Opening, nothing_known, transcript
from bridgehead.admin.trace.trace_words import END_TEXTS, by_administrator, note, tls, what
from bridgehead.admin.trace.tracking import RecipientStatus, TracedMessage, recipient_status, view
from bridgehead.diagnosis.facts import AttemptFacts
from bridgehead.tracking.outcomes import FINAL
from bridgehead.tracking.trace.search import FoundEvent, IndexFacts, Unreadable
from bridgehead.tracking.trace.story import Evidence, Linked, session_of
from bridgehead.tracking.trace.transcripts import SessionLog, TranscriptLine

ROUTE = "ROUTE"
"""Event of a step that no log holds: the choice of a connector, explained afterwards."""
_ATTEMPTS = frozenset({"SEND", "DELIVER", "DEFER", "FAIL"})
_DECISIONS = frozenset({"RECEIVE", "SUBMIT", "DSN", "RESUBMIT", "EXPAND", "REDIRECT", "RESOLVE", "TRANSFER"})
"""Events at or right before a choice of connectors."""
_DOMAINS = 5


class StepRecipient(msgspec.Struct, frozen=True):
    """A recipient that a step is about, and what was said of it."""

    address: str
    detail: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a message's way.

    Attributes:
        event: Exchange's event id, or ROUTE.
        what: the step in words, without its recipients.
        related: the group or address that the recipients came from.
        internal_message_id: of the fork that it concerns.
        waited_seconds: since the step before of the same fork, without the attempt itself.
        attempt_seconds: that the conversation or the writing took; null where that is not known.
        reason: why this connector, and `others`: why not each other; `configuration`: the revision that says so.
        tls, login: of the session that brought the message.
        connection: lines of the connectivity log about it.
        transcript: what was said, from the protocol log; else, without times, of a failure from the flight recorder,
            and of what was taken as this event and the beginning of its session tell.
        note: what else is to be known of it.
    """

    time: datetime
    event: str
    source: str
    what: str
    recipients: list[StepRecipient] = []
    related: str = ""
    connector: str = ""
    internal_message_id: str = ""
    waited_seconds: float = 0.0
    attempt_seconds: float | None = None
    reason: str = ""
    others: list[NotChosen] = []
    configuration: str = ""
    tls: str = ""
    login: str = ""
    session_id: str = ""
    connection: list[TranscriptLine] = []
    transcript: list[TranscriptLine] = []
    note: str = ""


class RecipientEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a recipient ended, or what it waits for.

    Attributes:
        seconds: from the message's first event to the recipient's last; to now while it is under way.
        queue, next_attempt: where it waits, by the running server.
        state: in words.
    """

    recipient: RecipientStatus
    seconds: float
    state: str
    queue: str = ""
    next_attempt: datetime | None = None


class LinkedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that belongs to this one: a report, the original, a resubmission."""

    relation: str
    message: TracedMessage


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One message from its first event to its last.

    Attributes:
        total_seconds: from its first event to its last, to now while a recipient is under way.
        slowest, slowest_seconds: where most time went.
        configuration: revision of the present configuration; `received_under`: that it came in under.
        asked_server: the queues of the running server were looked at.
    """

    message: TracedMessage
    steps: list[Step]
    ends: list[RecipientEnd]
    linked: list[LinkedMessage] = []
    total_seconds: float = 0.0
    slowest: str = ""
    slowest_seconds: float = 0.0
    configuration: str = ""
    received_under: str = ""
    asked_server: bool = False
    notes: list[str] = []
    unreadable: list[Unreadable] = []
    index: IndexFacts | None = None


def tell(
    evidence: Evidence,
    connectors: Connectors | None,
    revision: str,
    queued: Sequence[MessageView] | None,
    now: datetime,
    past: Past | None = None,
    flights: Sequence[AttemptFacts] = (),
    opening: Opening = nothing_known,
) -> Story:
    """The story.

    Args:
        connectors: in force now; None where there is no configuration that concerns the message.
        queued: the message's entries in the queues; None where no server could be asked.
        past: configurations that were in force.
        flights: what the flight recorder knows of failures, and `opening` of how good sessions began.
    """
    reasons = Reasons(connectors, revision, past)
    return _Teller(evidence, reasons, revision, queued, now, Known(flights, opening)).story()


class _Teller:
    def __init__(
        self, evidence: Evidence, reasons: Reasons, revision: str, queued: Sequence[MessageView] | None,
        now: datetime, known: Known,
    ) -> None:  # fmt: skip
        self._evidence, self._reasons, self._revision = evidence, reasons, revision
        self._queued, self._now, self._known = queued, now, known
        self._decided = evidence.message.events[0].time
        self._events = evidence.message.events
        self._last: dict[str, datetime] = {}
        self._routed: set[tuple[str, str]] = set()
        self._redirected: dict[str, str] = {}
        """By whom, of forks that an administrator sent another way."""
        self._steps: list[Step] = []

    def story(self) -> Story:
        for event in self._events:
            self._tell(event)
        for entry in self._queued or ():
            self._route_of_waiting(entry)
        ends = self._ends()
        under_way = any(one.recipient.status not in FINAL for one in ends)
        began = self._events[0].time
        total = ((self._now if under_way and self._queued else self._events[-1].time) - began).total_seconds()
        slowest, seconds = self._slowest()
        under = next((text for event in self._events if (text := event.facts.get("Config", ""))), "")
        return Story(
            message=view(self._evidence.message),
            steps=self._steps,
            ends=ends,
            linked=[_linked(one) for one in self._evidence.linked],
            total_seconds=round(max(0.0, total), 3),
            slowest=slowest,
            slowest_seconds=round(seconds, 3),
            configuration=self._revision,
            received_under=under,
            asked_server=self._queued is not None,
            notes=self._notes(),
            unreadable=self._evidence.unreadable,
            index=self._evidence.index,
        )

    # --- steps --------------------------------------------------------------------------------------------------------

    def _tell(self, event: FoundEvent) -> None:
        before = self._before(event)
        since = max(0.0, (event.time - before).total_seconds()) if before is not None else 0.0
        if event.event_id in _ATTEMPTS and event.connector_id:
            self._route(event, before or event.time)
        elif event.event_id in _DECISIONS:
            self._decided = event.time
        elif event.event_id == "AGENTINFO" and ";Redirected=" in event.source_context:
            self._redirected[event.internal_message_id] = by_administrator(event)
        attempt = self._attempt_seconds(event)
        if attempt is not None and before is not None:
            attempt = min(attempt, since)
        reason = self._reasons.received(event) if event.event_id == "RECEIVE" else Reason()
        session = self._session(event)
        said, of_whom = transcript(event, session, self._known)
        self._steps.append(
            Step(
                time=event.time,
                event=event.event_id,
                source=event.source,
                what=what(event),
                recipients=_recipients(event),
                related=event.related_recipient_address,
                connector=event.connector_id,
                internal_message_id=event.internal_message_id,
                waited_seconds=round(since - (attempt or 0.0), 3) if before is not None else 0.0,
                attempt_seconds=None if attempt is None else round(attempt, 3),
                reason=reason.text,
                others=reason.others,
                configuration=reason.configuration,
                tls=tls(event, session),
                login=event.facts.get("Principal", ""),
                session_id=session_of(event),
                connection=session.connection if session is not None else [],
                transcript=said,
                note="; ".join(filter(None, (note(event), reason.note, of_whom))),
            )
        )
        self._last[event.internal_message_id] = event.time

    def _before(self, event: FoundEvent) -> datetime | None:
        """The step before of the same fork; of its parent where it begins here. What is submitted again begins anew."""
        if event.event_id == "RESUBMIT":
            return None
        own = self._last.get(event.internal_message_id)
        if own is not None:
            return own
        parent = self._last.get(event.reference) if event.event_id == "TRANSFER" else None
        return parent or (max(self._last.values()) if self._last else None)

    def _session(self, event: FoundEvent) -> SessionLog | None:
        number = session_of(event)
        if not number:
            return None
        found = self._evidence.received_by if event.event_id == "RECEIVE" else self._evidence.sent_by
        return found.get(number)

    def _attempt_seconds(self, event: FoundEvent) -> float | None:
        """How long the conversation about the message took: by the event itself, else by the transcript."""
        text = event.facts.get("AttemptLatency", "")
        if text.replace(".", "", 1).isdecimal() and len(text) < 16:
            return float(text)
        session = self._session(event)
        lines = session.about(event.time) if session is not None else []
        begun = [line for line in lines if line.data[:10].upper() == "MAIL FROM:"]
        if not begun:
            return None
        return max(0.0, (event.time - datetime.fromisoformat(begun[0].date_time)).total_seconds())

    def _route(self, event: FoundEvent, when: datetime) -> None:
        """The choice of the connector that an attempt was made by, told before the first of its attempts."""
        if not self._reasons.can_tell:
            return
        size = int(event.total_bytes) if event.total_bytes.isdecimal() and len(event.total_bytes) < 18 else 0
        for domain in list(dict.fromkeys(address.rpartition("@")[2] for address in event.recipient_address))[:_DOMAINS]:
            if (domain, event.connector_id) in self._routed or not domain:
                continue
            self._routed.add((domain, event.connector_id))
            recipients = [one for one in event.recipient_address if one.rpartition("@")[2] == domain]
            reason = self._reasons.sent(event, recipients[0], size, self._decided)
            if event.internal_message_id in self._redirected:
                reason = Reason(text=f"it was {self._redirected[event.internal_message_id]}")
            self._steps.append(
                Step(
                    time=when,
                    event=ROUTE,
                    source="ROUTING",
                    what=f'routed to "{event.connector_id}"{reason.next_hop}',
                    recipients=[StepRecipient(one) for one in recipients],
                    connector=event.connector_id,
                    internal_message_id=event.internal_message_id,
                    reason=reason.text,
                    others=reason.others,
                    configuration=reason.configuration,
                    note=reason.note,
                )
            )

    def _route_of_waiting(self, entry: MessageView) -> None:
        """The choice for recipients of whom no attempt is tracked: their queue waits as a whole, or they just came."""
        routed = {domain for domain, _ in self._routed}
        pending = [one.address for one in entry.recipients if one.state == "Pending"]
        for domain in list(dict.fromkeys(address.rpartition("@")[2] for address in pending))[:_DOMAINS]:
            recipients = [address for address in pending if address.rpartition("@")[2] == domain]
            reason = None if domain in routed else self._reasons.waits(recipients[0], entry.size, self._decided)
            if str(entry.id) in self._redirected:
                reason = Reason(
                    text=f"it was {self._redirected[str(entry.id)]}", connector=entry.queue.partition("/")[0]
                )
            if reason is None:
                continue
            self._steps.append(
                Step(
                    time=self._events[-1].time,
                    event=ROUTE,
                    source="ROUTING",
                    what=f"waits in queue {entry.queue}",
                    recipients=[StepRecipient(one) for one in recipients],
                    connector=reason.connector,
                    internal_message_id=str(entry.id),
                    reason=reason.text,
                    others=reason.others,
                    configuration=reason.configuration,
                    note=reason.note,
                )
            )

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _ends(self) -> list[RecipientEnd]:
        began = self._events[0].time
        ends = []
        for outcome in self._evidence.message.outcomes:
            recipient = recipient_status(outcome)
            entry = None if recipient.status in FINAL else self._entry(recipient.address)
            until = recipient.time if recipient.status in FINAL or self._queued is None else self._now
            ends.append(
                RecipientEnd(
                    recipient=recipient,
                    seconds=round(max(0.0, (until - began).total_seconds()), 3),
                    state=self._state(recipient, entry),
                    queue=entry.queue if entry is not None else "",
                    next_attempt=entry.next_attempt if entry is not None else None,
                )
            )
        return ends

    def _entry(self, address: str) -> MessageView | None:
        folded = address.casefold()
        for entry in self._queued or ():
            if any(one.address.casefold() == folded and one.state == "Pending" for one in entry.recipients):
                return entry
        return None

    def _state(self, recipient: RecipientStatus, entry: MessageView | None) -> str:
        if recipient.status in FINAL:
            return END_TEXTS.get(recipient.status, recipient.status.value)
        if entry is not None:
            tries = f", tried {entry.retry_count} times" if entry.retry_count > 1 else ""
            error = f": {entry.last_error}" if entry.last_error else ""
            return f"still in queue {entry.queue} ({entry.status}{tries}){error}"
        if self._queued is None:
            return "no end is logged; the server is not running"
        return "no end is logged, and no queue holds it"

    # --- the whole ----------------------------------------------------------------------------------------------------

    def _slowest(self) -> tuple[str, float]:
        """Where most time went: a wait before a step, or the attempt itself."""
        best, seconds = "", 0.0
        for step in self._steps:
            whom = step.recipients[0].address if step.recipients else ""
            if step.waited_seconds > seconds:
                best, seconds = f"waiting before {step.event} {whom}".rstrip(), step.waited_seconds
            if (step.attempt_seconds or 0.0) > seconds and step.event != "RECEIVE":
                best, seconds = f"the attempt that ended with {step.event} {whom}".rstrip(), step.attempt_seconds or 0.0
        if self._queued and self._steps:
            waiting = max(0.0, (self._now - self._steps[-1].time).total_seconds())
            if waiting > seconds:
                best, seconds = "waiting since the last step", waiting
        return best, seconds

    def _notes(self) -> list[str]:
        notes = []
        if not any(event.event_id in ("RECEIVE", "DSN", "SUBMIT") for event in self._events):
            notes.append("its beginning is no longer in the logs")
        for gone in self._reasons.lost:
            present = f"the present {self._revision}".rstrip()
            notes.append(f"configuration {gone} is no longer kept; what it decided is explained by {present}")
        made = [step for step in self._steps if MADE_FROM_LOG in step.note]
        notes += [
            f"conversations about messages that were taken are put together from the log: with protocol_logging_level"
            f' = "Verbose" for send connector "{name}", then `bridgehead reload`, they are kept as they were'
            for name in list(dict.fromkeys(step.connector for step in made))[:_DOMAINS]
        ]
        return notes


def _linked(one: Linked) -> LinkedMessage:
    return LinkedMessage(relation=one.relation.value, message=view(one.message))


def _recipients(event: FoundEvent) -> list[StepRecipient]:
    statuses = event.recipient_status
    return [
        StepRecipient(address, statuses[index] if index < len(statuses) else "")
        for index, address in enumerate(event.recipient_address)
    ]
