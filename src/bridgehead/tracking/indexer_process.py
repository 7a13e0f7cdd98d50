# SPDX-License-Identifier: MIT
"""The process that keeps the trace index (`python -m bridgehead.tracking.indexer_process INDEX FOLDER MAX_SIZE`).

It runs when the processors have nothing else to do (SCHED_IDLE) and ends when its standard input does, so never
outlives the server, however that ends. A line "rebuild" there makes it begin anew. While much mail passes it lets lines
gather: a search reads some megabytes of them in a moment.
"""

import fcntl
import logging
import os
import select
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from bridgehead.tracking.trace_indexer import Indexer

_INTERVAL: Final = 2.0
_RETRY: Final = 30.0
_GATHER_BYTES: Final = 8 * 1024 * 1024
"""So much is indexed at once even while more comes in."""
_QUIET_BYTES: Final = 128 * 1024
"""Where no more than this came in an interval, nothing is waited for."""
_logger = logging.getLogger("bridgehead.trace")


def run(index: Path, folder: Path, max_size: int) -> None:
    """Keep the index until standard input ends."""
    _become_idle()
    lock = _lock(index)
    if lock is None:
        return
    while True:
        try:
            _keep(index, folder, max_size)
            return
        except (OSError, sqlite3.Error) as error:
            _logger.error("the trace index cannot be written: %s; searches read the logs themselves", error)
        if _told(_RETRY) is None:
            return


def _keep(index: Path, folder: Path, max_size: int) -> None:
    indexer = Indexer(index, folder, max_size)
    try:
        before = -1
        while True:
            pending = indexer.pending()
            if pending >= _GATHER_BYTES or (pending and abs(pending - before) <= _QUIET_BYTES) or before < 0:
                while indexer.step():
                    if not _obey(indexer, 0.0):
                        return
                pending = indexer.pending()
            else:
                indexer.prune()
            before = pending
            if not _obey(indexer, _INTERVAL):
                return
    finally:
        indexer.close()


def _obey(indexer: Indexer, seconds: float) -> bool:
    """Wait for an order and follow it; False when it is time to end."""
    order = _told(seconds)
    if order is None:
        return False
    if "rebuild" in order:
        indexer.rebuild("a search found it damaged")
    return True


def _told(seconds: float) -> str | None:
    """What standard input brings within so many seconds; None at its end."""
    ready, _, _ = select.select([0], [], [], seconds)
    if not ready:
        return ""
    data = os.read(0, 4096)
    return data.decode("ascii", "replace") if data else None


def _lock(index: Path) -> int | None:
    """Only one process makes an index: wait until another has ended. None when it is time to end."""
    index.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(index.with_name(index.name + "-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if _told(_INTERVAL) is None:
                return None
        else:
            return fd


def _become_idle() -> None:
    """Give way to everybody else; where the kernel does not know how, at least nicely."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):
        with suppress(OSError):
            os.nice(19)


def main() -> int:
    """Run with the program's arguments."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )  # fmt: skip
    index, folder, max_size = sys.argv[1:]
    run(Path(index), Path(folder), int(max_size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
