# SPDX-License-Identifier: MIT
"""`MemoryQueueStore`: the port `QueueStore` without a disk, for tests of the stages. Nothing survives the process.

Keeps entries as the SQLite store does - encoded, so that changing an object after its commit changes nothing - and
completes commits on the next turn of the event loop, in order.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.limits import INLINE_CONTENT_BYTES
from bridgehead.queues.batch import Change, change_of, change_of_state, check_complete, give_turns, plan
from bridgehead.queues.fairness import LaneKey, Turns, Weights
from bridgehead.queues.filtering import predicate
from bridgehead.queues.overview import overview_of
from bridgehead.queues.record import (
    CONTENT_ID,
    LANE,
    NEXT_HOP,
    QUEUE,
    STATUS,
    TURN,
    ItemRow,
    entry_of,
    next_hop_key,
    next_hop_of,
    state_of,
)
from bridgehead.queues.states import Event, next_status
from bridgehead.queues.store import (
    Done,
    ItemFilter,
    MessageStatus,
    Note,
    Page,
    Place,
    Problem,
    QueuedItem,
    QueueKind,
    QueueOverview,
    QueueState,
    QueueSummary,
    StoreFault,
    Swap,
    Transaction,
)
from bridgehead.queues.swaps import settle
from bridgehead.routing.next_hop import NextHop

_WAITING = (MessageStatus.READY, MessageStatus.RETRY)
_TIMED = (QueueKind.DELIVERY, QueueKind.UNREACHABLE)


@dataclass
class _Stored:
    content: Content
    holders: int = 0


class MemoryQueueStore:
    """See the port. Reopening the same object finds what was there, as a restart does."""

    def __init__(self) -> None:
        self.weights = Weights({})
        self._turns = Turns(self._first_turn, self.weights)
        self._rows: dict[int, ItemRow] = {}
        self._contents: dict[int, _Stored] = {}
        self._states: dict[tuple[int, str], bytes] = {}
        self._notes: dict[tuple[int, int, int], Note] = {}
        self._next_id = 1
        self._open = False
        self._clean = True

    async def open(self) -> None:
        """Give back what was left ACTIVE."""
        crashed, self._clean, self._open = not self._clean, False, True
        self._loop = asyncio.get_running_loop()
        for key in list(self._rows):
            entry = self._entry(key)
            if entry.status in (MessageStatus.READY, MessageStatus.RETRY, MessageStatus.SUSPENDED):
                continue
            entry.in_doubt = entry.in_doubt or entry.queue in (QueueKind.SUBMISSION, QueueKind.DELIVERY)
            entry.crash_count += crashed
            following = next_status(entry.status, Event.RESTART)
            assert isinstance(following, MessageStatus)
            entry.status = following
            self._apply(change_of(Transaction(put=[entry]), 0, None))
        self._turns.look_again()

    async def close(self) -> None:
        self._open, self._clean = False, True

    def allocate_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def commit(self, transaction: Transaction, done: Done | None = None, *, urgent: bool = True) -> None:
        fault = None if self._open else StoreFault("the queue store is closed")
        if fault is None:
            try:
                self._apply(change_of(transaction, 0, done))
            except Exception as error:
                fault = error if isinstance(error, StoreFault) else StoreFault(f"an entry cannot be stored: {error}")
        if done is not None:
            self._loop.call_soon(done, fault)

    async def committed(self, transaction: Transaction) -> None:
        future: asyncio.Future[StoreFault | None] = self._loop.create_future()
        self.commit(transaction, lambda fault: None if future.cancelled() else future.set_result(fault))
        if (fault := await future) is not None:
            raise fault

    def set_queue_state(self, state: QueueState, done: Done | None = None) -> None:
        self._apply(change_of_state(state, done))
        if done is not None:
            self._loop.call_soon(done, None)

    def _apply(self, change: Change) -> None:
        todo = plan([change], lambda keys: {key: self._rows[key][CONTENT_ID] for key in keys if key in self._rows})
        check_complete(todo.gained, todo.contents, set(self._contents))
        give_turns(todo, self._turns)
        for content, count in todo.gained.items():
            if content not in self._contents:
                self._contents[content] = _Stored(todo.contents[content])
            self._contents[content].holders += count
        for content, count in todo.lost.items():
            self._contents[content].holders -= count
            if not self._contents[content].holders:
                del self._contents[content]
        for gone in todo.gone:
            del self._rows[gone]
        self._rows.update({row[0]: row for row in todo.rows})
        for queue, key, record in todo.states:
            if record:
                self._states[queue, key] = record
            else:
                self._states.pop((queue, key), None)

    def _entry(self, key: int) -> QueuedItem:
        row = self._rows[key]
        return entry_of(row, self._contents[row[CONTENT_ID]].content)

    def _entries(self) -> list[QueuedItem]:
        """By age."""
        return sorted(map(self._entry, self._rows), key=lambda entry: (entry.item.received_at, entry.id))

    async def lease(
        self, queue: QueueKind, next_hop: NextHop | None, now: float, limit: int, max_bytes: int
    ) -> list[QueuedItem]:
        due = [
            entry
            for entry in self._entries()
            if entry.queue is queue
            and entry.next_hop == next_hop
            and (entry.status is MessageStatus.READY or (entry.status is MessageStatus.RETRY and entry.due <= now))
        ]
        lanes: dict[int, list[QueuedItem]] = {}
        for entry in sorted(due, key=lambda entry: (self._rows[entry.id][TURN], entry.id)):
            lanes.setdefault(self._rows[entry.id][LANE], []).append(entry)
        taken: list[QueuedItem] = []
        total = 0
        for entry in self._turns.shares(int(queue), next_hop_key(next_hop)).chosen(lanes, limit):
            total += entry.item.size if entry.item.size <= INLINE_CONTENT_BYTES else 0
            if taken and total > max_bytes:
                break
            taken.append(entry)
        return self._take(taken, in_turn=True)

    async def ready_behind(
        self, queue: QueueKind, next_hop: NextHop | None, place: Place, limit: int
    ) -> list[tuple[Place, QueuedItem]]:
        key = (int(queue), next_hop_key(next_hop), int(MessageStatus.READY))
        rows = [row for row in self._rows.values() if (row[QUEUE], row[NEXT_HOP], row[STATUS]) == key]
        places = sorted((row[LANE], row[TURN], row[0]) for row in rows)
        return [(one, entry_of(self._rows[one[2]])) for one in places if one > place][:limit]

    async def bring_forward(self, later_than: float, seconds: float) -> int:
        late = [entry for entry in self._entries() if entry.status is MessageStatus.RETRY and entry.due > later_than]
        for entry in late:
            entry.due = max(0.0, entry.due - seconds)
            row = change_of(Transaction(put=[entry]), 0, None).rows[0]
            self._rows[entry.id] = (*row[:TURN], self._rows[entry.id][TURN])
        return len(late)

    async def past_deadline(self, now: float, limit: int) -> list[QueuedItem]:
        late = [
            entry
            for entry in self._entries()
            if entry.queue in _TIMED and entry.status in _WAITING and 0 < entry.deadline <= now
        ]
        return self._take(sorted(late, key=lambda entry: entry.deadline)[:limit], in_turn=False)

    def _first_turn(self, lane: LaneKey) -> int | None:
        rows = [row for row in self._rows.values() if row[STATUS] in _WAITING]
        return min((row[TURN] for row in rows if (row[QUEUE], row[NEXT_HOP], row[LANE]) == lane), default=None)

    def _take(self, entries: list[QueuedItem], *, in_turn: bool) -> list[QueuedItem]:
        for entry in entries:
            row = self._rows[entry.id]
            self._turns.leased((row[QUEUE], row[NEXT_HOP], row[LANE]), row[TURN], entry.id, in_turn=in_turn)
            entry.status = MessageStatus.ACTIVE
            self._rows[entry.id] = change_of(Transaction(put=[entry]), 0, None).rows[0]
        return entries

    async def next_due(self, queue: QueueKind, next_hop: NextHop | None) -> float | None:
        waiting = [
            0.0 if entry.status is MessageStatus.READY else entry.due
            for entry in self._entries()
            if entry.queue is queue and entry.next_hop == next_hop and entry.status in _WAITING
        ]
        return min(waiting, default=None)

    async def count_waiting(self, queue: QueueKind, limit: int) -> int:
        waiting = [entry.status for entry in self._entries() if entry.queue is queue]
        return sum(min(limit, waiting.count(status)) for status in _WAITING)

    async def get(self, internal_message_id: int) -> QueuedItem | None:
        return self._entry(internal_message_id) if internal_message_id in self._rows else None

    async def list_items(self, wanted: ItemFilter) -> list[QueuedItem]:
        accepts = predicate(wanted)
        found = [entry for entry in self._entries() if accepts(entry)][: wanted.limit]
        for entry in found:
            entry.content = None
        return found

    async def page(self, wanted: ItemFilter, accepts: Callable[[QueuedItem], bool], after: int, before: int) -> Page:
        fits = predicate(wanted)
        found = [self._entry(key) for key in sorted(self._rows) if after < key < before]
        for entry in found:
            entry.content = None
        found = [entry for entry in found if fits(entry) and accepts(entry)]
        return Page(found[: wanted.limit], found[wanted.limit - 1].id if len(found) >= wanted.limit else 0)

    async def swap(self, swaps: Sequence[Swap], notes: Sequence[Note] = (), put: Sequence[QueuedItem] = ()) -> set[int]:
        def stored(keys: list[int]) -> dict[int, ItemRow]:
            return {key: self._rows[key] for key in keys if key in self._rows}

        try:
            swapped = settle(swaps, notes, put, stored, 0)
        except (UnicodeError, TypeError) as error:
            raise StoreFault(f"an entry cannot be stored: {error}") from error
        self._apply(swapped.change)
        for note in swapped.notes:
            if note.record:
                self._notes[note.kind, note.id, note.part] = note
            else:
                self._notes.pop((note.kind, note.id, note.part), None)
        await asyncio.sleep(0)
        return swapped.refused

    async def notes(self, kind: int, id: int | None = None, after: int = -1, limit: int = 1000) -> list[Note]:
        found = [note for _, note in sorted(self._notes.items()) if note.kind == kind]
        if id is None:
            return [note for note in found if note.part == 0 and note.id > after][:limit]
        return [note for note in found if note.id == id and note.part > after][:limit]

    async def overview(self, limit: int) -> QueueOverview:
        states = {(QueueKind(queue), next_hop_of(key)): state_of(one) for (queue, key), one in self._states.items()}
        return overview_of(self._entries(), {key: state.status for key, state in states.items()}, limit)

    async def queue_states(self) -> list[QueueState]:
        return [state_of(record) for record in self._states.values()]

    async def queues(self) -> list[QueueSummary]:
        states = {(queue, next_hop_of(key)): state_of(record) for (queue, key), record in self._states.items()}
        found: dict[tuple[int, NextHop | None], QueueSummary] = {
            key: QueueSummary(state=state, message_count=0, counts_by_status={}) for key, state in states.items()
        }
        for entry in self._entries():
            key = (int(entry.queue), entry.next_hop)
            if key not in found:
                state = QueueState(queue=entry.queue, next_hop=entry.next_hop)
                found[key] = QueueSummary(state=state, message_count=0, counts_by_status={})
            one = found[key]
            one.oldest_received = one.oldest_received or entry.item.received_at
            one.message_count += 1
            one.counts_by_status[entry.status] = one.counts_by_status.get(entry.status, 0) + 1
            priority = int(entry.item.priority)
            one.counts_by_priority[priority] = one.counts_by_priority.get(priority, 0) + 1
            if entry.status is MessageStatus.RETRY:
                one.deferred_by_priority[priority] = one.deferred_by_priority.get(priority, 0) + 1
            one.total_bytes += entry.item.size
        return [found[key] for key in sorted(found, key=lambda key: (key[0], str(key[1] or "")))]

    async def verify(self) -> list[Problem]:
        """Nothing can go wrong on a disk that is not there."""
        return []

    def new_content_file(self) -> "MemoryContentWriter":
        return MemoryContentWriter()


class MemoryContentWriter:
    """A `ContentWriter` that keeps what it is given."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self._parts.append(bytes(data))

    async def finish(self) -> BytesContent:
        return BytesContent(b"".join(self._parts))

    async def discard(self) -> None:
        self._parts.clear()
