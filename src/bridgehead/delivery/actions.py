# SPDX-License-Identifier: MIT
"""Administrators' changes to queued messages, wherever each of them is at the moment.

A message on disk is changed there, unless it is no longer as it was seen. One that waits in the dispatcher's memory is
withdrawn and written down changed. One that is being attempted is marked, on disk and in memory, and the mark takes
effect when the attempt ends (`attempt`, `outcome`). One that is on its way between two stages is asked for again a
moment later. At no time is a message in nobody's hands, and nothing is taken out of a courier's.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from bridgehead.delivery.delivery_queue import DeliveryQueue
from bridgehead.delivery.dispatcher import Dispatcher
from bridgehead.mail.item import Handling
from bridgehead.queues.changes import ChangeKind, Unchanged
from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    Note,
    QueuedItem,
    QueueKind,
    StoreFault,
    Swap,
    Transaction,
)
from bridgehead.routing.next_hop import NextHop

PAUSES: Final = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 1.0)
"""Seconds before each look at messages that are on their way between two stages."""
REPORTED_AT_ONCE: Final = 20
"""Messages whose content is read at a time to report on them."""
ON_ITS_WAY: Final = "on its way between two stages; try again"
GONE: Final = "gone before it could be changed"

_HELD: Final = (MessageStatus.ACTIVE, MessageStatus.PENDING_SUSPEND, MessageStatus.PENDING_REMOVE)
_PENDING: Final = (MessageStatus.PENDING_SUSPEND, MessageStatus.PENDING_REMOVE)

Decide = Callable[[QueuedItem], QueuedItem]
"""What an entry becomes, without content. Raises Unchanged."""
NoteFor = Callable[[QueuedItem], Note | None]
"""What is remembered of an entry before it changes."""


class Submission(Protocol):
    """The categorizer, seen from here."""

    def wake(self) -> None:
        """READY entries were put into Submission."""


class Applied(msgspec.Struct):
    """What became of some messages.

    Attributes:
        done: ids of those changed, the pending ones among them.
        pending: how many are marked, and change when their attempt ends.
        octets: size of those changed.
        skipped: how many were left alone, by reason.
        queues: queues that those changed are or were in, with how many.
    """

    done: list[int] = msgspec.field(default_factory=list)
    pending: int = 0
    octets: int = 0
    skipped: dict[str, int] = msgspec.field(default_factory=dict)
    queues: dict[tuple[QueueKind, NextHop | None], int] = msgspec.field(default_factory=dict)

    def skip(self, reason: str) -> None:
        """One more left alone."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def changed(self, before: QueuedItem, after: QueuedItem) -> None:
        """One more changed."""
        self.done.append(before.id)
        self.pending += after.status in _PENDING and before.status in _HELD
        self.octets += before.item.size
        key = (before.queue, before.next_hop)
        self.queues[key] = self.queues.get(key, 0) + 1


class _Step(msgspec.Struct):
    """One entry about to change.

    Attributes:
        held: the object in the courier's hands, None where nobody has the entry.
        withdrawn: it came out of the dispatcher's memory.
    """

    before: QueuedItem
    after: QueuedItem
    held: QueuedItem | None = None
    withdrawn: bool = False


class MessageActions:
    """Changes entries of all queues. All methods are called on the event loop."""

    def __init__(self, dispatcher: Dispatcher, submission: Submission) -> None:
        self._dispatcher = dispatcher
        self._store = dispatcher.store
        self._submission = submission
        self.entered: Counter[QueueKind] = Counter()
        self.left: Counter[QueueKind] = Counter()
        """Messages that changes put into queues, and took out of them, since the start."""

    async def apply(
        self, entries: Sequence[QueuedItem], decide: Decide, note_for: NoteFor, kind: ChangeKind
    ) -> Applied:  # fmt: skip
        """Change some messages, at most a batch. Raises StoreFault, and then some may have been changed.

        Args:
            entries: as they were seen in the store.
            kind: what is done, for what follows from it.
        """
        applied = Applied()
        waiting: Sequence[QueuedItem] = entries
        for pause in PAUSES:
            if pause:
                await asyncio.sleep(pause)
                waiting = await self._seen_again(waiting, applied)
            if not waiting:
                return applied
            steps, waiting = self._prepare(waiting, decide, applied)
            refused = await self._carry_out(steps, note_for)
            waiting = [*waiting, *(step.before for step in steps if step.before.id in refused)]
            good = [step for step in steps if step.before.id not in refused]
            for step in good:
                applied.changed(step.before, step.after)
                self._count(step)
            await self._follow_up(good, kind)
        for _ in waiting:
            applied.skip(ON_ITS_WAY)
        return applied

    def _count(self, step: _Step) -> None:
        before, after = step.before.queue, step.after.queue
        if step.after.status is MessageStatus.PENDING_REMOVE and step.held is None:
            self.left[before] += 1
        elif before is not after:
            self.left[before] += 1
            self.entered[after] += 1

    async def _seen_again(self, entries: Iterable[QueuedItem], applied: Applied) -> list[QueuedItem]:
        found: list[QueuedItem] = []
        for entry in entries:
            again = await self._store.list_items(ItemFilter(internal_message_id=entry.id))
            found += again
            if not again:
                applied.skip(GONE)
        return found

    # --- where an entry is ---------------------------------------------------------------------------------------

    def _prepare(
        self, entries: Sequence[QueuedItem], decide: Decide, applied: Applied
    ) -> tuple[list[_Step], list[QueuedItem]]:  # fmt: skip
        """What each entry becomes; the entries that are in nobody's reach at the moment."""
        steps: list[_Step] = []
        unsettled: list[QueuedItem] = []
        withdraw: dict[NextHop, list[_Step]] = {}
        windows: dict[NextHop, dict[int, QueuedItem]] = {}
        for seen in entries:
            queue = self._queue_of(seen)
            held = None if queue is None else queue.active.get(seen.id)
            waits = None if queue is None or held is not None else self._in_window(queue, windows).get(seen.id)
            if held is None and waits is None and seen.status in _HELD:
                unsettled.append(seen)
                continue
            base = held or (seen if waits is None else queue.as_given_back(waits))  # type: ignore[union-attr]
            try:
                step = _Step(base, decide(base), held, waits is not None)
            except Unchanged as reason:
                applied.skip(str(reason))
                continue
            steps.append(step)
            if waits is not None and queue is not None:
                withdraw.setdefault(queue.next_hop, []).append(step)
        for next_hop, taken in withdraw.items():
            self._dispatcher.queues[next_hop].withdraw({step.before.id for step in taken})
        return steps, unsettled

    def _queue_of(self, seen: QueuedItem) -> DeliveryQueue | None:
        """The delivery queue whose memory may have the entry; one just categorized is in Submission on disk."""
        unwritten = self._dispatcher.unwritten.get(seen.id)
        next_hop = seen.next_hop if unwritten is None else unwritten.next_hop
        return None if next_hop is None else self._dispatcher.queues.get(next_hop)

    @staticmethod
    def _in_window(queue: DeliveryQueue, windows: dict[NextHop, dict[int, QueuedItem]]) -> dict[int, QueuedItem]:
        if queue.next_hop not in windows:
            windows[queue.next_hop] = queue.in_window()
        return windows[queue.next_hop]

    # --- the change ------------------------------------------------------------------------------------------------

    async def _carry_out(self, steps: list[_Step], note_for: NoteFor) -> set[int]:
        """Mark what is held, and swap everything in one transaction; the ids that were changed meanwhile.

        Nothing is awaited between the marks and the swap's place in the store's order, so that an attempt that ends
        from here on is written down behind it, and knows of the mark.
        """
        if not steps:
            return set()
        swaps = [self._swap(step, note_for) for step in steps]
        former = [(step.held, step.held.status, step.held.item) for step in steps if step.held is not None]
        for step in steps:
            if step.held is not None:
                self._mark(step.held, step.after)
        try:
            return await self._store.swap(swaps)
        except StoreFault:
            for held, status, item in former:
                held.status, held.item = status, item
            back = [step.before for step in steps if step.withdrawn]
            if back:
                self._dispatcher.commits.commit(Transaction(put=back), lambda: self._notify(back))
            raise

    def _swap(self, step: _Step, note_for: NoteFor) -> Swap:
        owned = step.withdrawn or step.held is not None
        return Swap(
            id=step.before.id, before=None if owned else step.before, after=step.after, note=note_for(step.before)
        )  # fmt: skip

    def _mark(self, held: QueuedItem, after: QueuedItem) -> None:
        """Let the attempt that is under way know; its own copy of recipients stays as it is."""
        held.status = after.status
        held.item = msgspec.structs.replace(held.item, handling=after.item.handling, priority=after.item.priority)
        # The swap writes the entry into its delivery queue, so that is done.
        self._dispatcher.unwritten.pop(held.id, None)

    # --- what follows ------------------------------------------------------------------------------------------------

    async def _follow_up(self, steps: list[_Step], kind: ChangeKind) -> None:
        """Whoever has to deal with the messages now learns of them."""
        changed = [step.after for step in steps if step.held is None]
        if kind is ChangeKind.REMOVE:
            await self._remove([entry for entry in changed if entry.status is MessageStatus.PENDING_REMOVE])
            return
        self._notify(changed)
        if kind is ChangeKind.RETRY:
            for next_hop in {entry.next_hop for entry in changed if entry.next_hop is not None}:
                if (queue := self._dispatcher.queues.get(next_hop)) is not None:
                    queue.connect_now()

    def _notify(self, entries: Iterable[QueuedItem]) -> None:
        for entry in entries:
            if entry.status not in (MessageStatus.READY, MessageStatus.RETRY):
                continue
            if entry.queue is QueueKind.DELIVERY and entry.next_hop is not None:
                self._dispatcher.waits(entry)
            elif entry.queue is QueueKind.SUBMISSION:
                self._submission.wake()

    async def _remove(self, entries: list[QueuedItem]) -> None:
        """End entries that nobody has, all of them PENDING_REMOVE on disk by now."""
        for first in range(0, len(entries), REPORTED_AT_ONCE):
            part = entries[first : first + REPORTED_AT_ONCE]
            left = len(part)
            ended = asyncio.Event()

            def one_ended() -> None:
                nonlocal left
                left -= 1
                if not left:
                    ended.set()  # noqa: B023  # awaited before the next round

            for entry in part:
                self._dispatcher.recorder.remove(await self._with_content(entry), one_ended)
            await ended.wait()

    async def _with_content(self, entry: QueuedItem) -> QueuedItem:
        handling = entry.item.handling or Handling()
        if not handling.with_ndr:
            return entry
        try:
            stored = await self._store.get(entry.id)
        except StoreFault:
            stored = None  # the report goes without the original
        return entry if stored is None else msgspec.structs.replace(entry, content=stored.content)
