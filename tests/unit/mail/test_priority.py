# SPDX-License-Identifier: MIT
"""Which priority messages ask for, and which they get."""

import pytest

from bridgehead.mail.envelope import Envelope
from bridgehead.mail.item import MailItem, Priority
from bridgehead.mail.priority import priority_asked, priority_granted

HIGH, NORMAL, LOW = Priority


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, NORMAL),
        ({b"importance": b" High"}, HIGH),
        ({b"importance": b"low\r\n"}, LOW),
        ({b"importance": b"normal", b"x-priority": b"1"}, NORMAL),
        ({b"importance": b"very", b"x-priority": b"1 (Highest)"}, HIGH),
        ({b"x-priority": b"2"}, HIGH),
        ({b"x-priority": b"4"}, LOW),
        ({b"x-priority": b"0", b"priority": b"Non-Urgent"}, LOW),
        ({b"priority": b"urgent"}, HIGH),
        ({b"priority": b""}, NORMAL),
        ({b"x-priority": b"\xff\xfe"}, NORMAL),
    ],
)
def test_what_fields_ask_for(fields: dict[bytes, bytes], asked: Priority) -> None:
    assert priority_asked(fields) is asked


@pytest.mark.parametrize(
    ("asked", "authenticated", "size", "limit", "granted"),
    [
        (HIGH, True, 100, 100, HIGH),
        (HIGH, True, 101, 100, NORMAL),
        (HIGH, False, 1, 100, NORMAL),
        (LOW, False, 1, 100, LOW),
        (LOW, True, 101, 100, LOW),
        (HIGH, True, 1, None, NORMAL),
        (LOW, True, 1, None, NORMAL),
    ],
)
def test_what_is_granted(asked: Priority, authenticated: bool, size: int, limit: int | None, granted: Priority) -> None:
    item = MailItem(
        internal_message_id=1, network_message_id="n", received_at=0.0, envelope=Envelope(), size=size, priority=asked,
        authenticated=authenticated,
    )  # fmt: skip
    assert priority_granted(item, limit) is granted
