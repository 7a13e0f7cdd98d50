# SPDX-License-Identifier: MIT
"""The messages of one next hop that wait in memory, in the order in which they are to leave.

The same order as on disk (`queues/fairness.py`): shares of priorities and of retries, turns of senders. A message that
finds nobody waiting costs nothing of that, which is the common case.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import chain, count
from typing import Final

from bridgehead.mail.item import MailItem, Priority
from bridgehead.queues.fairness import LANES, Shares, Weights, lane_of, sender_of
from bridgehead.queues.store import QueuedItem

LIGHT_MESSAGES: Final = 4
"""A sender with fewer messages waiting here is light."""
SENDERS_REMEMBERED: Final = 5_000

Key = tuple[int, str]
"""Lane and sender."""
Slot = tuple[int, int, Key]
"""Turn, order of arrival, and whose it is."""


class FairWindow:
    """A bounded number of messages; the bound is the caller's.

    Each message brings its sender a slot. When the slot's turn has come, the sender's oldest message leaves.
    """

    __slots__ = ("_first", "_last", "_length", "_order", "_reached", "_shares", "_slots", "_waiting", "_weights")

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._shares = Shares()
        self._first: deque[QueuedItem] = deque()
        """Given back untried, or come while nobody waited: these go before all others."""
        self._waiting: dict[Key, deque[QueuedItem]] = {}
        self._slots: dict[int, list[Slot]] = {}
        """By lane, a heap each."""
        self._reached = [0] * len(LANES)
        self._last: dict[Key, int] = {}
        self._order = count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[QueuedItem]:
        """In no particular order."""
        return chain(self._first, *self._waiting.values())

    def add(self, entry: QueuedItem) -> None:
        """A fresh message, behind its sender's others."""
        self._length += 1
        if self._length == 1:
            self._first.append(entry)
            return
        self._slot_for(entry).append(entry)

    def add_older(self, entries: Sequence[QueuedItem]) -> None:
        """Messages from disk, in their order: before what is younger of the same sender."""
        self._length += len(entries)
        older: dict[int, list[QueuedItem]] = {}
        places: dict[int, deque[QueuedItem]] = {}
        for entry in entries:
            waiting = self._slot_for(entry)
            places[id(waiting)] = waiting
            older.setdefault(id(waiting), []).append(entry)
        for key, waiting in places.items():
            waiting.extendleft(reversed(older[key]))

    def put_back(self, entry: QueuedItem) -> None:
        """A message that was taken and not tried is the first again."""
        self._length += 1
        self._first.appendleft(entry)

    def take(self, held_up: Collection[Priority] = ()) -> QueuedItem | None:
        """The next message, of a priority that is not held up; None where there is none."""
        first, slots = self._first, self._slots
        if held_up:
            for entry in first:
                if entry.item.priority not in held_up:
                    first.remove(entry)
                    self._length -= 1
                    return entry
            lanes = [lane for lane in slots if lane >> 1 not in held_up]
        elif first:
            self._length -= 1
            return first.popleft()
        else:
            lanes = list(slots)
        if not lanes:
            return None
        lane = lanes[0] if len(lanes) == 1 else self._shares.next_lane(lanes)
        heap = slots[lane]
        turn, _, key = heappop(heap)
        if not heap:
            del slots[lane]
        waiting = self._waiting[key]
        entry = waiting.popleft()
        if not waiting:
            del self._waiting[key]
        if turn > self._reached[lane]:
            self._reached[lane] = turn
        self._length -= 1
        return entry

    def is_light(self, item: MailItem) -> bool:
        """Whether the sender of a fresh message has next to nothing waiting here."""
        waiting = self._waiting.get((lane_of(item.priority, 0), sender_of(item)))
        return waiting is None or len(waiting) < LIGHT_MESSAGES

    def by_priority(self) -> Counter[Priority]:
        """How many wait of each priority."""
        return Counter(entry.item.priority for entry in self)

    def emptied(self) -> list[QueuedItem]:
        """All messages, each sender's in order; none is left here."""
        found = list(self)
        self._first.clear()
        self._waiting.clear()
        self._slots.clear()
        self._last.clear()
        self._length = 0
        return found

    def without(self, ids: Collection[int]) -> list[QueuedItem]:
        """Take these out, and give them."""
        taken = [entry for entry in self if entry.id in ids]
        if not taken:
            return taken
        self._first = deque(entry for entry in self._first if entry.id not in ids)
        for key, waiting in list(self._waiting.items()):
            kept = deque(entry for entry in waiting if entry.id not in ids)
            if len(kept) < len(waiting):
                self._keep_slots(key, len(kept))
                self._waiting[key] = kept
                if not kept:
                    del self._waiting[key]
        self._length -= len(taken)
        return taken

    def _slot_for(self, entry: QueuedItem) -> deque[QueuedItem]:
        """Another turn for the entry's sender; where its messages wait."""
        item = entry.item
        lane = lane_of(item.priority, entry.retry_count)
        key = (lane, sender_of(item))
        turn, last = self._reached[lane], self._last.get(key)
        if last is not None:
            turn = max(turn, last + self._weights.step(key[1]))
        elif len(self._last) >= SENDERS_REMEMBERED:
            self._forget_senders()
        self._last[key] = turn
        heap = self._slots.get(lane)
        if heap is None:
            heap = self._slots[lane] = []
        heappush(heap, (turn, next(self._order), key))
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = deque()
        return waiting

    def _keep_slots(self, key: Key, number: int) -> None:
        """The first so many of a sender's slots."""
        lane = key[0]
        mine = sorted(slot for slot in self._slots[lane] if slot[2] == key)
        heap = [slot for slot in self._slots[lane] if slot[2] != key] + mine[:number]
        if heap:
            heapify(heap)
            self._slots[lane] = heap
        else:
            del self._slots[lane]

    def _forget_senders(self) -> None:
        """Those whose turn is over begin anew; where all have messages waiting, all do."""
        kept = {key: last for key, last in self._last.items() if last > self._reached[key[0]]}
        self._last = kept if len(kept) < SENDERS_REMEMBERED else {}
