# SPDX-License-Identifier: MIT
"""A recording SMTP or LMTP server that a test can script: it keeps every transaction as it was on the wire.

It decides nothing about mail: it answers as told and notes what it saw. One thread for each connection.
"""

import base64
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any

from support.ports import wait_until

ALL_EXTENSIONS = ("PIPELINING", "SIZE 209715200", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES")
_PATH = re.compile(r"[^<]*<([^>]*)>")
DROP = "DROP"
"""In place of a reply: the connection is closed without one."""


@dataclass
class Transaction:
    """One transaction that reached its content.

    `wire` is the content as received: dot-stuffed after DATA, without the final dot; plain chunks after BDAT.
    """

    helo: str
    tls: bool
    user: str
    session: int
    mail: str
    rcpts: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    wire: bytes = b""
    chunked: bool = False
    reply: str = ""

    @property
    def reverse_path(self) -> str:
        return _path(self.mail)

    @property
    def forward_paths(self) -> list[str]:
        return [_path(rcpt) for rcpt in self.rcpts]

    @property
    def data(self) -> bytes:
        """The content without dot-stuffing."""
        if self.chunked:
            return self.wire
        text = self.wire[1:] if self.wire.startswith(b".") else self.wire
        return text.replace(b"\r\n.", b"\r\n")

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.data, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def bare_line_ends(self) -> bool:
        """A CR or LF stands alone somewhere in the content."""
        return bool(re.search(rb"\r(?!\n)|(?<!\r)\n", self.wire))


def _path(argument: str) -> str:
    found = _PATH.match(argument)
    return found[1] if found else argument


@dataclass
class Behaviour:
    """How the sink answers. Each callable gets the argument and returns a reply line, or None for the usual one.

    Attributes:
        banner: greeting; DROP closes at once.
        on_helo, on_mail, on_rcpt: called with the command's argument.
        on_data: reply to DATA itself.
        on_content: called with the transaction; the reply to the whole message (LMTP: to each recipient in turn).
        pair: certificate and key files; with them STARTTLS is offered.
        users: login to password; with them AUTH is offered (under TLS where there is a pair).
        on_token: called with (user, access token): None takes it, else (the JSON of the challenge, the reply).
        token_mechanisms: offered where there is `on_token`.
        hangs_up_on_tokens: the connection ends after a token was refused.
        external: AUTH EXTERNAL is offered to clients with a certificate.
        lmtp: LHLO and one reply for each recipient.
    """

    extensions: tuple[str, ...] = ALL_EXTENSIONS
    name: str = "sink.test"
    banner: str = ""
    on_helo: Callable[[str], str | None] = lambda _: None
    on_mail: Callable[[str], str | None] = lambda _: None
    on_rcpt: Callable[[str], str | None] = lambda _: None
    on_data: Callable[[], str | None] = lambda: None
    on_content: Callable[[Transaction], str | None] = lambda _: None
    on_starttls: Callable[[], str | None] = lambda: None
    context: ssl.SSLContext | None = None
    implicit_tls: bool = False
    users: dict[str, str] = field(default_factory=dict)
    on_token: Callable[[str, str], tuple[str, str] | None] | None = None
    token_mechanisms: tuple[str, ...] = ("XOAUTH2",)
    hangs_up_on_tokens: bool = False
    external: bool = False
    lmtp: bool = False
    hello_refused: bool = False


class Sink:
    """Listens on a free port of 127.0.0.1, or of `address`, from construction until `close`; a context manager.

    Args:
        port: 0 for any.
        listening: False: take the port's number but refuse connections until `listen` is called.
    """

    def __init__(
        self, behaviour: Behaviour | None = None, *, port: int = 0, listening: bool = True, address: str = "127.0.0.1",
        **changes: Any,
    ):  # fmt: skip
        self.address = address
        self.behaviour = behaviour or Behaviour(**changes)
        self.transactions: list[Transaction] = []
        self.commands: list[tuple[int, str]] = []
        """(session, line) of every command line, in order of arrival."""
        self.sessions = 0
        self.handshakes: list[tuple[bool, tuple[str, ...]]] = []
        """(session taken up again, names of the client's certificate) of each TLS handshake."""
        self.aborted: list[Transaction] = []
        """Transactions whose content began and never ended."""
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = port
        if listening:
            self.listen()

    def listen(self) -> None:
        """Begin to accept connections."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.port))
        listener.listen(200)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """Stop listening and drop all connections; the port then refuses."""
        if self._listener is not None:
            # a thread blocked in accept keeps the socket alive until it is woken
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    close = refuse

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def wait(self, count: int = 1, seconds: float = 15.0) -> list[Transaction]:
        """The transactions, once there are at least `count` of them."""
        wait_until(
            lambda: len(self.transactions) >= count,
            seconds,
            lambda: f"{count} messages in the sink (there are {len(self.transactions)})",
        )
        return list(self.transactions)

    def wait_for(self, accept: Callable[[Transaction], bool], seconds: float = 15.0) -> Transaction:
        """The first transaction that `accept` is true for."""
        return wait_until(
            lambda: next((one for one in list(self.transactions) if accept(one)), None),
            seconds,
            lambda: f"such a message in the sink; there: {[one.rcpts for one in self.transactions]}",
        )  # type: ignore[return-value]

    def to(self, address: str) -> list[Transaction]:
        """Transactions whose recipients include this address."""
        return [one for one in list(self.transactions) if address in one.forward_paths]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            # As mail servers do: the second reply to commands that came together must not wait for an ACK of the first.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.sessions += 1
                number = self.sessions
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        session = _Session(self, connection, number)
        try:
            session.run()
        except (OSError, _Dropped):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            if session.transaction is not None and session.in_content:
                self.aborted.append(session.transaction)
            session.close()


class _Dropped(Exception):
    """The connection ends."""


class _Session:
    def __init__(self, sink: Sink, connection: socket.socket, number: int) -> None:
        self.sink, self.number = sink, number
        self.connection: socket.socket = connection
        self.accepted_socket = connection
        self.buffer = bytearray()
        self.helo = self.user = ""
        self.tls = False
        self.in_content = False
        self.transaction: Transaction | None = None
        self.chunks: list[bytes] = []

    @property
    def behaviour(self) -> Behaviour:
        return self.sink.behaviour

    def close(self) -> None:
        self.connection.close()
        self.accepted_socket.close()

    def more(self) -> None:
        data = self.connection.recv(262144)
        if not data:
            raise _Dropped
        self.buffer += data

    def line(self) -> str:
        while b"\r\n" not in self.buffer:
            self.more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("utf-8", "surrogateescape")

    def say(self, reply: str) -> bool:
        """Send a reply; True when it was positive."""
        if reply == DROP:
            raise _Dropped
        self.connection.sendall(reply.encode() + b"\r\n")
        return reply[0] in "23"

    def secure(self) -> None:
        """The server's side of a handshake."""
        assert self.behaviour.context is not None
        secured = self.behaviour.context.wrap_socket(self.connection, server_side=True)
        names = (secured.getpeercert() or {}).get("subjectAltName", ())
        self.sink.handshakes.append((bool(secured.session_reused), tuple(str(name) for _, name in names)))
        self.connection, self.tls, self.buffer = secured, True, bytearray()

    def run(self) -> None:
        if self.behaviour.implicit_tls:
            self.secure()
        self.say(self.behaviour.banner or f"220 {self.behaviour.name} ESMTP sink")
        while True:
            line = self.line()
            self.sink.commands.append((self.number, line))
            verb, _, argument = line.partition(" ")
            handler = getattr(self, "do_" + verb.lower(), None)
            if handler is None:
                self.say("500 5.5.1 unknown")
            elif handler(argument):
                return

    def do_helo(self, argument: str) -> None:
        self.helo, self.transaction = argument, None
        self.say(self.behaviour.on_helo(argument) or f"250 {self.behaviour.name}")

    def do_ehlo(self, argument: str) -> None:
        if self.behaviour.hello_refused:
            self.say("502 5.5.1 no EHLO here")
            return
        self.helo, self.transaction = argument, None
        if reply := self.behaviour.on_helo(argument):
            self.say(reply)
            return
        lines = [self.behaviour.name, *self.behaviour.extensions]
        if self.behaviour.context and not self.tls:
            lines.append("STARTTLS")
        mechanisms = ["PLAIN", "LOGIN"] if self.behaviour.users else []
        mechanisms += self.behaviour.token_mechanisms if self.behaviour.on_token else ()
        mechanisms += ["EXTERNAL"] if self.behaviour.external else []
        if mechanisms and (self.tls or not self.behaviour.context):
            lines.append(f"AUTH {' '.join(mechanisms)}")
        self.say("\r\n".join(["250-" + line for line in lines[:-1]] + ["250 " + lines[-1]]))

    do_lhlo = do_ehlo

    def do_starttls(self, _: str) -> None:
        reply = self.behaviour.on_starttls()
        if self.behaviour.context is None or reply:
            self.say(reply or "502 5.5.1 no TLS here")
            return
        self.say("220 2.0.0 go ahead")
        self.secure()
        self.helo, self.transaction = "", None

    def do_auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() in ("XOAUTH2", "OAUTHBEARER"):
            self.take_token(mechanism.upper(), initial)
            return
        if mechanism.upper() == "EXTERNAL":
            names = self.sink.handshakes[-1][1] if self.tls else ()
            self.user = base64.b64decode(initial.removeprefix("=")).decode() or (names[0] if names else "")
            self.say("235 2.7.0 welcome" if names else "535 5.7.8 no certificate")
            return
        if mechanism.upper() == "PLAIN":
            if not initial:
                self.say("334 ")
                initial = self.line()
            _, login, password = base64.b64decode(initial).decode().split("\0")
        else:
            if not initial:
                self.say("334 VXNlcm5hbWU6")
                initial = self.line()
            login = base64.b64decode(initial).decode()
            self.say("334 UGFzc3dvcmQ6")
            password = base64.b64decode(self.line()).decode()
        if self.behaviour.users.get(login) == password:
            self.user = login
            self.say("235 2.7.0 welcome")
        else:
            self.say("535 5.7.8 wrong")

    def take_token(self, mechanism: str, initial: str) -> None:
        """Google's and Microsoft's exchange, or that of RFC 7628."""
        assert self.behaviour.on_token is not None
        if not initial:
            self.say("334 ")
            initial = self.line()
        text = base64.b64decode(initial, validate=True).decode()
        if mechanism == "XOAUTH2":
            found = re.fullmatch(r"user=([^\x01]*)\x01auth=Bearer ([^\x01]+)\x01\x01", text)
        else:
            found = re.fullmatch(
                r"n,a=([^,]*),\x01host=[^\x01]+\x01port=[0-9]+\x01auth=Bearer ([^\x01]+)\x01\x01", text
            )
        if found is None:
            self.say("501 5.5.4 malformed")
            return
        user = found[1].replace("=2C", ",").replace("=3D", "=")
        refusal = self.behaviour.on_token(user, found[2])
        if refusal is None:
            self.user = user
            self.say("235 2.7.0 welcome")
            return
        challenge, reply = refusal
        if challenge:
            self.say("334 " + base64.b64encode(challenge.encode()).decode())
            dummy = self.line()
            assert base64.b64decode(dummy) == (b"" if mechanism == "XOAUTH2" else b"\x01")
        self.say(reply)
        if self.behaviour.hangs_up_on_tokens:
            raise _Dropped

    def do_mail(self, argument: str) -> None:
        if self.say(self.behaviour.on_mail(argument) or "250 2.1.0 sender ok"):
            self.chunks = []
            self.transaction = Transaction(self.helo, self.tls, self.user, self.number, argument)

    def do_rcpt(self, argument: str) -> None:
        if self.transaction is None:
            self.say("503 5.5.1 MAIL first")
        elif self.say(self.behaviour.on_rcpt(argument) or "250 2.1.5 recipient ok"):
            self.transaction.rcpts.append(argument)
        else:
            self.transaction.refused.append(argument)

    def do_data(self, _: str) -> None:
        if self.transaction is None or not self.transaction.rcpts:
            self.say("503 5.5.1 RCPT first")
            return
        if not self.say(self.behaviour.on_data() or "354 go ahead"):
            self.transaction = None
            return
        self.in_content = True
        end = 0
        while True:
            if self.buffer.startswith(b".\r\n"):
                wire, self.buffer = bytearray(), self.buffer[3:]
                break
            if (found := self.buffer.find(b"\r\n.\r\n", max(0, end - 5))) >= 0:
                wire, self.buffer = self.buffer[: found + 2], self.buffer[found + 5 :]
                break
            end = len(self.buffer)
            self.more()
        self.transaction.wire = bytes(wire)
        self.finish(self.transaction)

    def do_bdat(self, argument: str) -> None:
        size, _, last = argument.partition(" ")
        while len(self.buffer) < int(size):
            self.more()
        chunk, self.buffer = bytes(self.buffer[: int(size)]), self.buffer[int(size) :]
        if self.transaction is None or not self.transaction.rcpts:
            self.say("503 5.5.1 RCPT first")
            return
        self.in_content = True
        self.transaction.chunked = True
        self.chunks.append(chunk)
        if last.upper() == "LAST":
            self.transaction.wire = b"".join(self.chunks)
            self.finish(self.transaction)
        else:
            self.say("250 2.0.0 chunk taken")

    def finish(self, transaction: Transaction) -> None:
        self.in_content, self.transaction = False, None
        for _ in range(len(transaction.rcpts) if self.behaviour.lmtp else 1):
            reply = self.behaviour.on_content(transaction) or "250 2.6.0 taken"
            transaction.reply = reply
            if reply[0] == "2" and not any(one is transaction for one in self.sink.transactions):
                self.sink.transactions.append(transaction)
            self.say(reply)

    def do_rset(self, _: str) -> None:
        self.transaction = None
        self.say("250 2.0.0 reset")

    def do_noop(self, _: str) -> None:
        self.say("250 2.0.0 ok")

    def do_quit(self, _: str) -> bool:
        self.say("221 2.0.0 bye")
        return True
