# SPDX-License-Identifier: MIT
"""STARTTLS injection against the server (CVE-2011-0411, CVE-2024-34083, "NO STARTTLS"): what stood in clear never
counts inside TLS, and a handshake that goes wrong ends the session.

The cases of the published command-injection tester are among them: the injected command in the segment of STARTTLS,
in a later one, before the ClientHello, within it, and instead of what should follow it.
"""

import socket
import ssl
from itertools import pairwise

import pytest

from bridgehead.mail.reply import Reply
from bridgehead.smtp import replies
from bridgehead.smtp.events import Event, Hello, Mail, Rcpt, StartTls, Violation
from bridgehead.smtp.extensions import Features
from bridgehead.smtp.server import ServerConnection
from bridgehead.smtp.states import State
from support.certificates import trusting_nobody
from support.hostile import ALERT_WARNING
from support.ports import greets, wait_until
from support.server import Server
from support.talk import Closed, Talk

INJECTED = b"EHLO injected.test\r\nMAIL FROM:<injected@fabrikam.test>\r\nRCPT TO:<bob@contoso.test>\r\n"


def client_hello(padding: int = 0) -> bytes:
    """A real ClientHello, made larger by so many names of protocols."""
    context = trusting_nobody()
    if padding:
        context.set_alpn_protocols([f"{number:0200d}" for number in range(padding)])
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="mx.contoso.test")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def until_closed(talk: Talk) -> bytes:
    """Everything that comes until the server closes."""
    received = b""
    while data := talk.receive():
        received += data
    return received


def at_starttls(server: Server, connector: str = "internet") -> Talk:
    """A session whose STARTTLS was answered with 220."""
    talk = Talk(server.port(connector))
    try:
        talk.hello()
        talk.expect("STARTTLS", "220 *")
    except BaseException:
        talk.socket.close()
        raise
    return talk


# --- the engine, at every cut ------------------------------------------------------------------------------------------


def converse(segments: list[bytes]) -> tuple[list[Event], State, bytes]:
    """Feed an engine that accepts everything; the events, the last state, the replies."""
    engine = ServerConnection(Features(starttls=True))
    engine.greet(Reply(220, "", "hi"))
    events: list[Event] = []
    for segment in segments:
        engine.receive_data(segment)
        while (event := engine.next_event()) is not None:
            events.append(event)
            if isinstance(event, Hello):
                engine.hello(Reply(250, "", "host"), event.extended)
            elif isinstance(event, Violation):
                engine.reply(event.reply)
            else:
                engine.reply(replies.READY_FOR_TLS if isinstance(event, StartTls) else Reply(250, "2.0.0", "OK"))
    return events, engine.state, engine.data_to_send()


def test_d2_commands_behind_starttls_are_refused_at_whatever_octet_the_stream_is_cut() -> None:
    stream = b"STARTTLS\r\n" + INJECTED
    for cut in range(1, len(stream)):
        events, state, out = converse([b"EHLO client.test\r\n", stream[:cut], stream[cut:]])
        assert state is State.CLOSED
        assert not any(isinstance(event, Mail | Rcpt) for event in events), cut
        assert sum(isinstance(event, Hello) for event in events) == 1, cut
        assert out.count(b"250 2.0.0") == 0, cut
        assert out.endswith(replies.NOTHING_MAY_FOLLOW.to_wire(True)), cut


def test_d2_one_octet_in_clear_is_enough_to_refuse_the_handshake() -> None:
    for octet in (b"\0", b"\n", b" ", b"\x16"):
        _, state, _ = converse([b"EHLO client.test\r\n", b"STARTTLS\r\n", octet])
        assert state is State.CLOSED, octet


# --- the running server ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [*range(1, 16, 3), len(b"STARTTLS\r\n"), len(b"STARTTLS\r\nEHLO in"), 0])
def test_d2_injected_commands_never_take_effect_inside_tls(cut: int, incident_server: Server) -> None:
    stream = b"STARTTLS\r\n" + INJECTED
    with Talk(incident_server.port("internet")) as talk:
        talk.hello()
        for start, end in pairwise([0, cut, len(stream)] if cut else [0, len(stream)]):
            talk.send(stream[start:end])
        reply = talk.read()
        if reply.code == "220":  # the octets came after the answer: they spoil the handshake
            with pytest.raises(OSError):
                talk.start_tls()
        else:
            assert reply.code == "503"
            assert talk.closed()


def test_d2_commands_in_the_segment_of_the_client_hello_end_the_session(incident_server: Server) -> None:
    for segment in (b"RSET\r\n" + client_hello(), client_hello()[:40] + b"RSET\r\n" + client_hello()[40:]):
        with at_starttls(incident_server) as talk:
            talk.send(segment)
            assert b"250" not in until_closed(talk)


def test_d2_half_a_handshake_then_clear_text_ends_the_session(incident_server: Server) -> None:
    hello = client_hello()
    for length in (1, 5, 6, len(hello) // 2, len(hello) - 1):
        with at_starttls(incident_server) as talk:
            talk.send(hello[:length] + b"MAIL FROM:<injected@fabrikam.test>\r\n" * 50)
            assert b"250" not in until_closed(talk), length


def test_d2_clear_text_behind_a_whole_client_hello_ends_the_session(incident_server: Server) -> None:
    with at_starttls(incident_server) as talk:
        talk.send(client_hello())
        talk.send(INJECTED)
        assert b"250 2.1" not in until_closed(talk)


def test_d2_clear_text_inside_an_established_session_ends_it(incident_server: Server) -> None:
    with at_starttls(incident_server) as talk:
        raw = talk.socket.dup()
        talk.start_tls()
        talk.hello()
        raw.sendall(b"MAIL FROM:<injected@fabrikam.test>\r\n")
        try:
            answer = talk.socket.recv(1000)
        except (ssl.SSLError, ConnectionResetError):
            answer = b""
        assert b"250" not in answer
        raw.close()


def test_d2_nothing_learned_in_clear_counts_inside_tls(incident_server: Server) -> None:
    with Talk(incident_server.port("internet")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<sender@fabrikam.test>", "250 *")
        talk.expect("RCPT TO:<bob@contoso.test>", "250 *")
        talk.expect("STARTTLS", "503 *")
        talk.expect("RSET", "250 *")
        talk.expect("STARTTLS", "220 *")
        talk.start_tls()
        talk.expect("DATA", "503 *")
        talk.expect("MAIL FROM:<sender@fabrikam.test>", "503 *")
        talk.hello()
        talk.expect("RCPT TO:<bob@contoso.test>", "503 *")


def test_d2_a_storm_of_alerts_ends_the_handshake(incident_server: Server) -> None:
    with at_starttls(incident_server) as talk:
        talk.send(ALERT_WARNING * 20_000)
        assert b"250" not in until_closed(talk)
    with at_starttls(incident_server) as talk:
        raw = talk.socket.dup()
        talk.start_tls()
        talk.hello()
        try:
            raw.sendall(ALERT_WARNING * 20_000)  # in clear within TLS 1.3: no record of this session
            assert b"250" not in talk.socket.recv(1000)
        except (ssl.SSLError, OSError):
            pass
        raw.close()


def test_d2_a_handshake_that_drips_is_done_in_the_end_and_one_that_stops_is_given_up(incident_server: Server) -> None:
    hello = client_hello()
    with at_starttls(incident_server, "impatient") as talk:
        talk.send(hello[:10])
        assert until_closed(talk) == b""  # after the time that idle sessions have
    with at_starttls(incident_server) as talk:
        plain = talk.socket.dup()
        for octet in hello:
            plain.sendall(bytes([octet]))
        assert plain.recv(5)[:1] == b"\x16"
        plain.close()


def test_d12_a_client_hello_larger_than_a_packet_is_understood(incident_server: Server) -> None:
    """Keys against quantum computers made the first flight larger than boxes in between expected."""
    large = client_hello(60)
    assert len(large) > 10_000
    with at_starttls(incident_server) as talk:
        for start in range(0, len(large), 1200):
            talk.send(large[start : start + 1200])
        assert talk.socket.recv(5)[:3] == b"\x16\x03\x03"


def test_d2_clients_that_vanish_in_the_handshake_leave_no_session(incident_server: Server) -> None:
    """Each of them once kept its place among the connections of its source, for ever; the connector takes two."""

    def place() -> Talk | None:
        try:
            return at_starttls(incident_server, "few")
        except (Closed, AssertionError, OSError):
            return None

    def begun() -> Talk:
        talk = wait_until(place, what="a place for another connection")
        assert talk is not None
        return talk

    for length in (0, 1, 5, 100, 500) * 2:
        talk = begun()
        talk.send(client_hello()[:length])
        talk.socket.shutdown(socket.SHUT_RDWR)
        talk.socket.close()
    stalled = [begun(), begun()]
    for talk in stalled:
        talk.send(client_hello()[:100])
    for talk in stalled:
        assert until_closed(talk) == b""
        talk.socket.close()
    wait_until(lambda: greets(incident_server.port("few")), what="a place for another connection")


def test_d2_implicit_tls_takes_nothing_in_clear(incident_server: Server) -> None:
    for first in (
        INJECTED,
        b"\r\n" + client_hello(),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x80\x2e\x01\0\x02" + bytes(60),
        ALERT_WARNING * 100,
    ):
        with socket.create_connection(("127.0.0.1", incident_server.port("implicit")), 15) as plain:
            plain.sendall(first)
            received = b""
            try:
                while data := plain.recv(4096):
                    received += data
            except ConnectionResetError:
                pass
            assert not received.startswith(b"2"), first


def test_d2_no_password_is_taken_in_clear(incident_server: Server) -> None:
    with Talk(incident_server.port("client")) as talk:
        assert not talk.hello().has("AUTH *PLAIN*")
        talk.expect("AUTH PLAIN AGFsaWNlAGNvcnJlY3QgaG9yc2U=", "5?? *")
    with Talk(incident_server.port("tls-only")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<sender@fabrikam.test>", "530 *")
        with pytest.raises((Closed, AssertionError)):
            talk.expect("DATA", "354 *")
