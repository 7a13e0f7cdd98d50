# SPDX-License-Identifier: MIT
"""The watch: looks at the server at intervals, lets the rules judge, keeps the book, and lets the heralds tell.

What has to survive a restart (alarms, silences, who was told, habits of sources) is written to `alarms.json` and
`sources.json` in the data directory, off the event loop and at most every few seconds.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bridgehead.monitoring.book import Alarm, AlarmBook, BookState, Notice, Occasion
from bridgehead.monitoring.certificates import CertificateDates
from bridgehead.monitoring.channels import Channel, ChannelFault
from bridgehead.monitoring.habits import Habit, Habits
from bridgehead.monitoring.herald import TROUBLE, Herald
from bridgehead.monitoring.keeping import read_state
from bridgehead.monitoring.ports import Watched
from bridgehead.monitoring.rules import Certificate, Observation, Rules, Verdict
from bridgehead.monitoring.settings import AlarmSettings
from bridgehead.net.durable_files import replace_file
from bridgehead.queues.lengths import queue_lengths
from bridgehead.queues.store import StoreFault
from bridgehead.tracking.alarms import Severity

log = logging.getLogger("bridgehead.alarms")

ALARMS_FILE: Final = "alarms.json"
SOURCES_FILE: Final = "sources.json"
KEEP_SECONDS: Final = 2.0
"""How long changes of the book are gathered before they are written."""
KEEP_SOURCES_SECONDS: Final = 600.0
FRESH_SECONDS: Final = 2.0
"""A count of queues that is older than this says nothing of what is in memory now."""
SETTLED_SECONDS: Final = 30.0
"""After the start, until an alarm of the former run may be over because nothing is seen of its cause."""
CONFIRM_SECONDS: Final = 900.0
"""Alarms of the former run that nobody has raised again by then are over."""
SILENCES: Final = 50
"""Sources that are alarmed one by one at most."""
_SILENT: Final = "source_silent"
_STORE: Final = "queue_count"

_State = TypeVar("_State")


class TestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a test alarm on one channel; `fault` "" where it was taken."""

    __test__ = False  # for pytest, which takes the name for one of its own

    channel: str
    fault: str = ""


class Watch:
    """Watches one server.

    Args:
        channels: the ways out, besides the log; replaced by `reconfigure`.
        directory: where the state is kept.
    """

    def __init__(
        self, watched: Watched, book: AlarmBook, settings: AlarmSettings, channels: Sequence[Channel], directory: Path
    ) -> None:
        self._watched, self.book, self.settings, self._directory = watched, book, settings, directory
        self._heralds = self._make_heralds(channels)
        self.rules = Rules()
        self._habits = Habits()
        self._dates = CertificateDates()
        self._dated: list[Certificate] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._started_at = self._turned_at = self._sources_kept_at = watched.now()
        self._inherited: set[str] = set()
        """Alarms of the former run that were not raised again yet."""
        self._looking = asyncio.Lock()

    # --- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up what the former run left, and begin. A file that cannot be read is set aside."""
        state = await self._read(ALARMS_FILE, BookState)
        if state is not None:
            self.book.take_up(state)
            self._inherited = {alarm.id for alarm in self.book.standing()}
            self.rules.resume(list(self._inherited))
        self._habits = Habits(await self._read(SOURCES_FILE, dict[str, Habit]))
        self.book.on_change = self._on_change
        for herald in self._heralds:
            herald.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run(), name="watch"), loop.create_task(self._keep(), name="alarms kept")]

    async def stop(self) -> None:
        """Write what is to be kept, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(herald.stop() for herald in self._heralds), return_exceptions=True)
        await self._write(ALARMS_FILE, self.book.state())
        await self._write(SOURCES_FILE, self._habits.state)

    async def reconfigure(self, settings: AlarmSettings, channels: Sequence[Channel]) -> None:
        """Watch by other settings and tell by other channels from now on."""
        self.settings = settings
        self.book.reminder_interval = settings.reminder_interval.total_seconds()
        self.book.all_clear_delay = settings.all_clear_delay.total_seconds()
        former, self._heralds = self._heralds, self._make_heralds(channels)
        await asyncio.gather(*(herald.stop() for herald in former))
        names = {herald.channel.name for herald in self._heralds}
        for name in self.book.subjects(TROUBLE):
            if name not in names:
                self.book.clear(f"{TROUBLE}/{name}")
        for herald in self._heralds:
            herald.start()

    @property
    def channels(self) -> list[str]:
        """Names of the ways out."""
        return [herald.channel.name for herald in self._heralds]

    async def test(self, who: str) -> list[TestOutcome]:
        """A real test alarm by each channel, one after the other."""
        text = f"this is a test alarm that {who} asked for; nothing is wrong"
        alarm = Alarm(id="test", severity=Severity.WARNING, since=self._watched.now(), text=text)
        outcomes = []
        for herald in self._heralds:
            fault = ""
            try:
                await herald.channel.send([Notice(occasion=Occasion.TEST, alarm=alarm)])
            except ChannelFault as error:
                fault = str(error)
            outcomes.append(TestOutcome(channel=herald.channel.name, fault=fault))
        return outcomes

    # --- looking ---------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Observe, judge, write into the book."""
        async with self._looking:
            now = self._watched.now()
            self._put(self._watched.conditions())
            self._turn_period(now)
            self._look_at_sources(now)
            self._dated = await asyncio.to_thread(self._dates.read, self._watched.certificates())
            try:
                overview, counted_at = await self._watched.overview()
            except StoreFault as fault:
                self.book.raise_(_STORE, Severity.CRITICAL, f"queues cannot be counted: {fault}", "see the log")
                return
            self.book.clear(_STORE)
            in_memory = self._watched.in_memory() if now - counted_at < FRESH_SECONDS else {}
            seen = Observation(
                now=now, overview=overview, lengths=queue_lengths(overview, in_memory), peers=self._watched.peers(),
                completed=self._watched.completed(), certificates=self._dated,
                renewed=self._watched.renewed_certificates(),
                lost_log_lines=self._watched.lost_log_lines(),
            )  # fmt: skip
            self._put(self._without_hasty(self.rules.judge(seen, self.settings), now))
            if now - self._started_at >= CONFIRM_SECONDS:
                self.book.clear_unconfirmed()
            self.book.forget_cleared(self.channels)

    @property
    def certificates(self) -> list[Certificate]:
        """As of the last look."""
        return self._dated

    def _without_hasty(self, verdicts: Sequence[Verdict], now: float) -> Iterable[Verdict]:
        """The verdicts, less all-clears that the start itself brings about: what waits is routed anew then, and for a
        moment stands in no queue where it stood before."""
        self._inherited.difference_update(verdict.id for verdict in verdicts if verdict.severity is not None)
        if now - self._started_at >= SETTLED_SECONDS:
            self._inherited.clear()
        hasty = [verdict.id for verdict in verdicts if verdict.severity is None and verdict.id in self._inherited]
        self.rules.resume(hasty)
        return (verdict for verdict in verdicts if verdict.severity is not None or verdict.id not in hasty)

    def _put(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            if verdict.severity is None:
                self.book.clear(verdict.id)
            else:
                self.book.raise_(
                    verdict.id, verdict.severity, verdict.text, verdict.remedy, step=verdict.step,
                    reminders=verdict.reminders,
                )  # fmt: skip

    def _turn_period(self, now: float) -> None:
        if abs(now - self._turned_at) >= self.settings.peer_failure_period.total_seconds() / 2:
            self._turned_at = now
            self._watched.turn_period()
            self._watched.rebalance()

    def _look_at_sources(self, now: float) -> None:
        senders = list(self._watched.take_sources())
        silent = self._habits.look(now, senders, self.settings)
        if not self.settings.source_silence_enabled:
            silent = []
        silent = [one for one in silent if not self._watched.is_timed(one.source)]
        for one in silent[:SILENCES]:
            self.book.raise_(
                f"{_SILENT}/{one.source}", Severity.WARNING, one.text, "see whether it is switched on and reaches us"
            )
        still = {one.source for one in silent}
        for source in self.book.subjects(_SILENT):
            if source not in still:
                self.book.clear(f"{_SILENT}/{source}")

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:  # a fault of the watch must not end it
                log.exception("the server could not be looked at")
            await asyncio.sleep(self.settings.check_interval.total_seconds())

    # --- keeping ---------------------------------------------------------------------------------------------------

    def _on_change(self) -> None:
        self._changed.set()
        for herald in self._heralds:
            herald.wake()

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KEEP_SOURCES_SECONDS):
                    await self._changed.wait()
                await asyncio.sleep(KEEP_SECONDS)
                self._changed.clear()
                await self._write(ALARMS_FILE, self.book.state())
            if abs(self._watched.now() - self._sources_kept_at) >= KEEP_SOURCES_SECONDS:
                self._sources_kept_at = self._watched.now()
                await self._write(SOURCES_FILE, self._habits.state)

    async def _read(self, name: str, kind: type[_State]) -> _State | None:
        return await asyncio.to_thread(read_state, self._directory / name, kind)

    async def _write(self, name: str, state: object) -> None:
        data = msgspec.json.encode(state)  # here, so that it is of one moment
        try:
            await asyncio.to_thread(replace_file, self._directory / name, data)
        except OSError as error:
            log.error("%s cannot be written: %s", self._directory / name, error.strerror)

    def _make_heralds(self, channels: Sequence[Channel]) -> list[Herald]:
        interval = min(self.settings.check_interval.total_seconds(), self.settings.all_clear_delay.total_seconds())
        return [Herald(channel, self.book, max(interval, 0.1)) for channel in channels]
