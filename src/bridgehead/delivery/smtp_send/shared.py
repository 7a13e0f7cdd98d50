# SPDX-License-Identifier: MIT
"""What all couriers share: the limit on connections in all, and what was learned about hosts."""

from collections.abc import Callable
from typing import Final, TypeVar

from bridgehead.delivery.smtp_send.destination import Target
from bridgehead.net.clock import Clock

DEAD_HOST_SECONDS: Final = 300.0
"""How long an address that failed is tried after the others; longer than the first retry intervals of a queue."""
BROKEN_TLS_SECONDS: Final = 600.0
"""How long STARTTLS is not tried again, under an opportunistic policy, with an address where it failed."""
_REMEMBERED: Final = 10_000
_Key = TypeVar("_Key")


class ConnectionLimiter:
    """At most `limit` connections at a time (MaxOutboundConnections).

    Who finds none free is called in turn when one is given back; who has idle ones is asked for one at once, so that
    a next hop without work never holds up one with work.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: dict[Callable[[], None], None] = {}
        self._idle: dict[Callable[[], None], None] = {}

    def acquire(self, wake: Callable[[], None]) -> bool:
        """Take one, or be remembered: `wake` is called once when it is worth asking again."""
        if self.used < self.limit:
            self.used += 1
            return True
        self._waiting[wake] = None
        for drop in self._idle:
            drop()
            break
        return False

    def release(self) -> None:
        """Give one back."""
        self.used -= 1
        while self._waiting and self.used < self.limit:
            wake = next(iter(self._waiting))
            del self._waiting[wake]
            wake()

    def offer(self, drop: Callable[[], None]) -> None:
        """There is an idle connection that `drop` would close."""
        self._idle[drop] = None
        if self._waiting:
            drop()

    def withdraw(self, drop: Callable[[], None], wake: Callable[[], None] | None = None) -> None:
        """There is none any more; with `wake`, nobody waits there either."""
        self._idle.pop(drop, None)
        if wake is not None:
            self._waiting.pop(wake, None)


class HostMemory:
    """Addresses that failed a short while ago. Time is the clock's monotonic one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._dead: dict[tuple[str, int], float] = {}
        self._broken_tls: dict[tuple[str, int], float] = {}
        self._failed_tests: dict[tuple[str, str], float] = {}

    def failed(self, target: Target) -> None:
        """No session could be had there."""
        self._remember(self._dead, (target.address, target.port), DEAD_HOST_SECONDS)

    def worked(self, target: Target) -> None:
        self._dead.pop((target.address, target.port), None)

    def tls_failed(self, target: Target) -> None:
        self._remember(self._broken_tls, (target.address, target.port), BROKEN_TLS_SECONDS)

    def has_broken_tls(self, target: Target) -> bool:
        return self._broken_tls.get((target.address, target.port), 0.0) > self._clock.monotonic()

    def test_failed(self, target: Target, domain: str) -> None:
        """The host did not show what the domain's policy asks for, which is only being tested."""
        self._remember(self._failed_tests, (target.host, domain), BROKEN_TLS_SECONDS)

    def failed_test(self, target: Target, domain: str) -> bool:
        return self._failed_tests.get((target.host, domain), 0.0) > self._clock.monotonic()

    def in_order(self, targets: list[Target]) -> list[Target]:
        """The same targets, those that failed lately last; the order stays otherwise."""
        if not self._dead:
            return targets
        now = self._clock.monotonic()
        return sorted(targets, key=lambda target: self._dead.get((target.address, target.port), 0.0) > now)

    def _remember(self, memory: dict[_Key, float], key: _Key, seconds: float) -> None:
        if len(memory) >= _REMEMBERED:
            now = self._clock.monotonic()
            for known in [known for known, until in memory.items() if until <= now]:
                del memory[known]
            if len(memory) >= _REMEMBERED:
                memory.pop(next(iter(memory)))
        memory[key] = self._clock.monotonic() + seconds
