# SPDX-License-Identifier: MIT
"""A person's log-on by code (RFC 8628): the server shows a code, asks until it was entered, and keeps what comes."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

from bridgehead.delivery.oauth.faults import StillWaiting, TokenFault
from bridgehead.delivery.oauth.provider import DeviceCode, Token
from bridgehead.delivery.oauth.store import StoreUnusable
from bridgehead.diagnosis.facts import How

SLOWER_SECONDS: Final = 5.0
"""RFC 8628 §3.5: added to the interval at each `slow_down`."""


class LogOnState(StrEnum):
    """How far a log-on came."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class DeviceLogOn:
    """One log-on, from the code to its end.

    Args:
        poll: asks once. Raises StillWaiting, TokenFault.
        keep: takes what came. Raises StoreUnusable.
    """

    def __init__(
        self, code: DeviceCode, poll: Callable[[], Awaitable[Token]], keep: Callable[[Token], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self.code = code
        self.state = LogOnState.WAITING
        self.problem = self.remedy = ""
        self.expires_at = now() + code.seconds
        self._poll, self._keep = poll, keep
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Give up."""
        self._task.cancel()

    async def wait(self) -> None:
        """Until it is over."""
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self.code.seconds):
                token = await self._answer()
            await self._keep(token)
        except TokenFault as fault:
            self._failed(str(fault), fault.remedy)
        except StoreUnusable as fault:
            self._failed(str(fault), "")
        except TimeoutError:
            self._failed("nobody entered the code in time", "begin again")
        else:
            self.state = LogOnState.DONE

    async def _answer(self) -> Token:
        interval = self.code.interval
        while True:
            await asyncio.sleep(interval)
            try:
                return await self._poll()
            except StillWaiting as waiting:
                interval += SLOWER_SECONDS if waiting.slower else 0.0
            except TokenFault as fault:
                if fault.how is not How.SILENT:
                    raise
                interval *= 2  # RFC 8628 §3.5: back off from a provider that does not answer

    def _failed(self, problem: str, remedy: str) -> None:
        self.state, self.problem, self.remedy = LogOnState.FAILED, problem, remedy
