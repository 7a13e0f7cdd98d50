# SPDX-License-Identifier: MIT
"""The retry ladder and deadlines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.mail.units import Duration
from bridgehead.queues.retry import deadline_of, next_connection_retry, next_message_retry, next_resolver_retry
from bridgehead.queues.settings import QueueSettings

STEADY = QueueSettings(retry_jitter=0.0)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@pytest.mark.parametrize(
    ("failures", "minutes"),
    [(0, 1), (1, 1), (4, 1), (5, 5), (10, 5), (11, 10), (1_000, 10)],
)
def test_exchanges_ladder(failures: int, minutes: int) -> None:
    assert next_connection_retry(STEADY, failures, 1000.0, 0.3) == 1000.0 + minutes * MINUTE


def test_the_ladder_follows_its_settings() -> None:
    settings = QueueSettings(
        retry_jitter=0.0, queue_glitch_retry_count=0, transient_failure_retry_count=1,
        transient_failure_retry_interval=Duration(seconds=7),
        outbound_connection_failure_retry_interval=Duration(seconds=9),
    )  # fmt: skip
    assert [next_connection_retry(settings, failures, 0.0, 0.0) for failures in (1, 2, 3)] == [7.0, 9.0, 9.0]


@pytest.mark.parametrize("failures", [1, 7, 50])
def test_local_delivery_has_one_interval(failures: int) -> None:
    settings = QueueSettings(retry_jitter=0.0, mailbox_delivery_queue_retry_interval=Duration(seconds=33))
    assert next_connection_retry(settings, failures, 0.0, 0.5, to_mailbox=True) == 33.0


def test_a_deferred_message_and_a_silent_directory_have_intervals_of_their_own() -> None:
    assert next_message_retry(STEADY, 100.0, 0.9) == 100.0 + 5 * MINUTE
    assert next_resolver_retry(STEADY, 100.0, 0.9) == 100.0 + 30 * MINUTE


@given(random=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 0.5), failures=st.integers(1, 40))
def test_jitter_stays_within_its_share(random: float, jitter: float, failures: int) -> None:
    exact = next_connection_retry(STEADY, failures, 0.0, random)
    spread = next_connection_retry(QueueSettings(retry_jitter=jitter), failures, 0.0, random)
    assert exact * (1 - jitter) - 1e-6 <= spread <= exact * (1 + jitter) + 1e-6


def test_jitter_spreads_to_both_sides() -> None:
    settings = QueueSettings(retry_jitter=0.1)
    assert next_message_retry(settings, 0.0, 0.0) == pytest.approx(270.0)
    assert next_message_retry(settings, 0.0, 0.5) == pytest.approx(300.0)
    assert next_message_retry(settings, 0.0, 0.999) == pytest.approx(330.0, abs=0.1)


def test_deadline_is_the_delay_report_then_the_end() -> None:
    assert deadline_of(1000.0, STEADY, delay_notified=False) == 1000.0 + 4 * HOUR
    assert deadline_of(1000.0, STEADY, delay_notified=True) == 1000.0 + 2 * DAY
    hasty = QueueSettings(message_expiration_timeout=Duration(hours=1))
    assert deadline_of(1000.0, hasty, delay_notified=False) == 1000.0 + HOUR
