# SPDX-License-Identifier: MIT
"""The book of alarms: what is wrong now, since when, who was told, and what is silenced until when.

Pure: time is an argument of the book's clock, and nothing is sent from here. Each channel asks what it still has to
tell (`owed`) and says when it has (`told`), so that the book itself is the queue of every channel: a channel that
cannot reach anybody for an hour tells what is true then. An alarm that goes and comes back within `all_clear_delay` is
the same alarm still, so that one which flaps is told once.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import ALARM_CHANNELS_FORGOTTEN_SECONDS, ALARM_SILENCES, ALARM_TEXT, ALARMS
from bridgehead.tracking.alarms import Severity


class Occasion(StrEnum):
    """Why somebody is told."""

    RAISED = "raised"
    WORSE = "worse"
    REMINDER = "reminder"
    CLEARED = "cleared"
    TEST = "test"


class Told(msgspec.Struct):
    """What one channel has told of an alarm, and when (Unix time)."""

    at: float
    severity: Severity
    step: int = 0


class Alarm(msgspec.Struct, kw_only=True):
    """One alarm.

    Attributes:
        id: kind, or kind/subject.
        since: Unix time of its first raising.
        text: the cause, one sentence.
        remedy: what to do, "" where nothing is known.
        step: a higher one than was told is told although the alarm stands.
        reminders: told again and again while it stands.
        cleared_at: Unix time since when it is well again; 0 while it is not.
        told: by name of the channel.
    """

    id: str
    severity: Severity
    since: float
    text: str
    remedy: str = ""
    step: int = 0
    reminders: bool = True
    cleared_at: float = 0.0
    told: dict[str, Told] = {}


class Silence(msgspec.Struct, kw_only=True):
    """Alarms of which nobody is told for a while.

    Attributes:
        pattern: an alarm's id, or a `*` pattern.
        until: Unix time.
        acknowledged: somebody is at it: only reminders are held back, an alarm that gets worse or ends is told.
        who: who asked for it.
        reason: in their words.
    """

    pattern: str
    until: float
    acknowledged: bool = False
    who: str = ""
    reason: str = ""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be told: an alarm as it stood then, and why."""

    occasion: Occasion
    alarm: Alarm


class BookState(msgspec.Struct):
    """What survives a restart."""

    alarms: list[Alarm] = []
    silences: list[Silence] = []


class AlarmBook:
    """Implements the port `tracking.alarms.Alarms`.

    Args:
        now: Unix time.
        reminder_interval: seconds between two reminders of the same alarm; 0 for none.
        all_clear_delay: seconds that an alarm has to stay away before its end is told.
    """

    def __init__(
        self, now: Callable[[], float], *, reminder_interval: float, all_clear_delay: float,
    ) -> None:  # fmt: skip
        self._now = now
        self.reminder_interval = reminder_interval
        self.all_clear_delay = all_clear_delay
        self._alarms: dict[str, Alarm] = {}
        self._silences: dict[str, Silence] = {}
        self._unconfirmed: set[str] = set()
        """Alarms of the former run that were neither raised nor cleared in this one."""
        self.on_change: Callable[[], object] = lambda: None
        """Called whenever there is something new to store or to tell."""

    def take_up(self, state: BookState) -> None:
        """Go on where a former run ended; what was raised since the start stays as it is."""
        for alarm in state.alarms[:ALARMS]:
            if alarm.id not in self._alarms:
                self._unconfirmed.add(alarm.id)
            self._alarms[alarm.id] = msgspec.structs.replace(
                self._alarms.get(alarm.id, alarm), since=alarm.since, told=alarm.told
            )
        for silence in state.silences[:ALARM_SILENCES]:
            self._silences.setdefault(silence.pattern, silence)

    def clear_unconfirmed(self) -> None:
        """What a former run left and nobody has spoken of since is over: whoever raised it is gone, or well."""
        for id in list(self._unconfirmed):
            self.clear(id)

    # --- the port --------------------------------------------------------------------------------------------------

    def raise_(
        self, id: str, severity: Severity, text: str, remedy: str = "", *, step: int = 0, reminders: bool = True
    ) -> None:
        """See `tracking.alarms.Alarms`. Beyond ALARMS of them new ones are left out."""
        text, remedy = clean_text(text, ALARM_TEXT), clean_text(remedy, ALARM_TEXT)
        self._unconfirmed.discard(id)
        alarm = self._alarms.get(id)
        if alarm is None:
            if len(self._alarms) >= ALARMS:
                return
            self._alarms[id] = Alarm(
                id=id, severity=severity, since=self._now(), text=text, remedy=remedy, step=step, reminders=reminders
            )
            self.on_change()
            return
        changed = alarm.cleared_at or alarm.severity is not severity or alarm.step != step
        alarm.cleared_at = 0.0
        alarm.severity, alarm.text, alarm.remedy, alarm.step, alarm.reminders = severity, text, remedy, step, reminders
        if changed:
            self.on_change()

    def clear(self, id: str) -> None:
        """See `tracking.alarms.Alarms`."""
        self._unconfirmed.discard(id)
        alarm = self._alarms.get(id)
        if alarm is not None and not alarm.cleared_at:
            alarm.cleared_at = self._now()
            self.on_change()

    # --- what is the matter --------------------------------------------------------------------------------------

    def standing(self) -> list[Alarm]:
        """What is wrong now, the worst and then the oldest first."""
        found = [alarm for alarm in self._alarms.values() if not alarm.cleared_at]
        return sorted(found, key=lambda alarm: (alarm.severity is not Severity.CRITICAL, alarm.since, alarm.id))

    def is_raised(self, id: str) -> bool:
        """Whether this alarm stands."""
        alarm = self._alarms.get(id)
        return alarm is not None and not alarm.cleared_at

    def subjects(self, kind: str) -> list[str]:
        """Subjects of the standing alarms of one kind."""
        prefix = f"{kind}/"
        return [alarm.id.removeprefix(prefix) for alarm in self.standing() if alarm.id.startswith(prefix)]

    # --- silences --------------------------------------------------------------------------------------------------

    def silence(self, silence: Silence) -> None:
        """Tell nobody of what fits; a silence with the same pattern is replaced. Raises ValueError when there are too
        many, or where it ends before it begins."""
        if silence.until <= self._now():
            raise ValueError("a silence ends in the future")
        if silence.pattern not in self._silences and len(self.silences()) >= ALARM_SILENCES:
            raise ValueError(f"there are {ALARM_SILENCES} silences already")
        self._silences[silence.pattern] = silence
        self.on_change()

    def end_silence(self, pattern: str) -> bool:
        """Tell of what fits again; False where there was no such silence."""
        found = self._silences.pop(pattern, None) is not None
        self.on_change()
        return found

    def silences(self) -> list[Silence]:
        """Those in force, the one that ends first before the others."""
        now = self._now()
        self._silences = {pattern: one for pattern, one in self._silences.items() if one.until > now}
        return sorted(self._silences.values(), key=lambda one: (one.until, one.pattern))

    def silence_of(self, id: str) -> Silence | None:
        """The silence in force for an alarm; one that lets nothing through before an acknowledgement."""
        now = self._now()
        fitting = [one for one in self._silences.values() if one.until > now and fnmatchcase(id, one.pattern)]
        return min(fitting, key=lambda one: (one.acknowledged, -one.until), default=None)

    # --- telling people ------------------------------------------------------------------------------------------

    def owed(self, channel: str) -> list[Notice]:
        """What a channel has to tell now."""
        found = []
        for alarm in self._alarms.values():
            occasion = self._occasion(alarm, alarm.told.get(channel))
            if occasion is not None:
                found.append(Notice(occasion=occasion, alarm=msgspec.structs.replace(alarm, told={})))
        return found

    def told(self, channel: str, notices: Iterable[Notice]) -> None:
        """A channel has told these."""
        now = self._now()
        for notice in notices:
            alarm = self._alarms.get(notice.alarm.id)
            if alarm is None:
                continue
            if notice.occasion is Occasion.CLEARED:
                alarm.told.pop(channel, None)
            else:
                alarm.told[channel] = Told(now, notice.alarm.severity, notice.alarm.step)
        self.on_change()

    def forget_cleared(self, channels: Iterable[str]) -> None:
        """Drop alarms that are over and whose end no channel in use still has to tell."""
        now, used = self._now(), set(channels)
        for alarm in list(self._alarms.values()):
            if not alarm.cleared_at or now - alarm.cleared_at < self.all_clear_delay:
                continue
            if not used & alarm.told.keys() or now - alarm.cleared_at > ALARM_CHANNELS_FORGOTTEN_SECONDS:
                del self._alarms[alarm.id]
                self.on_change()

    def state(self) -> BookState:
        """What is to survive a restart."""
        return BookState(list(self._alarms.values()), self.silences())

    def _occasion(self, alarm: Alarm, told: Told | None) -> Occasion | None:
        now = self._now()
        silence = self.silence_of(alarm.id)
        if silence is not None and not silence.acknowledged:
            return None
        if alarm.cleared_at:
            over = told is not None and now - alarm.cleared_at >= self.all_clear_delay
            return Occasion.CLEARED if over else None
        if told is None:
            return Occasion.RAISED
        if alarm.step > told.step or (alarm.severity is Severity.CRITICAL and told.severity is Severity.WARNING):
            return Occasion.WORSE
        due = alarm.reminders and self.reminder_interval > 0 and now - told.at >= self.reminder_interval
        return Occasion.REMINDER if due and silence is None else None
