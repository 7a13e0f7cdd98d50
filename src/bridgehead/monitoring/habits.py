# SPDX-License-Identifier: MIT
"""Who sends when, and who has fallen silent against its habit. Pure; time is an argument.

Of each source (a login, else a client's address) it is kept in how many weeks it sent in each hour of the week, and
its longest pause. After `source_habit_days` it is said to be silent when either

* `source_silence_hours` hours have gone by in which it sends in most weeks, or
* it has been silent for `source_silence_factor` times its longest pause,

and in no case before `source_silence_minimum`. A printer that is switched off at the weekend is expected on Monday, a
nightly job the next night. Hours in which this server did not run count for nobody.
"""

import heapq
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from bridgehead.monitoring.settings import AlarmSettings
from bridgehead.monitoring.spans import span

HOURS: Final = 168
WEEK: Final = 7 * 86400.0
WEEKS_KEPT: Final = 8.0
"""After this time what was seen counts half."""
USUAL: Final = 0.6
"""Share of the weeks in which a source sent in an hour, for it to be expected then."""
LEAST_HOURS: Final = 5
"""Hours in which a source must have sent for there to be a habit."""
FORGOTTEN_SECONDS: Final = 4 * WEEK
"""A source that was silent for so long is gone."""


class Habit(msgspec.Struct, array_like=True):
    """What is known of one source.

    Attributes:
        first, last: Unix times of the first message that counts, and of the last.
        weeks: for each hour of the week, in how many weeks it sent then.
        longest: its longest pause, seconds.
        hours: hours in which it sent.
        silent: seconds since its last message during which this server ran.
        missed: hours in which it was expected in vain since then.
    """

    first: float
    last: float
    weeks: list[float]
    longest: float = 0.0
    hours: int = 0
    silent: float = 0.0
    missed: int = 0


class Silence(msgspec.Struct, frozen=True):
    """A source that is silent against its habit."""

    source: str
    text: str


class Habits:
    """The habits of a bounded number of sources.

    Args:
        known: of a former run.
    """

    def __init__(self, known: Mapping[str, Habit] | None = None) -> None:
        self._habits = dict(known or {})
        self._looked_at = 0.0

    @property
    def state(self) -> dict[str, Habit]:
        """What is to survive a restart."""
        return self._habits

    def look(self, now: float, senders: Iterable[str], settings: AlarmSettings) -> list[Silence]:
        """Take note of who sent since the last look; who is silent.

        Args:
            now: Unix time.
            senders: sources that handed over a message since the last look.
        """
        before, self._looked_at = self._looked_at or now, now
        hours_over = int(now // 3600) - int(before // 3600)
        for habit in self._habits.values():
            habit.silent += max(0.0, now - before)
            if hours_over > 0:
                self._hours_over(habit, before, now)
        for source in senders:
            self._sent(source, now, settings.sources)
        return [silence for source in list(self._habits) if (silence := self._judge(source, now, settings))]

    def _sent(self, source: str, now: float, limit: int) -> None:
        habit = self._habits.get(source)
        if habit is None:
            self._make_room(limit - 1)
            habit = self._habits[source] = Habit(now, now, [0.0] * HOURS)
        habit.longest = max(habit.longest, habit.silent)
        if habit.hours == 0 or int(now // 3600) != int(habit.last // 3600):
            habit.weeks[_hour(now)] += 1
            habit.hours += 1
        habit.last, habit.silent, habit.missed = now, 0.0, 0
        if (now - habit.first) / WEEK > WEEKS_KEPT:
            habit.weeks = [count / 2 for count in habit.weeks]
            habit.first = now - (now - habit.first) / 2
            habit.longest = max(habit.longest / 2, 1.0)

    def _hours_over(self, habit: Habit, before: float, now: float) -> None:
        """Hours that went by as a whole while this server ran, and in which nothing came."""
        weeks = max(1.0, (habit.last - habit.first) / WEEK)
        first = max(int(before // 3600), int(habit.last // 3600) + 1)
        for hour in range(max(first, int(now // 3600) - HOURS), int(now // 3600)):
            habit.missed += habit.weeks[hour % HOURS] / weeks >= USUAL

    def _judge(self, source: str, now: float, settings: AlarmSettings) -> Silence | None:
        habit = self._habits[source]
        if habit.silent >= FORGOTTEN_SECONDS:
            del self._habits[source]
            return None
        known = habit.last - habit.first >= settings.source_habit_days * 86400.0 and habit.hours >= LEAST_HOURS
        if not known or habit.silent < settings.source_silence_minimum.total_seconds():
            return None
        if habit.missed >= settings.source_silence_hours:
            why = f"usually it would have in {habit.missed} of the hours since"
        elif habit.silent >= settings.source_silence_factor * max(habit.longest, 1.0):
            why = f"its longest pause so far was {span(habit.longest)}"
        else:
            return None
        return Silence(source, f"{source} has sent nothing for {span(habit.silent)}; {why}")

    def _make_room(self, limit: int) -> None:
        """Forget those of whom least is known."""
        excess = len(self._habits) - limit
        if excess > 0:
            least = heapq.nsmallest(excess, self._habits.items(), key=lambda pair: (pair[1].hours, pair[1].last))
            for source, _ in least:
                del self._habits[source]


def _hour(now: float) -> int:
    """Hour of the week, counted from Thursday, 1970-01-01, UTC."""
    return int(now // 3600) % HOURS
