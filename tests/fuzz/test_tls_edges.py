# SPDX-License-Identifier: MIT
"""Any octets before and after STARTTLS, at AUTH and in PROXY headers, to the sessions themselves; and what is no
ClientHello, to a running listener: an event, a reply, a closed connection. Never another exception, and no traceback."""

import contextlib
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridgehead.mail.limits import AUTH_LINE_BYTES, COMMAND_LINE_BYTES, PROXY_HEADER_BYTES
from bridgehead.mail.reply import Reply
from bridgehead.net.proxy_protocol import ProxyProtocolError, ProxyProtocolParser
from bridgehead.smtp import replies
from bridgehead.smtp.errors import LocalProtocolError
from bridgehead.smtp.events import Auth, AuthResponse, Event, Hello, StartTls, Violation
from bridgehead.smtp.extensions import Features
from bridgehead.smtp.server import ServerConnection
from bridgehead.smtp.states import State
from support.configuration import ANONYMOUS, CLIENT, base, receive_connector
from support.ports import free_port
from support.server import Server

FEATURES = Features(
    starttls=True, auth_mechanisms=("PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL")
)
PIECES = st.sampled_from([
    b"EHLO a.test\r\n", b"STARTTLS\r\n", b"starttls \r\n", b"STARTTLS x\r\n", b"AUTH PLAIN\r\n", b"AUTH PLAIN =\r\n",
    b"AUTH LOGIN dXNlcg==\r\n", b"AUTH SCRAM-SHA-256 biwsbj11LHI9YQ==\r\n", b"AUTH EXTERNAL =\r\n", b"AUTH \r\n",
    b"AUTH OAUTHBEARER bixhPXUsAWF1dGg9QmVhcmVyIHgBAQ==\r\n", b"*\r\n", b"=\r\n", b"AA==\r\n", b"A\r\n", b"====\r\n",
    b"A" * 13000, b"\x16\x03\x01\x02\x00\x01\x00", b"\x15\x03\x03\x00\x02\x01\x5a", b"QUIT\r\n", b"\r\n", b"\n", b"\r", b"\0",
])  # fmt: skip
STREAMS = st.lists(PIECES | st.binary(max_size=30), max_size=30).map(b"".join)
CUTS = st.lists(st.integers(0, 20_000), max_size=10)


def edges(stream: bytes, cuts: list[int]) -> list[int]:
    return sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})


def answer(engine: ServerConnection, event: Event, verdict: int) -> None:
    if isinstance(event, Violation):
        engine.reply(event.reply)
    elif isinstance(event, Hello):
        engine.hello(Reply(250, "", "host"), event.extended)
    elif isinstance(event, StartTls):
        engine.reply(replies.READY_FOR_TLS if verdict else replies.TLS_NOT_OFFERED)
    elif isinstance(event, Auth | AuthResponse):
        engine.reply(
            (Reply(334, "", ""), Reply(235, "2.7.0", "welcome"), replies.AUTH_FAILED, Reply(334, "", "eA=="))[verdict]
        )
    else:
        engine.reply(Reply(250, "2.0.0", "OK"))


@settings(max_examples=400, deadline=None)
@given(STREAMS, CUTS, st.lists(st.integers(0, 3), min_size=1, max_size=8), st.booleans())
def test_d2_d16_any_octets_around_starttls_and_auth(
    stream: bytes, cuts: list[int], verdicts: list[int], handshake: bool
) -> None:
    engine = ServerConnection(FEATURES)
    engine.greet(Reply(220, "", "hi"))
    asked = 0
    whole = b"EHLO a.test\r\n" + stream
    for start, end in pairwise(edges(whole, cuts)):
        engine.receive_data(whole[start:end])
        while (event := engine.next_event()) is not None:
            answer(engine, event, verdicts[asked % len(verdicts)])
            asked += 1
        engine.data_to_send()
        if engine.state is State.HANDSHAKE and handshake:
            if engine.pending_bytes:
                with pytest.raises(LocalProtocolError):
                    engine.tls_established(FEATURES)
                return
            engine.tls_established(FEATURES)
            assert engine.state is State.CONNECTED
        if engine.state is not State.CLOSED and engine.waiting is None:
            # what waits for more is less than a line
            assert engine.pending_bytes <= max(AUTH_LINE_BYTES, COMMAND_LINE_BYTES) + 2


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([b"", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 ", b"PROXY UNKNOWN ", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
                     b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x04"]),
    st.binary(max_size=6000), CUTS,
)  # fmt: skip
def test_d6_proxy_headers_are_bounded_however_they_come(start: bytes, data: bytes, cuts: list[int]) -> None:
    parser = ProxyProtocolParser()
    stream, taken = start + data, 0
    for begin, end in pairwise(edges(stream, cuts)):
        try:
            header = parser.feed(stream[begin:end])
        except ProxyProtocolError:
            return
        taken = end
        if header is not None:
            assert len(header.rest) <= taken
            return
    assert taken <= PROXY_HEADER_BYTES + 16, "a header without end is waited for"


# --- a running listener ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fuzzed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("fuzzed")
    limits = {"max_protocol_errors": "unlimited"}
    config = base(directory) | {
        "receive_connectors": [
            receive_connector("plain", free_port(), **ANONYMOUS, **limits),
            receive_connector("implicit", free_port(), **CLIENT, implicit_tls=True, **limits),
            receive_connector("proxied", free_port(), **ANONYMOUS, **limits, proxy_protocol_sources=["127.0.0.1"]),
        ]
    }
    with Server(directory, config) as server:
        yield server
        before = resident_kib(server)
        assert before < 250_000
    assert "Traceback" not in server.stderr(), server.stderr()[-4000:]
    assert "ERROR" not in "".join(line for line in server.stderr().splitlines() if "trace index" not in line)


def resident_kib(server: Server) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


HELLO = bytes.fromhex("1603010200010001fc0303")
RECORDS = st.one_of(
    st.binary(max_size=600),
    st.binary(max_size=600).map(lambda data: HELLO + data),
    st.tuples(st.sampled_from([20, 21, 22, 23, 24, 128]), st.binary(max_size=400)).map(
        lambda both: bytes([both[0], 3, 1]) + len(both[1]).to_bytes(2) + both[1]
    ),
    st.integers(1, 400).map(lambda count: b"\x15\x03\x03\x00\x02\x01\x5a" * count),
    STREAMS,
)


def throw(port: int, data: bytes) -> bytes:
    """Send octets and half-close; all that comes back."""
    received = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            received += piece
    return received


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS)
def test_d2_what_is_no_client_hello_ends_the_connection(fuzzed_server: Server, data: bytes) -> None:
    assert not throw(fuzzed_server.port("implicit"), data).startswith(b"2")
    throw(fuzzed_server.port("plain"), b"EHLO a.test\r\nSTARTTLS\r\n" + data)
    throw(fuzzed_server.port("plain"), b"STARTTLS\r\n" + data)
    throw(fuzzed_server.port("proxied"), data)


def test_d2_the_fuzzed_server_still_serves(fuzzed_server: Server) -> None:
    with fuzzed_server.smtp("plain") as client:
        client.ehlo()
        assert client.mail("a@fabrikam.test")[0] == 250
