# SPDX-License-Identifier: MIT
"""What follows from an attempt or from time; and that every recipient ends exactly once, whatever happens."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.delivery.outcome import of_attempt, of_deadline, waiting_status
from bridgehead.delivery.ports import pending_recipients
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import RecipientState
from bridgehead.mail.units import Duration
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import MessageStatus, QueuedItem
from bridgehead.routing.next_hop import DeliveryType, NextHop
from support.work_source import queued

SETTINGS = QueueSettings(retry_jitter=0.0)
DAY = 86400.0
OK = DeliveryStatus(action=Action.RELAYED, status="2.0.0", diagnostic="250 OK")
LATER = DeliveryStatus(action=Action.DELAYED, status="4.2.0", diagnostic="450 later")
NEVER = DeliveryStatus(action=Action.FAILED, status="5.1.1", diagnostic="550 no")
LOCAL = DeliveryStatus(action=Action.DELIVERED, status="2.0.0")


def entry(count: int = 1) -> QueuedItem:
    return queued(recipients=[f"r{number}@example.net" for number in range(count)])


CASES = [
    # status, age in hours, final state, done, reported, delay noted, next deadline in hours
    (OK, 0, RecipientState.RELAYED, True, ["relayed"], False, None),
    (LOCAL, 0, RecipientState.DELIVERED, True, ["delivered"], False, None),
    (NEVER, 0, RecipientState.FAILED, True, ["failed"], False, None),
    (LATER, 0, RecipientState.PENDING, False, [], False, 4),
    (LATER, 3.99, RecipientState.PENDING, False, [], False, 4),
    (LATER, 4, RecipientState.PENDING, False, ["delayed"], True, 48),
    (LATER, 47.9, RecipientState.PENDING, False, ["delayed"], True, 48),
    (LATER, 48, RecipientState.FAILED, True, ["failed"], False, None),
    (OK, 49, RecipientState.RELAYED, True, ["relayed"], False, None),
]


def test_a_mailbox_that_defers_one_message_has_the_interval_of_mailboxes() -> None:
    settings = QueueSettings(
        retry_jitter=0.0,
        message_retry_interval=Duration(seconds=60),
        mailbox_delivery_queue_retry_interval=Duration(seconds=3600),
    )
    for kind, due in ((DeliveryType.MAILBOX, 3600.0), (DeliveryType.SMART_HOST, 60.0)):
        waiting = msgspec.structs.replace(entry(), next_hop=NextHop(kind, "somewhere", "Somewhere"))
        assert of_attempt(waiting, [LATER], settings, 0.0, 0.5).entry.due == due


@pytest.mark.parametrize(("status", "hours", "state", "done", "reported", "noted", "deadline"), CASES)
def test_table(
    status: DeliveryStatus, hours: float, state: RecipientState, done: bool, reported: list[str], noted: bool,
    deadline: float | None,
) -> None:  # fmt: skip
    now = hours * 3600
    outcome = of_attempt(entry(), [status], SETTINGS, now, 0.5)
    (recipient,) = outcome.entry.item.envelope.recipients
    assert (recipient.state, outcome.done, recipient.delay_notified) == (state, done, noted)
    assert [told.action.value for _, told in outcome.to_report] == reported
    assert all(not who.delay_notified for who, told in outcome.to_report if told.action is Action.DELAYED)
    if deadline is not None:
        assert outcome.entry.deadline == deadline * 3600
        assert outcome.entry.status is MessageStatus.RETRY
        assert outcome.entry.due == now + 300
        assert outcome.entry.retry_count == 1


def test_expiry_says_so_and_why() -> None:
    outcome = of_attempt(entry(), [LATER], SETTINGS, 2 * DAY, 0.5)
    (_, status) = outcome.results[0]
    assert (status.status, status.remote_mta) == ("5.4.7", "")
    assert status.diagnostic == "550 5.4.7 QUEUE.Expired; message expired; last error: 450 later"
    assert outcome.expired == 1


def test_the_entry_that_went_in_is_unchanged() -> None:
    before = entry(3)
    copy = msgspec.json.encode(before.item)
    of_attempt(before, [OK, LATER, NEVER], SETTINGS, 5 * 3600, 0.5)
    of_deadline(before, SETTINGS, 5 * 3600)
    assert msgspec.json.encode(before.item) == copy


def test_a_delay_is_told_once_for_each_recipient() -> None:
    first = of_attempt(entry(2), [LATER, LATER], SETTINGS, 4 * 3600, 0.5)
    assert len(first.to_report) == 2
    assert of_attempt(first.entry, [LATER, LATER], SETTINGS, 5 * 3600, 0.5).to_report == []
    assert of_deadline(first.entry, SETTINGS, 5 * 3600).to_report == []


def test_in_doubt_goes_with_the_entry() -> None:
    doubtful = msgspec.structs.replace(LATER, in_doubt=True)
    assert of_attempt(entry(), [doubtful], SETTINGS, 0, 0.5).entry.in_doubt
    assert not of_attempt(entry(), [LATER], SETTINGS, 0, 0.5).entry.in_doubt


def test_a_deadline_leaves_the_time_of_the_next_attempt_alone() -> None:
    waiting = entry()
    waiting.due, waiting.last_error = 5 * 3600, "450 later"
    outcome = of_deadline(waiting, SETTINGS, 4 * 3600, "the queue's error")
    assert (outcome.entry.status, outcome.entry.due) == (MessageStatus.RETRY, 5 * 3600)
    assert outcome.entry.retry_count == 0
    assert outcome.to_report[0][1].diagnostic == "400 4.4.7 Message delayed; last error: 450 later"
    assert waiting_status(waiting, 5 * 3600) is MessageStatus.READY


def test_a_deadline_that_came_early_changes_nothing() -> None:
    outcome = of_deadline(entry(), SETTINGS, 60)
    assert not outcome.done
    assert outcome.to_report == []
    assert outcome.entry.deadline == 4 * 3600


def test_statuses_must_be_complete() -> None:
    with pytest.raises(ValueError, match="1 statuses for 2"):
        of_attempt(entry(2), [OK], SETTINGS, 0, 0.5)


@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([OK, LATER, NEVER, LOCAL]), min_size=5, max_size=5),
            st.floats(0, DAY),
            st.booleans(),
        ),
        max_size=12,
    ),
)
def test_every_recipient_ends_exactly_once(count: int, history: list[tuple[list[DeliveryStatus], float, bool]]) -> None:
    current, now, done = entry(count), 0.0, False
    ends: dict[str, list[str]] = {f"r{number}@example.net": [] for number in range(count)}
    delays = dict.fromkeys(ends, 0)
    # Whatever came before, the message is over when its time is.
    for statuses, wait, is_deadline in [*history, ([LATER] * 5, 2 * DAY, True)]:
        if done:
            break
        now += wait
        pending = pending_recipients(current)
        if is_deadline:
            outcome = of_deadline(current, SETTINGS, now)
        else:
            outcome = of_attempt(current, statuses[: len(pending)], SETTINGS, now, 0.5)
        for who, status in outcome.results:
            if status.action is not Action.DELAYED:
                ends[str(who.forward_path)].append(status.action.value)
        for who, status in outcome.to_report:
            delays[str(who.forward_path)] += status.action is Action.DELAYED
        current, done = outcome.entry, outcome.done
        assert done == (not pending_recipients(current))
    assert done
    assert all(len(found) == 1 for found in ends.values())
    assert all(told <= 1 for told in delays.values())
