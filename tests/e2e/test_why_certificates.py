# SPDX-License-Identifier: MIT
"""Symptoms of certificates that Exchange's administrators know, each produced on a real server: what it says of its own
certificates before it uses them, and what it does where Exchange fails."""

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from support.certificates import trusting_nobody
from support.configuration import ANONYMOUS, receive_connector, send_connector, to_toml
from support.odd_certificates import Made, make, serving, write
from support.ports import free_port
from support.server import Server
from support.sink import Sink

MakeServer = Callable[..., Server]
NAME = "mx.contoso.test"


def problems(server: Server, **changes: object) -> str:
    """What `bridgehead check` says of the configuration with changes."""
    server.config.write_text(to_toml({**server.settings, **changes}))
    done = server.command("check")
    assert done.returncode == 1
    return done.stdout.decode()


def shown(server: Server, connector: str) -> x509.Certificate:
    """The certificate that a connector shows after STARTTLS."""
    with server.smtp(connector) as client:
        client.starttls(context=trusting_nobody())
        assert isinstance(client.sock, ssl.SSLSocket)
        der = client.sock.getpeercert(binary_form=True)
    assert der
    return x509.load_der_x509_certificate(der)


def test_a_key_that_is_gone_or_another_is_named_before_it_is_used(make_server: MakeServer, tmp_path: Path) -> None:
    root = make("Root", authority=True)
    pair, other = write(tmp_path, "ours", make(NAME, root)), write(tmp_path, "other", make("other.test"))
    pinned = receive_connector(
        "anonymous", free_port(), **ANONYMOUS, tls_certificate_file=str(pair), tls_key_file=str(pair)
    )
    server = make_server(receive_connectors=[pinned]).start()
    before = shown(server, "anonymous")
    gone = str(tmp_path / "gone.key")
    said = problems(server, send_connectors=[
        send_connector("A", 25, spaces=("a.test",), tls_certificate_file=str(pair), tls_key_file=str(other)),
        send_connector("B", 25, spaces=("b.test",), tls_certificate_file=str(pair), tls_key_file=gone),
    ])  # fmt: skip
    assert f"send_connectors[0].tls_key_file: {other} is not the key of {pair}" in said
    assert f"send_connectors[1].tls_key_file: {gone} cannot be read" in said
    assert f"{server.config}:" in said, "with file and line"
    assert server.command("reload").returncode == 1
    assert shown(server, "anonymous") == before, "the server goes on with what it has"


def test_a_pin_on_the_former_issuer_names_the_successor(make_server: MakeServer, tmp_path: Path) -> None:
    """Renewed, and issued by R11; the connector still names the one that R3 issued."""
    renewed = write(tmp_path, "renewed", make(NAME, make("R11", authority=True)))
    server = make_server()
    pin = f"<I>CN=R3<S>CN={NAME}"
    said = problems(
        server,
        certificates=[{"certificate_file": str(renewed), "key_file": str(renewed)}],
        receive_connectors=[receive_connector("anonymous", free_port(), **ANONYMOUS, tls_certificate_name=pin)],
        send_connectors=[send_connector("Out", 25, tls_certificate_name=pin)],
    )
    assert said.count(f'no certificate fits tls_certificate_name = "{pin}"; its successor is issued by CN=R11') == 2


def test_issuer_and_subject_of_more_than_256_characters_pin_as_well(make_server: MakeServer, tmp_path: Path) -> None:
    root = make("R11", authority=True)
    subject = x509.Name(
        [x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, f"{number}" * 60) for number in range(4)]
        + [x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)]
    )
    plain, long = make(NAME, root), _with_subject(make(NAME, root), subject, root)
    pin = f"<I>{long.certificate.issuer.rfc4514_string()}<S>{long.certificate.subject.rfc4514_string()}"
    assert len(pin) > 256
    files = [write(tmp_path, name, one) for name, one in (("plain", plain), ("long", long))]
    server = make_server(
        certificates=[{"certificate_file": str(file), "key_file": str(file)} for file in files],
        receive_connectors=[receive_connector("pinned", free_port(), **ANONYMOUS, tls_certificate_name=pin)],
    ).start()
    assert shown(server, "pinned") == long.certificate


def _with_subject(made: Made, subject: x509.Name, issuer: Made) -> Made:
    one = made.certificate
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(one.issuer).public_key(one.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(one.not_valid_before_utc)
        .not_valid_after(one.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
    )  # fmt: skip
    return Made(builder.sign(issuer.key, hashes.SHA256()), made.key)


def test_nobody_is_asked_about_revocation(make_server: MakeServer, tmp_path: Path) -> None:
    """A certificate that names a revocation list and an OCSP server which take the connection and never answer."""
    asked: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def take() -> None:
            try:
                while True:
                    asked.append(silent.accept()[0])
            except OSError:
                return  # the end of the test

        threading.Thread(target=take, daemon=True).start()
        address = x509.UniformResourceIdentifier(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        root = make("Root", authority=True)
        made = _naming(make("127.0.0.1", root), address, root)
        context = serving(write(tmp_path, "far", made))
        checked = {
            "require_tls": True, "tls_auth_level": "CertificateValidation",
            "tls_ca_file": str(write(tmp_path, "root", root)),
        }  # fmt: skip
        with Sink(context=context) as sink:
            server = make_server(send_connectors=[send_connector("Out", sink.port, **checked)]).start()
            server.send("a@contoso.test", "x@far.test", connector="secured")
            sink.wait(1)
        silent.shutdown(socket.SHUT_RDWR)
    assert server.wait_for_event("SEND")
    assert not asked


def _naming(made: Made, address: x509.UniformResourceIdentifier, issuer: Made) -> Made:
    """The certificate, with where to ask whether it was revoked (RFC 5280 §4.2.1.13, §4.2.2.1)."""
    one = made.certificate
    access = x509.AccessDescription(x509.AuthorityInformationAccessOID.OCSP, address)
    builder = (
        x509.CertificateBuilder().subject_name(one.subject).issuer_name(one.issuer).public_key(one.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(one.not_valid_before_utc)
        .not_valid_after(one.not_valid_after_utc)
        .add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        .add_extension(x509.CRLDistributionPoints([x509.DistributionPoint([address], None, None, None)]), critical=False)
    )  # fmt: skip
    return Made(builder.sign(issuer.key, hashes.SHA256()), made.key)
