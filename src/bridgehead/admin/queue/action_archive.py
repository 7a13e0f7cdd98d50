# SPDX-License-Identifier: MIT
"""The records of actions in the queue store: numbered, read back, bounded in number; and what they removed, let go of.

What a record says, and how it is written, is `action_record.py`; who changes it while an action runs, the runner.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from bridgehead.admin.faults import NOT_FOUND, AdminFault
from bridgehead.admin.queue.action_record import ACTION, RUNNING, ActionRecord, note_of, record_of
from bridgehead.mail.limits import ACTION_BATCH, ACTIONS_KEPT
from bridgehead.queues.numbers import ALL_NUMBERS, Numbers
from bridgehead.queues.store import ItemFilter, Note, QueueKind, QueueStore, StoreFault, Swap

log = logging.getLogger("bridgehead.admin")

HOUSEKEEPING_SECONDS: Final = 30.0


class ActionArchive:
    """All records of actions.

    Args:
        now: Unix time.

    Attributes:
        running: actions under way by number, as they stand.
    """

    def __init__(self, store: QueueStore, now: Callable[[], float], numbers: Numbers = ALL_NUMBERS) -> None:
        self._store, self._now, self._numbers = store, now, numbers
        self.running: dict[int, ActionRecord] = {}
        self._next_id = 1
        self._count = 0
        self._purges: dict[int, float] = {}

    async def load(self) -> list[ActionRecord]:
        """Look through the records of former processes; those that are not finished. Raises StoreFault, AdminFault."""
        unfinished: list[ActionRecord] = []
        last = -1
        while notes := await self._store.notes(ACTION, None, last):
            for note in notes:
                last, record = note.id, record_of(note)
                self._count += 1
                if record.state == RUNNING:
                    unfinished.append(record)
                if record.purge_at:
                    self._purges[record.id] = record.purge_at
        self._next_id = self._numbers.first(last + 1)
        return unfinished

    def number(self, given: int = 0) -> int:
        """A number for a new record: the one that is given, or else one of our own."""
        number = given or self._next_id
        self._next_id = self._numbers.first(max(self._next_id, number + 1))
        return number

    async def add(self, record: ActionRecord, undone: ActionRecord | None = None) -> None:
        """Store a new record, and with it the one that it undoes. Raises StoreFault."""
        await self._store.swap([], [note_of(one) for one in (undone, record) if one is not None])
        self._count += 1
        if record.purge_at:
            self._purges[record.id] = record.purge_at

    async def save(self, record: ActionRecord) -> None:
        """Store a record as it stands. Raises StoreFault."""
        await self._store.swap([], [note_of(record)])

    async def record(self, number: int) -> ActionRecord:
        """One action as it stands. Raises AdminFault, StoreFault."""
        if number in self.running:
            return self.running[number]
        notes = await self._store.notes(ACTION, number, -1, 1)
        if not notes or notes[0].part:
            raise AdminFault(NOT_FOUND, f"there is no action {number}", "bridgehead action list shows them")
        return record_of(notes[0])

    async def records(self, limit: int) -> list[ActionRecord]:
        """The latest actions, the latest first. Raises StoreFault, AdminFault."""
        found: list[ActionRecord] = []
        upper = self._next_id
        while len(found) < limit and upper > 0:
            lower = max(0, upper - limit - 1)
            notes = await self._store.notes(ACTION, None, lower, limit + 1)
            part = [self.running.get(note.id) or record_of(note) for note in notes if note.id < upper]
            found += reversed(part)
            upper = lower + 1 if lower else 0
        return found[:limit]

    async def count_formers(self, record: ActionRecord) -> int:
        """How many messages an action that was cut short has changed. Raises StoreFault."""
        count, last = 0, 0
        while notes := await self._store.notes(ACTION, record.id, last):
            count, last = count + len(notes), notes[-1].part
        return count

    # --- keeping house --------------------------------------------------------------------------------------------

    async def keep_house(self) -> None:
        """Let go of what was removed long enough ago and of the oldest records, for ever."""
        while True:
            try:
                for number, when in list(self._purges.items()):
                    if when <= self._now() and number not in self.running:
                        await self._purge(number)
                await self._forget_old()
            except (StoreFault, AdminFault) as fault:
                log.error("records of actions could not be tidied up: %s", fault)
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    async def _purge(self, number: int) -> None:
        """Let go for good what an action removed, where its time has come."""
        record = await self.record(number)
        last, later = 0, 0.0
        while notes := await self._store.notes(ACTION, number, last, ACTION_BATCH):
            swaps: list[Swap] = []
            for note in notes:
                for entry in await self._store.list_items(ItemFilter(internal_message_id=note.part)):
                    handling = entry.item.handling
                    if entry.queue is not QueueKind.REMOVED or handling is None or handling.action != number:
                        continue
                    if entry.due > self._now():
                        later = max(later, entry.due)
                    else:
                        swaps.append(Swap(id=entry.id, before=entry, after=None))
            if swaps:
                await self._store.swap(swaps)
            last = notes[-1].part
        record.purge_at = later
        await self.save(record)
        self._purges.pop(number, None)
        if later:
            self._purges[number] = later

    async def _forget_old(self) -> None:
        """Keep the latest ACTIONS_KEPT records."""
        while self._count > ACTIONS_KEPT:
            [oldest, *_] = await self._store.notes(ACTION, None, -1, 1)
            if oldest.id in self.running or oldest.id in self._purges:
                return
            while parts := await self._store.notes(ACTION, oldest.id, 0, ACTION_BATCH):
                await self._store.swap([], [Note(ACTION, oldest.id, part.part, b"") for part in parts])
            await self._store.swap([], [Note(ACTION, oldest.id, 0, b"")])
            self._count -= 1
