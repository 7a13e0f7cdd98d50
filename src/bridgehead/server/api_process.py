# SPDX-License-Identifier: MIT
"""The process of the management interface: started when somebody asks, started again when it fails, ended with us.

Its listening sockets are ours, so that callers find somebody to wait for whether it runs or not. It gets our account,
since it is started after we took it, and a lower priority, which it takes itself. Its standard input is a pipe that
closes with us, however we end. When nobody has asked for a while it ends, and the sockets are watched again; where a
socket for scrapers and probes is open, whose patience is short, it runs from the start and stays (ADR 13). Where its
terms change it is started anew, with sockets that are open by then.
"""

import asyncio
import logging
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bridgehead.admin.api.orders import Orders
from bridgehead.admin.calls.local_socket import LocalListener
from bridgehead.admin.settings import ApiSettings
from bridgehead.mail.limits import API_PROCESS_IDLE_SECONDS
from bridgehead.net.certificates.pairs import CertificatePair, make_server_context
from bridgehead.net.ip_range import parse_binding

log = logging.getLogger("bridgehead.server")

_COMMAND: Final = (sys.executable, "-P", "-m", "bridgehead.admin.api")
_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 60.0
_STEADY_SECONDS: Final = 60.0
"""A process that ran for so long is started again without a growing delay."""
_STOP_SECONDS: Final = 10.0
_BACKLOG: Final = 128


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of the interface.

    Attributes:
        settings: the `[api]` table.
        administrators_file: logins and tokens.
        certificate: of TLS over TCP.
        probe_listen: address and port for scrapers and probes, "" for none.
    """

    settings: ApiSettings
    administrators_file: Path
    certificate: CertificatePair
    probe_listen: str = ""


class Prepared(NamedTuple):
    """Terms, and the listening TCP sockets that go with them."""

    terms: Terms
    tcp: socket.socket | None
    probe: socket.socket | None


class ApiProcess:
    """Starts the process and keeps it running.

    Args:
        terms: to begin with.
        path: of the Unix socket that commands and other local callers use.
        channel: path of the internal channel's socket.
        command: program and arguments.
        clock: seconds, monotonic.
        idle_seconds: without a connection, after which the process ends.
    """

    def __init__(
        self, terms: Terms, path: Path, channel: Path, command: tuple[str, ...] = _COMMAND,
        clock: Callable[[], float] = time.monotonic, idle_seconds: float = API_PROCESS_IDLE_SECONDS,
    ) -> None:  # fmt: skip
        self._terms, self._path, self._channel = terms, path, channel
        self._command, self._clock, self._idle_seconds = command, clock, idle_seconds
        self._tcp: socket.socket | None = None
        self._probe: socket.socket | None = None
        self._listener: LocalListener | None = None
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.trouble = ""
        """Why it is not running; "" while it is, and while nobody needs it."""

    @property
    def pid(self) -> int:
        """Its process id; 0 while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    def listen(self, tcp: socket.socket | None, probe: socket.socket | None) -> None:
        """Open the Unix socket and take over those of `bind`; callers wait in all.

        Raises AdminFault, OSError, and CertificateError where TLS over TCP would not work.
        """
        if tcp is not None:
            make_server_context(self._terms.certificate)
        self._tcp, self._probe = tcp, probe
        self._listener = LocalListener(self._path, _socket_mode(self._terms.settings))

    def start(self) -> None:
        """Start the process when somebody connects, and again whenever it fails, until `stop`."""
        self._task = asyncio.get_running_loop().create_task(self._keep_running())

    def prepare(self, terms: Terms) -> Prepared:
        """Open what other terms need and is not open. Raises OSError, CertificateError; all is as before then."""
        former = self._terms
        if terms.settings.binding and terms != former:
            make_server_context(terms.certificate)
        tcp, probe = self._tcp, self._probe
        if terms.settings.binding != former.settings.binding:
            tcp = bind("api.binding", terms.settings.binding)
        if terms.probe_listen != former.probe_listen:
            try:
                probe = bind("monitoring.probe_listen", terms.probe_listen)
            except OSError:
                if tcp is not None and tcp is not self._tcp:
                    tcp.close()
                raise
        return Prepared(terms, tcp, probe)

    def use(self, prepared: Prepared) -> None:
        """Go on with other terms. Callers that are being answered get their answer first, those to come wait in the
        sockets."""
        if prepared.terms == self._terms:
            return
        for former, kept in ((self._tcp, prepared.tcp), (self._probe, prepared.probe)):
            if former is not None and former is not kept:
                former.close()
        self._terms, self._tcp, self._probe = prepared
        assert self._listener is not None
        self._listener.permit(_socket_mode(self._terms.settings))
        if self._task is not None:
            self._task = asyncio.get_running_loop().create_task(self._start_anew(self._task))

    async def _start_anew(self, former: asyncio.Task[None]) -> None:
        former.cancel()
        await asyncio.gather(former, return_exceptions=True)
        await self._end()
        await self._keep_running()

    async def stop(self) -> None:
        """End the process and close the socket."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._end()
        if self._listener is not None:
            self._listener.close()
        for listening in (self._tcp, self._probe):
            if listening is not None:
                listening.close()

    async def _end(self) -> None:
        """Let the process finish what it answers, for some seconds."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _keep_running(self) -> None:
        delay = _FIRST_DELAY
        if self._probe is None:
            await self._somebody()
        while True:
            began = self._clock()
            try:
                ended = await self._run()
            except OSError as error:
                ended = f"cannot be started: {error.strerror or error}"
            if not ended and self._clock() - began >= self._idle_seconds:
                await self._somebody()
                continue
            ended = ended or "ended by itself"
            delay = _FIRST_DELAY if self._clock() - began >= _STEADY_SECONDS else delay
            self.trouble = f"{ended}; it is started again in {delay:g} s"
            log.error("the management interface %s", self.trouble)
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _somebody(self) -> None:
        """Wait until a connection is there to be taken."""
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        for number in (listening := self._inherited()):
            loop.add_reader(number, came.set)
        try:
            await came.wait()
        finally:
            for number in listening:
                loop.remove_reader(number)

    def _inherited(self) -> list[int]:
        """Descriptors of the listening sockets."""
        assert self._listener is not None
        return [one.fileno() for one in (self._listener.socket, self._tcp, self._probe) if one is not None]

    async def _run(self) -> str:
        """One life of the process; how it failed, "" where it had nothing to do any more. Raises OSError."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=DEVNULL, pass_fds=self._inherited()
        )  # fmt: skip
        self.trouble = ""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(self.orders()) + b"\n")
        code = await self._process.wait()
        if not code:
            return ""
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def orders(self) -> Orders:
        """What the process is told."""
        assert self._listener is not None
        return Orders(
            channel=str(self._channel),
            settings=self._terms.settings,
            administrators_file=str(self._terms.administrators_file),
            local_fd=self._listener.socket.fileno(),
            tcp_fd=self._tcp.fileno() if self._tcp is not None else -1,
            probe_fd=self._probe.fileno() if self._probe is not None else -1,
            idle_seconds=self._idle_seconds if self._probe is None else 0.0,
            certificate=str(self._terms.certificate.certificate),
            key=str(self._terms.certificate.key),
        )


def bind(setting: str, text: str) -> socket.socket | None:
    """A TCP socket, if one is wanted, opened while ports below 1024 may still be had. Raises OSError.

    Args:
        setting: whose value `text` is, for the error.
    """
    if not text:
        return None
    binding = parse_binding(text)
    family = socket.AF_INET6 if binding.address.version == 6 else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((str(binding.address), binding.port))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"{setting}: {binding}: {error.strerror}") from error
    return listening


def _socket_mode(settings: ApiSettings) -> int:
    """Others may connect only where some of them have a role; who they are is asked of the kernel then."""
    listed = (
        settings.local_administrators, settings.local_operators, settings.local_viewers, settings.local_help_desk,
    )  # fmt: skip
    return 0o666 if any(listed) else 0o600
