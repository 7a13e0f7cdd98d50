# SPDX-License-Identifier: MIT
"""Mistakes of TLS policy (D12) that servers and connectors make: tickets of another service, versions, credentials."""

import socket
import ssl

from support.certificates import trusting_nobody
from support.server import Server
from support.talk import Talk


def resumed(server: Server, first: str, second: str) -> bool:
    """Whether a session of one connector is taken up again at another."""
    context = trusting_nobody()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # its session is there with the handshake
    session = None
    for name in (first, second):
        with Talk(server.port(name)) as talk:
            talk.hello()
            talk.expect("STARTTLS", "220 *")
            talk.socket = context.wrap_socket(talk.socket, server_hostname="mx.contoso.test", session=session)
            talk.hello()
            session, reused = talk.socket.session, bool(talk.socket.session_reused)
    return reused


def test_d12_a_session_is_taken_up_again_by_its_own_connector_only(incident_server: Server) -> None:
    assert resumed(incident_server, "internet", "internet")
    for other in ("client", "tls-only", "cloud"):
        assert not resumed(incident_server, "internet", other), other


def test_d12_old_versions_are_refused_in_the_handshake(incident_server: Server) -> None:
    # a ClientHello of TLS 1.0 to 1.1 as it was: no later version is offered in an extension
    for version in (b"\x03\x00", b"\x03\x01", b"\x03\x02"):
        body = version + bytes(32) + b"\0" + b"\0\x04\xc0\x13\0\x2f" + b"\x01\0"
        hello = b"\x01" + len(body).to_bytes(3) + body
        record = b"\x16\x03\x01" + len(hello).to_bytes(2) + hello
        with Talk(incident_server.port("internet")) as talk:
            talk.hello()
            talk.expect("STARTTLS", "220 *")
            talk.send(record)
            received = b""
            try:
                while data := talk.socket.recv(4096):
                    received += data
            except ConnectionResetError:
                pass
            assert received[:1] in (b"", b"\x15"), received


def test_d12_implicit_tls_and_starttls_share_no_session(incident_server: Server) -> None:
    context = trusting_nobody()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Talk(incident_server.port("internet")) as talk:
        talk.hello()
        talk.expect("STARTTLS", "220 *")
        talk.socket = context.wrap_socket(talk.socket, server_hostname="mx.contoso.test")
        session = talk.socket.session
    raw = socket.create_connection(("127.0.0.1", incident_server.port("implicit")), 15)
    with context.wrap_socket(raw, server_hostname="mx.contoso.test", session=session) as secured:
        assert not secured.session_reused
