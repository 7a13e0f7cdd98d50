# SPDX-License-Identifier: MIT
"""Random sequences of transactions, leases and restarts on the SQLite store against plain dictionaries."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridgehead.mail.content import BytesContent
from bridgehead.mail.item import Priority
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import ItemFilter, MessageStatus, QueuedItem, StoreFault, Transaction
from support.queue_store_contract import ACTIVE, DELIVERY, HOP, MANY_BYTES, READY, RETRY, entry

PRIORITIES = st.sampled_from(Priority)
STATUSES = st.sampled_from([READY, RETRY, ACTIVE, MessageStatus.SUSPENDED])
TIMES = st.integers(0, 50).map(float)


class StoreMachine(RuleBasedStateMachine):
    """`model` holds entries by id as committed, `texts` content by content id."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="store-model-"))
        self.generation = 0
        self.model: dict[int, QueuedItem] = {}
        self.texts: dict[int, bytes] = {}
        self.faults: list[StoreFault | None] = []
        self.commits = 0
        self.open()

    def open(self) -> None:
        self.store = SqliteQueueStore(self.folder / str(self.generation), reserve_bytes=4096)
        self.loop.run_until_complete(self.store.open())

    def commit(self, transaction: Transaction) -> None:
        """Without waiting, so that several share a batch."""
        self.commits += 1
        self.store.commit(transaction, self.faults.append)

    def synced(self) -> None:
        self.loop.run_until_complete(self.store.committed(Transaction()))
        assert self.faults == [None] * self.commits

    @rule(count=st.integers(1, 5), priority=PRIORITIES, status=STATUSES, received=TIMES, due=TIMES, deadline=TIMES)
    def put_new(
        self, count: int, priority: Priority, status: MessageStatus, received: float, due: float, deadline: float
    ) -> None:
        """New entries, which share one content."""
        content_id = self.store.allocate_id()
        content = BytesContent(b"text %d" % content_id)
        self.texts[content_id] = content.data
        entries = [
            entry(
                self.store, priority=priority, status=status, received_at=received, due=due, deadline=deadline,
                content=content, content_id=content_id,
            )
            for _ in range(count)
        ]  # fmt: skip
        self.model.update({one.id: one for one in entries})
        self.commit(Transaction(put=entries))

    @rule(data=st.data(), status=STATUSES, due=TIMES, with_content=st.booleans())
    def put_again(self, data: st.DataObject, status: MessageStatus, due: float, with_content: bool) -> None:
        if not self.model:
            return
        one = self.model[data.draw(st.sampled_from(sorted(self.model)))]
        one.status, one.due = status, due
        one.content = BytesContent(self.texts[one.content_id]) if with_content else None
        self.commit(Transaction(put=[one]))

    @rule(data=st.data(), forks=st.integers(0, 3), keeps_content=st.booleans())
    def replace_by_forks(self, data: st.DataObject, forks: int, keeps_content: bool) -> None:
        if not self.model:
            return
        old = self.model.pop(data.draw(st.sampled_from(sorted(self.model))))
        content_id = old.content_id if keeps_content else self.store.allocate_id()
        text = self.texts.setdefault(content_id, b"rewritten %d" % content_id)
        new = [
            entry(
                self.store, content_id=content_id, with_content=not keeps_content, received_at=old.item.received_at,
                content=None if keeps_content else BytesContent(text),
            )
            for _ in range(forks)
        ]  # fmt: skip
        self.model.update({one.id: one for one in new})
        self.commit(Transaction(remove=[old.id], put=new))

    @rule(data=st.data())
    def remove_some(self, data: st.DataObject) -> None:
        if not self.model:
            return
        keys = data.draw(st.lists(st.sampled_from(sorted(self.model)), max_size=4, unique=True))
        for key in keys:
            del self.model[key]
        self.commit(Transaction(remove=keys))

    @rule(now=TIMES, limit=st.integers(1, 6))
    def lease(self, now: float, limit: int) -> None:
        due = {
            one.id for one in self.model.values() if one.status is READY or (one.status is RETRY and one.due <= now)
        }  # fmt: skip
        taken = self.loop.run_until_complete(self.store.lease(DELIVERY, HOP, now, limit, MANY_BYTES))
        assert len(taken) == min(limit, len(due))
        assert due.issuperset(one.id for one in taken)
        for one in taken:
            assert one.content == BytesContent(self.texts[one.content_id])
            self.model[one.id].status = ACTIVE

    @rule(now=TIMES)
    def past_deadline(self, now: float) -> None:
        late = {one.id for one in self.model.values() if one.status in (READY, RETRY) and 0 < one.deadline <= now}
        taken = self.loop.run_until_complete(self.store.past_deadline(now, 1_000))
        assert {one.id for one in taken} == late
        for one in taken:
            self.model[one.id].status = ACTIVE

    @rule()
    def next_due(self) -> None:
        waiting = [
            0.0 if one.status is READY else one.due for one in self.model.values() if one.status in (READY, RETRY)
        ]
        found = self.loop.run_until_complete(self.store.next_due(DELIVERY, HOP))
        assert found == min(waiting, default=None)

    @rule(in_order=st.booleans())
    def restart(self, in_order: bool) -> None:
        self.synced()
        before, self.generation = self.folder / str(self.generation), self.generation + 1
        if in_order:
            self.loop.run_until_complete(self.store.close())
            before.rename(self.folder / str(self.generation))
        else:
            shutil.copytree(before, self.folder / str(self.generation))
            self.loop.run_until_complete(self.store.close())
        for one in self.model.values():
            if one.status is ACTIVE:
                one.status, one.in_doubt = READY, True
                one.crash_count += not in_order
        self.open()
        self.loop.run_until_complete(self.store.settled())

    @rule()
    def compare(self) -> None:
        self.synced()
        found = self.loop.run_until_complete(self.store.list_items(ItemFilter(limit=10_000)))
        assert {one.id: (one.status, one.due, one.in_doubt, one.crash_count) for one in found} == {
            one.id: (one.status, one.due, one.in_doubt, one.crash_count) for one in self.model.values()
        }
        assert self.loop.run_until_complete(self.store.verify()) == []

    @invariant()
    def nothing_failed(self) -> None:
        assert all(fault is None for fault in getattr(self, "faults", []))

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            self.compare()
        finally:
            self.loop.run_until_complete(self.store.close())
            self.loop.close()
            shutil.rmtree(self.folder)


TestStoreModel = StoreMachine.TestCase
TestStoreModel.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
