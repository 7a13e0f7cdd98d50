# SPDX-License-Identifier: MIT
from typing import Any

import pytest

from bridgehead.mail.units import Count
from bridgehead.receive.connection_limits import ConnectionLimits
from bridgehead.receive.settings import ReceiveConnector
from bridgehead.smtp import replies


def connector(total: int = 100, per_source: int = 100, percentage: int = 100) -> ReceiveConnector:
    settings: dict[str, Any] = {
        "max_inbound_connection": Count(total),
        "max_inbound_connection_per_source": Count(per_source),
        "max_inbound_connection_percentage_per_source": percentage,
    }
    return ReceiveConnector(name="One", bindings=["0.0.0.0:25"], **settings)


def accepted(limits: ConnectionLimits, settings: ReceiveConnector, source: str, tries: int) -> int:
    return sum(limits.acquire(settings, source) is None for _ in range(tries))


def test_all_connections_together() -> None:
    limits, settings = ConnectionLimits(), connector(total=3)
    assert [limits.acquire(settings, f"10.0.0.{last}") for last in range(3)] == [None] * 3
    assert limits.acquire(settings, "10.0.0.9") is replies.TOO_MANY_CONNECTIONS
    limits.release("One", "10.0.0.1")
    assert limits.acquire(settings, "10.0.0.9") is None
    assert limits.open_connections("One") == 3


def test_one_source() -> None:
    limits, settings = ConnectionLimits(), connector(per_source=2)
    assert accepted(limits, settings, "10.0.0.1", 5) == 2
    assert limits.acquire(settings, "10.0.0.1") is replies.TOO_MANY_CONNECTIONS_FROM_SOURCE
    assert limits.acquire(settings, "10.0.0.2") is None


def test_share_of_what_remains_shrinks_as_others_come() -> None:
    settings = connector(total=100, percentage=10)
    alone, crowded = ConnectionLimits(), ConnectionLimits()
    assert accepted(alone, settings, "10.0.0.1", 50) == 10
    for number in range(60):
        assert crowded.acquire(settings, f"10.1.0.{number}") is None
    assert accepted(crowded, settings, "10.0.0.1", 50) == 4


def test_a_hundred_percent_is_all_that_others_leave() -> None:
    limits, settings = ConnectionLimits(), connector(total=10)
    assert accepted(limits, settings, "10.0.0.2", 3) == 3
    assert accepted(limits, settings, "10.0.0.1", 50) == 7
    assert limits.acquire(settings, "10.0.0.1") is replies.TOO_MANY_CONNECTIONS


def test_a_share_that_rounds_to_nothing_still_lets_one_in() -> None:
    limits, settings = ConnectionLimits(), connector(total=10, percentage=2)
    assert accepted(limits, settings, "10.0.0.1", 5) == 1
    assert limits.acquire(settings, "10.0.0.2") is None


def test_a_reload_with_other_limits_forgets_no_connection() -> None:
    limits = ConnectionLimits()
    assert [limits.acquire(connector(total=10), f"10.1.0.{last}") for last in range(8)] == [None] * 8
    assert limits.acquire(connector(total=8), "10.0.0.2") is replies.TOO_MANY_CONNECTIONS
    assert limits.acquire(connector(total=9), "10.0.0.2") is None


def test_nothing_is_left_behind_and_nothing_goes_below_zero() -> None:
    limits, settings = ConnectionLimits(), connector()
    for source in ("10.0.0.1", "10.0.0.1", "2001:db8::1"):
        assert limits.acquire(settings, source) is None
    for source in ("10.0.0.1", "2001:db8::1", "10.0.0.1"):
        limits.release("One", source)
    assert limits.open_connections("One") == 0
    with pytest.raises(ValueError, match=r"10\.0\.0\.1"):
        limits.release("One", "10.0.0.1")
