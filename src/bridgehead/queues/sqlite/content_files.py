# SPDX-License-Identifier: MIT
"""Large content in files of its own, one for each message, in the folder `content` beside the queue database.

A file's name comes from the store's own numbers only. It is written and synced, and its folder too, before the
transaction that names it commits; it goes after the transaction that removed its last entry has committed. What a
crash leaves in between is a file that no row names, and `remove_orphans` clears that away.
"""

import asyncio
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from bridgehead.queues.sqlite.faults import store_fault

FOLDER_NAME: Final = "content"
SUFFIX: Final = ".eml"
_ORPHAN_SLICE: Final = 500


class FileContent(msgspec.Struct, frozen=True):
    """Content in a file of the queue.

    Attributes:
        path: where it lies; read-only to everybody but the store.
        size: octets.
        crc: CRC-32 of it.
    """

    path: Path
    size: int
    crc: int

    @property
    def data(self) -> None:
        """Never in memory."""
        return None

    def open(self) -> BinaryIO:
        """Raises OSError where it is gone or unreadable."""
        return open(self.path, "rb")


def file_name(number: int) -> str:
    """The name of the file with this number of the store."""
    return f"{number:016x}{SUFFIX}"


def number_of(name: str) -> int | None:
    """The reverse of `file_name`; None for a name that is none of ours."""
    stem = name.removesuffix(SUFFIX)
    try:
        number = int(stem, 16)
    except ValueError:
        return None
    return number if file_name(number) == name else None


def sync_folder(folder: Path) -> None:
    """Make names within a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ContentFileWriter:
    """A `ContentWriter` over one file; every call that touches the disk runs in `executor`."""

    def __init__(self, folder: Path, number: int, executor: Executor) -> None:
        self._path = folder / file_name(number)
        self._executor = executor
        self._file: FileIO | None = None
        # A cancelled `write` may still run while `discard` begins.
        self._lock = threading.Lock()
        self._size = 0
        self._crc = 0

    async def write(self, data: bytes) -> None:
        """Append. Raises StoreFault, StoreFull."""
        await self._off_thread(lambda: self._write(data))

    async def finish(self) -> FileContent:
        """Sync file and folder; no more writes. Raises StoreFault."""
        await self._off_thread(self._finish)
        return FileContent(self._path, self._size, self._crc)

    async def discard(self) -> None:
        """Throw away what was written, also after `finish` when the transaction failed."""
        await self._off_thread(self._discard)

    async def _off_thread(self, work: Callable[[], None]) -> None:
        def locked() -> None:
            with self._lock:
                work()

        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, locked)
        except OSError as error:
            raise store_fault(error, f"writing {self._path.name}") from error

    def _opened(self) -> FileIO:
        if self._file is None:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = FileIO(descriptor, "w")
        return self._file

    def _write(self, data: bytes) -> None:
        file, rest = self._opened(), memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)

    def _finish(self) -> None:
        file = self._opened()
        os.fsync(file.fileno())
        file.close()
        sync_folder(self._path.parent)

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)


def damage_of_file(content: FileContent, *, read: bool = False) -> str:
    """What is wrong with a file, "" when nothing is. `read` checks every octet, else only presence and size."""
    try:
        size = content.path.stat().st_size
        if size != content.size:
            return f"the content file {content.path.name} has {size} octets instead of {content.size}"
        if read and _crc_of(content.path) != content.crc:
            return f"the content file {content.path.name} was changed: its checksum differs"
    except FileNotFoundError:
        return f"the content file {content.path.name} is missing"
    except OSError as error:
        return f"the content file {content.path.name} cannot be read: {error.strerror}"
    return ""


def _crc_of(path: Path) -> int:
    crc = 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(1024 * 1024):
            crc = zlib.crc32(chunk, crc)
    return crc


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Delete content files. One that cannot be deleted stays as an orphan, to be cleared away at the next start."""
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError:
            pass


def orphans(folder: Path, before: int, named: Callable[[list[str]], set[str]]) -> Iterator[str]:
    """Names of content files numbered below `before` that no row names, looked up a few hundred at a time.

    Args:
        named: those of the given names that the database knows.
    """
    with os.scandir(folder) as listing:
        ours = (entry.name for entry in listing if (number_of(entry.name) or before) < before)
        while part := list(islice(ours, _ORPHAN_SLICE)):
            known = named(part)
            yield from (name for name in part if name not in known)
