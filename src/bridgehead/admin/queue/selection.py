# SPDX-License-Identifier: MIT
"""Which queued messages a filter or the target of an action means: page by page, in order of id.

What columns can decide is asked of the store; the rest is compared as pages stream by. Memory holds one page.
"""

from collections.abc import Callable, Coroutine

import msgspec

from bridgehead.admin.queue.action_record import Target
from bridgehead.admin.queue.filter_match import Predicate, compiled
from bridgehead.admin.queue.message_properties import Vantage, message_properties, names_a_queue, narrowed, read_filter
from bridgehead.mail.limits import ACTION_BATCH
from bridgehead.queues.store import ItemFilter, Page, QueuedItem, QueueKind, QueueStore

EVERYTHING = 2**62
"""An id after every id."""


class Selection:
    """Reads the queues for filters and targets.

    Args:
        around: what the properties of messages depend on.
    """

    def __init__(self, store: QueueStore, around: Vantage) -> None:
        self._store, self._around = store, around

    async def listed(self, wanted: ItemFilter, filter_text: str) -> list[QueuedItem]:
        """Entries that fit both, up to `wanted.limit`, in order of id. Raises AdminFault, StoreFault."""
        narrow, fits = await self._reading(filter_text)
        for name in ("queue", "next_hop", "status", "internal_message_id"):
            if getattr(wanted, name) is None:
                wanted = msgspec.structs.replace(wanted, **{name: getattr(narrow, name)})
        wanted = msgspec.structs.replace(wanted, mentions=narrow.mentions, ranges=narrow.ranges)
        found: list[QueuedItem] = []
        cursor = 0
        while len(found) < wanted.limit:
            page = await self._store.page(wanted, fits, cursor, EVERYTHING)
            found += page.entries
            cursor = page.last
            if not cursor:
                break
        return found[: wanted.limit]

    async def pages(self, target: Target) -> Callable[[int, int], Coroutine[None, None, Page]]:
        """A function that gives the entries of a target after one id and before another, a page at a time.

        Raises AdminFault for a filter that cannot be read, StoreFault.
        """
        if target.ids:
            return lambda after, before: self._named(target.ids, after)
        wanted, accepts = await self._reading(target.filter)
        if target.queue is not None:
            wanted = msgspec.structs.replace(wanted, queue=target.queue, next_hop=target.next_hop)
        return lambda after, before: self._store.page(wanted, accepts, after, before)

    async def _reading(self, filter_text: str) -> tuple[ItemFilter, Predicate]:
        """What the store is asked for a filter, and what is compared besides. Raises AdminFault, StoreFault."""
        wanted = ItemFilter(limit=ACTION_BATCH)
        fits: Predicate = _anything
        if filter_text:
            expression = read_filter(filter_text, message_properties(self._around), self._around.now())
            summaries = await self._store.queues() if names_a_queue(expression) else []
            wanted, fits = narrowed(expression, summaries, ACTION_BATCH), compiled(expression)
        if wanted.queue is QueueKind.REMOVED:
            return wanted, fits
        return wanted, lambda entry: entry.queue is not QueueKind.REMOVED and fits(entry)

    async def _named(self, ids: tuple[int, ...], after: int) -> Page:
        part = sorted(key for key in set(ids) if key > after)[:ACTION_BATCH]
        entries: list[QueuedItem] = []
        for key in part:
            entries += await self._store.list_items(ItemFilter(internal_message_id=key))
        return Page(entries, part[-1] if len(part) == ACTION_BATCH else 0)


def _anything(_: QueuedItem) -> bool:
    return True
