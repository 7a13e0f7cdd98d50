# SPDX-License-Identifier: MIT
"""README.md names tests that exist, and every entry has tests of its name in the files it names."""

import re
from pathlib import Path

HERE = Path(__file__).parent
ROWS = dict(re.findall(r"^\| (D\d+) \| .* \| (.*) \|$", (HERE / "README.md").read_text(), re.MULTILINE))
NAMED = {
    (file.resolve(), f"D{number}")
    for file in HERE.parent.rglob("test_*.py")
    for number in re.findall(r"^(?:async )?def test_d(\d+)_", file.read_text(), re.MULTILINE)
}


def test_every_entry_names_files_that_exist_and_hold_its_tests() -> None:
    assert {"D2", "D3", "D4", "D6", "D7", "D12", "D14", "D15", "D16", "D17"} <= set(ROWS)
    for entry, cell in ROWS.items():
        files = [(HERE / name).resolve() for name in re.findall(r"`([^`]+)`", cell)]
        assert all(file.exists() for file in files), (entry, [file for file in files if not file.exists()])
        assert any((file, entry) in NAMED for file in files), f"{entry} has no test of its name"


def test_every_named_test_stands_in_the_table() -> None:
    for file, entry in NAMED:
        if entry in ROWS:
            named = [(HERE / name).resolve() for name in re.findall(r"`([^`]+)`", ROWS[entry])]
            assert file in named, f"{file} holds tests of {entry}"
