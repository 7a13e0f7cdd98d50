# SPDX-License-Identifier: MIT
"""The server engine: octets in, events out, replies in, octets out (RFC 5321 §4; RFC 2920, 3030, 3207, 4954).

The driver calls `receive_data`, then `next_event` until it gives None, answers each event, and sends what
`data_to_send` returns. After a command the engine hands out one event and stops until that is answered, so answers
keep their order and no command overtakes a verdict. Policy, time, TLS and storage are the driver's. Nothing but
`LocalProtocolError` (a fault of the driver) is ever raised, whatever octets come. Here are commands, their order and
the answers; how octets become lines and content is `server_input.py`.
"""

from functools import lru_cache
from typing import Final

from bridgehead.mail.envelope import BodyType
from bridgehead.mail.limits import AUTH_LINE_BYTES, BDAT_CHUNKS, COMMAND_LINE_BYTES
from bridgehead.mail.reply import Reply
from bridgehead.smtp import commands, replies
from bridgehead.smtp.commands import CACHED_ARGUMENT_BYTES
from bridgehead.smtp.content import END_OF_DATA
from bridgehead.smtp.errors import LocalProtocolError
from bridgehead.smtp.events import (
    AuthResponse,
    Bdat,
    ChunkEnd,
    ContentPiece,
    Data,
    Event,
    Expn,
    Hello,
    Help,
    Mail,
    Noop,
    Quit,
    Rset,
    StartTls,
    Violation,
    Vrfy,
)
from bridgehead.smtp.extensions import Features, ehlo_lines
from bridgehead.smtp.server_input import LINE_DOT, ServerInput
from bridgehead.smtp.states import VERBS, State, Verb

_DATA: Final = State.DATA
_RCPT: Final = State.RCPT
_AUTH: Final = State.AUTH
_CLOSED: Final = State.CLOSED


@lru_cache(maxsize=1024)
def wire(reply: Reply, enhanced: bool) -> bytes:
    """A reply's octets; most replies are constants of the catalogue."""
    return reply.to_wire(enhanced)


@lru_cache(maxsize=256)
def _with_extensions(reply: Reply, features: Features) -> Reply:
    """The answer to EHLO. Most sessions of a connector get the same."""
    return Reply(reply.code, "", "\n".join([reply.text, *ehlo_lines(features)]))


class ServerConnection(ServerInput):
    """One conversation, seen from the server.

    Args:
        features: what is offered; replaced with `offer`.
        repair_bare_lf: bare LF in commands and DATA becomes CR LF before anything else sees it.
    """

    __slots__ = ("_binary", "_chunks", "_enhanced", "_out", "_smtputf8", "features", "line")

    def __init__(self, features: Features, *, repair_bare_lf: bool = False) -> None:
        ServerInput.__init__(self, repair_bare_lf)
        self.features = features
        self.line = b""
        """Its line, for logs; empty for events that are no command. AUTH carries secrets."""
        self._enhanced = features.enhanced_status_codes
        self._out: list[bytes] = []
        self._smtputf8 = False
        self._binary = False
        """BINARYMIME was announced: only BDAT may bring the content (RFC 3030 §3)."""
        self._chunks = 0

    # --- octets ---------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> Event | None:
        """`receive_data` and `next_event` in one, quick for what comes most: one whole command or content."""
        if self._position >= len(self._buffer) and self.waiting is None and self._chunk_left < 0 and not self._repair:
            state = self.state
            if state < _DATA:
                end = len(data) - 2
                if 0 <= end <= COMMAND_LINE_BYTES and data.find(b"\r\n") == end:
                    line = data[:end]
                    if b"\n" not in line and b"\r" not in line and b"\0" not in line:
                        self._buffer, self._position = b"", 0
                        return self._command(line)
            elif state is _DATA:
                if self._at_line_start and not self._held and data.endswith(END_OF_DATA):
                    end = len(data) - 5
                    if data.find(LINE_DOT) == end and not data.startswith(b"."):
                        self._buffer, self._position, self._dotless = b"", 0, end
                        self.line = b""
                        return self._content_end(data[:-3])
                elif self._hold(data):
                    return None
        self.receive_data(data)
        return self.next_event()

    def data_to_send(self) -> bytes:
        """Octets for the client, once."""
        if not self._out:
            return b""
        out = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return out

    # --- events ---------------------------------------------------------------------------------------------------

    def next_event(self) -> Event | None:
        """The next event; None while one waits for its answer or more octets are needed."""
        if self.waiting is not None or (self._position >= len(self._buffer) and self._chunk_left != 0):
            return None
        state = self.state
        if state is _CLOSED:
            return None
        self.line = b""
        if state is _DATA:
            return self._next_content()
        if self._chunk_left >= 0:
            return self._next_chunk_content()
        if state >= _AUTH:
            return self._next_special(state)
        line = self._next_line(COMMAND_LINE_BYTES)
        if line is None:
            return None
        return self._command(line) if isinstance(line, bytes) else self._hand_out(line, None)

    def _next_special(self, state: State) -> Event | None:
        """The next event within AUTH, at STARTTLS, or after the end."""
        if state is State.HANDSHAKE:
            return self._plaintext_after_starttls()
        line = self._next_line(AUTH_LINE_BYTES)
        if line is None:
            return None
        return self._auth_response(line) if isinstance(line, bytes) else self._hand_out(line, None)

    def _command(self, line: bytes) -> Event:
        self.line = line
        name, _, argument = line.partition(b" ")
        name = name.upper()
        row = VERBS.get(name)
        if row is None:
            return self._hand_out(Violation(replies.COMMAND_UNRECOGNIZED), None)
        if name == b"BDAT":
            return self._bdat(argument, row)
        legal = self.state in row.allowed and (row.takes_argument is None or row.takes_argument is bool(argument))
        if legal and not (row.ends_group and self._position < len(self._buffer)):
            refused = None
        else:
            refused = self._illegal(name, row, argument)
        if refused is not None:
            return self._hand_out(Violation(refused, close=refused is replies.NOTHING_MAY_FOLLOW), None)
        if row.idle:
            self.idle_commands += 1
        event = self._parse(name, argument)
        if type(event) is Reply:
            return self._hand_out(Violation(event), None)
        self.waiting, self._leads_to = event, row.leads_to  # type: ignore[assignment]
        return event  # type: ignore[return-value]

    def _illegal(self, name: bytes, row: Verb, argument: bytes) -> Reply | None:
        """The refusal of a command that the table does not allow here, None where it does."""
        if self.state not in row.allowed:
            if name == b"LHLO":
                return replies.COMMAND_UNRECOGNIZED
            if self.state is State.CONNECTED:
                return replies.SEND_HELLO_FIRST
            return replies.BAD_SEQUENCE
        if row.takes_argument is False and argument.strip():
            return replies.ARGUMENTS
        if row.takes_argument and not argument:
            return replies.ARGUMENTS
        if row.ends_group and name != b"QUIT" and self._position < len(self._buffer):
            return replies.NOTHING_MAY_FOLLOW
        return None

    def _parse(self, name: bytes, argument: bytes) -> Event | Reply:
        if name == b"MAIL":
            parse_mail = commands.cached_mail if len(argument) < CACHED_ARGUMENT_BYTES else commands.parse_mail
            return parse_mail(argument, self.features)
        if name == b"RCPT":
            parse_rcpt = commands.cached_rcpt if len(argument) < CACHED_ARGUMENT_BYTES else commands.parse_rcpt
            return parse_rcpt(argument, self.features, self._smtputf8)
        if name == b"DATA":
            return replies.BINARY_NEEDS_BDAT if self._binary else Data()
        if name == b"EHLO" or name == b"HELO":
            return Hello(argument.decode("utf-8", "replace").strip(), name == b"EHLO")
        if name == b"AUTH":
            return commands.parse_auth(argument)
        if name == b"STARTTLS":
            return StartTls()
        return _simple(name, argument)

    # --- BDAT -----------------------------------------------------------------------------------------------------

    def _bdat(self, argument: bytes, row: Verb) -> Event:
        """BDAT is parsed in any state: where it is refused, its octets must still not be taken for commands."""
        if not self.features.chunking:
            return self._hand_out(Violation(replies.COMMAND_UNRECOGNIZED, close=True), None)
        event = commands.parse_bdat(argument)
        if isinstance(event, Reply):
            return self._hand_out(Violation(event, close=True), None)
        self._chunk_left, self._chunk_last = event.size, event.last
        self._chunks = self._chunks + 1
        if self._chunks > BDAT_CHUNKS:
            return self._hand_out(Violation(replies.TOO_MANY_CHUNKS, close=True), None)
        if self.state not in row.allowed:
            return self._hand_out(Bdat(-1, event.last), None)
        return self._hand_out(event, State.READY if event.last else row.leads_to)

    def begin_chunk(self) -> None:
        """Answers `Bdat`: its octets follow as `ContentPiece`, then `ChunkEnd` wants the reply. A `Bdat` of size -1
        was out of order: the driver throws its octets away and replies BAD_SEQUENCE at its end."""
        if not isinstance(self.waiting, Bdat):
            raise LocalProtocolError("no BDAT is waiting")
        self.waiting = None

    # --- AUTH and STARTTLS ------------------------------------------------------------------------------------------

    def _auth_response(self, line: bytes) -> Event:
        if line == b"*":
            return self._hand_out(AuthResponse(None), None)
        data = commands.decode_base64(line)
        if data is None:
            self.state = State.READY
            return self._hand_out(Violation(replies.BAD_BASE64), None)
        return self._hand_out(AuthResponse(data), None)

    def _plaintext_after_starttls(self) -> Event | None:
        """Whatever stands behind STARTTLS in clear was put there by somebody else (CVE-2011-0411)."""
        if self._position >= len(self._buffer):
            return None
        self.state = State.CLOSED
        return self._hand_out(Violation(replies.NOTHING_MAY_FOLLOW, close=True), None)

    def tls_established(self, features: Features) -> None:
        """The handshake is done: the conversation starts anew, all knowledge of the client is gone (RFC 3207 §4.2).

        Raises LocalProtocolError where no handshake was due or octets in clear are left.
        """
        if self.state is not State.HANDSHAKE or self.pending_bytes:
            raise LocalProtocolError("no clean STARTTLS handshake was due")
        self.abort_transaction()
        self.state = State.CONNECTED
        self.offer(features)

    def offer(self, features: Features) -> None:
        """Replace what is offered, from the next EHLO on."""
        self.features = features
        self._enhanced = features.enhanced_status_codes

    # --- answers --------------------------------------------------------------------------------------------------

    def greet(self, reply: Reply) -> None:
        """The greeting; a negative one closes the conversation after it is sent (RFC 5321 §3.1)."""
        self._out.append(wire(reply, False))
        if not reply.is_positive:
            self.state = State.CLOSED

    def hello(self, reply: Reply, extended: bool) -> None:
        """Answer `Hello` positively: the first line is the reply's text, the extensions follow it."""
        self.abort_transaction()
        self.reply(_with_extensions(reply, self.features) if extended else reply)

    def reply(self, reply: Reply) -> None:
        """Answer the event under way; a positive reply moves the state as the table says.

        Raises LocalProtocolError when nothing waits for an answer.
        """
        event = self.waiting
        if event is None:
            raise LocalProtocolError("no event waits for a reply")
        self.waiting = None
        if type(event) is ContentPiece:
            self._out.append(reply.to_wire(self._enhanced))  # it names the message and never comes again
        else:
            self._out.append(wire(reply, self._enhanced))
        if type(event) is Violation:
            if event.close:
                self.state = State.CLOSED
            return
        if reply.code < 400:
            if self._leads_to is _RCPT:
                self.state = _RCPT
            else:
                self._advance(event, reply)
        elif isinstance(event, ContentPiece | ChunkEnd):
            self.abort_transaction()
        elif self.state is State.AUTH:
            self.state = State.READY

    def _advance(self, event: Event, reply: Reply) -> None:
        """A positive reply takes effect."""
        if reply.code == 334:
            self.state = State.AUTH
        elif self.state is State.AUTH:
            self.state = State.READY
        elif self._leads_to is not None:
            self.state = self._leads_to
            if isinstance(event, Mail):
                self._smtputf8 = event.smtputf8
                self._binary = event.body_type is BodyType.BINARY_MIME
            elif isinstance(event, Data):
                self._at_line_start, self._scanned = True, self._position
            elif isinstance(event, ChunkEnd) and event.last:
                self.abort_transaction()
        elif isinstance(event, ContentPiece | Rset):
            self.abort_transaction()

    def abort_transaction(self) -> None:
        """Forget MAIL, RCPT and content: the one way a transaction ends, well or badly (RFC 5321 §4.1.1.5)."""
        self._smtputf8 = self._binary = False
        self._chunks = 0
        if State.MAIL <= self.state <= State.BDAT:
            self.state = State.READY

    def close(self, reply: Reply | None = None) -> None:
        """End the conversation, with an unasked reply such as 421 first where one is given (RFC 5321 §3.8)."""
        if reply is not None and self.state is not State.CLOSED:
            self._out.append(wire(reply, self._enhanced))
        self.state = State.CLOSED
        self.waiting = None


def _simple(name: bytes, argument: bytes) -> Event:
    """Commands whose argument is not parsed."""
    text = argument.decode("utf-8", "replace").strip()
    if name == b"VRFY":
        return Vrfy(text)
    if name == b"EXPN":
        return Expn(text)
    return {b"RSET": Rset, b"NOOP": Noop, b"HELP": Help, b"QUIT": Quit}[name]()
