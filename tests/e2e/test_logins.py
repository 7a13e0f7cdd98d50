# SPDX-License-Identifier: MIT
"""Logins on the running server: lock-out across sessions, channel binding, client certificates."""

import base64
import hashlib
import smtplib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from scramp import ScramClient

from bridgehead.directory.users import UserFile
from bridgehead.mail.secret import Secret
from support.certificates import Authority, Pair
from support.configuration import CLIENT, receive_connector
from support.ports import free_port, wait_until
from support.server import Server
from support.talk import Closed, Talk

FAILED = b"5.7.8 Authentication unsuccessful"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


@pytest.fixture
def server_pair(authority: Authority) -> Pair:
    return authority.issue("mx.contoso.test")


@pytest.fixture
def server(make_server: Callable[..., Server], authority: Authority, server_pair: Pair) -> Server:
    made = make_server(
        server={"tls_certificate_file": str(server_pair.certificate), "tls_key_file": str(server_pair.key)},
        lockout={
            "account_lockout_threshold": 4, "source_lockout_threshold": 12, "lockout_duration": 600, "alarm_accounts": 6,
        },
        receive_connectors=[
            receive_connector("clients", free_port(), **CLIENT, max_logon_failures=2),
            receive_connector(
                "certificates", free_port(), auth_mechanism=["Tls", "External"], permission_groups=["ExchangeUsers"],
                tls_ca_file=str(authority.root),
            ),
        ],
    ).start()  # fmt: skip
    for name in ("ann", "bob"):
        users(made).add(name, Secret("pencil"), addresses=[f"{name}@contoso.test"])
    return made


def users(server: Server) -> UserFile:
    """The server's logins, with verifiers that are quick to check."""
    return UserFile(Path(server.settings["directory"]["users_file"]), 4096)


def plain(name: str, password: str) -> str:
    return base64.b64encode(f"\0{name}\0{password}".encode()).decode()


def log_in(server: Server, name: str, password: str) -> tuple[int, bytes]:
    """One logon on a connection of its own."""
    with session(server, "clients") as client:
        return client.docmd("AUTH", f"PLAIN {plain(name, password)}")


def session(server: Server, connector: str, context: ssl.SSLContext | None = None) -> smtplib.SMTP:
    client = server.smtp(connector)
    client.starttls(context=context or trusting())
    client.ehlo()
    return client


def trusting(version: ssl.TLSVersion | None = None, own: Pair | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


# --- lock-out -----------------------------------------------------------------------------------------------------


def test_an_account_is_locked_across_sessions_and_connections_until_it_is_lifted(server: Server) -> None:
    """D16: brute force is throttled; a locked account with the right password looks like a wrong password."""
    assert log_in(server, "ann", "pencil")[0] == 235  # from here she is known: her own count
    wrong = [log_in(server, "ann", f"guess{number}") for number in range(4)]
    assert set(wrong) == {(535, FAILED)}
    assert log_in(server, "ANN", "pencil") == (535, FAILED)
    assert log_in(server, "bob", "pencil")[0] == 235
    (lock,) = server.ask("lockout", "list")
    assert (lock["kind"], lock["account"], lock["source"], lock["failures"]) == ("account", "ann", "127.0.0.1", 4)
    server.reload()
    assert log_in(server, "ann", "pencil") == (535, FAILED)
    server.restart()
    assert log_in(server, "ann", "pencil") == (535, FAILED)
    server.succeed("lockout", "lift", "ann")
    assert log_in(server, "ann", "pencil")[0] == 235
    assert server.ask("lockout", "list") == []


def test_scram_tells_nobody_that_the_password_of_a_locked_account_is_right(server: Server) -> None:
    for number in range(4):
        log_in(server, "ann", f"guess{number}")
    client = ScramClient(["SCRAM-SHA-256"], "ann", "pencil")
    with session(server, "clients") as smtp:
        code, challenge = smtp.docmd("AUTH", f"SCRAM-SHA-256 {b64(client.get_client_first())}")
        assert code == 334
        client.set_server_first(base64.b64decode(challenge).decode())
        assert smtp.docmd(b64(client.get_client_final())) == (535, FAILED)


def test_a_source_that_tries_many_accounts_is_locked_and_alarmed(server: Server) -> None:
    for number in range(12):
        assert log_in(server, f"user{number}", "x") == (535, FAILED)
    assert log_in(server, "bob", "pencil") == (535, FAILED)
    assert [(one["kind"], one["source"]) for one in server.ask("lockout", "list")] == [("source", "127.0.0.1")]

    def alarmed() -> bool:
        return "logons of 12 accounts failed from 127.0.0.1" in server.command("alarm", "list").stdout.decode()

    wait_until(alarmed, 20, "the alarm about guessing")
    server.succeed("lockout", "lift", "--source", "127.0.0.1")
    assert log_in(server, "bob", "pencil")[0] == 235
    wait_until(lambda: not alarmed(), 20, "the alarm is over")


# --- SCRAM with channel binding -------------------------------------------------------------------------------------


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def scram_plus(client: smtplib.SMTP, kind: str, binding: bytes, password: str = "pencil") -> tuple[int, bytes]:
    scram = ScramClient(["SCRAM-SHA-256-PLUS"], "ann", password, channel_binding=(kind, binding))
    code, challenge = client.docmd("AUTH", f"SCRAM-SHA-256-PLUS {b64(scram.get_client_first())}")
    if code != 334:
        return code, challenge
    scram.set_server_first(base64.b64decode(challenge).decode())
    code, answer = client.docmd(b64(scram.get_client_final()))
    if code != 334:
        return code, answer
    scram.set_server_final(base64.b64decode(answer).decode())
    return client.docmd("")


def end_point(pair: Pair) -> bytes:
    """Hash of the certificate, worked out from its file."""
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_scram_binds_to_our_certificate(server: Server, server_pair: Pair, version: ssl.TLSVersion) -> None:
    with session(server, "clients", trusting(version)) as client:
        assert client.esmtp_features["auth"].split()[:2] == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
        assert scram_plus(client, "tls-server-end-point", end_point(server_pair))[0] == 235
    with session(server, "clients", trusting(version)) as client:
        assert scram_plus(client, "tls-server-end-point", hashlib.sha256(b"another").digest()) == (535, FAILED)


def test_scram_binds_to_the_handshake_of_tls_1_2(server: Server) -> None:
    with session(server, "clients", trusting(ssl.TLSVersion.TLSv1_2)) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        unique = client.sock.get_channel_binding("tls-unique")
        assert unique
        assert scram_plus(client, "tls-unique", unique)[0] == 235
    with session(server, "clients", trusting(ssl.TLSVersion.TLSv1_2)) as client:
        assert scram_plus(client, "tls-unique", unique) == (535, FAILED)  # another handshake
    with session(server, "clients", trusting(ssl.TLSVersion.TLSv1_3)) as client:
        assert scram_plus(client, "tls-unique", unique) == (535, FAILED)  # undefined there


def test_a_client_that_was_told_of_no_channel_binding_shows_who_is_in_between(server: Server) -> None:
    with session(server, "clients") as client:
        assert client.docmd("AUTH", f"SCRAM-SHA-256 {b64('y,,n=ann,r=abc')}") == (535, FAILED)
    assert "somebody is in between" in server.stderr()


def test_channel_binding_is_not_offered_in_clear(server: Server) -> None:
    with server.smtp("clients") as client:
        client.ehlo()
        assert client.esmtp_features["auth"].split() == ["SCRAM-SHA-256"]
        assert client.docmd("AUTH", "SCRAM-SHA-256-PLUS")[0] == 538


# --- client certificates --------------------------------------------------------------------------------------------


def external(server: Server, own: Pair | None, identity: str = "") -> tuple[int, bytes]:
    with session(server, "certificates", trusting(own=own)) as client:
        return client.docmd("AUTH", f"EXTERNAL {b64(identity) or '='}")


def test_a_client_certificate_logs_in_by_name_address_or_fingerprint(server: Server, authority: Authority) -> None:
    by_name, by_address, one = (authority.issue(name) for name in ("door.test", "gate@contoso.test", "lift.test"))
    stranger = authority.issue("stranger.test")
    fingerprint = f"sha256:{end_point(one).hex()}"
    for name, certificate in (("door", "Door.test"), ("gate", "gate@contoso.test"), ("lift", fingerprint)):
        users(server).add(name, Secret("p"), addresses=[f"{name}@contoso.test"], certificates=[certificate])
    for own, name in ((by_name, "door"), (by_address, "gate"), (one, "lift")):
        assert external(server, own)[0] == 235
        assert external(server, own, name.upper())[0] == 235
        assert external(server, own, "ann") == (535, FAILED)
    assert external(server, stranger) == (535, FAILED)
    with session(server, "certificates", trusting(own=by_name)) as client:
        assert client.esmtp_features["auth"].split() == ["EXTERNAL"]
        client.docmd("AUTH", "EXTERNAL =")
        client.sendmail("door@contoso.test", ["bob@contoso.test"], "From: door@contoso.test\r\n\r\nhello\r\n")
    (line,) = server.wait_for_events("RECEIVE", 1)
    assert "S:Principal=user:door" in line["custom-data"]


def test_without_a_certificate_external_is_not_offered(server: Server) -> None:
    with session(server, "certificates") as client:
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH", "EXTERNAL =")[0] in (502, 504)


def test_a_forged_client_certificate_ends_the_handshake(server: Server, tmp_path: Path) -> None:
    forged = Authority(tmp_path / "forger").issue("door.test")
    with pytest.raises((ssl.SSLError, smtplib.SMTPServerDisconnected, ConnectionResetError)):
        external(server, forged)


def test_any_octets_in_any_mechanism_end_in_a_reply(server: Server) -> None:
    """D16: AUTH fuzz, through the engine."""
    server.succeed("lockout", "lift", "--all")
    for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL"):
        for octets in (
            b"",
            b"\0" * 3,
            b"\xff\xfe",
            b"n,,n=\0,r=\n",
            b"p=x,,n=a,r=b",
            b"," * 50,
            b"=" * 50,
            b"a" * 9000,
        ):
            said = base64.b64encode(octets).decode() or "="
            with Talk(server.port("clients")) as talk:
                talk.hello()
                talk.expect("STARTTLS", "220 *")
                talk.start_tls()
                talk.hello()
                try:
                    reply = str(talk.ask(f"AUTH {mechanism} {said}"))
                    while reply.startswith("334"):
                        reply = str(talk.ask(base64.b64encode(octets).decode()))
                except Closed:
                    reply = "421"
                assert reply[:3] in ("535", "501", "504", "500", "421"), (mechanism, octets, reply)
    assert "Traceback" not in server.stderr()
