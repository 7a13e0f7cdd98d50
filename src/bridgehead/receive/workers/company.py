# SPDX-License-Identifier: MIT
"""What processes that receive mail side by side know of each other, in memory that all of them share (ADR 22).

So a limit for one source or one login, and a lock-out, is that of the server whichever process a session came to.
"""

import msgspec

from bridgehead.mail.limits import TOLD_FAILURES, TOLD_MESSAGES
from bridgehead.net.shared_journal import SharedJournal
from bridgehead.net.shared_slots import SharedSlots
from bridgehead.receive.logons import shared_lockout
from bridgehead.receive.workers import shared_rates
from bridgehead.receive.workers.crowd import Crowd
from bridgehead.receive.workers.shared_rates import SharedRates


class CompanyMemory(msgspec.Struct, frozen=True):
    """Descriptors of the memory: how many sessions each has, the connections of sources, tests of our own connectors,
    failed logons, messages counted against a rate."""

    count: int
    crowd: int
    connections: int
    own_tests: int
    failures: int
    messages: int

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a process inherits."""
        return (self.crowd, self.connections, self.own_tests, self.failures, self.messages)


def make_memory(count: int) -> CompanyMemory:
    """Memory for so many processes. Raises OSError."""
    return CompanyMemory(
        count,
        crowd=Crowd.make(count),
        connections=SharedSlots.make(count),
        own_tests=SharedSlots.make(count),
        failures=SharedJournal.make(count, records=TOLD_FAILURES, octets=shared_lockout.RECORD_OCTETS),
        messages=SharedJournal.make(count, records=TOLD_MESSAGES, octets=shared_rates.RECORD_OCTETS),
    )


class Company:
    """The others, as the process at `place` (from 0) sees them."""

    def __init__(self, memory: CompanyMemory, place: int) -> None:
        count = memory.count
        self.crowd = Crowd(memory.crowd, count, place)
        self.connections = SharedSlots(memory.connections, count, place)
        self.own_tests = SharedSlots(memory.own_tests, count, place)
        self.failures = SharedJournal(
            memory.failures, count, place, records=TOLD_FAILURES, octets=shared_lockout.RECORD_OCTETS
        )
        self.rates = SharedRates(
            SharedJournal(memory.messages, count, place, records=TOLD_MESSAGES, octets=shared_rates.RECORD_OCTETS)
        )


class CompanyKeeper:
    """The memory as whoever starts the processes keeps it."""

    def __init__(self, memory: CompanyMemory) -> None:
        self.memory = memory
        self._crowd = Crowd(memory.crowd, memory.count)
        self._held = [SharedSlots(one, memory.count) for one in (memory.connections, memory.own_tests)]

    def absent(self, place: int) -> None:
        """This process has ended: it accepts nothing, and what it held is free. What it told stays told."""
        self._crowd.absent(place)
        for one in self._held:
            one.clear(place)
