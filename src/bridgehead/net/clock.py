# SPDX-License-Identifier: MIT
"""The time, as a port: the stages read it here and hand it down as a value, so that tests can let it jump."""

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix time in seconds: what is stored, logged and compared with stored times."""

    def monotonic(self) -> float:
        """Seconds that never go back: time-outs and rates within one process."""


class SystemClock:
    """The machine's clocks, without a call of ours in between: every message asks them several times."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
