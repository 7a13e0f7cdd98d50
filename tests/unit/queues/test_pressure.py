# SPDX-License-Identifier: MIT
"""Levels, hysteresis, actions and outlook of back pressure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.queues.pressure import (
    FORESIGHT,
    Action,
    BackPressure,
    Level,
    Meter,
    Outlook,
    Reading,
    Resource,
    effective_thresholds,
    next_level,
)
from bridgehead.queues.settings import BackPressureSettings, DatabaseUsedSpace, SystemMemory, Thresholds

MB = 1024**2
GB = 1024**3
QUEUE = DatabaseUsedSpace()
HALF_CLOSED = Action.REFUSE_EXTERNAL | Action.PAUSE_DIRECTORIES | Action.PAUSE_RESUBMISSION


def meter(resource: Resource = Resource.DATABASE_USED_SPACE, depth: int = 0, capacity: int = 0) -> Meter:
    return Meter(resource, effective_thresholds(resource, BackPressureSettings(), capacity), depth)


def feed(one: Meter, *values: float, seconds: float = 2.0) -> list[str]:
    """Take readings; the level after each."""
    levels = []
    for number, value in enumerate(values):
        one.take(Reading(value), 1000.0 + number * seconds, number * seconds)
        levels.append(one.level.word)
    return levels


# --- levels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ((95.9, 96, 98.9, 99), "Low Medium Medium High"),
        ((99, 97, 96.9, 94, 93.9), "High High Medium Medium Low"),
        ((99, 93), "High Low"),
        ((96, 95, 94, 96, 93), "Medium Medium Medium Medium Low"),
        ((50, 100), "Low High"),
    ],
)
def test_levels_change_at_four_thresholds(values: tuple[float, ...], levels: str) -> None:
    assert feed(meter(), *values) == levels.split()


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_level_is_left_only_beyond_its_own_threshold(values: list[float]) -> None:
    level = Level.LOW
    for value in values:
        after = next_level(level, value, QUEUE)
        if after > level:
            assert value >= (QUEUE.medium_to_high if after is Level.HIGH else QUEUE.low_to_medium)
        elif after < level:
            assert value < (QUEUE.high_to_medium if level is Level.HIGH else QUEUE.medium_to_low)
            assert after is Level.MEDIUM or value < QUEUE.medium_to_low
        level = after


@given(st.floats(0, 100), st.sampled_from(Level))
def test_the_same_reading_again_changes_nothing(value: float, level: Level) -> None:
    once = next_level(level, value, QUEUE)
    assert next_level(once, value, QUEUE) is once


# --- thresholds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (4096 * GB, (99.8, 99.9, 99.9, 99.8)),
        (1024 * GB, (99.5, 99.9, 99.8, 99.2)),  # 4 % of it would be 41 GB
        (252 * GB, (98, 99.6, 99.4, 97)),
        (128 * GB, (96, 99.2, 98.8, 94.1)),
        (50 * GB, (96, 99, 97.0, 94)),
        (20 * GB, (94, 97, 95, 92)),  # floor(100 × (20480 − 500) / 20480)
        (10 * GB, (92, 95, 93, 90)),
        (1 * GB, (87, 90, 88, 85)),  # a tenth, not half of it
        (0, (96, 99, 97, 94)),
    ],
)
def test_high_of_the_queue_drive_follows_its_size(size: int, expected: tuple[float, ...]) -> None:
    found = effective_thresholds(Resource.DATABASE_USED_SPACE, BackPressureSettings(), size)
    assert (found.low_to_medium, found.medium_to_high, found.high_to_medium, found.medium_to_low) == expected


def test_high_of_the_log_drive_keeps_what_its_checkpoint_needs() -> None:
    found = effective_thresholds(Resource.USED_DISK_SPACE, BackPressureSettings(), 20 * GB)
    assert (found.low_to_medium, found.medium_to_high, found.high_to_medium, found.medium_to_low) == (84, 94, 85, 75)


@given(st.sampled_from([Resource.DATABASE_USED_SPACE, Resource.USED_DISK_SPACE]), st.integers(1, 2**56))
def test_thresholds_of_drives_keep_their_order_at_every_size(resource: Resource, size: int) -> None:
    found = effective_thresholds(resource, BackPressureSettings(), size)
    assert 0 <= found.medium_to_low <= found.low_to_medium <= found.medium_to_high < 100
    assert found.medium_to_low <= found.high_to_medium <= found.medium_to_high


def test_a_big_drive_with_gigabytes_free_takes_mail_whatever_its_percent() -> None:
    """A laptop's disk of 252 GB that is 93 % full has room for more mail than will ever wait on it."""
    drive = meter(Resource.USED_DISK_SPACE, capacity=252 * GB)
    assert feed(drive, 100 * (252 - 7.8) / 252, 100 * (252 - 4.9) / 252) == ["Low", "Medium"]


def test_private_bytes_never_mean_more_than_a_terabyte() -> None:
    found = effective_thresholds(Resource.PRIVATE_BYTES, BackPressureSettings(), 4096 * GB)
    assert (found.low_to_medium, found.medium_to_high, found.high_to_medium, found.medium_to_low) == (22, 25, 23, 21)


def test_what_an_administrator_sets_is_left_alone() -> None:
    chosen = DatabaseUsedSpace(medium_to_high=98)
    settings = BackPressureSettings(database_used_space=chosen)
    assert effective_thresholds(Resource.DATABASE_USED_SPACE, settings, GB) is chosen


# --- actions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "medium", "high", "actions_medium", "actions_high"),
    [
        (Resource.DATABASE_USED_SPACE, 96, 99, HALF_CLOSED, HALF_CLOSED | Action.REFUSE_ALL),
        (Resource.USED_DISK_SPACE, 89, 99, HALF_CLOSED, HALF_CLOSED | Action.REFUSE_ALL),
        (
            Resource.PRIVATE_BYTES, 72, 75, Action.DEHYDRATE | HALF_CLOSED,
            Action.DEHYDRATE | HALF_CLOSED | Action.REFUSE_ALL,
        ),
        (
            Resource.QUEUE_LENGTH, 9999, 15000, Action.TARPIT | HALF_CLOSED,
            Action.TARPIT | HALF_CLOSED | Action.REFUSE_ALL | Action.FLUSH_CACHES | Action.DEHYDRATE,
        ),
        (
            Resource.SYSTEM_MEMORY, 88, 94, Action.DEHYDRATE | Action.FLUSH_CACHES,
            Action.DEHYDRATE | Action.FLUSH_CACHES,
        ),
    ],
)  # fmt: skip
def test_exchanges_table(
    resource: Resource, medium: float, high: float, actions_medium: Action, actions_high: Action
) -> None:
    one = meter(resource)
    assert one.actions is Action.NONE
    feed(one, medium)
    assert one.actions == actions_medium
    feed(one, high)
    assert one.actions == actions_high


def test_medium_refuses_once_the_history_is_full_and_high_at_once() -> None:
    one = meter(Resource.QUEUE_LENGTH, depth=3)
    refusing = []
    for value in (10000, 10000, 10000, 10000, 1999, 10000, 15000):
        feed(one, value)
        refusing.append(Action.REFUSE_EXTERNAL in one.actions)
    assert refusing == [False, False, False, True, False, False, True]


def test_the_tarpit_grows_with_each_reading_and_ends_with_the_pressure() -> None:
    one = meter(Resource.QUEUE_LENGTH, depth=300)
    delays = []
    for value in [10000] * 12 + [1999]:
        feed(one, value)
        delays.append(one.tarpit)
    assert delays == [10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 55, 55, 0]


@pytest.mark.parametrize(
    ("actions", "outside", "inside"),
    [
        (Action.NONE, False, False),
        (Action.TARPIT, False, False),
        (HALF_CLOSED, True, False),
        (HALF_CLOSED | Action.REFUSE_ALL, True, True),
        (Action.REFUSE_ALL, True, True),
    ],
)
def test_who_is_refused(actions: Action, outside: bool, inside: bool) -> None:
    pressure = BackPressure()
    pressure.set(actions, 0.0)
    assert (pressure.refuses(False), pressure.refuses(True)) == (outside, inside)
    assert pressure.refused == outside + inside
    assert pressure.active is bool(actions)


# --- outlook ------------------------------------------------------------------------------------------------------


def test_a_steady_rise_tells_when_the_next_level_comes() -> None:
    one = meter()
    feed(one, 90, 90.1, 90.2, 90.3, seconds=2)
    outlook = one.outlook()
    assert outlook is not None
    assert (outlook.level, round(outlook.seconds)) == (Level.MEDIUM, 114)  # 5.7 % at 0.05 % a second
    above = meter()
    feed(above, 96.0, 96.1, 96.2)
    later = above.outlook()
    assert later is not None
    assert later.level is Level.HIGH


def test_a_fall_tells_when_it_is_over() -> None:
    one = Meter(Resource.SYSTEM_MEMORY, SystemMemory())
    feed(one, 93, 92, 91, 90)
    assert one.outlook() == Outlook(Level.LOW, pytest.approx(12.0))


@pytest.mark.parametrize("values",
    [
        (50.0,), (50.0, 50.1), (50.0, 50.0, 50.0), (60.0, 55.0, 50.0),
        (90.0, 90.0, 90.5, 90.5), (95.0, 95.5, 95.2, 95.1, 95.6, 95.2), (90.0, 90.0, 95.0, 95.0), (50.0, 50.1, 50.2),
    ],
)  # fmt: skip
def test_nothing_is_foretold_without_a_trend_that_leads_somewhere(values: tuple[float, ...]) -> None:
    one = meter()
    feed(one, *values)
    assert one.outlook() is None


@given(st.lists(st.floats(0, 100), min_size=3, max_size=200), st.sampled_from(Resource))
def test_an_outlook_is_the_neighbouring_level_and_not_far_beyond_the_readings(
    values: list[float], resource: Resource
) -> None:
    one = Meter(resource, Thresholds(low_to_medium=60, medium_to_high=80, high_to_medium=70, medium_to_low=50))
    feed(one, *values)
    outlook = one.outlook()
    if outlook is not None:
        assert abs(outlook.level - one.level) == 1
        assert 0 <= outlook.seconds <= FORESIGHT * 2 * len(values)
