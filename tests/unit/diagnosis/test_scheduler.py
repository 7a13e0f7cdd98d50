# SPDX-License-Identifier: MIT
"""Every state of the scheduler has exactly one reason, and every reason is some state's."""

from itertools import product

from bridgehead.admin.why.scheduling import told
from bridgehead.delivery.situation import message_situation, stored_situation
from bridgehead.diagnosis.scheduler import Limit, Reason, Situation, reason_of
from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.queues.store import MessageStatus, QueueKind, QueueState, QueueStatus
from support.running_server import CONTOSO, queued

NOW = 1000.0
KINDS = [kind.name.capitalize() for kind in QueueKind]
STATUSES = ["", *(status.name.title().replace("_", "") for status in MessageStatus)]
QUEUES = ["Active", "Retry", "Suspended"]
LIMITS = ((), (Limit("max_outbound_connections", 1, 1, "bridgehead.toml:7", "delivery"),))


def states() -> "list[Situation]":
    """Everything that the parts of a situation can be, crossed."""
    flags = product((False, True), repeat=5)
    rest = list(product(LIMITS, (0, 1), (0, 1), (0, 1), (0, 1)))
    return [
        Situation(
            queue_kind=kind, message_status=status, queue_status=queue, is_open=is_open, store_fails=store_fails,
            being_failed=failed, on_trial=trial, held_by="rule 1" if held else "", limits=limits, resolving=resolving,
            connecting=connecting, sessions=sessions, active=sessions, waits=waits, due=NOW + 5, next_retry=NOW + 5,
        )
        for kind, status, queue, (is_open, store_fails, failed, trial, held) in product(KINDS, STATUSES, QUEUES, flags)
        for limits, resolving, connecting, sessions, waits in rest
    ]  # fmt: skip


def test_each_state_has_one_reason_that_can_be_told() -> None:
    reached = set()
    for state in states():
        reason = reason_of(state, NOW)
        assert isinstance(reason, Reason)
        assert reason_of(state, NOW) is reason, "a reason is not a matter of chance"
        if reason not in reached:
            words = told(reason, state, "To Internet/contoso.com", NOW)
            assert words.why.endswith(".")
            assert "{" not in words.why
            assert words.do or not words.stuck or reason is Reason.REMOVED
        reached.add(reason)
    others = {reason_of(Situation(pause_until=NOW + 5, sessions=1, waits=1), NOW),
              reason_of(Situation(pressure="disk", waits=1), NOW)}  # fmt: skip
    assert reached | others == set(Reason)


def test_every_status_that_a_store_can_hold_has_a_reason_of_its_own_kind() -> None:
    """From real entries and queue states, not from made-up values."""
    store = MemoryQueueStore()
    for kind, queue_status, status in product(QueueKind, QueueStatus, MessageStatus):
        hop = CONTOSO if kind is QueueKind.DELIVERY else None
        state = QueueState(queue=kind, next_hop=hop, status=queue_status, next_retry=NOW + 60, suspended_by="ann")
        entry = queued(store, "x@contoso.com", queue=kind, status=status)
        entry.due = NOW + 60
        reason = reason_of(message_situation(entry, stored_situation(state, 1)), NOW)
        if kind is QueueKind.POISON:
            assert reason is Reason.SET_ASIDE
        elif kind is QueueKind.REMOVED:
            assert reason is Reason.REMOVED
        elif status in (MessageStatus.SUSPENDED, MessageStatus.PENDING_SUSPEND):
            assert reason is Reason.MESSAGE_SUSPENDED
        elif queue_status is QueueStatus.SUSPENDED:
            assert reason is Reason.QUEUE_SUSPENDED
        elif kind is QueueKind.UNREACHABLE:
            assert reason is Reason.NO_ROUTE
        elif kind is QueueKind.SUBMISSION:
            waiting = status is MessageStatus.RETRY
            assert reason is (Reason.WAITING_FOR_DIRECTORY if waiting else Reason.CATEGORIZING)
        elif queue_status is QueueStatus.RETRY:
            assert reason is Reason.QUEUE_RETRY
        else:
            assert reason is (Reason.MESSAGE_RETRY if status is MessageStatus.RETRY else Reason.BEHIND_OTHERS)


def test_who_suspended_and_when_is_told() -> None:
    situation = Situation(queue_status="Suspended", suspended_by="ann", suspended_at=1_800_000_000.0, waits=3)
    words = told(reason_of(situation, NOW), situation, "To Internet/contoso.com", NOW)
    assert words.why.startswith("The queue was suspended by ann on 2027-01-15 08:00:00Z")
    assert words.do == "bridgehead queue resume 'To Internet/contoso.com'"


def test_a_limit_is_told_with_its_place() -> None:
    situation = Situation(limits=LIMITS[1], waits=2)
    assert reason_of(situation, NOW) is Reason.LIMIT
    words = told(Reason.LIMIT, situation, "q", NOW)
    assert "max_outbound_connections is reached: 1 of 1 connections are in use, set in bridgehead.toml:7" in words.why


def test_a_limit_of_one_priority_and_one_that_workers_share_are_told_as_such() -> None:
    limit = Limit("max_per_domain_low_priority_connections", 2, 2, "the default", "queues", 3)
    why = told(Reason.LIMIT, Situation(limits=(limit,), waits=2), "q", NOW).why
    assert "2 of 2 messages of its priority are under way by one of the 3 workers that share it, the default" in why


def test_waiting_behind_others_says_how_many_and_how_long() -> None:
    situation = Situation(ahead=600, waits=700, rate=10.0)
    assert reason_of(situation, NOW) is Reason.BEHIND_OTHERS
    assert (
        "600 messages are before it; 10.0 a second go out, so its turn comes in about 1 min"
        in told(Reason.BEHIND_OTHERS, situation, "q", NOW).why
    )
    situation = Situation(ahead=1000, ahead_higher=7, counted_all=False, waits=2000)
    assert told(Reason.BEHIND_OTHERS, situation, "q", NOW).why == (
        "1000 or more messages are before it, 7 of them of higher priority."
    )
    assert told(Reason.BEHIND_OTHERS, Situation(ahead=1), "q", NOW).why == "One message is before it."
