# SPDX-License-Identifier: MIT
"""The wall clock set back: notices it, and makes what waits on disk due as if the time had not jumped.

Retry times are stored in Unix time. They are changed in the store rather than taken ahead of time: whatever is deferred
after the jump is due before most of what was deferred earlier, and would be tried over and over with it. Deadlines
are left alone; they come later by the jump at most.
"""

import logging
from typing import Final

from bridgehead.delivery.suspects import WAIT
from bridgehead.net.clock import Clock
from bridgehead.queues.retry import longest_retry
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import QueueStore, StoreFault

logger = logging.getLogger("bridgehead.delivery")

SET_BACK_SECONDS: Final = 30.0
"""Less than this is left alone: a retry may come that much later."""
_ANY_TIME: Final = 1e11
"""Seconds; earlier by this, everything is due."""


class SetBack:
    """Compares the wall clock with the monotonic clock from one look to the next."""

    def __init__(self, store: QueueStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._ahead = clock.now() - clock.monotonic()
        self._owed: list[tuple[float, float]] = []
        """What `catch_up` has to do: entries due later than this become due by so much earlier."""
        self._catching_up = False

    @property
    def owes(self) -> bool:
        """`catch_up` has something to do and is not at it."""
        return bool(self._owed) and not self._catching_up

    def started(self, settings: QueueSettings) -> float:
        """The latest Unix time that anything can wait for now; where something stored waits for a later one, the
        clock was set back before this start, and it is due."""
        now = self._clock.now()
        self._ahead = now - self._clock.monotonic()
        latest = now + max(longest_retry(settings), WAIT)
        self._owed.append((latest, _ANY_TIME))
        return latest

    def noticed(self) -> float:
        """Seconds by which the clock was set back since the last call, 0 for not or hardly."""
        now = self._clock.now()
        before, self._ahead = self._ahead, now - self._clock.monotonic()
        back = before - self._ahead
        if back <= SET_BACK_SECONDS:
            return 0.0
        logger.warning("the system clock was set back by %.0f seconds; retries are kept to their intervals", back)
        self._owed.append((now, back))
        return back

    async def catch_up(self) -> int:
        """Change what waits on disk; returns how many entries. Where the store fails the rest stays owed."""
        self._catching_up, moved = True, 0
        try:
            while self._owed:
                moved += await self._store.bring_forward(*self._owed[0])
                del self._owed[0]
        except StoreFault as fault:
            logger.error("messages in Retry could not be made due earlier after the clock was set back: %s", fault)
        finally:
            self._catching_up = False
        return moved
