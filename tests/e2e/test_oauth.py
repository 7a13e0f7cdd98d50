# SPDX-License-Identifier: MIT
"""Mail through smart hosts that take access tokens only, from an identity provider that gives each failure."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority
from support.configuration import CLIENT as CLIENTS
from support.configuration import EXTERNALLY_SECURED, Settings, receive_connector, send_connector
from support.identity_provider import CLIENT, TENANT, Answer, IdentityProvider, entra
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Behaviour, Sink

USER = "scanner@contoso.com"
MESSAGE = b"From: a@contoso.test\r\nSubject: scan\r\n\r\nscan\r\n"


class Cloud:
    """An identity provider, a smart host that believes its tokens, and a server between them and us."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder / "authority", days=90)
        self.pair = self.authority.issue("localhost", days=90)
        self.provider = IdentityProvider(self.pair.server_context())
        self.refusal: tuple[str, str] | None = None
        self.presented: list[str] = []
        self.behaviour = Behaviour(context=self.pair.server_context(), on_token=self.take)
        self.sink = Sink(self.behaviour)
        self.secret = folder / "client.secret"
        self.secret.write_text(self.provider.secret)
        self.server: Server

    def take(self, user: str, token: str) -> tuple[str, str] | None:
        self.presented.append(token)
        assert user == USER
        return self.refusal or self.provider.check(user, token)

    def connector(self, **oauth: Any) -> Settings:
        settings = {
            "tenant": TENANT, "client_id": CLIENT, "token_url": self.provider.token_url,
            "device_authorization_url": self.provider.device_url, "ca_file": str(self.authority.root), **oauth,
        }  # fmt: skip
        if settings.get("grant") is None:
            settings["client_secret"] = f"file:{self.secret}"
        return send_connector(
            "Cloud", self.sink.port, smart_host_auth_mechanism="OAuth", authentication_username=USER,
            tls_ca_file=str(self.authority.root), require_tls=True, tls_auth_level="DomainValidation",
            tls_domain="localhost", protocol_logging_level="Verbose", oauth=settings,
        )  # fmt: skip

    def send(self) -> None:
        self.server.send("a@contoso.test", "x@adatum.test", MESSAGE, "secured")

    def last_error(self, words: str) -> str:
        """The queue's last error, once it holds these words."""

        def found() -> str:
            return next((one["last_error"] for one in self.server.queues() if words in one["last_error"]), "")

        return wait_until(found, 15, lambda: f"{words}; queues: {self.server.queues()}")


@pytest.fixture
def cloud(tmp_path: Path, make_server: Callable[..., Server]) -> Iterator[Cloud]:
    one = Cloud(tmp_path / "cloud")
    one.server = make_server(
        receive_connectors=[receive_connector("secured", free_port(), **EXTERNALLY_SECURED)],
        send_connectors=[one.connector()],
    )
    yield one
    one.provider.close()
    one.sink.close()


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_mail_goes_out_with_a_token_that_sessions_share(cloud: Cloud, mechanism: str) -> None:
    cloud.behaviour.token_mechanisms = (mechanism,)
    cloud.provider.before = lambda: time.sleep(0.5)
    cloud.server.start()
    for _ in range(20):
        cloud.send()
    transactions = cloud.sink.wait(20)
    assert cloud.sink.sessions > 1
    assert {(one.user, one.tls) for one in transactions} == {(USER, True)}
    assert cloud.provider.grants == 1
    [status] = cloud.server.ask("oauth", "status")
    assert (status["state"], status["requests"], status["account"]) == ("valid", 1, USER)


def test_a_wrong_secret_is_told_and_mended_without_a_restart(cloud: Cloud) -> None:
    cloud.secret.write_text("another")
    cloud.server.start()
    cloud.send()
    error = cloud.last_error("AADSTS7000215")
    assert "make a new secret" in error
    why = cloud.server.command("why", "x@adatum.test", "--json")
    assert b"oauth-wrong-secret" in why.stdout, why.stdout
    probe = json.loads(cloud.server.command("test", "send-connector", "Cloud", "--json").stdout)
    assert "AADSTS7000215" in probe["cause"]
    assert "client_secret" in json.dumps(probe)
    status = cloud.server.command("oauth", "status", "--json")
    assert status.returncode == 1
    [shown] = json.loads(status.stdout)
    assert shown["state"] == "failing"
    assert "make a new secret" in shown["remedy"]
    asked = len(cloud.provider.requests)
    cloud.secret.write_text(cloud.provider.secret)
    cloud.sink.wait(1)
    assert len(cloud.provider.requests) == asked + 1


def test_a_token_revoked_in_mid_life_is_renewed_once(cloud: Cloud) -> None:
    connector = {**cloud.connector(), "smtp_max_messages_per_connection": 1}
    cloud.server.configure({**cloud.server.settings, "send_connectors": [connector]})
    cloud.server.start()
    cloud.send()
    cloud.sink.wait(1)
    cloud.provider.revoked.update(cloud.provider.issued)
    cloud.send()
    cloud.sink.wait(2)
    assert cloud.provider.grants == 2
    assert not cloud.server.events("DEFER")


def test_a_smart_host_that_hangs_up_gets_the_fresh_token_in_the_next_session(cloud: Cloud) -> None:
    connector = {**cloud.connector(), "smtp_max_messages_per_connection": 1}
    cloud.server.configure({**cloud.server.settings, "send_connectors": [connector]})
    cloud.behaviour.hangs_up_on_tokens = True
    cloud.server.start()
    cloud.send()
    cloud.sink.wait(1)
    cloud.provider.revoked.update(cloud.provider.issued)
    cloud.provider.before = lambda: time.sleep(0.3)
    cloud.send()
    cloud.sink.wait(2)
    assert cloud.provider.grants == 2
    logs = [file.read_text() for file in (cloud.server.data / "logs").rglob("CONNECTLOG*.log")]
    assert "closed the connection while a token was asked for" in "".join(logs)


def test_a_smart_host_that_refuses_fresh_tokens_costs_one_request_more(cloud: Cloud) -> None:
    cloud.refusal = (
        '{"status":"401","schemes":"Bearer"}',
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox",
    )
    cloud.server.start()
    cloud.send()
    error = cloud.last_error("SMTP AUTH is off for this mailbox")
    assert "Set-CASMailbox" in error
    wait_until(lambda: len(cloud.presented) >= 5, 20, lambda: f"retries; there were {len(cloud.presented)}")
    assert cloud.provider.grants == 2
    why = cloud.server.command("why", "x@adatum.test", "--json").stdout
    assert b"smtp-auth-disabled" in why, why


def test_an_application_without_the_role_or_the_mailbox_is_told_what_to_grant(cloud: Cloud) -> None:
    cloud.provider.roles = ["Mail.Read"]
    cloud.server.start()
    cloud.send()
    assert "SMTP.SendAsApp" in cloud.last_error("does not carry the application permission")
    probe = json.loads(cloud.server.command("test", "send-connector", "Cloud", "--json").stdout)
    assert "grant admin consent" in json.dumps(probe)
    cloud.provider.roles = ["SMTP.SendAsApp"]
    cloud.refusal = ("", "535 5.7.3 Authentication unsuccessful [AM6P.EURPRD]")
    cloud.server.ask("oauth", "refresh", "Cloud")
    assert "New-ServicePrincipal" in cloud.last_error("as this mailbox")


def test_somebody_logs_on_by_code(cloud: Cloud, make_server: Callable[..., Server]) -> None:
    cloud.server.configure({**cloud.server.settings, "send_connectors": [cloud.connector(grant="DeviceCode")]})
    cloud.server.start()
    cloud.send()
    assert 'bridgehead oauth login "Cloud"' in cloud.last_error("nobody has logged on for Cloud yet")
    begun = cloud.server.ask("oauth", "login", "Cloud", "--no-wait")
    assert (begun["code"], begun["url"]) == ("FJX8-QZ2C", "https://microsoft.com/devicelogin")
    cloud.provider.entered = True
    done = cloud.server.command("oauth", "login", "Cloud")
    assert done.returncode == 0, done.stdout + done.stderr
    assert b"Logged on." in done.stdout
    cloud.sink.wait(1)
    cloud.server.stop()
    cloud.server.start()
    cloud.send()
    cloud.sink.wait(2)  # with the refresh token that was kept
    cloud.server.ask("oauth", "forget", "Cloud")
    [status] = json.loads(cloud.server.command("oauth", "status", "--json").stdout)
    assert status["state"] == "log on"


def test_a_token_store_that_was_touched_ends_nothing_else(cloud: Cloud) -> None:
    connector = cloud.connector(grant="RefreshToken")
    cloud.server.configure({**cloud.server.settings, "send_connectors": [connector]})
    cloud.server.start()
    token = cloud.provider.new_refresh_token()
    done = cloud.server.command("oauth", "login", "Cloud", "--refresh-token-stdin", data=token.encode() + b"\n")
    assert done.returncode == 0, done.stderr
    cloud.server.stop()
    store = cloud.server.data / "oauth-tokens"
    store.write_bytes(store.read_bytes()[:-1] + b"x")
    cloud.server.start()
    cloud.send()
    assert "was changed or belongs to another key" in cloud.last_error("token store")
    refused = cloud.server.command("oauth", "login", "Cloud", "--refresh-token-stdin", data=b"1//again\n")
    assert refused.returncode == 1
    assert b"move the file away" in refused.stderr.replace(b"\n", b" ")


def test_a_provider_that_is_down_and_comes_back(cloud: Cloud) -> None:
    cloud.provider.next = [Answer(503, {"error": "temporarily_unavailable"}, {"retry-after": "1"})]
    cloud.server.start()
    cloud.send()
    assert "HTTP 503" in cloud.last_error("gives no token")
    cloud.sink.wait(1, 30)


def test_alarms_for_what_fails_and_what_will(cloud: Cloud) -> None:
    connector = cloud.connector()
    connector["oauth"]["client_secret_expires"] = date(2020, 1, 1)
    cloud.provider.always = entra(7000222, "The provided client secret keys for app are expired.")
    settings = {**cloud.server.settings, "send_connectors": [connector], "alarms": {"check_interval": 1}}
    cloud.server.configure(settings)
    cloud.server.start()
    cloud.send()

    def standing() -> set[str]:
        return {one["id"] for one in json.loads(cloud.server.command("alarm", "list", "--json").stdout)["alarms"]}

    wait_until(lambda: {"oauth_token/Cloud", "oauth_credential/Cloud"} <= standing(), 20, lambda: str(standing()))
    cloud.provider.always = None
    cloud.server.ask("oauth", "refresh", "Cloud")
    wait_until(lambda: "oauth_token/Cloud" not in standing(), 20, lambda: str(standing()))


def test_a_token_never_goes_to_a_host_with_another_name(cloud: Cloud) -> None:
    other = cloud.authority.issue("elsewhere.test")
    cloud.behaviour.context = other.server_context()
    cloud.server.start()
    cloud.send()
    cloud.last_error("not for localhost")
    assert not cloud.presented
    assert not cloud.provider.requests


def test_a_client_certificate_logs_on(cloud: Cloud) -> None:
    own = cloud.authority.issue("relay.contoso.test")
    context = cloud.pair.server_context()
    context.load_verify_locations(cloud.authority.root)
    context.verify_mode = ssl.CERT_OPTIONAL
    cloud.behaviour.context, cloud.behaviour.external, cloud.behaviour.on_token = context, True, None
    connector = cloud.connector()
    del connector["oauth"], connector["authentication_username"]
    connector |= {
        "smart_host_auth_mechanism": "ClientCertificate", "tls_certificate_file": str(own.certificate),
        "tls_key_file": str(own.key),
    }  # fmt: skip
    cloud.server.configure({**cloud.server.settings, "send_connectors": [connector]})
    cloud.server.start()
    cloud.send()
    assert cloud.sink.wait(1)[0].user == "relay.contoso.test"


def test_a_password_is_bound_to_the_connection(cloud: Cloud, make_server: Callable[..., Server]) -> None:
    """SCRAM-SHA-256-PLUS between two servers of ours."""
    port = free_port()
    hub = make_server(
        name="hub",
        receive_connectors=[
            receive_connector(
                "hub", port, **CLIENTS, tls_certificate_file=str(cloud.pair.certificate),
                tls_key_file=str(cloud.pair.key), protocol_logging_level="Verbose",
            )
        ],
    ).start()  # fmt: skip
    hub.add_user("ann", "s3cret", "a@contoso.test")
    (cloud.folder / "password").write_text("s3cret\n")
    connector = send_connector(
        "Hub", port, smart_host_auth_mechanism="BasicAuthRequireTLS", authentication_username="ann",
        authentication_password=f"file:{cloud.folder / 'password'}", tls_ca_file=str(cloud.authority.root),
        require_tls=True, tls_auth_level="DomainValidation", tls_domain="localhost", protocol_logging_level="Verbose",
    )  # fmt: skip
    cloud.server.configure({**cloud.server.settings, "send_connectors": [connector]})
    cloud.server.start()
    cloud.server.send("a@contoso.test", "x@adatum.test", MESSAGE, "secured")
    cloud.server.wait_for_event("SEND", recipient_address="x@adatum.test")

    def said() -> bytes:
        return b"".join(file.read_bytes() for file in (cloud.server.data / "logs").rglob("SEND*.log"))

    wait_until(lambda: b"AUTH SCRAM-SHA-256-PLUS" in said(), 10, "the log-on is in the protocol log")
    assert b"AUTH SCRAM-SHA-256 " not in said()  # it did not take two attempts


def test_a_connector_is_tested_without_a_server(cloud: Cloud) -> None:
    """By the command itself, with a token of its own."""
    done = cloud.server.command("test", "send-connector", "Cloud", "--json")
    assert f"takes the log-on of {USER}" in done.stdout.decode(), done.stdout + done.stderr
    assert b"Traceback" not in done.stderr


def test_settings_change_at_a_reload(cloud: Cloud) -> None:
    cloud.server.start()
    cloud.send()
    cloud.sink.wait(1)
    cloud.server.reload()
    assert cloud.server.ask("oauth", "status")[0]["requests"] == 1  # what did not change is kept
    connector = cloud.connector(client_id="another")
    cloud.server.configure({**cloud.server.settings, "send_connectors": [connector]})
    cloud.server.reload()
    cloud.send()
    assert "correct client_id" in cloud.last_error("AADSTS700016")
    cloud.server.configure({**cloud.server.settings, "send_connectors": []})
    cloud.server.reload()
    assert cloud.server.ask("oauth", "status") == []


def test_mistakes_in_the_settings_are_named(cloud: Cloud) -> None:
    connector = cloud.connector(provder="Microsoft", token_url="http://login.test/token")
    connector["oauth"]["client_secret"] = "in-clear"
    connector["oauth"]["grant"] = "ClientCredential"
    cloud.server.configure({**cloud.server.settings, "send_connectors": [connector]})
    done = cloud.server.command("check")
    text = " ".join((done.stdout + done.stderr).decode().split())
    for words in ("did you mean `provider`?", "is no https address", "a password does not stand in the configuration",
                  'did you mean "ClientCredentials"?'):  # fmt: skip
        assert words in text, text
    assert "in-clear" not in text
