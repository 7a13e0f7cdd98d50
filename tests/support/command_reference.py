# SPDX-License-Identifier: MIT
"""The reference page of the commands, made from the commands themselves.

`python tests/support/command_reference.py > docs/reference/commands.md` writes it anew; a test compares.
"""

import inspect

import click

from bridgehead.server.main import bridgehead

_INTRODUCTION = """\
# Commands

Made from the commands themselves by `tests/support/command_reference.py`; a test compares this page with them.

Exit codes: 0 done, 1 a negative finding or a failure, 2 wrong usage, 3 the server is not running. Every command that
answers something takes `--json`; a failure is then an object `{"error": {"code", "message", "remedy"}}`. Colours are
left out where no terminal reads, and where `NO_COLOR` is set.
"""


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, *_options(bridgehead, "## `bridgehead`")]
    context = click.Context(bridgehead, info_name="bridgehead")
    for name in bridgehead.list_commands(context):
        command = bridgehead.get_command(context, name)
        assert command is not None
        parts += _describe(command, f"bridgehead {name}", context)
    return "\n".join(parts).rstrip() + "\n"


def _describe(command: click.Command, path: str, parent: click.Context) -> list[str]:
    if isinstance(command, click.Group):
        context = click.Context(command, parent)
        parts = [f"## `{path}`", "", *_help(command)]
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            parts += _describe(below, f"{path} {name}", context)
        return parts
    arguments = [
        parameter.make_metavar(parent) for parameter in command.params if isinstance(parameter, click.Argument)
    ]
    level = "###" if path.count(" ") > 1 else "##"
    return _options(command, f"{level} `{' '.join([path, *arguments])}`")


def _options(command: click.Command, heading: str) -> list[str]:
    rows = []
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            names = ", ".join(f"`{name}`" for name in parameter.opts)
            rows.append(f"| {names} | {(parameter.help or '').replace('|', chr(92) + '|')} |")
    table = ["| Option | Meaning |", "|---|---|", *rows, ""] if rows else []
    return [heading, "", *_help(command), *table]


def _help(command: click.Command) -> list[str]:
    text, _, examples = inspect.cleandoc(command.help or "").partition("\b\n")
    lines = [text.strip(), ""] if text.strip() else []
    if examples:
        shown = inspect.cleandoc(examples.removeprefix("Examples:").strip("\n"))
        lines += ["```", shown, "```", ""]
    return lines


if __name__ == "__main__":
    print(reference(), end="")
