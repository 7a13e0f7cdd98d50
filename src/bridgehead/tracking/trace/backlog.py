# SPDX-License-Identifier: MIT
"""When the trace index is to be brought up to date: when enough has gathered, and rather not while mail passes.

What has gathered is read through by each search, so there is a bound on it. Pure but for `sizes`.
"""

import os
from pathlib import Path
from typing import Final

from bridgehead.tracking.message_tracking import KIND

ENOUGH_BYTES: Final = 16 * 1024 * 1024
"""Less is not worth a process: a search reads it in a moment."""
MOST_BYTES: Final = 24 * 1024 * 1024
"""So much is indexed also while more comes in."""
QUIET_BYTES: Final = 256 * 1024
"""Where no more than this came between two looks, no mail waits for the processor."""


class Backlog:
    """How much was written since the last indexing, seen from the sizes of the logs.

    Attributes:
        pending: octets that came since the last indexing, or since the start.
    """

    def __init__(self) -> None:
        self.pending = 0
        self._from_before = 0
        self._sizes: dict[str, int] | None = None

    def look(self, sizes: dict[str, int]) -> bool:
        """Take notice of the files' sizes; True where it is time to index.

        What is there at the first look may be indexed or not: that is looked into at the first quiet moment, and is no
        reason to do so while mail passes.
        """
        known = self._sizes or {}
        grown = sum(max(0, size - known.get(name, 0)) for name, size in sizes.items())
        if self._sizes is None:
            self._from_before = grown
        else:
            self.pending += grown
        self._sizes = sizes
        return self.pending >= MOST_BYTES or (
            self.pending + self._from_before >= ENOUGH_BYTES and grown <= QUIET_BYTES
        )  # fmt: skip

    def indexed(self) -> None:
        """All that the last look saw is in the index."""
        self.pending = self._from_before = 0


def sizes(folder: Path) -> dict[str, int]:
    """Sizes of the tracking logs in a folder, by name; whatever cannot be seen is not there."""
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.upper().startswith(KIND.prefix):
                    found[entry.name] = entry.stat().st_size
    except OSError:
        pass
    return found
