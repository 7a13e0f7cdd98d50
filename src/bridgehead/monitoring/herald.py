# SPDX-License-Identifier: MIT
"""Tells one channel what the book owes it, and tries again where nobody could be told."""

import asyncio
import contextlib
from typing import Final

from bridgehead.monitoring.book import AlarmBook
from bridgehead.monitoring.channels import Channel, ChannelFault
from bridgehead.tracking.alarms import Severity

GATHER_SECONDS: Final = 1.0
"""Alarms that come one right after the other are told together."""
NOTICES: Final = 50
"""The most that is told at once."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds until a channel that failed is tried again; doubled each time."""
TROUBLE: Final = "alarm_channel"
"""Kind of the alarm about a channel; it goes out by the others."""


class Herald:
    """One channel at work.

    Args:
        look_interval: seconds after which the book is read though nothing was written into it: reminders, all-clears.
    """

    def __init__(self, channel: Channel, book: AlarmBook, look_interval: float) -> None:
        self.channel, self._book, self._interval = channel, book, look_interval
        self._wake = asyncio.Event()
        self._pause = FIRST_PAUSE
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell."""
        self._wake.set()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"alarms by {self.channel.name}")

    def wake(self) -> None:
        """Something was written into the book."""
        self._wake.set()

    async def stop(self) -> None:
        """Tell no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
                await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            if not await self.tell():
                await asyncio.sleep(self._pause)
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
                self._wake.set()

    async def tell(self) -> bool:
        """Tell what is owed now; False where the channel could not."""
        name, about = self.channel.name, f"{TROUBLE}/{self.channel.name}"
        notices = [notice for notice in self._book.owed(name) if notice.alarm.id != about][:NOTICES]
        if not notices:
            return True
        try:
            await self.channel.send(notices)
        except ChannelFault as fault:
            text = f"alarms cannot be told by {name}: {fault}"
            self._book.raise_(about, Severity.WARNING, text, "bridgehead alarm test")
            return False
        self._pause = FIRST_PAUSE
        self._book.told(name, notices)
        self._book.clear(about)
        return True
