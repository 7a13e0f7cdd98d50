# SPDX-License-Identifier: MIT
"""The numbers of a running server at one moment, under the names of `metric_names.py`.

Taken in the process that moves mail, where it reads counters and a count of queues that is not made anew for each
scrape; turned into text in the process of the management interface (`metrics_text.py`).
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from bridgehead.admin.health.metric_names import METRICS
from bridgehead.admin.health.pressure import PressureFacts
from bridgehead.queues.lengths import PATHS, queue_lengths
from bridgehead.queues.store import QueueKind, QueueOverview, QueueStatus
from bridgehead.routing.next_hop import DeliveryType
from bridgehead.tracking.counters import CountingTracker
from bridgehead.tracking.events import EventId
from bridgehead.tracking.metrics import Histogram, Metrics, ReceiveCounters, SendCounters


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One value. Labels stand in the order of the metric's label names."""

    labels: Sequence[str]
    value: float


class HistogramSample(msgspec.Struct, frozen=True, array_like=True):
    """One histogram: observations in each bucket (not added up), and the sum of what was observed."""

    labels: Sequence[str]
    counts: list[int]
    total: float


class MetricsSnapshot(msgspec.Struct, frozen=True):
    """All values by name of the metric."""

    values: dict[str, list[Sample]]
    histograms: dict[str, list[HistogramSample]]


class ProcessFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The process that moves mail, as the system sees it."""

    cpu_seconds: float = 0.0
    resident_bytes: int = 0
    open_files: int = 0


class MetricsSource(Protocol):
    """What the running server knows. Nothing here costs more than reading it."""

    version: str
    started_at: float
    metrics: Metrics
    tracker: CountingTracker

    async def overview(self) -> tuple[QueueOverview, float]:
        """All queues, and the Unix time at which they were counted."""

    def in_memory(self) -> dict[DeliveryType, int]:
        """Messages in delivery queues that are still in Submission on disk, by kind."""

    def now(self) -> float: ...
    def sessions_out(self) -> int: ...
    def store_trouble(self) -> str: ...
    def lost_log_lines(self) -> int: ...
    def otlp_exports(self) -> tuple[int, int]:
        """Attempts that the collector took, and others."""

    def process(self) -> ProcessFacts: ...
    def back_pressure(self) -> PressureFacts: ...
    def standing_alarms(self) -> Iterable[tuple[str, str]]:
        """(kind, severity) of each."""

    def certificate_dates(self) -> Iterable[tuple[str, float]]:
        """(name, Unix time of expiry) of each."""


_FULL_NAMES: Final = {name.removeprefix("bridgehead_").removesuffix("_total"): name for name in METRICS}
_STATUSES: Final = {QueueStatus.ACTIVE: "active", QueueStatus.RETRY: "retry", QueueStatus.SUSPENDED: "suspended"}


async def take_snapshot(source: MetricsSource) -> MetricsSnapshot:
    """Everything. Raises StoreFault where the queues cannot be counted."""
    overview, counted_at = await source.overview()
    taken = _Taken()
    _queues(taken, overview, source.in_memory(), source.now(), counted_at)
    _messages(taken, source.tracker, source.metrics)
    for name, counters in source.metrics.receive.items():
        _receive(taken, name, counters)
    for series in source.metrics.series.values():
        _send(taken, series)
    _server(taken, source)
    return MetricsSnapshot(taken.values, taken.histograms)


class _Taken:
    """A snapshot in the making."""

    def __init__(self) -> None:
        self.values: dict[str, list[Sample]] = {}
        self.histograms: dict[str, list[HistogramSample]] = {}

    def put(self, name: str, value: float, *labels: str) -> None:
        """One value; the name without "bridgehead_" and "_total"."""
        self.values.setdefault(_FULL_NAMES[name], []).append(Sample(labels, value))

    def put_histogram(self, name: str, histogram: Histogram, *labels: str) -> None:
        """One histogram, likewise."""
        sample = HistogramSample(labels, histogram.counts, histogram.total)
        self.histograms.setdefault(_FULL_NAMES[name], []).append(sample)


def _queues(
    taken: _Taken, overview: QueueOverview, in_memory: dict[DeliveryType, int], now: float, counted_at: float
) -> None:
    lengths = queue_lengths(overview, in_memory)
    taken.put("submission_queue_length", lengths.submission)
    taken.put("aggregate_delivery_queue_length", lengths.aggregate)
    for name in PATHS:
        taken.put(f"active_{name}_delivery_queue_length", lengths.active[name])
        taken.put(f"retry_{name}_delivery_queue_length", lengths.retry[name])
    taken.put("external_active_remote_delivery_queue_length", lengths.active["remote"])
    taken.put("largest_delivery_queue_length", lengths.largest_of_all)
    taken.put("external_largest_delivery_queue_length", lengths.largest["remote"])
    taken.put("internal_largest_delivery_queue_length", lengths.largest["mailbox"])
    taken.put("unreachable_queue_length", lengths.unreachable)
    taken.put("poison_queue_length", lengths.poison)
    for status, word in _STATUSES.items():
        found = [one for one in overview.totals if one.queue is QueueKind.DELIVERY and one.status is status]
        taken.put("delivery_queues", max((one.queues for one in found), default=0), word)
    for kind in (QueueKind.SUBMISSION, QueueKind.DELIVERY, QueueKind.UNREACHABLE, QueueKind.POISON):
        oldest = min((one.oldest_received for one in overview.totals if one.queue is kind), default=now)
        taken.put("oldest_message_age_seconds", max(0.0, now - oldest), kind.name.lower())
    for queue in overview.largest:
        labels = (queue.next_hop.connector, queue.next_hop.domain)
        taken.put("delivery_queue_length", queue.messages, *labels)
        taken.put("delivery_queue_oldest_message_age_seconds", max(0.0, now - queue.oldest_received), *labels)
    taken.put("queue_overview_age_seconds", max(0.0, now - counted_at))


def _messages(taken: _Taken, tracker: CountingTracker, metrics: Metrics) -> None:
    taken.put("messages_submitted", tracker.messages[EventId.RECEIVE] + tracker.messages[EventId.DSN])
    taken.put("messages_completed_categorization", sum(metrics.submission.counts))
    taken.put("messages_queued_for_delivery", metrics.queued_for_delivery)
    taken.put("messages_completed_delivery", sum(one.messages for one in metrics.series.values()))
    taken.put("items_resubmitted", tracker.messages[EventId.RESUBMIT])
    for event_id in EventId:
        taken.put("tracking_events", tracker.messages[event_id], event_id.value)
        taken.put("tracking_recipients", tracker.recipients[event_id], event_id.value)
    taken.put_histogram("submission_seconds", metrics.submission)
    for action in ("failed", "delayed", "delivered", "relayed", "expanded"):
        taken.put("dsn", metrics.dsn.get(action, 0), action)
    taken.put("pickup_messages", tracker.picked_up)
    taken.put("pickup_badmail", tracker.messages[EventId.BADMAIL])
    taken.put("resolver_failed_recipients", tracker.refused_recipients)
    taken.put("resolver_unresolved_org_recipients", tracker.unresolved_recipients)
    taken.put("resolver_loop_recipients", tracker.loop_recipients)
    taken.put("resolver_messages_created", tracker.messages[EventId.TRANSFER])
    taken.put("resolver_messages_retried", metrics.resolver_retries)


def _receive(taken: _Taken, name: str, counters: ReceiveCounters) -> None:
    taken.put("smtp_receive_connections", counters.connections, name)
    taken.put("smtp_receive_connections_current", counters.current, name)
    taken.put("smtp_receive_connections_refused", counters.refused, name)
    taken.put("smtp_receive_messages", counters.messages, name)
    taken.put("smtp_receive_bytes", counters.bytes, name)
    taken.put("smtp_receive_recipients", counters.recipients, name)
    taken.put("smtp_receive_rejections", counters.rejected_permanent, name, "permanent")
    taken.put("smtp_receive_rejections", counters.rejected_temporary, name, "temporary")
    taken.put("smtp_receive_tarpitting_delays", counters.tarpits, name)
    taken.put("smtp_receive_timeouts", counters.timeouts, name)
    taken.put("smtp_receive_tls_sessions", counters.tls_sessions, name)
    taken.put("smtp_receive_tls_failures", counters.tls_failures, name)
    taken.put("smtp_receive_logon_failures", counters.logon_failures, name)
    taken.put("smtp_receive_logons_deferred", counters.logons_deferred, name)
    taken.put_histogram("smtp_receive_until_mail_seconds", counters.until_mail, name)
    taken.put_histogram("smtp_receive_until_reply_seconds", counters.until_reply, name)


def _send(taken: _Taken, series: SendCounters) -> None:
    labels = (series.connector, series.destination)
    taken.put("smtp_send_connections", series.connections, *labels)
    taken.put("smtp_send_connection_failures", series.connection_failures, *labels)
    taken.put("smtp_send_dns_errors", series.dns_failures, *labels)
    taken.put("smtp_send_messages", series.messages, *labels)
    taken.put("smtp_send_bytes", series.bytes, *labels)
    taken.put("smtp_send_recipients", series.delivered, *labels, "delivered")
    taken.put("smtp_send_recipients", series.deferred, *labels, "deferred")
    taken.put("smtp_send_recipients", series.failed, *labels, "failed")
    taken.put_histogram("delivery_queue_wait_seconds", series.waiting, *labels)
    taken.put_histogram("delivery_attempt_seconds", series.attempt, *labels)
    taken.put_histogram("end_to_end_seconds", series.end_to_end, *labels)


def _server(taken: _Taken, source: MetricsSource) -> None:
    taken.put("smtp_send_connections_current", source.sessions_out())
    taken.put_histogram("commit_seconds", source.metrics.commit)
    taken.put_histogram("commit_group_size", source.metrics.commit_group)
    taken.put("store_writable", 0 if source.store_trouble() else 1)
    taken.put("lost_log_lines", source.lost_log_lines())
    for outcome, count in zip(("sent", "failed"), source.otlp_exports(), strict=True):
        taken.put("otlp_exports", count, outcome)
    taken.put("info", 1, source.version)
    taken.put("start_time_seconds", source.started_at)
    pressure = source.back_pressure()
    for resource in pressure.resources:
        taken.put("back_pressure_level", int(resource.level), resource.resource.value)
    taken.put("back_pressure_refusals", pressure.refused)
    standing = list(source.standing_alarms())
    for severity in ("warning", "critical"):
        taken.put("alarms", sum(one[1] == severity for one in standing), severity)
    for kind, severity in sorted(set(standing)):
        taken.put("alarm", 1, kind, severity)
    for name, expiry in source.certificate_dates():
        taken.put("certificate_expiry_seconds", expiry, name)
    process = source.process()
    taken.put("process_cpu_seconds", process.cpu_seconds)
    taken.put("process_resident_memory_bytes", process.resident_bytes)
    taken.put("process_open_fds", process.open_files)
