# SPDX-License-Identifier: MIT
"""The messages of one next hop that wait in memory, in the order in which they are to leave.

The same order as on disk (`queues/fairness.py`): shares of priorities and of retries, turns of senders. A message that
finds nobody waiting costs nothing of that, which is the common case.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import Final

from bridgehead.mail.item import MailItem, Priority
from bridgehead.queues.fairness import LANES, Shares, Weights, lane_of, sender_of
from bridgehead.queues.store import QueuedItem

LIGHT_MESSAGES: Final = 4
"""A sender with fewer messages waiting here is light."""
SENDERS_REMEMBERED: Final = 5_000

Place = tuple[int, int, QueuedItem]
"""Turn, id of the message, message."""


class FairWindow:
    """A bounded number of messages; the bound is the caller's."""

    __slots__ = ("_first", "_heaps", "_last", "_length", "_reached", "_shares", "_weights")

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._shares = Shares()
        self._first: deque[QueuedItem] = deque()
        """Given back untried, or come while nobody waited: these go before all others."""
        self._heaps: dict[int, list[Place]] = {}
        self._reached = [0] * len(LANES)
        self._last: dict[tuple[int, str], int] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[QueuedItem]:
        """In no particular order."""
        return chain(self._first, (place[2] for heap in self._heaps.values() for place in heap))

    def add(self, entry: QueuedItem) -> None:
        """A fresh message, behind its sender's others."""
        self._length += 1
        if self._length == 1:
            self._first.append(entry)
            return
        item = entry.item
        lane = lane_of(item.priority, entry.retry_count)
        sender = sender_of(item)
        turn = self._reached[lane]
        last = self._last.get((lane, sender))
        if last is not None:
            turn = max(turn, last + self._weights.step(sender))
        elif len(self._last) >= SENDERS_REMEMBERED:
            self._forget_senders()
        self._last[lane, sender] = turn
        self._put(lane, turn, entry)

    def add_older(self, entries: Collection[QueuedItem]) -> None:
        """Messages from disk, in their order: each before the younger one of the same sender whose turn it shares."""
        turns: dict[tuple[int, str], int] = {}
        for entry in entries:
            lane = lane_of(entry.item.priority, entry.retry_count)
            sender = sender_of(entry.item)
            turn = turns.get((lane, sender), self._reached[lane])
            turns[lane, sender] = turn + self._weights.step(sender)
            self._last[lane, sender] = max(turn, self._last.get((lane, sender), turn))
            self._put(lane, turn, entry)
        self._length += len(entries)
        if len(self._last) > SENDERS_REMEMBERED:
            self._forget_senders()

    def put_back(self, entry: QueuedItem) -> None:
        """A message that was taken and not tried is the first again."""
        self._length += 1
        self._first.appendleft(entry)

    def take(self, held_up: Collection[Priority] = ()) -> QueuedItem | None:
        """The next message, of a priority that is not held up; None where there is none."""
        first, heaps = self._first, self._heaps
        if first and not held_up:
            self._length -= 1
            return first.popleft()
        for entry in first:
            if entry.item.priority not in held_up:
                first.remove(entry)
                self._length -= 1
                return entry
        lanes = [lane for lane in heaps if lane >> 1 not in held_up] if held_up else list(heaps)
        if not lanes:
            return None
        lane = self._shares.next_lane(lanes)
        heap = heaps[lane]
        turn, _, entry = heappop(heap)
        if not heap:
            del heaps[lane]
        self._reached[lane] = max(turn, self._reached[lane])
        self._length -= 1
        return entry

    def is_light(self, item: MailItem) -> bool:
        """Whether the sender of a fresh message has next to nothing waiting here."""
        lane, sender = lane_of(item.priority, 0), sender_of(item)
        last = self._last.get((lane, sender))
        return last is None or last - self._reached[lane] < LIGHT_MESSAGES * self._weights.step(sender)

    def by_priority(self) -> Counter[Priority]:
        """How many wait of each priority."""
        return Counter(entry.item.priority for entry in self)

    def emptied(self) -> list[QueuedItem]:
        """All messages in the order in which they would have left; none is left here."""
        found = list(self._first)
        found += (place[2] for lane in sorted(self._heaps) for place in sorted(self._heaps[lane], key=_order))
        self._first.clear()
        self._heaps.clear()
        self._last.clear()
        self._length = 0
        return found

    def without(self, ids: Collection[int]) -> list[QueuedItem]:
        """Take these out, and give them."""
        taken = [entry for entry in self if entry.id in ids]
        if taken:
            self._first = deque(entry for entry in self._first if entry.id not in ids)
            for lane, heap in list(self._heaps.items()):
                heap[:] = [place for place in heap if place[2].id not in ids]
                heapify(heap)
                if not heap:
                    del self._heaps[lane]
            self._length -= len(taken)
        return taken

    def _put(self, lane: int, turn: int, entry: QueuedItem) -> None:
        heap = self._heaps.get(lane)
        if heap is None:
            heap = self._heaps[lane] = []
        heappush(heap, (turn, entry.item.internal_message_id, entry))

    def _forget_senders(self) -> None:
        """Those whose turn is over begin anew; where all have messages waiting, all do."""
        kept = {key: last for key, last in self._last.items() if last > self._reached[key[0]]}
        self._last = kept if len(kept) < SENDERS_REMEMBERED else {}


def _order(place: Place) -> tuple[int, int]:
    return place[:2]
