# SPDX-License-Identifier: MIT
"""Lock-out across sessions, with time as an argument."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.mail.limits import LOCKOUTS_KEPT, LOGIN_NAME_CHARACTERS, TOLD_FAILURES
from bridgehead.mail.units import Duration
from bridgehead.net.shared_journal import SharedJournal
from bridgehead.receive.logons.lockout import LockoutKind, LockoutTable, source_key
from bridgehead.receive.logons.settings import LockoutSettings
from bridgehead.receive.logons.shared_lockout import RECORD_OCTETS, SharedLockoutTable
from support.in_turn import InTurn

HERE, THERE = "192.0.2.7", "198.51.100.9"
SETTINGS = LockoutSettings(
    account_lockout_threshold=3, source_lockout_threshold=5, lockout_observation_window=Duration(seconds=600),
    lockout_duration=Duration(seconds=60), max_lockout_duration=Duration(seconds=240), alarm_accounts=4,
)  # fmt: skip


@pytest.fixture(params=["alone", "of two processes"])
def table(request: pytest.FixtureRequest) -> LockoutTable:
    """A table; or two that tell each other, of which each call goes to the other."""
    return (
        LockoutTable(SETTINGS)
        if request.param == "alone"
        else InTurn(*shared_tables(2), to_all=["lift", "configure", "restore"])
    )  # type: ignore[return-value]


def shared_tables(count: int) -> list[SharedLockoutTable]:
    memory = SharedJournal.make(count, records=TOLD_FAILURES, octets=RECORD_OCTETS)
    return [
        SharedLockoutTable(
            SETTINGS, SharedJournal(memory, count, place, records=TOLD_FAILURES, octets=RECORD_OCTETS), lambda: 0.5
        )
        for place in range(count)
    ]


def fail(table: LockoutTable, account: str, source: str, now: float, times: int) -> None:
    for _ in range(times):
        table.failed(account, source, now)


def test_an_account_is_locked_at_the_threshold_from_everywhere(table: LockoutTable) -> None:
    fail(table, "ann", HERE, 0, 2)
    assert not table.is_locked("ann", HERE, 0)
    table.failed("ann", THERE, 0)
    assert table.is_locked("ann", HERE, 59)
    assert table.is_locked("ann", "203.0.113.1", 59)
    assert not table.is_locked("bob", HERE, 59)
    assert not table.is_locked("ann", HERE, 60)
    (one,) = table.locked(0)
    assert (one.kind, one.account, one.source, one.failures, one.until) == (LockoutKind.ACCOUNT, "ann", "", 3, 60)


def test_each_further_lock_lasts_twice_as_long_up_to_the_maximum(table: LockoutTable) -> None:
    fail(table, "ann", HERE, 0, 3)
    now, lasted = 0.0, []
    for _ in range(5):
        (one,) = table.locked(now)
        lasted.append(one.until - now)
        now = one.until
        table.failed("ann", HERE, now)  # the level drains only from here on: one failure locks again
    assert lasted == [60, 120, 240, 240, 240]


def test_guessing_during_a_lock_does_not_prolong_it(table: LockoutTable) -> None:
    fail(table, "ann", HERE, 0, 3)
    fail(table, "ann", HERE, 30, 100)
    assert not table.is_locked("ann", HERE, 60)
    assert not table.is_locked("bob", HERE, 30)  # nor does it lock the others behind that address


def test_failures_drain_over_the_window(table: LockoutTable) -> None:
    for now in range(0, 6000, 300):  # one in 300 s is less than three in 600
        table.failed("ann", HERE, now)
        assert not table.locked(now)


def test_a_lock_long_past_is_forgotten(table: LockoutTable) -> None:
    fail(table, "ann", HERE, 0, 3)
    later = 60 + 600 + 240 + 1
    fail(table, "ann", HERE, later, 3)
    (one,) = table.locked(later)
    assert (one.strikes, one.failures, one.until - later) == (1, 3, 60)


def test_a_source_is_locked_whatever_names_it_tries_and_then_locks_nobody_else(table: LockoutTable) -> None:
    for number in range(5):
        table.failed(f"user{number}", HERE, 0)
    assert table.is_locked("somebody else", HERE, 1)
    assert table.is_locked("", HERE, 1)
    assert not table.is_locked("somebody else", THERE, 1)
    fail(table, "ann", HERE, 1, 50)
    assert not table.is_locked("ann", THERE, 1)


def test_nobody_is_locked_out_by_others_from_where_he_logs_in(table: LockoutTable) -> None:
    table.succeeded("ann", HERE)
    for number in range(50):
        table.failed("ann", f"203.0.113.{number}", 0)
    assert table.is_locked("ann", THERE, 1)
    assert not table.is_locked("ann", HERE, 1)
    fail(table, "ann", HERE, 1, 3)  # but from there, too, guessing is bounded
    assert table.is_locked("ann", HERE, 1)


def test_success_forgets_the_accounts_failures_and_not_the_sources(table: LockoutTable) -> None:
    fail(table, "ann", HERE, 0, 2)
    table.succeeded("ann", HERE)
    fail(table, "ann", HERE, 0, 2)
    assert not table.is_locked("ann", HERE, 0)
    table.failed("bob", HERE, 0)
    assert table.is_locked("carol", HERE, 0)


def test_a_token_is_judged_by_the_sources_lock_alone(table: LockoutTable) -> None:
    fail(table, "ann", HERE, 0, 3)
    assert not table.is_locked("ann", HERE, 1, guessable=False)
    for _ in range(5):
        table.failed("bob", THERE, 0, guessable=False)
    assert table.is_locked("ann", THERE, 1, guessable=False)
    assert not table.is_locked("bob", HERE, 1)


def test_thresholds_of_nought_and_exempt_sources_never_lock() -> None:
    never = LockoutTable(LockoutSettings(account_lockout_threshold=0, source_lockout_threshold=0))
    fail(never, "ann", HERE, 0, 1000)
    assert not never.is_locked("ann", HERE, 0)
    exempt = LockoutTable(
        LockoutSettings(account_lockout_threshold=0, source_lockout_threshold=2, exempt_ip_ranges=["192.0.2.0/24"])
    )
    fail(exempt, "ann", HERE, 0, 1000)
    fail(exempt, "ann", THERE, 0, 2)
    assert (exempt.is_locked("ann", HERE, 0), exempt.is_locked("ann", THERE, 0)) == (False, True)


def test_a_network_of_ipv6_is_one_source(table: LockoutTable) -> None:
    for number in range(5):
        table.failed("", f"2001:db8:1:2::{number}", 0)
    assert table.is_locked("ann", "2001:db8:1:2:ffff::1", 0)
    assert not table.is_locked("ann", "2001:db8:1:3::1", 0)
    assert source_key("2001:db8:1:2::1") == "2001:db8:1:2::/64" == source_key("2001:db8:1:2::/64")


def test_locks_are_lifted_by_account_by_source_and_altogether(table: LockoutTable) -> None:
    table.succeeded("ann", THERE)
    for source in (HERE, THERE):
        fail(table, "ann", source, 0, 3)
    for number in range(5):
        table.failed(f"user{number}", "203.0.113.1", 0)
    assert table.lift(account="ann") == 2
    assert [one.source for one in table.locked(0)] == ["203.0.113.1"]
    assert table.lift(source="203.0.113.1") == 1
    assert table.locked(0) == []
    assert table.lift() > 0
    assert table.lift() == 0


def test_many_accounts_failing_from_one_source_are_seen_for_a_window(table: LockoutTable) -> None:
    for number in range(3):
        table.failed(f"user{number}", HERE, 0)
    table.failed("user0", HERE, 0)
    assert table.guessing(0) == []
    table.failed("user3", HERE, 0)
    assert [(one.source, one.accounts) for one in table.guessing(1)] == [(HERE, 4)]
    assert table.guessing(601) == []


def test_locks_and_familiar_sources_survive_a_restart(table: LockoutTable) -> None:
    table.succeeded("bob", HERE)
    fail(table, "ann", THERE, 0, 3)
    fail(table, "bob", THERE, 0, 1)
    again = LockoutTable(SETTINGS)
    again.restore(table.dump(1))
    assert again.locked(1) == table.locked(1)
    for number in range(50):
        again.failed("bob", f"203.0.113.{number}", 2)
    assert not again.is_locked("bob", HERE, 2)
    again.failed("ann", HERE, 60)
    assert [one.strikes for one in again.locked(60) if one.account == "ann"] == [2]


def test_the_table_is_bounded(table: LockoutTable) -> None:
    for number in range(LOCKOUTS_KEPT + 100):
        table.failed(f"user{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0)
    assert len(table._failures) == LOCKOUTS_KEPT


@given(st.lists(st.tuples(st.sampled_from(["ann", "bob", ""]), st.sampled_from([HERE, THERE]), st.floats(0, 500))))
def test_no_account_is_tried_more_often_than_the_threshold_between_locks(
    attempts: list[tuple[str, str, float]],
) -> None:
    """Whatever happens, an unlocked account has had fewer failures that counted than the threshold within a window."""
    table, now, counted = LockoutTable(SETTINGS), 0.0, []
    for account, source, wait in attempts:
        now += wait
        if account == "ann" and not table.is_locked("ann", source, now):
            counted.append(now)
        table.failed(account, source, now)
        recent = [one for one in counted if now - one < 60]
        assert len(recent) <= SETTINGS.account_lockout_threshold + 1


# --- several processes ------------------------------------------------------------------------------------------------


def test_one_that_begins_anew_knows_what_others_and_it_told() -> None:
    memory = SharedJournal.make(2, records=TOLD_FAILURES, octets=RECORD_OCTETS)

    def begin(place: int) -> SharedLockoutTable:
        journal = SharedJournal(memory, 2, place, records=TOLD_FAILURES, octets=RECORD_OCTETS)
        return SharedLockoutTable(SETTINGS, journal, lambda: 0.0)

    first, second = begin(0), begin(1)
    first.failed("ann", HERE, 10)
    kept = first.dump(11)
    second.failed("ann", HERE, 12)
    first.failed("ann", HERE, 13)
    anew = begin(0)
    anew.restore(kept)
    assert not anew.is_locked("ann", HERE, 14)  # the failure at 10 lies before what was kept, and was no lock
    anew.failed("ann", HERE, 14)
    assert second.is_locked("ann", HERE, 15)
    assert msgspec.structs.astuple(second.locked(15)[0]) == msgspec.structs.astuple(first.locked(15)[0])


def test_the_longest_name_is_told() -> None:
    first, second = shared_tables(2)
    name = "\U0001f4e7" * LOGIN_NAME_CHARACTERS
    fail(first, name, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 0, 3)
    assert second.is_locked(name, HERE, 1)
