# SPDX-License-Identifier: MIT
"""Moves the write-ahead log into the database while commits go on.

A thread with a connection of its own copies the bulk; SQLite lets the writer append meanwhile. The writer then copies
the little that came since, after which SQLite begins the log anew. Done by the writer alone, the same work would hold
up a commit for as long as the disk takes.
"""

import queue
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bridgehead.queues.batch import Change
from bridgehead.queues.sqlite.database import connect
from bridgehead.queues.sqlite.reserve import fitted

_LOG_BYTES: Final = 16 * 1024 * 1024
"""Estimated growth of the log between two checkpoints: more means fewer writes of pages that come and go."""
_DRIVE_SHARE: Final = 32
"""No more than this part of a drive: a fourth of what is kept back there for one more checkpoint."""
_CHANGE_BYTES: Final = 1_500
"""Roughly what the rows of one transaction cost."""
_COMMIT_BYTES: Final = 32 * 1024
_COPY_SECONDS: Final = 10.0
"""The longest that a copy under way is waited for, on a disk that is full or slower than the log grows."""


class Checkpointer:
    """`count`, `after_commit` and `now` belong to the writer's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log_bytes = fitted(path.parent, _LOG_BYTES, _DRIVE_SHARE)
        self._written = 0
        self._copying = self._all_copied = False
        self._copied = threading.Event()
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="queue-checkpoint", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Blocks until a copy under way has ended."""
        self._orders.put(False)
        if self._thread.ident is not None:
            self._thread.join()

    def count(self, changes: Iterable[Change]) -> None:
        """Estimate by how much the log grows."""
        written = _COMMIT_BYTES
        for change in changes:
            written += _CHANGE_BYTES
            for content in change.contents.values():
                written += len(content.data or b"")
        self._written += written

    @property
    def rests(self) -> bool:
        """Nothing is copied, nothing is due to be, and the next commit will not begin the log anew."""
        return not (self._copying or self._all_copied or self._written > self._log_bytes)

    def after_commit(self, connection: sqlite3.Connection) -> None:
        """Start a copy when the log has grown enough; end one by copying the rest. The log stays within the reserve."""
        self._all_copied = False
        if self._copying and self._written > 2 * self._log_bytes:
            self._copied.wait(_COPY_SECONDS)
        if self._copied.is_set():
            self._copied.clear()
            self._copying = False
            self.now(connection)
        elif self._written > self._log_bytes and not self._copying:
            self._written = 0
            self._copying = True
            self._orders.put(True)

    def now(self, connection: sqlite3.Connection) -> None:
        """Copy all there is, as far as readers allow; where a copy is under way, after it: two at a time do nothing."""
        if self._copying:
            self._copied.wait(_COPY_SECONDS)
        self._all_copied = True
        _copy(connection)

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while self._orders.get():
            try:
                connection = connection or connect(self._path, cache_kib=1024)
                _copy(connection)
            except sqlite3.Error:
                connection = None
            self._copied.set()
        if connection is not None:
            connection.close()


def _copy(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.Error:
        pass  # nothing is lost: the log holds it, and the next checkpoint tries again
