# SPDX-License-Identifier: MIT
"""What all couriers share: the limit on connections in all, and what was learned about hosts."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from bridgehead.delivery.smtp_send.destination import Target
from bridgehead.net.clock import Clock
from bridgehead.routing.tls_result import ResultType

DEAD_HOST_SECONDS: Final = 300.0
"""How long an address that failed is tried after the others; longer than the first retry intervals of a queue."""
BROKEN_TLS_SECONDS: Final = 600.0
"""How long STARTTLS is not tried again, under an opportunistic policy, with an address where it failed."""
_REMEMBERED: Final = 10_000
_Key = TypeVar("_Key")


class Failure(msgspec.Struct, frozen=True):
    """What is known of a host that failed.

    Attributes:
        until: when it is forgotten, on the monotonic clock.
        result: what reports on TLS call it, None for nothing that is about TLS. `words`: the same for people.
    """

    until: float
    result: ResultType | None = None
    words: str = ""


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
    """Addresses that failed a short while ago. Time is the clock's monotonic one.

    What TLS failed is known to the connector that asked for it alone: another may speak older versions or trust other
    authorities, and must not send in clear for it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._dead: dict[tuple[str, int], Failure] = {}
        self._broken_tls: dict[tuple[str, str, int], Failure] = {}
        self._failed_tests: dict[tuple[str, str, str], Failure] = {}

    def failed(self, target: Target) -> None:
        """No session could be had there."""
        self._remember(self._dead, (target.address, target.port), DEAD_HOST_SECONDS)

    def worked(self, target: Target) -> None:
        self._dead.pop((target.address, target.port), None)

    def tls_failed(self, connector: str, target: Target, result: ResultType | None, words: str) -> None:
        """The handshake failed, and TLS is no must."""
        self._remember(self._broken_tls, (connector, target.address, target.port), BROKEN_TLS_SECONDS, result, words)

    def broken_tls(self, connector: str, target: Target) -> Failure | None:
        return self._known(self._broken_tls, (connector, target.address, target.port))

    def test_failed(
        self, connector: str, target: Target, domain: str, result: ResultType | None, words: str
    ) -> None:  # fmt: skip
        """The host did not show what the domain's policy asks for, which is only being tested."""
        self._remember(self._failed_tests, (connector, target.host, domain), BROKEN_TLS_SECONDS, result, words)

    def failed_test(self, connector: str, target: Target, domain: str) -> Failure | None:
        return self._known(self._failed_tests, (connector, target.host, domain))

    def in_order(self, targets: list[Target]) -> list[Target]:
        """The same targets, those that failed lately last; the order stays otherwise."""
        if not self._dead:
            return targets
        return sorted(targets, key=lambda target: self._known(self._dead, (target.address, target.port)) is not None)

    def _known(self, memory: dict[_Key, Failure], key: _Key) -> Failure | None:
        found = memory.get(key)
        return found if found is not None and found.until > self._clock.monotonic() else None

    def _remember(
        self, memory: dict[_Key, Failure], key: _Key, seconds: float, result: ResultType | None = None, words: str = ""
    ) -> None:  # fmt: skip
        if len(memory) >= _REMEMBERED:
            now = self._clock.monotonic()
            for known in [known for known, one in memory.items() if one.until <= now]:
                del memory[known]
            if len(memory) >= _REMEMBERED:
                memory.pop(next(iter(memory)))
        memory[key] = Failure(self._clock.monotonic() + seconds, result, words)
