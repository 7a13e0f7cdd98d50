# SPDX-License-Identifier: MIT
"""The result of a test as one HTML file: nothing is fetched, nothing runs, light and dark as the reader has it.

Everything that comes from a server is escaped. Steps fold by the `details` element of HTML itself.
"""

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Final

from bridgehead.admin.cli.probe.text import shown_time

if TYPE_CHECKING:
    from bridgehead.admin.probe.steps import ProbeResult, Step

_MARKS: Final = {"pass": "✓", "note": "·", "warning": "!", "failure": "✗"}
_WORDS: Final = {"pass": "passed", "note": "note", "warning": "warning", "failure": "failed"}

_STYLE: Final = """
:root { color-scheme: light dark; --fg: #1b1f24; --bg: #ffffff; --soft: #57606a; --line: #d0d7de; --panel: #f6f8fa;
  --pass: #116329; --note: #0550ae; --warning: #7d4e00; --failure: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6edf3; --bg: #0d1117; --soft: #9da7b3; --line: #30363d;
  --panel: #161b22; --pass: #56d364; --note: #79c0ff; --warning: #e3b341; --failure: #ff7b72; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg); max-width: 70rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
.facts { color: var(--soft); margin: 0 0 1rem; }
.cause { background: var(--panel); border-left: 4px solid var(--line); padding: .6rem 1rem; margin: 1rem 0; }
.cause.failure { border-color: var(--failure); } .cause.warning { border-color: var(--warning); }
ul { list-style: none; margin: 0; padding-left: 1.4rem; border-left: 1px solid var(--line); }
ul.root { padding-left: 0; border: 0; }
li { margin: .25rem 0; overflow-wrap: anywhere; }
summary { cursor: pointer; }
.mark { display: inline-block; width: 1.3em; font-weight: 700; text-align: center; }
.pass > .mark, .pass.mark { color: var(--pass); } .note.mark { color: var(--note); }
.warning.mark { color: var(--warning); } .failure.mark { color: var(--failure); }
.ms { color: var(--soft); font-variant-numeric: tabular-nums; font-size: .85em; }
.remedy { margin: .1rem 0 .2rem 1.6rem; }
pre { background: var(--panel); border: 1px solid var(--line); padding: .5rem .7rem; margin: .3rem 0 .4rem 1.6rem;
  overflow-x: auto; font: 12.5px/1.45 ui-monospace, monospace; white-space: pre-wrap; }
.visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""


def page(result: "ProbeResult") -> str:
    """The whole file."""
    title = escape(f"Test of {result.kind.replace('-', ' ')} {result.name}")
    when = f"{result.started_at:%Y-%m-%d %H:%M:%S} UTC"
    facts = f"{when}, {shown_time(result.milliseconds)}, tested by {escape(result.by)}"
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n",
            f'<h1>{title}</h1>\n<p class="facts">{facts}</p>\n',
            *_cause(result),
            '<ul class="root">\n',
            *_step(result.tree),
            "</ul>\n</main>\n</body>\n</html>\n",
        ]
    )


def _cause(result: "ProbeResult") -> Iterator[str]:
    if not result.cause:
        return
    yield f'<div class="cause {result.verdict.value}"><strong>Cause:</strong> {escape(result.cause)}'
    if result.remedy:
        yield f"<br><strong>What to do:</strong> {escape(result.remedy)}"
    yield "</div>\n"


def _step(step: "Step") -> Iterator[str]:
    kind = step.verdict.value
    line = (
        f'<span class="mark {kind}" aria-hidden="true">{_MARKS[kind]}</span>'
        f'<span class="visually-hidden">{_WORDS[kind]}: </span>'
        f'{escape(step.sentence)} <span class="ms">{shown_time(step.milliseconds)}</span>'
    )
    yield "<li>"
    folds = bool(step.details or step.steps)
    if folds:
        # What is well is folded; what is not stands open.
        is_open = " open" if step.steps or kind in ("warning", "failure") else ""
        yield f"<details{is_open}><summary>{line}</summary>\n"
    else:
        yield line
    if step.remedy:
        yield f'<div class="remedy">→ {escape(step.remedy)}</div>'
    if step.details:
        yield f"<pre>{escape(chr(10).join(step.details))}</pre>"
    if step.steps:
        yield "<ul>\n"
        for one in step.steps:
            yield from _step(one)
        yield "</ul>"
    yield "</details></li>\n" if folds else "</li>\n"
