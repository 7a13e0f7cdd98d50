# SPDX-License-Identifier: MIT
"""uvicorn with time limits of our own, told to stop from outside, and knowing who is at the Unix socket's other end."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from bridgehead.admin.calls.local_socket import peer_of
from bridgehead.mail.limits import API_CONNECTIONS, API_HEADER_BYTES, API_IDLE_SECONDS, API_REQUEST_SECONDS

PEER: Final = "peer"
"""Name of the `local_socket.Peer` in the state of a scope; TCP has none."""
_TICK_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5


class LimitedProtocol(H11Protocol):
    """One connection. A request that does not come whole in API_REQUEST_SECONDS ends it."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel who is at the other end."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection.family == socket.AF_UNIX:
            self.app_state = {**self.app_state, PEER: peer_of(connection)}
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Watch whether a request is whole."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._expect_request()
        else:
            self._stop_watching()

    def on_response_complete(self) -> None:
        """Watch also what came of the next request while this one was answered."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.trailing_data[0]:
            self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is expected."""
        self._stop_watching()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(API_REQUEST_SECONDS, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class HttpServer(uvicorn.Server):
    """Serves an application on one listening socket until `stop`.

    Args:
        app: ASGI.
        tls: for connections that are to speak it first.
    """

    def __init__(self, app: Any, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        config = uvicorn.Config(
            app, loop="none", http=LimitedProtocol, ws="none", lifespan="off", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, limit_concurrency=API_CONNECTIONS,
            timeout_keep_alive=API_IDLE_SECONDS, timeout_graceful_shutdown=_STOP_SECONDS,
            h11_max_incomplete_event_size=API_HEADER_BYTES,
        )  # fmt: skip
        config.load()
        config.ssl = tls
        super().__init__(config)
        self._listening = listening
        self._stopped = asyncio.Event()
        self._requests = 0
        self.idle_seconds = 0.0
        """How long nobody has been connected."""

    async def run_until_stopped(self) -> None:
        """Serve. Raises OSError."""
        await self.serve([self._listening])

    async def close_listener(self) -> None:
        """Leave newcomers to whoever else holds the socket; one that was accepted a moment ago is still served."""
        for server in self.servers:
            server.close()
        self.idle_seconds = 0.0
        for _ in range(_STOP_SECONDS):
            await asyncio.sleep(_TICK_SECONDS)
            if self.idle_seconds >= _TICK_SECONDS:
                return

    def stop(self) -> None:
        """Take no more connections and let those under way end."""
        self.should_exit = True
        self._stopped.set()

    async def main_loop(self) -> None:
        """uvicorn's looks ten times a second whether it is to stop; ours is told."""
        while not await self.on_tick(0):
            try:
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._stopped.wait()
            except TimeoutError:
                self._mind_idleness()

    def _mind_idleness(self) -> None:
        requests = self.server_state.total_requests
        used = bool(self.server_state.connections) or requests != self._requests
        self._requests = requests
        self.idle_seconds = 0.0 if used else self.idle_seconds + _TICK_SECONDS

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's business, which may have several servers."""
        yield
