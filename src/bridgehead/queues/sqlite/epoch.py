# SPDX-License-Identifier: MIT
"""One process's time with a store: it holds the folder, gets numbers that none before it had, and ends in order or not.

The table `meta` keeps `epoch` (which process this is), `next_id` (a bound that no number reaches) and `clean` (1 once
a process has ended in order).
"""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.queues.numbers import Numbers
from bridgehead.queues.sqlite.committer import Committer
from bridgehead.queues.store import StoreFault

LOCK_NAME: Final = "lock"
IDS_RESERVED: Final = 1_000_000
"""Numbers that a run of the server may hand out before it notes a new upper bound on disk."""


class Epoch(msgspec.Struct, frozen=True):
    """What a process begins with.

    Attributes:
        number: of the epoch; entries say which one leased them.
        first_id: the first number it may give.
        reserve_at: the number at which it notes a new bound.
        crashed: the former process did not end in order.
    """

    number: int
    first_id: int
    reserve_at: int
    crashed: bool


def hold(path: Path) -> int:
    """Hold a store against other processes until the descriptor is closed or the process ends.

    Raises StoreFault, OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreFault(f"another process has the queue in {path.parent} open") from None
    return descriptor


def begin_epoch(connection: sqlite3.Connection, numbers: Numbers) -> Epoch:
    """Note that another process has begun. Raises sqlite3.Error."""
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    highest = connection.execute(
        "SELECT max(ifnull((SELECT max(id) FROM item), 0), ifnull((SELECT max(id) FROM content), 0),"
        " ifnull((SELECT max(id) FROM content_file), 0))"
    ).fetchone()[0]
    first = numbers.first(max(meta.get("next_id", 1), highest + 1))
    epoch = Epoch(meta.get("epoch", 0) + 1, first, first + IDS_RESERVED // 2, meta.get("clean", 1) == 0)
    values = [("next_id", first + IDS_RESERVED), ("epoch", epoch.number), ("clean", 0)]
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)
    connection.execute("COMMIT")
    return epoch


def reserve(bound: int, committer: Committer) -> None:
    """Note that no number given reaches `bound`."""
    committer.connection.execute("INSERT OR REPLACE INTO meta VALUES ('next_id', ?)", (bound,))


def end_epoch(next_id: int, committer: Committer) -> bool:
    """Note that this process ended in order."""
    values = [("next_id", next_id), ("clean", 1)]
    committer.connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)
    return True
