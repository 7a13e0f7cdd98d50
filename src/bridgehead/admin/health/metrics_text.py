# SPDX-License-Identifier: MIT
"""A snapshot of numbers as text that Prometheus reads. Runs in the process of the management interface."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from bridgehead.admin.health.metric_names import METRICS, Kind
from bridgehead.admin.health.metric_names import Metric as Definition
from bridgehead.admin.health.metrics import HistogramSample, MetricsSnapshot, Sample

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


def exposition(snapshot: MetricsSnapshot) -> bytes:
    """The snapshot in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(snapshot))
    return generate_latest(registry)


class _Snapshot(Collector):
    """Hands the families of one snapshot to the library."""

    def __init__(self, snapshot: MetricsSnapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Every metric that is defined, also one without a sample at present."""
        for definition in METRICS.values():
            if definition.kind is Kind.HISTOGRAM:
                yield _histogram(definition, self._snapshot.histograms.get(definition.name, []))
            else:
                yield _family(definition, self._snapshot.values.get(definition.name, []))


def _family(definition: Definition, samples: Iterable[Sample]) -> Metric:
    make = CounterMetricFamily if definition.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(definition.name.removesuffix("_total"), definition.whole_help, labels=definition.labels)
    for sample in samples:
        family.add_metric(sample.labels, sample.value)
    return family


def _histogram(definition: Definition, samples: Iterable[HistogramSample]) -> Metric:
    family = HistogramMetricFamily(definition.name, definition.whole_help, labels=definition.labels)
    bounds = [*map(_bound, definition.bounds), "+Inf"]
    for sample in samples:
        family.add_metric(sample.labels, list(zip(bounds, accumulate(sample.counts), strict=True)), sample.total)
    return family


def _bound(value: float) -> str:
    return repr(float(value))
