# SPDX-License-Identifier: MIT
"""Who has fallen silent against its habit. Time jumps an hour at a time."""

from collections.abc import Callable

import msgspec
import pytest

from bridgehead.mail.units import Duration
from bridgehead.monitoring.habits import Habit, Habits
from bridgehead.monitoring.settings import AlarmSettings

HOUR, DAY = 3600.0, 86400.0
MONDAY = 1_799_625_600.0 + 60
"""2027-01-11 00:01 UTC, a Monday."""
SETTINGS = AlarmSettings()


def live(
    habits: Habits, start: float, hours: int, sends: Callable[[float], bool], settings: AlarmSettings = SETTINGS
) -> list[tuple[float, str]]:
    """Let hours go by in which "printer" sends where `sends` says so; (hours since `start`, source) of each silence."""
    found = []
    for hour in range(hours):
        now = start + hour * HOUR
        silent = habits.look(now, ["printer"] if sends(now) else [], settings)
        found += [(hour, one.source) for one in silent]
    return found


def hour_of_day(now: float) -> int:
    return int(now % DAY // HOUR)


def in_the_office(now: float) -> bool:
    """Monday to Friday, eight to five."""
    return int(now // DAY + 3) % 7 < 5 and 8 <= hour_of_day(now) < 17


def never(_: float) -> bool:
    return False


def test_the_weeks_begin_on_monday() -> None:
    assert [in_the_office(MONDAY + day * DAY + 9 * HOUR) for day in range(7)] == [True] * 5 + [False] * 2


def test_a_printer_of_an_office_is_not_missed_at_night_nor_at_the_weekend() -> None:
    assert live(Habits(), MONDAY, 6 * 7 * 24, in_the_office) == []


def test_a_printer_of_an_office_is_missed_within_hours_on_a_working_day() -> None:
    habits = Habits()
    assert live(habits, MONDAY, 3 * 7 * 24, in_the_office) == []
    monday = MONDAY + 3 * 7 * DAY
    found = live(habits, monday, 24, never)
    assert found[0] == (10, "printer"), "8 and 9 o'clock went by, in which it always sends"
    [silence] = habits.look(monday + 24 * HOUR, [], SETTINGS)
    assert "printer has sent nothing for 3 d" in silence.text
    assert "usually it would have in 9 of the hours since" in silence.text


def test_a_nightly_job_is_missed_after_its_longest_pause_and_a_half() -> None:
    habits = Habits()
    nightly = lambda now: hour_of_day(now) == 2  # noqa: E731
    assert live(habits, MONDAY, 2 * 7 * 24, nightly) == []
    found = live(habits, MONDAY + 2 * 7 * DAY, 72, never)
    last = -22  # it sent at two in the morning of the day before
    assert found[0][0] == last + 36


def test_it_is_over_with_the_next_message() -> None:
    habits = Habits()
    live(habits, MONDAY, 3 * 7 * 24, in_the_office)
    monday = MONDAY + 3 * 7 * DAY
    assert live(habits, monday, 12, never)
    assert habits.look(monday + 12 * HOUR, ["printer"], SETTINGS) == []


def test_a_habit_has_to_be_known_for_days() -> None:
    habits = Habits()
    always = lambda now: True  # noqa: E731
    live(habits, MONDAY, 6 * 24, always)
    assert live(habits, MONDAY + 6 * DAY, 48, never) == []
    habits = Habits()
    live(habits, MONDAY, 8 * 24, always)
    assert live(habits, MONDAY + 8 * DAY, 48, never)


def test_somebody_who_wrote_once_or_twice_has_no_habit() -> None:
    habits = Habits()
    once_a_week = lambda now: int(now // HOUR) % 168 == int(MONDAY // HOUR) % 168  # noqa: E731
    live(habits, MONDAY, 3 * 7 * 24, once_a_week)
    assert live(habits, MONDAY + 3 * 7 * DAY, 3 * 7 * 24, never) == []


def test_hours_in_which_the_server_did_not_run_count_for_nobody() -> None:
    habits = Habits()
    live(habits, MONDAY, 3 * 7 * 24, in_the_office)
    restarted = Habits(msgspec.json.decode(msgspec.json.encode(habits.state), type=dict[str, Habit]))
    tuesday = MONDAY + 3 * 7 * DAY + DAY
    assert live(restarted, tuesday + 16 * HOUR, 2, never) == [], "it was off all Monday and until 16 o'clock"
    assert live(restarted, tuesday + 18 * HOUR, 20, never), "and it knows the habit still"


def test_a_silence_shorter_than_the_shortest_is_not_said() -> None:
    settings = AlarmSettings(source_silence_minimum=Duration(hours=5), source_silence_hours=1)
    habits = Habits()
    always = lambda now: True  # noqa: E731
    live(habits, MONDAY, 8 * 24, always, settings)
    assert live(habits, MONDAY + 8 * DAY, 48, never, settings)[0][0] == 4


def test_no_more_sources_are_kept_than_allowed_and_the_best_known_stay() -> None:
    settings = AlarmSettings(sources=10)
    habits = Habits()
    for hour in range(24):
        habits.look(MONDAY + hour * HOUR, ["printer"], settings)
    for number in range(1000):
        habits.look(MONDAY + DAY + number, [f"stranger{number}"], settings)
    assert len(habits.state) == 10
    assert "printer" in habits.state


def test_a_source_that_is_gone_for_a_month_is_forgotten() -> None:
    habits = Habits()
    live(habits, MONDAY, 3 * 7 * 24, in_the_office)
    assert live(habits, MONDAY + 21 * DAY, 24, never)
    live(habits, MONDAY + 22 * DAY, 30 * 24, never)
    assert habits.state == {}


@pytest.mark.parametrize("jump", [-10 * DAY, 400 * DAY])
def test_a_clock_that_jumps_breaks_nothing(jump: float) -> None:
    habits = Habits()
    live(habits, MONDAY, 8 * 24, in_the_office)
    habits.look(MONDAY + 8 * DAY + jump, [], SETTINGS)
    habits.look(MONDAY + 8 * DAY + jump + HOUR, ["printer"], SETTINGS)
    assert habits.state["printer"].silent == 0.0 if "printer" in habits.state else True
