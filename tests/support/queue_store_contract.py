# SPDX-License-Identifier: MIT
"""What every `QueueStore` must do. An implementation runs it by subclassing with a `directory`-like fixture of its own."""

import asyncio

import pytest

from bridgehead.mail.address import Mailbox
from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.envelope import Envelope, EnvelopeRecipient
from bridgehead.mail.item import MailItem, Priority
from bridgehead.queues.store import (
    FIRST_PLACE,
    ItemFilter,
    LargeQueue,
    MessageStatus,
    QueuedItem,
    QueueKind,
    QueueState,
    QueueStatus,
    QueueStore,
    QueueTotal,
    StoreFault,
    Transaction,
)
from bridgehead.routing.next_hop import DeliveryType, NextHop

HOP = NextHop(DeliveryType.DNS_CONNECTOR, "example.net", "Internet")
OTHER_HOP = NextHop(DeliveryType.SMART_HOST, "relay.example.com", "Relay")
SUBMISSION, DELIVERY, UNREACHABLE = QueueKind.SUBMISSION, QueueKind.DELIVERY, QueueKind.UNREACHABLE
READY, ACTIVE, RETRY = MessageStatus.READY, MessageStatus.ACTIVE, MessageStatus.RETRY
MANY_BYTES = 10**9


def entry(
    store: QueueStore, queue: QueueKind = DELIVERY, next_hop: NextHop | None = HOP, *, received_at: float = 1000.0,
    priority: Priority = Priority.NORMAL, status: MessageStatus = READY, due: float = 0.0, deadline: float = 0.0,
    content: Content | None = None, content_id: int | None = None, with_content: bool = True, key: int | None = None,
    sender: str = "sender", retry_count: int = 0,
) -> QueuedItem:  # fmt: skip
    """An entry with distinct content, new unless `key` names one."""
    number = store.allocate_id() if key is None else key
    if content is None and with_content:
        content = BytesContent(b"Subject: %d\r\n\r\nText\r\n" % number)
    item = MailItem(
        internal_message_id=number, network_message_id=f"net-{number}", received_at=received_at, priority=priority,
        envelope=Envelope(
            reverse_path=Mailbox(sender, "example.com"),
            recipients=[EnvelopeRecipient(forward_path=Mailbox(f"user{number}", "example.net"))],
        ),
        size=content.size if content else 0, message_id=f"<{number}@example.com>", subject=f"Offer {number}",
    )  # fmt: skip
    return QueuedItem(
        item=item, content=content, content_id=number if content_id is None else content_id, queue=queue,
        next_hop=next_hop if queue is DELIVERY else None, status=status, due=due, deadline=deadline,
        retry_count=retry_count,
    )  # fmt: skip


async def put(store: QueueStore, *entries: QueuedItem) -> None:
    await store.committed(Transaction(put=entries))


async def lease(store: QueueStore, now: float = 2000.0, limit: int = 100, max_bytes: int = MANY_BYTES) -> list[int]:
    return [one.id for one in await store.lease(DELIVERY, HOP, now, limit, max_bytes)]


async def text_of(store: QueueStore, key: int) -> bytes:
    found = await store.get(key)
    assert found is not None
    assert found.content is not None
    with found.content.open() as stream:
        return stream.read()


class QueueStoreContract:
    """Subclasses give a fixture `store` (open) and override `restarted`."""

    async def restarted(self, store: QueueStore) -> QueueStore:
        """The store as it is after its process was killed and started again."""
        raise NotImplementedError

    # --- commits --------------------------------------------------------------------------------------------------

    async def test_an_entry_comes_back_as_it_was_put(self, store: QueueStore) -> None:
        one = entry(store, due=5.5, deadline=7.25, status=RETRY)
        one.retry_count, one.last_error, one.in_doubt, one.crash_count = 3, "451 4.3.0 Later", True, 1
        await put(store, one)
        found = await store.get(one.id)
        assert found == one

    async def test_what_was_put_is_a_copy(self, store: QueueStore) -> None:
        one = entry(store)
        store.commit(Transaction(put=[one]))
        one.item.envelope.recipients.clear()
        await store.committed(Transaction())
        found = await store.get(one.id)
        assert found is not None
        assert len(found.item.envelope.recipients) == 1

    async def test_done_is_called_once_for_each_commit_in_order_and_never_from_within(self, store: QueueStore) -> None:
        called: list[int] = []
        for number in range(10):
            store.commit(Transaction(put=[entry(store)]), lambda fault, number=number: called.append(number))  # type: ignore[misc]
        assert called == []
        await store.committed(Transaction())
        assert called == list(range(10))

    async def test_one_callback_that_raises_does_not_silence_the_others(self, store: QueueStore) -> None:
        raised: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context["exception"]))
        called: list[object] = []

        def fail(fault: StoreFault | None) -> None:
            raise RuntimeError("a stage's fault")

        store.commit(Transaction(put=[entry(store)]), fail)
        store.commit(Transaction(put=[entry(store)]), called.append)
        await store.committed(Transaction())
        assert called == [None]
        assert [str(one) for one in raised] == ["a stage's fault"]

    async def test_removing_and_putting_is_one_step(self, store: QueueStore) -> None:
        first = entry(store, SUBMISSION)
        await put(store, first)
        forks = [entry(store, content_id=first.content_id, with_content=False) for _ in range(2)]
        await store.committed(Transaction(remove=[first.id], put=forks))
        assert await store.get(first.id) is None
        assert {one.id for one in await store.list_items(ItemFilter())} == {one.id for one in forks}

    async def test_a_refused_transaction_changes_nothing_and_the_others_go_on(self, store: QueueStore) -> None:
        stays = entry(store)
        await put(store, stays)
        good, also_good = entry(store), entry(store)
        lacks_content = entry(store, content_id=store.allocate_id(), with_content=False)
        faults: list[StoreFault | None] = []
        store.commit(Transaction(put=[good]), faults.append)
        store.commit(Transaction(remove=[stays.id], put=[lacks_content]), faults.append)
        store.commit(Transaction(put=[also_good]), faults.append)
        await store.committed(Transaction())
        assert [fault is None for fault in faults] == [True, False, True]
        assert "content" in str(faults[1])
        assert {one.id for one in await store.list_items(ItemFilter())} == {stays.id, good.id, also_good.id}

    async def test_what_cannot_be_encoded_is_refused_with_a_reason(self, store: QueueStore) -> None:
        one = entry(store)
        one.item.subject = "\ud800"
        with pytest.raises(StoreFault, match="cannot be stored"):
            await put(store, one)

    async def test_the_order_of_commits_decides(self, store: QueueStore) -> None:
        removed_last, put_last = entry(store), entry(store)
        store.commit(Transaction(put=[removed_last]))
        store.commit(Transaction(remove=[removed_last.id]))
        store.commit(Transaction(remove=[put_last.id]))
        store.commit(Transaction(put=[put_last]))
        await store.committed(Transaction())
        assert await store.get(removed_last.id) is None
        assert await store.get(put_last.id) == put_last

    async def test_removing_what_is_not_there_is_no_fault(self, store: QueueStore) -> None:
        await store.committed(Transaction(remove=[store.allocate_id()]))

    async def test_after_close_a_commit_is_refused(self, store: QueueStore) -> None:
        one = entry(store)
        await store.close()
        with pytest.raises(StoreFault, match="closed"):
            await put(store, one)

    # --- content -----------------------------------------------------------------------------------------------------

    async def test_forks_share_content_until_the_last_has_left(self, store: QueueStore) -> None:
        first = entry(store, SUBMISSION)
        await put(store, first)
        assert first.content is not None
        text = first.content.data
        forks = [entry(store, content_id=first.content_id, with_content=False) for _ in range(3)]
        await store.committed(Transaction(remove=[first.id], put=forks))
        for fork in forks[:2]:
            assert await text_of(store, fork.id) == text
            await store.committed(Transaction(remove=[fork.id]))
        assert await text_of(store, forks[2].id) == text
        await store.committed(Transaction(remove=[forks[2].id]))
        assert await self.content_is_gone(store, first.content_id)

    async def test_forks_of_forks_made_later_share_too(self, store: QueueStore) -> None:
        first = entry(store)
        await put(store, first)
        later = entry(store, content_id=first.content_id, with_content=False)
        await put(store, later)
        await store.committed(Transaction(remove=[first.id]))
        assert await text_of(store, later.id) == b"Subject: %d\r\n\r\nText\r\n" % first.id
        await store.committed(Transaction(remove=[later.id]))
        assert await self.content_is_gone(store, first.content_id)

    async def test_forks_put_at_once_with_their_content(self, store: QueueStore) -> None:
        content, content_id = BytesContent(b"Subject: both\r\n\r\n"), store.allocate_id()
        forks = [entry(store, content=content, content_id=content_id) for _ in range(2)]
        await put(store, *forks)
        await store.committed(Transaction(remove=[forks[0].id]))
        assert await text_of(store, forks[1].id) == content.data

    async def test_an_entry_that_takes_other_content_lets_go_of_the_old(self, store: QueueStore) -> None:
        one = entry(store)
        await put(store, one)
        old = one.content_id
        one.content, one.content_id = BytesContent(b"Subject: rewritten\r\n\r\n"), store.allocate_id()
        await put(store, one)
        assert await text_of(store, one.id) == b"Subject: rewritten\r\n\r\n"
        assert await self.content_is_gone(store, old)

    async def test_replacing_an_entry_keeps_its_content(self, store: QueueStore) -> None:
        one = entry(store)
        await put(store, one)
        text = await text_of(store, one.id)
        one.content = None
        one.queue, one.next_hop = UNREACHABLE, None
        await put(store, one)
        assert await text_of(store, one.id) == text

    async def test_content_written_in_pieces(self, store: QueueStore) -> None:
        writer = store.new_content_file()
        await writer.write(b"Subject: large\r\n")
        await writer.write(b"\r\n" + b"x" * 300_000)
        content = await writer.finish()
        assert content.size == 300_018
        one = entry(store, content=content)
        await put(store, one)
        assert await text_of(store, one.id) == b"Subject: large\r\n\r\n" + b"x" * 300_000

    async def content_is_gone(self, store: QueueStore, content_id: int) -> bool:
        """An entry without content can only refer to content that is still there."""
        probe = entry(store, content_id=content_id, with_content=False)
        try:
            await put(store, probe)
        except StoreFault:
            return True
        await store.committed(Transaction(remove=[probe.id]))
        return False

    # --- leases -------------------------------------------------------------------------------------------------------

    async def test_lease_goes_by_priority_then_by_the_order_of_arrival(self, store: QueueStore) -> None:
        low = entry(store, priority=Priority.LOW)
        first, second = entry(store), entry(store)
        high = entry(store, priority=Priority.HIGH)
        await put(store, low, first, second, high)
        assert await lease(store, limit=3) == [high.id, first.id, second.id]
        assert await lease(store) == [low.id]

    async def test_no_priority_waits_for_ever(self, store: QueueStore) -> None:
        """Each priority has four times the share of the next."""
        for priority in Priority:
            await put(store, *(entry(store, priority=priority) for _ in range(84)))
        taken = [one.item.priority for one in await store.lease(DELIVERY, HOP, 2000.0, 84, MANY_BYTES)]
        assert [taken.count(priority) for priority in Priority] == [64, 16, 4]

    async def test_shares_hold_when_entries_are_taken_one_by_one(self, store: QueueStore) -> None:
        for priority in Priority:
            await put(store, *(entry(store, priority=priority) for _ in range(84)))
        taken = [
            one.item.priority for _ in range(84) for one in await store.lease(DELIVERY, HOP, 2000.0, 1, MANY_BYTES)
        ]
        assert [taken.count(priority) for priority in Priority] == [64, 16, 4]

    async def test_fresh_entries_go_before_retries_which_have_their_share(self, store: QueueStore) -> None:
        retries = [entry(store, status=RETRY, due=1500.0, retry_count=2) for _ in range(50)]
        fresh = [entry(store) for _ in range(50)]
        await put(store, *retries, *fresh)
        taken = await lease(store, limit=20)
        assert taken[0] == fresh[0].id
        assert len(set(taken).intersection(one.id for one in retries)) == 4
        assert len(await lease(store)) == 80

    @pytest.mark.parametrize("status", [READY, RETRY])
    async def test_one_message_does_not_wait_for_the_mailing_of_another_sender(
        self, store: QueueStore, status: MessageStatus
    ) -> None:
        mailing = [entry(store, sender="mailing", status=status) for _ in range(400)]
        await put(store, *mailing)
        first = await lease(store, limit=50)
        single = entry(store, sender="single", status=status)
        await put(store, single, *(entry(store, sender="mailing", status=status) for _ in range(100)))
        assert first == [one.id for one in mailing[:50]]
        assert single.id in await lease(store, limit=2)

    async def test_senders_take_turns(self, store: QueueStore) -> None:
        for sender in ("a", "b", "c"):
            await put(store, *(entry(store, sender=sender) for _ in range(30)))
        taken = await store.lease(DELIVERY, HOP, 2000.0, 30, MANY_BYTES)
        senders = [str(one.item.envelope.reverse_path)[0] for one in taken]
        assert [senders.count(sender) for sender in "abc"] == [10, 10, 10]

    async def test_what_comes_back_untried_keeps_its_turn(self, store: QueueStore) -> None:
        mailing = [entry(store) for _ in range(100)]
        await put(store, *mailing)
        taken = await store.lease(DELIVERY, HOP, 2000.0, 20, MANY_BYTES)
        for one in taken:
            one.status = READY
        await put(store, *taken)
        assert await lease(store, limit=30) == [one.id for one in mailing[:30]]

    async def test_turns_survive_a_restart(self, store: QueueStore) -> None:
        mailing = [entry(store, sender="mailing") for _ in range(200)]
        under_way = [entry(store, sender="mailing", status=ACTIVE) for _ in range(50)]
        await put(store, *mailing, *under_way)
        await lease(store, limit=20)
        store = await self.restarted(store)
        single = entry(store, sender="single")
        await put(store, single)
        assert single.id in (await lease(store, limit=3))
        assert len(await lease(store, limit=1000)) == 248

    async def test_lease_takes_ready_at_once_and_retry_when_due(self, store: QueueStore) -> None:
        waits = entry(store, status=RETRY, due=1500.0)
        ready = entry(store)
        suspended = entry(store, status=MessageStatus.SUSPENDED)
        await put(store, waits, ready, suspended)
        assert await lease(store, now=1499.9) == [ready.id]
        assert await lease(store, now=1499.9) == []
        assert await lease(store, now=1500.0) == [waits.id]

    async def test_a_leased_entry_is_active_and_has_its_content(self, store: QueueStore) -> None:
        one = entry(store)
        await put(store, one)
        [leased] = await store.lease(DELIVERY, HOP, 2000.0, 1, MANY_BYTES)
        assert leased.status is ACTIVE
        assert leased.content == one.content
        stored = await store.get(one.id)
        assert stored is not None
        assert stored.status is ACTIVE

    async def test_lease_sees_what_was_committed_before_it(self, store: QueueStore) -> None:
        one = entry(store)
        store.commit(Transaction(put=[one]))
        assert await lease(store) == [one.id]

    async def test_lease_keeps_content_in_memory_within_bounds_but_takes_at_least_one(self, store: QueueStore) -> None:
        entries = [entry(store, content=BytesContent(b"x" * 1000), received_at=n) for n in range(4)]
        await put(store, *entries)
        assert len(await lease(store, max_bytes=10)) == 1
        assert len(await lease(store, max_bytes=2000)) == 2
        assert len(await lease(store, max_bytes=2000)) == 1

    async def test_queues_are_apart(self, store: QueueStore) -> None:
        here = entry(store)
        there = entry(store, next_hop=OTHER_HOP)
        submitted = entry(store, SUBMISSION)
        await put(store, here, there, submitted)
        assert await lease(store) == [here.id]
        assert [one.id for one in await store.lease(DELIVERY, OTHER_HOP, 2000.0, 9, MANY_BYTES)] == [there.id]
        assert [one.id for one in await store.lease(SUBMISSION, None, 2000.0, 9, MANY_BYTES)] == [submitted.id]

    async def test_leases_at_the_same_time_never_share_an_entry(self, store: QueueStore) -> None:
        await put(store, *(entry(store) for _ in range(20)))
        leases = await asyncio.gather(*(lease(store, limit=7) for _ in range(4)))
        assert sorted(len(one) for one in leases) == [0, 6, 7, 7]
        assert len({key for one in leases for key in one}) == 20

    async def test_next_due(self, store: QueueStore) -> None:
        assert await store.next_due(DELIVERY, HOP) is None
        late, later = entry(store, status=RETRY, due=1700.0), entry(store, status=RETRY, due=1800.0)
        await put(store, later, late, entry(store, status=MessageStatus.SUSPENDED), entry(store, next_hop=OTHER_HOP))
        assert await store.next_due(DELIVERY, HOP) == 1700.0
        await put(store, entry(store))
        assert await store.next_due(DELIVERY, HOP) == 0.0

    async def test_what_is_ready_can_be_read_in_order_without_being_taken(self, store: QueueStore) -> None:
        low = entry(store, priority=Priority.LOW)
        normal = [entry(store) for _ in range(5)]
        await put(store, low, *normal, entry(store, status=RETRY, due=1.0), entry(store, next_hop=OTHER_HOP))
        first = await store.ready_behind(DELIVERY, HOP, FIRST_PLACE, 4)
        rest = await store.ready_behind(DELIVERY, HOP, first[-1][0], 4)
        assert [one.id for _, one in first + rest] == [*(one.id for one in normal), low.id]
        assert await store.ready_behind(DELIVERY, HOP, rest[-1][0], 4) == []
        assert {one.status for _, one in first + rest} == {READY}
        assert len(await lease(store)) == 7

    async def test_what_is_due_later_than_a_time_is_brought_forward(self, store: QueueStore) -> None:
        sooner, late = entry(store, status=RETRY, due=1500.0), entry(store, status=RETRY, due=1700.0)
        submitted = entry(store, SUBMISSION, None, status=RETRY, due=2500.0)
        suspended = entry(store, status=MessageStatus.SUSPENDED, due=1700.0)
        await put(store, sooner, late, submitted, suspended)
        assert await store.bring_forward(1500.0, 1000.0) == 2
        found = {one.id: one.due for one in await store.list_items(ItemFilter())}
        assert found == {sooner.id: 1500.0, late.id: 700.0, submitted.id: 1500.0, suspended.id: 1700.0}
        assert await lease(store, now=700.0) == [late.id]
        assert await store.bring_forward(0.0, 1e11) == 2
        assert await store.next_due(DELIVERY, HOP) == 0.0

    async def test_past_deadline(self, store: QueueStore) -> None:
        first = entry(store, deadline=1500.0, status=RETRY, due=9e9)
        second = entry(store, UNREACHABLE, deadline=1600.0)
        await put(
            store, second, first,
            entry(store, deadline=1700.0),
            entry(store, deadline=0.0),
            entry(store, deadline=1.0, status=ACTIVE),
            entry(store, deadline=1.0, status=MessageStatus.SUSPENDED),
            entry(store, SUBMISSION, deadline=1.0),
        )  # fmt: skip
        found = await store.past_deadline(1600.0, 10)
        assert [one.id for one in found] == [first.id, second.id]
        assert {one.status for one in found} == {ACTIVE}
        assert found[0].content == first.content
        assert await store.past_deadline(1600.0, 10) == []

    # --- looking --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("wanted", "number"),
        [
            (ItemFilter(), 3),
            (ItemFilter(queue=SUBMISSION), 1),
            (ItemFilter(next_hop=OTHER_HOP), 1),
            (ItemFilter(status=RETRY), 1),
            (ItemFilter(sender="SENDER@*"), 3),
            (ItemFilter(sender="<>"), 0),
            (ItemFilter(recipient="user*@example.net"), 3),
            (ItemFilter(subject="offer"), 0),
            (ItemFilter(subject="offer *"), 3),
            (ItemFilter(subject="off.r *"), 0),
            (ItemFilter(queue=DELIVERY, subject="offer *"), 2),
            (ItemFilter(limit=2), 2),
        ],
    )  # fmt: skip
    async def test_listing(self, store: QueueStore, wanted: ItemFilter, number: int) -> None:
        await put(
            store, entry(store, SUBMISSION, received_at=30), entry(store, status=RETRY, due=5, received_at=20),
            entry(store, next_hop=OTHER_HOP, received_at=10),
        )  # fmt: skip
        found = await store.list_items(wanted)
        assert len(found) == number
        assert [one.item.received_at for one in found] == sorted(one.item.received_at for one in found)
        assert all(one.content is None for one in found)

    async def test_queue_states_and_counts(self, store: QueueStore) -> None:
        await put(
            store, entry(store, received_at=50), entry(store, received_at=40, status=RETRY, due=1),
            entry(store, UNREACHABLE),
        )  # fmt: skip
        state = QueueState(queue=DELIVERY, next_hop=OTHER_HOP, status=QueueStatus.SUSPENDED, suspended_by="root")
        store.set_queue_state(state)
        await store.committed(Transaction())
        found = {(one.state.queue, one.state.next_hop): one for one in await store.queues()}
        assert set(found) == {(DELIVERY, HOP), (DELIVERY, OTHER_HOP), (UNREACHABLE, None)}
        here = found[DELIVERY, HOP]
        assert (here.message_count, here.oldest_received) == (2, 40)
        assert here.counts_by_status == {READY: 1, RETRY: 1}
        assert here.total_bytes == sum(one.item.size for one in await store.list_items(ItemFilter(next_hop=HOP)))
        assert found[DELIVERY, OTHER_HOP].state == state
        assert await store.queue_states() == [state]
        store.set_queue_state(QueueState(queue=DELIVERY, next_hop=OTHER_HOP))
        await store.committed(Transaction())
        assert (DELIVERY, OTHER_HOP) not in {(one.state.queue, one.state.next_hop) for one in await store.queues()}
        assert await store.queue_states() == []

    async def test_an_overview_adds_up_and_names_the_largest_queues(self, store: QueueStore) -> None:
        await put(
            store, entry(store, received_at=50), entry(store, received_at=40, status=RETRY, due=1),
            entry(store, received_at=45, status=ACTIVE), entry(store, next_hop=OTHER_HOP, received_at=30),
            entry(store, UNREACHABLE, received_at=20), entry(store, SUBMISSION, received_at=10, status=ACTIVE),
        )  # fmt: skip
        store.set_queue_state(QueueState(queue=DELIVERY, next_hop=HOP, status=QueueStatus.RETRY))
        await store.committed(Transaction())
        found = await store.overview(1)

        def total(queue: QueueKind, kind: DeliveryType, status: QueueStatus, *rest: object) -> QueueTotal:
            return QueueTotal(queue, kind, status, *rest)  # type: ignore[arg-type]

        undefined, in_order = DeliveryType.UNDEFINED, QueueStatus.ACTIVE
        assert sorted(found.totals, key=str) == sorted(
            [
                total(SUBMISSION, undefined, in_order, False, 1, 1, 10.0),
                total(DELIVERY, HOP.delivery_type, QueueStatus.RETRY, False, 1, 2, 45.0),
                total(DELIVERY, HOP.delivery_type, QueueStatus.RETRY, True, 1, 1, 40.0),
                total(DELIVERY, OTHER_HOP.delivery_type, in_order, False, 1, 1, 30.0),
                total(UNREACHABLE, undefined, in_order, False, 1, 1, 20.0),
            ],
            key=str,
        )
        [largest] = found.largest
        assert largest == LargeQueue(HOP, QueueStatus.RETRY, 3, 40.0)

    async def test_a_sound_store_has_no_problems(self, store: QueueStore) -> None:
        await put(store, *(entry(store) for _ in range(3)))
        assert await store.verify() == []

    # --- restart ---------------------------------------------------------------------------------------------------------

    async def test_a_restart_finds_everything(self, store: QueueStore) -> None:
        entries = [entry(store) for _ in range(5)]
        await put(store, *entries)
        store.set_queue_state(QueueState(queue=DELIVERY, next_hop=HOP, status=QueueStatus.RETRY, next_retry=77.0))
        await store.committed(Transaction())
        highest = store.allocate_id()
        store = await self.restarted(store)
        for one in entries:
            assert await store.get(one.id) == one
        assert [one.state.next_retry for one in await store.queues()] == [77.0]
        assert store.allocate_id() > highest

    async def test_a_restart_makes_active_entries_ready_and_in_doubt(self, store: QueueStore) -> None:
        submitted = entry(store, SUBMISSION, status=ACTIVE)
        retried = entry(store, status=RETRY, due=1.0)
        waiting = entry(store, status=RETRY, due=5000.0)
        await put(store, submitted, retried, waiting)
        assert await lease(store) == [retried.id]
        store = await self.restarted(store)
        [again] = await store.lease(DELIVERY, HOP, 2000.0, 9, MANY_BYTES)
        assert (again.id, again.in_doubt, again.crash_count) == (retried.id, True, 1)
        [again] = await store.lease(SUBMISSION, None, 2000.0, 9, MANY_BYTES)
        assert (again.id, again.in_doubt, again.crash_count) == (submitted.id, True, 1)
        found = await store.get(waiting.id)
        assert found is not None
        assert (found.status, found.in_doubt, found.crash_count) == (RETRY, False, 0)

    async def test_what_waits_is_counted_up_to_a_limit(self, store: QueueStore) -> None:
        waiting = [entry(store, SUBMISSION, status=status) for status in (RETRY, RETRY, MessageStatus.READY)]
        others = [entry(store, SUBMISSION, status=ACTIVE), entry(store, SUBMISSION, status=MessageStatus.SUSPENDED)]
        await put(store, *waiting, *others, entry(store))
        assert await store.count_waiting(SUBMISSION, 1000) == 3
        assert await store.count_waiting(SUBMISSION, 1) == 2
        assert await store.count_waiting(QueueKind.POISON, 1000) == 0

    async def test_a_stop_in_order_counts_no_crash(self, store: QueueStore) -> None:
        one = entry(store)
        await put(store, one)
        await lease(store)
        await store.close()
        await store.open()
        [again] = await store.lease(DELIVERY, HOP, 2000.0, 9, MANY_BYTES)
        assert (again.in_doubt, again.crash_count) == (True, 0)

    async def test_a_restart_keeps_what_an_administrator_asked_for(self, store: QueueStore) -> None:
        to_suspend = entry(store, status=MessageStatus.PENDING_SUSPEND)
        to_remove = entry(store, status=MessageStatus.PENDING_REMOVE)
        await put(store, to_suspend, to_remove)
        store = await self.restarted(store)
        assert await lease(store) == []
        for key in (to_suspend.id, to_remove.id):
            found = await store.get(key)
            assert found is not None
            assert found.status is MessageStatus.SUSPENDED
