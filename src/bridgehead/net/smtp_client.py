# SPDX-License-Identifier: MIT
"""Drives a `ClientConnection` over a transport: bytes, time-outs, TLS, flow control (RFC 5321 §4.5.3.2).

Setting a session up (`hello`, `start_tls`, `authenticate`) is awaited; transactions run by plain callbacks to the
owner, with no task and no timer of their own. One timer for each connection looks at a deadline now and then.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from bridgehead.diagnosis.facts import How
from bridgehead.mail.limits import OPENING_PIECE_BYTES, OPENING_PIECES
from bridgehead.net.tls import TlsFacts, facts, handshake_error, keep_session, kept_session, sent_chain, tls_reason
from bridgehead.net.tls_stream import TlsStream
from bridgehead.smtp.client import ClientConnection
from bridgehead.smtp.client_events import (
    ClientEvent,
    Closing,
    ContentWanted,
    SaslClient,
    Transaction,
    TransactionDone,
)
from bridgehead.smtp.client_states import ClientState
from bridgehead.smtp.errors import RemoteProtocolError

PHASE_SECONDS: Final[Mapping[str, float]] = {
    "greeting": 300.0, "command": 300.0, "data": 120.0, "block": 180.0, "final": 600.0, "quit": 5.0, "idle": 5.0,
}  # fmt: skip
"""RFC 5321 §4.5.3.2; "quit" and "idle" are ours."""


_TCP_INFO_BYTES: Final = 192
_BYTES_ACKED: Final = 120
"""Where tcpi_bytes_acked stands in Linux' struct tcp_info (include/uapi/linux/tcp.h)."""


class ConnectionLost(Exception):
    """The connection ended, or had to; the message says why, in words fit for a log.

    Attributes:
        status: enhanced status for the messages that were under way.
        how: the kind of end.
        alert: OpenSSL's reason where TLS ended it.
    """

    def __init__(self, reason: str, status: str = "4.4.2", how: How = How.DROPPED, alert: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.how = how
        self.alert = alert


class TlsFailed(Exception):
    """The TLS handshake failed; the connection is gone. The message says why.

    Attributes:
        alert: OpenSSL's reason, "" where TLS did not complain.
        verify_code: OpenSSL's X.509 verification error, 0 for none.
        chain: the certificates that failed, DER, the server's own first.
    """

    def __init__(self, reason: str, *, alert: str = "", verify_code: int = 0, chain: tuple[bytes, ...] = ()) -> None:
        super().__init__(reason)
        self.alert = alert
        self.verify_code = verify_code
        self.chain = chain


class ClientOwner(Protocol):
    """Who uses the connection. Called on the event loop, between reading and writing."""

    def content_wanted(self, transaction: Transaction) -> None:
        """The server waits for the content."""

    def transaction_done(self, transaction: Transaction) -> None:
        """Every recipient has its status."""

    def connection_ended(self, unfinished: list[Transaction], reason: str) -> None:
        """Called once, when nothing more will come. `unfinished` are complete too; those with `begun` False were
        never answered."""


class SmtpClient(asyncio.Protocol):
    """One connection.

    Args:
        engine: the conversation.
        phase_seconds: time-outs by phase (`PHASE_SECONDS`).
        longest_silence: cap on every time-out, seconds (ConnectionInactivityTimeOut).
    """

    def __init__(
        self, engine: ClientConnection, *, phase_seconds: Mapping[str, float] = PHASE_SECONDS,
        longest_silence: float = 600.0,
    ) -> None:  # fmt: skip
        self.engine = engine
        self.owner: ClientOwner | None = None
        self.tls: TlsFacts | None = None
        self.local = ""
        self.remote = ""
        self._seconds = {phase: min(value, longest_silence) for phase, value in phase_seconds.items()}
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[ClientEvent] | None = None
        self._early: ClientEvent | None = None
        self._drained: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._ended: ConnectionLost | None = None
        self._upgrading = False
        self._handshake: asyncio.Future[None] | None = None
        self._tls_host = ""
        self.began = self._loop.time()
        self.opening: list[tuple[bool, bytes]] = []
        """What was said (True: by us) until the first message, without secrets; read only when something fails."""
        self.heard = b""
        """What came last since then."""
        self.written = 0
        """Octets handed to the connection; those of TLS itself not counted."""
        self.acknowledged = -1
        """How many the far side's machine confirmed, where the connection ended in a message; -1: unknown."""

    # --- setting up -----------------------------------------------------------------------------------------------

    async def hello(self) -> ClientEvent:
        """Wait for the greeting and the answer to EHLO: HelloDone or Refused. Raises ConnectionLost."""
        return await self._event()

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str, *, seconds: float) -> ClientEvent:
        """STARTTLS, handshake, EHLO again: HelloDone or Refused; TlsRefused where the server does not want to.
        Raises TlsFailed, ConnectionLost."""
        self._still_open()
        self.engine.start_tls()
        self.flush()
        event = await self._event()
        if type(event).__name__ != "TlsAccepted":
            return event
        await self._upgrade(context, server_hostname, seconds)
        return await self._event()

    async def _upgrade(self, context: ssl.SSLContext, server_hostname: str, seconds: float) -> None:
        assert self._transport is not None
        self._upgrading = True
        self._handshake = self._loop.create_future()
        try:
            async with asyncio.timeout(seconds):
                self._tls_host = server_hostname or self.remote
                self._transport = TlsStream(
                    self._transport, self, context, server_side=False, server_hostname=server_hostname,
                    session=kept_session(context, self._tls_host),
                )  # fmt: skip
                await self._handshake
        except (OSError, TimeoutError, ssl.SSLError) as error:
            self._transport.abort()
            raise TlsFailed(
                handshake_error(error), alert=tls_reason(error), verify_code=getattr(error, "verify_code", 0),
                chain=getattr(error, "sent_chain", ()),
            ) from None  # fmt: skip
        finally:
            self._upgrading = False

    def handshake_done(self) -> None:
        """Called by `TlsStream`. What the engine says next, if anything, goes with the end of the handshake."""
        assert self._transport is not None
        assert self._handshake is not None
        self._upgrading = False
        self.tls = facts(self._transport.get_extra_info("ssl_object"))
        self.engine.tls_established()
        self.flush()
        if not self._handshake.done():
            self._handshake.set_result(None)

    def handshake_failed(self, error: Exception) -> None:
        """Called by `TlsStream`."""
        if self._handshake is not None and not self._handshake.done():
            self._handshake.set_exception(error)

    async def begin_tls(self, context: ssl.SSLContext, server_hostname: str, *, seconds: float) -> None:
        """TLS before the greeting, as on port 465 (RFC 8314 §3); `hello` follows. Raises TlsFailed, ConnectionLost."""
        self._still_open()
        await self._upgrade(context, server_hostname, seconds)

    async def ask(self, command: str) -> ClientEvent:
        """One command outside of transactions: Answered, or Closing where the server ended the session with it.
        Raises ConnectionLost, LocalProtocolError."""
        self._still_open()
        self.engine.ask(command)
        self.flush()
        return await self._event()

    async def authenticate(self, sasl: SaslClient) -> ClientEvent:
        """AUTH: Authenticated or AuthenticationFailed. Raises ConnectionLost."""
        self._still_open()
        self.engine.authenticate(sasl)
        self.flush()
        return await self._event()

    async def _event(self) -> ClientEvent:
        if self._early is not None:
            event, self._early = self._early, None
            return event
        self._still_open()
        self._waiter = self._loop.create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def _still_open(self) -> None:
        """Raises ConnectionLost where the server ended the session, be it in the same breath as its last answer."""
        if self._ended is not None:
            raise self._ended

    @property
    def sent_chain(self) -> tuple[bytes, ...]:
        """The certificates that the server sent, DER, its own first; empty without TLS."""
        ssl_object = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return sent_chain(ssl_object) if ssl_object is not None else ()

    @property
    def resumed(self) -> bool:
        """Whether a TLS session was taken up again: then `sent_chain` is the server's own certificate alone."""
        ssl_object = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return bool(getattr(ssl_object, "session_reused", False))

    # --- transactions ---------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what the engine has to say, and start the clock for the answer."""
        data = self.engine.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)
            self.written += len(data)
            if self.owner is None:
                self._keep(True, data)
        self._deadline = self._time() + self._seconds[self.engine.phase]

    async def drained(self) -> None:
        """Wait until the transport has room again. Returns at once when the connection is over."""
        if self._drained is not None:
            await self._drained

    @property
    def is_open(self) -> bool:
        return self._ended is None

    @property
    def ended(self) -> ConnectionLost | None:
        """How it ended, None while it is open."""
        return self._ended

    @property
    def seconds_open(self) -> float:
        """Seconds since it was made."""
        return self._time() - self.began

    @property
    def heard_at_opening(self) -> bytes:
        """What the server said until the first message."""
        return b"".join(data for ours, data in self.opening if not ours)

    def _keep(self, ours: bool, data: bytes) -> None:
        """Note a piece of the beginning; what an AUTH exchange holds is left out."""
        if self.engine.state is ClientState.AUTH:
            if ours:
                data = b" ".join(data.split(b" ")[:2]) if data.startswith(b"AUTH ") else b"<authentication data>"
            elif data.startswith(b"334"):
                data = b"334 <authentication data>"
        if len(self.opening) < OPENING_PIECES:
            self.opening.append((ours, data[:OPENING_PIECE_BYTES]))

    def quit(self) -> None:
        """Say QUIT; the connection closes when it is answered, or soon after."""
        self.engine.quit()
        self.flush()

    def abort(self, reason: str, status: str = "4.4.2") -> None:
        """End the connection at once."""
        self._end(reason, status, How.POLICY)

    # --- asyncio.Protocol -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.local = _address(transport.get_extra_info("sockname"))
        self.remote = _address(transport.get_extra_info("peername"))
        self._deadline = self._loop.time() + self._seconds[self.engine.phase]
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._ended is not None:
            return
        if self.owner is None:
            self._keep(False, data)
        else:
            self.heard = data
        try:
            events = self.engine.receive_data(data)
        except RemoteProtocolError as error:
            self._end(f"the server broke the protocol: {error}", "4.5.0", How.PROTOCOL)
            return
        owner = self.owner
        for event in events:
            kind = type(event)
            if kind is TransactionDone and owner is not None:
                owner.transaction_done(event.transaction)  # type: ignore[union-attr]
            elif kind is ContentWanted and owner is not None:
                owner.content_wanted(event.transaction)  # type: ignore[union-attr]
            elif self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(event)
            elif kind is Closing:
                self._end(str(cast(Closing, event).reply), how=How.REPLY)
                return
            else:
                self._early = event
        if self.engine.reply_under_way and not events:
            return  # the clock goes on: a reply that drips is no sign of life
        self.flush()

    def eof_received(self) -> bool:
        self._end("the server closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        alert = tls_reason(exc) if exc is not None else ""
        self._end(
            _lost(exc, alert) if exc else "the server closed the connection",
            how=How.TLS if alert else How.DROPPED, alert=alert,
        )  # fmt: skip

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        self._deadline = self._loop.time() + self._seconds[self.engine.phase]

    # --- ending ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Look at the deadline; it moved on in the meantime unless the server is silent."""
        if self._ended is not None:
            return
        now = self._loop.time()
        if now < self._deadline:
            shortest = min(self._deadline - now, 5.0)  # a later phase may have a nearer deadline
            self._timer = self._loop.call_later(max(shortest, 0.01), self._watch)
            return
        phase = self.engine.phase
        if phase == "idle" and self.owner is not None:
            self.quit()
            if self._ended is None:
                self._timer = self._loop.call_later(self._seconds["quit"], self._watch)
            return
        self._end(f"the server was silent for {self._seconds[phase]:g} s ({phase})", how=How.SILENT)

    def _end(self, reason: str, status: str = "4.4.2", how: How = How.DROPPED, alert: str = "") -> None:
        if self._ended is not None:
            return
        self._ended = ConnectionLost(reason, status, how, alert)
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        transport = self._transport
        if self.tls is not None and transport is not None:
            keep_session(transport.get_extra_info("ssl_object"), self._tls_host)
        unfinished = self.engine.connection_lost(reason, status)
        if unfinished and transport is not None:
            self.acknowledged = _acknowledged(transport)
        if transport is not None and not self._upgrading:
            transport.abort()  # nothing is left to say; a TLS shutdown would only wait for the server's
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._ended)
        if self.owner is not None:
            self.owner.connection_ended(unfinished, reason)


def _address(name: Any) -> str:
    """A socket's name as logs show it; "" for an unnamed Unix socket."""
    if isinstance(name, tuple):
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    return f"unix:{name}" if name else ""


def _acknowledged(transport: asyncio.Transport) -> int:
    """Octets that TCP says have arrived (tcpi_bytes_acked, Linux); -1 where it does not say."""
    connection = transport.get_extra_info("socket")
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return int(struct.unpack_from("=Q", info, _BYTES_ACKED)[0])
    except (OSError, AttributeError, struct.error):
        return -1


def _lost(error: Exception, alert: str) -> str:
    """Why a connection ended that nobody closed; an alert of TLS in words, not with OpenSSL's places in its code."""
    return f"the connection was lost: {alert.replace('_', ' ').lower() or error}"
