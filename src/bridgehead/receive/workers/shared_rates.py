# SPDX-License-Identifier: MIT
"""Messages that other processes of this server counted against a client's rate within the minute."""

import struct
from typing import Final

from bridgehead.net.shared_journal import SharedJournal
from bridgehead.net.shared_slots import KEY_BYTES, key_of
from bridgehead.receive.connectors.message_rate import SlidingWindows

_TIME: Final = struct.Struct("=d")
RECORD_OCTETS: Final = KEY_BYTES + _TIME.size


class SharedRates:
    """What the others counted; the same clock (CLOCK_MONOTONIC) runs for all processes of a machine.

    Two processes that count at the same instant do not know of each other's message: a limit may be passed by one
    message for each of them.
    """

    def __init__(self, journal: SharedJournal) -> None:
        self._journal = journal
        self._windows: SlidingWindows[bytes] = SlidingWindows()
        self._latest = 0.0

    def count(self, scope: str, key: str, now: float) -> int:
        """Messages of a client within the sixty seconds before `now` that others counted."""
        self.learn()
        return self._windows.count(key_of(scope, key), max(now, self._latest))

    def add(self, scope: str, key: str, now: float) -> None:
        """Tell the others of a message that was counted here."""
        self._journal.tell(key_of(scope, key) + _TIME.pack(now))

    def learn(self) -> None:
        """Take in what the others told."""
        for record in self._journal.news():
            # In order of their looks: a window does not go back.
            self._latest = max(self._latest, _TIME.unpack_from(record, KEY_BYTES)[0])
            self._windows.add(record[:KEY_BYTES], self._latest)
