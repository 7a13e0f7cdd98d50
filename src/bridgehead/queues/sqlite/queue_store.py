# SPDX-License-Identifier: MIT
"""`SqliteQueueStore`: the durable queue in one SQLite database with write-ahead log and a sync for each commit.

This module is the event loop's side: changes go by way of `group_commit.py` to the writer, a batch at a time; long
reads go to a thread and connection of their own.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bridgehead.queues.batch import change_of, change_of_state
from bridgehead.queues.fairness import Weights
from bridgehead.queues.numbers import ALL_NUMBERS, Numbers
from bridgehead.queues.record import next_hop_key
from bridgehead.queues.sqlite import leasing, reading, swapping
from bridgehead.queues.sqlite.committer import Committer, Request
from bridgehead.queues.sqlite.content_files import FOLDER_NAME, ContentFileWriter, orphans, remove_files, sync_folder
from bridgehead.queues.sqlite.database import DATABASE_NAME, connect
from bridgehead.queues.sqlite.epoch import IDS_RESERVED, LOCK_NAME, begin_epoch, end_epoch, hold, reserve
from bridgehead.queues.sqlite.faults import store_fault
from bridgehead.queues.sqlite.group_commit import GroupCommit
from bridgehead.queues.sqlite.leasing import Taken
from bridgehead.queues.sqlite.overview import overview
from bridgehead.queues.sqlite.reserve import RESERVE_BYTES
from bridgehead.queues.sqlite.verify import verify_connection
from bridgehead.queues.sqlite.writer import Writer
from bridgehead.queues.store import (
    Done,
    ItemFilter,
    Note,
    Page,
    Place,
    Problem,
    QueuedItem,
    QueueKind,
    QueueOverview,
    QueueState,
    QueueSummary,
    StoreFault,
    Swap,
    Transaction,
)  # fmt: skip
from bridgehead.queues.swaps import settle
from bridgehead.routing.next_hop import NextHop

_FILE_THREADS: Final = 4
_READER_CACHE_KIB: Final = 4096

_T = TypeVar("_T")


class SqliteQueueStore:
    """The port `QueueStore` on SQLite.

    Args:
        directory: folder of the store; created where missing. One process at a time may have it open.
        reserve_bytes: disk space kept back for finishing what was begun (`reserve.py`).
        before_commit: called before each commit, on the event loop or the writer's thread: writes whatever must not be
            behind the queue, such as the log that says why an entry is gone. Must not raise.
        on_commit: told of each group of operations that was synced together: how many, and how many seconds it took.
        weights: of senders (`fairness.py`).
        set_aside: told on the event loop of each entry that could not be read and is in Poison now, as far as it can
            be read, with the reason in `last_error`.
        numbers: those that entries and contents get.
    """

    def __init__(
        self, directory: Path, *, reserve_bytes: int = RESERVE_BYTES,
        before_commit: Callable[[], object] = lambda: None,
        on_commit: Callable[[int, float], object] = lambda count, seconds: None,
        weights: Weights | None = None, set_aside: Callable[[QueuedItem], object] = lambda entry: None,
        numbers: Numbers = ALL_NUMBERS,
    ) -> None:  # fmt: skip
        self._numbers, self._step = numbers, numbers.step
        self._directory = directory
        self._before_commit = before_commit
        self.weights = weights or Weights({})
        self._set_aside = set_aside
        self._reserve_bytes = reserve_bytes
        self._content_folder = directory / FOLDER_NAME
        self._group = GroupCommit(on_commit)
        self._closed = True
        self._epoch = 0
        self._next_id = 0
        self._reserve_at = 0
        self._recovered = asyncio.Event()
        self._settled = asyncio.Event()

    # --- opening and closing ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Raises StoreFault: another process has it open, a newer version wrote it, the disk refuses."""
        self._loop = asyncio.get_running_loop()
        self._reading = ThreadPoolExecutor(1, "queue-reader")
        self._files = ThreadPoolExecutor(_FILE_THREADS, "queue-content")
        self._recovered.clear()
        self._settled.clear()
        try:
            crashed = await self._loop.run_in_executor(self._reading, self._open)
        except (OSError, sqlite3.Error, StoreFault) as error:
            self._reading.shutdown()
            self._files.shutdown()
            raise store_fault(error, f"opening the queue in {self._directory}") from error
        self._closed = False
        self._group.begin(self._writer)
        self._writer.start([self._recovery(crashed), self._clearing()])

    def _open(self) -> bool:
        """True when the former process did not end in order."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._content_folder.mkdir(mode=0o700, exist_ok=True)
        self._lock = hold(self._directory / LOCK_NAME)
        try:
            self._writer = Writer(
                self._directory, self._group.completed, self._reserve_bytes, self._before_commit, self.weights
            )
            try:
                epoch = begin_epoch(self._writer.committer.connection, self._numbers)
                self._epoch, self._next_id, self._first_id = epoch.number, epoch.first_id, epoch.first_id
                self._reserve_at = epoch.reserve_at
                self._reader = connect(self._directory / DATABASE_NAME, read_only=True, cache_kib=_READER_CACHE_KIB)
            except BaseException:
                self._writer.committer.close()
                raise
            sync_folder(self._directory)
            sync_folder(self._directory.absolute().parent)
        except BaseException:
            os.close(self._lock)
            raise
        return epoch.crashed

    async def settled(self) -> None:
        """Wait until what `open` began in the background has ended: entries given back, stray files removed."""
        await self._settled.wait()

    async def close(self) -> None:
        """Finish what is under way, then release everything. Content writers must be finished or discarded before."""
        if self._closed:
            return
        self._closed = True
        await self._group.idle()
        self._writer.rest()
        await self._loop.run_in_executor(self._reading, self._close)
        self._reading.shutdown(wait=True)
        self._files.shutdown(wait=True)

    def _close(self) -> None:
        self._reader.close()
        self._writer.stop(partial(end_epoch, self._next_id))
        os.close(self._lock)

    @property
    def trouble(self) -> str:
        """Why changes cannot be stored at present, "" while they can: from a fault until new content is stored."""
        return self._group.trouble

    # --- work for the writer's thread in the background ---------------------------------------------------------

    def _recovery(self, crashed: bool) -> Callable[[Committer], bool]:
        """What former processes held becomes READY again, a slice at a time."""
        last = 0

        def recover(committer: Committer) -> bool:
            nonlocal last
            turns = committer.writing.turns
            seen = leasing.recover_slice(committer.connection, last, self._first_id, self._epoch, crashed, turns)
            if seen is None:
                self._writer.on_loop(self._recovered.set)
                return False
            last = seen
            return True

        return recover

    def _clearing(self) -> Callable[[Committer], bool]:
        """Content files that a crash left without an entry go, a few at a time."""

        def named(committer: Committer, names: list[str]) -> set[str]:
            marks = ",".join("?" * len(names))
            rows = committer.connection.execute(f"SELECT name FROM content_file WHERE name IN ({marks})", names)  # noqa: S608
            return {row[0] for row in rows}

        def clear(committer: Committer) -> bool:
            remove_files(committer.folder, orphans(committer.folder, self._first_id, partial(named, committer)))
            self._writer.on_loop(self._settled.set)
            return False

        return clear

    # --- the way to the threads ------------------------------------------------------------------------------------

    def _refuse(self, done: Done | None, fault: StoreFault) -> None:
        if done is not None:
            self._loop.call_soon(done, fault)

    async def _in_turn(
        self, run: Callable[[Committer], _T], on_abandoned: Callable[[_T], None] | None = None, *,
        brings_content: bool = False,
    ) -> _T:  # fmt: skip
        """See `GroupCommit.in_turn`."""
        if self._closed:
            raise StoreFault("the queue store is closed")
        return await self._group.in_turn(run, on_abandoned, brings_content=brings_content)

    async def _read(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._closed:
            raise StoreFault("the queue store is closed")
        try:
            return await self._loop.run_in_executor(self._reading, read, self._reader)
        except sqlite3.Error as error:
            raise store_fault(error, "reading the queue database") from error

    # --- the port --------------------------------------------------------------------------------------------------

    def allocate_id(self) -> int:
        """A number larger than all before, also across restarts."""
        number = self._next_id
        self._next_id = number + self._step
        if number >= self._reserve_at:
            self._reserve_at = number + IDS_RESERVED // 2
            self._group.append(Request(partial(reserve, number + IDS_RESERVED), lambda result, fault: None))
        return number

    def commit(self, transaction: Transaction, done: Done | None = None, *, urgent: bool = True) -> None:
        """Enqueue a transaction; `done` is called on the event loop, never from within this call."""
        if self._closed:
            self._refuse(done, StoreFault("the queue store is closed"))
            return
        try:
            change = change_of(transaction, self._epoch, done)
        except Exception as error:
            self._refuse(done, StoreFault(f"an entry cannot be stored: {error}"))
            return
        self._group.append(change, urgent=urgent)

    async def committed(self, transaction: Transaction) -> None:
        """Raises StoreFault."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(fault: StoreFault | None) -> None:
            if future.cancelled():
                return
            if fault is None:
                future.set_result(None)
            else:
                future.set_exception(fault)

        self.commit(transaction, done)
        await future

    def set_queue_state(self, state: QueueState, done: Done | None = None) -> None:
        """Keep a queue's state; one that is as if new is forgotten."""
        if self._closed:
            self._refuse(done, StoreFault("the queue store is closed"))
        else:
            self._group.append(change_of_state(state, done))

    async def lease(
        self, queue: QueueKind, next_hop: NextHop | None, now: float, limit: int, max_bytes: int
    ) -> list[QueuedItem]:
        """See the port. Waits for what a former process held to be given back before it says that nothing is due."""

        def run(committer: Committer) -> Taken:
            shares = committer.writing.turns.shares(int(queue), next_hop_key(next_hop))
            rows = reading.due_rows(committer.connection, queue, next_hop, now, limit, shares)
            return self._take(committer, leasing.within(rows, max_bytes), in_turn=True)

        taken = self._handed(await self._in_turn(run, self._give_back))
        if not taken and not self._recovered.is_set():
            await self._recovered.wait()
            taken = self._handed(await self._in_turn(run, self._give_back))
        return taken

    async def count_waiting(self, queue: QueueKind, limit: int) -> int:
        """From the two indexes of what waits."""
        return await self._read(lambda connection: reading.count_waiting(connection, queue, limit))

    async def ready_behind(
        self, queue: QueueKind, next_hop: NextHop | None, place: Place, limit: int
    ) -> list[tuple[Place, QueuedItem]]:
        """From the index of what is READY."""
        return await self._read(lambda connection: reading.ready_behind(connection, queue, next_hop, place, limit))

    async def bring_forward(self, later_than: float, seconds: float) -> int:
        """See the port."""
        keys = await self._in_turn(lambda committer: leasing.due_after(committer.connection, later_than))
        for first in range(0, len(keys), leasing.SLICE):
            part = keys[first : first + leasing.SLICE]
            await self._in_turn(partial(_bring_forward, part, later_than, seconds))
        return len(keys)

    async def past_deadline(self, now: float, limit: int) -> list[QueuedItem]:
        """See the port. A deadline of 0 means that nothing is owed."""

        def run(committer: Committer) -> Taken:
            return self._take(committer, reading.rows_past_deadline(committer.connection, now, limit), in_turn=False)

        return self._handed(await self._in_turn(run, self._give_back))

    def _take(self, committer: Committer, rows: list[tuple[object, ...]], *, in_turn: bool) -> Taken:
        committer.writing.remember(rows, in_turn=in_turn)
        return leasing.take(committer.connection, self._content_folder, rows, self._epoch, committer.damaged)

    def _handed(self, taken: Taken) -> list[QueuedItem]:
        """What can be read of a lease that is committed; the others are reported."""
        for entry in taken.aside:
            self._set_aside(entry)
        return taken.entries

    def _give_back(self, taken: Taken) -> None:
        keys = [entry.id for entry in self._handed(taken)]

        def run(committer: Committer) -> None:
            leasing.give_back(committer.connection, keys, self._epoch)

        if keys:
            self._group.append(Request(run, lambda result, fault: None))

    async def next_due(self, queue: QueueKind, next_hop: NextHop | None) -> float | None:
        """0.0 for at once, None when there is none to wait for."""
        due = await self._in_turn(lambda committer: reading.next_due(committer.connection, queue, next_hop))
        if due is None and not self._recovered.is_set():
            await self._recovered.wait()
            due = await self._in_turn(lambda committer: reading.next_due(committer.connection, queue, next_hop))
        return due

    async def get(self, internal_message_id: int) -> QueuedItem | None:
        """Raises StoreUnreadable where record or content are damaged."""
        return await self._read(partial(_one_entry, self._content_folder, internal_message_id))

    async def list_items(self, wanted: ItemFilter) -> list[QueuedItem]:
        """Entries without content, by age."""
        return await self._read(lambda connection: reading.listing(connection, wanted))

    async def page(self, wanted: ItemFilter, accepts: Callable[[QueuedItem], bool], after: int, before: int) -> Page:
        """A step of a listing that stays out of memory, however deep the queues are."""
        return await self._read(lambda connection: swapping.read_page(connection, wanted, accepts, after, before))

    async def swap(self, swaps: Sequence[Swap], notes: Sequence[Note] = (), put: Sequence[QueuedItem] = ()) -> set[int]:
        """See the port. Enqueued before this first waits, so it follows whatever the caller committed before."""

        def run(committer: Committer) -> set[int]:
            try:
                swapped = settle(swaps, notes, put, partial(swapping.rows_of, committer.connection), self._epoch)
            except (msgspec.MsgspecError, UnicodeError, TypeError) as error:
                raise StoreFault(f"an entry cannot be stored: {error}") from error
            committer.apply_within(swapped.change)
            swapping.write_notes(committer.connection, swapped.notes)
            return swapped.refused

        return await self._in_turn(run, brings_content=bool(put))

    async def notes(self, kind: int, id: int | None = None, after: int = -1, limit: int = 1000) -> list[Note]:
        """What administrators did and ordered."""
        return await self._read(lambda connection: swapping.read_notes(connection, kind, id, after, limit))

    async def queue_states(self) -> list[QueueState]:
        """Read from their own table alone."""
        return await self._read(reading.queue_states)

    async def queues(self) -> list[QueueSummary]:
        """Every queue that holds an entry or a state other than ACTIVE."""
        return await self._read(reading.summaries)

    async def overview(self, limit: int) -> QueueOverview:
        """See the port."""
        return await self._read(lambda connection: overview(connection, limit))

    async def verify(self) -> list[Problem]:
        """Check the whole store; commits go on meanwhile."""
        if self._closed:
            raise StoreFault("the queue store is closed")
        try:
            return await self._loop.run_in_executor(self._files, self._verify)
        except sqlite3.Error as error:
            raise store_fault(error, "reading the queue database") from error

    def _verify(self) -> list[Problem]:
        """On a connection of its own: it takes seconds for each 100,000 entries, and listings should not wait."""
        connection = connect(self._directory / DATABASE_NAME, read_only=True, cache_kib=_READER_CACHE_KIB)
        try:
            return verify_connection(connection, self._content_folder, self._first_id)
        finally:
            connection.close()

    def new_content_file(self) -> ContentFileWriter:
        """Where large content is written as it arrives."""
        return ContentFileWriter(self._content_folder, self.allocate_id(), self._files)


def _one_entry(folder: Path, key: int, connection: sqlite3.Connection) -> QueuedItem | None:
    return reading.one_entry(connection, folder, key)


def _bring_forward(keys: list[int], later_than: float, seconds: float, committer: Committer) -> None:
    leasing.bring_forward(committer.connection, keys, later_than, seconds)
