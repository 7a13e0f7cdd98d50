# SPDX-License-Identifier: MIT
"""The result of a test as a tree for terminals."""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from bridgehead.admin.cli.output import paint, wrapped

if TYPE_CHECKING:
    from bridgehead.admin.probe.steps import ProbeResult, Step

MARKS: Final = {"pass": ("✓", "green"), "note": ("·", "blue"), "warning": ("!", "yellow"), "failure": ("✗", "red")}


def tree_text(result: "ProbeResult", *, everything: bool) -> str:
    """The tree; evidence only below what is not well unless `everything`."""
    lines = list(_lines(result.tree, "", "", everything))
    if result.cause:
        lines += ["", f"{paint('Cause:', MARKS[result.verdict.value][1])} {wrapped(result.cause, 7)}"]
        if result.remedy:
            lines.append(f"{paint('Do:', 'cyan')}    {wrapped(result.remedy, 7)}")
    lines.append(f"Tested by {result.by} at {result.started_at:%Y-%m-%d %H:%M:%S}Z")
    return "\n".join(lines)


def _lines(step: "Step", first: str, further: str, everything: bool) -> Iterator[str]:
    mark, color = MARKS[step.verdict.value]
    inner = further + ("│  " if step.steps else "   ")
    sentence = f"{step.sentence} ({shown_time(step.milliseconds)})"
    yield from _broken(sentence, f"{first}{paint(mark, color)} ", f"{inner[:-1]}", len(first) + 2)
    bad = step.verdict.value in ("warning", "failure")
    if step.remedy:
        yield from _broken(step.remedy, f"{inner}→ ", f"{inner}  ", len(inner) + 2)
    if everything or (bad and not any(one.verdict is step.verdict for one in step.steps)):
        for detail in step.details:
            yield from _broken(detail, f"{inner}  ", f"{inner}    ", len(inner) + 4)
    for number, one in enumerate(step.steps, 1):
        last = number == len(step.steps)
        yield from _lines(one, further + ("└─ " if last else "├─ "), further + ("   " if last else "│  "), everything)


def _broken(text: str, first: str, further: str, indent: int) -> Iterator[str]:
    """Text in lines that fit the terminal, within the tree: a terminal that breaks them breaks its branches. What other
    programs read stays whole."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        yield first + text
        return
    begin, *rest = wrapped(text, indent).split(f"\n{' ' * indent}")
    yield f"{first}{begin}"
    for line in rest:
        yield f"{further}{line}"


def shown_time(milliseconds: float) -> str:
    """ "3 ms", "12.4 s"."""
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.1f} s"
