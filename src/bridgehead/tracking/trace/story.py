# SPDX-License-Identifier: MIT
"""What the logs hold for the story of one message: its events, the messages it is linked with, and its sessions.

A report names the message that it is about by its `reference`: told from either end, both are found. Making a story of
it is the admin room's (`admin/trace/trace_story.py`), which knows connectors and queues, too.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.mail.limits import LINKED_MESSAGES, TRANSCRIPT_SESSIONS
from bridgehead.tracking.event_line import FoundEvent, fold
from bridgehead.tracking.trace.criteria import Criteria
from bridgehead.tracking.trace.search import Found, FoundMessage, IndexFacts, Unreadable, search
from bridgehead.tracking.trace.transcripts import SessionLog, sessions

_RECEIVED: Final = frozenset({"RECEIVE", "SUBMIT"})
_ATTEMPTS: Final = frozenset({"SEND", "DEFER", "FAIL", "DELIVER"})


class TraceLogs(msgspec.Struct, frozen=True, kw_only=True):
    """Where the logs lie that searches and stories are made from; a folder that is not given says nothing.

    Attributes:
        tracking: folder of the message tracking log.
        index: its index.
        receive, send: folders of the protocol logs.
        connectivity: folder of the connectivity log.
    """

    tracking: str
    index: str = ""
    receive: str = ""
    send: str = ""
    connectivity: str = ""


class Relation(StrEnum):
    """What a linked message is to the one that is told of."""

    REPORT = "report about this message"
    ORIGINAL = "the message that this report is about"
    RESUBMISSION = "resubmission of this message"
    PARENT = "the message that this one came from"
    RELATED = "message that came from this one"
    SAME_ID = "another message with the same Message-ID"


class Linked(msgspec.Struct, frozen=True, kw_only=True):
    """A message that belongs to the one that is told of."""

    relation: Relation
    message: FoundMessage


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the logs hold about one message."""

    message: FoundMessage
    linked: list[Linked] = []
    received_by: dict[str, SessionLog] = {}
    sent_by: dict[str, SessionLog] = {}
    unreadable: list[Unreadable] = []
    index: IndexFacts | None = None


def find(logs: TraceLogs, criteria: Criteria) -> Found:
    """Messages that fit, by `search`. Raises CriteriaError."""
    return search(Path(logs.tracking), criteria, Path(logs.index) if logs.index else None)


def evidence(logs: TraceLogs, identity: str) -> Evidence | None:
    """What the logs hold about a message, named by network message id, Message-ID, or internal id; None where nothing
    is known of it. Of several messages the newest is meant."""
    wanted = {identity, identity.strip("<>"), f"<{identity.strip('<>')}>"} - {"", "<>"}
    tracking, index = Path(logs.tracking), Path(logs.index) if logs.index else None
    if not wanted:
        return None
    found = search(tracking, Criteria(any_of=frozenset(wanted), limit=LINKED_MESSAGES), index)
    named = [one for one in found.messages if _is_named(one, wanted)]
    if not named:
        return None
    message = named[0]
    linked = _linked(tracking, index, message)
    start, end = message.events[0].time, message.events[-1].time
    receive, send, connectivity = (Path(text) for text in (logs.receive, logs.send, logs.connectivity))
    return Evidence(
        message=message,
        linked=linked,
        received_by=sessions(receive, "RECV", None, _ids(message.events, _RECEIVED), start, end)
        if logs.receive
        else {},
        sent_by=sessions(
            send, "SEND", connectivity if logs.connectivity else None, _ids(message.events, _ATTEMPTS), start, end
        )
        if logs.send
        else {},
        unreadable=found.unreadable,
        index=found.index,
    )


def session_of(event: FoundEvent) -> str:
    """Id of the session that an event came of, "" without."""
    text = event.source_context.partition(";")[0]
    return text if len(text) == 16 and all(one in "0123456789ABCDEFabcdef" for one in text) else ""


def _is_named(message: FoundMessage, wanted: set[str]) -> bool:
    folded = {fold(text) for text in wanted}
    return any(
        fold(text) in folded
        for event in message.events
        for text in (event.network_message_id, event.message_id, event.internal_message_id)
        if text
    )


def _ids(events: Iterable[FoundEvent], of: frozenset[str]) -> list[str]:
    """Ids of sessions, the newest where there are too many."""
    found = dict.fromkeys(session_of(event) for event in events if event.event_id in of)
    found.pop("", None)
    return list(found)[-TRANSCRIPT_SESSIONS:]


def _linked(tracking: Path, index: Path | None, message: FoundMessage) -> list[Linked]:
    ids = {event.message_id for event in message.events} - {""}
    references = {event.reference for event in message.events if _refers(event)} - {""}
    if not ids | references:
        return []
    found = search(tracking, Criteria(any_of=frozenset(ids | references), limit=LINKED_MESSAGES), index)
    linked = []
    for other in found.messages:
        if other.key == message.key:
            continue
        relation = _relation(message, other, ids, references)
        if relation is not None:
            linked.append(Linked(relation=relation, message=other))
    linked.reverse()
    return linked


def _relation(message: FoundMessage, other: FoundMessage, ids: set[str], references: set[str]) -> Relation | None:
    by_reference = [event for event in other.events if _refers(event) and event.reference in ids]
    if any(event.source == "DSN" for event in by_reference):
        return Relation.REPORT
    if any(event.source in ("SAFETYNET", "REDUNDANCY") or event.event_id == "RESUBMIT" for event in by_reference):
        return Relation.RESUBMISSION
    if by_reference:
        return Relation.RELATED
    other_ids = {event.message_id for event in other.events} - {""}
    if other_ids & references:
        return Relation.ORIGINAL if any(event.source == "DSN" for event in message.events) else Relation.PARENT
    return Relation.SAME_ID if other_ids & ids else None


def _refers(event: FoundEvent) -> bool:
    """Whether `reference` names another message: a fork names its parent's number, which is the same message."""
    return "@" in event.reference or event.reference.startswith("<")
