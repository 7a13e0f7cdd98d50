# SPDX-License-Identifier: MIT
"""Files that are on stable storage before anybody says so: keys, certificates, tokens, mailboxes. Blocking."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_WRITTEN_OVER: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_file(path: Path, pieces: Iterable[bytes], mode: int = 0o600) -> None:
    """Write and sync a file over whatever a crashed attempt left there. Raises OSError, leaving no file."""
    descriptor = os.open(path, _WRITTEN_OVER, mode)
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except BaseException:
        try:
            os.unlink(path)
        except OSError:
            pass  # the next attempt writes over it
        raise
    finally:
        os.close(descriptor)


def create_file(path: Path, data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Write and sync a file that is not there yet, never readable by more than `mode` allows. Raises OSError."""
    descriptor = os.open(path, _NEW, mode)
    with os.fdopen(descriptor, "wb") as target:
        target.write(data)
        target.flush()
        if durable:
            os.fsync(target.fileno())


def replace_file(path: Path, data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Write and sync a file whole or not at all, never readable by more than `mode` allows. Its name is durable after
    `sync_folder` only. Not `durable`: without the sync, for what may be lost with the power. Raises OSError, leaving
    the file that was there."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        create_file(temporary, data, mode, durable=durable)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder of ours, mode 0700, with its parents; durable. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)
