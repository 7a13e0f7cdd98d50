# SPDX-License-Identifier: MIT
"""Acceptance: a message becomes ours when its commit to the Submission queue holds, and nowhere else.

The caller answers 250 from `done(None)` only. Afterwards the categorizer gets the message from memory; should the
process die in between, it finds it in the queue.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from bridgehead.mail.content import Content
from bridgehead.mail.item import MailItem, Priority
from bridgehead.mail.priority import priority_granted
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, QueueStore, StoreFault, Transaction
from bridgehead.tracking.events import TrackingEvent
from bridgehead.tracking.ports import Tracker

_NORMAL: Final = Priority.NORMAL


class Intake(Protocol):
    """The categorizer, seen from here."""

    def process(self, entry: QueuedItem) -> None:
        """Categorize an entry that is Active in the Submission queue."""


class Acceptance:
    """Commits messages to the Submission queue.

    Attributes:
        max_high_priority_size: octets up to which a message may be of high priority; None where priorities that
            messages ask for are not heeded.
    """

    __slots__ = ("_intake", "_store", "_tracker", "max_high_priority_size")

    def __init__(self, store: QueueStore, tracker: Tracker, intake: Intake) -> None:
        self._store = store
        self._tracker = tracker
        self._intake = intake
        self.max_high_priority_size: int | None = None

    def allocate_id(self) -> int:
        """An internal message id for a message about to be submitted."""
        return self._store.allocate_id()

    def submit(
        self, item: MailItem, content: Content, event: TrackingEvent, done: Callable[[StoreFault | None], None]
    ) -> None:
        """Commit; then track `event`, tell `done`, hand over. On a fault nothing was accepted and `done` gets it."""
        if item.priority is not _NORMAL:
            item.priority = priority_granted(item, self.max_high_priority_size)
        entry = QueuedItem(
            item=item,
            content=content,
            content_id=item.internal_message_id,
            queue=QueueKind.SUBMISSION,
            status=MessageStatus.ACTIVE,
        )

        def committed(fault: StoreFault | None) -> None:
            if fault is None:
                self._tracker.record(event)
                done(None)
                self._intake.process(entry)
            else:
                done(fault)

        self._store.commit(Transaction(put=(entry,)), committed)

    async def submitted(self, item: MailItem, content: Content, event: TrackingEvent) -> None:
        """`submit` for coroutines: returns once the message is ours. Raises StoreFault."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(fault: StoreFault | None) -> None:
            if committed.cancelled():
                return
            if fault is None:
                committed.set_result(None)
            else:
                committed.set_exception(fault)

        self.submit(item, content, event, done)
        await committed
