# SPDX-License-Identifier: MIT
"""Serves our own MTA-STS policies over HTTPS (RFC 8461 §3.3): one path, one answer, then the connection ends.

Everything from outside is bounded: octets, seconds, connections. Which certificate is shown follows the name that the
client asks for; a client that asks for none of ours gets no handshake.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from bridgehead.mail.limits import POLICY_CONNECTIONS, POLICY_REQUEST_BYTES, POLICY_REQUEST_SECONDS
from bridgehead.net.certificates.pairs import CertificateError

log = logging.getLogger("bridgehead.net")

_PATH: Final = b"/.well-known/mta-sts.txt"
_BACKLOG: Final = 64


class PolicyServer:
    """One listener.

    Args:
        policy_of: the text for a host name, None where we have no policy there.
        context_of: the TLS context for such a host. Raises CertificateError.
    """

    def __init__(
        self, policy_of: Callable[[str], bytes | None], context_of: Callable[[str], ssl.SSLContext]
    ) -> None:  # fmt: skip
        self.policy_of = policy_of
        self._context_of = context_of
        self._server: asyncio.Server | None = None
        self.connections: set[asyncio.Transport] = set()
        self.served = 0

    async def start(self, listening: socket.socket) -> None:
        """Serve on a bound socket. Raises OSError."""
        outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        outer.sni_callback = self._asked
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Request(self), sock=listening, ssl=outer, backlog=_BACKLOG,
            ssl_handshake_timeout=POLICY_REQUEST_SECONDS,
        )  # fmt: skip

    async def stop(self) -> None:
        """Close the listener and what is open."""
        if self._server is not None:
            self._server.close()
            for transport in list(self.connections):
                transport.abort()
            await self._server.wait_closed()

    def _asked(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        host = (name or "").rstrip(".").lower()
        if self.policy_of(host) is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        try:
            connection.context = self._context_of(host)
        except CertificateError as error:
            log.error("there is no certificate for %s: %s", host, error)
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        return None


class _Request(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: PolicyServer) -> None:
        self._server = server
        self._received = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Its time begins."""
        self._transport = cast(asyncio.Transport, transport)
        if len(self._server.connections) >= POLICY_CONNECTIONS:
            self._transport.abort()
            return
        self._server.connections.add(self._transport)
        self._timer = asyncio.get_running_loop().call_later(POLICY_REQUEST_SECONDS, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Its place is free."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Answer once the header is complete, or too long to be one."""
        assert self._transport is not None
        if self._transport.is_closing():
            return
        self._received += data
        if b"\r\n\r\n" in self._received:
            self._transport.write(self._answer(bytes(self._received).partition(b"\r\n\r\n")[0]))
            self._transport.close()
        elif len(self._received) > POLICY_REQUEST_BYTES:
            self._transport.write(_reply(b"431 Request Header Fields Too Large"))
            self._transport.close()

    def _answer(self, header: bytes) -> bytes:
        line, *fields = header.split(b"\r\n")
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _reply(b"400 Bad Request")
        if words[0] not in (b"GET", b"HEAD"):
            return _reply(b"405 Method Not Allowed", b"Allow: GET, HEAD\r\n")
        hosts = [value.strip() for name, _, value in (one.partition(b":") for one in fields) if name.lower() == b"host"]
        if len(hosts) != 1:
            return _reply(b"400 Bad Request")
        host = hosts[0].partition(b":")[0].decode("ascii", "replace").rstrip(".").lower()
        policy = self._server.policy_of(host) if words[1] == _PATH else None
        if policy is None:
            return _reply(b"404 Not Found")
        self._server.served += 1
        return _reply(b"200 OK", b"Cache-Control: max-age=300\r\n", policy, with_body=words[0] == b"GET")


def _reply(status: bytes, fields: bytes = b"", body: bytes = b"", *, with_body: bool = True) -> bytes:
    return (
        b"HTTP/1.1 %b\r\nContent-Type: text/plain; charset=us-ascii\r\nContent-Length: %d\r\nConnection: close\r\n"
        b"X-Content-Type-Options: nosniff\r\n%b\r\n%b" % (status, len(body), fields, body if with_body else b"")
    )
