# SPDX-License-Identifier: MIT
"""Requests to a server's management interface over TCP, with its self-signed certificate as the only one trusted."""

import base64
import json
import ssl
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def trusting(certificate: Path) -> ssl.SSLContext:
    """A context that believes this certificate and asks for no name."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    return context


def basic(name: str, password: str) -> dict[str, str]:
    """The header field of a login."""
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def request(
    port: int, certificate: Path, verb: str, target: str, headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:  # fmt: skip
    """One request on a connection of its own."""
    connection = HTTPSConnection("127.0.0.1", port, context=trusting(certificate), timeout=30)
    try:
        connection.request(verb, target, body, headers or {})
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()
