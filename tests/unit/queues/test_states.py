# SPDX-License-Identifier: MIT
"""The life of a message: the table as decided, and what holds for every path through it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.queues.states import TRANSITIONS, Event, Gone, IllegalTransition, next_status
from bridgehead.queues.store import MessageStatus

READY, ACTIVE, RETRY = MessageStatus.READY, MessageStatus.ACTIVE, MessageStatus.RETRY
SUSPENDED = MessageStatus.SUSPENDED
PENDING_SUSPEND, PENDING_REMOVE = MessageStatus.PENDING_SUSPEND, MessageStatus.PENDING_REMOVE


@pytest.mark.parametrize(
    ("status", "event", "expected"),
    [
        (READY, Event.LEASE, ACTIVE),
        (READY, Event.SUSPEND, SUSPENDED),
        (READY, Event.REMOVE, Gone.GONE),
        (ACTIVE, Event.DELAYED, RETRY),
        (ACTIVE, Event.DONE, Gone.GONE),
        (ACTIVE, Event.SUSPEND, PENDING_SUSPEND),
        (ACTIVE, Event.REMOVE, PENDING_REMOVE),
        (ACTIVE, Event.RESTART, READY),
        (RETRY, Event.LEASE, ACTIVE),
        (RETRY, Event.EXPIRED, Gone.GONE),
        (SUSPENDED, Event.RESUME, READY),
        (SUSPENDED, Event.REMOVE, Gone.GONE),
        (PENDING_SUSPEND, Event.DELAYED, SUSPENDED),
        (PENDING_SUSPEND, Event.RESUME, ACTIVE),
        (PENDING_SUSPEND, Event.REMOVE, PENDING_REMOVE),
        (PENDING_REMOVE, Event.DELAYED, Gone.GONE),
        (PENDING_REMOVE, Event.RESTART, SUSPENDED),
    ],
)
def test_table(status: MessageStatus, event: Event, expected: MessageStatus | Gone) -> None:
    assert next_status(status, event) is expected


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (SUSPENDED, Event.LEASE), (SUSPENDED, Event.EXPIRED), (ACTIVE, Event.LEASE), (READY, Event.RESUME),
        (READY, Event.DONE), (PENDING_REMOVE, Event.RESUME), (PENDING_REMOVE, Event.LEASE),
    ],
)  # fmt: skip
def test_what_cannot_happen_is_refused_in_words(status: MessageStatus, event: Event) -> None:
    with pytest.raises(IllegalTransition, match=event.value):
        next_status(status, event)


def test_every_status_has_a_row_and_survives_a_restart() -> None:
    assert set(TRANSITIONS) == set(MessageStatus)
    for status in MessageStatus:
        assert next_status(status, Event.RESTART) not in (ACTIVE, PENDING_SUSPEND, PENDING_REMOVE, Gone.GONE)


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_nothing_leaves_unasked_and_suspended_mail_is_never_taken(events: list[Event]) -> None:
    status: MessageStatus | Gone = READY
    for event in events:
        if isinstance(status, Gone):
            return
        following = TRANSITIONS[status].get(event)
        if following is None:
            continue
        if following is Gone.GONE:
            assert event in (Event.DONE, Event.EXPIRED, Event.REMOVE) or status is PENDING_REMOVE
        if status is SUSPENDED:
            assert following in (READY, SUSPENDED, Gone.GONE)
        status = following
