#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes docs/reference/metrics.md from the metrics themselves."""

from pathlib import Path

from bridgehead.admin.health.metric_names import SECTIONS, Kind, Metric

MANUAL = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"

HEAD = """\
# Metrics

<!-- Written by `make docs` from the metrics themselves. Change those, not this page. -->

`GET /metrics` gives these numbers in Prometheus' text format: on the management interface (its Unix socket, and TCP
with a login of the role viewer), and in clear where `probe_listen` of `[monitoring]` is set.
[Watch the server](../howto/monitoring.md) shows how to scrape them; alert rules and a Grafana dashboard lie in
`packaging/prometheus` and `packaging/grafana`.

The column "Exchange" names the performance counter that a metric stands for. Rates per second, which Exchange has as
counters of their own, are `rate(…[1m])` of a total.

Labels are bounded. `connector` is a connector of the configuration. `destination` is the domain, smart hosts or store
of a next hop: the busiest (`destinations` of `[monitoring]`) have numbers of their own, the others of a connector are
counted as "other"; a destination that becomes busy later is counted from there on, and no counter ever goes back.

Counting queues costs more the more messages wait, so that it is done once a second at most and never takes more than a
twentieth of the store's time; `bridgehead_queue_overview_age_seconds` says how old the numbers are.
"""

TAIL = """
## Counters without a counterpart

* AmbiguousRecipientsTotal, AmbiguousSendersTotal: an address belongs to one recipient here.
* UnresolvedOrgSendersTotal: senders are not looked up in the directory.
* MessagesChippedTotal: expansion makes no message of its own for each thousand recipients.
* Internal Active Remote Delivery Queue Length: there is no next hop of the kind "another server of the organisation"
  that is known as such; every send connector counts as external.
"""


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for heading, metrics in SECTIONS.items():
        parts.append(f"\n## {heading}\n\n| Metric | Type | Labels | Meaning | Exchange |\n|---|---|---|---|---|\n")
        parts += map(row, metrics)
    return "".join(parts) + TAIL


def row(metric: Metric) -> str:
    """One line of a table."""
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "—"
    meaning = metric.help
    if metric.kind is Kind.HISTOGRAM:
        meaning += f" Buckets up to {', '.join(f'{bound:g}' for bound in metric.bounds)}."
    exchange = metric.exchange.replace("MSExchangeTransport ", "") or "—"
    return f"| `{metric.name}` | {metric.kind.value} | {labels} | {meaning} | {exchange} |\n"


if __name__ == "__main__":
    MANUAL.write_text(render())
