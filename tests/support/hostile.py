# SPDX-License-Identifier: MIT
"""SMTP servers that mean harm: each connection follows a script of the test's, everything they heard is kept."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

EHLO_REPLY = b"250-mx.hostile.test\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n"
ALERT_WARNING = b"\x15\x03\x03\x00\x02\x01\x5a"
"""A TLS record: alert, warning, user_canceled (RFC 8446 §6.1)."""


class Peer:
    """One connection to the hostile server; `heard` is every line that came in clear."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[bytes]) -> None:
        self.reader, self.writer, self._heard = reader, writer, heard

    async def line(self) -> bytes:
        """The next line; ConnectionResetError when there is none."""
        line = await self.reader.readline()
        if not line:
            raise ConnectionResetError
        self._heard.append(line.rstrip(b"\r\n"))
        return line

    async def say(self, data: bytes) -> None:
        """Send octets and let them leave."""
        self.writer.write(data)
        await self.writer.drain()

    async def up_to_starttls(self, banner: bytes = b"220 mx.hostile.test ESMTP\r\n") -> None:
        """Greet, answer EHLO, read STARTTLS; everything else is refused."""
        await self.say(banner)
        while not (line := await self.line()).upper().startswith(b"STARTTLS"):
            await self.say(EHLO_REPLY if line.upper().startswith(b"EHLO") else b"502 5.5.1 no\r\n")

    async def secure(self, context: ssl.SSLContext) -> None:
        """The server's side of a handshake."""
        await self.writer.start_tls(context)

    async def take_everything(self) -> None:
        """An obliging server from here on, so that whatever the client dares to say is heard."""
        while True:
            line = (await self.line()).upper()
            if line.startswith(b"EHLO"):
                await self.say(EHLO_REPLY.replace(b"250-STARTTLS\r\n", b""))
            elif line.startswith(b"DATA"):
                await self.say(b"354 go\r\n")
                await self.reader.readuntil(b"\r\n.\r\n")
                self._heard.append(b"<content>")
                await self.say(b"250 2.0.0 taken\r\n")
            else:
                await self.say(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250 2.0.0 ok\r\n")


Behaviour = Callable[[Peer], Awaitable[None]]


class Hostile:
    """A running hostile server on 127.0.0.1."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[bytes] = []
        self.connections = 0

    def said(self, verb: bytes) -> bool:
        """Whether a line that came in clear begins with this verb."""
        return any(line.upper().startswith(verb) for line in self.heard)


@contextlib.asynccontextmanager
async def hostile(behaviour: Behaviour) -> AsyncIterator[Hostile]:
    """Runs a server whose every connection does what `behaviour` says, then closes."""
    found = Hostile()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await behaviour(Peer(reader, writer, found.heard))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError):
            pass
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
