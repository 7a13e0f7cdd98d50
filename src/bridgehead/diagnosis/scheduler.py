# SPDX-License-Identifier: MIT
"""Why the scheduler does not send a message this moment: each of its states has exactly one reason.

The states are data (`Situation`), filled in by delivery and categorizer; the reason follows from it by the first row
of `_ORDER` that fits, and the last row fits always.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec


class Reason(StrEnum):
    """Every reason there is."""

    SET_ASIDE = "set-aside"
    """In the poison queue."""
    REMOVED = "removed"
    """By an administrator; kept for a while, so that it can be undone."""
    MESSAGE_SUSPENDED = "message-suspended"
    HELD_BY_RULE = "held-by-rule"
    QUEUE_SUSPENDED = "queue-suspended"
    NO_ROUTE = "no-route"
    STORE_FAILS = "store-fails"
    BACK_PRESSURE = "back-pressure"
    WAITING_FOR_DIRECTORY = "waiting-for-directory"
    CATEGORIZING = "categorizing"
    BEING_FAILED = "being-failed"
    BEING_ATTEMPTED = "being-attempted"
    ON_TRIAL = "on-trial"
    QUEUE_RETRY = "queue-retry"
    MESSAGE_RETRY = "message-retry"
    WAITING_FOR_DNS = "waiting-for-dns"
    CONNECTING = "connecting"
    LIMIT = "limit"
    PAUSE_AFTER_FAILURE = "pause-after-failure"
    BEHIND_OTHERS = "behind-others"
    NOTHING_WAITS = "nothing-waits"


class Limit(msgspec.Struct, frozen=True, omit_defaults=True):
    """A limit that is reached: its setting, its value and where that is set (file and line, or "the default").

    `workers`: of how many the setting is shared out among; `value` is one's part.
    """

    setting: str
    value: int
    used: int
    origin: str = ""
    table: str = ""
    workers: int = 1


class Situation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where a message, or the first of a queue, stands. Times are Unix seconds, 0 for none.

    Attributes:
        queue_kind: Submission, Delivery, Unreachable or Poison.
        message_status: Ready, Active, Retry, Suspended …, "" where a queue as a whole is asked about.
        queue_status: Active, Retry or Suspended.
        is_open: the queue may be tried now.
        suspended_by, suspended_at, suspend_reason: of the queue or the message.
        held_by: name of the standing rule that holds the message.
        pressure: what back pressure stops, "" for nothing.
        store_fails: the store takes no commits.
        being_failed: the whole queue is being ended.
        resolving, connecting: openings under way in that stage.
        sessions: sessions at work. `active`: messages under way.
        limits: limits that keep it from more sessions, the nearest first.
        pause_until: no further session is opened before.
        ahead: messages that may go before this one, `ahead_higher` of them for their priority; `counted_all`: those are
            all of them. `rate`: messages a second lately.
        domains: what recipients without a route are in, in words.
        waits: messages that wait.
    """

    queue_kind: str = "Delivery"
    message_status: str = ""
    queue_status: str = "Active"
    is_open: bool = True
    suspended_by: str = ""
    suspended_at: float = 0.0
    suspend_reason: str = ""
    held_by: str = ""
    pressure: str = ""
    store_fails: bool = False
    being_failed: bool = False
    on_trial: bool = False
    next_retry: float = 0.0
    retry_count: int = 0
    due: float = 0.0
    last_error: str = ""
    resolving: int = 0
    connecting: int = 0
    sessions: int = 0
    active: int = 0
    limits: tuple[Limit, ...] = ()
    pause_until: float = 0.0
    ahead: int = 0
    ahead_higher: int = 0
    counted_all: bool = True
    domains: str = ""
    waits: int = 0
    rate: float = 0.0
    in_doubt: bool = False


_ORDER: Final[list[tuple[Reason, Callable[[Situation, float], object]]]] = [
    (Reason.SET_ASIDE, lambda s, now: s.queue_kind == "Poison"),
    (Reason.REMOVED, lambda s, now: s.queue_kind == "Removed"),
    (Reason.HELD_BY_RULE, lambda s, now: s.held_by),
    (Reason.MESSAGE_SUSPENDED, lambda s, now: s.message_status in ("Suspended", "PendingSuspend")),
    (
        Reason.BEING_ATTEMPTED,
        lambda s, now: s.message_status in ("Active", "PendingRemove") and s.active and s.sessions,
    ),
    (Reason.QUEUE_SUSPENDED, lambda s, now: s.queue_status == "Suspended"),
    (Reason.NO_ROUTE, lambda s, now: s.queue_kind == "Unreachable"),
    (Reason.STORE_FAILS, lambda s, now: s.store_fails),
    (Reason.BACK_PRESSURE, lambda s, now: s.pressure),
    (Reason.WAITING_FOR_DIRECTORY, lambda s, now: s.queue_kind == "Submission" and s.message_status == "Retry"),
    (Reason.CATEGORIZING, lambda s, now: s.queue_kind == "Submission"),
    (Reason.BEING_FAILED, lambda s, now: s.being_failed),
    (Reason.ON_TRIAL, lambda s, now: s.on_trial),
    (Reason.QUEUE_RETRY, lambda s, now: s.queue_status == "Retry" and not s.is_open),
    (Reason.MESSAGE_RETRY, lambda s, now: s.message_status == "Retry" and s.due > now),
    (Reason.NOTHING_WAITS, lambda s, now: not s.waits and not s.message_status and not s.active),
    (Reason.WAITING_FOR_DNS, lambda s, now: s.resolving and not s.sessions),
    (Reason.CONNECTING, lambda s, now: s.connecting and not s.sessions),
    (Reason.LIMIT, lambda s, now: s.limits),
    (Reason.PAUSE_AFTER_FAILURE, lambda s, now: s.pause_until > now),
    (Reason.BEING_ATTEMPTED, lambda s, now: s.active and not s.waits),
    (Reason.BEHIND_OTHERS, lambda s, now: True),
]


def reason_of(situation: Situation, now: float) -> Reason:
    """The reason of a state; always exactly one."""
    return next(reason for reason, fits in _ORDER if fits(situation, now))
