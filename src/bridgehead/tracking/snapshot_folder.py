# SPDX-License-Identifier: MIT
"""Folders of whole files that come one by one and go by age and by size of the folder: snapshots, not lines.

A file appears under its name complete or not at all. Nothing here raises: what cannot be written is reported once.
"""

import logging
import os
import shutil
from datetime import timedelta
from pathlib import Path

import msgspec

log = logging.getLogger("bridgehead.logs")


class SnapshotFolder:
    """One folder.

    Args:
        path: made when the first file is written.
        max_age: zero keeps files whatever their age.
        max_size: octets that the folder may hold.
    """

    def __init__(self, path: Path, max_age: timedelta, max_size: int) -> None:
        self.path = path
        self.limit(max_age, max_size)
        self._failing = False

    def limit(self, max_age: timedelta, max_size: int) -> None:
        """Keep so much from now on."""
        self._max_age, self._max_size = max_age.total_seconds(), max_size

    def write(self, name: str, data: bytes) -> None:
        """Put a file, with parents, into the folder. Blocks."""
        target = self.path / name
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = target.with_name(f".{target.name}.new")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            new.replace(target)
            self._failing = False
        except OSError as error:
            self.failed(error)

    def failed(self, error: OSError) -> None:
        """Say once that the folder takes nothing."""
        if not self._failing:
            self._failing = True
            log.error("%s: snapshots cannot be written: %s", self.path, error.strerror or error)

    def trim(self, now: float) -> None:
        """Delete what is too old, then the oldest until the rest fits. Entries are files, or folders as a whole."""
        found = _entries(self.path)
        total = sum(one.size for one in found)
        for one in found:
            too_old = self._max_age and now - one.changed > self._max_age
            if not too_old and total <= self._max_size:
                continue
            _delete(one.path)
            total -= one.size


class _Entry(msgspec.Struct, order=True):
    changed: float
    path: Path
    size: int


def _entries(folder: Path) -> list[_Entry]:
    """What lies in a folder, oldest first."""
    found: list[_Entry] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                size = status.st_size
                if entry.is_dir(follow_symlinks=False):
                    size = sum(one.stat(follow_symlinks=False).st_size for one in os.scandir(entry.path))
                found.append(_Entry(status.st_mtime, Path(entry.path), size))
    except OSError:
        return []
    return sorted(found)


def _delete(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: the old snapshot cannot be deleted: %s", path, error.strerror or error)
