# SPDX-License-Identifier: MIT
"""An HTTP or HTTPS server on a thread that keeps what is posted to it and answers as it is told."""

import json
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from support.ports import wait_until


@dataclass
class Posted:
    """One POST."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def notices(self) -> list[dict[str, Any]]:
        return list(json.loads(self.body)["notices"])


class WebhookReceiver:
    """Listens on 127.0.0.1. `answers` are the next statuses, 200 once they are used up."""

    def __init__(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.posted: list[Posted] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.posted.append(Posted(self.path, headers, body))
                status = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.scheme = "http" if context is None else "https"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def url(self, path: str = "/alarms", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def wait_for(self, id: str, occasion: str, seconds: float = 20.0) -> dict[str, Any]:
        """The first notice of this alarm on this occasion."""
        return wait_until(
            lambda: next(
                (
                    one
                    for post in list(self.posted)
                    for one in post.notices
                    if (one["id"], one["occasion"]) == (id, occasion)
                ),
                None,
            ),
            seconds,
            lambda: f"{id} {occasion}; posted: {[post.notices for post in self.posted]}",
        )  # type: ignore[return-value]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "WebhookReceiver":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
