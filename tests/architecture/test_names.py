# SPDX-License-Identifier: MIT
"""Modules are named for the concept they hold, and every file says what it is."""

import ast
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_SPEC = spec_from_file_location("floors", _HERE / "floors.py")
assert _SPEC is not None
assert _SPEC.loader is not None
floors = module_from_spec(_SPEC)
_SPEC.loader.exec_module(floors)

_FIRST_LINE = "# SPDX-License-Identifier: MIT"


def misnamed(package: Path) -> list[str]:
    """Folders and modules whose name says nothing."""
    return sorted(
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.stem.strip("_") in floors.BANNED_MODULE_NAMES and (path.is_dir() or path.suffix == ".py")
    )


def unexplained(package: Path) -> list[str]:
    """Files without the licence line or without a docstring."""
    found = []
    for file in sorted(package.rglob("*.py")):
        text = file.read_text()
        if not text.startswith(_FIRST_LINE):
            found.append(f"{file.relative_to(package)}:1: the first line is not {_FIRST_LINE}")
        elif not ast.get_docstring(ast.parse(text)):
            found.append(f"{file.relative_to(package)}:2: there is no module docstring")
    return found


def test_no_module_is_named_for_nothing() -> None:
    assert misnamed(_ROOT / "src" / "bridgehead") == []


def test_every_module_says_what_it_is() -> None:
    assert unexplained(_ROOT / "src" / "bridgehead") == []


@pytest.mark.parametrize("name", ["mail/utils.py", "net/helpers/__init__.py", "queues/common.py"])
def test_the_guard_says_no(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("x = 1\n")
    assert misnamed(tmp_path)
    assert unexplained(tmp_path)
