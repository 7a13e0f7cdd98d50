# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from bridgehead.routing.settings import AcceptedDomain
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


CONTOSO = [AcceptedDomain(domain_name="contoso.com", match_sub_domains=True)]


def test_an_address_in_no_accepted_domain_is_a_warning_with_its_remedy(tmp_path: Path) -> None:
    commands = Commands(tmp_path, accepted_domains=CONTOSO)
    said = commands("recipient", "add", "ida", "--address", "ida@contoso.con", "--address", "ida@eu.contoso.com").output
    assert said == (
        "Added Mailbox ida <ida@contoso.con>.\n"
        "warning: ida@contoso.con is in no accepted domain: only who may relay reaches it; "
        'add [[accepted_domains]] with domain_name = "contoso.con", and reload\n'
    )
    assert "warning" not in commands("recipient", "add", "ann", "--address", "ann@eu.contoso.com").output
    assert "warnings" not in commands.json("recipient", "show", "ida")
    contact = ("recipient", "add", "far", "--type", "MailContact", "--address", "far@fabrikam.com")
    assert "warnings" not in commands.json(*contact, "--external-address", "far@fabrikam.com")
    assert len(commands.json("recipient", "add", "eve", "--address", "eve@fabrikam.com")["warnings"]) == 1


def test_an_import_warns_of_each_domain_once(tmp_path: Path) -> None:
    commands = Commands(tmp_path, accepted_domains=CONTOSO)
    table = tmp_path / "in.csv"
    rows = [
        f"u{number},UserMailbox,u{number}@contoso.com,smtp:u{number}@contoso.onmicrosoft.com" for number in range(3)
    ]
    table.write_text("\n".join(["Name,RecipientType,PrimarySmtpAddress,EmailAddresses", *rows]))
    said = commands("recipient", "import", str(table)).output
    assert said.startswith("Imported 3 recipients; 0 bad rows.\nwarning: ")
    assert said.count("warning: 3 addresses in contoso.onmicrosoft.com, such as u0@contoso.onmicrosoft.com,") == 1
    again = commands.json("recipient", "import", str(table), code=1)
    assert (again["imported"], again["warnings"]) == (0, [])
