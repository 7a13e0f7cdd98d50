# SPDX-License-Identifier: MIT
"""The process that sends numbers to an OpenTelemetry collector: started where there is one, counted, ended with us.

It asks for numbers as any other client of the internal channel; what it cannot get rid of is dropped there. Here only
what it tells is read: a collector that is away is counted, and logged once until it is back.
"""

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.admin.telemetry.orders import Orders, Outcome
from bridgehead.mail.limits import LOGGED_TEXT
from bridgehead.server.config.load import Loaded

log = logging.getLogger("bridgehead.server")

_COMMAND: Final = (sys.executable, "-P", "-m", "bridgehead.admin.telemetry")
_RESTART_SECONDS: Final = 30.0


class TelemetryProcess:
    """Keeps the process running.

    Args:
        channel: path of the internal channel's socket.
        fqdn: of this server.

    Attributes:
        sent, failed: attempts so far.
    """

    def __init__(self, loaded: Loaded, channel: Path, fqdn: str) -> None:
        self._channel, self._fqdn = channel, fqdn
        self._orders = self._orders_of(loaded)
        self._task: asyncio.Task[None] | None = None
        self.sent = self.failed = 0
        self._failing = 0

    def start(self) -> None:
        """Begin, where there is a collector."""
        if self._orders is not None:
            self._task = asyncio.get_running_loop().create_task(self._keep_running(self._orders))

    async def stop(self) -> None:
        """End the process; it holds nothing that would be lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def reconfigure(self, loaded: Loaded) -> None:
        """Send to another collector, at another interval, or no more."""
        orders = self._orders_of(loaded)
        if orders != self._orders:
            await self.stop()
            self._orders, self._task, self._failing = orders, None, 0
            self.start()

    def _orders_of(self, loaded: Loaded) -> Orders | None:
        settings = loaded.configuration.monitoring
        if not settings.otlp_endpoint:
            return None
        return Orders(
            channel=str(self._channel),
            endpoint=settings.otlp_endpoint,
            interval=settings.otlp_interval.total_seconds(),
            authorization=settings.otlp_authorization,
            ca_file=settings.otlp_ca_file,
            directory=str(loaded.data_directory),
            fqdn=self._fqdn,
        )

    async def _keep_running(self, orders: Orders) -> None:
        while True:
            try:
                process = await asyncio.create_subprocess_exec(*_COMMAND, stdin=PIPE, stdout=PIPE)
                code = await self._follow(process, orders)
                log.error("the export to %s ended with code %d; it is started again", orders.endpoint, code)
            except OSError as error:
                log.error("the export to %s cannot be started: %s", orders.endpoint, error.strerror or error)
            await asyncio.sleep(_RESTART_SECONDS)

    async def _follow(self, process: Process, orders: Orders) -> int:
        """Read what it tells until it ends; its exit code."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(orders) + b"\n")
            while line := await process.stdout.readline():
                self._note(msgspec.json.decode(line, type=Outcome), orders)
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _note(self, outcome: Outcome, orders: Orders) -> None:
        if outcome.fault:
            self.failed += 1
            self._failing += 1
            if self._failing == 1:
                text = "numbers cannot be exported to %s: %s; tried again every %g s, mail does not wait for it"
                log.warning(text, orders.endpoint, outcome.fault[:LOGGED_TEXT], orders.interval)
            return
        self.sent += 1
        if self._failing:
            log.info("numbers are exported to %s again, after %d attempts", orders.endpoint, self._failing)
        self._failing = 0
