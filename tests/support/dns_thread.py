# SPDX-License-Identifier: MIT
"""`ScriptedDns` on a thread of its own, for tests that are not asynchronous."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from support.dns_server import ScriptedDns


class DnsThread(ScriptedDns):
    """A context manager; the records may be changed from the test's thread while it runs."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.__aenter__(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self.__aexit__(kind, error, trace), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
