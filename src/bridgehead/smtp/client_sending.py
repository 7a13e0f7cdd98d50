# SPDX-License-Identifier: MIT
"""The client's transactions as they go out: their commands, pipelined where the server offers it, and their content
(RFC 5321 §3.3, RFC 2920, RFC 3030). What comes back, and what becomes of it, is `client.py`.
"""

from collections import deque
from typing import Final

from bridgehead.mail.envelope import BodyType
from bridgehead.smtp.client_commands import mail_command, rcpt_command, usual_group
from bridgehead.smtp.client_content import OutgoingContent
from bridgehead.smtp.client_events import Transaction
from bridgehead.smtp.client_replies import Transcript
from bridgehead.smtp.client_session import ClientSession
from bridgehead.smtp.client_states import REPLIES, Awaited, ClientState
from bridgehead.smtp.content import canonical_line_ends, stuff
from bridgehead.smtp.errors import LocalProtocolError

_PHASES: Final = [REPLIES[awaited].phase for awaited in Awaited]
_READY: Final = ClientState.READY
END_OF_DATA: Final = Awaited.END_OF_DATA
USUAL_GROUP: Final = deque((Awaited.MAIL, Awaited.RCPT, Awaited.DATA))
"""What is awaited of the transaction that nearly all are: one recipient, content by DATA."""


class ClientSending(ClientSession):
    """The sending half of a client connection. Arguments: see `client.ClientConnection`.

    Attributes:
        sending: the transaction before its end of content, None for none. While there is one, no other may begin.
    """

    def __init__(self, fqdn: str, *, lmtp: bool, force_helo: bool, transcript: Transcript | None) -> None:
        super().__init__(fqdn, lmtp=lmtp, force_helo=force_helo, transcript=transcript)
        self._open: deque[Transaction] = deque()
        self.sending: Transaction | None = None
        self._usual = transcript is None and not lmtp
        self._todo: deque[tuple[Awaited, str]] = deque()
        self._needs_reset = False
        self._content: OutgoingContent | None = None
        """Made for content that comes in pieces."""

    @property
    def may_begin(self) -> bool:
        """A transaction, or QUIT, may be sent now: none is before its end of content, and the server lets us pipeline
        or has answered. Nothing is pipelined behind chunks: one that fails must be followed by RSET."""
        return (
            self.state is _READY
            and self.sending is None
            and (not self._open or (self.extensions.pipelining and not self._open[-1].chunked))
            and not self._todo
        )

    @property
    def is_idle(self) -> bool:
        """Nothing is under way."""
        return self.state is _READY and not self._awaited and not self._open

    def wants_content(self, transaction: Transaction) -> bool:
        """More content of this transaction may be sent; false after a refusal in its midst."""
        return self.sending is transaction and transaction.content_asked

    @property
    def phase(self) -> str:
        """What is waited for: a phase of `REPLIES`, "block" while content is due from us, or "idle"."""
        if self._awaited:
            return _PHASES[self._awaited[0]]
        return "block" if self.sending is not None else "idle"

    def begin(self, transaction: Transaction) -> None:
        """Send a transaction's commands, all at once where the server offers PIPELINING. Raises LocalProtocolError
        where an address would break a line; nothing is sent then, and the next transaction may begin."""
        self._require(self.may_begin and bool(transaction.recipients), "MAIL")
        extensions = self.extensions
        if self._usual and extensions.pipelining and not self._needs_reset:
            usual = usual_group(transaction, extensions)
        else:
            usual = None
        if usual is not None:
            transaction.statuses = [None]
            transaction.accepted = []
            self._open.append(transaction)
            self.sending = transaction
            self._out += usual
            self._awaited += USUAL_GROUP
            return
        kinds, commands = self._commands_of(transaction)
        group = ("\r\n".join(commands) + "\r\n").encode()
        if group.count(b"\n") != len(commands) or group.count(b"\r") != len(commands):
            raise LocalProtocolError("a command would hold a line end")
        transaction.statuses = [None] * len(transaction.recipients)
        transaction.accepted = []
        self._needs_reset = False
        self._open.append(transaction)
        self.sending = transaction
        if self.extensions.pipelining:
            for command in commands if self._transcript is not None else ():
                self._record_send(command)
            self._out.append(group)
            self._awaited.extend(kinds)
        else:
            self._todo.extend(zip(kinds, commands, strict=True))
            self._send_next()

    def _commands_of(self, transaction: Transaction) -> tuple[list[Awaited], list[str]]:
        kinds, commands = [Awaited.MAIL], [mail_command(transaction, self.extensions)]
        if self._needs_reset:
            kinds, commands = [Awaited.RSET, *kinds], ["RSET", *commands]
        for recipient in transaction.recipients:
            commands.append(rcpt_command(recipient, transaction, self.extensions))
            kinds.append(Awaited.RCPT)
        if not transaction.chunked:
            commands.append("DATA")
            kinds.append(Awaited.DATA)
        return kinds, commands

    def send_content(self, data: bytes, last: bool = True, *, strict: bool = False) -> None:
        """Content that `ContentWanted` asked for, whole or in pieces. Line ends become CR LF unless the transaction
        declared BINARYMIME; dots are stuffed for DATA. `strict`: all of it, known to have no bare CR or LF."""
        transaction = self.sending
        if transaction is None or not transaction.content_asked:
            raise LocalProtocolError("no content was asked for")
        if transaction.chunked:
            self._send_chunk(transaction, data, last)
        elif last and self._content is None and data:
            data = stuff(data if strict else canonical_line_ends(data))
            self._out += (data, b".\r\n" if data.endswith(b"\r\n") else b"\r\n.\r\n")
            self._await_end(END_OF_DATA)
        else:
            self._out += self._pieces().for_data(data, last)
            if last:
                self._await_end(Awaited.END_OF_DATA)
        if last:
            transaction.committed = True
            self.sending = None

    def quit(self) -> None:
        """Send QUIT; with PIPELINING also behind transactions whose content was sent."""
        if self.may_begin:
            self.state = ClientState.QUITTING
            self._command(Awaited.QUIT, "QUIT")

    def _send_chunk(self, transaction: Transaction, data: bytes, last: bool) -> None:
        if transaction.body is not BodyType.BINARY_MIME:
            data = self._pieces().for_chunk(data, last)
        if not data and not last:
            return
        self._record_send(f"BDAT {len(data)}{' LAST' if last else ''}")
        self._out += (b"BDAT %d%s\r\n" % (len(data), b" LAST" if last else b""), data)
        if last:
            self._await_end(Awaited.LAST_CHUNK)
        else:
            self._awaited.append(Awaited.CHUNK)

    def _await_end(self, kind: Awaited) -> None:
        """One reply, or in LMTP one for each accepted recipient (RFC 2033 §4.2)."""
        if self._lmtp:
            self._awaited.extend([kind] * len(self._open[-1].accepted))
        else:
            self._awaited.append(kind)

    def _pieces(self) -> OutgoingContent:
        if self._content is None:
            self._content = OutgoingContent()
        return self._content

    def _send_next(self) -> None:
        """Without PIPELINING: the next command, once the one before is answered."""
        if self._todo and not self._awaited:
            self._command(*self._todo.popleft())
