# SPDX-License-Identifier: MIT
"""The Grafana dashboard: promtool reads every query, labels are those of the metrics, panels neither overlap nor lack a
unit. `tests/interop/test_prometheus.py` asks a real Prometheus all of it."""

import itertools
import json
import re
import subprocess
from pathlib import Path

import pytest

from bridgehead.admin.health.metric_names import METRICS
from support.dashboard import DOCUMENT, PANELS, queries

_UNITS = {"none", "short", "s", "d", "cps", "Bps", "bytes", "percentunit"}
"""Of Grafana's ids of units, those that stand for what we count."""
_ADDED = {"instance", "job", "le"}
"""Labels that Prometheus adds, and that of buckets."""


@pytest.mark.interop
def test_promtool_reads_every_query(tmp_path: Path) -> None:
    """Each as a rule that records it: what is no PromQL is no rule."""
    rules = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries())]
    file = tmp_path / "rules.json"  # which is YAML as well
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout + done.stderr


@pytest.mark.parametrize(("title", "query"), queries(), ids=[title for title, _ in queries()])
def test_labels_are_those_of_the_metrics(title: str, query: str) -> None:
    found = re.findall(r"(bridgehead_\w+?)(?:_bucket|_sum|_count)?\{([^}]*)\}", query)
    metrics = [METRICS[name] for name, _ in found]
    assert metrics
    have = _ADDED.union(*(one.labels for one in metrics))
    asked = {label for _, matchers in found for label in re.findall(r"(\w+)(?:=|!)", matchers)}
    asked |= {label.strip() for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(",")}
    assert asked <= have, title


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_each_panel_says_what_it_shows_and_in_what(panel: dict[str, object]) -> None:
    defaults = panel["fieldConfig"]["defaults"]  # type: ignore[index]
    assert defaults["unit"] in _UNITS
    assert panel["type"] in {"stat", "timeseries"}
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    targets = panel["targets"]
    assert isinstance(targets, list)
    letters = [one["refId"] for one in targets]
    assert len(set(letters)) == len(letters) > 0


def test_legends_name_labels_that_the_query_leaves() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            names = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target.get("legendFormat", "")))
            query = target["expr"]
            if by := re.search(r"by \(([^)]*)\)", query):
                left = {label.strip() for label in by[1].split(",")} - {"le"}
            elif re.match(r"(?:sum|max|min)\(", query):
                left = set()
            else:
                left = _ADDED.union(*(METRICS[name].labels for name in re.findall(r"bridgehead_\w+", query)))
            assert names <= left, (panel["title"], names)


def test_ids_are_unique_and_no_panel_lies_upon_another() -> None:
    everything = DOCUMENT["panels"]
    assert len({one["id"] for one in everything}) == len(everything)
    for panel in everything:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert min(place.values()) >= 0
    for one, other in itertools.combinations([panel["gridPos"] for panel in everything], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


def test_it_can_be_imported_anywhere() -> None:
    """No data source, server or id of the place where it was made."""
    assert "id" not in DOCUMENT
    assert DOCUMENT["schemaVersion"] >= 36
    assert [one["name"] for one in DOCUMENT["templating"]["list"]] == ["datasource", "instance"]
