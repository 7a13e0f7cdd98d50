# SPDX-License-Identifier: MIT
"""What several workers say of how the server is, as one answer (`admin/merge.py`)."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from bridgehead.admin.health.alarms import AlarmReport, AlarmView
from bridgehead.admin.health.health import Readiness, ReadinessCheck
from bridgehead.admin.health.metrics import HistogramSample, MetricsSnapshot, Sample
from bridgehead.admin.health.pressure import PressureView
from bridgehead.admin.health.status import StatusReport
from bridgehead.admin.merge import by_identity, summed
from bridgehead.admin.ports import ListenerFacts
from bridgehead.admin.queue.joining import earliest, one_queue

_LEVELS: Final = ("Low", "Medium", "High")
_OF_ANOTHER: Final = re.compile(r"worker_\d+")
_NOT_ADDED: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "bridgehead_info": max,
    "bridgehead_start_time_seconds": min,
    "bridgehead_store_writable": min,
    "bridgehead_back_pressure_level": max,
    "bridgehead_alarms": max,
    "bridgehead_alarm": max,
    "bridgehead_certificate_expiry_seconds": max,
    "bridgehead_delivery_queues": max,
    "bridgehead_oldest_message_age_seconds": max,
    "bridgehead_delivery_queue_oldest_message_age_seconds": max,
    "bridgehead_queue_overview_age_seconds": max,
}
"""What says something else than how much or how many."""


def status(answers: Sequence[StatusReport], _: Any) -> StatusReport:
    """The server as a whole."""
    sums = summed(
        answers, "sessions_in", "sessions_out", "received", "delivered", "failed", "deferred", "lost_log_lines",
        "queued_messages", "messages_by_queue_type",
    )  # fmt: skip
    retrying = by_identity(lambda one: one.identity, one_queue, _all(answers, "retrying_queues"))
    return msgspec.structs.replace(
        answers[0],
        **sums,
        healthy=all(one.healthy for one in answers),
        started=earliest(one.started for one in answers),
        uptime_seconds=max(one.uptime_seconds for one in answers),
        listeners=by_identity(lambda one: one.binding, _listener, _all(answers, "listeners")),
        alarms=list(dict.fromkeys(_all(answers, "alarms"))),
        retrying_queues=sorted(retrying, key=lambda queue: -queue.message_count),
        back_pressure=pressure([one.back_pressure for one in answers], None),
    )


def troubled_status(report: StatusReport, troubles: Sequence[str]) -> StatusReport:
    """With workers that do not work."""
    return msgspec.structs.replace(report, healthy=False, alarms=[*troubles, *report.alarms])


def pressure(answers: Sequence[PressureView], _: Any) -> PressureView:
    """Each resource as the worker sees it that is worst off; of Submission that is a worker's share."""
    worst = max(answers, key=lambda one: _LEVELS.index(one.level))
    resources = by_identity(
        lambda one: one.resource,
        lambda parts: max(parts, key=lambda one: (_LEVELS.index(one.level), one.value)),
        _all(answers, "resources"),
    )
    return msgspec.structs.replace(
        worst,
        **summed(answers, "refused"),
        actions=list(dict.fromkeys(_all(answers, "actions"))),
        tarpit_seconds=max(one.tarpit_seconds for one in answers),
        resources=sorted(resources, key=lambda one: -_LEVELS.index(one.level)),
    )


def readiness(answers: Sequence[Readiness], _: Any) -> Readiness:
    """A condition holds where it holds for every worker."""

    def together(parts: Sequence[ReadinessCheck]) -> ReadinessCheck:
        return next((one for one in parts if not one.ok), parts[0])

    checks = by_identity(lambda one: one.name, together, _all(answers, "checks"))
    return Readiness(ready=all(one.ok for one in checks), checks=checks)


def alarms(answers: Sequence[AlarmReport], _: Any) -> AlarmReport:
    """One of a kind, since when the first worker has it; the ways out are the first worker's."""
    return AlarmReport(
        alarms=by_identity(_id, _first, _all(answers, "alarms")),
        silences=by_identity(lambda one: one.pattern, _first, _all(answers, "silences")),
        channels=answers[0].channels,
    )


def _id(alarm: AlarmView) -> str:
    """The first worker's word for another's alarm, "worker_2/store", is that alarm."""
    told_by, _, id = alarm.id.partition("/")
    return id if _OF_ANOTHER.fullmatch(told_by) else alarm.id


def metrics(answers: Sequence[MetricsSnapshot], _: Any) -> MetricsSnapshot:
    """Numbers added up, under the same labels."""
    values: dict[str, dict[tuple[str, ...], list[float]]] = {}
    histograms: dict[str, dict[tuple[str, ...], HistogramSample]] = {}
    for answer in answers:
        for name, samples in answer.values.items():
            for sample in samples:
                values.setdefault(name, {}).setdefault(tuple(sample.labels), []).append(sample.value)
        for name, found in answer.histograms.items():
            known = histograms.setdefault(name, {})
            for one in found:
                labels = tuple(one.labels)
                known[labels] = _histogram(known[labels], one) if labels in known else one
    return MetricsSnapshot(
        {
            name: [Sample(labels, _NOT_ADDED.get(name, sum)(numbers)) for labels, numbers in by_labels.items()]
            for name, by_labels in values.items()
        },
        {name: list(by_labels.values()) for name, by_labels in histograms.items()},
    )


def _histogram(one: HistogramSample, other: HistogramSample) -> HistogramSample:
    counts = [first + second for first, second in zip(one.counts, other.counts, strict=True)]
    return HistogramSample(one.labels, counts, one.total + other.total)


def _listener(parts: Sequence[ListenerFacts]) -> ListenerFacts:
    return msgspec.structs.replace(parts[0], **summed(parts, "connections"))


def _first(parts: Sequence[Any]) -> Any:
    return parts[0]


def _all(answers: Sequence[Any], field: str) -> list[Any]:
    return [one for answer in answers for one in getattr(answer, field)]
