# SPDX-License-Identifier: MIT
"""Work that goes on beside the mail: begun once or done again and again, ended with the server."""

import asyncio
from collections.abc import Callable, Coroutine


class Background:
    """Tasks of the event loop that it was first used in."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """Do something in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def every(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something again and again."""

        async def loop() -> None:
            while True:
                await asyncio.sleep(seconds)
                action()

        self.begin(loop())

    async def stop(self) -> None:
        """End all of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
