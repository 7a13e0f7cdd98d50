# SPDX-License-Identifier: MIT
"""Messages that were under way in too many crashes, tried one at a time.

When the process dies, every message in memory was under way, and most had no part in it: only what crashes the process
while it is the one suspect on trial goes to the poison queue. The others wait on disk meanwhile, where the next crash
does not count against them.
"""

import asyncio
import logging
from collections import deque
from typing import Final, Protocol

import msgspec

from bridgehead.delivery.commits import LastingCommits
from bridgehead.net.clock import Clock
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueStore, StoreFault, Swap, Transaction

logger = logging.getLogger("bridgehead.delivery")

WAIT: Final = 600.0
"""Seconds after which a suspect whose turn did not come is looked at again."""


class TrialQueue(Protocol):
    """The delivery queue of a suspect."""

    @property
    def takes_suspects(self) -> bool:
        """Messages may be tried now."""

    def try_suspect(self, entry: QueuedItem) -> None:
        """Deliver this one, ACTIVE on disk; `Suspects.over` is called when the attempt has ended."""


class Suspects:
    """Waiting suspects of all queues, and the one on trial.

    Attributes:
        on_trial: id of the message being tried alone, 0 for none.
    """

    def __init__(self, store: QueueStore, commits: LastingCommits, clock: Clock) -> None:
        self._store = store
        self._commits = commits
        self._clock = clock
        self._waiting: deque[tuple[TrialQueue, int]] = deque()
        self._ended = asyncio.Event()
        self._running = False
        self.on_trial = 0

    def __bool__(self) -> bool:
        return self._running or bool(self._waiting)

    def admit(self, queue: TrialQueue, entries: list[QueuedItem]) -> Transaction:
        """Put leased suspects back on disk; to be committed before `run`."""
        due = self._clock.now() + WAIT
        self._waiting.extend((queue, entry.id) for entry in entries)
        return Transaction(
            put=[msgspec.structs.replace(e, content=None, status=MessageStatus.RETRY, due=due) for e in entries]
        )

    def over(self, internal_message_id: int) -> None:
        """An attempt ended, or was given up untried."""
        if internal_message_id == self.on_trial:
            self.on_trial = 0
            self._ended.set()

    def stop(self) -> None:
        """Try no more; what waits is on disk."""
        self._waiting.clear()
        self.on_trial = 0
        self._ended.set()

    async def run(self) -> None:
        """Try all that wait, one after the other."""
        if self._running:
            return
        self._running = True
        try:
            while self._waiting:
                queue, number = self._waiting.popleft()
                if queue.takes_suspects and not self._commits.failing:
                    await self._try(queue, number)
        except StoreFault as fault:
            # They are on disk and come due again.
            logger.error("messages that were under way in a crash cannot be tried alone now: %s", fault)
            self._waiting.clear()
        finally:
            self._running = False

    async def _try(self, queue: TrialQueue, number: int) -> None:
        entry = await self._store.get(number)
        if entry is None or entry.status is not MessageStatus.RETRY:
            return  # removed, suspended or taken meanwhile
        active = msgspec.structs.replace(entry, content=None, status=MessageStatus.ACTIVE)
        if await self._store.swap([Swap(id=number, before=entry, after=active)]):
            return  # the same, at the last moment
        entry.status = MessageStatus.ACTIVE
        self._ended.clear()
        self.on_trial = number
        queue.try_suspect(entry)
        await self._ended.wait()
