# SPDX-License-Identifier: MIT
"""Who is told of what: one line for each case of RFC 3461."""

import pytest

from bridgehead.dsn.notify import is_told, told
from bridgehead.mail.address import NULL, Mailbox
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import Envelope, EnvelopeRecipient, Notify
from bridgehead.mail.item import MailItem

U, S, F, D, N = Notify.UNSPECIFIED, Notify.SUCCESS, Notify.FAILURE, Notify.DELAY, Notify.NEVER
ALL = S | F | D
CLASS = {"failed": "5.0.0", "delayed": "4.0.0"}

CASES = [
    # NOTIFY, action, already told of a delay, next hop reports itself, told
    (U, "failed", False, False, True),
    (U, "delayed", False, False, True),
    (U, "delayed", True, False, False),
    (U, "delivered", False, False, False),
    (U, "relayed", False, False, False),
    (U, "expanded", False, False, False),
    (N, "failed", False, False, False),
    (N, "delayed", False, False, False),
    (N, "delivered", False, False, False),
    (N | F, "failed", False, False, False),
    (S, "failed", False, False, False),
    (S, "delayed", False, False, False),
    (S, "delivered", False, False, True),
    (S, "relayed", False, False, True),
    (S, "relayed", False, True, False),
    (S, "delivered", False, True, True),
    (S, "expanded", False, False, True),
    (F, "failed", False, False, True),
    (F, "failed", True, False, True),
    (F, "delayed", False, False, False),
    (F, "relayed", False, False, False),
    (D, "delayed", False, False, True),
    (D, "delayed", True, False, False),
    (D, "failed", False, False, False),
    (ALL, "failed", False, False, True),
    (ALL, "delayed", False, False, True),
    (ALL, "relayed", False, False, True),
]


def recipient(notify: Notify = U, delay_notified: bool = False) -> EnvelopeRecipient:
    return EnvelopeRecipient(Mailbox("ana", "example.com"), notify=notify, delay_notified=delay_notified)


@pytest.mark.parametrize(("notify", "action", "delay_notified", "passed_on", "expected"), CASES)
def test_table(notify: Notify, action: str, delay_notified: bool, passed_on: bool, expected: bool) -> None:
    status = DeliveryStatus(action=Action(action), status=CLASS.get(action, "2.0.0"), dsn_passed_on=passed_on)
    assert is_told(recipient(notify, delay_notified), status) is expected


def item(reverse_path: Mailbox, is_dsn: bool = False) -> MailItem:
    return MailItem(
        internal_message_id=1,
        network_message_id="n",
        received_at=0.0,
        envelope=Envelope(reverse_path),
        size=1,
        is_dsn=is_dsn,
    )


def test_nobody_answers_the_null_reverse_path() -> None:
    failed = DeliveryStatus(action=Action.FAILED, status="5.1.1")
    assert told(item(NULL), [(recipient(F), failed)]) == []


def test_nobody_reports_on_a_report() -> None:
    failed = DeliveryStatus(action=Action.FAILED, status="5.1.1")
    assert told(item(Mailbox("bob", "example.org"), is_dsn=True), [(recipient(F), failed)]) == []


def test_only_those_who_want_it_in_order() -> None:
    failed = DeliveryStatus(action=Action.FAILED, status="5.1.1")
    first, second, third = recipient(F), recipient(N), recipient(U)
    pairs = [(first, failed), (second, failed), (third, failed)]
    assert told(item(Mailbox("bob", "example.org")), pairs) == [pairs[0], pairs[2]]
