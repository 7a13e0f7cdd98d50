# SPDX-License-Identifier: MIT
"""The client's side of SMTP and LMTP without I/O (RFC 5321, RFC 2920, RFC 3030, RFC 3207, RFC 4954, RFC 2033).

Bytes in, events out; commands out through `data_to_send`. Transactions are pipelined where the server offers it: the
commands of the next one may follow the final dot of the one before in the same write (RFC 2920 §3.1). Whatever happens
each transaction ends with one `DeliveryStatus` for each recipient. Every word of the server is hostile until parsed
(`client_replies.py`). What the server says to transactions is here; how they go out is `client_sending.py`, what comes
before and behind them `client_session.py`.
"""

from collections import deque
from typing import Final

from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import DIAGNOSTIC_TEXT
from bridgehead.smtp.client_events import (
    ClientEvent,
    Closing,
    ContentWanted,
    Transaction,
    TransactionDone,
)
from bridgehead.smtp.client_replies import Transcript
from bridgehead.smtp.client_sending import END_OF_DATA, USUAL_GROUP, ClientSending
from bridgehead.smtp.client_states import REPLIES, Awaited, ClientState
from bridgehead.smtp.client_statuses import negative_status, positive_status, reply_of
from bridgehead.smtp.errors import RemoteProtocolError

_POSITIVE: Final = [frozenset(int(digit) for digit in REPLIES[awaited].positive) for awaited in Awaited]
_READY: Final = ClientState.READY
_END_AND_GROUP: Final = deque((END_OF_DATA, *USUAL_GROUP))
_USUAL_BYTES: Final = 512
"""What the replies to the usual group have room in; longer ones are read line by line."""
_RELAYED: Final = Action.RELAYED


class ClientConnection(ClientSending):
    """One conversation.

    Args:
        fqdn: our name for EHLO.
        lmtp: speak LMTP: LHLO, and one reply for each accepted recipient after the content.
        force_helo: never try EHLO (ForceHELO).
        remote_mta: name of the server, for statuses.
        transcript: takes the conversation's lines.
    """

    def __init__(
        self, fqdn: str, *, lmtp: bool = False, force_helo: bool = False, remote_mta: str = "",
        transcript: Transcript | None = None,
    ) -> None:  # fmt: skip
        super().__init__(fqdn, lmtp=lmtp, force_helo=force_helo, transcript=transcript)
        self.remote_mta = remote_mta
        self._last_positive: tuple[bytes, DeliveryStatus] | None = None

    # --- what the driver asks -------------------------------------------------------------------------------------

    def connection_lost(self, reason: str, status: str = "4.4.2") -> list[Transaction]:
        """The connection is gone. Gives the transactions that were open, in order, each complete: recipients that the
        server had accepted and whose content it had been sent are in doubt, the others were not delivered."""
        self.state = ClientState.CLOSED
        lost = list(self._open)
        self._open.clear()
        diagnostic = clean_text(reason, DIAGNOSTIC_TEXT)
        for transaction in lost:
            accepted = set(transaction.accepted)
            for index, known in enumerate(transaction.statuses):
                if known is None:
                    in_doubt = transaction.committed and (index in accepted)
                    transaction.statuses[index] = DeliveryStatus(
                        action=Action.DELAYED, status=status, diagnostic=diagnostic, in_doubt=in_doubt
                    )
        return lost

    def receive_data(self, data: bytes) -> list[ClientEvent]:
        """Bytes from the server. Raises RemoteProtocolError, after which the connection is good for nothing."""
        if self._usual and len(data) <= _USUAL_BYTES and self.state is _READY and not (self._buffer or self._lines):
            events = self._receive_usual(data)
            if events is not None:
                return events
        return super().receive_data(data)

    def _receive_usual(self, data: bytes) -> list[ClientEvent] | None:
        """250 to the final dot, and 250, 250, 354 to the group behind it, or either alone: what nearly every read
        brings, taken at once with the outcome that the handlers would have. None, and nothing done, for all else."""
        replies = data.split(b"\r\n")
        count = len(replies) - 1
        if replies[count] or data.count(b"\n") != count or data.count(b"\r") != count:
            return None
        awaited = self._awaited
        if count == 4 and awaited == _END_AND_GROUP:
            ended, mail, rcpt, go, _ = replies
            if not (ended[:4] == mail[:4] == rcpt[:4] == b"250 " and go[:4] == b"354 "):
                return None
        elif count == 3 and awaited == USUAL_GROUP:
            ended, (mail, rcpt, go, _) = b"", replies
            if not (mail[:4] == rcpt[:4] == b"250 " and go[:4] == b"354 "):
                return None
        elif count == 1 and awaited and awaited[0] is END_OF_DATA and replies[0][:4] == b"250 ":
            awaited.popleft()
            self._events = []
            self._on_end_of_data(250, [replies[0][4:]])
            return self._events
        else:
            return None
        awaited.clear()
        events: list[ClientEvent] = []
        self._events = events
        if ended:
            self._on_end_of_data(250, [ended[4:]])
        transaction = self._open[0]
        transaction.begun = transaction.mail_accepted = transaction.content_asked = True
        transaction.answered = 1
        transaction.accepted.append(0)
        self._content = None
        events.append(ContentWanted(transaction))
        return events

    def _receive_reply(self, code: int, lines: list[bytes]) -> None:
        if code == 421:
            self._on_closing(code, lines)
            return
        if not self._awaited:
            self._on_unasked(code, lines)
            return
        awaited = self._awaited.popleft()
        if code < 400 and code // 100 not in _POSITIVE[awaited]:
            raise RemoteProtocolError(f"{code} is no answer to {awaited.name}")
        _HANDLERS[awaited](self, code, lines)

    # --- one handler for each row of the table --------------------------------------------------------------------

    def _on_rset(self, code: int, lines: list[bytes]) -> None:
        self._send_next()

    def _on_mail(self, code: int, lines: list[bytes]) -> None:
        transaction = self._current()
        transaction.begun = True
        if code < 400:
            transaction.mail_accepted = True
        else:
            transaction.refusal = self._negative(transaction, code, lines)
            self._todo.clear()
        self._send_next()
        self._end_unless_pending(transaction)

    def _on_rcpt(self, code: int, lines: list[bytes]) -> None:
        transaction = self._current()
        index = transaction.answered
        transaction.answered = index + 1
        if transaction.refusal is None:
            if code < 400:
                transaction.accepted.append(index)
            else:
                transaction.statuses[index] = self._negative(transaction, code, lines)
        if self._todo:
            if transaction.answered == len(transaction.recipients) and not transaction.accepted:
                self._todo.clear()  # DATA without a recipient is no use
            self._send_next()
        if transaction.answered == len(transaction.recipients):
            if transaction.chunked and transaction.accepted and transaction.refusal is None:
                self._want_content(transaction)
            else:
                self._end_unless_pending(transaction)

    def _on_data(self, code: int, lines: list[bytes]) -> None:
        transaction = self._current()
        if code < 400:
            if transaction.accepted and transaction.refusal is None:
                self._want_content(transaction)
            elif self._lmtp:
                raise RemoteProtocolError(f"{code} to DATA without a recipient, which RFC 2033 forbids")
            else:
                self._out.append(b".\r\n")
                self._awaited.append(Awaited.EMPTY_END)
            return
        if transaction.accepted and transaction.refusal is None:
            transaction.refusal = self._negative(transaction, code, lines)
        self._end_unless_pending(transaction)

    def _on_empty_end(self, code: int, lines: list[bytes]) -> None:
        transaction = self._current()
        transaction.mail_accepted = False  # the dot ended it, nothing is left to reset
        self._end_unless_pending(transaction)

    def _on_chunk(self, code: int, lines: list[bytes]) -> None:
        transaction = self._current()
        if code >= 400 and transaction.refusal is None:
            transaction.refusal = self._negative(transaction, code, lines)
            if self.sending is transaction:  # the rest of the content stays here
                self.sending = None
        if transaction.refusal is not None:
            self._end_unless_pending(transaction)

    def _on_end_of_data(self, code: int, lines: list[bytes]) -> None:
        transaction = self._current()
        status = transaction.refusal
        if status is not None:
            self._needs_reset = True
        elif code < 400:
            status = self._positive(transaction, code, lines)
        else:
            status = self._negative(transaction, code, lines)
        if self._lmtp:
            transaction.statuses[transaction.accepted.pop(0)] = status
            if transaction.accepted:
                return
        else:
            for index in transaction.accepted:
                transaction.statuses[index] = status
        transaction.mail_accepted = False
        self._end(transaction)

    def _on_closing(self, code: int, lines: list[bytes]) -> None:
        """421 may come at any time (RFC 5321 §3.8); it answers what is awaited, and nothing follows it."""
        reply = reply_of(code, lines)
        if self.state <= ClientState.HELLO:
            self._refused(code, lines)
            return
        if self._open and (self._awaited or self.sending is not None):
            transaction = self._current()
            first = not transaction.begun and self._awaited and self._awaited[0] in (Awaited.MAIL, Awaited.RSET)
            if not first:  # an answer to MAIL itself leaves the transaction untouched; the driver decides
                transaction.refusal = transaction.refusal or self._negative(transaction, code, lines)
                self._end(transaction)
        self.state = ClientState.CLOSED
        self._events.append(Closing(reply))

    def _on_unasked(self, code: int, lines: list[bytes]) -> None:
        """A reply that answers nothing: a refusal while content is being sent, or a broken server."""
        transaction = self.sending
        if transaction is None or code < 400:
            raise RemoteProtocolError(f"a reply that answers nothing: {reply_of(code, lines)}")
        transaction.refusal = self._negative(transaction, code, lines)
        self._end(transaction)
        self.state = ClientState.CLOSED
        self._events.append(Closing(reply_of(code, lines)))

    # --- transactions ---------------------------------------------------------------------------------------------

    def _current(self) -> Transaction:
        return self._open[0]

    def _want_content(self, transaction: Transaction) -> None:
        transaction.content_asked = True
        self._content = None
        self._events.append(ContentWanted(transaction))

    def _end_unless_pending(self, transaction: Transaction) -> None:
        """End a transaction that goes no further, once every reply to its commands is in."""
        if self._todo or (self._awaited and self._awaited[0] not in (Awaited.MAIL, Awaited.RSET, Awaited.QUIT)):
            return
        if transaction.refusal is not None or not transaction.accepted:
            self._end(transaction)

    def _end(self, transaction: Transaction) -> None:
        if transaction.refusal is not None:
            for index, known in enumerate(transaction.statuses):
                if known is None:
                    transaction.statuses[index] = transaction.refusal
        self._open.popleft()
        if self.sending is transaction:
            self.sending = None
        if transaction.mail_accepted and not transaction.committed:
            self._needs_reset = True
        self._events.append(TransactionDone(transaction))

    def _positive(self, transaction: Transaction, code: int, lines: list[bytes]) -> DeliveryStatus:
        known = self._last_positive  # many servers always say the same
        if known is not None and code == 250 and len(lines) == 1 and lines[0] == known[0]:
            status = known[1]
        else:
            status = positive_status(
                code, lines, action=Action.DELIVERED if self._lmtp else _RELAYED, remote_mta=self.remote_mta,
                dsn_passed_on=self.extensions.dsn,
            )  # fmt: skip
            if code == 250 and len(lines) == 1:
                self._last_positive = (lines[0], status)
        transaction.reply = status.diagnostic
        return status

    def _negative(self, transaction: Transaction, code: int, lines: list[bytes]) -> DeliveryStatus:
        status = negative_status(code, lines, self.remote_mta)
        transaction.reply = status.diagnostic
        return status


_HANDLERS: Final = [getattr(ClientConnection, REPLIES[awaited].handler) for awaited in Awaited]
