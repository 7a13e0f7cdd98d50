# SPDX-License-Identifier: MIT
"""Programs that people send with: swaks, curl, smtplib, smtp-source."""

import smtplib
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from support.certificates import trusting_nobody
from support.ports import wait_until
from support.programs import program, run
from support.server import Server
from support.sink import Sink

pytestmark = pytest.mark.interop


def swaks(server: Server, connector: str, *options: str, expected: int = 0) -> str:
    done = run(
        program("swaks"), "--server", "127.0.0.1", "--port", str(server.port(connector)),
        "--helo", "swaks.test", *options,
    )  # fmt: skip
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == expected, said
    return said


def test_swaks_plain(server: Server) -> None:
    said = swaks(server, "anonymous", "--from", "a@fabrikam.test", "--to", "bob@contoso.test", "--h-Subject", "swaks1")
    assert "250 2.6.0" in said
    assert "Queued mail for delivery" in said
    event = server.wait_for_event("DELIVER", message_subject="swaks1")
    assert event["recipient-address"] == "bob@contoso.test"


def test_swaks_relay_denied(server: Server) -> None:
    said = swaks(server, "anonymous", "--from", "a@fabrikam.test", "--to", "x@adatum.test", expected=24)
    assert "550 5.7.1 Unable to relay" in said


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_tls_and_login(mechanism: str, server: Server, sink: Sink) -> None:
    said = swaks(
        server, "client", "--tls", "--auth", mechanism, "--auth-user", "alice", "--auth-password", "correct horse",
        "--from", "alice@contoso.test", "--to", f"{mechanism.lower()}@adatum.test",
    )  # fmt: skip
    assert "235 2.7.0" in said
    arrived = sink.wait_for(lambda one: f"{mechanism.lower()}@adatum.test" in one.forward_paths)
    assert arrived.reverse_path == "alice@contoso.test"
    assert b"with ESMTPSA" in arrived.data


def test_swaks_wrong_password(server: Server) -> None:
    said = swaks(
        server, "client", "--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "wrong",
        "--from", "alice@contoso.test", "--to", "x@adatum.test", expected=28,
    )  # fmt: skip
    assert "535 5.7.8" in said


def test_swaks_implicit_tls(server: Server) -> None:
    swaks(
        server, "implicit", "--tls-on-connect", "--auth", "PLAIN", "--auth-user", "alice",
        "--auth-password", "correct horse", "--from", "alice@contoso.test", "--to", "bob@contoso.test",
    )  # fmt: skip


def test_swaks_pipelining(server: Server) -> None:
    said = swaks(
        server, "anonymous", "--pipeline", "--from", "a@fabrikam.test",
        "--to", "bob@contoso.test,alice@contoso.test", "--h-Subject", "swaks-pipelined",
    )  # fmt: skip
    assert "250 2.6.0" in said
    for name in ("bob", "alice"):
        wait_until(lambda name=name: any(b"swaks-pipelined" in one for one in server.mail_in(name)), 15, name)  # type: ignore[misc]


def test_swaks_attachment(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "scan.pdf"
    file.write_bytes(bytes(range(256)) * 4000)
    swaks(server, "anonymous", "--from", "scanner@fabrikam.test", "--to", "user1@contoso.test", "--attach", f"@{file}")
    (message,) = server.wait_for_mail("user1")
    assert len(message) > 1_300_000


def test_smtplib_from_hello_to_quit(server: Server, sink: Sink) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "alice@contoso.test", "py@adatum.test", "Grüße"
    message.set_content("Liebe Grüße\n.\n..\nEnde\n")
    with server.smtp("client") as client:
        assert client.ehlo()[0] == 250
        client.starttls(context=trusting_nobody())
        client.login("alice", "correct horse")
        assert client.noop()[0] == 250
        assert client.verify("bob")[0] == 252
        client.send_message(message)
    arrived = sink.wait_for(lambda one: "py@adatum.test" in one.forward_paths)
    assert arrived.message["Subject"] == "Grüße"
    assert arrived.message.get_content().replace("\r\n", "\n") == "Liebe Grüße\n.\n..\nEnde\n"


def test_smtplib_smtputf8(server: Server, sink: Sink) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "jürgen@bücher.example", "ιωάννης@παράδειγμα.test", "Γεια"
    message.set_content("hello")
    with server.smtp("secured") as client:
        client.send_message(message)
    arrived = sink.wait_for(lambda one: "ιωάννης" in one.rcpts[0])
    assert "SMTPUTF8" in arrived.mail
    assert "jürgen@" in arrived.reverse_path
    assert "Γεια".encode() in arrived.data


def test_smtplib_refused_recipients_are_told(server: Server) -> None:
    refused = server.send("a@fabrikam.test", ["user2@contoso.test", "nobody@contoso.test"], connector="anonymous")
    assert refused["nobody@contoso.test"][0] == 550
    assert server.wait_for_mail("user2")


def test_smtplib_declared_size(server: Server) -> None:
    with server.smtp("anonymous") as client:
        client.ehlo()
        code, _ = client.docmd("MAIL FROM:<a@fabrikam.test> SIZE=999999999")
    assert code == 552


def test_curl(server: Server, sink: Sink) -> None:
    content = b"From: alice@contoso.test\r\nSubject: curl\r\n\r\n.a line with a dot\r\n"
    done = run(
        program("curl"), "--silent", "--show-error", "--verbose", "--ssl-reqd", "--insecure",
        "--url", f"smtp://127.0.0.1:{server.port('client')}/curl.test", "--user", "alice:correct horse",
        "--mail-from", "alice@contoso.test", "--mail-rcpt", "curl@adatum.test", "--upload-file", "-",
        data=content,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert sink.wait_for(lambda one: "curl@adatum.test" in one.forward_paths).body == b".a line with a dot\r\n"


def smtp_source(server: Server, *options: str) -> Any:
    done = run(program("smtp-source"), *options, f"127.0.0.1:{server.port('secured')}")
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("lasting", [True, False])
def test_smtp_source(lasting: bool, server: Server, sink: Sink) -> None:
    to = f"source-{lasting}@adatum.test".lower()
    smtp_source(
        server, *(["-d"] if lasting else []), "-s", "10", "-m", "300", "-l", "4096", "-f", "a@fabrikam.test", "-t", to
    )
    sink.wait_for(lambda _: len(sink.to(to)) == 300, 30)
    assert {len(one.rcpts) for one in sink.to(to)} == {1}


def test_smtp_source_many_recipients(server: Server, sink: Sink) -> None:
    smtp_source(server, "-m", "5", "-r", "100", "-f", "a@fabrikam.test", "-t", "many@adatum.test")
    sink.wait_for(lambda _: sum("many@adatum.test" in str(one.rcpts) for one in list(sink.transactions)) >= 5, 20)
    recipients = [path for one in sink.transactions for path in one.forward_paths if "many@adatum.test" in path]
    assert len(recipients) == 500


def test_smtp_helo_only_client(server: Server) -> None:
    with smtplib.SMTP("127.0.0.1", server.port("anonymous")) as client:
        client.helo("old-printer")
        client.sendmail("scanner@fabrikam.test", ["user3@contoso.test"], b"Subject: scan\r\n\r\npage\r\n")
    (message,) = server.wait_for_mail("user3")
    assert b"with SMTP" in message
