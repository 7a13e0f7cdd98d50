# SPDX-License-Identifier: MIT
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bridgehead.server.main import bridgehead
from support.command_reference import reference

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "commands.md"


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ALL = dict(commands(bridgehead, "bridgehead"))


def test_the_reference_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == reference(), (
        "run: python tests/support/command_reference.py > docs/reference/commands.md"
    )


@pytest.mark.parametrize("path", ALL)
def test_every_command_has_help_with_examples_of_itself(path: str) -> None:
    command = ALL[path]
    assert command.help
    assert "Examples:" in command.help
    name = path.removeprefix("bridgehead ")
    assert re.search(rf"bridgehead (?:-c \S+ )?{name}\b", command.help), f"no example shows {path}"


@pytest.mark.parametrize("path", sorted(set(ALL) - {"bridgehead run"}))
def test_every_command_that_answers_takes_json(path: str) -> None:
    assert any("--json" in parameter.opts for parameter in ALL[path].params)


@pytest.mark.parametrize("path", ALL)
def test_every_option_is_explained(path: str) -> None:
    unexplained = [
        parameter.name for parameter in ALL[path].params if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert unexplained == []


@pytest.mark.parametrize("path", ALL)
def test_examples_are_printed_as_they_were_written(path: str) -> None:
    """Each on a line of its own within 80 columns, ready to be copied."""
    shown = CliRunner().invoke(bridgehead, [*path.split()[1:], "--help"], env={"COLUMNS": "80"}, terminal_width=80)
    help_text = ALL[path].help
    assert help_text
    examples = inspect.cleandoc(help_text).partition("Examples:\n")[2].splitlines()
    assert examples
    lines = [line.rstrip() for line in shown.output.splitlines()]
    assert [example for example in examples if f" {example}" not in lines] == []
