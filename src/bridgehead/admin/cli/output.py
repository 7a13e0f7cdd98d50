# SPDX-License-Identifier: MIT
"""How commands speak: JSON or text, tables that fit the terminal, faults with a remedy, exit codes.

Exit codes: 0 done, 1 a negative finding or a failure, 2 wrong usage (click's own), 3 the server is not running.
Colours go where a terminal reads, unless NO_COLOR is set (https://no-color.org).
"""

import inspect
import os
import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import rich_click as click

NEGATIVE: Final = 1
NOT_RUNNING: Final = 3

_UNSAFE = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What could move a terminal's cursor or turn text around: all controls but LF, tab and our own colours."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


class HelpfulCommand(click.RichCommand):
    """A command whose help keeps its paragraphs apart and its examples as they were written."""

    def format_help_text(self, ctx: click.Context, formatter: click.RichHelpFormatter) -> None:  # type: ignore[override]
        """The paragraphs of the docstring; one that begins with a backspace is set as it stands (click's own sign)."""
        from rich.padding import Padding
        from rich.text import Text

        for paragraph in inspect.cleandoc(self.help or "").split("\n\n"):
            as_it_stands = paragraph.startswith("\b")
            text = paragraph.strip("\b\n") if as_it_stands else paragraph.replace("\n", " ")
            formatter.write(Padding(Text(text), (0, 1, 1, 1)))


class AdminCommand(HelpfulCommand):
    """A command whose AdminFaults end it with words, or an `error` object with --json, and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        from bridgehead.admin.faults import AdminFault, ServerNotRunning

        try:
            return super().invoke(ctx)
        except AdminFault as fault:
            if ctx.params.get("as_json"):
                error = {"code": fault.code, "message": fault.message, "remedy": fault.remedy}
                echo_json({"error": error})
            else:
                say(f"{paint('Error:', 'red')} {fault.message}", err=True)
                if fault.remedy:
                    say(f"  {fault.remedy}", err=True)
            ctx.exit(NOT_RUNNING if isinstance(fault, ServerNotRunning) else NEGATIVE)


def say(text: str, *, err: bool = False) -> None:
    """Print text that may hold what strangers wrote: nothing in it commands the terminal."""
    click.echo(_UNSAFE.sub("\ufffd", text), err=err)


def paint(text: str, color: str) -> str:
    """Text in a colour; click drops it where no terminal reads."""
    return text if "NO_COLOR" in os.environ else click.style(text, fg=color)


def echo_json(value: object) -> None:
    """A value as indented JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def emit(value: object, as_json: bool, text: Callable[[], str]) -> None:
    """The result as JSON, or in the words that `text` makes."""
    if as_json:
        echo_json(value)
    else:
        say(text())


_NARROWEST: Final = 12


def table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], flexible: Sequence[int] = (), first: int | None = None
) -> str:  # fmt: skip
    """Columns as wide as needed; the `flexible` ones are cut where the terminal ends (80 columns without one), the
    `first` of them before all others, which are names that people copy.

    Columns of numbers are aligned to the right.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *texts, strict=True)]
    spare = sum(widths) + 2 * (len(widths) - 1) - shutil.get_terminal_size((80, 24)).columns
    while spare > 0 and flexible:
        widest = max(flexible, key=lambda column: widths[column])
        if first is not None and widths[first] > _NARROWEST:
            widest = first
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
        spare -= 1
    right = [bool(texts) and all(isinstance(row[index], int) for row in rows) for index in range(len(headings))]
    lines = [_line(headings, widths, right)]
    lines += [_line(row, widths, right) for row in texts]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    shown = [
        cut(cell, width).rjust(width) if to_the_right else cut(cell, width).ljust(width)
        for cell, width, to_the_right in zip(cells, widths, right, strict=True)
    ]
    return "  ".join(shown).rstrip()


def cut(text: str, width: int) -> str:
    """Text of at most `width` characters; an ellipsis shows that some are missing."""
    return text if len(text) <= width else text[: width - 1] + "…"


def wrapped(text: str, indent: int) -> str:
    """Text broken at the terminal's width (80 columns without one); further lines stand `indent` columns in."""
    width = max(20, shutil.get_terminal_size((80, 24)).columns - indent)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * indent}".join(lines)


def facts(pairs: Sequence[tuple[str, object]]) -> str:
    """Names and values, one to a line; empty values are left out."""
    shown = [(name, str(value)) for name, value in pairs if value not in ("", None, [])]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"  {name.ljust(width)}  {value}" for name, value in shown)


def when(moment: datetime | None, *, now: datetime | None = None) -> str:
    """ "2026-11-23 09:00:01Z (in 4 min)"."""
    if moment is None:
        return ""
    seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    distance = f"in {span(seconds)}" if seconds >= 0 else f"{span(-seconds)} ago"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z ({distance})"


def distance(moment: datetime | None) -> str:
    """Only the distance from now: "4 min"; "" for never, "now" for what is past."""
    if moment is None:
        return ""
    seconds = (moment - datetime.now(UTC)).total_seconds()
    return span(seconds) if seconds >= 0 else "now"


def age(moment: datetime | None) -> str:
    """How long ago: "4 min"."""
    return "" if moment is None else span((datetime.now(UTC) - moment).total_seconds())


def span(seconds: float) -> str:
    """Seconds in the two largest units that matter: "2 d 3 h", "3 h 5 min", "4 min", "12 s"."""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{rest} s"


def size(octets: int) -> str:
    """Octets for people: "4.0 KB"."""
    value = float(octets)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1024 or unit == "GB":
            return f"{int(value)} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def counted(number: int, noun: str) -> str:
    """ "1 message", "2 messages"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
