# SPDX-License-Identifier: MIT
"""How many messages enter and leave a queue each second, over the last minute (Exchange's IncomingRate, OutgoingRate).

Messages only add to a plain number. Every few seconds the numbers are noted; a rate is the difference to the note of a
minute ago.
"""

from collections import deque
from typing import Final

SAMPLE_SECONDS: Final = 5.0
WINDOW_SECONDS: Final = 60.0


class FlowMeter:
    """Counts of one queue.

    Attributes:
        entered, left: messages since the queue exists; whoever moves them adds.
    """

    __slots__ = ("_samples", "entered", "left")

    def __init__(self, now: float) -> None:
        """`now`: monotonic time."""
        self.entered = self.left = 0
        self._samples: deque[tuple[float, int, int]] = deque([(now, 0, 0)])

    def sample(self, now: float) -> None:
        """Note the numbers; to be called every SAMPLE_SECONDS."""
        samples = self._samples
        samples.append((now, self.entered, self.left))
        while len(samples) > 1 and samples[1][0] <= now - WINDOW_SECONDS:
            samples.popleft()

    def rates(self, now: float) -> tuple[float, float]:
        """Messages that entered and left within the last minute, by the second."""
        before = self._samples[0]
        for one in self._samples:
            if one[0] > now - WINDOW_SECONDS:
                break
            before = one
        seconds = max(WINDOW_SECONDS, now - before[0])
        return (self.entered - before[1]) / seconds, (self.left - before[2]) / seconds
