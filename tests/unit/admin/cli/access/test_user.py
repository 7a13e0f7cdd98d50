# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from bridgehead.directory.users import UserFile
from bridgehead.mail.secret import Secret
from support.cli import Commands

PASSWORD = "canary-7f3a correct horse"


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_a_login_is_added_listed_changed_and_removed(commands: Commands, tmp_path: Path) -> None:
    added = commands.json(
        "user", "add", "Scanner", "--address", "scanner@contoso.com", "--send-as", "*@contoso.com", "--password-stdin",
        given=PASSWORD + "\n",
    )  # fmt: skip
    assert added["name"] == "scanner"
    users = UserFile(tmp_path / "users.toml")
    assert users.verify("scanner", Secret(PASSWORD))
    (listed,) = commands.json("user", "list")
    assert (listed["addresses"], listed["send_as"]) == (["scanner@contoso.com"], ["*@contoso.com"])
    commands("user", "passwd", "scanner", "--password-stdin", given="another one\n")
    assert UserFile(tmp_path / "users.toml").verify("scanner", Secret("another one"))
    commands("user", "remove", "scanner")
    assert commands.json("user", "list") == []


def test_a_password_is_asked_for_twice_and_never_shown(commands: Commands, tmp_path: Path) -> None:
    result = commands("user", "add", "erp", given=f"{PASSWORD}\n{PASSWORD}\n")
    assert PASSWORD not in result.output
    assert UserFile(tmp_path / "users.toml").verify("erp", Secret(PASSWORD))
    assert PASSWORD not in (tmp_path / "users.toml").read_text()


def test_what_cannot_be_done_is_said(commands: Commands) -> None:
    commands("user", "add", "erp", "--password-stdin", given="", code=2)
    commands("user", "add", "erp", "--password-stdin", given="x\n")
    assert "already" in commands("user", "add", "erp", "--password-stdin", given="x\n", code=1).stderr
    assert "no login" in commands("user", "remove", "nobody", code=1).stderr
    assert "no login" in commands("user", "passwd", "nobody", "--password-stdin", given="x\n", code=1).stderr


def test_a_login_is_changed_in_what_is_given(commands: Commands) -> None:
    commands("user", "add", "pa", "--address", "pa@contoso.com", "--send-as", "*", "--password-stdin", given="x\n")
    output = commands("user", "set", "pa", "--send-on-behalf", "boss@contoso.com", "--send-as", "").output
    assert "may send as pa@contoso.com; on behalf of boss@contoso.com" in output
    (listed,) = commands.json("user", "list")
    assert (listed["addresses"], listed["send_as"], listed["send_on_behalf"], listed["enabled"]) == (
        ["pa@contoso.com"], [], ["boss@contoso.com"], True,
    )  # fmt: skip
    commands("user", "set", "pa", "--disable")
    assert commands.json("user", "list")[0]["enabled"] is False
    assert "send_on_behalf" in commands("user", "set", "pa", "--send-on-behalf", "nobody", code=1).stderr
    assert "own" in commands("user", "set", "pa", "--address", "", code=1).stderr
