# SPDX-License-Identifier: MIT
"""Many transactions as one: what a batch of changes comes to once it is committed as a whole.

Transactions of one batch share one commit, so only what stands at its end is written: an entry that came and left
within the batch never touches the disk. Which content goes follows from counting, for each content, how many
entries hold it before and after. Pure; `writer.py` runs the plan.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from bridgehead.mail.content import Content
from bridgehead.queues.record import CONTENT_ID, ItemRow, item_row, state_row
from bridgehead.queues.store import Done, QueueState, StoreFault, Transaction


class Change(msgspec.Struct):
    """A transaction, or a queue's new state, in the form in which it is stored. Taken when `commit` is called: what
    the caller does to its objects later changes nothing.

    Attributes:
        remove: ids of entries that leave.
        rows: entries that come or are replaced.
        contents: content by id, as far as given.
        states: rows of `queue_state`.
        done: whom to tell.
    """

    remove: tuple[int, ...]
    rows: list[ItemRow]
    contents: dict[int, Content]
    states: tuple[tuple[int, str, bytes], ...] = ()
    done: Done | None = None

    @property
    def brings_content(self) -> bool:
        """It may need more room on the disk than it sets free."""
        return bool(self.contents)


def change_of(transaction: Transaction, epoch: int, done: Done | None) -> Change:
    """Raises what msgspec raises where a record cannot be encoded."""
    if not transaction.put:
        return Change(tuple(transaction.remove), [], {}, (), done)
    rows, contents = [], {}
    for entry in transaction.put:
        rows.append(item_row(entry, epoch))
        if entry.content is not None:
            contents[entry.content_id] = entry.content
    return Change(tuple(transaction.remove), rows, contents, (), done)


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
    """

    rows: list[ItemRow]
    gone: list[int]
    states: list[tuple[int, str, bytes]]
    gained: dict[int, int]
    lost: dict[int, int]
    contents: dict[int, Content]
    held: set[int]


def plan(changes: Iterable[Change], stored: Callable[[Iterable[int]], Mapping[int, int]]) -> Plan:
    """Args:
        changes: in the order of the calls.
        stored: content id of each of the given entries that is in the store before the batch.

    Raises StoreFault where the batch contradicts itself.
    """
    final: dict[int, ItemRow | None] = {}
    contents: dict[int, Content] = {}
    states: dict[tuple[int, str], tuple[int, str, bytes]] = {}
    for change in changes:
        for gone in change.remove:
            final[gone] = None
        for row in change.rows:
            final[row[0]] = row
        if change.contents:
            contents.update(change.contents)
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
    )


def check_complete(gained: Iterable[int], contents: Mapping[int, Content], present: set[int]) -> None:
    """Refuse entries whose content is neither given nor stored. Raises StoreFault."""
    for content in gained:
        if content not in present and content not in contents:
            raise StoreFault(f"content {content} of a new entry is neither given nor stored")
