# SPDX-License-Identifier: MIT
from pathlib import Path

import pytest

from bridgehead.receive.settings import PermissionGroup, ReceiveConnector
from bridgehead.routing.settings import AcceptedDomain, SendConnector
from support.cli import Commands


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(
        tmp_path,
        accepted_domains=[AcceptedDomain(domain_name="contoso.com")],
        receive_connectors=[
            ReceiveConnector(
                name="Default", bindings=["0.0.0.0:25"], permission_groups=[PermissionGroup.ANONYMOUS_USERS]
            ),
            ReceiveConnector(
                name="Client", bindings=["0.0.0.0:587"], permission_groups=[PermissionGroup.EXCHANGE_USERS]
            ),
        ],
        send_connectors=[SendConnector(name="Internet", address_spaces=["*"])],
    )


def test_connectors_are_listed(commands: Commands) -> None:
    output = commands("connector", "list").output
    assert "0.0.0.0:587" in output
    assert max(map(len, output.splitlines())) <= 80
    assert [one["name"] for one in commands.json("connector", "list")["receive"]] == ["Default", "Client"]


def test_a_match_says_which_and_why_within_eighty_columns(commands: Commands) -> None:
    output = commands("connector", "match", "--from", "10.2.0.17").output
    assert "10.2.0.17 → 127.0.0.1:25: Default" in output
    assert "Client: it does not listen on" in output
    assert "granted by permission group AnonymousUsers" in output


def test_a_refused_recipient_is_exit_code_one(commands: Commands) -> None:
    commands("recipient", "add", "anna", "--address", "anna@contoso.com")
    commands("connector", "match", "--from", "10.2.0.17", "--recipient", "anna@contoso.com")
    output = commands("connector", "match", "--from", "10.2.0.17", "--recipient", "x@fabrikam.com", code=1).output
    assert "550 5.7.1" in output


def test_a_login_is_looked_up(commands: Commands) -> None:
    arguments = ("connector", "match", "--from", "10.2.0.17", "--port", "587", "--login", "scanner")
    assert "no login" in commands(*arguments, code=1).stderr
    commands("user", "add", "scanner", "--address", "scanner@contoso.com", "--password-stdin", given="x\n")
    assert commands.json(*arguments, "--sender", "scanner@contoso.com")["principal"] == "user:scanner"
    commands(*arguments, "--sender", "ceo@contoso.com", code=1)


def test_the_send_side_is_asked_without_a_client(commands: Commands) -> None:
    (found,) = commands.json("connector", "match", "--recipient", "x@fabrikam.com")
    assert (found["connector"], found["next_hop"]) == ("Internet", "fabrikam.com")
    commands("connector", "match", code=2)
