# SPDX-License-Identifier: MIT
"""What is shipped for Prometheus and Grafana speaks of metrics that exist, and promtool takes it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridgehead.admin.health.metric_names import METRICS, Kind
from bridgehead.admin.health.metrics import HistogramSample, MetricsSnapshot, Sample
from bridgehead.admin.health.metrics_text import exposition

_ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(_ROOT / "tools"))

import metrics_manual  # noqa: E402

_PROMETHEUS = _ROOT / "packaging" / "prometheus"
_RULES = _PROMETHEUS / "bridgehead.rules.yml"
_DASHBOARD = _ROOT / "packaging" / "grafana" / "bridgehead.json"
_NAME = re.compile(r"\bbridgehead_[a-z0-9_]+\b")


def known() -> set[str]:
    """Names of all series."""
    names = set(METRICS)
    for metric in METRICS.values():
        if metric.kind is Kind.HISTOGRAM:
            names |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}
    return names


def expressions(part: Any) -> Iterator[str]:
    """Every query of a dashboard."""
    if isinstance(part, dict):
        if isinstance(part.get("expr"), str):
            yield part["expr"]
        query = part.get("query")
        if isinstance(query, dict):
            yield query["query"]
        for value in part.values():
            yield from expressions(value)
    elif isinstance(part, list):
        for value in part:
            yield from expressions(value)


def promtool(*arguments: str, data: str = "") -> str:
    done = subprocess.run(
        ["promtool", *arguments], input=data, capture_output=True, text=True, cwd=_PROMETHEUS, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_page_is_what_the_metrics_say() -> None:
    assert metrics_manual.MANUAL.read_text() == metrics_manual.render(), "run `make docs`"


def test_every_metric_is_on_the_page_and_every_one_on_the_page_is_a_metric() -> None:
    page = metrics_manual.MANUAL.read_text()
    assert set(re.findall(r"^\| `(bridgehead_\w+)`", page, re.MULTILINE)) == set(METRICS)
    assert set(_NAME.findall(page)) <= set(METRICS)


def test_the_counters_that_administrators_know_have_each_one_metric() -> None:
    wanted = (
        "Aggregate Delivery Queue Length (All Queues)", "Active Remote Delivery Queue Length",
        "Active Mailbox Delivery Queue Length", "Active Non-Smtp Delivery Queue Length", "Submission Queue Length",
        "Retry Mailbox Delivery Queue Length", "Retry Non-Smtp Delivery Queue Length",
        "Retry Remote Delivery Queue Length", "Largest Delivery Queue Length", "Unreachable Queue Length",
        "Poison Queue Length", "Messages Submitted Total", "Messages Completed Delivery Total",
        "Messages Completed Categorization", "Messages Queued for Delivery Total", "Items Resubmitted",
    )  # fmt: skip
    for counter in wanted:
        found = [one.name for one in METRICS.values() if one.exchange == f"MSExchangeTransport Queues: {counter}"]
        assert len(found) == 1, counter


def test_rules_and_dashboard_ask_for_metrics_that_exist() -> None:
    texts = [_RULES.read_text(), (_PROMETHEUS / "bridgehead.test.yml").read_text()]
    texts += expressions(json.loads(_DASHBOARD.read_text()))
    assert len(texts) > 40
    for text in texts:
        assert set(_NAME.findall(text)) - {"bridgehead_rules"} <= known(), text


def test_the_dashboard_leaves_no_panel_without_a_query() -> None:
    panels = json.loads(_DASHBOARD.read_text())["panels"]
    assert [one["title"] for one in panels if one["type"] != "row" and not list(expressions(one))] == []
    assert len({one["id"] for one in panels}) == len(panels)


@pytest.mark.interop
def test_promtool_accepts_the_rules_and_each_alert_fires_in_its_scenario() -> None:
    assert "SUCCESS" in promtool("check", "rules", _RULES.name)
    assert "SUCCESS" in promtool("test", "rules", "bridgehead.test.yml")
    alerts = re.findall(r"- alert: (\w+)", _RULES.read_text())
    scenarios = (_PROMETHEUS / "bridgehead.test.yml").read_text()
    assert [
        alert for alert in alerts if f'{alert}"}}' not in scenarios and f"alertname: {alert}" not in scenarios
    ] == []


@pytest.mark.interop
def test_promtool_finds_nothing_amiss_with_the_metrics() -> None:
    labels = {name: [f"v{number}" for number, _ in enumerate(metric.labels)] for name, metric in METRICS.items()}
    snapshot = MetricsSnapshot(
        {name: [Sample(labels[name], 1)] for name, one in METRICS.items() if one.kind is not Kind.HISTOGRAM},
        {
            name: [HistogramSample(labels[name], [1] * (len(one.bounds) + 1), 2.0)]
            for name, one in METRICS.items()
            if one.kind is Kind.HISTOGRAM
        },
    )
    assert promtool("check", "metrics", data=exposition(snapshot).decode()) == ""
