# SPDX-License-Identifier: MIT
"""Fetches MTA-STS policies: one HTTPS GET with everything bounded and nothing followed (RFC 8461 §3.3, RFC 9110).

An own small client: the certificate must carry the policy host's name, redirects are refused, time and size end it.
Addresses come from the server's own resolver.
"""

import asyncio
import ssl
from typing import Final

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import STS_FETCH_SECONDS, STS_HEADER_BYTES, STS_POLICY_BYTES
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.trust import verifying_context
from bridgehead.routing.tls_result import ResultType

PATH: Final = "/.well-known/mta-sts.txt"
_ADDRESSES: Final = 4


class FetchError(Exception):
    """No policy could be fetched. The message says why, `result` as reports name it."""

    def __init__(self, reason: str, result: ResultType = ResultType.STS_POLICY_FETCH_ERROR) -> None:
        super().__init__(reason)
        self.result = result


class PolicyHosts:
    """Fetches policies.

    Args:
        ca_file: trust anchors, "" for the system's.
        port: of policy hosts.
        seconds: for the whole of one fetch.
    """

    def __init__(
        self, *, ca_file: str = "", port: int = 443, seconds: float = STS_FETCH_SECONDS
    ) -> None:  # fmt: skip
        self._ca_file = ca_file
        self._port = port
        self._seconds = seconds
        self._context: ssl.SSLContext | None = None

    async def fetch(self, domain: str, dns: DnsLookup) -> bytes:
        """The policy of a domain as its host has it. Raises FetchError."""
        host = f"mta-sts.{domain}"
        try:
            async with asyncio.timeout(self._seconds):
                return await self._fetch(host, dns)
        except TimeoutError:
            raise FetchError(f"{host} did not give its policy within {self._seconds:g} s") from None
        except ssl.SSLCertVerificationError as error:
            reason = f"the certificate of {host} is not valid: {clean_text(error.verify_message, 200)}"
            raise FetchError(reason, ResultType.STS_WEBPKI_INVALID) from None
        except (OSError, EOFError, ssl.SSLError) as error:
            why = getattr(error, "strerror", "") or str(error) or type(error).__name__
            raise FetchError(f"{host} cannot be asked: {clean_text(why, 200)}") from None

    async def _fetch(self, host: str, dns: DnsLookup) -> bytes:
        addresses = await dns.addresses(host)
        if not addresses.values:
            raise FetchError(f"{host} has no address: {addresses.reason}")
        reader, writer = await self._connect(host, addresses.values[:_ADDRESSES])
        try:
            writer.write(f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bridgehead\r\n".encode())
            writer.write(b"Accept: text/plain\r\nConnection: close\r\n\r\n")
            return await _answer(reader, host)
        finally:
            writer.transport.abort()  # nothing more is said, and nobody waits for the other side's goodbye

    async def _connect(
        self, host: str, addresses: tuple[str, ...]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # fmt: skip
        """The first address that answers; a certificate that is not valid ends it, whatever the others have."""
        failure: OSError | None = None
        for address in addresses:
            try:
                return await asyncio.open_connection(
                    address, self._port, ssl=self._tls(), server_hostname=host, limit=STS_HEADER_BYTES
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
        raise failure or OSError("no address")

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = verifying_context(self._ca_file)
            self._context.hostname_checks_common_name = False
        return self._context


async def _answer(reader: asyncio.StreamReader, host: str) -> bytes:
    """The body of a good answer. Raises FetchError."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise FetchError(f"{host} says too much before its policy") from None
    except asyncio.IncompleteReadError:
        raise FetchError(f"{host} ended the connection without an answer") from None
    status, *lines = head.decode("latin-1").split("\r\n")
    words = status.split(" ")
    code = words[1] if len(words) > 1 and words[0].startswith("HTTP/1.") else ""
    if code.startswith("3"):
        raise FetchError(f"{host} answered with a redirect ({code}), which may not be followed")
    if code != "200":
        raise FetchError(f"{host} answered {clean_text(status, 100)}")
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    if fields.get("content-type", "").partition(";")[0].strip().lower() != "text/plain":
        raise FetchError(f"{host} gives its policy as {clean_text(fields.get('content-type', '') or 'nothing', 60)}")
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return await _chunked(reader, host)
    return await _plain(reader, host, fields.get("content-length", ""))


async def _plain(reader: asyncio.StreamReader, host: str, length: str) -> bytes:
    if length and not (length.isascii() and length.isdigit() and len(length) <= 10):
        raise FetchError(f"{host} gives a length that is none")
    if length and int(length) > STS_POLICY_BYTES:
        raise _too_large(host)
    if length:
        try:
            return await reader.readexactly(int(length))
        except asyncio.IncompleteReadError:
            raise FetchError(f"{host} ended the connection within its policy") from None
    body = b""
    while piece := await reader.read(STS_POLICY_BYTES):
        body += piece
        if len(body) > STS_POLICY_BYTES:
            raise _too_large(host)
    return body


async def _chunked(reader: asyncio.StreamReader, host: str) -> bytes:
    body = b""
    try:
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0].strip() or b"x", 16)
            if size < 0 or len(body) + size > STS_POLICY_BYTES:
                raise _too_large(host)
            if size == 0:
                return body
            body += await reader.readexactly(size)
            await reader.readexactly(2)
    except (ValueError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
        raise FetchError(f"{host} gives its policy in chunks that are none") from None


def _too_large(host: str) -> FetchError:
    return FetchError(f"the policy of {host} has more than {STS_POLICY_BYTES} octets", ResultType.STS_POLICY_INVALID)
