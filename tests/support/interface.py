# SPDX-License-Identifier: MIT
"""The HTTP interface in front of a `ControlServer`, both on the running loop of a test."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridgehead.admin.access.administrator_file import AdministratorFile
from bridgehead.admin.access.audit_log import AuditLog
from bridgehead.admin.api.app import make_app
from bridgehead.admin.api.authentication import LocalRoles
from bridgehead.admin.api.channel_client import Core
from bridgehead.admin.api.http import HttpServer
from bridgehead.admin.api.logons import Logons
from bridgehead.admin.calls.control import ControlServer, channel_path
from bridgehead.admin.calls.local_socket import LocalListener
from bridgehead.admin.method import Method
from bridgehead.admin.settings import ApiSettings


class Interface:
    """Both ends of the internal channel, and HTTP on a Unix socket.

    Args:
        path: of the Unix socket.
    """

    def __init__(
        self, methods: Mapping[str, Method], server: Any, path: Path, settings: ApiSettings | None = None,
        audit: AuditLog | None = None,
    ) -> None:  # fmt: skip
        self.control = ControlServer(lambda: methods, server, channel_path(path), audit, os.getpid)
        self.core = Core(channel_path(path))
        self.administrators_file = path.with_name("administrators.json")
        self._app = make_app(methods, self.core, LocalRoles(settings or ApiSettings()), self._logons())
        self._path = path

    def _logons(self) -> Logons:
        return Logons(AdministratorFile(self.administrators_file), self.core.report_log_on, time.time)

    async def start(self) -> None:
        await self.control.start()
        self._listener = LocalListener(self._path)
        self._http = HttpServer(self._app, self._listener.socket)
        self._serving = asyncio.ensure_future(self._http.run_until_stopped())

    async def close(self) -> None:
        self._http.stop()
        await self._serving
        self.core.close()
        await self.control.close()
        self._listener.close()


@asynccontextmanager
async def serving(methods: Mapping[str, Method], server: Any, path: Path, **options: Any) -> AsyncIterator[Interface]:
    """An interface at work."""
    interface = Interface(methods, server, path, **options)
    await interface.start()
    try:
        yield interface
    finally:
        await interface.close()
