# SPDX-License-Identifier: MIT
"""A clock that stands still until a test moves it; it implements `net.clock.Clock`."""


class JumpingClock:
    """Wall clock and monotonic clock under the test's control.

    Args:
        now: Unix time to begin with.
        monotonic: what `monotonic` begins with.
    """

    def __init__(self, now: float = 1_800_000_000.0, monotonic: float = 1_000.0) -> None:
        self._now = now
        self._monotonic = monotonic

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Time passes: both clocks move on."""
        assert seconds >= 0, "time does not run backwards; use set_wall_clock"
        self._now += seconds
        self._monotonic += seconds

    def set_wall_clock(self, now: float) -> None:
        """Somebody sets the machine's clock, forwards or back; the monotonic clock does not notice."""
        self._now = now
