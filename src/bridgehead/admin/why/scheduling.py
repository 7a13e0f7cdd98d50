# SPDX-License-Identifier: MIT
"""The scheduler's reasons in words: why something waits, whose it is, what sets it free, and when it goes on."""

from collections.abc import Callable
from typing import Final, NamedTuple

from bridgehead.admin.times import clock, span
from bridgehead.diagnosis.facts import Owner
from bridgehead.diagnosis.scheduler import Reason, Situation


class Words(NamedTuple):
    """What is said of one reason. `stuck`: something has to be done; otherwise time alone helps."""

    why: str
    owner: Owner
    do: str
    stuck: bool


Teller = Callable[[Situation, str, float], Words]
"""(situation, queue, now) → words."""


def told(reason: Reason, situation: Situation, queue: str, now: float) -> Words:
    """A reason in words."""
    return _TELLERS[reason](situation, queue, now)


def _set_aside(_: Situation, queue: str, now: float) -> Words:
    why = "It ended the server, or failed in it, too often while it was processed, and was set aside; the rest goes on."
    return Words(
        why, Owner.YOU, "look at it: bridgehead queue show Poison, then bridgehead message resume or remove", True
    )


def _removed(_: Situation, queue: str, now: float) -> Words:
    return Words("An administrator removed it; it is kept for a while so that this can be undone.", Owner.YOU, "", True)


def _held(situation: Situation, queue: str, now: float) -> Words:
    why = f"The {situation.held_by} holds it{_by(situation)}."
    number = situation.held_by.rpartition(" ")[2]
    return Words(why, Owner.YOU, f"bridgehead standing-rule show {number}, then cancel it", True)


def _message_suspended(situation: Situation, queue: str, now: float) -> Words:
    return Words(f"The message was suspended{_by(situation)}.", Owner.YOU, "bridgehead message resume ID", True)


def _queue_suspended(situation: Situation, queue: str, now: float) -> Words:
    why = f"The queue was suspended{_by(situation)}; what arrives is kept."
    return Words(why, Owner.YOU, f"bridgehead queue resume '{queue}'", True)


def _by(situation: Situation) -> str:
    who = f" by {situation.suspended_by}" if situation.suspended_by else ""
    when = f" on {clock(situation.suspended_at)}" if situation.suspended_at else ""
    return who + when + (f" ({situation.suspend_reason})" if situation.suspend_reason else "")


def _no_route(situation: Situation, queue: str, now: float) -> Words:
    whom = f"mail for {situation.domains}" if situation.domains else "these recipients"
    why = f"No send connector takes {whom}{f' ({situation.last_error})' if situation.last_error else ''}."
    do = "add a send connector whose address_spaces hold the domain, then: bridgehead reload"
    return Words(why, Owner.YOU, do, True)


def _store_fails(situation: Situation, queue: str, now: float) -> Words:
    why = "The queue store cannot write, so nothing is begun whose outcome could not be kept."
    return Words(why, Owner.YOU, "make room on its disk; see: bridgehead status", True)


def _pressure(situation: Situation, queue: str, now: float) -> Words:
    return Words(f"Back pressure: {situation.pressure}.", Owner.YOU, "bridgehead back-pressure", True)


def _directory(situation: Situation, queue: str, now: float) -> Words:
    again = _in(situation.due, now)
    why = f"It waits for the directory, which could not be read{_because(situation)}; it is asked again {again}."
    return Words(why, Owner.YOU, "bring the directory back, then: bridgehead queue retry Submission", True)


def _categorizing(situation: Situation, queue: str, now: float) -> Words:
    ahead = f"; {situation.waits} messages wait" if situation.waits > 1 else ""
    return Words(f"It is being categorized, or about to be{ahead}.", Owner.NOBODY, "", False)


def _being_failed(situation: Situation, queue: str, now: float) -> Words:
    why = "Its destination cannot be delivered to at all; every message of the queue is being returned to its sender."
    return Words(why, Owner.SENDER, "correct the recipients' domain and send again", True)


def _attempted(situation: Situation, queue: str, now: float) -> Words:
    doubt = " An earlier attempt may have delivered it already." if situation.in_doubt else ""
    return Words(f"It is being delivered this moment.{doubt}", Owner.NOBODY, "", False)


def _on_trial(_: Situation, queue: str, now: float) -> Words:
    why = "It was under way when the server died, and waits until others like it have been tried one at a time."
    return Words(why, Owner.NOBODY, "", False)


def _queue_retry(situation: Situation, queue: str, now: float) -> Words:
    why = (
        f"No session could be had{_because(situation)}; attempt {situation.retry_count + 1} comes "
        f"{_in(situation.next_retry, now)}."
    )
    return Words(why, Owner.FAR_SIDE, f"bridgehead queue retry '{queue}'", True)


def _message_retry(situation: Situation, queue: str, now: float) -> Words:
    why = f"It was put off{_because(situation)}; the next attempt comes {_in(situation.due, now)}."
    return Words(why, Owner.FAR_SIDE, f"bridgehead queue retry '{queue}'", True)


def _dns(_: Situation, queue: str, now: float) -> Words:
    return Words("It waits for DNS to answer where to send it.", Owner.NETWORK, "", False)


def _connecting(_: Situation, queue: str, now: float) -> Words:
    return Words("A connection is being opened.", Owner.FAR_SIDE, "", False)


def _limit(situation: Situation, queue: str, now: float) -> Words:
    limit = situation.limits[0]
    origin = f", set in {limit.origin}" if ":" in limit.origin else f", {limit.origin}" if limit.origin else ""
    used = "messages of its priority are under way" if "_priority_" in limit.setting else "connections are in use"
    shared = f" by one of the {limit.workers} workers that share it" if limit.workers > 1 else ""
    why = f"It could go now, but {limit.setting} is reached: {limit.used} of {limit.value} {used}{shared}{origin}."
    do = f"raise {limit.setting} ({limit.origin or 'the default'}), then: bridgehead reload"
    return Words(why, Owner.YOU, do, True)


def _pause(situation: Situation, queue: str, now: float) -> Words:
    why = f"A further connection failed just now; the {situation.sessions} there are go on, and another is tried soon."
    return Words(why, Owner.FAR_SIDE, "", False)


def _behind(situation: Situation, queue: str, now: float) -> Words:
    others = "It is next"
    if situation.ahead:
        count = f"{situation.ahead}{'' if situation.counted_all else ' or more'}"
        others = f"{count} messages are before it" if situation.ahead > 1 else "One message is before it"
    if situation.ahead_higher:
        others += f", {situation.ahead_higher} of them of higher priority"
    if situation.rate > 0:
        drain = (situation.ahead or situation.waits) / situation.rate
        others += f"; {situation.rate:.1f} a second go out, so its turn comes in about {span(drain)}"
    return Words(f"{others}.", Owner.NOBODY, "", False)


def _nothing(_: Situation, queue: str, now: float) -> Words:
    return Words("Nothing waits here.", Owner.NOBODY, "", False)


def _because(situation: Situation) -> str:
    return f" ({situation.last_error})" if situation.last_error else ""


def _in(when: float, now: float) -> str:
    return f"in {span(when - now)}" if when > now else "at once"


_TELLERS: Final[dict[Reason, Teller]] = {
    Reason.SET_ASIDE: _set_aside,
    Reason.REMOVED: _removed,
    Reason.MESSAGE_SUSPENDED: _message_suspended,
    Reason.HELD_BY_RULE: _held,
    Reason.QUEUE_SUSPENDED: _queue_suspended,
    Reason.NO_ROUTE: _no_route,
    Reason.STORE_FAILS: _store_fails,
    Reason.BACK_PRESSURE: _pressure,
    Reason.WAITING_FOR_DIRECTORY: _directory,
    Reason.CATEGORIZING: _categorizing,
    Reason.BEING_FAILED: _being_failed,
    Reason.BEING_ATTEMPTED: _attempted,
    Reason.ON_TRIAL: _on_trial,
    Reason.QUEUE_RETRY: _queue_retry,
    Reason.MESSAGE_RETRY: _message_retry,
    Reason.WAITING_FOR_DNS: _dns,
    Reason.CONNECTING: _connecting,
    Reason.LIMIT: _limit,
    Reason.PAUSE_AFTER_FAILURE: _pause,
    Reason.BEHIND_OTHERS: _behind,
    Reason.NOTHING_WAITS: _nothing,
}

OWN_CAUSE: Final = frozenset(
    {
        Reason.SET_ASIDE, Reason.REMOVED, Reason.MESSAGE_SUSPENDED, Reason.HELD_BY_RULE, Reason.QUEUE_SUSPENDED,
        Reason.NO_ROUTE, Reason.STORE_FAILS, Reason.BACK_PRESSURE, Reason.WAITING_FOR_DIRECTORY, Reason.CATEGORIZING,
        Reason.LIMIT, Reason.ON_TRIAL,
    }
)  # fmt: skip
"""Reasons that are the cause themselves; the others follow from what sessions met."""
