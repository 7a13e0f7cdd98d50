# SPDX-License-Identifier: MIT
"""Tables of results: medians, ranges, ratios, and which targets are met."""

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

Rows = list[dict[str, Any]]

_RELAY = [
    "delivered_per_s", "accepted_per_s", "cpu_per_1000", "flushes_per_message", "resident_mib", "proportional_mib",
]  # fmt: skip
COLUMNS = {
    "relay-tls": _RELAY,
    "handshake": ["handshakes_per_s", "cpu_per_1000", "load_cpu_per_1000", "resident_mib", "proportional_mib"],
    "relay": _RELAY,
    "accept": ["accepted_per_s", "cpu_per_1000", "flushes_per_message", "resident_mib", "proportional_mib"],
    "latency": ["transaction_p50_ms", "transaction_p99_ms", "total_p50_ms", "total_p99_ms", "cpu_per_1000"],
    "deep": [
        "accepted_per_s", "first_tenth_per_s", "last_tenth_per_s", "full_resident_mib", "full_proportional_mib",
        "restart_s", "drain_wait_s", "drained_per_s", "drain_resident_mib",
    ],
}  # fmt: skip


class Target(NamedTuple):
    """A figure of ours that must hold, alone or against Postfix's.

    Attributes:
        measure: takes the two medians (theirs None for a figure that stands alone), gives what is judged.
        least, most: bounds of that; aim is what we would like, in the same terms.
    """

    job: str
    figure: str
    what: str
    measure: Callable[[float, float | None], float]
    least: float | None
    most: float | None
    aim: str


def _times(ours: float, theirs: float | None) -> float:
    return ours / theirs if theirs else float("nan")


def _alone(ours: float, _: float | None) -> float:
    return ours


TARGETS = [
    Target("relay-sM-4k", "delivered_per_s", "delivered/s to Postfix", _times, 5, None, "10"),
    Target("relay-s1-4k", "delivered_per_s", "delivered/s to Postfix", _times, 2.5, None, "4"),
    Target("accept-4k", "accepted_per_s", "accepted/s to Postfix", _times, 5, None, "8"),
    Target("accept-64k", "accepted_per_s", "accepted/s to Postfix", _times, 2, None, "4"),
    Target("relay-sM-4k", "cpu_per_1000", "CPU a message to Postfix", _times, None, 1 / 5, "1/15"),
    Target("deep-4k", "last_to_first", "accept rate, last tenth to first", _alone, 0.9, None, "1"),
    Target("deep-4k", "full_resident_mib", "MiB with the queue full", _alone, None, 150, "flat"),
    Target("deep-4k", "restart_s", "seconds from restart to greeting", _alone, None, 1.0, ""),
    Target("deep-4k", "drained_per_s", "drained/s to Postfix", _times, 2, None, ""),
    *(
        Target(job, figure, f"{what} to Postfix", _times, 2, None, "")
        for job, figure, what in (
            ("handshake-13-full", "handshakes_per_s", "handshakes/s"),
            ("handshake-13-resumed", "handshakes_per_s", "handshakes/s"),
            ("handshake-12-full", "handshakes_per_s", "handshakes/s"),
            ("handshake-12-resumed", "handshakes_per_s", "handshakes/s"),
            ("relay-tls-sM-4k", "delivered_per_s", "delivered/s"),
            ("relay-tls-s1-4k", "delivered_per_s", "delivered/s"),
            ("relay-tls-s1-full-4k", "delivered_per_s", "delivered/s"),
        )
    ),
    Target("latency-200", "transaction_p99_ms", "p99 MAIL to 250 to Postfix", _times, None, 1.0, "0.5"),
]


def values(rows: Rows, job: str, server: str, figure: str) -> list[float]:
    """All figures of one name that runs without error gave."""
    return [
        float(row[figure])
        for row in rows
        if row["job"] == job and row["server"] == server and "error" not in row and row.get(figure) is not None
    ]


def table(rows: Rows, job: str, kind: str) -> str:
    """One job: a line for each server, median (range) for each figure."""
    lines = [f"### {job}", "", "| server | runs | " + " | ".join(COLUMNS[kind]) + " |"]
    lines.append("|---|---" + "|---" * len(COLUMNS[kind]) + "|")
    for server in dict.fromkeys(row["server"] for row in rows if row["job"] == job):
        cells = [_cell(values(rows, job, server, figure)) for figure in COLUMNS[kind]]
        runs = sum(row["job"] == job and row["server"] == server for row in rows)
        lines.append(f"| {server} | {runs} | " + " | ".join(cells) + " |")
    failed = [row for row in rows if row["job"] == job and "error" in row]
    return "\n".join([*lines, *(f"\n{row['server']} failed: {row['error']}" for row in failed), ""])


def _cell(found: list[float]) -> str:
    if not found:
        return "-"
    middle = f"{statistics.median(found):g}"
    return middle if len(found) == 1 else f"{middle} ({min(found):g}-{max(found):g})"


def targets(rows: Rows, ours: str = "bridgehead", theirs: str = "postfix") -> tuple[str, bool]:
    """The table of targets, and whether all that were measured are met."""
    lines = ["### Targets", "", "| job | what | ours | Postfix | measured | wanted | aim | |", "|---" * 8 + "|"]
    met = True
    for target in TARGETS:
        mine = values(rows, target.job, ours, target.figure)
        peer = values(rows, target.job, theirs, target.figure)
        wanted = f">= {target.least:g}" if target.least is not None else f"<= {target.most:g}"
        if not mine or (target.measure is _times and not peer):
            state, measured = "not measured", "-"
            met = met and not any(row["job"] == target.job and row["server"] == ours for row in rows)
        else:
            figure = target.measure(statistics.median(mine), statistics.median(peer) if peer else None)
            good = (target.least is None or figure >= target.least) and (target.most is None or figure <= target.most)
            state, measured, met = "pass" if good else "FAIL", f"{figure:.2f}", met and good
        lines.append(
            f"| {target.job} | {target.what} | {_cell(mine)} | {_cell(peer)} | {measured} | {wanted} | {target.aim} | "
            f"{state} |"
        )
    return "\n".join([*lines, ""]), met
