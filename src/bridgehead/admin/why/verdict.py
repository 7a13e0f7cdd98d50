# SPDX-License-Identifier: MIT
"""The verdict: one sentence first, then owner, certainty, since when, what helps, what happens otherwise, and proof."""

from datetime import datetime
from enum import StrEnum

import msgspec

from bridgehead.admin.times import moment
from bridgehead.diagnosis.facts import AttemptFacts, Cause


class State(StrEnum):
    """How what was asked about stands."""

    STUCK = "STUCK"
    """It fails, or something forbids it."""
    WAITING = "WAITING"
    """It waits its turn."""
    MOVING = "MOVING"
    """It is on its way now."""
    IDLE = "IDLE"
    """Nothing waits."""
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    """At our own door."""
    EXPLAINED = "EXPLAINED"
    """A text, which says nothing about what is queued here."""


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """The limit that something waits for. `origin`: file and line, or "the default"."""

    setting: str
    table: str
    value: int
    used: int
    origin: str


class OtherCause(msgspec.Struct, frozen=True, kw_only=True):
    """What also goes wrong, and explains less."""

    cause: str
    why: str
    certainty: str


class TranscriptView(msgspec.Struct, frozen=True, kw_only=True):
    """One failed session as it was kept. `count`: how many ended alike."""

    session: str
    host: str
    time: datetime | None
    count: int
    lines: list[str]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Why one subject stands as it does.

    Attributes:
        headline: how much, how old, and when it goes on.
        why: the cause, in one sentence. `cause` is its stable name, `rows` those of docs/reference/causes.md.
        reason: why the scheduler does not send this moment; one of `diagnosis.scheduler.Reason`, "" for ended mail.
        owner: you, the far side, the network, the sender, nobody; `owner_detail`: which part of it.
        certainty: CERTAIN, LIKELY or POSSIBLE, with `sessions_agreeing` of `sessions_seen`.
        since, last_good: first failure of this kind; last success with the same destination.
        do: the one step that helps. `then`: what follows it. `otherwise`: what happens if nothing is done.
        expires: when the first message comes back to its sender. `delay_notice`: when its sender is told of the delay.
        proof: facts, one a line.
        also: other causes.
        transcripts: failed sessions that prove it.
    """

    about: str
    state: State
    headline: str
    why: str
    owner: str = ""
    owner_detail: str = ""
    certainty: str = ""
    sessions_agreeing: int = 0
    sessions_seen: int = 0
    since: datetime | None = None
    last_good: datetime | None = None
    last_good_words: str = ""
    do: str = ""
    then: str = ""
    otherwise: str = ""
    proof: list[str] = []
    cause: str = ""
    rows: list[int] = []
    reason: str = ""
    limit: LimitView | None = None
    messages: int = 0
    oldest: datetime | None = None
    next_try: datetime | None = None
    delay_notice: datetime | None = None
    expires: datetime | None = None
    also: list[OtherCause] = []
    transcripts: list[TranscriptView] = []


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one `why`. `kind`: queue, message, recipient, domain, client, text or report.

    `complete` is false where more was found than is told.
    """

    about: str
    kind: str
    verdicts: list[Verdict]
    complete: bool = True


def other_causes(causes: list[Cause]) -> list[OtherCause]:
    """All but the first."""
    return [
        OtherCause(cause=one.id, why=one.finding.sentence, certainty=one.certainty) for one in causes[1:]
    ]  # fmt: skip


def transcripts_of(attempts: list[AttemptFacts]) -> list[TranscriptView]:
    """The kept sessions, the newest first."""
    return [
        TranscriptView(
            session=one.session, host=one.where, time=moment(one.time), count=one.count, lines=list(one.transcript)
        )
        for one in sorted(attempts, key=lambda one: -one.time)
        if one.transcript
    ]
