# SPDX-License-Identifier: MIT
"""A room imports rooms on lower floors only; floors 0 and 1 and the listed files are pure."""

import ast
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_SOURCE = _HERE.parent.parent / "src" / "bridgehead"


def _load_floors() -> object:
    spec = spec_from_file_location("floors", _HERE / "floors.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


floors = _load_floors()


def violations(package: Path) -> list[str]:
    """Every forbidden import below the package's folder, as "file:line: what"."""
    found: list[str] = []
    for file in sorted(package.rglob("*.py")):
        relative = file.relative_to(package)
        room = relative.parts[0] if len(relative.parts) > 1 else ""
        if room and room not in floors.FLOORS:
            found.append(f"{relative}:1: room {room} is not in the table of floors")
            continue
        pure = bool(room) and (floors.FLOORS[room] <= floors.PURE_FLOOR or relative.as_posix() in floors.PURE_FILES)
        tree = ast.parse(file.read_text(), str(file))
        for line, name, level in _imports(tree):
            if reason := _reason(room, pure, name, level):
                found.append(f"{relative}:{line}: {reason}")
        if pure:
            found += [f"{relative}:{line}: pure code calls {name}" for line, name in _effect_calls(tree)]
    return found


def _effect_calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = (
                called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
            )
            if name in floors.EFFECT_CALLS and not (isinstance(called, ast.Attribute) and name in {"open", "input"}):
                yield node.lineno, name


def _imports(tree: ast.Module) -> Iterator[tuple[int, str, int]]:
    """Line, full dotted name and level of each import, those within functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}" if node.module else alias.name, node.level


def _reason(room: str, pure: bool, name: str, level: int) -> str:
    """Why this import is forbidden in this room, or ""."""
    parts = name.split(".")
    if level:
        return f"relative import of {name}"
    if parts[0] == "bridgehead":
        target = parts[1] if len(parts) > 1 else ""
        if not room or target == room or target not in floors.FLOORS:
            return ""
        own, other = floors.FLOORS[room], floors.FLOORS[target]
        if other > own:
            return f"{room} (floor {own}) imports {target} (floor {other}) above it"
        return f"{room} imports {target}, its neighbour on floor {own}" if other == own else ""
    if not pure:
        return ""
    if parts[0] in floors.EFFECTS:
        return f"pure code imports {parts[0]}"
    if parts[0] == "datetime" or parts[0] in sys.stdlib_module_names or parts[0] in floors.PURE_LIBRARIES:
        return ""
    return f"pure code imports the library {parts[0]}"


def test_every_import_goes_downwards_and_pure_code_stays_pure() -> None:
    assert violations(_SOURCE) == []


def test_the_table_lists_every_room_and_no_other() -> None:
    rooms = {folder.name for folder in _SOURCE.iterdir() if (folder / "__init__.py").exists()}
    assert rooms == set(floors.FLOORS)


def test_every_pure_file_is_there() -> None:
    assert [name for name in sorted(floors.PURE_FILES) if not (_SOURCE / name).is_file()] == []


@pytest.mark.parametrize(
    ("file", "source", "reason"),
    [
        ("smtp/x.py", "from bridgehead.dsn import compose", "neighbour"),
        ("mail/x.py", "import bridgehead.smtp.server", "above"),
        ("queues/x.py", "def f():\n    from bridgehead.server.config import load", "above"),
        ("receive/x.py", "from bridgehead.delivery.ports import Courier", "neighbour"),
        ("receive/x.py", "from . import steps", "relative"),
        ("routing/x.py", "import time", "pure code imports time"),
        ("mail/x.py", "from os import environ", "pure code imports os"),
        ("delivery/outcome.py", "import random", "pure code imports random"),
        ("smtp/x.py", "import click", "library click"),
        ("routing/x.py", "from datetime import datetime\nt = datetime.now()", "calls now"),
        ("mail/x.py", "f = open('x')", "calls open"),
        ("stray/x.py", "", "not in the table"),
    ],
)
def test_the_guard_says_no(tmp_path: Path, file: str, source: str, reason: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(source + "\n")
    [found] = violations(tmp_path)
    assert found.startswith(f"{file}:{source.count(chr(10)) + 1}: ")
    assert reason in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("queues/x.py", "import sqlite3\nfrom bridgehead.mail.item import MailItem"),
        ("mail/x.py", "import re\nimport msgspec\nfrom datetime import datetime"),
        ("server/x.py", "from bridgehead.admin import ports\nimport asyncio"),
        ("__main__.py", "from bridgehead.server.main import main"),
    ],
)
def test_the_guard_lets_the_rest_pass(tmp_path: Path, file: str, source: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(source + "\n")
    assert violations(tmp_path) == []
