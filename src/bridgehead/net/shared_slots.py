# SPDX-License-Identifier: MIT
"""What several processes of one server hold at the moment, in memory that all of them see: keys of eight octets.

Each process writes its own part only, so nothing is ever locked, and a process that dies leaves nothing half done:
whoever started it clears its part. A key is found by looking through what the others hold, some microseconds for a
thousand of them.
"""

import heapq
import mmap
import os
import struct
from hashlib import blake2b
from typing import Final

from bridgehead.mail.limits import SHARED_SLOTS

KEY_BYTES: Final = 8
_USED: Final = struct.Struct("=q")
_PART: Final = _USED.size + SHARED_SLOTS * KEY_BYTES
_FREE: Final = bytes(KEY_BYTES)


def key_of(*texts: str) -> bytes:
    """A key for some texts. That two have one is as good as impossible."""
    return blake2b("\0".join(texts).encode(errors="surrogateescape"), digest_size=KEY_BYTES).digest()


class SharedSlots:
    """Keys held by each of several processes.

    Args:
        descriptor: of the memory (`make`).
        place: of this process among them, from 0; None for one that only looks after it.
    """

    def __init__(self, descriptor: int, count: int, place: int | None = None) -> None:
        self._memory = mmap.mmap(descriptor, count * _PART)
        self._place = place
        self._others = [other for other in range(count) if other != place]
        self._free: list[int] = []
        """Below the number in use; a heap."""
        self._used = 0
        if place is not None:
            self.clear(place)

    @staticmethod
    def make(count: int) -> int:
        """The descriptor of memory for so many processes. Raises OSError."""
        descriptor = os.memfd_create("slots", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, count * _PART)
        return descriptor

    def put(self, key: bytes) -> int:
        """Hold a key; its slot. -1 where there is no room, and then the others do not know of it."""
        if self._free:
            slot = heapq.heappop(self._free)
        elif self._used < SHARED_SLOTS:
            slot = self._used
        else:
            return -1
        self._write(slot, key)
        if slot == self._used:
            self._tell(slot + 1)
        return slot

    def free(self, slot: int) -> None:
        """Hold it no longer."""
        if slot < 0:
            return
        self._write(slot, _FREE)
        heapq.heappush(self._free, slot)
        if len(self._free) == self._used:
            self._free.clear()
            self._tell(0)

    def others(self, key: bytes) -> int:
        """How often the other processes hold a key."""
        found = 0
        for place in self._others:
            start = place * _PART
            if used := _USED.unpack_from(self._memory, start)[0]:
                start += _USED.size
                found += self._memory[start : start + used * KEY_BYTES].count(key)
        return found

    def others_hold_any(self) -> bool:
        """Whether another process has held a key lately."""
        return any(_USED.unpack_from(self._memory, place * _PART)[0] for place in self._others)

    def clear(self, place: int) -> None:
        """This process is gone, or begins."""
        _USED.pack_into(self._memory, place * _PART, 0)

    def _write(self, slot: int, key: bytes) -> None:
        assert self._place is not None
        start = self._place * _PART + _USED.size + slot * KEY_BYTES
        self._memory[start : start + KEY_BYTES] = key

    def _tell(self, used: int) -> None:
        assert self._place is not None
        self._used = used
        _USED.pack_into(self._memory, self._place * _PART, used)
