# SPDX-License-Identifier: MIT
"""Puts what operators ask to the workers and makes one answer of theirs, as each method declares (`admin/merge.py`)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from bridgehead.admin.calls.channel import Request
from bridgehead.admin.faults import FAILED, INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.merge import Ask
from bridgehead.admin.method import Caller, Method, NoParameters
from bridgehead.admin.methods.table import METHODS
from bridgehead.admin.queue.queues import QueueAction, QueueView
from bridgehead.mail.item import TlsRequirement
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.server.workers.own_methods import SUSPEND_AHEAD, Ahead
from bridgehead.server.workers.running import WorkerProcess

_UNKNOWING = (NOT_FOUND, INVALID)
"""Faults of a worker that has not what is named, or not in the state that is needed."""


SYSTEM: Final = Caller("system")
"""The supervisor itself."""
_SUSPEND: Final = "queues.suspend"
_LIST: Final = "queues.list"


class Asked:
    """The workers, as what they are asked sees them.

    Args:
        workers: the first one first.
        own: what the supervisor answers itself.
    """

    def __init__(self, workers: Sequence[WorkerProcess], own: Mapping[str, Callable[[], Awaitable[Any]]]) -> None:
        self._workers, self._own = workers, own

    async def answer(self, name: str, method: Method, params: Any, caller: Caller) -> Any:
        """One answer. Raises AdminFault."""
        merge = method.merge
        match merge.ask:
            case Ask.NOBODY:
                raise AdminFault(FAILED, f"{name} is not possible with several workers yet", "[server] workers = 1")
            case Ask.SUPERVISOR:
                return await self._own[name]()
        if merge.before:
            await self._tell(self._workers, merge.before)
        match merge.ask:
            case Ask.FIRST:
                result = await self._ask(self._workers[0], name, method, params, caller)
            case Ask.ONE:
                result = await self._one(name, method, params, caller)
            case _:
                result = await self._several(name, method, params, caller)
        if merge.also:
            await self._tell(self._workers[1:], merge.also)
        if name == _SUSPEND:
            await self._suspend_ahead(result, params, caller)
        return result

    async def _tell(self, workers: Sequence[WorkerProcess], method: str, params: Any = None) -> None:
        """Have those do something that work; the others do it when they start. Raises AdminFault."""
        raw = msgspec.Raw(msgspec.json.encode(params or NoParameters()))
        request = Request(id=0, method=method, params=raw, caller=SYSTEM)
        await asyncio.gather(*(one.core.ask(request) for one in workers if one.ready.is_set()))

    async def _suspend_ahead(self, done: Sequence[QueueAction], params: Any, caller: Caller) -> None:
        """A worker that has no mail for a suspended next hop yet shall not deliver it when it comes either."""
        views = await self.answer(_LIST, METHODS[_LIST], METHODS[_LIST].params(), caller)
        identities = {one.identity for one in done}
        hops = [hop for view in views if view.identity in identities and (hop := _hop(view)) is not None]
        if hops:
            await self._tell(self._workers, SUSPEND_AHEAD, Ahead(hops, caller.name, params.reason))

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
        if merge.ask is not Ask.WORKING:
            for worker in asked:  # before any of them has changed anything
                _check(worker)
        wanted = merge.every(params) if merge.every is not None else params
        results = await asyncio.gather(
            *(self._ask(one, name, method, wanted, caller) for one in asked), return_exceptions=True
        )
        faults = [one for one in results if isinstance(one, BaseException)]
        answers = [one for one in results if not isinstance(one, BaseException)]
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
        answer = await worker.core.ask(Request(id=0, method=name, params=raw, caller=caller))
        return msgspec.json.decode(answer.result, type=method.result)


def _check(worker: WorkerProcess) -> None:
    """Raises AdminFault where a worker does not work at the moment."""
    if not worker.ready.is_set():
        raise AdminFault(FAILED, f"worker {worker.number} {worker.trouble or 'is being started'}", "try again")


def _hop(view: QueueView) -> NextHop | None:
    """The next hop of a delivery queue."""
    if not view.delivery_type:
        return None
    plain = NextHop(DeliveryType(view.delivery_type), view.next_hop_domain, view.next_hop_connector)
    for requirement in TlsRequirement:
        hop = msgspec.structs.replace(plain, tls_requirement=requirement)
        if str(hop) == view.identity:
            return hop
    return None


def _knows_nothing(fault: BaseException) -> bool:
    return isinstance(fault, AdminFault) and fault.code in _UNKNOWING


def combined(methods: Mapping[str, Method]) -> dict[str, Method]:
    """The same methods, answered by all workers together; what they are called with is an `Asked`."""

    def scattered(name: str, method: Method) -> Method:
        async def answer(workers: Any, params: Any, caller: Caller) -> Any:
            return await workers.answer(name, method, params, caller)

        return msgspec.structs.replace(method, answer=answer)

    return {name: scattered(name, method) for name, method in methods.items()}
