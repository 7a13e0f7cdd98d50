# SPDX-License-Identifier: MIT
"""Senders, turns and shares."""

import pytest

from bridgehead.mail.address import NULL, Mailbox
from bridgehead.mail.envelope import Envelope
from bridgehead.mail.item import MailItem
from bridgehead.queues import fairness
from bridgehead.queues.fairness import Shares, Turns, Weights, sender_of

LANE = (1, "hop", 2)


def item(local: str = "ana", **facts: str) -> MailItem:
    path = Mailbox(local, "Contoso.com") if local else NULL
    return MailItem(
        internal_message_id=1, network_message_id="n", received_at=0.0, envelope=Envelope(path), size=1, **facts
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "sender"),
    [
        (item(), "ana@contoso.com"),
        (item("Ana"), "ana@contoso.com"),
        (item("news+4711"), "news@contoso.com"),
        (item("bounces=bob=example.org"), "bounces@contoso.com"),
        (item("prvs=2431abcdef=ana"), "ana@contoso.com"),
        (item("", client_ip="192.0.2.1"), "192.0.2.1"),
        (item("", principal="system"), "system"),
        (item(principal="user:printer"), "user:printer"),
        (item(principal="partner:fabrikam.com"), "ana@contoso.com"),
    ],
)
def test_what_counts_as_one_sender(message: MailItem, sender: str) -> None:
    assert sender_of(message) == sender


def order(turns: Turns, senders: str) -> str:
    """In which order messages leave that came in this order, by sender's letter."""
    places = [(turns.place(LANE, sender, number), number, sender) for number, sender in enumerate(senders)]
    return "".join(sender for _, _, sender in sorted(places))


def test_senders_take_turns_in_the_order_of_their_arrival() -> None:
    assert order(Turns(lambda lane: None, Weights({})), "aaaabbc") == "abcabaa"


def test_a_weight_gives_as_many_more_turns() -> None:
    left = order(Turns(lambda lane: None, Weights({"A": 20, "@nowhere": 50})), "a" * 40 + "b" * 40)
    assert left[:30].count("a") == 20


def test_the_weight_of_a_domain_holds_for_those_without_one_of_their_own() -> None:
    weights = Weights({"@contoso.com": 20, "ana@contoso.com": 5})
    steps = [weights.step(sender) for sender in ("bob@contoso.com", "ana@contoso.com", "user:bob", "eve@fabrikam.com")]
    assert steps == [126, 504, 252, 252]


def test_a_lane_that_is_not_known_begins_where_its_first_message_waits() -> None:
    turns = Turns({LANE: 5_000}.get, Weights({}))
    assert turns.place(LANE, "new", 1) == 5_000
    assert turns.place((1, "other", 2), "new", 2) == fairness.FIRST_TURN


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "SENDERS_REMEMBERED", 10)
    monkeypatch.setattr(fairness, "LANES_REMEMBERED", 10)
    turns = Turns(lambda lane: None, Weights({}))
    for number in range(100):
        turns.place((1, f"hop{number}", 2), f"sender{number}", number)
        turns.leased((1, f"hop{number}", 2), 1, number, in_turn=True)
        turns.shares(1, f"hop{number}")
    assert {len(turns._last), len(turns._held), len(turns._reached), len(turns._shares)} == {10}


def test_an_entry_that_moved_to_another_queue_has_no_turn_from_the_old_one() -> None:
    turns = Turns(lambda lane: None, Weights({}))
    for number in range(5):
        turns.place(LANE, "a", number)
    turns.leased(LANE, 1009, 4, in_turn=False)
    assert turns.place((1, "elsewhere", 2), "a", 4) == fairness.FIRST_TURN


def test_a_share_is_a_share_in_every_stretch() -> None:
    shares = Shares()
    lanes = [shares.next_lane([2, 3]) for _ in range(100)]
    assert all(lanes[first : first + 5].count(3) == 1 for first in range(0, 100, 5))


def test_credit_is_not_saved_up_while_a_lane_is_empty() -> None:
    shares = Shares()
    for _ in range(50):
        shares.next_lane([2, 3])
        shares.next_lane([2])
    assert [shares.next_lane([2, 3]) for _ in range(5)].count(3) == 1
