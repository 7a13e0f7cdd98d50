# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from support.cli import Commands


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    commands = Commands(tmp_path)
    commands("recipient", "add", "anna", "--address", "anna@contoso.com", "--address", "a.weber@contoso.com")
    commands(
        "recipient", "add", "sales", "--type", "distributiongroup", "--address", "sales@contoso.com", "--member", "anna",
        "--require-authentication",
    )  # fmt: skip
    return commands


def test_recipients_are_added_shown_listed_and_removed(commands: Commands) -> None:
    assert [one["name"] for one in commands.json("recipient", "list")["recipients"]] == ["anna", "sales"]
    assert "a.weber@contoso.com" in commands("recipient", "show", "anna").output
    group = commands.json("recipient", "show", "sales@contoso.com")
    assert (group["type"], group["members"]) == ("DistributionGroup", ["anna"])
    assert "authenticated senders only" in commands("recipient", "show", "sales").output
    commands("recipient", "remove", "sales")
    assert "did you mean" in commands("recipient", "show", "ann", code=1).stderr


def test_a_table_is_exported_and_imported(commands: Commands, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    commands("recipient", "export", "--output", str(table))
    assert commands("recipient", "export").stdout.startswith("Name,DisplayName,")
    commands("recipient", "import", str(table), code=1)
    assert commands.json("recipient", "import", str(table), "--replace")["imported"] == 2


def test_bad_rows_are_printed_with_their_line(commands: Commands, tmp_path: Path) -> None:
    table = tmp_path / "in.csv"
    table.write_text("Name,RecipientType,PrimarySmtpAddress\nb,UserMailbox,nonsense\n")
    output = commands("recipient", "import", str(table), code=1).output
    assert "line 2: primary_smtp_address" in output
    assert "Imported 0 recipients; 1 bad row." in output
    assert "No such file" in commands("recipient", "import", str(tmp_path / "none.csv"), code=1).stderr
