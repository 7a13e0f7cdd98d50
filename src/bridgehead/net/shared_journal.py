# SPDX-License-Identifier: MIT
"""What happened in several processes of one server, told by each in memory that all of them see.

Each process writes a ring of its own and reads those of all: what one has told is known to another with its next look,
and nobody waits for anybody. Who looks too seldom misses the oldest; who begins reads what is still there.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from typing import Final

_TOLD: Final = struct.Struct("=q")
_LENGTH: Final = struct.Struct("=H")


class SharedJournal:
    """The rings of all processes.

    Args:
        descriptor: of the memory (`make`, with the same numbers).
        place: of this process among them, from 0.
        records, octets: how many records a ring has, and the most octets of one.
    """

    def __init__(self, descriptor: int, count: int, place: int, *, records: int, octets: int) -> None:
        self._records, self._octets = records, octets
        self._slot = _LENGTH.size + octets
        self._part = _TOLD.size + records * self._slot
        self._memory = mmap.mmap(descriptor, count * self._part)
        self._place, self._count = place, count
        self._read = [0] * count

    @staticmethod
    def make(count: int, *, records: int, octets: int) -> int:
        """The descriptor of memory for so many processes. Raises OSError."""
        descriptor = os.memfd_create("journal", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, count * (_TOLD.size + records * (_LENGTH.size + octets)))
        return descriptor

    def tell(self, record: bytes) -> None:
        """Tell the others, once everything they told was read (`news`). What is too long is cut."""
        told = self._told(self._place)
        start = self._start(self._place, told)
        record = record[: self._octets]
        self._memory[start : start + _LENGTH.size + len(record)] = _LENGTH.pack(len(record)) + record
        _TOLD.pack_into(self._memory, self._place * self._part, told + 1)
        self._read[self._place] = told + 1

    def news(self) -> Iterator[bytes]:
        """What was told since the last look by the others, and at the first look what is left of a former process in
        our place."""
        for place in range(self._count):
            told = self._told(place)
            if self._read[place] == told:
                continue
            for number in range(max(self._read[place], told - self._records + 1), told):
                start = self._start(place, number)
                length = min(_LENGTH.unpack_from(self._memory, start)[0], self._octets)
                record = self._memory[start + _LENGTH.size : start + _LENGTH.size + length]
                if self._told(place) - number < self._records:  # else it is being written over
                    yield record
            self._read[place] = told

    def _told(self, place: int) -> int:
        told: int = _TOLD.unpack_from(self._memory, place * self._part)[0]
        return told

    def _start(self, place: int, number: int) -> int:
        return place * self._part + _TOLD.size + number % self._records * self._slot
