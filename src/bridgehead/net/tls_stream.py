# SPDX-License-Identifier: MIT
"""TLS over a connection that is open already, between its transport and its protocol, as after STARTTLS (RFC 3207).

Does what `loop.start_tls` does with less work (ADR 21): no task, one callback a read; the end of the handshake and what
is said first leave in one write, and so do the last words and close_notify (RFC 8446 §6.1). Nothing that came in clear
gets here. Time-outs are the protocol's, also for a peer that does not close after `close`.
"""

import asyncio
import ssl
from typing import Any, Final, Protocol

_RECORD: Final = 16384
"""The most octets that a record of TLS brings."""


class TlsUser(Protocol):
    """The protocol above: an `asyncio.Protocol` that is told of the handshake too."""

    def handshake_done(self) -> None:
        """TLS is there; what is written now goes with the end of the handshake."""

    def handshake_failed(self, error: Exception) -> None:
        """There will be no TLS; `connection_lost` follows. ssl.SSLError, or OSError where the connection was lost."""

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol`."""

    def eof_received(self) -> bool | None:
        """As `asyncio.Protocol`; the connection closes whatever is returned."""

    def connection_lost(self, exc: Exception | None) -> None:
        """As `asyncio.Protocol`."""

    def pause_writing(self) -> None:
        """As `asyncio.Protocol`."""

    def resume_writing(self) -> None:
        """As `asyncio.Protocol`."""


class _Nobody(asyncio.Protocol):
    """Above a connection that is gone."""

    def handshake_done(self) -> None:
        pass

    def handshake_failed(self, error: Exception) -> None:
        pass


_NOBODY: Final = _Nobody()


class TlsStream(asyncio.Transport, asyncio.Protocol):
    """The transport that the protocol above has from now on. The handshake begins at once.

    Args:
        transport: of the connection; it belongs to this object from now on.
        server_hostname: what a client asks for; "" for nothing.
        session: what a client takes up again.
    """

    __slots__ = (
        "_closing", "_error", "_gathering", "_incoming", "_object", "_open", "_outgoing", "_server_side",
        "_ticket_waits", "_transport", "_unsent", "_user",
    )  # fmt: skip

    def __init__(
        self, transport: asyncio.Transport, user: TlsUser, context: ssl.SSLContext, *, server_side: bool,
        server_hostname: str = "", session: ssl.SSLSession | None = None,
    ) -> None:  # fmt: skip
        self._transport = transport
        self._user: TlsUser = user
        self._server_side = server_side
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname or None
        )
        if session is not None:
            self._object.session = session
        self._open = False
        self._closing = False
        self._gathering = False
        """What is written waits for the end of the turn."""
        self._ticket_waits = False
        """Only a session ticket of TLS 1.3 is due: it goes with the first answer."""
        self._unsent = b""
        """What could not be written yet, because the peer renegotiates."""
        self._error: Exception | None = None
        transport.set_protocol(self)
        if not server_side:
            self._shake_hands()
            self._transport.write(self._outgoing.read())

    # --- the protocol of the connection below -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._closing:
            self._await_goodbye()
            return
        self._gathering = True
        try:
            if self._open or (self._shake_hands() and (self._incoming.pending or not self._server_side)):
                self._read()
        finally:
            self._gathering = False
            if not self._ticket_waits:
                self._flush()

    def eof_received(self) -> bool:
        if self._open and not self._closing:
            self._user.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        error = self._error or exc
        if not self._open and self._error is None:
            self._user.handshake_failed(exc or ConnectionResetError("the other side closed the connection"))
        user, self._user = self._user, _NOBODY  # so that both go without waiting for the garbage collector
        user.connection_lost(error)

    def pause_writing(self) -> None:
        self._user.pause_writing()

    def resume_writing(self) -> None:
        self._user.resume_writing()

    # --- TLS ----------------------------------------------------------------------------------------------------------

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLError, OSError) as error:
            self._user.handshake_failed(error)
            self._break(error)
            return False
        self._open = True
        self._ticket_waits = self._server_side and self._object.version() == "TLSv1.3"
        self._user.handshake_done()
        return not self._closing

    def _read(self) -> None:
        """Hand up what came, whole."""
        tls, incoming = self._object, self._incoming
        came, ended, error = b"", False, None
        try:
            came = tls.read(_RECORD)
            ended = not came
            while not ended and (incoming.pending or tls.pending()):
                more = tls.read(_RECORD)
                ended = not more
                came += more
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as broken:
            error = broken
        if self._unsent:
            unsent, self._unsent = self._unsent, b""
            self.write(unsent)
        if came:
            self._user.data_received(came)
        if error is not None:
            self._break(error)
        elif ended and not self._closing:
            self._user.eof_received()
            self.close()

    def _break(self, error: Exception) -> None:
        """TLS cannot go on: the alert, and no more."""
        self._error = error
        self._closing = True
        self._flush()
        self._transport.close()

    def _await_goodbye(self) -> None:
        """After our close_notify: the other side's, or anything else that ends it."""
        try:
            self._object.unwrap()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:
            pass
        self._transport.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    # --- the transport of the protocol above --------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As `asyncio.Transport`; only between `handshake_done` and `close`, else nothing is written."""
        if self._closing or not self._open:
            return
        if self._unsent:
            self._unsent += data
            return
        sent = 0
        try:
            sent = self._object.write(data)
            while sent < len(data):
                sent += self._object.write(memoryview(data)[sent:])
        except ssl.SSLWantReadError:
            self._unsent = bytes(data[sent:])
        except ssl.SSLError as error:
            self._break(error)
            return
        self._ticket_waits = False
        if not self._gathering:
            self._flush()

    def close(self) -> None:
        """Say that nothing more comes, and close when the other side said so too."""
        if self._closing:
            return
        self._closing = True
        if not self._open:
            self._transport.close()
            return
        try:
            self._object.unwrap()
        except ssl.SSLWantReadError:
            self._flush()
            self._transport.resume_reading()
            return
        except ssl.SSLError:
            pass
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """As `asyncio.Transport`."""
        self._closing = True
        self._transport.abort()

    def give_up(self, error: Exception) -> None:
        """Abort a handshake that takes too long; the protocol above is told why."""
        self._error = error
        self._user.handshake_failed(error)
        self.abort()

    def is_closing(self) -> bool:
        """As `asyncio.Transport`."""
        return self._closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        """As `asyncio.Transport`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """As `asyncio.Transport`."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`ssl_object`, and what the connection below knows."""
        if name == "ssl_object":
            return self._object
        return self._transport.get_extra_info(name, default)
