# SPDX-License-Identifier: MIT
"""Conversations that scripts cannot tell: implicit TLS, PROXY protocol, octets in the wrong place, many chunks."""

import socket
import ssl
from typing import Any

import pytest

from support.server import Server
from support.talk import Closed, Talk

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def test_implicit_tls(conversation_server: Server, unique_name: Any) -> None:
    unique = unique_name("implicit")
    with Talk(conversation_server.port("implicit"), tls=True) as talk:
        assert not talk.hello().has("STARTTLS")
        content = f"Message-ID: <{unique}@client.test>\r\n\r\n".encode()
        talk.message("sender@fabrikam.test", "bob@contoso.test", content)
    conversation_server.wait_for_event("RECEIVE", message_id=f"<{unique}@client.test>")


def test_implicit_tls_takes_nothing_in_clear(conversation_server: Server) -> None:
    with socket.create_connection(("127.0.0.1", conversation_server.port("implicit")), 10) as plain:
        plain.sendall(b"EHLO client.test\r\n")
        try:
            assert not plain.recv(100).startswith(b"2")
        except ConnectionResetError:
            pass


@pytest.mark.parametrize("pieces", [1, 2])
def test_starttls_injection_in_one_or_two_segments(pieces: int, conversation_server: Server) -> None:
    """A command in clear, sent with STARTTLS or right behind it, never takes effect inside TLS (CVE-2011-0411)."""
    with Talk(conversation_server.port("anonymous")) as talk:
        talk.hello()
        if pieces == 1:
            talk.send(b"STARTTLS\r\nEHLO injected.test\r\n")
        else:
            talk.send(b"STARTTLS\r\n")
            talk.send(b"EHLO injected.test\r\n")
        reply = talk.read()
        if reply.code == "220":
            # the octets came after the engine had answered: they spoil the handshake
            with pytest.raises(OSError):
                talk.start_tls()
        else:
            assert reply.code == "503"
            assert talk.closed()


def test_half_a_handshake_then_clear_text(conversation_server: Server) -> None:
    with Talk(conversation_server.port("anonymous")) as talk:
        talk.hello()
        talk.expect("STARTTLS", "220 *")
        talk.send(b"MAIL FROM:<sender@fabrikam.test>\r\n")
        answer = b""
        try:
            answer = talk.socket.recv(1000)
        except ConnectionResetError:
            pass
        assert b"250" not in answer


def test_proxy_protocol_v1_gives_the_clients_address(conversation_server: Server, unique_name: Any) -> None:
    unique = unique_name("proxy")
    port = conversation_server.port("proxied")
    with Talk(port, preamble=b"PROXY TCP4 192.0.2.17 192.0.2.1 4711 25\r\n") as talk:
        assert talk.hello().has("*[192.0.2.17]*")
        content = f"Message-ID: <{unique}@client.test>\r\n\r\n".encode()
        talk.message("sender@fabrikam.test", "bob@contoso.test", content)
    line = conversation_server.wait_for_event("RECEIVE", message_id=f"<{unique}@client.test>")
    assert line["client-ip"] == "192.0.2.17"


def test_proxy_protocol_v2(conversation_server: Server) -> None:
    addresses = socket.inet_aton("192.0.2.18") + socket.inet_aton("192.0.2.1") + (4711).to_bytes(2) + (25).to_bytes(2)
    header = V2 + b"\x21\x11" + len(addresses).to_bytes(2) + addresses
    with Talk(conversation_server.port("proxied"), preamble=header) as talk:
        assert talk.hello().has("*[192.0.2.18]*")


def test_a_listed_proxy_must_send_its_header(conversation_server: Server) -> None:
    with pytest.raises(Closed), Talk(conversation_server.port("proxied"), preamble=b"EHLO client.test\r\n"):
        pass


def test_nobody_else_may_send_a_proxy_header(conversation_server: Server) -> None:
    with Talk(conversation_server.port("small")) as talk:
        reply = talk.ask("PROXY TCP4 192.0.2.17 192.0.2.1 4711 25")
        assert reply.code == "500"
        assert talk.hello().has("*[127.0.0.1]*")


def test_talking_before_the_greeting_does_not_help(conversation_server: Server) -> None:
    """Early talkers are refused or ignored, never accepted out of turn."""
    preamble = b"EHLO client.test\r\nMAIL FROM:<a@fabrikam.test>\r\nRCPT TO:<nobody@adatum.test>\r\nDATA\r\n"
    with Talk(conversation_server.port("anonymous"), preamble=preamble) as talk:
        codes = [talk.greeting.code]
        try:
            while True:
                codes.append(talk.read().code)
                if len(codes) > 4:
                    break
        except (Closed, TimeoutError):
            pass
    assert "354" not in codes


def test_who_says_no_more_hears_of_the_message(conversation_server: Server) -> None:
    with Talk(conversation_server.port("anonymous")) as talk:
        talk.hello()
        content = b"Subject: half-closed\r\n\r\n"
        mail = b"MAIL FROM:<sender@fabrikam.test>\r\nRCPT TO:<bob@contoso.test>\r\nBDAT %d LAST\r\n" % len(content)
        talk.send(mail + content)
        talk.socket.shutdown(socket.SHUT_WR)
        assert [talk.read().code for _ in range(3)] == ["250", "250", "250"]
        assert talk.closed()


def test_thousands_of_tiny_chunks_are_bounded(conversation_server: Server) -> None:
    """Tiny chunks used up a peer's memory once: their number has an end, and the session goes with it."""
    with Talk(conversation_server.port("anonymous")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<sender@fabrikam.test>", "250 *")
        talk.expect("RCPT TO:<bob@contoso.test>", "250 *")
        codes: list[str] = []
        try:
            for _ in range(120):
                talk.send(b"BDAT 1\r\nx" * 100)
                codes += [talk.read().code for _ in range(100)]
        except Closed:
            pass
        # the refusal itself may be lost: the connection is reset with chunks unread
        assert 9_900 <= codes.count("250") <= 10_000


def test_many_idle_commands_end_the_session(conversation_server: Server) -> None:
    with Talk(conversation_server.port("anonymous")) as talk:
        talk.hello()
        codes: list[str] = []
        try:
            for _ in range(20):
                talk.send(b"NOOP\r\n" * 100)
                codes += [talk.read().code for _ in range(100)]
        except Closed:
            pass
        assert codes[-1] == "421"
        assert len(codes) <= 1002


def test_tls_client_that_checks_names_is_told_the_certificate(conversation_server: Server) -> None:
    """The self-signed certificate made at first start carries the server's name."""
    with Talk(conversation_server.port("anonymous")) as talk:
        talk.hello()
        talk.expect("STARTTLS", "220 *")
        talk.start_tls()
        assert isinstance(talk.socket, ssl.SSLSocket)
        pem = ssl.DER_cert_to_PEM_cert(talk.socket.getpeercert(binary_form=True) or b"")
    context = ssl.create_default_context(cadata=pem)
    with socket.create_connection(("127.0.0.1", conversation_server.port("implicit")), 10) as raw:
        context.wrap_socket(raw, server_hostname="mx.contoso.test").close()
