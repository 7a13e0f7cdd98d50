# SPDX-License-Identifier: MIT
"""Back pressure: from readings of resources to levels, from levels to what the server leaves off (pure).

Each resource has four thresholds, two on the way up and two on the way down, so that a level once reached is not left
by a reading just below it (Exchange's ResourceThrottling). What is measured is in `server/monitoring`; who acts on it
reads `BackPressure`, which costs one comparison while every level is Low.
"""

import math
from collections import deque
from enum import Flag, IntEnum, StrEnum, auto
from typing import Final

import msgspec

from bridgehead.queues.settings import (
    BackPressureSettings,
    DatabaseUsedSpace,
    PrivateBytes,
    Thresholds,
    UsedDiskSpace,
)

_MB: Final = 1024**2
DATABASE_RESERVE_BYTES: Final = 500 * _MB
LOG_RESERVE_BYTES: Final = 1152 * _MB
"""What shall stay free at High: Exchange's Min(5120 MB, 3 × DatabaseCheckPointDepthMax) with its default of 384 MB."""
SMALL_DISK_SHARE: Final = 0.1
"""The most of a disk that is kept free by those reserves: a small one would otherwise be useless from the start."""
AMPLE_BYTES: Final = 5120 * _MB
"""So much free is never Medium: a few percent of a big drive are tens of gigabytes, more than a queue comes to need."""
PRIVATE_BYTES_MOST: Final = 1024**4
TREND_SAMPLES: Final = 150
"""Readings the trend is made of: five minutes at the default interval."""
TREND_SHORTEST: Final = 3
FORESIGHT: Final = 60
"""A level further away than so many times the span of the readings is not foretold: five hours from five minutes."""
GOOD_FIT: Final = 0.85
"""The least share of all change (r²) that a line explains where there is a trend: noise has less, one step 0.8."""
TARPIT_FIRST: Final = 10.0
TARPIT_STEP: Final = 5.0
TARPIT_MOST: Final = 55.0


class Level(IntEnum):
    """How much of a resource is in use. Exchange called Low "Normal" in former versions."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2

    @property
    def word(self) -> str:
        return self.name.capitalize()


class Resource(StrEnum):
    """What is metered, by Exchange's names."""

    DATABASE_USED_SPACE = "DatabaseUsedSpace"
    USED_DISK_SPACE = "UsedDiskSpace"
    PRIVATE_BYTES = "PrivateBytes"
    QUEUE_LENGTH = "QueueLength[SubmissionQueue]"
    SYSTEM_MEMORY = "SystemMemory"


class Action(Flag):
    """What the server does, or leaves off, under pressure."""

    NONE = 0
    TARPIT = auto()
    REFUSE_EXTERNAL = auto()
    REFUSE_ALL = auto()
    PAUSE_DIRECTORIES = auto()
    PAUSE_RESUBMISSION = auto()
    DEHYDRATE = auto()
    FLUSH_CACHES = auto()


HOLDS_BACK: Final = (
    Action.TARPIT | Action.REFUSE_EXTERNAL | Action.REFUSE_ALL | Action.PAUSE_DIRECTORIES | Action.PAUSE_RESUBMISSION
)  # fmt: skip
"""What keeps mail from coming; the other actions only cost time."""


class Rule(msgspec.Struct, frozen=True):
    """What one resource asks for: at once above Low, in Medium once the history is full, and in High."""

    at_once: Action
    medium: Action
    high: Action


_HALF_CLOSED: Final = Action.REFUSE_EXTERNAL | Action.PAUSE_DIRECTORIES | Action.PAUSE_RESUBMISSION

RULES: Final[dict[Resource, Rule]] = {
    Resource.DATABASE_USED_SPACE: Rule(Action.NONE, _HALF_CLOSED, Action.REFUSE_ALL),
    Resource.USED_DISK_SPACE: Rule(Action.NONE, _HALF_CLOSED, Action.REFUSE_ALL),
    Resource.PRIVATE_BYTES: Rule(Action.DEHYDRATE, _HALF_CLOSED, Action.REFUSE_ALL),
    Resource.QUEUE_LENGTH: Rule(
        Action.TARPIT, _HALF_CLOSED, Action.REFUSE_ALL | Action.FLUSH_CACHES | Action.DEHYDRATE
    ),
    Resource.SYSTEM_MEMORY: Rule(Action.DEHYDRATE | Action.FLUSH_CACHES, Action.NONE, Action.NONE),
}  # fmt: skip
"""Exchange's table. The pause of its boot scan has no counterpart: Submission is worked off by bounded windows here."""


class Reading(msgspec.Struct, frozen=True):
    """One measurement.

    Attributes:
        value: percent in use, or messages.
        subject: what was measured, such as the path on the disk.
        left: how much is left, in words.
        capacity: octets of the whole, 0 where it has no size.
    """

    value: float
    subject: str = ""
    left: str = ""
    capacity: int = 0


class Outlook(msgspec.Struct, frozen=True):
    """At the present trend `level` is reached in so many seconds."""

    level: Level
    seconds: float


def effective_thresholds(resource: Resource, settings: BackPressureSettings, capacity: int) -> Thresholds:
    """The thresholds in force. Those of disks and of private bytes follow the size of the whole where nobody set them.

    Args:
        capacity: octets of the disk or of the memory.
    """
    match resource:
        case Resource.DATABASE_USED_SPACE:
            return _fitted(settings.database_used_space, DatabaseUsedSpace(), capacity, DATABASE_RESERVE_BYTES)
        case Resource.USED_DISK_SPACE:
            return _fitted(settings.used_disk_space, UsedDiskSpace(), capacity, LOG_RESERVE_BYTES)
        case Resource.PRIVATE_BYTES:
            high = math.floor(100 * PRIVATE_BYTES_MOST / capacity) if capacity else 100
            return _lowered(settings.private_bytes, PrivateBytes(), high)
        case Resource.QUEUE_LENGTH:
            return settings.submission_queue_length
        case Resource.SYSTEM_MEMORY:
            return settings.system_memory


def _fitted(chosen: Thresholds, default: Thresholds, size: int, reserve: int) -> Thresholds:
    """High where only `reserve` is left of a disk: 100 × (size − reserve) / size, rounded down.

    On a big disk also Medium, where less than AMPLE_BYTES are left, unless somebody chose others than the defaults.
    """
    if size <= 0 or chosen != default:
        return chosen
    kept = min(reserve, size * SMALL_DISK_SHARE)
    lowered = _lowered(chosen, default, math.floor(100 * (size - kept) / size))

    def at(percent: float, left: float) -> float:
        """The percent of a disk's default, or where only so many octets are left if that is later."""
        return max(percent, math.floor(1000 * (size - left) / size) / 10)

    return Thresholds(
        low_to_medium=at(lowered.low_to_medium, AMPLE_BYTES),
        medium_to_high=at(lowered.medium_to_high, 2 * reserve),
        high_to_medium=at(lowered.high_to_medium, 3 * reserve),
        medium_to_low=at(lowered.medium_to_low, 1.5 * AMPLE_BYTES),
    )


def _lowered(chosen: Thresholds, default: Thresholds, high: float) -> Thresholds:
    """All four lowered alike until High begins at `high`, unless somebody chose others than the defaults."""
    if chosen != default or high >= default.medium_to_high:
        return chosen
    less = default.medium_to_high - high
    return Thresholds(
        low_to_medium=max(0.0, default.low_to_medium - less),
        medium_to_high=max(0.0, high),
        high_to_medium=max(0.0, default.high_to_medium - less),
        medium_to_low=max(0.0, default.medium_to_low - less),
    )


def next_level(level: Level, value: float, thresholds: Thresholds) -> Level:
    """The level that a reading leads to."""
    if value >= thresholds.medium_to_high:
        return Level.HIGH
    if level is Level.HIGH and value >= thresholds.high_to_medium:
        return Level.HIGH
    if value >= thresholds.low_to_medium or (level is not Level.LOW and value >= thresholds.medium_to_low):
        return Level.MEDIUM
    return Level.LOW


class Meter:
    """One resource through time.

    Args:
        history_depth: readings above Low in a row before Medium refuses mail; 0 for the first.
    """

    def __init__(self, resource: Resource, thresholds: Thresholds, history_depth: int = 0) -> None:
        self.resource, self.thresholds, self.history_depth = resource, thresholds, history_depth
        self.level = Level.LOW
        self.reading = Reading(0.0)
        self.since = 0.0
        self.elevated = 0
        """Readings above Low in a row."""
        self._history: deque[tuple[float, float]] = deque(maxlen=TREND_SAMPLES)

    def take(self, reading: Reading, now: float, moment: float) -> bool:
        """Take a reading; whether the level is another now.

        Args:
            now: Unix time.
            moment: monotonic time.
        """
        self.reading = reading
        self._history.append((moment, reading.value))
        before, self.level = self.level, next_level(self.level, reading.value, self.thresholds)
        self.elevated = self.elevated + 1 if self.level else 0
        if self.level is before:
            return False
        self.since = now
        return True

    @property
    def actions(self) -> Action:
        """What this resource asks for now."""
        rule = RULES[self.resource]
        if self.level is Level.LOW:
            return Action.NONE
        if self.level is Level.HIGH:
            return rule.at_once | rule.medium | rule.high
        return rule.at_once | (rule.medium if self.elevated > self.history_depth else Action.NONE)

    @property
    def tarpit(self) -> float:
        """Seconds that a sender waits: longer with every reading that brings no relief."""
        if Action.TARPIT not in self.actions:
            return 0.0
        return min(TARPIT_FIRST + TARPIT_STEP * (self.elevated - 1), TARPIT_MOST)

    def trend(self) -> float:
        """Change of the value in a second: the slope of the line through the readings, 0 where they lie on none."""
        count = len(self._history)
        if count < TREND_SHORTEST:
            return 0.0
        mean_time = sum(moment for moment, _ in self._history) / count
        mean_value = sum(value for _, value in self._history) / count
        spread = sum((moment - mean_time) ** 2 for moment, _ in self._history)
        change = sum((value - mean_value) ** 2 for _, value in self._history)
        both = sum((moment - mean_time) * (value - mean_value) for moment, value in self._history)
        if not spread or not change or both * both < GOOD_FIT * spread * change:
            return 0.0
        return both / spread

    def outlook(self) -> Outlook | None:
        """Which level comes next at the present trend, and when; None where that is too far away to tell."""
        trend, limits = self.trend(), self.thresholds
        if trend > 0 and self.level is not Level.HIGH:
            level = Level(self.level + 1)
            limit = limits.medium_to_high if level is Level.HIGH else limits.low_to_medium
        elif trend < 0 and self.level is not Level.LOW:
            level = Level(self.level - 1)
            limit = limits.medium_to_low if level is Level.LOW else limits.high_to_medium
        else:
            return None
        seconds = max(0.0, (limit - self.reading.value) / trend)
        span = self._history[-1][0] - self._history[0][0]
        return Outlook(level, seconds) if seconds <= FORESIGHT * span else None


class BackPressure:
    """What is in force now, for those who act on it.

    Attributes:
        active: anything is; all else need be looked at only then.
        actions: everything that any resource asks for.
        delay: seconds that MAIL waits for its answer.
        refused: MAIL commands refused since the start.
    """

    __slots__ = ("actions", "active", "delay", "refused")

    def __init__(self) -> None:
        self.active = False
        self.actions = Action.NONE
        self.delay = 0.0
        self.refused = 0

    def set(self, actions: Action, delay: float) -> None:
        """Put something else in force."""
        self.actions, self.delay = actions, delay
        self.active = actions is not Action.NONE

    def refuses(self, inside: bool) -> bool:
        """Whether a sender is turned away; `inside`: its mail counts as the organisation's own."""
        wanted = Action.REFUSE_ALL if inside else Action.REFUSE_ALL | Action.REFUSE_EXTERNAL
        if not self.actions & wanted:
            return False
        self.refused += 1
        return True

    @property
    def pauses_directories(self) -> bool:
        """Pickup and replay directories leave their files alone."""
        return self.active and Action.PAUSE_DIRECTORIES in self.actions

    @property
    def pauses_resubmission(self) -> bool:
        """Nothing that was delivered once is submitted again."""
        return self.active and Action.PAUSE_RESUBMISSION in self.actions
