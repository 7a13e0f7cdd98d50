# SPDX-License-Identifier: MIT
"""Domain Security and capabilities by certificate, over real TLS at a running server."""

import smtplib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from support.certificates import Authority, Pair
from support.configuration import receive_connector
from support.ports import free_port, wait_until
from support.server import Server, TrackingLine

MESSAGE = b"From: carol@woodgrove.test\r\nTo: anna@contoso.test\r\nSubject: hello\r\n\r\nhello\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def server(make_server: Callable[..., Server], authority: Authority) -> Server:
    own = authority.issue("mx.contoso.test")
    server = make_server(
        tls={"tls_receive_domain_secure_list": ["woodgrove.test"]},
        certificates=[{"certificate_file": str(own.certificate), "key_file": str(own.key)}],
    )
    server.settings["receive_connectors"] += [
        receive_connector(
            "partners", free_port(), auth_mechanism=["Tls"], permission_groups=["AnonymousUsers", "Partners"],
            domain_secure_enabled=True, tls_ca_file=str(authority.root), fqdn="mx.contoso.test",
            tls_domain_capabilities=["cloud.test:AcceptCloudServicesMail"], reject_unknown_recipients=False,
        )
    ]  # fmt: skip
    server.configure(server.settings)
    return server.start()


def received(server: Server, count: int) -> list[TrackingLine]:
    """The RECEIVE lines, once there are so many."""

    def lines() -> list[TrackingLine]:
        return [line for line in server.tracking() if line["event-id"] == "RECEIVE"]

    wait_until(lambda: len(lines()) >= count, 10, lambda: f"{count} messages are tracked")
    return lines()


def session(server: Server, authority: Authority, own: Pair | None, *, tls: bool = True) -> smtplib.SMTP:
    client = server.smtp("partners")
    client.ehlo()
    if tls:
        context = ssl.create_default_context(cafile=str(authority.root))
        context.check_hostname = False
        if own is not None:
            context.load_cert_chain(own.certificate, own.key)
        client.starttls(context=context)
        client.ehlo()
    return client


def test_mail_from_a_partners_domain_needs_the_partners_certificate(server: Server, authority: Authority) -> None:
    with session(server, authority, None, tls=False) as client:
        assert client.mail("carol@woodgrove.test")[0] == 530
        assert client.mail("eve@elsewhere.test")[0] == 250
    with session(server, authority, authority.issue("elsewhere.test")) as client:
        assert client.mail("carol@woodgrove.test") == (
            550, b"5.7.5 Mail from this domain needs the domain's own client certificate",
        )  # fmt: skip
    with session(server, authority, authority.issue("woodgrove.test")) as client:
        client.sendmail("carol@woodgrove.test", "anna@contoso.test", MESSAGE)
    (line,) = received(server, 1)
    assert "S:Principal=partner:woodgrove.test" in line["custom-data"]


def test_a_strangers_certificate_ends_the_handshake(server: Server, authority: Authority, tmp_path: Path) -> None:
    forged = Authority(tmp_path / "forger").issue("woodgrove.test")
    with (
        pytest.raises((ssl.SSLError, smtplib.SMTPServerDisconnected, ConnectionResetError)),
        session(server, authority, forged) as client,
    ):
        client.mail("carol@woodgrove.test")


def test_a_capability_makes_mail_count_as_from_inside(server: Server, authority: Authority) -> None:
    organization = b"X-MS-Exchange-Organization-AuthAs: Internal\r\n" + MESSAGE
    for name in ("cloud.test", "elsewhere.test"):
        with session(server, authority, authority.issue(name)) as client:
            client.sendmail("carol@elsewhere.test", "anna@contoso.test", organization)
    assert [line["directionality"] for line in received(server, 2)] == ["Originating", "Incoming"]
