# SPDX-License-Identifier: MIT
"""Hosts that misbehave below SMTP: they drop packets, never greet, hang up, cut content, speak something else.

Each listens on 127.0.0.1 (or another loopback address) until `close`; all are context managers.
"""

import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class OddHost:
    """Accepts connections and hands each to `behave` on a thread.

    Args:
        receive_buffer: octets that the kernel takes for us before we read, 0 for the usual.
    """

    def __init__(
        self, behave: Callable[[socket.socket], None], *, address: str = "127.0.0.1", receive_buffer: int = 0
    ) -> None:  # fmt: skip
        self._behave = behave
        self._listener = socket.socket()
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind((address, 0))
        self._listener.listen(50)
        self.port: int = self._listener.getsockname()[1]
        self.sessions = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.sessions += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._behave(connection)
            except OSError:
                pass

    def close(self) -> None:
        """Listen no more."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def never_greets(connection: socket.socket) -> None:
    """Takes the connection and says nothing until the client gives up."""
    while connection.recv(4096):
        pass


def hangs_up(connection: socket.socket) -> None:
    """Closes at once."""


def speaks_ssh(connection: socket.socket) -> None:
    """Is another service."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
    connection.recv(4096)


def cuts_content_after(octets: int) -> Callable[[socket.socket], None]:
    """Takes the envelope, reads so much of the content and resets the connection."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"220 cut.test ESMTP\r\n")
        received = b""
        for reply in (b"250 cut.test\r\n", b"250 2.1.0 ok\r\n", b"250 2.1.5 ok\r\n", b"354 go on\r\n"):
            while b"\r\n" not in received:
                received += connection.recv(1024)
            received = received.partition(b"\r\n")[2]
            connection.sendall(reply)
        while len(received) < octets:
            more = connection.recv(octets - len(received))
            if not more:
                return
            received += more
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


def drops_after_the_dot(connection: socket.socket) -> None:
    """Takes a whole message and closes without an answer."""
    connection.sendall(b"220 dot.test ESMTP\r\n")
    received = b""
    for reply in (b"250 dot.test\r\n", b"250 2.1.0 ok\r\n", b"250 2.1.5 ok\r\n", b"354 go on\r\n"):
        while b"\r\n" not in received:
            received += connection.recv(4096)
        received = received.partition(b"\r\n")[2]
        connection.sendall(reply)
    while not received.endswith(b"\r\n.\r\n"):
        received += connection.recv(4096)


class Blackhole:
    """A port whose packets are dropped: its queue of connections is full, so Linux answers no further SYN."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(0)
        self.address = address
        self.port: int = self._listener.getsockname()[1]
        self._waiting: list[socket.socket] = []
        self._fill()

    def _fill(self) -> None:
        for _ in range(8):
            one = socket.socket()
            one.settimeout(0.2)
            self._waiting.append(one)
            try:
                one.connect((self.address, self.port))
            except TimeoutError:
                return
        raise AssertionError("the queue of connections never fills")

    def close(self) -> None:
        """Answer nothing any more."""
        for one in (*self._waiting, self._listener):
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
