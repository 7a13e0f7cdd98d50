# SPDX-License-Identifier: MIT
"""OAUTHBEARER and XOAUTH2 on the running server, with an OpenID provider of the test's own."""

import base64
import json
import smtplib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridgehead.directory.users import UserFile
from bridgehead.mail.secret import Secret
from support.certificates import Authority, trusting_nobody
from support.configuration import receive_connector
from support.openid_provider import OpenIdProvider
from support.ports import free_port
from support.server import Server


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[OpenIdProvider]:
    made = OpenIdProvider(Authority(tmp_path / "ca"))
    yield made
    made.close()


@pytest.fixture
def server(make_server: Callable[..., Server], provider: OpenIdProvider) -> Server:
    made = make_server(
        receive_connectors=[
            receive_connector(
                "clients", free_port(), auth_mechanism=["Tls", "OAuth"], permission_groups=["ExchangeUsers"],
                protocol_logging_level="Verbose",
            ),
        ],
        auth_servers=[provider.settings(scopes=["SMTP.Send"])],
    ).start()  # fmt: skip
    users = UserFile(Path(made.settings["directory"]["users_file"]), 4096)
    users.add("ann", Secret("pencil"), addresses=["ann@contoso.test"])
    return made


def session(server: Server) -> smtplib.SMTP:
    client = server.smtp("clients")
    client.starttls(context=trusting_nobody())
    client.ehlo()
    return client


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def bearer(token: str, name: str = "") -> str:
    identity = f"a={name}" if name else ""
    return "OAUTHBEARER " + b64(f"n,{identity},\x01auth=Bearer {token}\x01\x01")


def xoauth2(token: str, name: str) -> str:
    return "XOAUTH2 " + b64(f"user={name}\x01auth=Bearer {token}\x01\x01")


def test_tokens_log_in_and_submit(server: Server, provider: OpenIdProvider) -> None:
    with server.smtp("clients") as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH", bearer(provider.token()))[0] == 538
    for command in (
        bearer(provider.token()),
        bearer(provider.token(provider.ec), "ann"),
        xoauth2(provider.token(), "ann@contoso.test"),
    ):
        with session(server) as client:
            assert client.esmtp_features["auth"].split() == ["OAUTHBEARER", "XOAUTH2"]
            assert client.docmd("AUTH", command)[0] == 235
            client.sendmail("ann@contoso.test", ["bob@contoso.test"], "From: ann@contoso.test\r\n\r\nhello\r\n")
    assert all("S:Principal=user:ann" in line["custom-data"] for line in server.wait_for_events("RECEIVE", 3))


def test_a_refused_token_is_explained_and_then_fails(server: Server, provider: OpenIdProvider) -> None:
    with session(server) as client:
        code, answer = client.docmd("AUTH", bearer(provider.token(scp="openid")))
        assert code == 334
        assert json.loads(base64.b64decode(answer)) == {
            "status": "insufficient_scope", "scope": "SMTP.Send",
            "openid-configuration": f"{provider.issuer}/.well-known/openid-configuration",
        }  # fmt: skip
        assert client.docmd(b64("\x01")) == (535, b"5.7.8 Authentication unsuccessful")
        code, answer = client.docmd("AUTH", xoauth2(provider.token(exp=time.time() - 3600), "ann"))
        assert (code, json.loads(base64.b64decode(answer))["status"]) == (334, "401")
        assert client.docmd("")[0] == 535


def test_a_provider_that_is_away_is_a_temporary_failure_and_an_alarm(server: Server, provider: OpenIdProvider) -> None:
    provider.close()
    with session(server) as client:
        assert client.docmd("AUTH", bearer(provider.token())) == (454, b"4.7.0 Temporary authentication failure")
        assert client.docmd("AUTH", bearer(provider.token()))[0] == 454
    assert "auth_server/Test" in server.command("alarm", "list").stdout.decode()
    assert server.ask("lockout", "list") == []


def test_tokens_are_in_no_log_and_settings_are_reloaded(server: Server, provider: OpenIdProvider) -> None:
    good, bad = provider.token(), provider.token(aud="api://canary-audience")
    with session(server) as client:
        assert client.docmd("AUTH", bearer(bad))[0] == 334
        assert client.docmd("AUTH")[0] == 535
        assert client.docmd("AUTH", bearer(good))[0] == 235
    server.settings["auth_servers"][0]["audiences"] = ["api://canary-audience"]
    server.configure(server.settings)
    server.reload()
    with session(server) as client:
        assert client.docmd("AUTH", bearer(bad))[0] == 235
    server.stop()
    written = b"".join(file.read_bytes() for file in server.directory.rglob("*") if file.is_file())
    for token in (good, bad):
        for part in token.split("."):
            assert part.encode() not in written
            assert b64(part)[4:-4].encode() not in written
    assert b"another audience" in written
