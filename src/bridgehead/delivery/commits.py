# SPDX-License-Identifier: MIT
"""Commits that are not given up: what has happened to a message must be written down, however long the disk is full.

A message that a remote server took is never offered to it again because our own store failed: the intent stays in
memory and is committed as soon as the store lets it. Meanwhile `failing` holds everything that would make more of them.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from bridgehead.queues.store import QueueStore, StoreFault, Transaction

logger = logging.getLogger("bridgehead.delivery")

FIRST_DELAY: Final = 1.0
"""Seconds before a failed commit is tried again; doubled up to LAST_DELAY."""
LAST_DELAY: Final = 30.0

After = Callable[[], None]


class LastingCommits:
    """Commits through a store until they hold.

    Attributes:
        failing: the last answer of the store was a fault; nobody should begin anything that leads to a commit.
    """

    __slots__ = ("_delay", "_on_recovery", "_store", "_timer", "_unsaved", "failing")

    def __init__(self, store: QueueStore, on_recovery: After) -> None:
        self._store = store
        self._on_recovery = on_recovery
        self._unsaved: deque[tuple[Transaction, After | None]] = deque()
        self._delay = FIRST_DELAY
        self._timer: asyncio.TimerHandle | None = None
        self.failing = False

    def commit(self, transaction: Transaction, after: After | None = None) -> None:
        """Commit, now or as soon as the store lets it; `after` is called once that holds."""
        # Nobody waits for the results of a delivery, and until they are stored the entry is in doubt anyway. What must
        # follow at once, such as a report, is given as `after`.
        self._store.commit(transaction, partial(self._done, transaction, after), urgent=after is not None)

    @property
    def unsaved(self) -> int:
        """Transactions that wait for the store to work again."""
        return len(self._unsaved)

    def retry(self) -> None:
        """Try all that failed once more, in their order."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._unsaved = self._unsaved, deque()
        for transaction, after in waiting:
            self.commit(transaction, after)

    def close(self) -> None:
        """Stop trying. What is unsaved is handed out again by the store, in doubt, after a restart."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._unsaved:
            logger.critical("%d results of deliveries could not be stored before the end", len(self._unsaved))

    def _done(self, transaction: Transaction, after: After | None, fault: StoreFault | None) -> None:
        if fault is not None:
            self._failed(transaction, after, fault)
            return
        if after is not None:
            after()
        if self.failing:
            self.failing = False
            self._delay = FIRST_DELAY
            logger.warning("the queue store works again; %d results still wait to be stored", len(self._unsaved))
            self._on_recovery()

    def _failed(self, transaction: Transaction, after: After | None, fault: StoreFault) -> None:
        self._unsaved.append((transaction, after))
        if not self.failing:
            self.failing = True
            logger.critical(
                "the queue store fails, delivery pauses and tries to store results until it works: %s", fault
            )
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._timed_retry)

    def _timed_retry(self) -> None:
        self._timer = None
        self._delay = min(self._delay * 2, LAST_DELAY)
        self.retry()
