# SPDX-License-Identifier: MIT
"""Thresholds, hold times, hysteresis, and the sentences."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from bridgehead.mail.units import Duration
from bridgehead.monitoring.rules import CLEARS_AT, PEERS, Certificate, Observation, Peer, Rules, Verdict
from bridgehead.monitoring.settings import AlarmSettings
from bridgehead.queues.lengths import queue_lengths
from bridgehead.queues.store import LargeQueue, QueueKind, QueueOverview, QueueStatus, QueueTotal
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.tracking.alarms import Severity

NOW = 1_800_000_000.0
DAY = 86400.0
HOP = NextHop(DeliveryType.DNS_CONNECTOR, "contoso.com", "Internet")
SETTINGS = AlarmSettings()
AT_ONCE = AlarmSettings(hold_time=Duration(0))


def waiting(
    messages: int, queue: QueueKind = QueueKind.DELIVERY, *, age: float = 0.0, status: QueueStatus = QueueStatus.ACTIVE,
    now: float = NOW,
) -> QueueOverview:  # fmt: skip
    """So many messages in one queue."""
    kind = HOP.delivery_type if queue is QueueKind.DELIVERY else DeliveryType.UNDEFINED
    totals = [QueueTotal(queue, kind, status, False, 1, messages, now - age)] if messages else []
    largest = [LargeQueue(HOP, status, messages, now - age)] if messages and queue is QueueKind.DELIVERY else []
    return QueueOverview(totals=totals, largest=largest)


def seen(overview: QueueOverview | None = None, now: float = NOW, **more: Any) -> Observation:
    overview = overview or QueueOverview()
    return Observation(now=now, overview=overview, lengths=queue_lengths(overview, {}), **more)


def standing(verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    return {one.id: one for one in verdicts if one.severity is not None}


def test_a_quiet_server_has_no_alarms() -> None:
    assert Rules().judge(seen(), SETTINGS) == []


@pytest.mark.parametrize(
    ("id", "queue", "limit"),
    [
        ("aggregate_delivery_queue_length", QueueKind.DELIVERY, 3000),
        ("active_remote_delivery_queue_length", QueueKind.DELIVERY, 250),
        ("submission_queue_length", QueueKind.SUBMISSION, 100),
    ],
)
def test_a_length_is_an_alarm_from_its_threshold_on_and_over_well_below_it(
    id: str, queue: QueueKind, limit: int
) -> None:
    rules = Rules()
    assert id not in standing(rules.judge(seen(waiting(limit - 1, queue)), AT_ONCE))
    assert id in standing(rules.judge(seen(waiting(limit, queue)), AT_ONCE))
    assert id in standing(rules.judge(seen(waiting(limit - 1, queue)), AT_ONCE)), "not well below it"
    verdicts = rules.judge(seen(waiting(int(limit * CLEARS_AT) - 1, queue)), AT_ONCE)
    assert Verdict(id, None) in verdicts


def test_a_length_has_to_stay_above_its_threshold() -> None:
    rules = Rules()
    for seconds in (0, 299):
        assert not standing(rules.judge(seen(waiting(101, QueueKind.SUBMISSION), NOW + seconds), SETTINGS))
    assert not standing(rules.judge(seen(now=NOW + 299.5), SETTINGS)), "it fell below"
    for seconds in (300, 599):
        assert not standing(rules.judge(seen(waiting(101, QueueKind.SUBMISSION), NOW + seconds), SETTINGS))
    [verdict] = standing(rules.judge(seen(waiting(101, QueueKind.SUBMISSION), NOW + 600), SETTINGS)).values()
    assert verdict.text == "101 messages wait for the categorizer"
    assert verdict.remedy == "bridgehead queue show Submission"


def test_the_aggregate_is_critical_from_its_second_threshold_on() -> None:
    found = standing(Rules().judge(seen(waiting(5000)), AT_ONCE))["aggregate_delivery_queue_length"]
    assert found.severity is Severity.CRITICAL
    assert "5000 of them in Internet/contoso.com" in found.text


def test_an_old_message_is_an_alarm_and_an_older_one_is_critical() -> None:
    rules = Rules()
    assert not standing(rules.judge(seen(waiting(1, age=3599)), SETTINGS))
    found = standing(rules.judge(seen(waiting(1, age=3600)), SETTINGS))["oldest_message"]
    assert found.severity is Severity.WARNING
    assert found.text == "a message has been waiting for 1 h in the queue Internet/contoso.com"
    assert found.remedy == "bridgehead why Internet/contoso.com"
    found = standing(rules.judge(seen(waiting(1, age=4 * 3600)), SETTINGS))["oldest_message"]
    assert found.severity is Severity.CRITICAL
    found = standing(rules.judge(seen(waiting(1, QueueKind.UNREACHABLE, age=7200)), SETTINGS))["oldest_message"]
    assert found.text.endswith("in the queue Unreachable")
    assert found.remedy == "bridgehead why Unreachable"


def test_what_is_suspended_or_set_aside_does_not_grow_old() -> None:
    overview = waiting(1, age=90_000, status=QueueStatus.SUSPENDED)
    assert "oldest_message" not in standing(Rules().judge(seen(overview), SETTINGS))
    overview = waiting(1, QueueKind.POISON, age=90_000)
    assert "oldest_message" not in standing(Rules().judge(seen(overview), SETTINGS))


def test_unreachable_and_poison_messages_are_alarms() -> None:
    found = standing(Rules().judge(seen(waiting(2, QueueKind.UNREACHABLE)), SETTINGS))["unreachable_queue"]
    assert (found.severity, found.remedy) == (Severity.WARNING, "bridgehead queue show Unreachable")
    found = standing(Rules().judge(seen(waiting(1, QueueKind.POISON)), SETTINGS))["poison_queue"]
    assert (found.severity, found.remedy) == (Severity.CRITICAL, "bridgehead queue show Poison")


def test_a_queue_that_drains_too_slowly_is_an_alarm() -> None:
    rules = Rules()
    found: dict[str, Verdict] = {}
    for minute in range(11):
        overview = waiting(200, now=NOW + 60 * minute)
        found = standing(rules.judge(seen(overview, NOW + 60 * minute, completed=minute), SETTINGS))
    assert rules.drain_seconds == pytest.approx(200 * 60)
    assert "200 messages that are due need 3 h 20 min at the present rate" in found["time_to_drain"].text
    assert found["time_to_drain"].severity is Severity.WARNING


def test_a_queue_that_does_not_move_is_critical_and_mail_that_waits_for_its_retry_is_not_due() -> None:
    rules, waits = Rules(), Rules()
    for minute in range(11):
        now = NOW + 60 * minute
        found = standing(rules.judge(seen(waiting(30, now=now), now), SETTINGS))
        retry = waiting(30, now=now, status=QueueStatus.RETRY)
        assert "time_to_drain" not in standing(waits.judge(seen(retry, now), SETTINGS))
    assert found["time_to_drain"].severity is Severity.CRITICAL
    assert "do not move" in found["time_to_drain"].text


def test_an_alarm_about_rates_gets_no_worse_because_the_server_was_started_again() -> None:
    rules = Rules()
    rules.judge(seen(waiting(30), NOW), SETTINGS)
    rules.resume(["time_to_drain"])
    found = standing(rules.judge(seen(waiting(30, now=NOW + 2), NOW + 2), SETTINGS))
    assert found["time_to_drain"].severity is Severity.WARNING


def test_a_few_messages_tell_nothing_about_rates() -> None:
    rules = Rules()
    for minute in range(30):
        now = NOW + 60 * minute
        assert not standing(rules.judge(seen(waiting(19, now=now), now), SETTINGS))


def test_a_peer_that_refuses_most_is_an_alarm_with_what_it_said() -> None:
    rules = Rules()
    peer = Peer(identity=str(HOP), taken=10, refused=10, last_error="451 4.7.1 greylisted")
    found = standing(rules.judge(seen(peers=[peer]), SETTINGS))[f"peer_failures/{HOP}"]
    assert found.text == (
        "10 of 20 attempts and waiting messages for Internet/contoso.com do not get through; "
        "the last error: 451 4.7.1 greylisted"
    )
    assert found.severity is Severity.WARNING
    better = msgspec.structs.replace(peer, taken=14)
    assert standing(rules.judge(seen(peers=[better]), SETTINGS)), "not well below the threshold"
    assert Verdict(f"peer_failures/{HOP}", None) in rules.judge(
        seen(peers=[msgspec.structs.replace(peer, taken=90)]), SETTINGS
    )


def test_a_peer_that_takes_nothing_is_critical_and_what_waits_for_it_counts() -> None:
    peer = Peer(identity=str(HOP), taken=0, refused=1)
    overview = waiting(19, status=QueueStatus.RETRY)
    found = standing(Rules().judge(seen(overview, peers=[peer]), SETTINGS))[f"peer_failures/{HOP}"]
    assert found.severity is Severity.CRITICAL


def test_few_failures_say_nothing_of_a_peer_and_alarms_about_peers_are_bounded() -> None:
    peer = Peer(identity=str(HOP), taken=0, refused=19)
    assert not standing(Rules().judge(seen(peers=[peer]), SETTINGS))
    many = [Peer(identity=f"Internet/d{number}", taken=0, refused=100 + number) for number in range(100)]
    assert len(standing(Rules().judge(seen(peers=many), SETTINGS))) == PEERS


def test_a_certificate_that_renews_itself_alarms_only_once_it_is_over() -> None:
    one = Certificate(file="/etc/a.pem", used_by="the server", expires=NOW + 86400)
    quiet = Rules().judge(seen(certificates=[one], renewed=["/etc/a.pem"]), SETTINGS)
    assert "certificate//etc/a.pem" not in standing(quiet)
    over = msgspec.structs.replace(one, expires=NOW - 1)
    assert "certificate//etc/a.pem" in standing(
        Rules().judge(seen(certificates=[over], renewed=["/etc/a.pem"]), SETTINGS)
    )


def test_a_certificate_is_an_alarm_at_each_threshold() -> None:
    rules = Rules()
    steps = []
    for days in (31, 29, 15, 13, 4, 2, -1):
        one = Certificate(file="/etc/a.pem", used_by="the server", expires=NOW + days * DAY)
        found = standing(rules.judge(seen(certificates=[one]), SETTINGS)).get("certificate//etc/a.pem")
        steps.append((days, found.step, found.severity) if found else None)
    assert steps == [
        None, (29, 1, "warning"), (15, 1, "warning"), (13, 2, "warning"), (4, 2, "warning"), (2, 3, "critical"),
        (-1, 4, "critical"),
    ]  # fmt: skip
    assert found is not None
    assert found.text.startswith("the certificate /etc/a.pem (the server) expired 1 d ago, on 2027-01-14")


def test_lost_lines_are_an_alarm_for_an_hour_after_the_last() -> None:
    rules = Rules()
    assert "7 log lines" in standing(rules.judge(seen(lost_log_lines=7), SETTINGS))["lost_log_lines"].text
    assert standing(rules.judge(seen(lost_log_lines=7, now=NOW + 3599), SETTINGS))
    assert not standing(rules.judge(seen(lost_log_lines=7, now=NOW + 3600), SETTINGS))


def test_zero_switches_a_rule_off() -> None:
    settings = AlarmSettings(
        oldest_message_age=Duration(0), unreachable_queue_length=0, poison_queue_length=0, peer_failure_share=0.0,
        time_to_drain=Duration(0), certificate_expiry_days=[],
    )  # fmt: skip
    rules = Rules()
    for minute in range(20):
        now = NOW + 60 * minute
        for queue in (QueueKind.UNREACHABLE, QueueKind.POISON, QueueKind.DELIVERY):
            overview = waiting(99, queue, age=1e6, now=now)
            assert not standing(
                rules.judge(seen(overview, now, peers=[Peer(identity="x", taken=0, refused=99)]), settings)
            )
