# SPDX-License-Identifier: MIT
"""The lock files hold what pyproject.toml asks for, with hashes, and name no place to fetch it from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).parent.parent.parent
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())
_LOCKS = sorted(_ROOT.glob("requirements*.lock"))


def locked(file: Path) -> dict[str, Requirement]:
    text = file.read_text().replace("\\\n", " ")
    lines = (re.sub(r"\s+--hash=\S+", "", line) for line in text.splitlines())
    found = [Requirement(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return {canonicalize_name(one.name): one for one in found}


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("requirements.lock", _PROJECT["project"]["dependencies"]),
        ("requirements-dev.lock", _PROJECT["project"]["dependencies"] + _PROJECT["dependency-groups"]["dev"]),
        ("requirements-build.lock", _PROJECT["build-system"]["requires"]),
    ],
)
def test_every_requirement_is_locked_at_a_version_that_fits(file: str, wanted: list[str]) -> None:
    have = locked(_ROOT / file)
    for text in wanted:
        requirement = Requirement(text)
        lock = have.get(canonicalize_name(requirement.name))
        assert lock is not None, f"{file} lacks {requirement.name}: run `make lock`"
        [pin] = lock.specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), f"{file} pins {lock}, pyproject.toml wants {text}"


@pytest.mark.parametrize("file", _LOCKS, ids=lambda file: file.name)
def test_every_pin_has_hashes_and_no_place(file: Path) -> None:
    text = file.read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    for block in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in block, block


def test_versions_agree_among_the_locks() -> None:
    runtime, build, dev = (locked(_ROOT / f"requirements{part}.lock") for part in ("", "-build", "-dev"))
    for name, requirement in {**build, **runtime}.items():
        if name in dev:
            assert str(dev[name].specifier) == str(requirement.specifier), name
