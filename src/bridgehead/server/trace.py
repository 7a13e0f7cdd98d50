# SPDX-License-Identifier: MIT
"""Trace in the running server: starts a process that indexes when enough has gathered, and one for each search.

Nothing here reads a log: the loop that moves mail only hands orders on. Implements `admin.trace.tracking.TraceService`.
"""

import asyncio
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.admin.connector.connectors import Connectors
from bridgehead.admin.faults import FAILED, INVALID, AdminFault
from bridgehead.admin.trace.revisions import FOLDER_NAME, Revisions
from bridgehead.admin.trace.tracking import own_logs
from bridgehead.mail.limits import TRACE_SECONDS, TRACES_AT_ONCE
from bridgehead.server.config.load import Loaded
from bridgehead.server.config.revision import revision
from bridgehead.tracking.trace.backlog import Backlog, sizes
from bridgehead.tracking.trace.criteria import Criteria
from bridgehead.tracking.trace.search import Found, IndexFacts, IndexState
from bridgehead.tracking.trace.search_process import Answer, Order
from bridgehead.tracking.trace.story import Evidence

log = logging.getLogger("bridgehead.server")

_SEARCH: Final = (sys.executable, "-m", "bridgehead.tracking.trace.search_process")
_INDEX: Final = (sys.executable, "-m", "bridgehead.tracking.trace.indexer_process")
_LOOK_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0


class Traces:
    """Searches and their index.

    Args:
        flush: writes what the logs hold in memory; may wait for the disk.
        now: Unix time.
        keeps: configurations are kept to explain by; one worker does that for all.
    """

    def __init__(
        self, loaded: Loaded, flush: Callable[[], None], now: Callable[[], float], keeps: bool = True
    ) -> None:  # fmt: skip
        settings = loaded.configuration.logs
        self._now, self._keeps = now, keeps
        self.past = Revisions(loaded.data_directory / FOLDER_NAME)
        self.logs = own_logs(loaded.within(settings.log_directory), settings)
        self.reconfigure(loaded)
        self._flush = flush
        self._max_size = int(settings.message_tracking_index_max_size)
        self._enabled = bool(self._max_size) and settings.message_tracking_log_enabled
        self._turns = asyncio.Semaphore(TRACES_AT_ONCE)
        self._indexer: Process | None = None
        self._damaged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def reconfigure(self, loaded: Loaded) -> None:
        """This configuration comes into force, and is kept to explain by. The logs and their index stay where they are
        until a restart."""
        self.connectors: Connectors = loaded.configuration
        self.revision = revision(loaded)
        if self._keeps:
            self.past.note(self.revision, self.connectors, self._now())

    def start(self) -> None:
        """Begin to keep the index, where there is to be one."""
        if self._enabled:
            self._task = asyncio.get_running_loop().create_task(self._keep_index())

    async def stop(self) -> None:
        """End the process that indexes; it loses nothing that is not made again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        process = self._indexer
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def search(self, criteria: Criteria) -> Found:
        """Messages that fit, up to the last event. Raises AdminFault."""
        answer = await self._ask(Order(logs=self.logs, criteria=criteria))
        if answer.found is None:
            raise AdminFault(INVALID, answer.fault or "the search gave no answer", "bridgehead trace --help")
        self._mind(answer.found.index)
        return answer.found

    async def evidence(self, identity: str) -> Evidence | None:
        """What the logs hold about one message. Raises AdminFault."""
        answer = await self._ask(Order(logs=self.logs, identity=identity))
        if answer.fault:
            raise AdminFault(FAILED, answer.fault, "")
        if answer.evidence is not None and answer.evidence.index is not None:
            self._mind(answer.evidence.index)
        return answer.evidence

    def _mind(self, index: IndexFacts) -> None:
        """Have an index made anew that a search found damaged."""
        if index.state is IndexState.DAMAGED:
            log.warning("a search found the trace index damaged: %s", index.fault)
            self._damaged.set()

    async def _ask(self, order: Order) -> Answer:
        await asyncio.to_thread(self._flush)
        async with self._turns:
            process = await asyncio.create_subprocess_exec(*_SEARCH, stdin=PIPE, stdout=PIPE)
            try:
                async with asyncio.timeout(TRACE_SECONDS):
                    data, _ = await process.communicate(msgspec.json.encode(order))
            except TimeoutError:
                message = f"the search took longer than {TRACE_SECONDS:g} seconds"
                raise AdminFault(FAILED, message, "give a shorter time with --start and --end") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode:
            message = f"the search ended with exit code {process.returncode}"
            raise AdminFault(FAILED, message, "the server's own log may say why")
        return msgspec.json.decode(data, type=Answer)

    async def _keep_index(self) -> None:
        """Index whenever it is time to, and at once where the index is damaged."""
        backlog, folder = Backlog(), Path(self.logs.tracking)
        while True:
            damaged = self._damaged.is_set()
            if damaged or backlog.look(sizes(folder)):
                self._damaged.clear()
                if await self._index(anew=damaged):
                    backlog.indexed()
                else:
                    if damaged:
                        self._damaged.set()
                    await asyncio.sleep(_RETRY_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._damaged.wait()

    async def _index(self, *, anew: bool) -> bool:
        """Whether all is indexed."""
        arguments = (self.logs.index, self.logs.tracking, str(self._max_size), *(("anew",) if anew else ()))
        try:
            self._indexer = await asyncio.create_subprocess_exec(*_INDEX, *arguments, stdin=PIPE, stdout=DEVNULL)
            code = await self._indexer.wait()
        except OSError as error:
            log.error("the trace index's process cannot be started: %s", error.strerror or error)
            return False
        if code:
            log.error("the trace index's process ended with code %d; it is started again", code)
        return code == 0
