# SPDX-License-Identifier: MIT
"""Counters, buckets, and labels that stay bounded while no counter goes back."""

from collections import Counter

import pytest

from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import Envelope
from bridgehead.mail.item import MailItem, Source
from bridgehead.mail.limits import METRIC_CONNECTORS, METRIC_HOPS, METRIC_SOURCES
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.tracking.counters import CountingTracker
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.metrics import OTHER, Histogram, Metrics

NOW = 1_800_000_000.0


def hop(domain: str, connector: str = "Internet") -> NextHop:
    return NextHop(DeliveryType.DNS_CONNECTOR, domain, connector)


def item(**more: str) -> MailItem:
    return MailItem(
        internal_message_id=1, network_message_id="n", received_at=NOW - 2, envelope=Envelope(), size=1000, **more
    )  # type: ignore[arg-type]


def status(action: Action) -> DeliveryStatus:
    code = {Action.DELAYED: "4.0.0", Action.FAILED: "5.0.0"}.get(action, "2.0.0")
    return DeliveryStatus(action=action, status=code, diagnostic="a reply")


def attempt(metrics: Metrics, domain: str, *actions: Action, times: int = 1) -> None:
    for _ in range(times):
        metrics.hop(hop(domain)).attempted(item(), [status(action) for action in actions], 0.1, NOW)


def totals(metrics: Metrics) -> Counter[str]:
    """Messages by destination."""
    found: Counter[str] = Counter()
    for series in metrics.series.values():
        found[series.destination] += series.messages
    return found


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (1.0, 0), (1.001, 1), (2.0, 1), (2.1, 2)])
def test_a_value_falls_into_the_bucket_whose_bound_it_does_not_pass(value: float, bucket: int) -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(value)
    assert histogram.counts == [int(index == bucket) for index in range(3)]
    assert histogram.total == value


def test_an_attempt_counts_the_message_once_and_each_recipient_by_its_outcome() -> None:
    metrics = Metrics()
    attempt(metrics, "a.example", Action.RELAYED)
    attempt(metrics, "a.example", Action.RELAYED, Action.DELAYED, Action.FAILED)
    attempt(metrics, "a.example", Action.RELAYED, Action.DELIVERED)
    [series] = metrics.series.values()
    assert (series.messages, series.bytes) == (2, 2000)
    assert (series.delivered, series.deferred, series.failed) == (4, 1, 1)
    assert sum(series.attempt.counts) == 3
    assert sum(series.end_to_end.counts) == 2
    assert series.end_to_end.total == pytest.approx(4.0)
    assert metrics.hop(hop("a.example")).recent == (2, 1)


def test_failures_to_connect_are_told_from_failures_of_dns() -> None:
    metrics = Metrics()
    for code in ("4.4.1", "4.4.3", "5.4.4", "4.4.4", "4.3.0"):
        metrics.hop(hop("a.example")).connection_failed(code)
    [series] = metrics.series.values()
    assert (series.connection_failures, series.dns_failures) == (5, 3)


def test_only_so_many_destinations_have_numbers_of_their_own() -> None:
    metrics = Metrics(destinations=2)
    for number in range(100):
        attempt(metrics, f"d{number}.example", Action.RELAYED)
    assert totals(metrics) == {"d0.example": 1, "d1.example": 1, OTHER: 98}


def test_a_destination_that_becomes_busy_gets_numbers_of_its_own_and_no_counter_goes_back() -> None:
    metrics = Metrics(destinations=2)
    attempt(metrics, "a.example", Action.RELAYED, times=3)
    attempt(metrics, "b.example", Action.RELAYED, times=2)
    attempt(metrics, "busy.example", Action.RELAYED, times=50)
    assert totals(metrics) == {"a.example": 3, "b.example": 2, OTHER: 50}
    metrics.rebalance()
    attempt(metrics, "busy.example", Action.RELAYED, times=7)
    attempt(metrics, "b.example", Action.RELAYED)
    assert totals(metrics) == {"a.example": 3, "busy.example": 7, OTHER: 51}


def test_next_hops_connectors_and_sources_are_bounded() -> None:
    metrics = Metrics(destinations=2)
    for number in range(METRIC_HOPS + 50):
        attempt(metrics, f"d{number}.example", Action.RELAYED)
    assert len(metrics.hops()) == METRIC_HOPS + 1
    assert sum(totals(metrics).values()) == METRIC_HOPS + 50
    for number in range(METRIC_CONNECTORS + 5):
        metrics.receive_connector(f"c{number}").connected(tls=False)
    assert len(metrics.receive) == METRIC_CONNECTORS + 1
    assert metrics.receive[OTHER].connections == 5
    for number in range(METRIC_SOURCES + 5):
        metrics.seen(item(client_ip=f"10.{number >> 8}.{number & 255}.1"))
    assert len(metrics.take_sources()) == METRIC_SOURCES
    assert metrics.take_sources() == {}


def test_a_next_hop_that_nobody_uses_is_forgotten_after_the_period() -> None:
    metrics = Metrics()
    attempt(metrics, "gone.example", Action.RELAYED)
    attempt(metrics, "used.example", Action.RELAYED)
    metrics.hop(hop("gone.example")).in_use = False
    metrics.turn_period()
    assert len(metrics.hops()) == 2
    metrics.turn_period()
    metrics.turn_period()
    assert [one.next_hop.domain for one in metrics.hops()] == ["used.example"]


def test_what_counts_as_recent_is_one_period_and_no_more() -> None:
    metrics = Metrics()
    attempt(metrics, "a.example", Action.FAILED, times=3)
    metrics.turn_period()
    attempt(metrics, "a.example", Action.RELAYED)
    assert metrics.hop(hop("a.example")).recent == (1, 3)
    metrics.turn_period()
    assert metrics.hop(hop("a.example")).recent == (1, 0)


def test_sources_are_logins_or_else_addresses() -> None:
    metrics = Metrics()
    for principal in ("anonymous", "externally-secured", "user:scanner"):
        metrics.seen(item(principal=principal, client_ip="192.0.2.1"))
    assert metrics.take_sources() == {"192.0.2.1": 2, "user:scanner": 1}


def test_a_report_counts_as_the_worst_that_it_tells() -> None:
    metrics = Metrics()
    metrics.reported({Action.RELAYED, Action.FAILED})
    metrics.reported({Action.DELAYED})
    assert metrics.dsn == {"failed": 1, "delayed": 1}


class _Nowhere:
    def record(self, event: TrackingEvent) -> None:
        """Forget it."""


def test_refusals_of_the_categorizer_are_counted_by_their_reason() -> None:
    tracker = CountingTracker(_Nowhere())
    replies = [
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
        "550 5.4.6 RESOLVER.FWD.Loop; there is a forwarding loop configured in the directory",
        "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required",
    ]
    event = TrackingEvent(
        time=NOW, event_id=EventId.FAIL, source=Source.ROUTING, recipient_count=3, recipient_status=replies
    )
    tracker.record(event)
    tracker.record(TrackingEvent(time=NOW, event_id=EventId.FAIL, source=Source.SMTP, recipient_count=1))
    tracker.record(TrackingEvent(time=NOW, event_id=EventId.RECEIVE, source=Source.PICKUP, recipient_count=1))
    assert (tracker.refused_recipients, tracker.unresolved_recipients, tracker.loop_recipients) == (3, 1, 1)
    assert (tracker.messages[EventId.FAIL], tracker.recipients[EventId.FAIL]) == (2, 4)
    assert (tracker.messages_received, tracker.picked_up) == (1, 1)
