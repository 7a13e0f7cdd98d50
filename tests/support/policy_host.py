# SPDX-License-Identifier: MIT
"""MTA-STS policy hosts of a test's own: HTTPS on one loopback port, a certificate and a behaviour for each name.

with PolicyHostServer() as hosts:
    hosts.add("contoso.test", authority.issue("mta-sts.contoso.test"), policy("enforce", "mx.contoso.test"))
"""

import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from support.certificates import Pair
from support.ports import free_port


def policy(mode: str, *mx: str, max_age: int = 86400) -> bytes:
    """An answer with a policy."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {one}" for one in mx), f"max_age: {max_age}", ""]
    return answer("\r\n".join(lines).encode())


def answer(body: bytes, status: str = "200 OK", kind: str = "text/plain", *more: str) -> bytes:
    """An answer of any kind."""
    fields = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(fields).encode() + body


class PolicyHostServer:
    """The server; `requests` are the names that asked for, in order of arrival."""

    def __init__(self) -> None:
        self.port = free_port()
        self.requests: list[str] = []
        self._hosts: dict[str, tuple[ssl.SSLContext, bytes | Callable[[socket.socket], None]]] = {}
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._open = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def add(self, domain: str, pair: Pair, said: bytes | Callable[[socket.socket], None]) -> None:
        """What the policy host of a domain shows and says; a function gets the connection after the request."""
        self._hosts[f"mta-sts.{domain}"] = (pair.server_context(), said)

    def close(self) -> None:
        self._open.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def wait_closed(self, connection: socket.socket) -> None:
        """A behaviour: say nothing until the client goes or the test ends."""
        connection.settimeout(0.2)
        while not self._open.is_set():
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                continue

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        asked: list[str] = []

        def choose(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            asked.append(name or "")
            if name in self._hosts:
                tls.context = self._hosts[name][0]

        any_pair = next(iter(self._hosts.values()))[0]
        any_pair.sni_callback = choose  # type: ignore[assignment]
        try:
            with any_pair.wrap_socket(plain, server_side=True) as connection:
                data = b""
                while b"\r\n\r\n" not in data:
                    piece = connection.recv(4096)
                    if not piece:
                        return
                    data += piece
                self.requests.append(asked[-1])
                said = self._hosts[asked[-1]][1]
                if callable(said):
                    said(connection)
                else:
                    connection.sendall(said)
        except OSError:
            return
