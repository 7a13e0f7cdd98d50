# SPDX-License-Identifier: MIT
import pytest

from bridgehead.mail.limits import TOLD_MESSAGES
from bridgehead.mail.units import UNLIMITED, Count
from bridgehead.net.shared_journal import SharedJournal
from bridgehead.receive.connectors.message_rate import MessageRate, SlidingWindows
from bridgehead.receive.settings import MessageRateSource, ReceiveConnector
from bridgehead.receive.workers.shared_rates import RECORD_OCTETS, SharedRates
from support.in_turn import InTurn


@pytest.fixture(autouse=True, params=["alone", "of two processes"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test also asks two processes in turn that count together."""
    if request.param != "alone":
        monkeypatch.setitem(globals(), "rate", rate_of_two)


def rate(limit: int, source: MessageRateSource = MessageRateSource.IP_ADDRESS) -> MessageRate:
    return MessageRate(connector(limit, source))


def rate_of_two(limit: int, source: MessageRateSource = MessageRateSource.IP_ADDRESS) -> MessageRate:
    memory = SharedJournal.make(2, records=TOLD_MESSAGES, octets=RECORD_OCTETS)
    rates = []
    for place in range(2):
        journal = SharedJournal(memory, 2, place, records=TOLD_MESSAGES, octets=RECORD_OCTETS)
        one = MessageRate(connector(limit, source))
        one.count_with(SharedRates(journal), "connector One")
        rates.append(one)
    return InTurn(*rates, to_all=["configure"])  # type: ignore[return-value]


def connector(limit: int, source: MessageRateSource = MessageRateSource.IP_ADDRESS) -> ReceiveConnector:
    return ReceiveConnector(
        name="One", bindings=["0.0.0.0:25"], message_rate_limit=Count(limit), message_rate_source=source
    )


@pytest.mark.parametrize("begin", [0, 499, 500, 599])
def test_no_sixty_seconds_hold_more_than_the_limit(begin: int) -> None:
    limited = rate(5)
    times = [tenth / 10 for tenth in range(begin, begin + 4000) if limited.admit("10.0.0.1", "", tenth / 10)]
    assert len(times) >= 30
    for first in times:
        assert sum(first <= when < first + 60 for when in times) <= 5


def test_no_burst_of_twice_the_limit_at_the_edge_of_a_minute() -> None:
    limited = rate(5)
    assert [limited.admit("10.0.0.1", "", 59.0) for _ in range(6)] == [True] * 5 + [False]
    assert not limited.admit("10.0.0.1", "", 61.0)
    assert not limited.admit("10.0.0.1", "", 118.9)
    assert limited.admit("10.0.0.1", "", 124.0)


def test_sources() -> None:
    by_ip, by_user = rate(1), rate(1, MessageRateSource.USER)
    both, none = rate(1, MessageRateSource.ALL), rate(1, MessageRateSource.NONE)
    for limited in (by_ip, by_user, both, none):
        assert limited.admit("10.0.0.1", "ann", 0.0)
    assert [limited.admit("10.0.0.1", "bob", 0.0) for limited in (by_ip, by_user, both, none)] == [
        False,
        True,
        False,
        True,
    ]
    assert [limited.admit("10.0.0.2", "ann", 0.0) for limited in (by_ip, by_user, both, none)] == [
        True,
        False,
        False,
        True,
    ]
    assert by_user.admit("10.0.0.1", "", 0.0)
    assert by_user.admit("10.0.0.1", "", 0.0)


def test_a_refused_message_is_counted_against_nobody() -> None:
    both = rate(1, MessageRateSource.ALL)
    assert both.admit("10.0.0.1", "ann", 0.0)
    assert not both.admit("10.0.0.2", "ann", 0.0)
    assert both.admit("10.0.0.2", "bob", 0.0)


def test_a_user_named_like_an_address_shares_nothing_with_it() -> None:
    both = rate(1, MessageRateSource.ALL)
    assert both.admit("10.0.0.1", "10.0.0.2", 0.0)
    assert both.admit("10.0.0.2", "bob", 0.0)


def test_a_clock_that_jumps_locks_nobody_out() -> None:
    limited = rate(1)
    assert limited.admit("10.0.0.1", "", 1_000_000.0)
    assert not limited.admit("10.0.0.1", "", 1_000_001.0)
    assert limited.admit("10.0.0.1", "", 5.0)
    assert not limited.admit("10.0.0.1", "", 6.0)
    assert limited.admit("10.0.0.1", "", 9e9)


def test_memory_is_bounded_and_keeps_the_busiest() -> None:
    windows = SlidingWindows(capacity=3)
    for number in range(1000):
        windows.add(f"10.0.0.{number}", 0.0)
        windows.add("busy", 0.0)
    assert len(windows) == 3
    assert windows.count("busy", 0.0) == 1000
    assert windows.count("10.0.0.5", 0.0) == 0


def test_a_reload_changes_the_limit_and_keeps_the_count() -> None:
    limited = rate(5)
    assert all(limited.admit("10.0.0.1", "", 0.0) for _ in range(3))
    limited.configure(connector(3))
    assert not limited.admit("10.0.0.1", "", 0.0)
    limited.configure(connector(UNLIMITED))
    assert limited.admit("10.0.0.1", "", 0.0)
