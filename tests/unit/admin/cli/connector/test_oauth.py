# SPDX-License-Identifier: MIT
"""`bridgehead oauth` as a command; log-ons and tokens themselves are tried in tests/e2e/test_oauth.py."""

from pathlib import Path

from bridgehead.routing.oauth_settings import ConnectorOAuth, OAuthGrant
from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism
from support.cli import Commands
from support.running_server import running


def connector(name: str, grant: OAuthGrant) -> SendConnector:
    return SendConnector(
        name=name, address_spaces=["*"], smart_host_auth_mechanism=SmartHostAuthMechanism.OAUTH,
        authentication_username="scanner@contoso.com",
        oauth=ConnectorOAuth(grant=grant, token_url="https://localhost:1/t", client_id="c",
                             device_authorization_url="https://localhost:1/d"),
    )  # fmt: skip


def test_without_such_a_connector(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket):
        assert "No send connector logs on with access tokens." in commands("oauth", "status").output
        output = commands("oauth", "refresh", "Cloud", code=1).output
        assert 'no send connector "Cloud" logs on with tokens' in output
        assert 'set smart_host_auth_mechanism = "OAuth"' in output


def test_states_and_refusals(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        server.server.oauth.keeper.use(
            [connector("Cloud", OAuthGrant.CLIENT_CREDENTIALS), connector("Coded", OAuthGrant.DEVICE_CODE)]
        )
        output = commands("oauth", "status", code=1).output
        assert "Cloud: none" in output
        assert "Coded: log on" in output
        assert [one["state"] for one in commands.json("oauth", "status", code=1)] == ["none", "log on"]
        assert "nobody logs on" in " ".join(commands("oauth", "login", "cloud", code=1).output.split())
        assert "cannot be reached" in " ".join(commands("oauth", "login", "Coded", code=1).output.split())
        assert "needs no refresh token" in " ".join(
            commands("oauth", "login", "Cloud", "--refresh-token-stdin", given="x\n", code=1).output.split()
        )
        empty = commands("oauth", "login", "Coded", "--refresh-token-stdin", given="\n", code=2).output
        assert "refresh token was expected" in " ".join(empty.split())
        assert commands.json("oauth", "forget", "Coded")["state"] == "log on"
