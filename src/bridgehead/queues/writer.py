# SPDX-License-Identifier: MIT
"""The one thread that writes: takes a batch, commits it with one sync, reports once, and goes on with the next.

While it waits for the disk the event loop collects the next batch. Between batches it does the house's slow work in
small slices: giving back what a former process held, and moving the write-ahead log into the database.

Every statement that this thread runs beside a busy event loop costs two changes of the interpreter's lock, far more
than the statement. So an ordinary small batch is written into the open transaction by the event loop itself
(`prepare`), while this thread rests, and only the commit with its sync is left to the thread: by `commit()`, which lets
go of the lock once, where executing "COMMIT" does so at each of its steps. Loop and thread never use the connection at
the same time: the loop only between a report and the next `submit`.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bridgehead.queues.batch import Change
from bridgehead.queues.checkpoint import Checkpointer
from bridgehead.queues.content_files import FOLDER_NAME, remove_files
from bridgehead.queues.database import DATABASE_NAME, connect_writer, roll_back
from bridgehead.queues.fairness import Weights
from bridgehead.queues.faults import ContentDamaged, is_about_one_transaction, needs_new_connection, store_fault
from bridgehead.queues.reading import contents_of
from bridgehead.queues.reserve import Reserve
from bridgehead.queues.store import StoreFault, StoreFull
from bridgehead.queues.writing import Writing

_PREPARED_BYTES: Final = 192 * 1024
"""Content up to which the event loop writes a batch itself: what it takes no longer than a few messages to do."""
_DOING: Final = "writing to the queue database"


class Request:
    """Something else than a transaction that the writer does in its turn, such as a lease.

    Attributes:
        run: what; called within the batch's transaction.
        finish: called on the event loop with the result and the fault, of which one is None.
        brings_content: it may need more room on the disk than it sets free.
    """

    __slots__ = ("brings_content", "finish", "result", "run")

    def __init__(
        self, run: Callable[["Writer"], object], finish: Callable[[object, StoreFault | None], None], *,
        brings_content: bool = False,
    ) -> None:  # fmt: skip
        self.brings_content = brings_content
        self.run = run
        self.finish = finish
        self.result: object = None


Operation = Change | Request


class Prepared:
    """A batch of changes that stands in the open transaction, or failed to.

    Attributes:
        unused_files: content files to delete after the commit.
        error: why it does not stand there; it is then done over by the thread.
    """

    __slots__ = ("batch", "error", "unused_files")

    def __init__(self, batch: Sequence[Operation], unused_files: list[str], error: Exception | None) -> None:
        self.batch = batch
        self.unused_files = unused_files
        self.error = error


Report = Callable[[Sequence[Operation], list[StoreFault | None]], None]
Chore = Callable[["Writer"], bool]
"""A slice of slow work, within a transaction of its own; False when nothing is left."""


class Writer:
    """Owns the writing connection. `submit` and `stop` are for the event loop, the rest is the thread's."""

    def __init__(
        self, directory: Path, report: Report, reserve_bytes: int, before_commit: Callable[[], object],
        weights: Weights,
    ) -> None:  # fmt: skip
        self._path = directory / DATABASE_NAME
        self.folder = directory / FOLDER_NAME
        self.connection = connect_writer(self._path)
        self._weights = weights
        self.writing = Writing(self.connection, weights)
        self._report = report
        self._before_commit = before_commit
        self._inbox: queue.SimpleQueue[Sequence[Operation] | Prepared | None] = queue.SimpleQueue()
        self._chores: list[Chore] = []
        self._checkpointer = Checkpointer(self._path)
        self._reserve = Reserve(directory, reserve_bytes)
        self._broken = False
        self._unused_within: list[str] = []
        """Content files that requests of the batch under way made superfluous."""
        self.damaged: dict[int, str] = {}
        """Contents that cannot be read because of damage to the database, and why."""
        self._thread = threading.Thread(target=self._work, name="queue-writer", daemon=True)

    def start(self, chores: Sequence[Chore]) -> None:
        """Begin; `chores` are done in order, a slice whenever a batch is finished or nothing else is to do."""
        self._chores = list(chores)
        self._checkpointer.start()
        self._thread.start()

    def submit(self, batch: Sequence[Operation]) -> None:
        """Hand over a batch, while none is under way; `report` tells of its end from this thread."""
        self._inbox.put(self._prepare(batch) or batch)

    def _prepare(self, batch: Sequence[Operation]) -> Prepared | None:
        """Write a batch into a transaction that the thread will commit; None where the thread is to do it all:
        anything but a small batch of changes on a sound disk."""
        if self._chores or self._broken or not self._reserve.is_there:
            return None
        size = 0
        for operation in batch:
            if not isinstance(operation, Change):
                return None
            for content in operation.contents.values():
                size += content.size
        if size > _PREPARED_BYTES:
            return None
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            return Prepared(batch, self._apply(batch), None)  # type: ignore[arg-type]
        except Exception as error:
            return Prepared(batch, [], error)

    def stop(self, last: Chore) -> None:
        """Finish what was handed over, do `last`, then end. Blocks."""
        self._inbox.put(None)
        self._thread.join()
        self._checkpointer.stop()
        try:
            self.transact(lambda: last(self))
        except (sqlite3.Error, StoreFault):
            roll_back(self.connection)  # the next start will take it for a crash, which is safe
        try:
            self.connection.close()
        except sqlite3.Error:
            pass  # the log stays and is read at the next start

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            if isinstance(batch, Prepared):
                faults = self._finish(batch)
                self._checkpointer.after_commit(self.connection)
                self._report(batch.batch, faults)
            elif batch:
                faults = self._execute(batch)
                self._checkpointer.after_commit(self.connection)
                self._report(batch, faults)
            if self._chores:
                self._do_chore()

    def _finish(self, prepared: Prepared) -> list[StoreFault | None]:
        """Commit what the event loop wrote; where anything failed, undo it and do the batch over with all care."""
        error = prepared.error
        if error is None:
            try:
                self._before_commit()
                self.connection.commit()
            except Exception as failure:
                error = failure
        if error is None:
            if prepared.unused_files:
                remove_files(self.folder, prepared.unused_files)
            return [None] * len(prepared.batch)
        self._recover_from(error)
        return self._execute(prepared.batch)

    def _next_batch(self) -> Sequence[Operation] | Prepared | None:
        try:
            return self._inbox.get(block=not self._chores)
        except queue.Empty:
            return ()

    def _do_chore(self) -> None:
        try:
            more = self.transact(lambda: self._chores[0](self))
        except Exception as error:  # a chore is tried again at the next start; the queue itself goes on
            self._recover_from(error)
            more = False
        if not more:
            self._chores.pop(0)

    def transact(self, work: Callable[[], bool]) -> bool:
        """Do `work` within a transaction of its own."""
        self._reopen_if_broken()
        self.connection.execute("BEGIN IMMEDIATE")
        result = work()
        self.connection.commit()
        return result

    def _execute(self, batch: Sequence[Operation]) -> list[StoreFault | None]:
        """Commit a batch; for each operation None or why it was not done."""
        if not self._has_room():
            return self._without_growth(batch, StoreFull("the disk of the queue is full"))
        try:
            self._commit(batch)
        except Exception as error:
            fault = self._recover_from(error)
            if isinstance(error, ContentDamaged) and len(batch) == 1 and self._learn_damage(error):
                return self._execute(batch)
            if len(batch) > 1 and is_about_one_transaction(error):
                return [self._execute([operation])[0] for operation in batch]
            if isinstance(fault, StoreFull):
                return self._without_growth(batch, fault)
            return [fault] * len(batch)
        return [None] * len(batch)

    def _has_room(self) -> bool:
        """The reserve stands, or the database has pages enough that once were used and are free now."""
        if self._reserve.refill():
            return True
        try:
            free, size = self.connection.execute(
                "SELECT freelist_count, page_size FROM pragma_freelist_count, pragma_page_size"
            ).fetchone()
        except sqlite3.Error:
            return False
        return bool(free * size >= self._reserve.size // 2)

    def _learn_damage(self, error: ContentDamaged) -> bool:
        """Find out which contents lie in damaged pages; outside of a transaction, which such a read would spoil."""
        known = len(self.damaged)
        for content in error.contents:
            try:
                contents_of(self.connection, self.folder, [content])
            except sqlite3.DatabaseError as damage:
                self.damaged[content] = f"content {content} lies in a damaged part of the database: {damage}"
        return len(self.damaged) > known

    def _without_growth(self, batch: Sequence[Operation], fault: StoreFault) -> list[StoreFault | None]:
        """The disk is full: do what brings no content with the space kept back for it, so that deliveries go on."""
        rest = [one for one in batch if not one.brings_content]
        if not rest:
            return [fault] * len(batch)
        outcome: list[StoreFault | None] = [None] * len(rest)
        self._reserve.release()
        try:
            self._checkpointer.now(self.connection)
            self._commit(rest)
        except Exception as error:
            outcome = [self._recover_from(error)] * len(rest)
        by_operation = dict(zip(map(id, rest), outcome, strict=True))
        return [by_operation.get(id(one), fault) for one in batch]

    def _commit(self, batch: Sequence[Operation]) -> None:
        self._reopen_if_broken()
        self.connection.execute("BEGIN IMMEDIATE")
        unused_files: list[str] = []
        changes: list[Change] = []
        for operation in batch:
            if isinstance(operation, Change):
                changes.append(operation)
                continue
            unused_files += self._apply(changes)
            changes = []
            operation.result = operation.run(self)
        unused_files += self._apply(changes)
        unused_files += self._unused_within
        self._unused_within = []
        self._before_commit()
        self.connection.commit()
        if unused_files:
            remove_files(self.folder, unused_files)

    def apply_within(self, change: Change) -> None:
        """For requests: write a change in the transaction that is open for them. Raises StoreFault, sqlite3.Error."""
        self._unused_within += self._apply([change])

    def _apply(self, changes: Sequence[Change]) -> list[str]:
        if not changes:
            return []
        self._checkpointer.count(changes)
        return self.writing.apply(changes)

    def _recover_from(self, error: Exception) -> StoreFault:
        """Undo what was begun; the fault to report."""
        roll_back(self.connection)
        self._unused_within = []
        if needs_new_connection(error) or self.connection.in_transaction:
            self._broken = True
        else:
            try:
                self.writing.forget()
            except sqlite3.Error:
                self._broken = True
        return store_fault(error, _DOING)

    def _reopen_if_broken(self) -> None:
        """After an I/O error SQLite's view of its files may be wrong, so it starts afresh."""
        if not self._broken:
            return
        connection = connect_writer(self._path)
        try:
            self.connection.close()
        except sqlite3.Error:
            pass
        self.connection, self.writing = connection, Writing(connection, self._weights)
        self._broken = False
