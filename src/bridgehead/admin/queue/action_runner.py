# SPDX-License-Identifier: MIT
"""Carries out actions on queued messages, in batches, in the background; keeps their records; undoes them.

Each batch is a page of the store's listing and one transaction for its changes with the former states; after it the
record's cursor moves. Other mail goes on in between. A stop or a crash leaves a record that is Running: the next start
goes on from its cursor, and what was changed already is found changed. Memory holds one batch.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

import msgspec

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.queue.action_record import (
    ACTION,
    COMPLETED,
    RUNNING,
    ActionRecord,
    Target,
    former_note,
    former_of,
    note_of,
    record_of,
)
from bridgehead.admin.queue.filter import Predicate, compiled
from bridgehead.admin.queue.message_properties import Vantage, message_properties, names_a_queue, narrowed, read_filter
from bridgehead.admin.queue.queue_names import queue_identity
from bridgehead.admin.times import moment
from bridgehead.delivery.actions import Applied, Decide, MessageActions, NoteFor
from bridgehead.mail.item import Handling, MailItem, Source
from bridgehead.mail.limits import ACTION_BATCH, ACTIONS_KEPT
from bridgehead.queues.changes import ChangeKind, ItemChange, Unchanged, changed, former, restored
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    Note,
    Page,
    QueuedItem,
    QueueKind,
    QueueStore,
    StoreFault,
    Swap,
)
from bridgehead.routing.next_hop import NextHop
from bridgehead.tracking.events import EventId, event_for
from bridgehead.tracking.ports import Tracker

log = logging.getLogger("bridgehead.admin")

HOUSEKEEPING_SECONDS: Final = 30.0
FAULT_PAUSE: Final = 5.0
"""Seconds until an action goes on after the store failed."""
QUEUES_NAMED: Final = 100
_EVERYTHING: Final = 2**62
"""An id after every id."""
_TOLD: Final = "gone: its sender has been told"
_LEFT: Final = "gone from the queues"


class Surroundings(Vantage, Protocol):
    """What the runner needs of the server around it."""

    def queue_settings(self) -> QueueSettings: ...

    def next_hop_through(self, connector: str, smart_host: str) -> NextHop:
        """Where messages go that are redirected to a connector, or to a host through it; a domain of "" stands for
        the recipients' own. Raises AdminFault where there is no such connector."""


class Preview(msgspec.Struct):
    """What an action would do."""

    applied: Applied
    sample: list[QueuedItem]


class ActionRunner:
    """All actions of this server.

    Args:
        actions: changes a batch of messages, wherever they are.
        tracker: told of messages that come back or go through the categorizer anew.
    """

    def __init__(
        self, store: QueueStore, actions: MessageActions, tracker: Tracker, surroundings: Surroundings
    ) -> None:  # fmt: skip
        self._store, self.changes, self._tracker, self.around = store, actions, tracker, surroundings
        self._running: dict[int, ActionRecord] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._next_id = 1
        self._count = 0
        self._purges: dict[int, float] = {}
        self.held_by_another: Callable[[QueuedItem], Handling | None] = lambda entry: None
        """What standing rules in force order for a message that one that ended has held."""
        self._housekeeper: asyncio.Task[None] | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Go on with what a former process left unfinished. Raises StoreFault, AdminFault."""
        last = -1
        while notes := await self._store.notes(ACTION, None, last):
            for note in notes:
                last, record = note.id, record_of(note)
                self._count += 1
                if record.state == RUNNING:
                    record.done = await self._count_formers(record) if not record.undo_of else record.done
                    self._launch(record)
                if record.purge_at:
                    self._purges[record.id] = record.purge_at
        self._next_id = max(1, last + 1)
        self._housekeeper = asyncio.get_running_loop().create_task(self._keep_house(), name="actions")

    async def stop(self) -> None:
        """Stop between two steps; what is unfinished goes on at the next start."""
        tasks = [*self._tasks.values(), *([self._housekeeper] if self._housekeeper is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- what commands ask ----------------------------------------------------------------------------------------

    async def preview(self, target: Target, change: ItemChange, sample: int) -> Preview:
        """What `begin` would do now; changes nothing. Raises AdminFault, StoreFault."""
        found = Preview(Applied(), [])
        cursor = 0
        pages = await self._pages(target)
        while True:
            page = await pages(cursor, _EVERYTHING)
            for entry in page.entries:
                try:
                    found.applied.changed(entry, changed(entry, change))
                except Unchanged as reason:
                    found.applied.skip(str(reason))
                    continue
                if len(found.sample) < sample:
                    found.sample.append(entry)
            cursor = page.last
            if not cursor:
                return found

    async def listed(self, wanted: ItemFilter, filter_text: str) -> list[QueuedItem]:
        """Entries that fit both, up to `wanted.limit`, in order of id. Raises AdminFault, StoreFault."""
        narrow, fits = await self.reading(filter_text)
        for name in ("queue", "next_hop", "status", "internal_message_id"):
            if getattr(wanted, name) is None:
                wanted = msgspec.structs.replace(wanted, **{name: getattr(narrow, name)})
        found: list[QueuedItem] = []
        cursor = 0
        while len(found) < wanted.limit:
            page = await self._store.page(wanted, fits, cursor, _EVERYTHING)
            found += page.entries
            cursor = page.last
            if not cursor:
                break
        return found[: wanted.limit]

    async def begin(self, target: Target, change: ItemChange) -> ActionRecord:
        """Record an action and start it. Raises StoreFault."""
        number = self._next_id
        self._next_id += 1
        change = msgspec.structs.replace(change, action=number, at=self.around.now())
        record = ActionRecord(id=number, change=change, target=target, boundary=self._store.allocate_id())
        if change.kind is ChangeKind.REMOVE:
            record.purge_at = change.at + self._hold_time
        await self._store.swap([], [note_of(record)])
        self._count += 1
        if record.purge_at:
            self._purges[number] = record.purge_at
        self._launch(record)
        return record

    async def note_queues(
        self, change: ItemChange, chosen: str, counts: dict[str, int], undo_of: int = 0
    ) -> ActionRecord:  # fmt: skip
        """Record what was done to queues as a whole; `counts` says how many messages are in each. Raises StoreFault."""
        number = self._next_id
        self._next_id += 1
        now = self.around.now()
        record = ActionRecord(
            id=number, change=msgspec.structs.replace(change, action=number, at=now), target=Target(queues=chosen),
            boundary=0, state=COMPLETED, ended=now, done=sum(counts.values()), queues=counts, undo_of=undo_of,
        )  # fmt: skip
        notes = [note_of(record)]
        if undo_of:
            original = await self.record(undo_of)
            original.undone_by = number
            notes.append(note_of(original))
        await self._store.swap([], notes)
        self._count += 1
        return record

    async def undo(self, number: int, by: str, reason: str) -> ActionRecord:
        """Begin to restore what an action changed and what has not left since. Raises AdminFault, StoreFault."""
        record = await self.record(number)
        if record.state == RUNNING:
            raise AdminFault(INVALID, f"action {number} is not finished yet", f"bridgehead action show {number}")
        if record.undone_by:
            raise AdminFault(INVALID, f"action {number} was undone already, by action {record.undone_by}")
        if not record.can_be_undone:
            raise AdminFault(INVALID, _why_not(record), "what has been sent cannot be called back")
        undoing = self._next_id
        self._next_id += 1
        change = msgspec.structs.replace(record.change, by=by, reason=reason, at=self.around.now())
        follower = ActionRecord(
            id=undoing, change=change, target=record.target, boundary=record.boundary, undo_of=record.id
        )
        record.undone_by = undoing
        await self._store.swap([], [note_of(record), note_of(follower)])
        self._count += 1
        self._launch(follower)
        return follower

    async def record(self, number: int) -> ActionRecord:
        """One action as it stands. Raises AdminFault, StoreFault."""
        if number in self._running:
            return self._running[number]
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
            part = [self._running.get(note.id) or record_of(note) for note in notes if note.id < upper]
            found += reversed(part)
            upper = lower + 1 if lower else 0
        return found[:limit]

    async def ended(self, number: int, seconds: float) -> ActionRecord:
        """The action as it stands once it has ended, or after that time. Raises AdminFault, StoreFault."""
        task = self._tasks.get(number)
        if task is not None:
            await asyncio.wait([task], timeout=seconds)
        return await self.record(number)

    @property
    def running(self) -> int:
        """Actions under way."""
        return len(self._running)

    # --- carrying out ----------------------------------------------------------------------------------------------

    def _launch(self, record: ActionRecord) -> None:
        work = self._undo if record.undo_of else self._carry_out
        self._running[record.id] = record
        task = asyncio.get_running_loop().create_task(self._until_done(record, work), name=f"action {record.id}")
        self._tasks[record.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(record.id, None))

    async def _until_done(
        self, record: ActionRecord, work: Callable[[ActionRecord], Coroutine[None, None, None]]
    ) -> None:
        """Work on an action however often the store fails in between; a fault of ours ends it."""
        again = False
        while True:
            try:
                if again and not record.undo_of:
                    record.done = await self._count_formers(record)
                await work(record)
                break
            except StoreFault as fault:
                again = True
                log.error("action %d waits for the queue store: %s", record.id, fault)
                await asyncio.sleep(FAULT_PAUSE)
            except Exception as error:
                log.exception("action %d failed", record.id)
                record.fault = f"{type(error).__name__}: {error}"
                break
        record.state, record.ended = COMPLETED, self.around.now()
        try:
            await self._store.swap([], [note_of(record)])
        except StoreFault as fault:
            log.error(
                "the end of action %d could not be stored, the next start repeats its last step: %s", record.id, fault
            )
        self._running.pop(record.id, None)
        log.info(
            "action %d, %s by %s (%s): %d messages changed, %d left alone", record.id, record.verb, record.change.by,
            record.change.reason, record.done, sum(record.skipped.values()),
        )  # fmt: skip

    async def _carry_out(self, record: ActionRecord) -> None:
        pages = await self._pages(record.target)
        change = record.change
        while True:
            page = await pages(record.cursor, record.boundary)
            # After an interruption the last batch comes again; what it suspended is not to be counted as left alone.
            entries = [entry for entry in page.entries if not _suspended_by(entry, change)]
            await self._batch(
                record, entries, lambda entry: self._decided(entry, change),
                lambda entry: former_note(record.id, entry.id, former(entry)), change.kind,
            )  # fmt: skip
            if not await self._moved(record, page.last):
                return

    def _decided(self, entry: QueuedItem, change: ItemChange) -> QueuedItem:
        """What becomes of an entry. What a rule that ends has held stays where another rule holds it."""
        after = changed(entry, change)
        if change.kind is ChangeKind.RESUME and change.rule and entry.status is MessageStatus.SUSPENDED:
            handling = self.held_by_another(after)
            if handling is not None and not handling.with_ndr:
                item = msgspec.structs.replace(after.item, handling=handling)
                return msgspec.structs.replace(after, item=item, status=entry.status)
        return after

    async def _undo(self, record: ActionRecord) -> None:
        original = await self.record(record.undo_of)
        while True:
            notes = await self._store.notes(ACTION, original.id, record.cursor, ACTION_BATCH)
            formers = {note.part: former_of(note) for note in notes}
            entries: list[QueuedItem] = []
            for key in formers:
                found = await self._store.list_items(ItemFilter(internal_message_id=key))
                entries += found
                if not found:
                    _skip(record, _TOLD if original.change.with_ndr else _LEFT)
            done = await self._batch(
                record, entries, lambda entry: restored(entry, formers[entry.id], original.change),  # noqa: B023
                lambda entry: None, ChangeKind.RESUME,
            )  # fmt: skip
            if original.change.kind is ChangeKind.REMOVE:
                for entry in entries:
                    if entry.id in done:
                        self._track(entry.item, record)
            if not await self._moved(record, notes[-1].part if len(notes) == ACTION_BATCH else 0):
                return

    async def _batch(
        self, record: ActionRecord, entries: list[QueuedItem], decide: Decide, note_for: NoteFor, kind: ChangeKind
    ) -> set[int]:  # fmt: skip
        """Change a batch and add it up; the ids that were changed."""
        applied = await self.changes.apply(entries, decide, note_for, kind)
        record.done += len(applied.done)
        record.pending += applied.pending
        record.octets += applied.octets
        for reason, count in applied.skipped.items():
            _skip(record, reason, count)
        for (queue, next_hop), count in applied.queues.items():
            name = queue_identity(queue, next_hop)
            if name in record.queues or len(record.queues) < QUEUES_NAMED:
                record.queues[name] = record.queues.get(name, 0) + count
        done = set(applied.done)
        if kind is ChangeKind.RESUBMIT:
            for entry in entries:
                if entry.id in done:
                    self._track(entry.item, record)
        return done

    async def _moved(self, record: ActionRecord, last: int) -> bool:
        """Move the cursor; False at the end."""
        if not last:
            return False
        record.cursor = last
        await self._store.swap([], [note_of(record)])
        return True

    def _track(self, item: MailItem, record: ActionRecord) -> None:
        """A message goes through the queues anew (RESUBMIT, ADMIN)."""
        recipients = [str(one.forward_path) for one in item.envelope.recipients]
        event = event_for(item, EventId.RESUBMIT, Source.ADMIN, self.around.now(), recipients)
        event.source_context = f"Action={record.id};By={record.change.by};Reason={record.change.reason}"
        self._tracker.record(event)

    async def _count_formers(self, record: ActionRecord) -> int:
        """How many messages an action that was cut short has changed."""
        count, last = 0, 0
        while notes := await self._store.notes(ACTION, record.id, last):
            count, last = count + len(notes), notes[-1].part
        return count

    # --- what an action is about -----------------------------------------------------------------------------------

    async def _pages(self, target: Target) -> Callable[[int, int], Coroutine[None, None, Page]]:
        """A function that gives the entries of a target after one id and before another, a page at a time.

        Raises AdminFault for a filter that cannot be read, StoreFault.
        """
        if target.ids:
            return lambda after, before: self._named(target.ids, after)
        wanted, accepts = await self.reading(target.filter)
        if target.queue is not None:
            wanted = msgspec.structs.replace(wanted, queue=target.queue, next_hop=target.next_hop)
        return lambda after, before: self._store.page(wanted, accepts, after, before)

    async def reading(self, filter_text: str, limit: int = ACTION_BATCH) -> tuple[ItemFilter, Predicate]:
        """What the store is asked for a filter, and what is compared besides. Raises AdminFault, StoreFault."""
        wanted = ItemFilter(limit=limit)
        fits: Predicate = _anything
        if filter_text:
            expression = read_filter(filter_text, message_properties(self.around), self.around.now())
            summaries = await self._store.queues() if names_a_queue(expression) else []
            wanted, fits = narrowed(expression, summaries, limit), compiled(expression)
        if wanted.queue is QueueKind.REMOVED:
            return wanted, fits
        return wanted, lambda entry: entry.queue is not QueueKind.REMOVED and fits(entry)

    async def _named(self, ids: tuple[int, ...], after: int) -> Page:
        part = sorted(key for key in set(ids) if key > after)[:ACTION_BATCH]
        entries: list[QueuedItem] = []
        for key in part:
            entries += await self._store.list_items(ItemFilter(internal_message_id=key))
        return Page(entries, part[-1] if len(part) == ACTION_BATCH else 0)

    # --- keeping house --------------------------------------------------------------------------------------------

    @property
    def _hold_time(self) -> float:
        return self.around.queue_settings().removed_message_hold_time.total_seconds()

    async def _keep_house(self) -> None:
        while True:
            try:
                for number, when in list(self._purges.items()):
                    if when <= self.around.now() and number not in self._running:
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
                    if entry.due > self.around.now():
                        later = max(later, entry.due)
                    else:
                        swaps.append(Swap(id=entry.id, before=entry, after=None))
            if swaps:
                await self._store.swap(swaps)
            last = notes[-1].part
        record.purge_at = later
        await self._store.swap([], [note_of(record)])
        self._purges.pop(number, None)
        if later:
            self._purges[number] = later

    async def _forget_old(self) -> None:
        """Keep the latest ACTIONS_KEPT records."""
        while self._count > ACTIONS_KEPT:
            [oldest, *_] = await self._store.notes(ACTION, None, -1, 1)
            if oldest.id in self._running or oldest.id in self._purges:
                return
            while parts := await self._store.notes(ACTION, oldest.id, 0, ACTION_BATCH):
                await self._store.swap([], [Note(ACTION, oldest.id, part.part, b"") for part in parts])
            await self._store.swap([], [Note(ACTION, oldest.id, 0, b"")])
            self._count -= 1


def _suspended_by(entry: QueuedItem, change: ItemChange) -> bool:
    handling = entry.item.handling
    held = entry.status in (MessageStatus.SUSPENDED, MessageStatus.PENDING_SUSPEND)
    return change.kind is ChangeKind.SUSPEND and held and handling is not None and handling.action == change.action


def _anything(_: QueuedItem) -> bool:
    return True


def _skip(record: ActionRecord, reason: str, count: int = 1) -> None:
    record.skipped[reason] = record.skipped.get(reason, 0) + count


def _why_not(record: ActionRecord) -> str:
    if record.undo_of:
        return f"action {record.id} is an undo itself, which cannot be undone"
    when = moment(record.change.at)
    return f"action {record.id}, a {record.verb} of {when:%Y-%m-%d %H:%M}, is of a kind that cannot be undone"
