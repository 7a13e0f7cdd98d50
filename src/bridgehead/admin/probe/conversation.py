# SPDX-License-Identifier: MIT
"""A connection of a test: delivery's own client from delivery's own source address, with its transcript kept.

Whatever is said on it is kept with the time, without credentials (the engine hides them from transcripts).
"""

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import takewhile
from typing import Final, cast

import msgspec

from bridgehead.mail.limits import PROBE_DETAILS
from bridgehead.mail.reply import Reply
from bridgehead.net.dialer import DialError, dial, dial_unix, shown, source_for
from bridgehead.net.own_connections import Announce
from bridgehead.net.smtp_client import PHASE_SECONDS, ConnectionLost, SmtpClient
from bridgehead.smtp.client import ClientConnection
from bridgehead.smtp.client_events import Answered, ClientEvent, Closing

_SILENT: Final = {"greeting", "command", "idle"}
_QUIT_SECONDS: Final = 2.0


class Line(msgspec.Struct, frozen=True):
    """One line of a transcript; `seconds` since the connection was open, `mark` one of > < *."""

    seconds: float
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.seconds * 1000:6.0f} ms {self.mark} {self.text}"


class NotConnected(Exception):
    """No TCP connection. `remedy`: what to do."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.remedy = remedy


class Conversation:
    """One connection from `open` to `close`.

    Attributes:
        client: delivery's client, good for `secure_session` and `log_on`.
        lines: what was said, bounded.
    """

    def __init__(self, time: Callable[[], float]) -> None:
        self.client: SmtpClient
        self.lines: list[Line] = []
        self._time = time
        self._opened = 0.0
        self._greeted = asyncio.Event()
        self._hello: asyncio.Task[ClientEvent] | None = None

    @classmethod
    async def open(
        cls, address: str, port: int, *, fqdn: str, host: str, sources: Sequence[str], seconds: float,
        time: Callable[[], float], force_helo: bool = False, lmtp: bool = False, preamble: bytes = b"",
        announce: Announce | None = None,
        secure: Callable[[SmtpClient], Awaitable[None]] | None = None,
    ) -> "Conversation":  # fmt: skip
        """Connect. Raises NotConnected, and what `secure` raises.

        Args:
            preamble: octets sent before anything else: a PROXY protocol header.
            announce: see `net.dialer.dial`.
            secure: begins TLS before the greeting (RFC 8314).
        """
        self = cls(time)
        engine = ClientConnection(fqdn, force_helo=force_helo, lmtp=lmtp, remote_mta=host, transcript=self._heard)
        try:
            if address.startswith("unix:"):
                self.client = await dial_unix(lambda: _client(engine, b"", seconds), address[5:], seconds=seconds)
            else:
                self.client = await dial(
                    lambda: _client(engine, preamble, seconds), address, port, sources=sources, seconds=seconds,
                    announce=announce,
                )  # fmt: skip
        except DialError as error:
            raise _not_connected(error, address, port, sources, seconds) from None
        self._opened = time()
        if secure is not None:
            try:
                await secure(self.client)
            except BaseException:
                self.client.abort("the test ended")
                raise
        self._hello = asyncio.ensure_future(self.client.hello())
        return self

    async def banner(self) -> str:
        """The greeting's text. Raises ConnectionLost."""
        assert self._hello is not None
        greeted = asyncio.ensure_future(self._greeted.wait())
        await asyncio.wait({greeted, self._hello}, return_when=asyncio.FIRST_COMPLETED)
        greeted.cancel()
        if not self._greeted.is_set():
            await self._hello
        return " ".join(line.text[4:] for line in takewhile(lambda line: line.mark == "<", self.lines))

    async def hello(self) -> ClientEvent:
        """HelloDone or Refused. Raises ConnectionLost."""
        assert self._hello is not None
        return await self._hello

    async def ask(self, command: str) -> Reply:
        """A single command's reply; a 421 is one. Raises ConnectionLost."""
        event = await self.client.ask(command)
        if isinstance(event, Answered | Closing):
            return event.reply
        raise ConnectionLost("the server ended the session")

    async def close(self) -> None:
        """QUIT where that is possible; the connection is gone afterwards. Never raises."""
        if self._hello is not None and not self._hello.done():
            self._hello.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionLost):
                await self._hello
        if self.client.is_open and self.client.engine.is_idle:
            self.client.quit()
            with contextlib.suppress(ConnectionLost, TimeoutError):
                async with asyncio.timeout(_QUIT_SECONDS):
                    await self.client.hello()
        self.client.abort("the test ended")

    def said(self, since: int = 0) -> list[str]:
        """The transcript from a line on."""
        return [str(line) for line in self.lines[since:]]

    def _heard(self, mark: str, text: str) -> None:
        if len(self.lines) < 2 * PROBE_DETAILS:
            self.lines.append(Line(self._time() - self._opened if self._opened else 0.0, mark, text))
        if mark == "<" and text[3:4] == " ":
            self._greeted.set()


class _Introduced(SmtpClient):
    """Sends something before the conversation begins."""

    preamble = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.preamble:
            cast(asyncio.WriteTransport, transport).write(self.preamble)
        super().connection_made(transport)


def _client(engine: ClientConnection, preamble: bytes, seconds: float) -> SmtpClient:
    client = _Introduced(engine, phase_seconds=_phases(seconds), longest_silence=seconds)
    client.preamble = preamble
    return client


def _phases(seconds: float) -> Mapping[str, float]:
    """Every silence up to `seconds`, those between our own commands too."""
    return {phase: seconds if phase in _SILENT else value for phase, value in PHASE_SECONDS.items()}


def _not_connected(error: DialError, address: str, port: int, sources: Sequence[str], seconds: float) -> NotConnected:
    if address.startswith("unix:"):
        return NotConnected(str(error), "see that the program runs that listens there")
    where = shown(address, port)
    cause = error.__context__
    number = cause.errno if isinstance(cause, OSError) else None
    source = source_for(address, sources)
    if isinstance(cause, TimeoutError):
        return NotConnected(
            f"{where} does not answer within {seconds:g} s: a firewall drops it, or nobody has that address",
            f"let TCP port {port} through from {source or 'this server'}, also at the provider",
        )
    if number == errno.ECONNREFUSED:
        return NotConnected(
            f"{where} refuses the connection: nothing listens there, or a firewall rejects it",
            "see that the service runs there and that the port is right",
        )
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        family = "IPv6" if ":" in address else "IPv4"
        return NotConnected(
            f"{where} cannot be reached: there is no route", f"see to the {family} route of this server"
        )
    if number == errno.EADDRNOTAVAIL and source:
        return NotConnected(
            f"{source}, from which this connector is to connect, is no address of this server",
            "correct source_ip_addresses",
        )
    return NotConnected(str(error), "")
