# SPDX-License-Identifier: MIT
"""Message tracking search (Get-MessageTrackingLog, Get-MessageTrace): which messages fit, and what became of them.

The running server searches its own logs (`TraceService`); `search_logs` does the same without one, also in logs that
were copied from elsewhere. The story of one message is `trace_story.py`.
"""

from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

import msgspec

from bridgehead.admin.connector.connectors import Connectors
from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.trace.trace_reasons import Past
from bridgehead.mail.limits import LIST_RESULTS, TRACE_RESULTS, TRACE_TEXT
from bridgehead.tracking.events import EVENT_IDS, SOURCES
from bridgehead.tracking.logs import (
    CONNECTIVITY_FOLDER,
    MESSAGE_TRACKING_FOLDER,
    SMTP_RECEIVE_FOLDER,
    SMTP_SEND_FOLDER,
)
from bridgehead.tracking.outcomes import Outcome, Status
from bridgehead.tracking.settings import LogSettings
from bridgehead.tracking.trace.criteria import Criteria, CriteriaError
from bridgehead.tracking.trace.index import INDEX_NAME
from bridgehead.tracking.trace.search import Found, FoundEvent, FoundMessage, IndexFacts, Unreadable
from bridgehead.tracking.trace.story import Evidence, TraceLogs, find

_RECIPIENTS_SHOWN = 20
_FIRST_YEAR, _LAST_YEAR = 1970, 9998


class TraceService(Protocol):
    """Searches of the running server's logs, complete up to the last event. Methods raise AdminFault."""

    async def search(self, criteria: Criteria) -> Found:
        """Messages that fit, the newest first."""

    async def evidence(self, identity: str) -> Evidence | None:
        """What the logs hold about the message of this network message id, Message-ID or internal id."""

    @property
    def connectors(self) -> Connectors:
        """The connectors in force."""

    @property
    def revision(self) -> str:
        """Which state of the configuration they stand in."""

    @property
    def past(self) -> Past:
        """Configurations that were in force."""


class RecipientStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one recipient stands by the log.

    Attributes:
        event: what was tracked last of it.
        detail: the reply or reason.
        via: group or address that it came from.
    """

    address: str
    status: Status
    time: datetime
    event: str = ""
    detail: str = ""
    via: str = ""


class TracedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message by its tracking events, all its forks together.

    Attributes:
        received, last_event: times of its first and its last event.
        recipients: some of them; `recipient_count` says how many there are.
        source_address: client that handed it in.
        connector: that it came in by.
        events: those that fit, where they were asked for.
    """

    network_message_id: str
    message_id: str
    message_subject: str
    sender_address: str
    return_path: str
    received: datetime
    last_event: datetime
    status: Status
    size: int
    recipients: list[RecipientStatus]
    recipient_count: int
    source_address: str = ""
    client_hostname: str = ""
    connector: str = ""
    events: list[FoundEvent] = []


class TracePage(msgspec.Struct, frozen=True, kw_only=True):
    """What a search came to.

    Attributes:
        messages: the newest first.
        next: what `after` takes for the page that follows, "" after the last.
        index: how the index stands; what it does not cover was read from the logs.
        unreadable: lines and files that could not be read.
    """

    messages: list[TracedMessage]
    next: str = ""
    index: IndexFacts
    unreadable: list[Unreadable] = []
    files: int = 0


def criteria(
    *, sender: str = "", recipient: str = "", message_id: str = "", network_message_id: str = "",
    internal_message_id: str = "", subject: str = "", event_id: str = "", source: str = "", connector: str = "",
    reference: str = "", source_address: str = "", status: str = "", start: datetime | None = None,
    end: datetime | None = None, limit: int = LIST_RESULTS, after: str = "",
) -> Criteria:  # fmt: skip
    """What people gave as criteria. Raises AdminFault on what cannot be meant."""
    texts = (
        sender, recipient, message_id, network_message_id, internal_message_id, subject, event_id, source, connector,
        reference, source_address, after,
    )  # fmt: skip
    if any(len(text) > TRACE_TEXT for text in texts):
        raise AdminFault(INVALID, f"a criterion is longer than {TRACE_TEXT} characters", "use * for a part of it")
    if not 1 <= limit <= TRACE_RESULTS:
        message = f"a limit of {limit} is outside 1 to {TRACE_RESULTS}"
        raise AdminFault(INVALID, message, "ask for the next page with `after`")
    wanted = {one.value.casefold(): one for one in Status}
    if status and status.casefold() not in wanted:
        message = f'"{status}" is no status'
        raise AdminFault(INVALID, message, f"one of {', '.join(one.value.lower() for one in Status)}")
    for name, given, known in (("event", event_id, EVENT_IDS), ("source", source, SOURCES)):
        close = get_close_matches(given.upper(), known, n=1) if "*" not in given and given.upper() not in known else []
        if close:
            raise AdminFault(INVALID, f'"{given}" is no {name} of the log', f"did you mean {close[0]}?")
    if start is not None and end is not None and start.tzinfo and end.tzinfo and start >= end:
        raise AdminFault(INVALID, "the end is not after the start", "--start 2h --end 1h is the hour before the last")
    for when in (start, end):
        if when is not None and (when.tzinfo is None or not _FIRST_YEAR <= when.year <= _LAST_YEAR):
            message = "a time has no zone, or is none that a log could be of"
            raise AdminFault(INVALID, message, "write 2026-11-23T09:00:00Z")
    return Criteria(
        sender=sender, recipient=recipient, message_id=message_id, network_message_id=network_message_id,
        internal_message_id=internal_message_id, subject=subject, event_id=event_id, source=source,
        connector=connector, reference=reference, source_address=source_address,
        status=wanted[status.casefold()] if status else None, start=start, end=end, limit=limit, after=after,
    )  # fmt: skip


def search_logs(logs: TraceLogs, wanted: Criteria) -> Found:
    """Search without a server. Raises AdminFault."""
    try:
        return find(logs, wanted)
    except CriteriaError as error:
        raise AdminFault(INVALID, str(error), "bridgehead trace --help") from None


def own_logs(folder: Path, settings: LogSettings) -> TraceLogs:
    """The server's own logs, in its log directory."""
    return TraceLogs(
        tracking=str(folder / MESSAGE_TRACKING_FOLDER),
        index=str(folder / INDEX_NAME) if settings.message_tracking_index_max_size else "",
        receive=str(folder / SMTP_RECEIVE_FOLDER),
        send=str(folder / SMTP_SEND_FOLDER),
        connectivity=str(folder / CONNECTIVITY_FOLDER),
    )


def copied_logs(folder: Path) -> TraceLogs:
    """Logs in some folder: it holds tracking logs itself, or folders as the server names them."""
    if (folder / MESSAGE_TRACKING_FOLDER).is_dir():
        return msgspec.structs.replace(own_logs(folder, LogSettings()), index="")
    return TraceLogs(tracking=str(folder))


def page(found: Found, *, with_events: bool = False) -> TracePage:
    """What people see of what a search found."""
    return TracePage(
        messages=[view(one, with_events=with_events) for one in found.messages],
        next=found.next,
        index=found.index,
        unreadable=found.unreadable,
        files=found.files,
    )


def view(message: FoundMessage, *, with_events: bool = False) -> TracedMessage:
    """What people see of one message."""
    events = message.events
    received = next((event for event in events if event.event_id == "RECEIVE"), events[0])
    return TracedMessage(
        network_message_id=_first(events, "network_message_id"),
        message_id=_first(events, "message_id"),
        message_subject=_first(events, "message_subject"),
        sender_address=_first(events, "sender_address"),
        return_path=_first(events, "return_path"),
        received=events[0].time,
        last_event=events[-1].time,
        status=message.status,
        size=int(text) if (text := _first(events, "total_bytes")).isdecimal() and len(text) < 18 else 0,
        recipients=[recipient_status(one) for one in message.outcomes[:_RECIPIENTS_SHOWN]],
        recipient_count=len(message.outcomes),
        source_address=next((event.origin for event in events if event.origin), ""),
        client_hostname=received.client_hostname if received.event_id == "RECEIVE" else "",
        connector=received.connector_id if received.event_id == "RECEIVE" else "",
        events=message.fitting if with_events else [],
    )


def recipient_status(outcome: Outcome) -> RecipientStatus:
    """What people see of what became of a recipient."""
    return RecipientStatus(
        address=outcome.recipient,
        status=outcome.state,
        time=datetime.fromisoformat(outcome.date_time),
        event=outcome.event_id,
        detail=outcome.status,
        via=outcome.via,
    )


def _first(events: list[FoundEvent], column: str) -> str:
    return next((text for event in events if (text := getattr(event, column))), "")
