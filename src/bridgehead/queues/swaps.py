# SPDX-License-Identifier: MIT
"""Administrators' changes as a store takes them: swaps of entries that are still as they were seen. Pure.

A swap compares what is stored with what the caller saw, entry by entry, and keeps those that agree.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from bridgehead.queues.batch import Change, change_of
from bridgehead.queues.record import ItemRow, entry_of
from bridgehead.queues.store import Note, QueuedItem, StoreUnreadable, Swap, Transaction


class Swapped(msgspec.Struct):
    """What a batch of swaps comes to: the ids refused, the change to write, the notes to keep."""

    refused: set[int]
    change: Change
    notes: list[Note]


def settle(
    swaps: Sequence[Swap], notes: Sequence[Note], new: Sequence[QueuedItem],
    stored: Callable[[list[int]], Mapping[int, ItemRow]], epoch: int,
) -> Swapped:  # fmt: skip
    """Compare each swap with what is stored. Raises what msgspec raises where a record cannot be encoded.

    Args:
        new: entries that come with their content.
        stored: rows of the given entries, as far as they are there.
    """
    rows = stored([swap.id for swap in swaps])
    refused: set[int] = set()
    remove: list[int] = []
    put = list(new)
    kept = list(notes)
    for swap in swaps:
        row = rows.get(swap.id)
        if row is None or not _is_as_seen(row, swap.before):
            refused.add(swap.id)
            continue
        if swap.after is None:
            remove.append(swap.id)
        else:
            put.append(swap.after)
        if swap.note is not None:
            kept.append(swap.note)
    return Swapped(refused, change_of(Transaction(remove, put), epoch, None), kept)


def _is_as_seen(row: ItemRow, before: QueuedItem | None) -> bool:
    """Whether a stored row says what the caller saw; content apart, which never changes."""
    if before is None:
        return True
    try:
        return entry_of(row) == msgspec.structs.replace(before, content=None)
    except StoreUnreadable:
        return False
