# SPDX-License-Identifier: MIT
"""In which order messages in memory leave."""

from collections import Counter

from bridgehead.delivery.fair_window import FairWindow
from bridgehead.mail.address import Mailbox
from bridgehead.mail.envelope import Envelope
from bridgehead.mail.item import MailItem, Priority
from bridgehead.queues.fairness import Weights
from bridgehead.queues.store import QueuedItem, QueueKind


class Desk:
    def __init__(self) -> None:
        self.window = FairWindow(Weights({}))
        self.number = 0

    def entry(self, sender: str, priority: Priority = Priority.NORMAL, retry_count: int = 0) -> QueuedItem:
        self.number += 1
        item = MailItem(
            internal_message_id=self.number, network_message_id="", received_at=0.0, size=1, priority=priority,
            envelope=Envelope(Mailbox(sender, "contoso.com")),
        )  # fmt: skip
        return QueuedItem(item=item, content=None, content_id=1, queue=QueueKind.DELIVERY, retry_count=retry_count)

    def add(self, senders: str) -> None:
        for sender in senders:
            self.window.add(self.entry(sender))

    def take(self, count: int) -> str:
        taken = [self.window.take() for _ in range(count)]
        return "".join(one.item.envelope.reverse_path.local_part for one in taken if one is not None)


def test_a_single_message_is_among_the_next_however_many_wait() -> None:
    desk = Desk()
    desk.add("a" * 1000)
    assert desk.take(10) == "a" * 10
    desk.add("b")
    assert "b" in desk.take(2)
    assert len(desk.window) == 989


def test_the_order_of_one_sender_is_kept() -> None:
    desk = Desk()
    desk.add("aabaa")
    numbers = [one.id for _ in range(5) if (one := desk.window.take()) is not None]
    assert [number for number in numbers if number != 3] == [1, 2, 4, 5]
    assert desk.window.take() is None
    assert len(desk.window) == 0


def test_older_messages_from_disk_go_before_their_sender_s_younger_ones() -> None:
    desk = Desk()
    older = [desk.entry("a") for _ in range(3)]
    desk.add("aaaa")
    desk.window.add_older(older)
    desk.add("b")
    taken = [one.id for _ in range(6) if (one := desk.window.take()) is not None]
    assert taken[0] == 4  # nobody waited when it came
    assert [number for number in taken[1:] if number != 8] == [1, 2, 3, 5]
    assert 8 in taken[1:3]


def test_senders_leave_in_the_order_in_which_they_came_from_disk() -> None:
    desk = Desk()
    desk.window.add_older([desk.entry(sender) for sender in "aabbc"])
    assert desk.take(5) == "abcab"


def test_what_was_given_back_is_first_again() -> None:
    desk = Desk()
    desk.add("aabb")
    taken = desk.window.take()
    assert taken is not None
    desk.window.put_back(taken)
    assert desk.window.take() is taken


def test_priorities_and_retries_have_their_shares() -> None:
    desk = Desk()
    desk.add("x")
    for priority in Priority:
        for _ in range(100):
            desk.window.add(desk.entry("a", priority))
            desk.window.add(desk.entry("a", priority, retry_count=1))
    desk.take(1)
    taken = [one for _ in range(105) if (one := desk.window.take()) is not None]
    assert taken[0].item.priority is Priority.HIGH
    assert Counter((one.item.priority, one.retry_count) for one in taken) == {
        (Priority.HIGH, 0): 64, (Priority.HIGH, 1): 16, (Priority.NORMAL, 0): 16, (Priority.NORMAL, 1): 4,
        (Priority.LOW, 0): 4, (Priority.LOW, 1): 1,
    }  # fmt: skip


def test_priorities_that_are_held_up_stay() -> None:
    desk = Desk()
    for priority in (Priority.LOW, Priority.LOW, Priority.NORMAL):
        desk.window.add(desk.entry("a", priority))
    taken = desk.window.take([Priority.LOW, Priority.HIGH])
    assert taken is not None
    assert taken.item.priority is Priority.NORMAL
    assert desk.window.take([Priority.LOW]) is None
    assert desk.window.by_priority() == {Priority.LOW: 2}
    assert len(desk.window) == 2


def test_taking_out_and_emptying() -> None:
    desk = Desk()
    desk.add("aabbc")
    assert {one.id for one in desk.window.without({1, 4, 99})} == {1, 4}
    assert len(desk.window) == 3
    assert {one.id for one in desk.window} == {2, 3, 5}
    assert [one.id for one in desk.window.emptied()] == [2, 3, 5]
    assert not desk.window
    assert desk.window.take() is None


def test_many_senders_are_forgotten_and_none_of_their_messages() -> None:
    desk = Desk()
    for number in range(12_000):
        desk.window.add(desk.entry(f"sender{number}"))
        desk.window.add(desk.entry("mailing"))
        desk.window.take()
        desk.window.take()
    assert len(desk.window) == 0
    assert len(desk.window._last) <= 5_001
