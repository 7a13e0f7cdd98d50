# SPDX-License-Identifier: MIT
"""Connections whose first octet is TLS (RFC 8314): the handshake, after which an ordinary session begins.

Who comes is known from the address before the handshake, so that each client meets the certificate, versions and
ciphers of its own connector, and a device those that it alone is allowed. asyncio's servers have one context for
everybody.
"""

import asyncio
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Final

from bridgehead.mail.limits import IMPLICIT_HANDSHAKES
from bridgehead.net.certificates.pairs import CertificateError
from bridgehead.net.ip_range import normalise_ip
from bridgehead.net.tls import tls_reason
from bridgehead.receive import refusals
from bridgehead.receive.session import Session

if TYPE_CHECKING:
    from bridgehead.receive.server import Listener

log = logging.getLogger("bridgehead.receive")

_HANDSHAKE_SECONDS: Final = 30.0
_AT_ONCE: Final = 64
"""Connections accepted before others on the loop have their turn."""
_PAUSE_SECONDS: Final = 1.0
"""After an accept that failed for want of descriptors."""


class ImplicitTlsDoor:
    """Accepts connections of one listener."""

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._accepting = False
        self._closed = False
        self._pause: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to accept."""
        if not self._accepting and not self._closed:
            self._accepting = True
            self._loop.add_reader(self._listener.socket, self._accept)

    def close(self) -> None:
        """Accept no more; handshakes under way go on."""
        self._closed = True
        self._rest()
        if self._pause is not None:
            self._pause.cancel()

    def _rest(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._listener.socket)

    def _go_on(self) -> None:
        self._pause = None
        self.open()

    def _accept(self) -> None:
        crowd = self._listener.server.crowd
        for _ in range(_AT_ONCE if crowd is None else 1):  # other processes take theirs
            if self._under_way >= IMPLICIT_HANDSHAKES:
                self._rest()
                return
            try:
                connection, peer = self._listener.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("%s: no connection can be accepted: %s", self._listener.binding, error)
                self._rest()
                self._pause = self._loop.call_later(_PAUSE_SECONDS, self._go_on)
                return
            connection.setblocking(False)
            self._under_way += 1
            if crowd is not None:
                crowd.tell(len(self._listener.sessions) + self._under_way)
            self._listener.services.in_background(self._begin(connection, peer[0]))

    async def _begin(self, connection: socket.socket, peer: str) -> None:
        """The handshake of one connection."""
        try:
            await self._shake_hands(connection, peer)
        finally:
            self._under_way -= 1
            if self._pause is None:
                self.open()

    async def _shake_hands(self, connection: socket.socket, peer: str) -> None:
        listener = self._listener
        session = Session(listener)
        try:
            session.client_ip, session.local_ip = normalise_ip(peer), normalise_ip(connection.getsockname()[0])
            connector = listener.connector_for(session.local_ip, session.client_ip)
            # Whom no connector takes is told so, by whatever certificate there is.
            connector = connector or listener.server.implicit_tls_on(listener.binding)
            if connector is None:
                connection.close()
                return
            session.connector = connector
            await self._loop.connect_accepted_socket(
                lambda: session, connection, ssl=connector.tls_context(), ssl_handshake_timeout=_HANDSHAKE_SECONDS
            )
        except CertificateError as error:
            connection.close()
            log.error("%s: no TLS for %s: %s", listener.binding, peer, error)
        except (ssl.SSLError, OSError, TimeoutError) as error:
            connection.close()
            session.connector.counters.tls_failures += 1
            refusals.note_handshake(session, tls_reason(error) or type(error).__name__)
            log.info("connection from %s: TLS handshake failed: %s", peer, error)
