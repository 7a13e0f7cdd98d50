# SPDX-License-Identifier: MIT
"""DEFER events for what waits on disk when a next hop begins to be out of reach.

Each message has one event for each time that its queue begins to wait, however many retries of the connection follow:
those in memory at once, those that join the queue when they do (`QueueWindow.hold_up`), and those on disk here, read in
their order, a few at a time. That ends when the queue is at work again; what was not told by then is on its way.
"""

import asyncio
from typing import Final, Protocol

from bridgehead.delivery.attempt import AttemptRecorder
from bridgehead.queues.store import FIRST_PLACE, QueueKind, QueueState, QueueStatus, QueueStore
from bridgehead.routing.next_hop import NextHop

AT_ONCE: Final = 200
PAUSE_SECONDS: Final = 0.1
"""Between two reads: 2,000 messages a second, however many wait."""


class WaitingQueue(Protocol):
    """The delivery queue."""

    next_hop: NextHop
    state: QueueState
    is_stopped: bool


class Host(Protocol):
    """What this needs of the dispatcher."""

    store: QueueStore
    recorder: AttemptRecorder


class HoldUp:
    """One queue that has begun to wait.

    Args:
        told: ids of messages that have their event already.
    """

    def __init__(self, queue: WaitingQueue, host: Host, told: set[int]) -> None:
        self._queue = queue
        self._host = host
        self._told = told
        self._since = queue.state.first_retry
        self._before = host.store.allocate_id()
        """What has a higher number joins the queue from here on."""

    async def run(self) -> None:
        """Until all are told, or the queue is at work again. Raises StoreFault."""
        place = FIRST_PLACE
        while self._waits:
            batch = await self._host.store.ready_behind(QueueKind.DELIVERY, self._queue.next_hop, place, AT_ONCE)
            if not batch or not self._waits:
                return
            place = batch[-1][0]
            for _, entry in batch:
                if entry.id < self._before and entry.id not in self._told:
                    self._host.recorder.held_up(entry, self._queue.state.last_error)
            if len(batch) < AT_ONCE:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    @property
    def _waits(self) -> bool:
        state = self._queue.state
        return state.status is QueueStatus.RETRY and state.first_retry == self._since and not self._queue.is_stopped
