# SPDX-License-Identifier: MIT
"""One HTTPS request with everything bounded (RFC 9110, RFC 9112): size, time, and nothing followed.

The certificate must be valid for the host of the address; redirects and proxies of the environment are not used. A
proxy is one that a setting names, by CONNECT. Addresses come from the server's own resolver.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import HTTP_ANSWER_BYTES, HTTP_HEADER_BYTES
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.trust import verifying_context

_ADDRESSES: Final = 4


class HttpFault(Exception):
    """There was no answer of use. The message says why, without what was sent."""


class HttpAnswer(msgspec.Struct, frozen=True):
    """What came back. Names of header fields are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpsClient:
    """Asks servers with one set of trust anchors.

    Args:
        ca_file: trust anchors, "" for the system's.
        proxy: "http://host:port", "" for none.
        seconds: for the whole of one request.
    """

    def __init__(
        self, dns: Callable[[], DnsLookup], *, ca_file: str = "", proxy: str = "", seconds: float = 30.0
    ) -> None:  # fmt: skip
        self._dns, self._ca_file, self._proxy, self._seconds = dns, ca_file, proxy, seconds

    async def get(self, url: str) -> HttpAnswer:
        """GET from an https address. Raises HttpFault."""
        return await self._ask("GET", url, b"", {})

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        """POST to an https address. Raises HttpFault."""
        return await self._ask("POST", url, body, {**headers, "Content-Length": str(len(body))})

    async def _ask(self, verb: str, url: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        target = urlsplit(url)
        host = target.hostname or ""
        if target.scheme != "https" or not host:
            raise HttpFault(f"{clean_text(url, 100)} is no https address")
        try:
            async with asyncio.timeout(self._seconds):
                return await self._exchange(verb, target, host, body, headers)
        except TimeoutError:
            raise HttpFault(f"{host} did not answer within {self._seconds:g} s") from None
        except ssl.SSLCertVerificationError as error:
            words = clean_text(error.verify_message, 200)
            raise HttpFault(f"the certificate of {host} is not valid: {words}") from None
        except ssl.SSLError as error:
            words = clean_text(str(error.reason or "it broke"), 200)
            raise HttpFault(f"TLS with {host} failed: {words}") from None
        except asyncio.LimitOverrunError:
            raise HttpFault(f"{host} answers with header fields of more than {HTTP_HEADER_BYTES} octets") from None
        except asyncio.IncompleteReadError:
            raise HttpFault(f"{host} ended the connection within its answer") from None
        except OSError as error:
            raise HttpFault(
                f"{host} cannot be reached: {clean_text(str(error) or type(error).__name__, 200)}"
            ) from None

    async def _exchange(
        self, verb: str, target: SplitResult, host: str, body: bytes, headers: Mapping[str, str]
    ) -> HttpAnswer:  # fmt: skip
        context = await asyncio.to_thread(verifying_context, self._ca_file)  # reading the trust anchors takes its time
        reader, writer = await self._connect(host, target.port or 443, context)
        try:
            path = (target.path or "/") + (f"?{target.query}" if target.query else "")
            lines = [f"{verb} {path} HTTP/1.1", f"Host: {target.netloc.rpartition('@')[2]}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            lines += ["User-Agent: bridgehead", "", ""]
            writer.write("\r\n".join(lines).encode("ascii") + body)
            return await _read_answer(reader, host)
        finally:
            writer.transport.abort()  # nothing more is said, and nobody waits for the other side's goodbye

    async def _connect(
        self, host: str, port: int, context: ssl.SSLContext
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # fmt: skip
        if not self._proxy:
            return await self._dial(host, port, context, host)
        proxy = urlsplit(self._proxy)
        reader, writer = await self._dial(proxy.hostname or "", proxy.port or 3128, None, "")
        try:
            writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode("ascii"))
            head = await reader.readuntil(b"\r\n\r\n")
            status = _status(head.split(b"\r\n", 1)[0], proxy.hostname or "")
            if status // 100 != 2:
                raise HttpFault(f"the proxy {proxy.hostname} answers CONNECT {host}:{port} with status {status}")
            await writer.start_tls(context, server_hostname=host)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    async def _dial(
        self, host: str, port: int, context: ssl.SSLContext | None, name: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:  # fmt: skip
        """The first address that answers; a certificate that is not valid ends it, whatever the others have."""
        failure: OSError | None = None
        for address in await self._addresses(host):
            try:
                return await asyncio.open_connection(
                    address, port, ssl=context, server_hostname=name or None, limit=HTTP_HEADER_BYTES
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
        raise failure or OSError("there is no address")

    async def _addresses(self, host: str) -> tuple[str, ...]:
        if host.replace(".", "").isdigit() or ":" in host:
            return (host,)
        found = await self._dns().addresses(host)
        if not found.values:
            raise HttpFault(f"{host} has no address: {found.reason}")
        return tuple(found.values[:_ADDRESSES])


async def _read_answer(reader: asyncio.StreamReader, host: str) -> HttpAnswer:
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    status = _status(status_line, host)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunked(reader, host)
    else:
        body = await _plain(reader, host, headers.get("content-length", ""))
    return HttpAnswer(status, headers, body)


def _status(line: bytes, host: str) -> int:
    words = line.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit() or len(words[1]) != 3:
        raise HttpFault(f"{host} does not speak HTTP")
    return int(words[1])


async def _plain(reader: asyncio.StreamReader, host: str, length: str) -> bytes:
    if length:
        if not (length.isascii() and length.isdigit()):
            raise HttpFault(f"{host} gives a length that is none")
        if int(length[:10]) > HTTP_ANSWER_BYTES:
            raise _too_large(host)
        return await reader.readexactly(int(length))
    body = bytearray()
    while piece := await reader.read(HTTP_ANSWER_BYTES):
        body += piece
        if len(body) > HTTP_ANSWER_BYTES:
            raise _too_large(host)
    return bytes(body)


async def _chunked(reader: asyncio.StreamReader, host: str) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        try:
            size = int(line.partition(b";")[0].strip() or b"x", 16)
        except ValueError:
            raise HttpFault(f"{host} answers in chunks that are none") from None
        if size < 0 or len(body) + size > HTTP_ANSWER_BYTES:
            raise _too_large(host)
        if size == 0:
            return bytes(body)
        body += await reader.readexactly(size)
        await reader.readexactly(2)


def _too_large(host: str) -> HttpFault:
    return HttpFault(f"{host} answers with more than {HTTP_ANSWER_BYTES} octets")
