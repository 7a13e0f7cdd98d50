# SPDX-License-Identifier: MIT
"""`bridgehead administrator` and `bridgehead audit-log`, both without a running server."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from support.cli import Commands

PASSWORD = "correct horse battery\n"


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    one = Commands(tmp_path)
    one("administrator", "add", "anna", "--role", "operator", "--password-stdin", given=PASSWORD)
    return one


def test_an_administrator_is_added_and_listed(commands: Commands) -> None:
    commands(
        "administrator",
        "add",
        "eve",
        "--role",
        "help-desk",
        "--comment",
        "1st line",
        "--password-stdin",
        given=PASSWORD,
    )
    assert commands.json("administrator", "list") == [
        {"name": "anna", "role": "operator", "comment": "", "tokens": []},
        {"name": "eve", "role": "help-desk", "comment": "1st line", "tokens": []},
    ]


def test_without_administrators_the_list_says_so(tmp_path: Path) -> None:
    assert "no administrators" in Commands(tmp_path)("administrator", "list").output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add", "anna", "--role", "viewer", "--password-stdin"), 1, "already"),
        (("add", "bert", "--role", "king", "--password-stdin"), 2, "king"),
        (("add", "bert", "--password-stdin"), 2, "--role"),
        (("password", "bert", "--password-stdin"), 1, "no administrator"),
        (("remove", "bert"), 1, "no administrator"),
        (("token", "bert"), 1, "no administrator"),
        (("token", "anna", "--days", "0"), 1, "1 to"),
        (("revoke", "0123"), 1, "no token"),
    ],
)
def test_what_cannot_be_done_is_said(commands: Commands, arguments: tuple[str, ...], code: int, words: str) -> None:
    assert words in commands("administrator", *arguments, given=PASSWORD, code=code).output


def test_a_token_is_shown_once_and_can_be_revoked(commands: Commands) -> None:
    made = commands.json("administrator", "token", "anna", "--comment", "nightly", "--days", "30")
    [token] = commands.json("administrator", "list")[0]["tokens"]
    assert (token["id"], token["comment"], token["expired"]) == (made["id"], "nightly", False)
    assert made["token"] not in commands("administrator", "list").output
    assert made["id"] in commands("administrator", "list").output
    commands("administrator", "revoke", made["id"])
    assert commands.json("administrator", "list")[0]["tokens"] == []


def test_a_password_is_changed_and_a_login_removed(commands: Commands) -> None:
    assert "changed" in commands("administrator", "password", "anna", "--password-stdin", given=PASSWORD).output
    assert "Removed anna" in commands("administrator", "remove", "anna").output
    assert commands.json("administrator", "list") == []


def test_what_was_done_is_in_the_audit_log_without_secrets(commands: Commands, tmp_path: Path) -> None:
    token = commands.json("administrator", "token", "anna")["token"]
    commands("administrator", "remove", "bert", code=1)
    records = commands.json("audit-log")
    assert [(one["event"], one["method"], one["outcome"]) for one in records] == [
        ("command", "administrator add", "done"),
        ("command", "administrator token", "done"),
        ("command", "administrator remove", "not_found"),
    ]
    assert records[0]["parameters"] == {"name": "anna", "role": "operator"}
    assert records[0]["caller"] == os.environ.get("SUDO_USER", pwd.getpwuid(os.geteuid()).pw_name)
    written = b"".join(file.read_bytes() for file in (tmp_path / "logs" / "AdminAudit").iterdir()).decode()
    assert PASSWORD.strip() not in written
    assert token not in written


def test_the_audit_log_is_filtered_and_shown_as_a_table(commands: Commands) -> None:
    commands("administrator", "remove", "bert", code=1)
    shown = commands("audit-log", "--method", "administrator", "--since", "1h").output
    assert "name=bert" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert [one["method"] for one in commands.json("audit-log", "--failed")] == ["administrator remove"]
    assert "No record fits" in commands("audit-log", "--caller", "nobody else", code=1).output
    commands("audit-log", "--since", "one fine day", code=2)


def test_without_a_terminal_it_says_how_to_give_the_password(tmp_path: Path) -> None:
    """A process of its own, in a session without a terminal."""
    program = "import sys; from bridgehead.server.main import main; sys.argv[0] = 'bridgehead'; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "administrator", "add", "eve", "--role", "viewer"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True, check=False,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "COLUMNS": "100"}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "There is no terminal to ask at: use --password-stdin." in done.stderr
    assert "Warning" not in done.stderr
