# SPDX-License-Identifier: MIT
"""A snapshot of numbers as OpenTelemetry's data: the metrics of the page for Prometheus under the same names.

Counters become monotonic cumulative sums, gauges gauges, histograms histograms with the same buckets; labels become
attributes. Since sums are cumulative, an attempt that fails loses no more than a point in time.
"""

from collections.abc import Iterable
from typing import Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from bridgehead import __version__
from bridgehead.admin.health.metric_names import METRICS, Kind
from bridgehead.admin.health.metric_names import Metric as Definition
from bridgehead.admin.health.metrics import HistogramSample, MetricsSnapshot, Sample

_STARTED: Final = "bridgehead_start_time_seconds"
_UNITS: Final = {"seconds": "s", "bytes": "By"}
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE


def metrics_data(snapshot: MetricsSnapshot, fqdn: str, now: float) -> MetricsData:
    """Every metric that has a value. `now`: Unix time of the snapshot."""
    resource = Resource(
        {"service.name": "bridgehead", "service.instance.id": fqdn, "service.version": __version__, "host.name": fqdn}
    )
    started = next((sample.value for sample in snapshot.values.get(_STARTED, [])), now)
    times = _nanoseconds(started), _nanoseconds(now)
    metrics = [*_numbers(snapshot, times), *_histograms(snapshot, times)]
    scope = ScopeMetrics(InstrumentationScope("bridgehead", __version__), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _numbers(snapshot: MetricsSnapshot, times: tuple[int, int]) -> Iterable[Metric]:
    for name, samples in snapshot.values.items():
        definition = METRICS[name]
        points = [NumberDataPoint(_attributes(definition, one), *times, one.value) for one in samples]
        data = Sum(points, _CUMULATIVE, True) if definition.kind is Kind.COUNTER else Gauge(points)
        yield Metric(name, definition.whole_help, _unit(name), data)


def _histograms(snapshot: MetricsSnapshot, times: tuple[int, int]) -> Iterable[Metric]:
    for name, samples in snapshot.histograms.items():
        definition = METRICS[name]
        points = [
            # The smallest and largest observation are not known, which the protocol allows and the type does not.
            HistogramDataPoint(
                _attributes(definition, one), *times, sum(one.counts), one.total, one.counts, list(definition.bounds),
                None, None,  # type: ignore[arg-type]
            )
            for one in samples
        ]  # fmt: skip
        yield Metric(name, definition.whole_help, _unit(name), Histogram(points, _CUMULATIVE))


def _attributes(definition: Definition, sample: Sample | HistogramSample) -> dict[str, str]:
    return dict(zip(definition.labels, sample.labels, strict=True))


def _unit(name: str) -> str:
    """UCUM, by the name's last word; "1" for what is counted."""
    return _UNITS.get(name.removesuffix("_total").rpartition("_")[2], "1")


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
