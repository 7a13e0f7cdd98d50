# SPDX-License-Identifier: MIT
"""The page of causes is what the tables say; every symptom has a cause or a reason why not; remedies name real commands."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import rich_click as click

from bridgehead.admin.cli import command as command_named
from bridgehead.diagnosis.engine import RULES
from bridgehead.diagnosis.reply_rules import REPLY_RULES
from bridgehead.diagnosis.symptoms import NOTES, SYMPTOMS
from support.cause_reference import PAGE, causes_by_row, render
from support.symptom_proofs import PROOFS

TESTS = Path(__file__).parents[2]


def test_the_page_is_what_the_tables_say() -> None:
    command = "PYTHONPATH=tests:src python tests/support/cause_reference.py > docs/reference/causes.md"
    assert PAGE.read_text() == render(), f"run: {command}"


@pytest.mark.parametrize("row", SYMPTOMS)
def test_each_symptom_is_told_or_it_is_said_why_not(row: int) -> None:
    assert causes_by_row()[row] or NOTES.get(row)


@pytest.mark.parametrize("row", SYMPTOMS)
def test_each_symptom_is_produced_by_a_test_that_there_is(row: int) -> None:
    """Names of tests and of their parameters are looked for where they must stand."""
    assert PROOFS[row]
    for test in PROOFS[row]:
        file, _, name = test.partition("::")
        function, _, parameter = name.rstrip("]").partition("[")
        source = (TESTS / file).read_text()
        assert function in _functions(source), test
        assert (
            not parameter
            or f'"{parameter}"' in source
            or any(f'"{name}@{parameter}"' in source for name in ("x", "second"))
        ), test


@cache
def _functions(source: str) -> frozenset[str]:
    return frozenset(one.name for one in ast.parse(source).body if isinstance(one, ast.FunctionDef))


def test_there_are_sixty_two() -> None:
    assert list(SYMPTOMS) == list(range(1, 63))


def test_remedies_name_commands_that_there_are() -> None:
    texts = [rule.do for rule in (*RULES, *REPLY_RULES)]
    for name, verb in re.findall(r"bridgehead ([a-z-]+)(?: ([a-z][a-z-]+))?", " ".join(texts)):
        if name in ("status", "reload", "check", "why", "trace", "back-pressure"):
            continue
        command = command_named(name)
        assert isinstance(command, click.Group), name
        assert verb in command.commands, f"bridgehead {name} {verb}"
