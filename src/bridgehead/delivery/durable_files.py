# SPDX-License-Identifier: MIT
"""Files that are on stable storage before anybody says so, as mailboxes and drop directories need them. Blocking."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.header import clean_text

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def write_file(path: Path, pieces: Iterable[bytes], mode: int = 0o600) -> None:
    """Write and sync a file over whatever a crashed attempt left there. Raises OSError, leaving no file."""
    descriptor = os.open(path, _FLAGS, mode)
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


def delayed_by(error: OSError, what: str) -> DeliveryStatus:
    """What a fault of the file system means for a recipient: later. Paths stay out of what senders may read."""
    status = "4.3.1" if error.errno in NO_SPACE else "4.3.0"
    reason = clean_text(error.strerror or type(error).__name__)
    return DeliveryStatus(action=Action.DELAYED, status=status, diagnostic=f"{what}: {reason}")
