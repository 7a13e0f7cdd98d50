# SPDX-License-Identifier: MIT
"""Standing rules over a real store: both ends of their lives, also where a crash comes in between."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from bridgehead.admin.faults import AdminFault
from bridgehead.admin.queue.standing_rules import CANCELLED, FAIL, HOLD, IN_FORCE, RULE, StandingRule, StandingRules
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import ItemFilter, MessageStatus, Note, QueuedItem, Transaction
from support.queue_actions import actions_over
from support.running_server import NOW, queued


class Book:
    """Rules over a store, and who judges at present."""

    def __init__(self, store: SqliteQueueStore) -> None:
        self.store, self.time = store, NOW
        self.gate: StandingRules | None = None
        self.make()

    def make(self) -> None:
        self.actions = actions_over(self.store, lambda: self.time)  # type: ignore[arg-type]
        self.rules = StandingRules(self.store, self.actions, self.set_gate)

    def set_gate(self, gate: StandingRules | None) -> None:
        self.gate = gate

    async def start(self) -> None:
        await self.actions.start()
        await self.rules.start()

    async def stop(self) -> None:
        await self.rules.stop()
        await self.actions.stop()

    async def put(self, *recipients: str) -> list[QueuedItem]:
        entries = [queued(self.store, recipient) for recipient in recipients]  # type: ignore[arg-type]
        await self.store.committed(Transaction(put=entries))
        return entries

    async def statuses(self) -> dict[str, tuple[str, int]]:
        """Status and rule by recipient, once all actions have ended."""
        for record in await self.actions.archive.records(100):
            await self.actions.ended(record.id, 10)
        found = await self.store.list_items(ItemFilter())
        return {
            str(one.item.envelope.recipients[0].forward_path): (
                "SUSPENDED" if one.status is MessageStatus.SUSPENDED else "FREE",
                one.item.handling.rule if one.item.handling else 0,
            )
            for one in found
        }  # fmt: skip


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Book]:
    store = SqliteQueueStore(tmp_path / "queue", reserve_bytes=65_536)
    await store.open()
    one = Book(store)
    yield one
    await one.stop()
    await store.close()


async def test_a_rule_found_without_its_sweep_is_put_in_force_and_swept(book: Book) -> None:
    await book.put("ann@contoso.com", "bob@fabrikam.com")
    rule = StandingRule(
        id=3, verb=HOLD, filter="Recipients -like '*@contoso.com'", by="anna", reason="wave", created=NOW
    )
    await book.store.swap([], [Note(RULE, 3, 0, msgspec.msgpack.encode(rule))])
    await book.start()
    assert book.gate is book.rules
    assert await book.statuses() == {"ann@contoso.com": ("SUSPENDED", 3), "bob@fabrikam.com": ("FREE", 0)}
    assert (await book.rules.add(HOLD, "{Size -gt 1GB}", "anna", "x", 0.0)).id == 4


async def test_a_rule_that_ended_without_its_release_is_released_at_the_next_start(book: Book) -> None:
    await book.start()
    await book.put("ann@contoso.com")
    rule = await book.rules.add(HOLD, "{Size -gt 0}", "anna", "wave", 0.0)
    assert await book.statuses() == {"ann@contoso.com": ("SUSPENDED", rule.id)}
    await book.stop()
    rule.state = CANCELLED
    await book.store.swap([], [Note(RULE, rule.id, 0, msgspec.msgpack.encode(rule))])
    book.gate = None
    book.make()
    await book.start()
    assert book.gate is None
    assert await book.statuses() == {"ann@contoso.com": ("FREE", 0)}


async def test_what_another_rule_holds_too_stays_when_one_ends(book: Book) -> None:
    await book.start()
    await book.put("ann@contoso.com", "bob@fabrikam.com")
    wide = await book.rules.add(HOLD, "{Size -gt 0}", "anna", "all", 0.0)
    await book.statuses()
    narrow = await book.rules.add(HOLD, "{Recipients -like '*@contoso.com'}", "anna", "some", 0.0)
    await book.statuses()
    await book.rules.cancel(wide.id, "anna", "")
    assert await book.statuses() == {"ann@contoso.com": ("SUSPENDED", narrow.id), "bob@fabrikam.com": ("FREE", 0)}
    await book.rules.cancel(narrow.id, "anna", "")
    assert await book.statuses() == {"ann@contoso.com": ("FREE", 0), "bob@fabrikam.com": ("FREE", 0)}
    assert book.gate is None
    with pytest.raises(AdminFault, match="ended already"):
        await book.rules.cancel(narrow.id, "anna", "")


async def test_mail_to_come_is_judged_by_the_oldest_rule_that_fits_and_counted(book: Book) -> None:
    await book.start()
    assert book.gate is None
    first = await book.rules.add(HOLD, "{Recipients -like '*@contoso.com'}", "anna", "one", 0.0)
    await book.rules.add(FAIL, "{Size -gt 0}", "ben", "two", 0.0)
    assert book.gate is not None
    held = book.gate.judge(queued(book.store, "ann@contoso.com"))  # type: ignore[arg-type]
    failed = book.gate.judge(queued(book.store, "bob@fabrikam.com"))  # type: ignore[arg-type]
    assert held is not None
    assert failed is not None
    assert (held.rule, held.with_ndr, held.by) == (first.id, False, "anna")
    assert (failed.with_ndr, failed.reason) == (True, "two")
    await book.stop()
    book.make()
    await book.start()
    assert [(one.state, one.matched) for one in await book.rules.rules()] == [(IN_FORCE, 1), (IN_FORCE, 1)]


async def test_a_filter_that_cannot_be_read_makes_no_rule(book: Book) -> None:
    await book.start()
    with pytest.raises(AdminFault, match="no property"):
        await book.rules.add(HOLD, "{Sise -gt 1}", "anna", "x", 0.0)
    assert await book.rules.rules() == []
    assert MessageStatus.SUSPENDED.name not in {one for one, _ in (await book.statuses()).values()}
