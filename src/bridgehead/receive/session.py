# SPDX-License-Identifier: MIT
"""One SMTP session: an `asyncio.Protocol` between a socket and the server engine (RFC 5321 §3, §4.5.3.2).

Octets go into the engine, each event to its step (`steps.py`), replies back in one write for each turn. No task and
no coroutine while every step answers at once; a step that must wait keeps the event unanswered, which stops the
engine. Time-outs are enforced by the table of sessions (`server.py`), which looks at `last_activity`.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from bridgehead.mail.limits import COMMANDS_PER_SESSION, IDLE_COMMANDS, PIPELINE_BYTES
from bridgehead.mail.reply import Reply
from bridgehead.net.tls import tls_reason
from bridgehead.net.tls_stream import TlsStream
from bridgehead.receive import refusals, session_record
from bridgehead.receive.logons.logon import Logon
from bridgehead.receive.permissions.rights import ANONYMOUS
from bridgehead.receive.session_opening import SessionOpening
from bridgehead.receive.transaction import Transaction
from bridgehead.smtp import replies
from bridgehead.smtp.events import Event, Violation
from bridgehead.smtp.states import State

if TYPE_CHECKING:
    from bridgehead.receive.server import Listener

_PRE_SESSION_SECONDS = 30.0
"""For a PROXY protocol header."""
_HANDSHAKE_SECONDS = 60.0
_CLOSING_SECONDS = 30.0
"""For a client to take our last reply."""

_CLOSED = State.CLOSED

log = logging.getLogger("bridgehead.receive")


class Session(SessionOpening):
    """One client connected to one listener.

    Steps use its attributes and `answer`, `wait_for`, `start_tls`, `become`, `end`.
    """

    __slots__ = (
        "_active", "_busy", "_commands", "_errors", "_had_mail", "_handshake_began", "_last_reply", "_reading",
        "_rejections", "_stopping", "_task", "_timer", "_upgrading", "_waiting_for_commit", "_write_paused", "esmtp",
        "helo", "logon", "refused", "transaction",
    )  # fmt: skip

    def __init__(self, listener: "Listener") -> None:
        SessionOpening.__init__(self, listener)
        self.transaction: Transaction | None = None
        self.refused: Transaction | None = None
        """The transaction that the next refusal is about, where it is over already."""
        self.helo = ""
        self.esmtp = False
        self.logon: Logon | None = None
        """The AUTH exchange under way, and the failures so far."""
        self._active = True
        """Something came since the table of sessions last looked; cheaper than a clock for each segment."""
        self._upgrading = False
        self._handshake_began = 0.0
        self._busy = False
        self._waiting_for_commit = False
        self._last_reply = False
        self._stopping: Reply | None = None
        self._reading = True
        self._write_paused = False
        self._errors = 0
        self._rejections = 0
        self._commands = 0
        self._had_mail = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- asyncio --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.listener.sessions.add(self)
        SessionOpening.connection_made(self, transport)

    def data_received(self, data: bytes) -> None:
        self._active = True
        if self._started:
            if self._busy or self._write_paused:
                self.engine.receive_data(data)
                self._advance()
            else:
                self._advance(self.engine.feed(data))
        elif self._proxy is not None:
            self._read_proxy_header(data)

    def eof_received(self) -> bool:
        """The client says no more. A message on its way to the disk is answered, or it would be sent a second time."""
        answers = self._waiting_for_commit and not self.tls_info
        self._last_reply = self._last_reply or answers
        return answers

    def pause_writing(self) -> None:
        self._write_paused = True
        self._regulate_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._regulate_reading()
        if self._started:
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self.listener.server.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._started:
            self._started = False
            self.engine.close()
            self.abort_transaction()
            self.services.limits.release(self.connector.settings.name, self.client_ip)
            self.connector.counters.current -= 1
            if self.connector.verbose:
                session_record.line(self, "-", "", "Remote" if exc is None else type(exc).__name__)

    # --- beginning and end ----------------------------------------------------------------------------------------

    def end(self, reply: Reply) -> None:
        """Close from our side, saying why (421)."""
        if not self._started or self._upgrading:
            self.transport.abort()
            return
        self.engine.close(reply)
        self._advance()

    def check_time(self, now: float) -> None:
        """End a session that is idle or has lasted too long (ConnectionInactivityTimeout, ConnectionTimeout)."""
        if self._active:
            self._active, self.last_activity = False, now
        if not self._started:
            if now - self.began > _PRE_SESSION_SECONDS:
                self.transport.abort()
        elif self._upgrading:
            if now - self._handshake_began > min(_HANDSHAKE_SECONDS, self.connector.inactivity_timeout):
                cast(TlsStream, self.transport).give_up(TimeoutError())
        elif now - self.began > self.connector.timeout:
            self.connector.counters.timeouts += 1
            self.end(replies.SESSION_TIMEOUT)
        elif now - self.last_activity > self.connector.inactivity_timeout:
            self.connector.counters.timeouts += 1
            self.end(replies.IDLE_TIMEOUT)
        elif self.engine.state is State.CLOSED and now - self.last_activity > _CLOSING_SECONDS:
            self.transport.abort()

    def shut_down(self, reply: Reply) -> None:
        """The server stops: end now unless a message is on its way in, else right after its reply."""
        self._stopping = reply
        if not self._started or (self.transaction is None and not self._waiting_for_commit):
            self.end(reply)

    def close_after_answer(self) -> None:
        """The next reply is the last."""
        self._last_reply = True

    def abort_transaction(self) -> None:
        """Forget the transaction and what was written of its content."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None and transaction.content is not None and transaction.content.writer is not None:
            writer, transaction.content.writer = transaction.content.writer, None
            self.services.in_background(writer.discard())

    # --- the loop -------------------------------------------------------------------------------------------------

    def _advance(self, event: Event | None = None) -> None:
        """Handle `event`, then others until one must wait, then send what there is."""
        engine = self.engine
        verbose = self.connector.verbose
        while event is not None or (
            not (self._busy or self._write_paused) and (event := engine.next_event()) is not None
        ):
            if verbose:
                session_record.heard(self, event)
            self._commands += 1
            if self._commands > COMMANDS_PER_SESSION or engine.idle_commands > IDLE_COMMANDS:
                engine.close(replies.TOO_MANY_COMMANDS)
            elif type(event) is Violation:
                self._violation(event)
            else:
                self._steps[type(event)](self, event)
            event = None
        out = engine.data_to_send()
        if out:
            if verbose:
                session_record.said(self, out)
            self.transport.write(out)
        if engine.state is _CLOSED and not self._upgrading:
            self.transport.close()
        elif not self._reading or (engine.waiting and engine.pending_bytes > PIPELINE_BYTES):
            self._regulate_reading()

    def _violation(self, event: Violation) -> None:
        self._errors += 1
        self.abort_if_content_failed()
        if self._errors > self.connector.settings.max_protocol_errors:
            self.engine.close(replies.TOO_MANY_ERRORS)
        else:
            self.answer(event.reply)

    def abort_if_content_failed(self) -> None:
        """A violation outside a transaction's commands leaves it alone; the engine says what is left of it."""
        if self.engine.state in (State.CONNECTED, State.READY):
            self.abort_transaction()

    def answer(self, reply: Reply) -> None:
        """Answer the event under way; late where the client earned a tarpit."""
        if reply.code >= 500 and self._rejections and self.principal is ANONYMOUS:
            delay = self.connector.settings.tarpit_interval.total_seconds()
        else:
            delay = 0.0
        self._rejections += reply.code >= 500
        self.connector.counters.rejected(reply.code)
        self.answer_after(delay, reply)

    def answer_after(self, seconds: float, reply: Reply, detail: str = "") -> None:
        """Answer the event under way after a delay; `detail`: why, for those who ask about a refusal."""
        if reply.code >= 400:
            refusals.note(self, reply, detail)
        if seconds > 0:
            self.connector.counters.tarpits += 1
            self._timer = asyncio.get_running_loop().call_later(seconds, self.answer_late, reply)
        else:
            self._reply(reply)

    def _reply(self, reply: Reply) -> None:
        self.engine.reply(reply)
        if self._last_reply:
            self.engine.close()
        elif self._stopping is not None and self.transaction is None:
            self.engine.close(self._stopping)

    def mail_begun(self) -> float:
        """MAIL was accepted; the monotonic time, from which it is measured how long the message takes."""
        now = self.services.clock.monotonic()
        if not self._had_mail:
            self._had_mail = True
            self.connector.counters.until_mail.observe(now - self.began)
        return now

    def committing(self) -> None:
        """The message is on its way to the disk; `answer_late` follows."""
        self._waiting_for_commit = True

    def answer_late(self, reply: Reply) -> None:
        """Answer from outside the loop of events: after a wait."""
        self._timer = None
        self._waiting_for_commit = False
        if self._started and self.engine.state is not State.CLOSED:
            self._reply(reply)
            self._advance()

    def go_on(self) -> None:
        """Handle further events after a wait that answered nothing."""
        if self._started:
            self._advance()

    def wait_for(self, work: Coroutine[Any, Any, None], then: Callable[[], None] | None = None) -> None:
        """Run a coroutine while this session's events wait; `then` (or further events) follow it."""
        self._busy = True
        self._regulate_reading()

        def finished(task: asyncio.Task[None]) -> None:
            self._task = None
            self._busy = False
            if task.cancelled():
                return
            if (error := task.exception()) is not None:
                log.error("session %s: %r", self.session_id, error, exc_info=error)
                if self._started:
                    self.end(replies.LOCAL_ERROR_CLOSING)
                return
            if self._started:
                self._regulate_reading()
                (then or self.go_on)()

        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(finished)

    def _regulate_reading(self) -> None:
        """Read only while there is room for what comes."""
        if not self._started or self._upgrading:
            return
        wanted = not self._busy and not self._write_paused and self.engine.pending_bytes <= PIPELINE_BYTES
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    # --- TLS ------------------------------------------------------------------------------------------------------

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Send what is due in clear, then do the handshake; a failed one ends the session."""
        self._send()
        self._upgrading = self._busy = True
        self._handshake_began = self.services.clock.monotonic()
        # From here on only what TLS protected arrives.
        self.transport = TlsStream(self.transport, self, context, server_side=True)

    def handshake_failed(self, error: Exception) -> None:
        """Called by `TlsStream`."""
        self.connector.counters.tls_failures += 1
        refusals.note_handshake(self, tls_reason(error) or type(error).__name__)
        session_record.line(self, "*", "", f"TLS negotiation failed: {type(error).__name__}")
        log.info("session %s from %s: TLS handshake failed: %s", self.session_id, self.client_ip, error)

    def handshake_done(self) -> None:
        """Called by `TlsStream`."""
        self._upgrading = self._busy = False
        self._note_tls(self.transport)
        self.connector.counters.tls_sessions += 1
        if self.connector.verbose:
            session_record.line(self, "*", "", f"TLS protocol {self.tls_info}")
        self._active = True
        self._restart_after_tls()

    def _restart_after_tls(self) -> None:
        """Nothing that was learned in clear survives (RFC 3207 §4.2)."""
        self.abort_transaction()
        self.helo, self.esmtp = "", False
        self._tracked = ""
        if (partner := self._principal_by_certificate()) is not None:
            self.become(partner)
        self.engine.tls_established(self._features())
        self._advance()
