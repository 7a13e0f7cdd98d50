# SPDX-License-Identifier: MIT
"""Collects what the stages ask of the store and hands it to the writer a batch at a time, so that many share one sync;
then tells each how it ended."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from bridgehead.queues.batch import Change
from bridgehead.queues.sqlite.committer import Committer, Operation, Request
from bridgehead.queues.sqlite.writer import Writer
from bridgehead.queues.store import StoreFault, StoreUnreadable

_PATIENCE_SECONDS: Final = 0.005
"""How long a transaction that is not urgent waits for others to share its sync."""

_T = TypeVar("_T")


class GroupCommit:
    """For the event loop only.

    Args:
        on_commit: told of each group of operations that was synced together: how many, and how many seconds it took.
    """

    def __init__(self, on_commit: Callable[[int, float], object]) -> None:
        self._on_commit = on_commit
        self._pending: list[Operation] = []
        self._busy = False
        self._scheduled = False
        self._urgent = False
        self._patience: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self.trouble = ""
        """Why changes cannot be stored at present, "" while they can: from a fault until new content is stored."""

    def begin(self, writer: Writer) -> None:
        """Hand over to this writer from now on; it reports to `completed`."""
        self._loop = asyncio.get_running_loop()
        self._writer = writer

    async def idle(self) -> None:
        """Wait until all that was asked for has ended."""
        while self._busy or self._pending:
            self._idle.clear()
            await self._idle.wait()

    def append(self, operation: Operation, *, urgent: bool = True) -> None:
        """Do it in its turn; never from within this call."""
        self._pending.append(operation)
        if urgent:
            self._urgent = True
            if not self._busy and not self._scheduled:
                # What else this turn of the loop brings shares the sync.
                self._scheduled = True
                self._loop.call_soon(self._hand_over)
        elif self._patience is None:
            self._patience = self._loop.call_later(_PATIENCE_SECONDS, self._lose_patience)

    async def in_turn(
        self, run: Callable[[Committer], _T], on_abandoned: Callable[[_T], None] | None = None, *,
        brings_content: bool = False,
    ) -> _T:  # fmt: skip
        """Have something run between the transactions asked for before and after. Raises StoreFault.

        Args:
            on_abandoned: gets the result where the caller waits for it no longer.
        """
        future: asyncio.Future[_T] = self._loop.create_future()

        def finish(result: object, fault: StoreFault | None) -> None:
            if future.cancelled():
                if fault is None and on_abandoned is not None:
                    on_abandoned(result)  # type: ignore[arg-type]  # `run` gave it
            elif fault is not None:
                future.set_exception(fault)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        self.append(Request(run, finish, brings_content=brings_content))
        return await future

    def _lose_patience(self) -> None:
        self._patience = None
        if self._pending:
            self._urgent = True
            self._hand_over()

    def _hand_over(self) -> None:
        self._scheduled = False
        if self._busy or not self._urgent or not self._pending:
            return
        self._urgent = False
        batch, self._pending = self._pending, []
        self._busy = True
        self._writer.submit(batch)

    def completed(self, batch: Sequence[Operation], faults: list[StoreFault | None]) -> None:
        """The batch handed over has ended."""
        self._busy = False
        self._on_commit(len(batch), self._writer.seconds)
        self._hand_over()
        for operation, fault in zip(batch, faults, strict=True):
            if fault is not None or self.trouble:
                self._note_trouble(operation, fault)
            try:
                if isinstance(operation, Request):
                    operation.finish(operation.result, fault)
                elif operation.done is not None:
                    operation.done(fault)
            except Exception as error:  # one stage's fault must not keep the others from learning of their commits
                self._loop.call_exception_handler(
                    {"message": "a callback of the queue store raised", "exception": error}
                )
        if not self._busy and not self._pending:
            self._idle.set()

    def _note_trouble(self, operation: Operation, fault: StoreFault | None) -> None:
        if fault is None:
            if isinstance(operation, Change) and operation.brings_content:
                self.trouble = ""
        elif not isinstance(fault, StoreUnreadable):  # that is one message's trouble, not the store's
            self.trouble = str(fault)
