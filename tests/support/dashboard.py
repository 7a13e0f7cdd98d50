# SPDX-License-Identifier: MIT
"""The Grafana dashboard, taken apart: its panels, and their queries with what Grafana puts in for its variables."""

import json
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parents[2] / "packaging" / "grafana" / "bridgehead.json"
DOCUMENT: Final[dict[str, Any]] = json.loads(FILE.read_text())
PANELS: Final[list[dict[str, Any]]] = [one for one in DOCUMENT["panels"] if one["type"] != "row"]
_FILLED: Final = {"$__rate_interval": "1m", "$instance": ".*"}


def queries() -> list[tuple[str, str]]:
    """(panel's title with the query's letter, PromQL) of every query."""
    return [(f"{panel['title']} {one['refId']}", filled(one["expr"])) for panel in PANELS for one in panel["targets"]]


def filled(query: str) -> str:
    """A query as Grafana would ask it over all servers."""
    for variable, value in _FILLED.items():
        query = query.replace(variable, value)
    assert "$" not in query, query
    return query
