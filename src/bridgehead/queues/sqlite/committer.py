# SPDX-License-Identifier: MIT
"""Owns the connection that writes: commits batches, and does with care what could not be done at once - without the
one transaction that is at fault, on the disk space kept back, on a new connection.

Used by one thread at a time; `writer.py` says by which.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bridgehead.queues.batch import Change
from bridgehead.queues.fairness import Weights
from bridgehead.queues.sqlite.checkpoint import Checkpointer
from bridgehead.queues.sqlite.content_files import FOLDER_NAME, remove_files
from bridgehead.queues.sqlite.database import DATABASE_NAME, connect_writer, roll_back
from bridgehead.queues.sqlite.faults import ContentDamaged, is_about_one_transaction, needs_new_connection, store_fault
from bridgehead.queues.sqlite.reading import contents_of
from bridgehead.queues.sqlite.reserve import Reserve
from bridgehead.queues.sqlite.writing import Writing
from bridgehead.queues.store import StoreFault, StoreFull

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
        self, run: Callable[["Committer"], object], finish: Callable[[object, StoreFault | None], None], *,
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
        error: why it does not stand there; `finish` then does it over.
    """

    __slots__ = ("batch", "error", "unused_files")

    def __init__(self, batch: Sequence[Operation], unused_files: list[str], error: Exception | None) -> None:
        self.batch = batch
        self.unused_files = unused_files
        self.error = error


class Committer:
    """The writing connection with all that knows what stands in it.

    Attributes:
        folder: where large content lies.
        connection, writing: the connection at present, and its view of what is stored.
        damaged: contents that cannot be read because of damage to the database, and why.
        connections: how many connections there have been.
    """

    def __init__(
        self, directory: Path, reserve_bytes: int, before_commit: Callable[[], object], weights: Weights
    ) -> None:  # fmt: skip
        self._path = directory / DATABASE_NAME
        self.folder = directory / FOLDER_NAME
        self.connection = connect_writer(self._path)
        self._syncs = True
        self.connections = 1
        self._weights = weights
        self.writing = Writing(self.connection, weights)
        self._before_commit = before_commit
        self.checkpointer = Checkpointer(self._path)
        self._reserve = Reserve(directory, reserve_bytes)
        self._broken = False
        self._given_up: StoreFault | None = None
        self._unused_within: list[str] = []
        """Content files that requests of the batch under way made superfluous."""
        self.damaged: dict[int, str] = {}

    def close(self) -> None:
        """Close the connection; never raises."""
        try:
            self.connection.close()
        except sqlite3.Error:
            pass  # the log stays and is read at the next start

    def give_up(self, fault: StoreFault) -> None:
        """Refuse everything from now on: what is visible in the database may not be what the disk holds."""
        self._given_up = fault

    # --- a batch in two steps --------------------------------------------------------------------------------------

    @property
    def is_sound(self) -> bool:
        """Nothing stands in the way of an ordinary batch."""
        return not self._broken and self._given_up is None and self._reserve.is_there

    def prepare(self, batch: Sequence[Change], *, synced: bool) -> Prepared:
        """Write a batch into a transaction that `commit` is to end, with a sync or without."""
        try:
            self._begin(synced=synced)
            return Prepared(batch, self._apply(batch), None)
        except Exception as error:
            return Prepared(batch, [], error)

    def commit(self) -> None:
        """End the transaction. Raises sqlite3.Error."""
        self._before_commit()
        self.connection.commit()  # lets go of the interpreter's lock once; executing "COMMIT" does at each of its steps

    def finish(self, prepared: Prepared) -> list[StoreFault | None]:
        """Commit what `prepare` wrote; where anything failed, undo it and do the batch over with all care."""
        try:
            if prepared.error is not None:
                raise prepared.error
            self.commit()
        except Exception as error:
            self.recover_from(error)
            return self.execute(prepared.batch)
        self.remove_unused(prepared)
        return [None] * len(prepared.batch)

    def remove_unused(self, prepared: Prepared) -> None:
        """After the commit."""
        if prepared.unused_files:
            remove_files(self.folder, prepared.unused_files)

    # --- a batch with all care -------------------------------------------------------------------------------------

    def transact(self, work: Callable[[], bool]) -> bool:
        """Do `work` within a transaction of its own."""
        self._begin(synced=True)
        result = work()
        self.connection.commit()
        return result

    def execute(self, batch: Sequence[Operation]) -> list[StoreFault | None]:
        """Commit a batch; for each operation None or why it was not done."""
        if not self._has_room():
            return self._without_growth(batch, self._full())
        try:
            self._commit(batch)
        except Exception as error:
            fault = self.recover_from(error)
            if isinstance(error, ContentDamaged) and len(batch) == 1 and self._learn_damage(error):
                return self.execute(batch)
            if len(batch) > 1 and is_about_one_transaction(error):
                return [self.execute([operation])[0] for operation in batch]
            if isinstance(fault, StoreFull):
                return self._without_growth(batch, self._full())
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

    def _full(self) -> StoreFault:
        return StoreFull(f"the disk of the queue is full ({self._reserve.shortage()})")

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
            self.checkpointer.now(self.connection)
            self._commit(rest)
        except Exception as error:
            outcome = [self.recover_from(error)] * len(rest)
        by_operation = dict(zip(map(id, rest), outcome, strict=True))
        return [by_operation.get(id(one), fault) for one in batch]

    def _commit(self, batch: Sequence[Operation]) -> None:
        self._begin(synced=True)
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
        self.commit()
        if unused_files:
            remove_files(self.folder, unused_files)

    def apply_within(self, change: Change) -> None:
        """For requests: write a change in the transaction that is open for them. Raises StoreFault, sqlite3.Error."""
        self._unused_within += self._apply([change])

    def _apply(self, changes: Sequence[Change]) -> list[str]:
        if not changes:
            return []
        self.checkpointer.count(changes)
        return self.writing.apply(changes)

    def recover_from(self, error: Exception) -> StoreFault:
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

    def _begin(self, *, synced: bool) -> None:
        """Begin a transaction whose commit will wait for the disk, or leave the sync to the caller."""
        if self._given_up is not None:
            raise self._given_up
        self._reopen_if_broken()
        if synced is not self._syncs:
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            self._syncs = synced
        self.connection.execute("BEGIN IMMEDIATE")

    def _reopen_if_broken(self) -> None:
        """After an I/O error SQLite's view of its files may be wrong, so it starts afresh."""
        if not self._broken:
            return
        connection = connect_writer(self._path)
        self.close()
        self.connection, self.writing = connection, Writing(connection, self._weights)
        self._syncs = True
        self.connections += 1
        self._broken = False
