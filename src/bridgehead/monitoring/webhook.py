# SPDX-License-Identifier: MIT
"""Alarms by HTTP: one POST with JSON, signed with a secret that the receiver knows.

The header `X-Bridgehead-Signature: t=UNIX,v1=HEX` holds the time and HMAC-SHA256 over "UNIX.BODY": a receiver
computes the same and refuses what is old. Redirects are not followed: the address is what the administrator wrote.
"""

import asyncio
import hashlib
import hmac
import http.client
import ssl
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from bridgehead import __version__
from bridgehead.mail.secret import Secret
from bridgehead.monitoring.book import Notice
from bridgehead.monitoring.channels import ChannelFault, bulletin, client_context

SIGNATURE: Final = "X-Bridgehead-Signature"


def signature(secret: Secret, now: float, body: bytes) -> str:
    """The header's value."""
    stamp = str(int(now))
    mark = hmac.new(secret.reveal().encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={mark}"


class WebhookChannel:
    """POST to one URL.

    Args:
        server: our name.
        read_secret: None where POSTs are not signed. Raises ValueError.
        timeout: seconds for the whole of it.
        now: Unix time.
    """

    name = "webhook"

    def __init__(
        self, url: str, *, server: str, read_secret: Callable[[], Secret] | None, ca_file: str, timeout: float,
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self._url = urlsplit(url)
        self._server, self._read_secret, self._ca_file = server, read_secret, ca_file
        self._timeout, self._now = timeout, now

    async def send(self, notices: Sequence[Notice]) -> None:
        """See `Channel`."""
        now = self._now()
        body = bulletin(self._server, now, notices)
        try:
            async with asyncio.timeout(self._timeout):
                status = await asyncio.to_thread(self._post, body, now)
        except TimeoutError:
            raise ChannelFault(f"{self._url.hostname} did not answer within {self._timeout:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ChannelFault(f"{self._url.hostname}: {error or type(error).__name__}") from None
        if not 200 <= status < 300:
            raise ChannelFault(f"{self._url.hostname} answered with status {status}")

    def _post(self, body: bytes, now: float) -> int:
        headers = {"Content-Type": "application/json", "User-Agent": f"Bridgehead/{__version__}"}
        if self._read_secret is not None:
            headers[SIGNATURE] = signature(self._read_secret(), now, body)
        path = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        connection = self._connection()
        try:
            connection.request("POST", path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, self._url.port, timeout=self._timeout)
        return http.client.HTTPSConnection(host, self._url.port, timeout=self._timeout, context=self._context())

    def _context(self) -> ssl.SSLContext:
        return client_context(verify=True, ca_file=self._ca_file)
