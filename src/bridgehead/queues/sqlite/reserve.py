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


class Reserve:
    """A file that holds space and nothing else. No method raises."""

    def __init__(self, directory: Path, size: int) -> None:
        self._path = directory / RESERVE_NAME
        self.size = size
        self.is_there = False
        self.refill()

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
