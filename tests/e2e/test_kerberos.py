# SPDX-License-Identifier: MIT
"""AUTH GSSAPI on the running server, with a real KDC and the library that clients use."""

import hashlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import gssapi
import pytest

from bridgehead.directory.users import UserFile
from bridgehead.mail.secret import Secret
from support import openldap
from support.certificates import Authority, Pair, trusting_nobody
from support.configuration import Settings, receive_connector
from support.kdc import FOREIGN, REALM, Kdc, set_clock_ahead
from support.kerberos_client import SERVICE, Client, encoded, end_point
from support.ports import free_port
from support.programs import program, run
from support.server import Server

FAILED = (535, b"5.7.8 Authentication unsuccessful")
SUCCESS = (235, b"2.7.0 Authentication successful")


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc]:
    with Kdc(tmp_path_factory.mktemp("kerberos") / "kdc") as made:
        for principal in ("ann", "nobody", "erp/host.contoso.test", "stranger/host.contoso.test"):
            made.add(f"{principal}@{REALM}")
        made.add(f"ann@{FOREIGN}", realm=FOREIGN)
        made.service(SERVICE)
        made.service(f"HTTP/mx.contoso.test@{REALM}")
        made.service(f"smtp/other.contoso.test@{REALM}", made.directory / "other.keytab")
        yield made


@pytest.fixture(scope="module")
def ann(kdc: Kdc) -> Path:
    return kdc.log_in("ann")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("mx.contoso.test")


def integrated(name: str, policy: str, **settings: object) -> Settings:
    return receive_connector(
        name, free_port(), auth_mechanism=["Tls", "Integrated"], permission_groups=["ExchangeUsers"],
        extended_protection_policy=policy, max_logon_failures=0, protocol_logging_level="Verbose", **settings,
    )  # fmt: skip


@pytest.fixture
def server(make_server: Callable[..., Server], kdc: Kdc, pair: Pair) -> Server:
    made = make_server(
        server={"tls_certificate_file": str(pair.certificate), "tls_key_file": str(pair.key)},
        lockout={"source_lockout_threshold": 0},
        receive_connectors=[
            integrated("allow", "Allow"), integrated("require", "Require"), integrated("none", "None"),
            integrated("implicit", "Require", implicit_tls=True), integrated("implicit-allow", "Allow", implicit_tls=True),
        ],
        kerberos={
            "service_principals": [SERVICE], "keytab_file": str(kdc.keytab), "realms": [REALM],
            "principals": [{"principal": f"erp/host.contoso.test@{REALM}", "logins": ["erp", "crm"]}],
        },
    ).start()  # fmt: skip
    for name in ("ann", "erp", "crm", "boss"):
        users(made).add(name, Secret("unused"), addresses=[f"{name}@contoso.test"])
    return made


def users(server: Server) -> UserFile:
    return UserFile(Path(server.settings["directory"]["users_file"]), 4096)


def session(server: Server, connector: str, version: ssl.TLSVersion | None = None) -> smtplib.SMTP:
    client = server.smtp(connector)
    context = trusting_nobody()
    if version is not None:
        context.minimum_version = context.maximum_version = version
    client.starttls(context=context)
    client.ehlo()
    return client


def outcome(server: Server, *logon: Client, connector: str = "allow") -> tuple[int, bytes]:
    with session(server, connector) as client:
        return logon[0].log_in(client)


def told(server: Server, *texts: str) -> None:
    """The reasons stand in the server's log, in the protocol log and in the agent log."""
    server.stop()
    for text in texts:
        assert text in server.stderr(), server.stderr()
    for folder, marker in (("ProtocolLog", "Logon failed: "), ("AgentLog", "LogonFailed")):
        lines = [
            line
            for file in server.data.rglob(f"{folder}/**/*.[lL][oO][gG]")
            for line in file.read_text("utf-8-sig").splitlines()
        ]
        for text in texts:
            assert any(marker in line and text.replace('"', '""') in line for line in lines), (text, lines)


# --- who logs in --------------------------------------------------------------------------------------------------


def test_a_ticket_logs_in_as_its_login_which_is_bound_to_its_addresses(server: Server, ann: Path) -> None:
    for spnego in (False, True):
        for mutual in (False, True):
            with session(server, "allow") as client:
                assert client.esmtp_features["auth"].split() == ["GSSAPI"]
                assert Client(ann, spnego=spnego, mutual=mutual).log_in(client) == SUCCESS
                assert client.mail("boss@contoso.test")[0] == 550
                client.rset()
                client.sendmail("ann@contoso.test", ["bob@contoso.test"], "From: ann@contoso.test\r\n\r\nhello\r\n")
    assert all("S:Principal=user:ann" in line["custom-data"] for line in server.wait_for_events("RECEIVE", 4))


def test_curl_logs_in(server: Server, ann: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{ann}")
    port = server.port("allow")
    done = run(
        program("curl"), "--silent", "--show-error", "--verbose", "--ssl-reqd", "--insecure", "--resolve",
        f"mx.contoso.test:{port}:127.0.0.1", "--url", f"smtp://mx.contoso.test:{port}/curl.test", "--user", ":",
        "--login-options", "AUTH=GSSAPI", "--mail-from", "ann@contoso.test", "--mail-rcpt", "bob@contoso.test",
        "--upload-file", "-", data=b"From: ann@contoso.test\r\nSubject: curl\r\n\r\nhello\r\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"> AUTH GSSAPI" in done.stderr
    (line,) = server.wait_for_events("RECEIVE", 1)
    assert "S:Principal=user:ann" in line["custom-data"]


def test_the_client_may_wait_with_its_first_token_and_give_up(server: Server, ann: Path) -> None:
    with session(server, "allow") as client:
        assert client.docmd("AUTH", "GSSAPI")[0] == 334
        assert client.docmd("*")[0] == 501
        assert Client(ann).log_in(client) == SUCCESS


def test_principals_that_nothing_is_declared_for_are_nobody(server: Server, kdc: Kdc) -> None:
    reasons = {
        f"ann@{FOREIGN}": f"ann@{FOREIGN} is no login: its realm is none of kerberos.realms",
        f"stranger/host.contoso.test@{REALM}": f"stranger/host.contoso.test@{REALM} is no login",
        f"nobody@{REALM}": 'there is no enabled login "nobody": add it with `bridgehead user add`',
    }
    for principal in reasons:
        assert outcome(server, Client(kdc.log_in(principal))) == FAILED
    ann = kdc.log_in("ann")
    assert outcome(server, Client(ann)) == SUCCESS
    users(server).update("ann", enabled=False)
    assert outcome(server, Client(ann)) == FAILED
    told(server, *reasons.values())


def test_a_client_may_say_who_it_is_and_not_act_as_somebody_else(server: Server, ann: Path) -> None:
    for wanted in ("", "ann", "ANN", "ann@contoso.test", f"ann@{REALM}"):
        assert outcome(server, Client(ann, authorization=wanted)) == SUCCESS, wanted
    for wanted in ("boss", "boss@contoso.test", "erp", f"boss@{REALM}", "x" * 300, "a\0b"):
        assert outcome(server, Client(ann, authorization=wanted)) == FAILED, wanted
    told(server, "ann asks to act as boss")


def test_a_principal_acts_as_the_logins_that_it_was_granted_and_no_other(server: Server, kdc: Kdc) -> None:
    erp = kdc.log_in("erp/host.contoso.test")
    for wanted, sender, expected in (
        ("", "erp", SUCCESS), ("erp", "erp", SUCCESS), ("CRM", "crm", SUCCESS), ("ann", "ann", FAILED),
    ):  # fmt: skip
        with session(server, "allow") as client:
            assert Client(erp, authorization=wanted).log_in(client) == expected
            if expected is SUCCESS:
                assert client.mail(f"{sender}@contoso.test")[0] == 250
                client.rset()
                assert client.mail("ann@contoso.test")[0] == 550
    told(server, "erp asks to act as ann")


def test_logins_of_the_directory_are_those_of_tickets_as_well(
    make_server: Callable[..., Server], kdc: Kdc, ann: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "ldap-password"
    secret.write_text(f"{openldap.PASSWORD}\n")
    people = {"ann": ("unused", ["mail: ann@contoso.test"]), "x": ("unused", ["mail: nobody"])}
    directory = openldap.OpenLdap(tmp_path / "ldap", Authority(tmp_path / "ldap-ca"), people)
    server = make_server(
        receive_connectors=[integrated("allow", "Allow")],
        kerberos={"service_principals": [SERVICE], "keytab_file": str(kdc.keytab), "realms": [REALM]},
        ldap_logins={
            "servers": [directory.secure], "ca_file": directory.ca_file, "lookup_name": openldap.LOOKUP,
            "lookup_password": f"file:{secret}", "search_base": openldap.BASE, "timeout": 2,
        },
    ).start()  # fmt: skip
    try:
        with session(server, "allow") as client:
            assert Client(ann).log_in(client) == SUCCESS
            assert client.mail("ann@contoso.test")[0] == 250
            client.rset()
            assert client.mail("boss@contoso.test")[0] == 550
        assert outcome(server, Client(kdc.log_in("nobody"))) == FAILED  # a name in `mail` is not what a login is called
        users(server).add("ann", Secret("unused"), addresses=["ann@contoso.test"])
        users(server).update("ann", enabled=False)
        assert outcome(server, Client(ann)) == FAILED
        users(server).remove("ann")
    finally:
        directory.stop()
    assert outcome(server, Client(ann)) == (454, b"4.7.0 Temporary authentication failure")
    told(
        server,
        'no enabled login "nobody": add it with `bridgehead user add`, or to the directory: no entry has this name',
    )


# --- the ticket ---------------------------------------------------------------------------------------------------


def test_a_ticket_for_another_service_is_refused(server: Server, ann: Path) -> None:
    reasons = {
        f"HTTP/mx.contoso.test@{REALM}": "the ticket is for HTTP/mx.contoso.test@CONTOSO.TEST, which is none of",
        f"smtp/other.contoso.test@{REALM}": "not found in keytab (ticket kvno 2): the client asked for another service",
    }
    for service in reasons:
        assert outcome(server, Client(ann, service)) == FAILED
    told(server, *reasons.values())


def test_a_clock_that_differs_is_told(server: Server, kdc: Kdc) -> None:
    cache = kdc.log_in("ann")
    Client(cache).first()  # gets the ticket while the clocks agree
    set_clock_ahead(cache, 1800)
    assert outcome(server, Client(cache)) == FAILED
    why = " ".join(server.command("why", "127.0.0.1").stdout.decode().split())
    assert "fails: Clock skew too great: let client and server take their time from the same source" in why
    assert "the reason says what to change" in why
    assert "passwd" not in why
    told(server, "Clock skew too great: let client and server take their time from the same source")


def test_a_new_key_serves_at_once_and_an_old_ticket_is_told(server: Server, kdc: Kdc, tmp_path: Path) -> None:
    keytab, service = tmp_path / "new.keytab", f"smtp/new.contoso.test@{REALM}"
    kdc.service(service, keytab)
    server.settings["kerberos"] |= {"keytab_file": str(keytab), "service_principals": [service]}
    server.configure(server.settings)
    server.reload()
    old = kdc.log_in("ann")
    assert outcome(server, Client(old, service)) == SUCCESS
    keytab.unlink()
    kdc.service(service, keytab)
    assert outcome(server, Client(kdc.log_in("ann"), service)) == SUCCESS
    assert outcome(server, Client(old, service)) == FAILED
    assert "put the new one into the keytab, or let the client log in anew" in server.stderr()
    keytab.unlink()
    assert outcome(server, Client(kdc.log_in("ann"), service)) == (454, b"4.7.0 Temporary authentication failure")
    assert "correct kerberos.keytab_file" in server.stderr()


def test_a_token_taken_twice_is_refused(server: Server, ann: Path) -> None:
    for mutual in (False, True):
        once = Client(ann, mutual=mutual)
        token = once.first()
        with session(server, "allow") as client:
            assert once.log_in(client, token) == SUCCESS
        with session(server, "allow", ssl.TLSVersion.TLSv1_2) as client:  # where it is looked at before it is taken
            assert client.docmd("AUTH", f"GSSAPI {encoded(token)}") == FAILED
    told(server, "Request is a replay")


# --- channel binding ----------------------------------------------------------------------------------------------


def test_a_logon_bound_to_our_certificate(server: Server, ann: Path, pair: Pair) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for connector in ("allow", "require"):
            for spnego in (False, True):
                with session(server, connector, version) as client:
                    assert Client(ann, binding=end_point(pair), spnego=spnego).log_in(client) == SUCCESS
                with session(server, connector, version) as client:
                    other = Client(ann, binding=b"tls-server-end-point:another", spnego=spnego)
                    assert other.log_in(client) == FAILED
    told(server, "the client's channel binding is to another TLS connection")


def test_a_logon_bound_to_the_handshake_of_tls_1_2(server: Server, ann: Path) -> None:
    seen = b""
    for expected in (SUCCESS, FAILED):
        with session(server, "require", ssl.TLSVersion.TLSv1_2) as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            seen = seen or client.sock.get_channel_binding("tls-unique") or b""
            assert Client(ann, binding=b"tls-unique:" + seen).log_in(client) == expected


def test_a_logon_without_binding_is_refused_where_one_is_required(server: Server, ann: Path, pair: Pair) -> None:
    assert outcome(server, Client(ann), connector="none") == SUCCESS
    assert outcome(server, Client(ann, binding=b"tls-server-end-point:another"), connector="none") == SUCCESS
    assert outcome(server, Client(ann), connector="allow") == SUCCESS
    assert outcome(server, Client(ann), connector="require") == FAILED
    assert outcome(server, Client(ann, spnego=True), connector="require") == FAILED
    with server.smtp("allow") as client:
        client.ehlo()
        assert client.esmtp_features["auth"].split() == ["GSSAPI"]
        assert Client(ann).log_in(client) == SUCCESS
    with server.smtp("require") as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH", "GSSAPI")[0] == 538
    told(server, "as extended_protection_policy requires")


class ManInTheMiddle:
    """Ends TLS with a certificate of its own and passes on what comes to a server, over TLS again."""

    def __init__(self, target: int, own: Pair) -> None:
        self._target, self._own = target, own
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._own.certificate, self._own.key)
        try:
            client = context.wrap_socket(self._listener.accept()[0], server_side=True)
            server = trusting_nobody().wrap_socket(socket.create_connection(("127.0.0.1", self._target)))
        except OSError:
            return
        self._sockets += [client, server]
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass

    def close(self) -> None:
        for one in self._sockets:
            one.close()


def test_somebody_in_between_gets_no_logon_passed_on(server: Server, ann: Path, authority: Authority) -> None:
    for name, unbound in (("implicit", FAILED), ("implicit-allow", SUCCESS)):
        for bound, expected in ((True, FAILED), (False, unbound)):
            between = ManInTheMiddle(server.port(name), authority.issue("mx.contoso.test"))
            assert implicit(between.port, ann, bound) == expected
            between.close()
        assert implicit(server.port(name), ann, True) == SUCCESS
    told(server, "somebody is in between")


def implicit(port: int, cache: Path, bound: bool) -> tuple[int, bytes]:
    """A logon over implicit TLS, bound to the certificate that the client is shown."""
    with smtplib.SMTP_SSL("127.0.0.1", port, context=trusting_nobody(), timeout=30) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        shown = client.sock.getpeercert(binary_form=True) or b""
        client.ehlo()
        binding = b"tls-server-end-point:" + hashlib.sha256(shown).digest()
        return Client(cache, binding=binding if bound else b"").log_in(client)


# --- what is no logon ---------------------------------------------------------------------------------------------


def test_a_security_layer_of_sasl_is_refused(server: Server, ann: Path) -> None:
    for layer in (2, 4, 0, 3):
        assert outcome(server, Client(ann, layer=layer)) == FAILED
    told(server, "the client wants a security layer of SASL, which is not offered here: let it use TLS")


NTLM = bytes.fromhex("060a2b06010401823702020a")
RAW = b"NTLMSSP\0\1\0\0\0" + b"\x07\x82\x08\xa2" + bytes(24)


def der(tag: int, *content: bytes) -> bytes:
    joined = b"".join(content)
    return bytes((tag, 0x82)) + len(joined).to_bytes(2, "big") + joined


def negotiation(*mechanisms: bytes, token: bytes = RAW) -> bytes:
    """A first token of SPNEGO (RFC 4178 §4.2.1)."""
    first = der(0xA2, der(0x04, token)) if token else b""
    return der(0x60, bytes.fromhex("06062b0601050502"), der(0xA0, der(0x30, der(0xA0, der(0x30, *mechanisms)), first)))


def test_ntlm_is_refused_in_so_many_words(server: Server) -> None:
    for offered in (RAW, negotiation(NTLM)):
        with session(server, "allow") as client:
            assert client.docmd("AUTH", f"GSSAPI {encoded(offered)}") == FAILED
    with session(server, "allow") as client:
        assert client.docmd("AUTH", f"NTLM {encoded(RAW)}")[0] == 504
    assert server.stderr().count("the client offers NTLM, which is not taken") == 2


def test_d16_ntlm_is_not_negotiated_where_the_system_has_it(server: Server, ann: Path) -> None:
    """With gss-ntlmssp installed, SPNEGO's acceptor would try it with the keys of a keytab, which ends the process."""
    assert gssapi.OID.from_int_seq("1.3.6.1.4.1.311.2.2.10") in gssapi.raw.indicate_mechs(), "gss-ntlmssp is installed"
    others = [bytes((0x06, 3, 0x2A, 3, number)) for number in range(40)]
    for offered in (
        negotiation(NTLM, *others), negotiation(*others, NTLM), negotiation(NTLM, token=b""), negotiation(NTLM, *others, token=b""),
        negotiation(NTLM, *others, token=RAW * 20),
    ):  # fmt: skip
        with session(server, "allow") as client:
            assert client.docmd("AUTH", f"GSSAPI {encoded(offered)}") == FAILED
    assert outcome(server, Client(ann)) == SUCCESS
    told(server, "the client offers neither Kerberos nor SPNEGO with it")


def test_garbage_and_too_much_of_it_is_a_failed_logon_and_no_more(server: Server, ann: Path) -> None:
    good = Client(ann).first()
    with session(server, "allow") as client:
        for token in (b"x", b"\x60\x00", bytes(9200), good[:-1], good[: len(good) // 2], good + b"x", good[20:]):
            assert client.docmd("AUTH", f"GSSAPI {encoded(token)}") == FAILED, token
        assert client.docmd("AUTH", "GSSAPI =") == FAILED
        assert client.docmd("AUTH", "GSSAPI !!!!")[0] == 501
        client.docmd("AUTH", "GSSAPI")
        assert client.docmd("A" * 13000)[0] == 500
    with session(server, "allow") as client:
        assert client.docmd("AUTH", "GSSAPI " + "A" * 13000)[0] == 500
    assert outcome(server, Client(ann)) == SUCCESS
