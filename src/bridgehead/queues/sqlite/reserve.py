# SPDX-License-Identifier: MIT
"""Disk space kept back for finishing what was begun (Exchange's reserve logs, trnres*.jrs).

Removing a delivered message from a full disk needs space too: the change goes to the log first. When the disk is
full the reserve is given up, so that deliveries go on; new messages are refused until it could be set aside again.
"""

import os
from pathlib import Path
from typing import Final

RESERVE_NAME: Final = "reserve"
RESERVE_BYTES: Final = 64 * 1024 * 1024
"""As much as the log grows between two checkpoints under load, so that one more checkpoint succeeds."""
_DRIVE_SHARE: Final = 8
"""No more than this part of a drive: a small one would be full from the start."""


def fitted(directory: Path, size: int, share: int = _DRIVE_SHARE) -> int:
    """So many octets, or the `share`-th part of a drive too small for them."""
    try:
        drive = os.statvfs(directory)
    except OSError:
        return size  # whoever writes there will tell
    return min(size, drive.f_blocks * drive.f_frsize // share)


class Reserve:
    """A file that holds space and nothing else, `size` octets or a part of its drive. No method raises."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._path = directory / RESERVE_NAME
        self.size = fitted(directory, size)
        self.is_there = False
        self.refill()

    def shortage(self) -> str:
        """How much there is where there is too little."""
        wanted = f"{self.size / 1024**2:.1f} MB are kept for what was begun"
        try:
            found = os.statvfs(self._directory)
        except OSError:
            return wanted
        return f"{self._directory}: {found.f_bavail * found.f_frsize / 1024**2:.1f} MB free, {wanted}"

    def refill(self) -> bool:
        """Set the space aside if it is not yet; False when the disk has too little."""
        if self.is_there:
            return True
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self.size)
            finally:
                os.close(descriptor)
        except OSError:
            self.release()
            return False
        self.is_there = True
        return True

    def release(self) -> None:
        """Give the space to the log."""
        self.is_there = False
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            pass  # a disk that cannot even delete is reported by the commit that follows
