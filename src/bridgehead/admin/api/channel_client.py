# SPDX-License-Identifier: MIT
"""The connections to the process that moves mail: a bounded number, each with one question at a time."""

import asyncio
from pathlib import Path

import msgspec

from bridgehead.admin.calls.channel import LOG_ON, UNREADABLE, Answer, LogOn, Request
from bridgehead.admin.calls.local_socket import short_path
from bridgehead.admin.faults import FAILED, AdminFault, ServerNotRunning
from bridgehead.admin.method import Caller
from bridgehead.mail.limits import API_CORE_CONNECTIONS, API_CORE_SECONDS, CONTROL_RESPONSE_BYTES

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Core:
    """Asks the process that moves mail.

    Args:
        path: of the internal channel's socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[_Connection] = []
        self._room = asyncio.Semaphore(API_CORE_CONNECTIONS)
        self._last_id = 0

    async def ask(self, request: Request) -> Answer:
        """The answer to a request; its id is set here. Raises AdminFault, ServerNotRunning."""
        async with self._room:
            self._last_id += 1
            line = msgspec.json.encode(msgspec.structs.replace(request, id=self._last_id)) + b"\n"
            try:
                async with asyncio.timeout(API_CORE_SECONDS):
                    answer = await self._exchange(line)
            except TimeoutError:
                raise AdminFault(FAILED, f"no answer within {API_CORE_SECONDS:g} seconds", "try again") from None
            except (OSError, asyncio.IncompleteReadError):
                raise ServerNotRunning("the process that moves mail does not answer") from None
            except (asyncio.LimitOverrunError, *UNREADABLE) as error:
                raise AdminFault(FAILED, f"the answer cannot be read: {error}", "narrow it down") from None
        if answer.error is not None:
            raise AdminFault(answer.error.code, answer.error.message, answer.error.remedy)
        return answer

    async def report_log_on(self, caller: Caller, fault: AdminFault | None) -> None:
        """Tell the audit log of a log-on, or with a fault of one that failed. Raises AdminFault, ServerNotRunning."""
        told = LogOn() if fault is None else LogOn(fault.code, fault.message)
        params = msgspec.Raw(msgspec.json.encode(told))
        await self.ask(Request(id=0, method=LOG_ON, params=params, caller=caller))

    def close(self) -> None:
        """End the idle connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _exchange(self, line: bytes) -> Answer:
        reader, writer = self._idle.pop() if self._idle else await self._connect()
        if reader.at_eof():  # it waited too long
            writer.close()
            reader, writer = await self._connect()
        try:
            writer.write(line)
            answer = msgspec.json.decode(await reader.readuntil(b"\n"), type=Answer)
        except BaseException:
            writer.close()  # an answer may still come, which would be taken for the next one's
            raise
        self._idle.append((reader, writer))
        return answer

    async def _connect(self) -> _Connection:
        with short_path(self._path) as address:
            return await asyncio.open_unix_connection(address, limit=CONTROL_RESPONSE_BYTES)
