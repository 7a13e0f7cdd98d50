# SPDX-License-Identifier: MIT
"""The manual says what the code does: settings, samples, links."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

_ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(_ROOT / "tools"))

import openapi_manual  # noqa: E402
import permissions_manual  # noqa: E402
import settings_manual  # noqa: E402
import settings_texts  # noqa: E402

from bridgehead.server.config.check import check  # noqa: E402
from bridgehead.server.config.load import read  # noqa: E402
from bridgehead.server.config.schema import Configuration  # noqa: E402


def pages() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=_ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [_ROOT / name for name in listed.stdout.splitlines() if (_ROOT / name).exists()]


def test_the_settings_page_is_what_the_settings_say() -> None:
    page = settings_manual.MANUAL.read_text()
    assert page == settings_manual.render(), "run `make docs`"


def test_the_permissions_page_is_what_the_tables_say() -> None:
    assert permissions_manual.MANUAL.read_text() == permissions_manual.render(), "run `make docs`"


def test_the_description_of_the_interface_is_what_its_methods_say() -> None:
    assert openapi_manual.MANUAL.read_bytes() == openapi_manual.description(), "run `make docs`"


def test_every_table_of_the_configuration_is_in_the_manual() -> None:
    tables = {name.partition(".")[0] for name in settings_texts.TABLES}
    assert tables == {field.name for field in msgspec.structs.fields(Configuration)}


def test_no_text_describes_a_setting_that_is_gone() -> None:
    known = {
        kind.__name__: {field.name for field in msgspec.structs.fields(kind)} for _, kind, _ in settings_manual.tables()
    }
    for texts in (settings_texts.TEXTS, settings_texts.OWN):
        for kind, names in texts.items():
            assert set(names) <= known[kind], kind


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(_ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target


def _toml_blocks() -> list[tuple[str, str]]:
    found = []
    for page in pages():
        for number, block in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL), 1):
            found.append((f"{page.relative_to(_ROOT)} block {number}", block))
    return found


@pytest.mark.parametrize(("where", "block"), _toml_blocks(), ids=[where for where, _ in _toml_blocks()])
def test_every_example_of_configuration_passes_the_check(
    where: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an example leaves out, such as files and accounts of the reader, does not count."""
    (tmp_path / "bridgehead.toml").write_text(block)
    problems = [problem for problem in check(read(tmp_path / "bridgehead.toml")) if problem.severity == "error"]
    outside = ("cannot be read", "there is no account", "there is no group", "is not set")
    assert [str(problem) for problem in problems if not any(text in problem.message for text in outside)] == []


def test_the_sample_configuration_passes_the_check() -> None:
    loaded = read(_ROOT / "packaging" / "bridgehead.toml")
    problems = [problem for problem in check(loaded) if "there is no account" not in problem.message]
    assert [str(problem) for problem in problems if "there is no group" not in problem.message] == []
    assert loaded.configuration.receive_connectors
