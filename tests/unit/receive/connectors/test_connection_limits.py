# SPDX-License-Identifier: MIT
from typing import Any

import pytest

from bridgehead.mail.units import Count
from bridgehead.net.shared_slots import SharedSlots
from bridgehead.receive.connectors.connection_limits import ConnectionLimits
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


# --- several processes ------------------------------------------------------------------------------------------------


def of_processes(count: int) -> tuple[int, list[ConnectionLimits]]:
    memory = SharedSlots.make(count)
    return memory, [ConnectionLimits(SharedSlots(memory, count, place)) for place in range(count)]


def test_a_source_has_its_limit_once_whichever_process_it_comes_to() -> None:
    _, (one, other) = of_processes(2)
    settings = connector(per_source=5)
    assert accepted(one, settings, "10.0.0.1", 3) == 3
    assert accepted(other, settings, "10.0.0.1", 10) == 2
    assert accepted(one, settings, "10.0.0.1", 10) == 0
    assert accepted(other, settings, "10.0.0.2", 1) == 1
    assert (one.held("One", "10.0.0.1"), other.held("One", "10.0.0.1"), one.open_connections("One")) == (5, 5, 6)
    one.release("One", "10.0.0.1")
    assert accepted(other, settings, "10.0.0.1", 10) == 1


def test_all_connections_together_are_those_of_all_processes() -> None:
    _, (one, other, third) = of_processes(3)
    settings = connector(total=4)
    for limits, source in ((one, "10.0.0.1"), (other, "10.0.0.2"), (third, "10.0.0.3"), (one, "10.0.0.4")):
        assert limits.acquire(settings, source) is None
    assert other.acquire(settings, "10.0.0.5") is replies.TOO_MANY_CONNECTIONS


def test_what_a_process_that_died_held_is_free() -> None:
    memory, (one, other) = of_processes(2)
    settings = connector(per_source=2)
    assert accepted(one, settings, "10.0.0.1", 2) == 2
    assert accepted(other, settings, "10.0.0.1", 1) == 0
    SharedSlots(memory, 2).clear(0)
    assert accepted(other, settings, "10.0.0.1", 3) == 2
