# SPDX-License-Identifier: MIT
"""Alarms for operators: list, silence, acknowledge, test."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.times import moment
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import ALARM_TEXT
from bridgehead.mail.units import Duration
from bridgehead.monitoring.book import Alarm, AlarmBook, Silence
from bridgehead.monitoring.watch import TestOutcome


class AlarmView(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm that stands.

    Attributes:
        id: what commands take.
        severity: "warning" or "critical".
        since: when it was first raised.
        text: the cause.
        remedy: what to do, "" where nothing is known.
        silenced_until: nobody is told before, null where somebody is.
        acknowledged: only reminders are held back.
        silenced_by, silence_reason: who asked for it, and why.
    """

    id: str
    severity: str
    since: datetime | None
    text: str
    remedy: str
    silenced_until: datetime | None = None
    acknowledged: bool = False
    silenced_by: str = ""
    silence_reason: str = ""


class SilenceView(msgspec.Struct, frozen=True, kw_only=True):
    """One silence. `pattern`: an alarm's id, or a `*` pattern."""

    pattern: str
    until: datetime | None
    acknowledged: bool
    who: str
    reason: str


class AlarmReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, what is silenced, and the ways out that are set up."""

    alarms: list[AlarmView]
    silences: list[SilenceView]
    channels: list[str]


class AlarmTest(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the test alarm on one channel; `fault` "" where it was taken."""

    channel: str
    ok: bool
    fault: str


class AlarmKeeper(Protocol):
    """The watch, seen from here."""

    book: AlarmBook

    @property
    def channels(self) -> list[str]: ...
    async def look(self) -> None: ...
    async def test(self, who: str) -> Sequence[TestOutcome]: ...


async def report_alarms(keeper: AlarmKeeper) -> AlarmReport:
    """Everything about alarms, after a look at the server."""
    await keeper.look()
    book = keeper.book
    return AlarmReport(
        alarms=[_view(book, alarm) for alarm in book.standing()],
        silences=[_view_silence(silence) for silence in book.silences()],
        channels=keeper.channels,
    )


def silence(
    keeper: AlarmKeeper, pattern: str, seconds: float, now: float, who: str, reason: str, *, acknowledge: bool = False
) -> SilenceView:
    """Tell nobody of what fits for so long. Raises AdminFault."""
    if not pattern.strip() or len(pattern) > ALARM_TEXT:
        raise AdminFault(INVALID, "a silence names an alarm", "bridgehead alarm list shows them")
    if acknowledge and not keeper.book.is_raised(pattern):
        raise AdminFault(NOT_FOUND, f'there is no alarm "{pattern}" now', "bridgehead alarm list shows them")
    made = Silence(
        pattern=clean_text(pattern, ALARM_TEXT), until=now + seconds, acknowledged=acknowledge, who=who,
        reason=clean_text(reason, ALARM_TEXT),
    )  # fmt: skip
    try:
        keeper.book.silence(made)
    except ValueError as error:
        raise AdminFault(INVALID, str(error), "bridgehead alarm unsilence ends one") from None
    return _view_silence(made)


def end_silence(keeper: AlarmKeeper, pattern: str) -> SilenceView:
    """Tell again. Raises AdminFault where there is no such silence."""
    found = next((one for one in keeper.book.silences() if one.pattern == pattern), None)
    if found is None:
        raise AdminFault(NOT_FOUND, f'there is no silence "{pattern}"', "bridgehead alarm list shows them")
    keeper.book.end_silence(pattern)
    return _view_silence(found)


async def test_channels(keeper: AlarmKeeper, who: str) -> list[AlarmTest]:
    """Send a real alarm through each channel."""
    return [
        AlarmTest(channel=one.channel, ok=not one.fault, fault=one.fault) for one in await keeper.test(who)
    ]  # fmt: skip


def sentences(book: AlarmBook) -> list[str]:
    """Standing alarms, one sentence each, the worst first."""
    return [f"{alarm.text}; {alarm.remedy}" if alarm.remedy else alarm.text for alarm in book.standing()]


def period(text: str | float) -> timedelta:
    """How long a silence lasts. Raises AdminFault."""
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise AdminFault(INVALID, str(error), 'write "4h", "2d" or "00:30:00"') from None


def _view(book: AlarmBook, alarm: Alarm) -> AlarmView:
    silenced = book.silence_of(alarm.id)
    return AlarmView(
        id=alarm.id,
        severity=alarm.severity.value,
        since=moment(alarm.since),
        text=alarm.text,
        remedy=alarm.remedy,
        silenced_until=moment(silenced.until) if silenced else None,
        acknowledged=silenced.acknowledged if silenced else False,
        silenced_by=silenced.who if silenced else "",
        silence_reason=silenced.reason if silenced else "",
    )


def _view_silence(silence: Silence) -> SilenceView:
    return SilenceView(
        pattern=silence.pattern,
        until=moment(silence.until),
        acknowledged=silence.acknowledged,
        who=silence.who,
        reason=silence.reason,
    )
