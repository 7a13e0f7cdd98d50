# SPDX-License-Identifier: MIT
"""Many transactions as one: what a batch of changes comes to once it is committed as a whole.

Transactions of one batch share one commit, so only what stands at its end is written: an entry that came and left
within the batch never touches the disk. Which content goes follows from counting, for each content, how many
entries hold it before and after. Pure; `sqlite/writing.py` runs the plan.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from bridgehead.mail.content import Content
from bridgehead.queues.fairness import Turns, sender_of
from bridgehead.queues.record import (
    CONTENT_ID,
    ID,
    LANE,
    NEXT_HOP,
    QUEUE,
    STATUS,
    ItemRow,
    item_row,
    state_row,
)
from bridgehead.queues.store import Done, MessageStatus, QueueState, StoreFault, Transaction

_READY, _RETRY = int(MessageStatus.READY), int(MessageStatus.RETRY)
_NONE: dict[int, str] = {}


class Change(msgspec.Struct):
    """A transaction, or a queue's new state, in the form in which it is stored. Taken when `commit` is called: what
    the caller does to its objects later changes nothing.

    Attributes:
        remove: ids of entries that leave.
        rows: entries that come or are replaced.
        contents: content by id, as far as given.
        states: rows of `queue_state`.
        done: whom to tell.
        senders: of the rows that begin to wait.
    """

    remove: tuple[int, ...]
    rows: list[ItemRow]
    contents: dict[int, Content]
    states: tuple[tuple[int, str, bytes], ...] = ()
    done: Done | None = None
    senders: dict[int, str] = _NONE

    @property
    def brings_content(self) -> bool:
        """It may need more room on the disk than it sets free."""
        return bool(self.contents)


def change_of(transaction: Transaction, epoch: int, done: Done | None) -> Change:
    """Raises what msgspec raises where a record cannot be encoded."""
    if not transaction.put:
        return Change(tuple(transaction.remove), [], {}, (), done)
    rows, contents, senders = [], {}, _NONE
    for entry in transaction.put:
        row = item_row(entry, epoch)
        rows.append(row)
        if entry.content is not None:
            contents[entry.content_id] = entry.content
        if row[STATUS] == _READY or row[STATUS] == _RETRY:
            if not senders:
                senders = {}
            senders[row[ID]] = sender_of(entry.item)
    return Change(tuple(transaction.remove), rows, contents, (), done, senders)


def change_of_state(state: QueueState, done: Done | None) -> Change:
    return Change((), [], {}, (state_row(state),), done)


class Plan(msgspec.Struct):
    """What a batch comes to.

    Attributes:
        rows: entries to write.
        gone: stored entries to delete.
        states: rows of `queue_state` to write.
        gained, lost: content id → by how many entries more or fewer hold it.
        contents: content given by the batch.
        held: content ids that stored entries of this batch hold before it.
        senders: of the rows that begin to wait.
    """

    rows: list[ItemRow]
    gone: list[int]
    states: list[tuple[int, str, bytes]]
    gained: dict[int, int]
    lost: dict[int, int]
    contents: dict[int, Content]
    held: set[int]
    senders: dict[int, str]


def plan(changes: Iterable[Change], stored: Callable[[Iterable[int]], Mapping[int, int]]) -> Plan:
    """Args:
        changes: in the order of the calls.
        stored: content id of each of the given entries that is in the store before the batch.

    Raises StoreFault where the batch contradicts itself.
    """
    final: dict[int, ItemRow | None] = {}
    contents: dict[int, Content] = {}
    states: dict[tuple[int, str], tuple[int, str, bytes]] = {}
    senders: dict[int, str] = {}
    for change in changes:
        for gone in change.remove:
            final[gone] = None
        for row in change.rows:
            final[row[0]] = row
        if change.contents:
            contents.update(change.contents)
        if change.senders:
            senders.update(change.senders)
        for state in change.states:
            states[state[:2]] = state
    before = stored(final)
    difference: dict[int, int] = {}
    for key, row_then in final.items():
        old, new = before.get(key), None if row_then is None else row_then[CONTENT_ID]
        if old == new:
            continue
        if old is not None:
            difference[old] = difference.get(old, 0) - 1
        if new is not None:
            difference[new] = difference.get(new, 0) + 1
    return Plan(
        rows=[row for row in final.values() if row is not None],
        gone=[key for key, row in final.items() if row is None and key in before],
        states=list(states.values()),
        gained={content: count for content, count in difference.items() if count > 0},
        lost={content: -count for content, count in difference.items() if count < 0},
        contents=contents,
        held=set(before.values()),
        senders=senders,
    )


def give_turns(todo: Plan, turns: Turns) -> None:
    """Let rows that wait have their turns, and those that do no longer give theirs up."""
    for gone in todo.gone:
        turns.tried(gone)
    if not todo.senders:
        return
    for place, row in enumerate(todo.rows):
        status, key = row[STATUS], row[ID]
        if status != _READY and status != _RETRY:
            continue
        if status == _RETRY:
            turns.tried(key)
        turn = turns.place((row[QUEUE], row[NEXT_HOP], row[LANE]), todo.senders[key], key)
        todo.rows[place] = (*row[:-1], turn)


def check_complete(gained: Iterable[int], contents: Mapping[int, Content], present: set[int]) -> None:
    """Refuse entries whose content is neither given nor stored. Raises StoreFault."""
    for content in gained:
        if content not in present and content not in contents:
            raise StoreFault(f"content {content} of a new entry is neither given nor stored")
