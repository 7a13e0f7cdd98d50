# SPDX-License-Identifier: MIT
"""The result of a test as a tree for terminals."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from bridgehead.admin.cli.output import paint

if TYPE_CHECKING:
    from bridgehead.admin.probe.steps import ProbeResult, Step

MARKS: Final = {"pass": ("✓", "green"), "note": ("·", "blue"), "warning": ("!", "yellow"), "failure": ("✗", "red")}


def tree_text(result: "ProbeResult", *, everything: bool) -> str:
    """The tree; evidence only below what is not well unless `everything`."""
    lines = list(_lines(result.tree, "", "", everything))
    if result.cause:
        lines += ["", f"{paint('Cause:', MARKS[result.verdict.value][1])} {result.cause}"]
        if result.remedy:
            lines.append(f"{paint('Do:', 'cyan')}    {result.remedy}")
    lines.append(f"Tested by {result.by} at {result.started_at:%Y-%m-%d %H:%M:%S}Z")
    return "\n".join(lines)


def _lines(step: "Step", first: str, further: str, everything: bool) -> Iterator[str]:
    mark, color = MARKS[step.verdict.value]
    yield f"{first}{paint(mark, color)} {step.sentence} ({shown_time(step.milliseconds)})"
    bad = step.verdict.value in ("warning", "failure")
    inner = further + ("│  " if step.steps else "   ")
    if step.remedy:
        yield f"{inner}→ {step.remedy}"
    if everything or (bad and not any(one.verdict is step.verdict for one in step.steps)):
        for detail in step.details:
            yield f"{inner}  {detail}"
    for number, one in enumerate(step.steps, 1):
        last = number == len(step.steps)
        yield from _lines(one, further + ("└─ " if last else "├─ "), further + ("   " if last else "│  "), everything)


def shown_time(milliseconds: float) -> str:
    """ "3 ms", "12.4 s"."""
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.1f} s"
