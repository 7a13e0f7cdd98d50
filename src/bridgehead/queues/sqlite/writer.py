# SPDX-License-Identifier: MIT
"""Takes a batch, commits it with one sync, reports once, and goes on with the next.

While the disk works the event loop collects the next batch. There are two ways for a batch:

The plain way is the writer's thread: it does everything, and its commit returns when the disk has it. This is the way
for whatever is not an ordinary small batch of changes on a sound and quick disk. Between batches the thread does the
house's slow work in small slices: giving back what a former process held, moving the write-ahead log into the database.

The short way is for the rest, which is nearly everything, as each statement that a thread runs beside a busy event loop
costs two changes of the interpreter's lock, far more than the statement. The event loop writes the batch and commits it
unsynced, which takes no longer than a few messages do, has the kernel sync the log (`disk_sync.py`), and reports when
that is done. If the sync fails the commit is taken back (`log_end.py`), and the thread does the batch over with all
care. For this to be possible nothing may be copied out of the log or written over its beginning while a sync is under
way: such times belong to the plain way.

Loop and thread never use the connection at the same time: the loop only between a report and the next `submit`.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple, cast

from bridgehead.queues.batch import Change
from bridgehead.queues.fairness import Weights
from bridgehead.queues.sqlite.committer import Committer, Operation, Prepared
from bridgehead.queues.sqlite.database import DATABASE_NAME, roll_back
from bridgehead.queues.sqlite.disk_sync import DiskSync
from bridgehead.queues.sqlite.log_end import LogEnd
from bridgehead.queues.store import StoreFault

_logger = logging.getLogger(__name__)

_SHORT_WAY_BYTES: Final = 192 * 1024
"""Content up to which the event loop writes a batch itself: what it takes no longer than a few messages to do."""
_SHORT_WAY_ROWS: Final = 16
"""Entries of one change up to which that holds: a message to a group of thousands has one for each thousand."""
_QUICK_SECONDS: Final = 0.05
"""A disk that took longer for the last commit may also keep a write waiting, which the event loop must not."""

Completed = Callable[[Sequence[Operation], list[StoreFault | None]], None]
Chore = Callable[[Committer], bool]
"""A slice of slow work, within a transaction of its own; False when nothing is left."""


class _ShortWay(NamedTuple):
    """What the short way takes."""

    sync: DiskSync
    log_end: LogEnd


class Writer:
    """`start`, `submit` and `rest` are for the event loop, `stop` for another thread after `rest`.

    Args:
        completed: told on the event loop of each batch's end: for each operation None or why it was not done.

    Attributes:
        seconds: what the last batch took, from `submit` until the disk had it or it had failed.
    """

    def __init__(
        self, directory: Path, completed: Completed, reserve_bytes: int, before_commit: Callable[[], object],
        weights: Weights,
    ) -> None:  # fmt: skip
        self._database = directory / DATABASE_NAME
        self.committer = Committer(directory, reserve_bytes, before_commit, weights)
        self._completed = completed
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._chores: list[Chore] = []
        self._thread = threading.Thread(target=self._work, name="queue-writer", daemon=True)
        self._short_way: _ShortWay | None = None
        self._log_end: LogEnd | None = None
        self._connections = 0
        self._began = 0.0
        self.seconds = 0.0

    def start(self, chores: Sequence[Chore]) -> None:
        """Begin; `chores` are done in order, a slice whenever a batch is finished or nothing else is to do."""
        self._loop = asyncio.get_running_loop()
        self._chores = list(chores)
        self.committer.checkpointer.start()
        self._thread.start()

    def submit(self, batch: Sequence[Operation]) -> None:
        """Hand over a batch, while none is under way."""
        self._began = monotonic()
        if self._chores or not self.committer.is_sound or not _is_ordinary(batch):
            self._inbox.put(partial(self._execute, batch))
            return
        way = self._open_way()
        prepared = self.committer.prepare(cast(Sequence[Change], batch), synced=way is None)
        if way is not None and prepared.error is None:
            self._commit_unsynced(prepared, way)
        else:
            self._inbox.put(partial(self._finish, prepared))

    def rest(self) -> None:
        """The last batch was handed over and is done."""
        if self._short_way is not None:
            self._short_way.sync.close()
            self._short_way = None

    def stop(self, last: Chore) -> None:
        """Do `last`, then end. Blocks."""
        self._inbox.put(None)
        self._thread.join()
        committer = self.committer
        committer.checkpointer.stop()
        try:
            committer.transact(lambda: last(committer))
        except (sqlite3.Error, StoreFault):
            roll_back(committer.connection)  # the next start will take it for a crash, which is safe
        committer.close()
        if self._log_end is not None:
            self._log_end.close()

    def on_loop(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call it on the event loop; from any thread."""
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            pass  # the loop was closed without closing the store

    # --- the plain way: on the writer's thread ---------------------------------------------------------------------

    def _work(self) -> None:
        while (task := self._next_task()) is not None:
            task()
            if self._chores:
                self._do_chore()

    def _next_task(self) -> Callable[[], None] | None:
        try:
            return self._inbox.get(block=not self._chores)
        except queue.Empty:
            return _nothing

    def _finish(self, prepared: Prepared) -> None:
        self._done(prepared.batch, self.committer.finish(prepared))

    def _execute(self, batch: Sequence[Operation]) -> None:
        self._done(batch, self.committer.execute(batch))

    def _clear(self, prepared: Prepared) -> None:
        """For a batch that took the short way."""
        self.committer.remove_unused(prepared)
        self.on_loop(self._completed, prepared.batch, [None] * len(prepared.batch))

    def _done(self, batch: Sequence[Operation], faults: list[StoreFault | None]) -> None:
        self.seconds = monotonic() - self._began
        self.committer.checkpointer.after_commit(self.committer.connection)
        self.on_loop(self._completed, batch, faults)

    def _do_chore(self) -> None:
        try:
            more = self.committer.transact(lambda: self._chores[0](self.committer))
        except Exception as error:  # a chore is tried again at the next start; the queue itself goes on
            self.committer.recover_from(error)
            more = False
        if not more:
            self._chores.pop(0)

    # --- the short way: on the event loop --------------------------------------------------------------------------

    def _open_way(self) -> _ShortWay | None:
        """The short way, while it is open."""
        if self._connections != self.committer.connections:
            self._find_short_way()
        return self._short_way if self.seconds < _QUICK_SECONDS and self.committer.checkpointer.rests else None

    def _find_short_way(self) -> None:
        """For the connection there is now. Where the system does not offer what it takes, there is none."""
        self._connections = self.committer.connections
        self.rest()
        try:
            if self._log_end is None:
                self._log_end = LogEnd(self._database)
            if self._log_end.is_current():
                log = self._database.with_name(f"{self._database.name}-wal")
                self._short_way = _ShortWay(DiskSync(log), self._log_end)
        except (OSError, StoreFault) as error:
            _logger.info("the queue is synced by a thread, which costs more: %s", error)

    def _commit_unsynced(self, prepared: Prepared, way: _ShortWay) -> None:
        take_back = partial(way.log_end.put_back, way.log_end.where())
        try:
            self.committer.commit()
        except Exception as error:
            self._do_over(prepared, error)
            return
        try:
            way.sync.begin(partial(self._synced, prepared, take_back))
        except OSError as error:
            self._synced(prepared, take_back, error)

    def _synced(self, prepared: Prepared, take_back: Callable[[], None], error: OSError | None) -> None:
        """The sync of a batch has ended."""
        if error is not None:
            try:
                take_back()
            except StoreFault as fault:
                self.committer.give_up(StoreFault(f"{error}; {fault}: the server must be started anew"))
            self._do_over(prepared, error)
            return
        self.seconds = monotonic() - self._began
        if prepared.unused_files:
            self._inbox.put(partial(self._clear, prepared))
        else:
            self._completed(prepared.batch, [None] * len(prepared.batch))

    def _do_over(self, prepared: Prepared, error: Exception) -> None:
        prepared.error = error
        self._inbox.put(partial(self._finish, prepared))


def _is_ordinary(batch: Sequence[Operation]) -> bool:
    """Changes only, of little content and not of very many entries."""
    size = 0
    for operation in batch:
        if not isinstance(operation, Change) or len(operation.rows) > _SHORT_WAY_ROWS:
            return False
        for content in operation.contents.values():
            size += content.size
    return size <= _SHORT_WAY_BYTES


def _nothing() -> None:
    """For the thread to do between two slices of a chore."""
