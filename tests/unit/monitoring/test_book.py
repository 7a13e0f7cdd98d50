# SPDX-License-Identifier: MIT
"""The book of alarms: told once, reminded, told when over; flapping, silences, restarts."""

import msgspec
import pytest

from bridgehead.mail.limits import ALARM_TEXT, ALARMS
from bridgehead.monitoring.book import AlarmBook, BookState, Occasion, Silence
from bridgehead.tracking.alarms import Severity
from support.clock import JumpingClock

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


class Desk:
    """A book and one channel that tells everything at once."""

    def __init__(self, clock: JumpingClock | None = None) -> None:
        self.clock = clock or JumpingClock()
        self.book = AlarmBook(self.clock.now, reminder_interval=3600.0, all_clear_delay=120.0)

    def told(self, channel: str = "mail") -> list[tuple[Occasion, str]]:
        """What is owed now, and is told."""
        notices = self.book.owed(channel)
        self.book.told(channel, notices)
        return [(notice.occasion, notice.alarm.id) for notice in notices]


def test_an_alarm_is_told_once_however_often_it_is_raised() -> None:
    desk = Desk()
    for _ in range(3):
        desk.book.raise_("disk", WARNING, "the disk is nearly full", "free space")
    assert desk.told() == [(Occasion.RAISED, "disk")]
    desk.clock.advance(60)
    desk.book.raise_("disk", WARNING, "the disk is fuller", "free space")
    assert desk.told() == []
    [alarm] = desk.book.standing()
    assert (alarm.text, alarm.since) == ("the disk is fuller", desk.clock.now() - 60)


def test_an_alarm_that_stands_is_told_again_at_the_interval() -> None:
    desk = Desk()
    desk.book.raise_("disk", WARNING, "full")
    desk.told()
    desk.clock.advance(3599)
    assert desk.told() == []
    desk.clock.advance(1)
    assert desk.told() == [(Occasion.REMINDER, "disk")]
    assert desk.told() == []


def test_an_alarm_that_gets_worse_is_told_at_once_and_one_that_gets_better_is_not() -> None:
    desk = Desk()
    desk.book.raise_("disk", WARNING, "full")
    desk.told()
    desk.book.raise_("disk", CRITICAL, "fuller")
    assert desk.told() == [(Occasion.WORSE, "disk")]
    desk.book.raise_("disk", WARNING, "full")
    assert desk.told() == []


def test_each_step_of_an_alarm_is_told_once_and_never_again() -> None:
    desk = Desk()
    told = []
    for step in (1, 1, 2, 2):
        desk.book.raise_("certificate/a", WARNING, "expires", step=step, reminders=False)
        told.append([occasion for occasion, _ in desk.told()])
        desk.clock.advance(86_400)
    assert told == [[Occasion.RAISED], [], [Occasion.WORSE], []]


def test_the_end_of_an_alarm_is_told_to_those_who_know_of_it() -> None:
    desk = Desk()
    desk.book.raise_("disk", WARNING, "full")
    assert desk.told("mail")
    desk.book.clear("disk")
    assert desk.book.standing() == []
    desk.clock.advance(120)
    assert desk.told("mail") == [(Occasion.CLEARED, "disk")]
    assert desk.told("webhook") == []
    desk.book.forget_cleared(["mail", "webhook"])
    assert desk.book.state().alarms == []


def test_an_alarm_that_flaps_is_told_once_and_keeps_its_beginning() -> None:
    desk = Desk()
    began = desk.clock.now()
    for _ in range(5):
        desk.book.raise_("disk", WARNING, "full")
        desk.clock.advance(60)
        desk.book.clear("disk")
        desk.clock.advance(60)
    desk.book.raise_("disk", WARNING, "full")
    assert desk.told() == [(Occasion.RAISED, "disk")]
    assert [alarm.since for alarm in desk.book.standing()] == [began]


def test_what_was_never_told_is_not_told_to_be_over() -> None:
    desk = Desk()
    desk.book.raise_("disk", WARNING, "full")
    desk.book.clear("disk")
    desk.clock.advance(1000)
    assert desk.told() == []


def test_a_channel_that_could_tell_nobody_tells_what_is_true_then() -> None:
    desk = Desk()
    desk.book.raise_("disk", WARNING, "full")
    assert [notice.alarm.text for notice in desk.book.owed("mail")] == ["full"]
    desk.book.raise_("disk", CRITICAL, "fuller")
    [notice] = desk.book.owed("mail")
    assert (notice.occasion, notice.alarm.text) == (Occasion.RAISED, "fuller")


def test_a_silenced_alarm_is_told_when_the_silence_is_over() -> None:
    desk = Desk()
    desk.book.raise_("peer_failures/a", WARNING, "fails")
    desk.book.silence(Silence(pattern="peer_failures/*", until=desk.clock.now() + 600, who="root"))
    assert desk.told() == []
    assert [alarm.id for alarm in desk.book.standing()] == ["peer_failures/a"]
    desk.clock.advance(601)
    assert desk.told() == [(Occasion.RAISED, "peer_failures/a")]
    assert desk.book.silences() == []


def test_an_acknowledged_alarm_is_not_reminded_of_but_told_to_be_worse_or_over() -> None:
    desk = Desk()
    desk.book.raise_("disk", WARNING, "full")
    desk.told()
    desk.book.silence(Silence(pattern="disk", until=desk.clock.now() + 86_400, acknowledged=True))
    desk.clock.advance(4000)
    assert desk.told() == []
    desk.book.raise_("disk", CRITICAL, "fuller")
    assert desk.told() == [(Occasion.WORSE, "disk")]
    desk.book.clear("disk")
    desk.clock.advance(120)
    assert desk.told() == [(Occasion.CLEARED, "disk")]


def test_a_silence_ends_when_somebody_ends_it() -> None:
    desk = Desk()
    desk.book.raise_("disk", WARNING, "full")
    desk.book.silence(Silence(pattern="disk", until=desk.clock.now() + 600))
    assert desk.book.end_silence("disk")
    assert not desk.book.end_silence("disk")
    assert desk.told() == [(Occasion.RAISED, "disk")]
    with pytest.raises(ValueError, match="future"):
        desk.book.silence(Silence(pattern="disk", until=desk.clock.now()))


def test_a_restart_forgets_neither_who_was_told_nor_silences() -> None:
    desk = Desk()
    desk.book.raise_("disk", WARNING, "full")
    desk.told()
    desk.book.silence(Silence(pattern="other", until=desk.clock.now() + 600))
    data = msgspec.json.encode(desk.book.state())
    again = Desk(desk.clock)
    again.book.raise_("disk", WARNING, "full, as seen now")
    again.book.take_up(msgspec.json.decode(data, type=BookState))
    assert again.told() == []
    assert [alarm.text for alarm in again.book.standing()] == ["full, as seen now"]
    assert [silence.pattern for silence in again.book.silences()] == ["other"]


def test_what_nobody_raises_again_after_a_restart_is_over() -> None:
    desk = Desk()
    desk.book.raise_("gone", WARNING, "full")
    desk.book.raise_("still", WARNING, "full")
    desk.told()
    again = Desk(desk.clock)
    again.book.take_up(desk.book.state())
    again.book.raise_("still", WARNING, "full")
    again.book.clear_unconfirmed()
    assert [alarm.id for alarm in again.book.standing()] == ["still"]
    again.clock.advance(120)
    assert again.told() == [(Occasion.CLEARED, "gone")]


def test_texts_and_numbers_of_alarms_are_bounded() -> None:
    desk = Desk()
    desk.book.raise_("x", WARNING, "a\r\nb\x1b[31m" + "c" * 10_000)
    [alarm] = desk.book.standing()
    assert len(alarm.text) <= ALARM_TEXT
    assert alarm.text.isprintable()
    for number in range(ALARMS + 10):
        desk.book.raise_(f"many/{number}", WARNING, "x")
    assert len(desk.book.standing()) == ALARMS
