# SPDX-License-Identifier: MIT
"""One message's story: its events in order, across forks, with the reports (DSNs) that it caused.

All forks share the network message id. A report is a message of its own; its `reference` is the Message-ID of the
message that it is about. Pure, except `stories_of`, which looks for what a search did not find.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.tracking.search import Criteria, Found, FoundEvent, search

MESSAGES: Final = 50
"""Most messages whose whole story is looked up at once."""
_STORY_EVENTS: Final = 100_000
_LEADS_ON: Final = frozenset({"EXPAND", "REDIRECT", "RESOLVE"})
"""Events that end the way of the address in related-recipient-address and begin that of others."""
_NO_END: Final = _LEADS_ON | {"DUPLICATEEXPAND"}
"""Events that decide nothing about the recipients they name, where something is known of them already."""
REASON_IN_CONTEXT: Final = frozenset({"BADMAIL", "DEFER", "DROP", "POISONMESSAGE"})
"""Events of the server's own making, whose reason stands in source-context for want of a remote server's reply."""
_BEFORE: Final = timedelta(days=3)
"""How long before a found event a message may have come in: longer than it may wait in a queue by default."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one recipient so far: the last event that names it decides, but for DUPLICATEEXPAND, which only
    says that another way led to a recipient that is served already."""

    recipient: str
    event_id: str
    status: str
    date_time: str


class MessageStory(msgspec.Struct, frozen=True, kw_only=True):
    """A message from its first event to its last.

    Attributes:
        outcomes: one for each recipient that an event names, in order of appearance.
        reports: stories of the reports that this message caused.
    """

    network_message_id: str
    message_id: str
    subject: str
    sender: str
    events: list[FoundEvent]
    outcomes: list[Outcome]
    reports: list["MessageStory"] = []


def story(events: Iterable[FoundEvent]) -> list[MessageStory]:
    """Events of any number of messages put together, by time of each message's first event; a report whose message is
    among them stands within that message's story."""
    groups: dict[str, list[FoundEvent]] = {}
    for event in sorted(events, key=lambda event: event.date_time):
        groups.setdefault(event.network_message_id or event.message_id, []).append(event)
    by_message_id: dict[str, str] = {}
    for key, group in groups.items():
        for event in group:
            if event.message_id:
                by_message_id.setdefault(event.message_id, key)
    parents = {key: parent for key, group in groups.items() if (parent := _parent(key, group, by_message_id))}
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    return [_tell(key, groups, children) for key in groups if key not in parents]


def stories_of(folder: Path, found: Found) -> tuple[list[MessageStory], bool]:
    """The whole stories of the messages that a search found, and whether some were left out (the newest are told)."""
    if not found.events:
        return [], False
    newest = list(dict.fromkeys(event.network_message_id or event.message_id for event in reversed(found.events)))
    wanted = set(newest[:MESSAGES]) - {""}
    wanted |= {event.message_id for event in found.events if event.network_message_id in wanted} - {""}
    # A report names the message that it is about: told from either end, the story is the same.
    wanted |= {event.reference for event in found.events if event.event_id == "DSN"} - {""}
    start = found.events[0].time - _BEFORE
    events: list[FoundEvent] = []
    for _ in range(4):  # what was found → its report or its original → that one's own events
        events = search(folder, Criteria(any_of=frozenset(wanted), start=start, limit=_STORY_EVENTS)).events
        related = {event.network_message_id for event in events}
        related |= {event.reference for event in events if event.event_id == "DSN"}
        related |= {event.message_id for event in events if event.event_id == "FAIL"}
        if related - {""} <= wanted:
            break
        wanted |= related - {""}
    return story(events), len(newest) > MESSAGES


def _parent(key: str, group: Sequence[FoundEvent], by_message_id: dict[str, str]) -> str | None:
    for event in group:
        if event.event_id in ("DSN", "RECEIVE") and event.source == "DSN" and event.reference:
            parent = by_message_id.get(event.reference)
            if parent and parent != key:
                return parent
    return None


def _tell(key: str, groups: dict[str, list[FoundEvent]], children: dict[str, list[str]]) -> MessageStory:
    events = groups[key]
    return MessageStory(
        network_message_id=events[0].network_message_id,
        message_id=_first(event.message_id for event in events),
        subject=_first(event.message_subject for event in events),
        sender=_first(event.return_path or event.sender_address for event in events),
        events=events,
        outcomes=_outcomes(events),
        reports=[_tell(child, groups, children) for child in children.get(key, ())],
    )


def _outcomes(events: Sequence[FoundEvent]) -> list[Outcome]:
    last: dict[str, Outcome] = {}
    for event in events:
        former = event.related_recipient_address
        if event.event_id in _LEADS_ON and former in last:
            onward = f"now {', '.join(event.recipient_address)}" if event.event_id != "EXPAND" else ""
            last[former] = Outcome(recipient=former, event_id=event.event_id, status=onward, date_time=event.date_time)
        for index, recipient in enumerate(event.recipient_address):
            if recipient in last and event.event_id in _NO_END:
                continue
            status = event.recipient_status[index] if index < len(event.recipient_status) else ""
            if not status and event.event_id in REASON_IN_CONTEXT:
                status = event.source_context
            last[recipient] = Outcome(
                recipient=recipient, event_id=event.event_id, status=status, date_time=event.date_time
            )
    return list(last.values())


def _first(texts: Iterable[str]) -> str:
    return next((text for text in texts if text), "")
