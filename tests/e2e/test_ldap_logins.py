# SPDX-License-Identifier: MIT
"""AUTH PLAIN and LOGIN on the running server with logins of a real OpenLDAP."""

import os
import re
import signal
import smtplib
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority, trusting_nobody
from support.configuration import receive_connector
from support.openldap import BASE, LOOKUP, PASSWORD, OpenLdap
from support.ports import free_port, wait_until
from support.server import Server

PEOPLE = {
    "ann": ("pencil-canary", ["proxyAddresses: SMTP:ann@contoso.test", "proxyAddresses: smtp:info@contoso.test"]),
    "bob": ("crayon-canary", ["mail: bob@contoso.test"]),
}
MESSAGE = "From: {0}\r\nSubject: t\r\n\r\nhello\r\n"
UNAVAILABLE = (454, b"4.7.0 Temporary authentication failure")


@pytest.fixture
def ldap(tmp_path: Path) -> Iterator[OpenLdap]:
    server = OpenLdap(tmp_path / "ldap", Authority(tmp_path / "ca"), PEOPLE)
    yield server
    server.stop()


@pytest.fixture
def make(make_server: Callable[..., Server], ldap: OpenLdap, tmp_path: Path) -> Callable[..., Server]:
    secret = tmp_path / "ldap-password"
    secret.write_text(f"{PASSWORD}\n")

    def made(*servers: str, **more: Any) -> Server:
        return make_server(
            receive_connectors=[
                receive_connector(
                    "clients", free_port(), auth_mechanism=["Tls", "BasicAuth"], permission_groups=["ExchangeUsers"],
                    protocol_logging_level="Verbose", max_logon_failures=0,
                ),
            ],
            ldap_logins={
                "servers": list(servers or [ldap.secure]), "ca_file": ldap.ca_file, "lookup_name": LOOKUP,
                "lookup_password": f"file:{secret}", "search_base": BASE, "timeout": 2, **more,
            },
        )  # fmt: skip

    return made


def session(server: Server) -> smtplib.SMTP:
    client = server.smtp("clients")
    client.starttls(context=trusting_nobody())
    client.ehlo()
    return client


def log_on(client: smtplib.SMTP, name: str, password: str, how: str = "PLAIN") -> tuple[int, bytes]:
    client.user, client.password = name, password
    try:
        return client.auth(how, client.auth_login if how == "LOGIN" else client.auth_plain, initial_response_ok=True)
    except smtplib.SMTPAuthenticationError as error:
        return error.smtp_code, bytes(error.smtp_error)


def test_logins_of_the_directory_send_as_their_own_addresses(make: Callable[..., Server]) -> None:
    server = make().start()
    for how, sender in (("PLAIN", "ann@contoso.test"), ("LOGIN", "info@contoso.test")):
        with session(server) as client:
            assert client.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
            assert log_on(client, "ann", "pencil-canary", how)[0] == 235, server.stderr()
            client.sendmail(sender, ["bob@contoso.test"], MESSAGE.format(sender))
    with session(server) as client:
        assert log_on(client, "ann", "pencil-canary")[0] == 235
        assert client.mail("bob@contoso.test")[0] == 550
    assert all("S:Principal=user:ann" in line["custom-data"] for line in server.wait_for_events("RECEIVE", 2))


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def test_the_users_file_goes_first_and_can_shut_out_a_login(make: Callable[..., Server], ldap: OpenLdap) -> None:
    server = make(login_attributes=["uid", "mail"]).start()
    server.add_user("scanner", "glass", "scanner@contoso.test")
    server.add_user("bob", "other", "bob@contoso.test")
    with session(server) as client:
        assert log_on(client, "scanner", "glass")[0] == 235
    with session(server) as client:
        assert log_on(client, "scanner", "wrong")[0] == 535
        assert log_on(client, "bob", "crayon-canary")[0] == 535
        assert "uid=scanner" not in ldap.log, "names of the file are the file's alone"
        assert "uid=bob" not in ldap.log
        assert log_on(client, "bob@contoso.test", "crayon-canary")[0] == 535, "nor by another of its names"
        assert log_on(client, "bob", "other")[0] == 235


def test_a_directory_that_is_down_is_454_an_alarm_and_no_failure_of_anybody(
    make: Callable[..., Server], ldap: OpenLdap
) -> None:
    server, probe = make(), free_port()
    server.settings["monitoring"] = {"probe_listen": f"127.0.0.1:{probe}"}
    server.configure(server.settings)
    server.start()
    server.add_user("scanner", "glass", "scanner@contoso.test")
    with session(server) as client:
        assert log_on(client, "ann", "pencil-canary")[0] == 235
    ldap.stop()
    with session(server) as client:
        for _ in range(30):
            assert log_on(client, "ann", "pencil-canary") == UNAVAILABLE
        assert log_on(client, "nobody", "guess") == UNAVAILABLE
        assert log_on(client, "scanner", "glass")[0] == 235
    alarms = server.command("alarm", "list").stdout.decode()
    assert f"ldap_logins/{ldap.secure}" in alarms
    assert re.search(r"ldap_logins(?!/)", alarms)
    assert "no LDAP server can be asked" in server.command("status").stdout.decode()
    assert server.ask("lockout", "list") == []
    assert 'bridgehead_smtp_receive_logons_deferred_total{connector="clients"} 31.0' in scraped(probe)
    ldap.start()

    def works() -> bool:
        with session(server) as client:
            return log_on(client, "ann", "pencil-canary")[0] == 235

    wait_until(works, 20, "logons work again")
    wait_until(lambda: "ldap_logins" not in server.command("alarm", "list").stdout.decode(), 20, "the alarm is over")


def test_a_directory_that_is_down_shows_nobody_which_names_are_in_the_file(
    make: Callable[..., Server], ldap: OpenLdap
) -> None:
    server = make()
    server.settings["lockout"] = {"account_lockout_threshold": 3}
    server.settings["receive_connectors"][0] |= {"auth_tarpit_interval": 0.5, "max_logon_failures": 3}
    server.configure(server.settings)
    server.start()
    for name in ("scanner", "locked"):
        server.add_user(name, "glass", f"{name}@contoso.test")
    with session(server) as client:
        for _ in range(2):
            assert log_on(client, "locked", "guess")[0] == 535
    with session(server) as client:
        assert log_on(client, "locked", "guess")[0] == 535
    ldap.stop()
    guesses = (
        ("scanner", "guess"), ("ann", "guess"), ("ann", "pencil-canary"), ("nobody", "guess"), ("locked", "guess"),
        ("locked", "glass"), ("no such", "guess"),
    )  # fmt: skip
    with session(server) as client:
        for name, password in guesses:
            began = time.monotonic()
            assert log_on(client, name, password) == UNAVAILABLE, name
            assert time.monotonic() - began >= 0.45, name  # timers count in milliseconds
        for name in ("scanner", "nobody"):
            assert log_on(client, name, "")[0] == 535, "nobody has no password"
        assert log_on(client, "scanner", "glass")[0] == 235, "who knows it comes in"
    with session(server) as client:
        for _ in range(3):
            assert log_on(client, "scanner", "guess") == UNAVAILABLE
    assert {one["account"] for one in server.ask("lockout", "list")} == {"locked", "scanner"}, "guesses count"
    with session(server) as client:
        assert log_on(client, "scanner", "glass") == UNAVAILABLE, "a lock shows nobody that the password was right"


def test_a_silent_directory_does_not_hold_up_mail(make: Callable[..., Server], ldap: OpenLdap) -> None:
    """It accepts, and says nothing within the handshake: what once stopped the whole process."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        server = make(f"ldaps://127.0.0.1:{silent.getsockname()[1]}", timeout=4)
        server.settings["receive_connectors"].append(
            receive_connector(
                "anonymous", free_port(), auth_mechanism=["Tls"], permission_groups=["AnonymousUsers"],
                reject_unknown_recipients=False,
            )
        )  # fmt: skip
        server.configure(server.settings)
        server.start()
        answers: list[tuple[int, bytes]] = []

        def try_to_log_on() -> None:
            with session(server) as client:
                answers.append(log_on(client, "ann", "pencil-canary"))

        threads = [threading.Thread(target=try_to_log_on) for _ in range(8)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        longest = sent = 0.0
        while any(thread.is_alive() for thread in threads):
            before = time.monotonic()
            server.send("x@fabrikam.test", "bob@contoso.test", connector="anonymous")
            longest, sent = max(longest, time.monotonic() - before), sent + 1
        assert time.monotonic() - began > 1
        assert answers == [UNAVAILABLE] * 8
        assert sent > 10
        assert longest < 1
        server.wait_for_events("RECEIVE", int(sent))


def test_a_directory_that_is_killed_is_replaced_by_the_next(
    make: Callable[..., Server], ldap: OpenLdap, tmp_path: Path
) -> None:
    second = OpenLdap(tmp_path / "second", Authority(tmp_path / "ca2", "Other Root"), PEOPLE)
    try:
        both = tmp_path / "both.pem"
        both.write_bytes(Path(ldap.ca_file).read_bytes() + Path(second.ca_file).read_bytes())
        server = make(ldap.secure, second.plain, ca_file=str(both)).start()
        with session(server) as client:
            assert log_on(client, "ann", "pencil-canary")[0] == 235
        assert "SRCH base" in ldap.log
        assert "SRCH base" not in second.log
        assert ldap.process is not None
        os.kill(ldap.process.pid, signal.SIGKILL)
        with session(server) as client:
            assert log_on(client, "ann", "wrong")[0] == 535
            assert log_on(client, "ann", "pencil-canary")[0] == 235
        assert "SRCH base" in second.log
    finally:
        second.stop()


def test_who_is_locked_out_here_is_not_guessed_at_there(make: Callable[..., Server], ldap: OpenLdap) -> None:
    server = make()
    server.settings["lockout"] = {"account_lockout_threshold": 3}
    server.configure(server.settings)
    server.start()
    with session(server) as client:
        for _ in range(3):
            assert log_on(client, "ann", "guess")[0] == 535
        assert [one["account"] for one in server.ask("lockout", "list")] == ["ann"]
        asked = ldap.log.count('BIND dn="uid=ann')
        for password in ("guess", "pencil-canary"):
            assert log_on(client, "ann", password)[0] == 535
        assert ldap.log.count('BIND dn="uid=ann') == asked > 0
        server.succeed("lockout", "lift", "ann")
        assert log_on(client, "ann", "pencil-canary")[0] == 235


def test_settings_are_reloaded_and_secrets_are_in_no_log(make: Callable[..., Server], ldap: OpenLdap) -> None:
    server = make().start()
    with session(server) as client:
        assert log_on(client, "ann", "wrong-canary")[0] == 535
        assert log_on(client, "ann", "pencil-canary")[0] == 235
    server.settings["ldap_logins"] |= {"mode": "Bind", "bind_template": f"uid={{name}},{BASE}", "servers": [ldap.plain]}
    server.configure(server.settings)
    server.reload()
    with session(server) as client:
        assert log_on(client, "nobody", "wrong-canary")[0] == 535
        assert log_on(client, "ann", "pencil-canary", "LOGIN")[0] == 235
    server.settings["ldap_logins"] = {}
    server.configure(server.settings)
    server.reload()
    with session(server) as client:
        assert log_on(client, "ann", "pencil-canary")[0] == 535
    server.stop()
    written = (
        b"".join(file.read_bytes() for file in server.directory.rglob("*") if file.is_file()) + server.stderr().encode()
    )
    assert b"logon of 'ann'" in written
    for secret in ("pencil-canary", "wrong-canary", PASSWORD):
        assert secret.encode() not in written


def test_the_directory_is_tested_step_by_step(make: Callable[..., Server], ldap: OpenLdap) -> None:
    dead = f"ldaps://127.0.0.1:{free_port()}"
    server = make(ldap.secure, dead).start()
    asked = server.command("test", "ldap", "ann", "--password-stdin", data=b"pencil-canary\n")
    text = asked.stdout.decode()
    for words in (
        "connection: 127.0.0.1:", "TLS: the certificate is valid for 127.0.0.1", f"lookup account: bound as {LOOKUP}",
        f"search: uid=ann,{BASE}", f"bind: bound as uid=ann,{BASE}",
        "ann may log in and send as ann@contoso.test, info@contoso.test", f"✗ {dead}",
    ):  # fmt: skip
        assert words in text
    assert asked.returncode == 0, "one server works"
    wrong = server.command("test", "ldap", "ann", "--password-stdin", data=b"wrong-canary\n")
    assert wrong.returncode == 1
    assert "ann may not log in: the directory refuses the bind: invalid credentials" in wrong.stdout.decode()
    assert server.command("test", "ldap").returncode == 0
    assert f"Other names are looked for in the directory at {ldap.secure}" in server.succeed("user", "list")
    ldap.stop()
    assert server.command("test", "ldap").returncode == 1
    assert b"pencil-canary" not in asked.stdout + asked.stderr + wrong.stdout
