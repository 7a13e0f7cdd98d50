# SPDX-License-Identifier: MIT
"""AUTH GSSAPI with NTLM within SPNEGO on the running server, where a connector takes it, with the library that clients use."""

import random
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridgehead.directory.users import UserFile
from bridgehead.mail.secret import Secret
from support.certificates import Authority, Pair, trusting_nobody
from support.configuration import Settings, receive_connector
from support.kdc import REALM, Kdc
from support.kerberos_client import SERVICE, encoded, end_point
from support.kerberos_client import Client as KerberosClient
from support.ntlm_client import Client
from support.ports import free_port
from support.server import Server

FAILED = (535, b"5.7.8 Authentication unsuccessful")
SUCCESS = (235, b"2.7.0 Authentication successful")
PASSWORD = "canary-pencil"


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc]:
    with Kdc(tmp_path_factory.mktemp("kerberos") / "kdc") as made:
        made.add(f"ann@{REALM}")
        made.service(SERVICE)
        yield made


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client sets goes after the test, and no server sees it."""
    for name in ("NTLM_USER_FILE", "LM_COMPAT_LEVEL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Authority(tmp_path / "authority").issue("mx.contoso.test")


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    return account(
        tmp_path / "ntlm-passwords", f"CONTOSO:ann:{PASSWORD}", f"OTHER:ann:{PASSWORD}", f"CONTOSO:bob:{PASSWORD}"
    )


def account(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)
    return file


def integrated(name: str, **settings: object) -> Settings:
    return receive_connector(
        name, free_port(), auth_mechanism=["Tls", "Integrated"], permission_groups=["ExchangeUsers"],
        max_logon_failures=0, protocol_logging_level="Verbose", **settings,
    )  # fmt: skip


@pytest.fixture
def server(make_server: Callable[..., Server], kdc: Kdc, pair: Pair, passwords: Path) -> Server:
    made = make_server(
        server={"tls_certificate_file": str(pair.certificate), "tls_key_file": str(pair.key)},
        lockout={"source_lockout_threshold": 0, "account_lockout_threshold": 3},
        receive_connectors=[
            integrated("ntlm", ntlm_enabled=True), integrated("default"),
            integrated("unbound", ntlm_enabled=True, extended_protection_policy="None"),
        ],
        kerberos={
            "service_principals": [SERVICE], "keytab_file": str(kdc.keytab), "realms": [REALM],
            "ntlm_domains": ["CONTOSO"], "ntlm_password_file": str(passwords),
        },
    ).start()  # fmt: skip
    users = UserFile(Path(made.settings["directory"]["users_file"]), 4096)
    users.add("ann", Secret("unused"), addresses=["ann@contoso.test"])
    users.add("boss", Secret("unused"), addresses=["boss@contoso.test"])
    return made


def outcome(server: Server, logon: Client | KerberosClient, connector: str = "ntlm") -> tuple[int, bytes]:
    with server.smtp(connector) as client:
        client.starttls(context=trusting_nobody())
        client.ehlo()
        return logon.log_in(client)


def test_d16_ntlm_logs_in_only_where_it_is_switched_on_and_bound_to_the_connection(
    server: Server, tmp_path: Path, pair: Pair, kdc: Kdc
) -> None:
    ann, bound = account(tmp_path / "ann", f"CONTOSO:ann:{PASSWORD}"), end_point(pair)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting_nobody()
        context.minimum_version = context.maximum_version = version
        with server.smtp("ntlm") as client:
            client.starttls(context=context)
            client.ehlo()
            assert client.esmtp_features["auth"].split() == ["GSSAPI"]
            assert Client(ann, binding=bound).log_in(client) == SUCCESS, server.stderr()
            assert client.mail("boss@contoso.test")[0] == 550
            client.rset()
            assert client.mail("ann@contoso.test")[0] == 250
    assert outcome(server, Client(ann, binding=bound), "default") == FAILED
    assert "the client offers NTLM, which is not taken" in server.stderr()
    for connector in ("ntlm", "unbound"):
        assert outcome(server, Client(ann), connector) == FAILED
        assert outcome(server, Client(ann, binding=b"tls-server-end-point:another"), connector) == FAILED
        server.succeed("lockout", "lift", "ann")
    assert "the client did not bind its NTLM logon to the TLS connection" in server.stderr()
    assert "wrong name, password or channel binding by NTLM" in server.stderr()
    assert outcome(server, KerberosClient(kdc.log_in("ann"), spnego=True)) == SUCCESS
    with server.smtp("ntlm") as client:
        client.ehlo()
        assert Client(ann, binding=bound).log_in(client) == FAILED
    assert "NTLM is taken over TLS only" in server.stderr()


def test_who_is_no_login_by_ntlm(server: Server, tmp_path: Path, pair: Pair) -> None:
    bound, logon = end_point(pair), tmp_path / "client"
    for line, reason in (
        ("CONTOSO:ann:wrong", "wrong name, password or channel binding by NTLM"),
        ("CONTOSO:nobody:wrong", "wrong name, password or channel binding by NTLM"),
        (f"OTHER:ann:{PASSWORD}", '"OTHER" is none of kerberos.ntlm_domains'),
        (f"CONTOSO:bob:{PASSWORD}", 'there is no enabled login "bob"'),
    ):
        assert outcome(server, Client(account(logon, line), binding=bound)) == FAILED
        assert reason in server.stderr()
    ann = account(logon, f"CONTOSO:ann:{PASSWORD}")
    assert outcome(server, Client(ann, level=1)) == FAILED
    assert "the client answers by LM or NTLMv1, which can be broken" in server.stderr()
    server.succeed("lockout", "lift", "ann")
    assert outcome(server, Client(ann, binding=bound, authorization="boss")) == FAILED
    assert "ann asks to act as boss" in server.stderr()


def test_d16_guesses_by_ntlm_lock_the_account(server: Server, tmp_path: Path, pair: Pair) -> None:
    bound = end_point(pair)
    for _ in range(3):
        assert outcome(server, Client(account(tmp_path / "guess", "CONTOSO:ann:wrong"), binding=bound)) == FAILED
    assert [one["account"] for one in server.ask("lockout", "list")] == ["ann"]
    ann = account(tmp_path / "ann", f"CONTOSO:ann:{PASSWORD}")
    assert outcome(server, Client(ann, binding=bound)) == FAILED
    assert "locked after too many failed logons" in server.stderr()
    server.succeed("lockout", "lift", "ann")
    assert outcome(server, Client(ann, binding=bound)) == SUCCESS
    server.stop()
    written = b"".join(file.read_bytes() for file in server.data.rglob("*") if file.is_file())
    assert PASSWORD.encode() not in written + server.stderr().encode()


def test_d16_damaged_tokens_are_failed_logons_and_no_more(server: Server, tmp_path: Path, pair: Pair) -> None:
    ann, chance = account(tmp_path / "ann", f"CONTOSO:ann:{PASSWORD}"), random.Random(4178)

    def damaged(token: bytes) -> bytes:
        made, at = bytearray(token), chance.randrange(len(token))
        made[at : at + chance.randrange(5)] = chance.choice((b"\0", b"\xff\xff\xff\xff", b"\x7f", b"", b"\x01\0\0\0"))
        return bytes(made)

    class Damaging(Client):
        def answer(self, challenge: bytes) -> bytes:
            return damaged(super().answer(challenge) or b"\0")

    with server.smtp("ntlm") as client:
        client.starttls(context=trusting_nobody())
        client.ehlo()
        for _ in range(150):
            first = Client(ann, binding=end_point(pair)).first()
            code = client.docmd("AUTH", f"GSSAPI {encoded(damaged(first))}")[0]
            assert code in (334, 535)
            if code == 334:
                assert client.docmd("*")[0] == 501
            assert Damaging(ann, binding=end_point(pair)).log_in(client)[0] == 535
    server.succeed("lockout", "lift", "ann")
    assert outcome(server, Client(ann, binding=end_point(pair))) == SUCCESS


def test_check_says_what_is_missing(server: Server, passwords: Path) -> None:
    passwords.chmod(0o644)
    server.settings["kerberos"]["ntlm_domains"] = []
    server.settings["receive_connectors"][1]["auth_mechanism"] = ["Tls"]
    server.settings["receive_connectors"][1]["ntlm_enabled"] = True
    server.configure(server.settings)
    checked = server.command("check")
    told = checked.stdout.decode() + checked.stderr.decode()
    for words in ("can be read by others", "no account of NTLM is a login", "NTLM comes within Integrated"):
        assert words in told
