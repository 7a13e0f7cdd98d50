# SPDX-License-Identifier: MIT
"""Puts what operators ask to the workers and makes one answer of theirs, as each method declares (`admin/merge.py`)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from bridgehead.admin.calls.channel import Request
from bridgehead.admin.faults import FAILED, INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.merge import Ask
from bridgehead.admin.method import Caller, Method
from bridgehead.admin.queue.queue_names import queue_identity
from bridgehead.admin.queue.queues import one_queue
from bridgehead.server.workers.desk import Step, answer, question
from bridgehead.server.workers.running import WorkerProcess
from bridgehead.server.workers.together import Together

_UNKNOWING = (NOT_FOUND, INVALID)
"""Faults of a worker that has not what is named, or not in the state that is needed."""


SYSTEM: Final = Caller("system")
"""The supervisor itself."""


class Asked:
    """The workers, as what they are asked sees them.

    Args:
        workers: the first one first.
        own: what the supervisor answers itself, from the parameters.
        together: all workers as one server, for one question.
    """

    def __init__(
        self, workers: Sequence[WorkerProcess], own: Mapping[str, Callable[[Any], Awaitable[Any]]],
        together: Callable[[], Together],
    ) -> None:  # fmt: skip
        self._workers, self._own, self._together = workers, own, together

    async def answer(self, name: str, method: Method, params: Any, caller: Caller) -> Any:
        """One answer. Raises AdminFault."""
        merge = method.merge
        match merge.ask:
            case Ask.NOBODY:
                raise AdminFault(FAILED, f"{name} is not possible with several workers yet", "[server] workers = 1")
            case Ask.SUPERVISOR:
                return await self._own[name](params)
            case Ask.TOGETHER:
                return await method.answer(self._together(), params, caller)  # type: ignore[arg-type]
        if merge.before:
            await self._tell(self._workers, merge.before)
        if merge.names_queue and getattr(params, merge.names_queue):
            params = await self._with_queue(params, merge.names_queue)
        match merge.ask:
            case Ask.FIRST:
                result = await self._ask(self._workers[0], name, method, params, caller)
            case Ask.ONE:
                result = await self._one(name, method, params, caller)
            case _:
                result = await self._several(name, method, params, caller)
        if merge.also:
            await self._tell(self._workers[1:], merge.also)
        return result

    # --- the steps of what is done together (`together.Workers`) ------------------------------------------------------

    async def each(self, step: Step, **values: Any) -> list[Any]:
        """What every worker says. Raises AdminFault where one does not work, before any is asked."""
        answers, faults = await self._steps(step, values)
        if faults:
            raise faults[0]
        return answers

    async def knowing(self, step: Step, **values: Any) -> list[Any]:
        """What those say that have what is named. Raises AdminFault where none has."""
        answers, faults = await self._steps(step, values)
        faults = [one for one in faults if not (answers and _knows_nothing(one))]
        if faults:
            raise faults[0]
        return answers

    async def first(self, step: Step, **values: Any) -> Any:
        """What the first worker says. Raises AdminFault."""
        return await self.step(self._workers[0], step, **values)

    async def _steps(self, step: Step, values: Mapping[str, Any]) -> tuple[list[Any], list[BaseException]]:
        for worker in self._workers:  # before any of them has changed anything
            _check(worker)
        results = await asyncio.gather(
            *(self.step(one, step, **values) for one in self._workers), return_exceptions=True
        )
        return _apart(results)

    async def step(self, worker: WorkerProcess, step: Step, **values: Any) -> Any:
        """What one worker says. Raises AdminFault."""
        _check(worker)
        name, params = question(step, **values)
        found = await worker.core.ask(Request(id=0, method=name, params=params, caller=SYSTEM))
        return answer(step, found.result)

    # --- methods ------------------------------------------------------------------------------------------------------

    async def _tell(self, workers: Sequence[WorkerProcess], method: str) -> None:
        """Have those do something that work; the others do it when they start. Raises AdminFault."""
        request = Request(id=0, method=method, caller=SYSTEM)
        await asyncio.gather(*(one.core.ask(request) for one in workers if one.ready.is_set()))

    async def _with_queue(self, params: Any, field: str) -> Any:
        """With the whole identity of the queue that is named: a worker that has another one would take it for that."""
        state = (await one_queue(self._together(), getattr(params, field))).state  # type: ignore[arg-type]
        return msgspec.structs.replace(params, **{field: queue_identity(state.queue, state.next_hop)})

    async def _one(self, name: str, method: Method, params: Any, caller: Caller) -> Any:
        unknown: AdminFault | None = None
        for worker in self._workers:
            try:
                return await self._ask(worker, name, method, params, caller)
            except AdminFault as fault:
                if fault.code != NOT_FOUND:
                    raise
                unknown = unknown or fault
        assert unknown is not None
        raise unknown

    async def _several(self, name: str, method: Method, params: Any, caller: Caller) -> Any:
        merge = method.merge
        asked = list(self._workers)
        if merge.ask is Ask.WORKING:
            asked = [one for one in asked if one.ready.is_set()]
        else:
            for worker in asked:
                _check(worker)
        results = await asyncio.gather(
            *(self._ask(one, name, method, params, caller) for one in asked), return_exceptions=True
        )
        answers, faults = _apart(results)
        troubles = [f"worker {one.number} {one.trouble}" for one in self._workers if not one.ready.is_set()]
        if merge.ask is Ask.KNOWING:
            faults = [one for one in faults if not (answers and _knows_nothing(one))]
        elif merge.ask is Ask.WORKING and answers:
            troubles += [str(one) for one in faults]
            faults = []
        if faults:
            raise faults[0]
        if not answers:
            raise AdminFault(FAILED, "no worker works: " + "; ".join(troubles), "the server's log says more")
        result = merge.join(answers, params) if merge.join is not None else answers[0]
        return merge.troubled(result, troubles) if merge.troubled is not None and troubles else result

    async def _ask(self, worker: WorkerProcess, name: str, method: Method, params: Any, caller: Caller) -> Any:
        """What one worker says. Raises AdminFault."""
        _check(worker)
        raw = msgspec.Raw(msgspec.json.encode(params))
        found = await worker.core.ask(Request(id=0, method=name, params=raw, caller=caller))
        return msgspec.json.decode(found.result, type=method.result)


def _apart(results: Sequence[Any]) -> tuple[list[Any], list[BaseException]]:
    """Answers and faults."""
    faults = [one for one in results if isinstance(one, BaseException)]
    return [one for one in results if not isinstance(one, BaseException)], faults


def _check(worker: WorkerProcess) -> None:
    """Raises AdminFault where a worker does not work at the moment."""
    if not worker.ready.is_set():
        raise AdminFault(FAILED, f"worker {worker.number} {worker.trouble or 'is being started'}", "try again")


def _knows_nothing(fault: BaseException) -> bool:
    return isinstance(fault, AdminFault) and fault.code in _UNKNOWING


def combined(methods: Mapping[str, Method]) -> dict[str, Method]:
    """The same methods, answered by all workers together; what they are called with is an `Asked`."""

    def scattered(name: str, method: Method) -> Method:
        async def answer(workers: Any, params: Any, caller: Caller) -> Any:
            return await workers.answer(name, method, params, caller)

        return msgspec.structs.replace(method, answer=answer)

    return {name: scattered(name, method) for name, method in methods.items()}
