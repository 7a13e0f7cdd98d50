# SPDX-License-Identifier: MIT
"""Where SQLite's write-ahead log ends for those who read it, and how to put that end back before a commit.

A commit whose sync runs in the background is visible before it is safe. When the sync then fails, the commit must not
stand: the kernel may have dropped the pages that it could not write, and a later sync would not say so. Putting the
end of the log back makes it as though the process had died before it announced the commit: the next one is written
over it. The format is SQLite's documented one (https://sqlite.org/walformat.html, WAL-index header).
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Final

from bridgehead.queues.store import StoreFault

_HEADER_BYTES: Final = 48
_BOTH: Final = 2 * _HEADER_BYTES
_VERSION: Final = 3007000
_SALTS: Final = slice(32, 40)


class LogEnd:
    """The shared header of the log's index. Raises OSError, and StoreFault where the format is not the known one.

    While any connection is open, it must not be closed: that would release the locks that SQLite holds on this file.
    """

    def __init__(self, database: Path) -> None:
        self._path = f"{database}-shm"
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._index = mmap.mmap(descriptor, _BOTH)
        except ValueError as error:
            os.close(descriptor)
            raise StoreFault(f"{database}-shm: {error}") from None
        self._descriptor = descriptor
        version = struct.unpack_from("=I", self._index)[0]
        if version != _VERSION:
            self.close()
            raise StoreFault(f"{database}-shm has version {version}, not {_VERSION}")

    def is_current(self) -> bool:
        """It is still the one that connections use."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except OSError:
            return False

    def where(self) -> bytes:
        """The end as it stands, for `put_back`; while nobody commits."""
        return self._index[:_BOTH]

    def put_back(self, before: bytes) -> None:
        """End the log where it ended before one commit, which nobody has copied into the database since.

        Raises StoreFault where the log was begun anew meanwhile, so that the former end means nothing.
        """
        if self._index[_SALTS] != before[_SALTS]:
            raise StoreFault("the write-ahead log was begun anew by a commit that could not be synced")
        # In this order, as SQLite does it: who reads meanwhile sees two different copies and reads again.
        self._index[_HEADER_BYTES:_BOTH] = before[_HEADER_BYTES:]
        self._index[:_HEADER_BYTES] = before[:_HEADER_BYTES]

    def close(self) -> None:
        """After the last connection."""
        self._index.close()
        os.close(self._descriptor)
