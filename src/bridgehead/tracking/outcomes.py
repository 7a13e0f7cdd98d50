# SPDX-License-Identifier: MIT
"""What became of each recipient of a message, by its tracking events; pure."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from bridgehead.tracking.event_line import FoundEvent


class Status(StrEnum):
    """How far a recipient's copy, or a message, has come."""

    DELIVERED = "Delivered"
    FAILED = "Failed"
    DEFERRED = "Deferred"
    PENDING = "Pending"
    EXPANDED = "Expanded"
    REDIRECTED = "Redirected"
    DROPPED = "Dropped"
    POISON = "Poison"


FINAL: Final = frozenset({Status.DELIVERED, Status.FAILED, Status.EXPANDED, Status.REDIRECTED, Status.DROPPED})
"""Nothing more will happen."""
BITS: Final = {status: 1 << number for number, status in enumerate(Status)}
"""One bit for each status, for sets of them."""
_BY_WEIGHT: Final = (
    Status.POISON, Status.FAILED, Status.DEFERRED, Status.PENDING, Status.DELIVERED, Status.EXPANDED,
    Status.REDIRECTED, Status.DROPPED,
)  # fmt: skip
"""Which of its recipients' states a message is called by."""

_ENDS: Final = {
    "DELIVER": Status.DELIVERED,
    "SEND": Status.DELIVERED,
    "DUPLICATEDELIVER": Status.DELIVERED,
    "FAIL": Status.FAILED,
    "DELIVERFAIL": Status.FAILED,
    "SUBMITFAIL": Status.FAILED,
    "BADMAIL": Status.FAILED,
    "DEFER": Status.DEFERRED,
    "SUBMITDEFER": Status.DEFERRED,
    "RESUBMITDEFER": Status.DEFERRED,
    "DROP": Status.DROPPED,
    "SUPPRESSED": Status.DROPPED,
    "POISONMESSAGE": Status.POISON,
    "RECEIVE": Status.PENDING,
    "RESUBMIT": Status.PENDING,
}
"""Events that say how a recipient stands."""
_LEADS_ON: Final = {
    "EXPAND": Status.EXPANDED,
    "REDIRECT": Status.REDIRECTED,
    "RESOLVE": Status.REDIRECTED,
    "DUPLICATEEXPAND": Status.REDIRECTED,
}
"""Events that end the way of the address in related-recipient-address and begin that of others."""
DECIDED_BY: Final[dict[Status, frozenset[str]]] = {
    status: frozenset(
        event_id for events in (_ENDS, _LEADS_ON) for event_id, state in events.items() if state is status
    )
    for status in Status
    if status is not Status.PENDING
}
"""Events without one of which no recipient can stand so."""
REASON_IN_CONTEXT: Final = frozenset({"BADMAIL", "DEFER", "DROP", "POISONMESSAGE"})
"""Events of the server's own making, whose reason stands in source-context for want of a remote server's reply."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one recipient so far.

    Attributes:
        event_id: the event that decided, or only named the recipient first.
        status: what was said: a reply, a reason, the address that took its place.
        via: the group or alias that it came from, "" for one that the sender named.
    """

    recipient: str
    state: Status
    event_id: str
    status: str
    date_time: str
    via: str = ""


def outcomes_of(events: Iterable[FoundEvent]) -> list[Outcome]:
    """One outcome for each recipient that a message's events name, in order of appearance; events by time."""
    last: dict[str, Outcome] = {}
    for event in events:
        former = event.related_recipient_address
        if event.event_id in _LEADS_ON and former in last:
            onward = f"now {', '.join(event.recipient_address)}" if event.event_id != "EXPAND" else ""
            last[former] = _outcome(event, former, _LEADS_ON[event.event_id], onward, last[former].via)
        state = _ENDS.get(event.event_id)
        for index, recipient in enumerate(event.recipient_address):
            known = last.get(recipient)
            if known is not None and state is None:
                continue
            status = event.recipient_status[index] if index < len(event.recipient_status) else ""
            if not status and event.event_id in REASON_IN_CONTEXT:
                status = event.source_context
            via = known.via if known is not None else former if former != recipient else ""
            last[recipient] = _outcome(event, recipient, state or Status.PENDING, status, via)
    return list(last.values())


def status_of(outcomes: Iterable[Outcome]) -> Status:
    """The one word for a whole message: its recipient in the worst state decides, then what is still under way."""
    states = {one.state for one in outcomes}
    return next((status for status in _BY_WEIGHT if status in states), Status.PENDING)


def after_event(states: dict[str, Status], event_id: str, recipients: Iterable[str], related: str) -> None:
    """How each recipient stands after one more event: the states of `outcomes_of`, without their reasons."""
    if event_id in _LEADS_ON and related in states:
        states[related] = _LEADS_ON[event_id]
    state = _ENDS.get(event_id)
    for recipient in recipients:
        if state is not None or recipient not in states:
            states[recipient] = state or Status.PENDING


def _outcome(event: FoundEvent, recipient: str, state: Status, status: str, via: str) -> Outcome:
    return Outcome(
        recipient=recipient, state=state, event_id=event.event_id, status=status, date_time=event.date_time, via=via
    )
