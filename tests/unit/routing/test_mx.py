# SPDX-License-Identifier: MIT
"""Order of mail hosts, null MX, and the hosts before ourselves."""

import itertools

from bridgehead.routing.mx import MailExchanger, before_ourselves, in_order, is_null_mx, shuffled


def mx(*pairs):
    return [MailExchanger(preference, host) for preference, host in pairs]


def test_order_by_preference_then_random():
    numbers = iter([0.9, 0.1, 0.5])
    ordered = in_order(mx((10, "a"), (10, "b"), (5, "c")), lambda: next(numbers))
    assert [record.host for record in ordered] == ["c", "b", "a"]


def test_a_host_named_twice_counts_once_with_its_best_preference():
    assert in_order(mx((20, "a"), (10, "a"), (15, "b")), lambda: 0.0) == mx((10, "a"), (15, "b"))


def test_null_mx_only_when_alone():
    assert is_null_mx(mx((0, "")))
    assert not is_null_mx(mx((0, ""), (10, "a")))
    assert in_order(mx((0, ""), (10, "a")), lambda: 0.0) == mx((10, "a"))


def test_before_ourselves():
    records = mx((10, "a"), (20, "us"), (20, "b"), (30, "c"))
    assert before_ourselves(records, lambda host: host == "us") == mx((10, "a"))
    assert before_ourselves(records, lambda host: host == "a") == []
    assert before_ourselves(records, lambda host: False) == records


def test_shuffled_keeps_everything():
    numbers = itertools.cycle([0.3, 0.1, 0.2])
    assert shuffled(["x", "y", "z"], lambda: next(numbers)) == ["y", "z", "x"]
