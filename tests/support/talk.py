# SPDX-License-Identifier: MIT
"""A raw SMTP client for tests: sends any octets, reads replies strictly, and plays conversation scripts."""

import base64
import re
import socket
from types import TracebackType
from typing import Any

from scramp import ScramClient  # type: ignore[attr-defined,unused-ignore]

from support.certificates import trusting_nobody
from support.conversation import ReplyLines, Script, Step, fill, substitute, unescape

_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})([ -])([^\r\n]*)|([2-5][0-9]{2})")


class Closed(Exception):
    """The server closed the connection."""


class Talk:
    """A connection to 127.0.0.1; a context manager. The greeting is in `greeting`.

    Args:
        tls: TLS from the first octet.
        preamble: octets sent before anything else, such as a PROXY protocol header.
        source: our own address, another of 127.0.0.0/8 than usual.
    """

    def __init__(
        self, port: int, *, seconds: float = 15.0, tls: bool = False, preamble: bytes = b"", source: str = ""
    ) -> None:  # fmt: skip
        origin = (source, 0) if source else None
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), seconds, origin)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        try:
            if preamble:
                self.socket.sendall(preamble)
            if tls:
                self.start_tls()
            self.greeting = self.read()
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send octets as they are. A connection that the server has reset shows when replies are read."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def receive(self) -> bytes:
        """The octets that come next; none once the server has closed."""
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def _line(self) -> bytes:
        while b"\n" not in self._received:
            data = self.receive()
            if not data:
                raise Closed(f"left unread: {self._received!r}")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        assert line.endswith(b"\r"), f"a reply line does not end with CR LF: {line!r}"
        return line[:-1]

    def read(self) -> ReplyLines:
        """The next reply, all of its lines. Raises Closed; AssertionError when it breaks RFC 5321 §4.2."""
        lines: list[str] = []
        code = b""
        while True:
            raw = self._line()
            match = _REPLY_LINE.fullmatch(raw)
            assert match, f"no reply line: {raw!r}"
            here = match[1] or match[4]
            assert code in (b"", here), f"the code changes within a reply: {code!r}, {raw!r}"
            code = here
            lines.append((match[3] or b"").decode())
            if match[2] != b"-":
                return ReplyLines(code.decode(), tuple(lines))

    def ask(self, command: str) -> ReplyLines:
        """Send a command line, read its reply."""
        self.send(command.encode() + b"\r\n")
        return self.read()

    def expect(self, command: str, pattern: str) -> ReplyLines:
        """`ask`, and the reply must match."""
        reply = self.ask(command)
        assert reply.matches(pattern), f"{command!r} got {reply}, expected {pattern}"
        return reply

    def hello(self) -> ReplyLines:
        return self.expect("EHLO client.test", "250 *")

    def message(self, sender: str, recipient: str, content: bytes, pattern: str = "250 2.6.0*") -> ReplyLines:
        """A whole transaction with `content` as it shall be on the wire, without the final dot."""
        self.expect(f"MAIL FROM:<{sender}>", "250 *")
        self.expect(f"RCPT TO:<{recipient}>", "250 *")
        self.expect("DATA", "354 *")
        self.send(content + b".\r\n")
        reply = self.read()
        assert reply.matches(pattern), f"the message got {reply}, expected {pattern}"
        return reply

    def start_tls(self) -> None:
        """Do the TLS handshake now."""
        assert not self._received, f"octets in clear before the handshake: {self._received!r}"
        self.socket = trusting_nobody().wrap_socket(self.socket, server_hostname="mx.contoso.test")

    def closed(self) -> bool:
        """True when the server closes without another octet. Waits for either."""
        return not self._received and not self.receive()

    def scram(self, user: str, password: str) -> None:
        """SCRAM-SHA-256 up to the server's final message, whose signature is checked (RFC 5802, RFC 7677)."""
        client: Any = ScramClient(["SCRAM-SHA-256"], user, password)
        first = base64.b64encode(client.get_client_first().encode()).decode()
        reply = self.ask(f"AUTH SCRAM-SHA-256 {first}")
        assert reply.code == "334", str(reply)
        client.set_server_first(base64.b64decode(reply.lines[0]).decode())
        final = base64.b64encode(client.get_client_final().encode()).decode()
        self.send(final.encode() + b"\r\n")
        peek = self.read()
        if peek.code == "334":
            client.set_server_final(base64.b64decode(peek.lines[0]).decode())
            self.send(b"\r\n")
        else:
            # refused: put the reply back for the script to judge
            self._received = f"{peek.code} {peek.lines[-1]}\r\n".encode() + self._received


def play(script: Script, talk: Talk, unique: str) -> None:
    """Play the steps of a script but for its tracking events. Raises AssertionError naming the line."""
    last = talk.greeting
    fresh = True
    for step in script.steps:
        try:
            if step.kind == "S":
                last = last if fresh else talk.read()
                pattern = substitute(step.text, unique)
                assert last.matches(pattern), f"expected {pattern!r}, got:\n{last}"
                fresh = False
            else:
                fresh = _act(step, talk, unique, last, fresh)
        except (AssertionError, Closed, OSError) as error:
            raise AssertionError(f"{script.name}:{step.line}: {step.kind}: {step.text}\n{error}") from error


def _act(step: Step, talk: Talk, unique: str, last: ReplyLines, fresh: bool) -> bool:
    """Play one step that reads no reply; says whether the greeting is still unread by the script."""
    text = substitute(step.text, unique)
    if step.kind == "C":
        talk.send(text.encode() + b"\r\n")
    elif step.kind == "C-bytes":
        talk.send(unescape(text))
    elif step.kind == "C-fill":
        talk.send(fill(int(text)))
    elif step.kind == "S-has":
        assert last.has(text), f"nothing like {text!r} in:\n{last}"
    elif step.kind == "S-lacks":
        assert not last.has(text), f"{text!r} is in:\n{last}"
    elif step.kind == "S-closed":
        assert talk.closed(), "the server says more instead of closing"
    elif step.kind == "TLS":
        talk.start_tls()
    elif step.kind == "SCRAM":
        user, password = text.split()
        talk.scram(user, password)
    return fresh and step.kind in ("S-has", "S-lacks")
