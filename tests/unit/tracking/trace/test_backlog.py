# SPDX-License-Identifier: MIT
"""The index is made when it is worth a process, and not while mail passes."""

from pathlib import Path

from bridgehead.tracking.trace.backlog import ENOUGH_BYTES, MOST_BYTES, QUIET_BYTES, Backlog, sizes

MIB = 1024 * 1024


def test_a_burst_is_not_disturbed_and_indexed_when_it_is_over() -> None:
    backlog = Backlog()
    assert not backlog.look({})
    assert not backlog.look({"a": 10 * MIB})
    assert not backlog.look({"a": 10 * MIB, "b": 8 * MIB}), "enough, but more is coming"
    assert backlog.look({"a": 10 * MIB, "b": 8 * MIB + QUIET_BYTES})
    backlog.indexed()
    assert not backlog.look({"a": 10 * MIB, "b": 9 * MIB})


def test_what_searches_read_through_is_bounded_also_while_mail_passes() -> None:
    backlog, size, looks = Backlog(), 0, 0
    backlog.look({})
    while not backlog.look({"a": (size := size + 3 * MIB)}):
        looks += 1
        assert size <= MOST_BYTES
    assert MOST_BYTES <= size <= MOST_BYTES + 3 * MIB


def test_little_is_never_worth_it() -> None:
    backlog = Backlog()
    assert not any(backlog.look({"a": ENOUGH_BYTES - 1}) for _ in range(5))


def test_a_log_that_is_deleted_while_another_grows_hides_nothing() -> None:
    backlog = Backlog()
    backlog.look({"a": 1 * MIB})
    backlog.indexed()
    backlog.look({"b": 10 * MIB})
    backlog.look({"c": 10 * MIB})
    assert backlog.pending == 20 * MIB


def test_logs_of_before_the_start_wait_for_a_quiet_moment() -> None:
    """They are indexed already, most of the time."""
    backlog = Backlog()
    assert not backlog.look({"a": 900 * MIB})
    assert not backlog.look({"a": 901 * MIB})
    assert backlog.look({"a": 901 * MIB})


def test_logs_of_before_the_start_are_no_reason_to_index_while_mail_passes() -> None:
    backlog = Backlog()
    backlog.look({"a": 900 * MIB})
    assert not backlog.look({"a": 900 * MIB + MOST_BYTES - 1})
    assert backlog.look({"a": 900 * MIB + MOST_BYTES})


def test_sizes_are_those_of_tracking_logs(tmp_path: Path) -> None:
    (tmp_path / "MSGTRK20261123-1.LOG").write_bytes(bytes(10))
    (tmp_path / "other.log").write_bytes(bytes(10))
    assert sizes(tmp_path) == {"MSGTRK20261123-1.LOG": 10}
    assert sizes(tmp_path / "none") == {}
