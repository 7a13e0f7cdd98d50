# SPDX-License-Identifier: MIT
"""Alarms to a program of the administrator's: run once for what is to be told, JSON on its standard input."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Sequence

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import ALARM_TEXT
from bridgehead.monitoring.book import Notice
from bridgehead.monitoring.channels import ChannelFault, bulletin

_STDERR_BYTES = 4096


class CommandChannel:
    """Runs one command; no shell. Exit code 0 means told.

    Args:
        command: program and arguments.
        timeout: seconds after which it is killed.
        now: Unix time.
    """

    name = "command"

    def __init__(self, command: Sequence[str], *, server: str, timeout: float, now: Callable[[], float]) -> None:
        self._command, self._server, self._timeout, self._now = list(command), server, timeout, now

    async def send(self, notices: Sequence[Notice]) -> None:
        """See `Channel`."""
        body = bulletin(self._server, self._now(), notices)
        try:
            process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=DEVNULL, stderr=PIPE)
        except OSError as error:
            raise ChannelFault(f"{self._command[0]} cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._timeout):
                said = await self._talk(process, body)
                code = await process.wait()
        except TimeoutError:
            raise ChannelFault(f"{self._command[0]} took longer than {self._timeout:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code:
            raise ChannelFault(f"{self._command[0]} ended with code {code}: {clean_text(said, ALARM_TEXT)}")

    @staticmethod
    async def _talk(process: asyncio.subprocess.Process, body: bytes) -> str:
        """Hand it the JSON; the beginning of what it says on standard error."""
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(body)
        try:
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it need not read what it is given
        process.stdin.close()
        said = await process.stderr.read(_STDERR_BYTES)
        while await process.stderr.read(65536):
            pass
        return said.decode("utf-8", "replace")
