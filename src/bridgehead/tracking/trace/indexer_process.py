# SPDX-License-Identifier: MIT
"""The process that indexes (`python -m bridgehead.tracking.trace.indexer_process INDEX FOLDER MAX_SIZE [anew]`).

It brings the index up to date and ends; when that is worth while is known to who starts it. It runs when the processors
have nothing else to do (SCHED_IDLE) and ends when its standard input does, so never outlives the server, however that
ends.
"""

import fcntl
import gc
import logging
import os
import select
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from bridgehead.tracking.trace.indexer import Indexer

_INTERVAL: Final = 2.0
_LEAST_BYTES: Final = 4 * 1024 * 1024
"""Less at the end of the log that is being written waits for more."""
_logger = logging.getLogger("bridgehead.trace")


def run(index: Path, folder: Path, max_size: int, *, anew: bool = False) -> bool:
    """Index what is not indexed yet; whether that was possible."""
    _become_idle()
    gc.disable()  # thousands of rows live until a segment is made of them, and none is part of a cycle
    lock = _lock(index)
    if lock is None:
        return True
    try:
        indexer = Indexer(index, folder, max_size, _LEAST_BYTES)
        try:
            if anew:
                indexer.rebuild("a search found it damaged")
            while indexer.step() and not _ended(0.0):
                pass
        finally:
            indexer.close()
    except (OSError, sqlite3.Error) as error:
        _logger.error("the trace index cannot be written: %s; searches read the logs themselves", error)
        return False
    finally:
        os.close(lock)
    return True


def _ended(seconds: float) -> bool:
    """Whether standard input ends within so many seconds."""
    ready, _, _ = select.select([0], [], [], seconds)
    return bool(ready) and not os.read(0, 4096)


def _lock(index: Path) -> int | None:
    """Only one process makes an index: wait until another has ended. None when it is time to end."""
    index.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(index.with_name(index.name + "-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if _ended(_INTERVAL):
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
    index, folder, max_size, *more = sys.argv[1:]
    return 0 if run(Path(index), Path(folder), int(max_size), anew="anew" in more) else 1


if __name__ == "__main__":
    sys.exit(main())
