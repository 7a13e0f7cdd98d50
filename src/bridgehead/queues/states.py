# SPDX-License-Identifier: MIT
"""The life of a queued message as a table: which status follows from what happens. Pure.

Statuses are Exchange's (Get-Message). What is not in the table cannot happen: `next_status` refuses it. Administrators'
changes (`changes.py`) and what a restart makes of entries (`sqlite/leasing.py`, `memory.py`) follow it by asking; the
stages, which know the status of what they hold, follow it by what they write, and tests compare.
"""

from enum import Enum
from typing import Final

from bridgehead.queues.store import MessageStatus


class Event(Enum):
    """What can happen to a message in a queue."""

    LEASE = "a stage takes it"
    PUT_BACK = "a stage gives it back untried"
    DONE = "every recipient has ended: delivered, relayed, expanded, redirected, failed or dropped"
    DELAYED = "some recipients are to be tried again"
    EXPIRED = "its time is over: the recipients left fail with a report"
    SUSPEND = "an administrator suspends it"
    RESUME = "an administrator resumes it"
    REMOVE = "an administrator removes it, with or without a report"
    RESTART = "the server starts and finds it so"


class Gone(Enum):
    """The message leaves the queues, in one transaction with what that owes its sender."""

    GONE = "gone"


class IllegalTransition(Exception):
    """This cannot happen to a message in this status; the message is fit for an administrator."""


_READY, _ACTIVE, _RETRY = MessageStatus.READY, MessageStatus.ACTIVE, MessageStatus.RETRY
_SUSPENDED = MessageStatus.SUSPENDED
_PENDING_SUSPEND, _PENDING_REMOVE = MessageStatus.PENDING_SUSPEND, MessageStatus.PENDING_REMOVE

TRANSITIONS: Final[dict[MessageStatus, dict[Event, MessageStatus | Gone]]] = {
    _READY: {
        Event.LEASE: _ACTIVE,
        Event.EXPIRED: Gone.GONE,
        Event.SUSPEND: _SUSPENDED,
        Event.REMOVE: Gone.GONE,
        Event.RESTART: _READY,
    },
    _ACTIVE: {
        Event.PUT_BACK: _READY,
        Event.DONE: Gone.GONE,
        Event.DELAYED: _RETRY,
        Event.EXPIRED: Gone.GONE,
        Event.SUSPEND: _PENDING_SUSPEND,
        Event.REMOVE: _PENDING_REMOVE,
        Event.RESTART: _READY,
    },
    _RETRY: {
        Event.LEASE: _ACTIVE,
        Event.EXPIRED: Gone.GONE,
        Event.SUSPEND: _SUSPENDED,
        Event.REMOVE: Gone.GONE,
        Event.RESTART: _RETRY,
    },
    # A suspended message does not expire: the administrator who suspended it decides.
    _SUSPENDED: {
        Event.RESUME: _READY,
        Event.REMOVE: Gone.GONE,
        Event.RESTART: _SUSPENDED,
    },
    _PENDING_SUSPEND: {
        Event.PUT_BACK: _SUSPENDED,
        Event.DONE: Gone.GONE,
        Event.DELAYED: _SUSPENDED,
        Event.EXPIRED: _SUSPENDED,
        Event.RESUME: _ACTIVE,
        Event.REMOVE: _PENDING_REMOVE,
        Event.RESTART: _SUSPENDED,
    },
    _PENDING_REMOVE: {
        Event.PUT_BACK: Gone.GONE,
        Event.DONE: Gone.GONE,
        Event.DELAYED: Gone.GONE,
        Event.EXPIRED: Gone.GONE,
        # What became of the attempt is unknown, and a removal is an administrator's act: it is asked for again.
        Event.RESTART: _SUSPENDED,
    },
}


def next_status(status: MessageStatus, event: Event) -> MessageStatus | Gone:
    """What follows. Raises IllegalTransition."""
    following = TRANSITIONS[status].get(event)
    if following is None:
        raise IllegalTransition(
            f"a message that is {status.name.replace('_', ' ').title()} cannot change so: {event.value}"
        )
    return following
