# SPDX-License-Identifier: MIT
"""One worker as its supervisor has it: started, started again when it ends, asked, ended."""

import asyncio
import logging
import os
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bridgehead.admin.api.channel_client import Core
from bridgehead.net.ip_range import Binding
from bridgehead.server.workers.orders import READY, Orders, hand_over, written

log = logging.getLogger("bridgehead.server")

_COMMAND: Final = (sys.executable, "-P", "-m", "bridgehead.server.workers")
_OURS: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Of the environment: the service manager speaks with the supervisor alone."""
_FIRST_DELAY: Final = 0.25
_LONGEST_DELAY: Final = 30.0
_STEADY_SECONDS: Final = 60.0
"""A worker that ran for so long is started again without a growing delay."""
_STOP_SECONDS: Final = 40.0


class WorkerProcess:
    """Starts one worker and keeps it running.

    Args:
        number: from 1.
        channel: where it answers.
        orders: what it is told when it starts, with the descriptor of its end of the handover.
        gone: called when it has ended.
    """

    def __init__(
        self, number: int, channel: Path, orders: Callable[[int], Orders], gone: Callable[[], object]
    ) -> None:  # fmt: skip
        self.number, self.channel, self._orders, self._gone = number, channel, orders, gone
        self.core = Core(channel)
        self.ready = asyncio.Event()
        """It works; cleared from its end until it works again."""
        self.trouble = ""
        """Why it does not work, "" while it does."""
        self._process: Process | None = None
        self._handover: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int:
        """Its process id; 0 while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    async def start(self) -> None:
        """Start it for the first time and wait until it works. Raises OSError where it does not."""
        if ended := await self._launch():
            raise OSError(f"worker {self.number} {ended}")
        self._task = asyncio.get_running_loop().create_task(self._keep_running())

    def hand_over(self, opened: dict[Binding, socket.socket]) -> None:
        """Give it listening sockets for the configuration that it is told of next. Raises OSError."""
        assert self._handover is not None
        hand_over(self._handover, opened)

    def end(self) -> None:
        """Have it end in order; it is started again unless `stop` was called."""
        if self.pid:
            assert self._process is not None
            self._process.terminate()

    async def stop(self) -> None:
        """End it in order; by force where that takes too long."""
        self._stopping = True
        self.end()
        if self._process is not None:
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                log.error("worker %d does not end and is killed", self.number)
                self._process.kill()
                await self._process.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.core.close()
        if self._handover is not None:
            self._handover.close()

    async def _keep_running(self) -> None:
        delay = _FIRST_DELAY
        while True:
            began = time.monotonic()
            assert self._process is not None
            ended = _how(await self._process.wait()) if self.ready.is_set() else self.trouble
            self.ready.clear()
            self._gone()
            if self._stopping:
                return
            delay = _FIRST_DELAY if time.monotonic() - began >= _STEADY_SECONDS else delay
            self.trouble = f"{ended}; it is started again in {delay:g} s"
            log.error("worker %d %s", self.number, self.trouble)
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)
            try:
                self.trouble = await self._launch()
            except OSError as error:
                self.trouble = f"cannot be started: {error.strerror or error}"

    async def _launch(self) -> str:
        """Start the process; "" once it works, else how it ended. Raises OSError."""
        if self._handover is not None:
            self._handover.close()
        self._handover, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            orders = self._orders(theirs.fileno())
            environment = {name: value for name, value in os.environ.items() if name not in _OURS}
            process = self._process = await asyncio.create_subprocess_exec(
                *_COMMAND, stdin=PIPE, stdout=PIPE, pass_fds=orders.descriptors, env=environment
            )  # fmt: skip
        finally:
            theirs.close()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(written(orders))
            await process.stdin.drain()
            line = await process.stdout.readline()
        except ConnectionError:
            line = b""
        if line != READY:
            return _how(await process.wait())
        self.trouble = ""
        self.ready.set()
        return ""


def _how(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
