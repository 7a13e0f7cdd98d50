# SPDX-License-Identifier: MIT
"""Carries out actions on queued messages, in batches, in the background, and undoes them.

Each batch is a page of the store's listing and one transaction for its changes with the former states; after it the
record's cursor moves. Other mail goes on in between. A stop or a crash leaves a record that is Running: the next start
goes on from its cursor, and what was changed already is found changed. Memory holds one batch. Which messages a target
means is `selection.py`; the records are kept by `action_archive.py`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.queue.action_archive import ActionArchive
from bridgehead.admin.queue.action_record import (
    ACTION,
    COMPLETED,
    RUNNING,
    ActionRecord,
    Target,
    former_note,
    former_of,
)
from bridgehead.admin.queue.message_properties import Vantage
from bridgehead.admin.queue.queue_names import queue_identity
from bridgehead.admin.queue.selection import EVERYTHING, Selection
from bridgehead.admin.times import moment
from bridgehead.delivery.actions import Applied, Decide, MessageActions, NoteFor
from bridgehead.mail.item import Handling, MailItem, Source
from bridgehead.mail.limits import ACTION_BATCH
from bridgehead.queues.changes import ChangeKind, ItemChange, Unchanged, changed, former, restored
from bridgehead.queues.numbers import ALL_NUMBERS, Numbers
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    QueuedItem,
    QueueStore,
    StoreFault,
)
from bridgehead.routing.next_hop import NextHop
from bridgehead.tracking.events import EventId, change_context, event_for
from bridgehead.tracking.ports import Tracker

log = logging.getLogger("bridgehead.admin")

FAULT_PAUSE: Final = 5.0
"""Seconds until an action goes on after the store failed."""
QUEUES_NAMED: Final = 100
_TOLD_KINDS: Final = (ChangeKind.RESUBMIT, ChangeKind.REDIRECT, ChangeKind.RESUME, ChangeKind.SUSPEND)
"""Changes that the message tracking log tells of; a suspension when it ends."""
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
        numbers: those that records get.

    Attributes:
        selection: which messages are meant.
        archive: the records of actions.
    """

    def __init__(
        self, store: QueueStore, actions: MessageActions, tracker: Tracker, surroundings: Surroundings,
        numbers: Numbers = ALL_NUMBERS,
    ) -> None:  # fmt: skip
        self._store, self.changes, self._tracker, self.around = store, actions, tracker, surroundings
        self.selection = Selection(store, surroundings)
        self.archive = ActionArchive(store, surroundings.now, numbers)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self.held_by_another: Callable[[QueuedItem], Handling | None] = lambda entry: None
        """What standing rules in force order for a message that one that ended has held."""
        self._housekeeper: asyncio.Task[None] | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Go on with what a former process left unfinished. Raises StoreFault, AdminFault."""
        for record in await self.archive.load():
            if not record.undo_of:
                record.done = await self.archive.count_formers(record)
            self._launch(record)
        self._housekeeper = asyncio.get_running_loop().create_task(self.archive.keep_house(), name="actions")

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
        pages = await self.selection.pages(target)
        while True:
            page = await pages(cursor, EVERYTHING)
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

    async def begin(self, target: Target, change: ItemChange, number: int = 0) -> ActionRecord:
        """Record an action and start it; under a number that several workers share, where there is one. Raises
        StoreFault."""
        number = self.archive.number(number)
        change = msgspec.structs.replace(change, action=number, at=self.around.now())
        record = ActionRecord(id=number, change=change, target=target, boundary=self._store.allocate_id())
        if change.kind is ChangeKind.REMOVE:
            record.purge_at = change.at + self.around.queue_settings().removed_message_hold_time.total_seconds()
        await self.archive.add(record)
        self._launch(record)
        return record

    async def note_queues(
        self, change: ItemChange, chosen: str, counts: dict[str, int], undo_of: int = 0
    ) -> ActionRecord:  # fmt: skip
        """Record what was done to queues as a whole; `counts` says how many messages are in each. Raises StoreFault."""
        number = self.archive.number()
        now = self.around.now()
        record = ActionRecord(
            id=number, change=msgspec.structs.replace(change, action=number, at=now), target=Target(queues=chosen),
            boundary=0, state=COMPLETED, ended=now, done=sum(counts.values()), queues=counts, undo_of=undo_of,
        )  # fmt: skip
        original = await self.archive.record(undo_of) if undo_of else None
        if original is not None:
            original.undone_by = number
        await self.archive.add(record, original)
        return record

    async def undo(self, number: int, by: str, reason: str, undoing: int = 0) -> ActionRecord:
        """Begin to restore what an action changed and what has not left since; under a number that several workers
        share, where there is one. Raises AdminFault, StoreFault."""
        record = await self.archive.record(number)
        check_undoable(record)
        undoing = self.archive.number(undoing)
        change = msgspec.structs.replace(record.change, by=by, reason=reason, at=self.around.now())
        follower = ActionRecord(
            id=undoing, change=change, target=record.target, boundary=record.boundary, undo_of=record.id
        )
        record.undone_by = undoing
        await self.archive.add(follower, record)
        self._launch(follower)
        return follower

    async def ended(self, number: int, seconds: float) -> ActionRecord:
        """The action as it stands once it has ended, or after that time. Raises AdminFault, StoreFault."""
        task = self._tasks.get(number)
        if task is not None:
            await asyncio.wait([task], timeout=seconds)
        return await self.archive.record(number)

    @property
    def running(self) -> int:
        """Actions under way."""
        return len(self.archive.running)

    # --- carrying out ----------------------------------------------------------------------------------------------

    def _launch(self, record: ActionRecord) -> None:
        work = self._undo if record.undo_of else self._carry_out
        self.archive.running[record.id] = record
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
                    record.done = await self.archive.count_formers(record)
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
            await self.archive.save(record)
        except StoreFault as fault:
            log.error(
                "the end of action %d could not be stored, the next start repeats its last step: %s", record.id, fault
            )
        self.archive.running.pop(record.id, None)
        log.info(
            "action %d, %s by %s (%s): %d messages changed, %d left alone", record.id, record.verb, record.change.by,
            record.change.reason, record.done, sum(record.skipped.values()),
        )  # fmt: skip

    async def _carry_out(self, record: ActionRecord) -> None:
        pages = await self.selection.pages(record.target)
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
        original = await self.archive.record(record.undo_of)
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
                        self._track(entry.item, record, self.around.now())
            if not await self._moved(record, notes[-1].part if len(notes) == ACTION_BATCH else 0):
                return

    async def _batch(
        self, record: ActionRecord, entries: list[QueuedItem], decide: Decide, note_for: NoteFor, kind: ChangeKind
    ) -> set[int]:  # fmt: skip
        """Change a batch and add it up; the ids that were changed."""
        when = self.around.now()  # what is let go may have left before the change is told of
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
        for entry in entries if record.change.kind in _TOLD_KINDS else ():
            if entry.id in done:
                self._tell(entry, record, when)
        return done

    async def _moved(self, record: ActionRecord, last: int) -> bool:
        """Move the cursor; False at the end."""
        if not last:
            return False
        record.cursor = last
        await self.archive.save(record)
        return True

    def _tell(self, entry: QueuedItem, record: ActionRecord, when: float) -> None:
        """Log what an action means for the way of a message, or the time that it took: sent another way, let go."""
        change, handling = record.change, entry.item.handling
        facts = {}
        if change.kind is ChangeKind.RESUBMIT:
            self._track(entry.item, record, when)
            return
        if change.kind is ChangeKind.REDIRECT:
            to = change.next_hop if not record.undo_of else None
            facts["Redirected"] = "back" if to is None else str(to).rstrip("/")
        elif entry.status is MessageStatus.SUSPENDED and handling is not None:
            facts["HeldBy"] = handling.by
            facts["Since"] = f"{datetime.fromtimestamp(handling.at, UTC):%Y-%m-%dT%H:%M:%SZ}"
        else:
            return
        recipients = [str(one.forward_path) for one in entry.item.envelope.recipients if not one.state]
        event = event_for(entry.item, EventId.AGENTINFO, Source.ADMIN, when, recipients)
        event.source_context = change_context(record.id, change.by, change.reason, **facts)
        self._tracker.record(event)

    def _track(self, item: MailItem, record: ActionRecord, when: float) -> None:
        """A message goes through the queues anew (RESUBMIT, ADMIN)."""
        recipients = item.envelope.recipient_addresses()
        event = event_for(item, EventId.RESUBMIT, Source.ADMIN, when, recipients)
        event.source_context = change_context(record.id, record.change.by, record.change.reason)
        self._tracker.record(event)


def check_undoable(record: ActionRecord) -> None:
    """Raises AdminFault for what cannot be undone, or not any more."""
    if record.state == RUNNING:
        raise AdminFault(INVALID, f"action {record.id} is not finished yet", f"bridgehead action show {record.id}")
    if record.undone_by:
        raise AdminFault(INVALID, f"action {record.id} was undone already, by action {record.undone_by}")
    if not record.can_be_undone:
        raise AdminFault(INVALID, _why_not(record), "what has been sent cannot be called back")


def _suspended_by(entry: QueuedItem, change: ItemChange) -> bool:
    handling = entry.item.handling
    held = entry.status in (MessageStatus.SUSPENDED, MessageStatus.PENDING_SUSPEND)
    return change.kind is ChangeKind.SUSPEND and held and handling is not None and handling.action == change.action


def _skip(record: ActionRecord, reason: str, count: int = 1) -> None:
    record.skipped[reason] = record.skipped.get(reason, 0) + count


def _why_not(record: ActionRecord) -> str:
    if record.undo_of:
        return f"action {record.id} is an undo itself, which cannot be undone"
    when = moment(record.change.at)
    return f"action {record.id}, a {record.verb} of {when:%Y-%m-%d %H:%M}, is of a kind that cannot be undone"
