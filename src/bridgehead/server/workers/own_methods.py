# SPDX-License-Identifier: MIT
"""What a supervisor asks a worker, and nobody else can: steps of what operators asked of all workers."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.queues.store import QueueKind, QueueState, QueueStatus
from bridgehead.routing.next_hop import NextHop
from bridgehead.server.workers.elsewhere import Trouble

if TYPE_CHECKING:
    from bridgehead.server.app import Application

FLUSH_LOGS: Final = "worker.flush_logs"
SUSPEND_AHEAD: Final = "worker.suspend_ahead"
NOTE_TROUBLES: Final = "worker.note_troubles"


class Ahead(msgspec.Struct, frozen=True):
    """Delivery queues of other workers that somebody has suspended."""

    next_hops: Sequence[NextHop]
    who: str
    reason: str


class Troubles(msgspec.Struct, frozen=True):
    """What is wrong with others now."""

    troubles: Sequence[Trouble]


def own_methods(application: "Application") -> dict[str, Method]:
    """Those of one worker, by name."""

    async def flush_logs(_: Any, __: NoParameters, ___: Caller) -> None:
        """Write what was recorded, before another worker reads it."""
        await asyncio.to_thread(application.logs.flush)

    async def suspend_ahead(_: Any, params: Ahead, __: Caller) -> None:
        """Suspend delivery queues, whether there is a message for them yet or not."""
        operations = application.operations
        suspended = {
            one.state.next_hop for one in await operations.queues() if one.state.status is QueueStatus.SUSPENDED
        }
        for next_hop in set(params.next_hops) - suspended:
            state = QueueState(queue=QueueKind.DELIVERY, next_hop=next_hop)
            await operations.suspend(state, params.who, params.reason)

    async def note_troubles(_: Any, params: Troubles, __: Caller) -> None:
        """Raise and clear alarms for others."""
        application.elsewhere.note(params.troubles)

    return {
        NOTE_TROUBLES: _method(Troubles, note_troubles),
        FLUSH_LOGS: _method(NoParameters, flush_logs),
        SUSPEND_AHEAD: _method(Ahead, suspend_ahead),
    }


def _method(params: type[msgspec.Struct], answer: Any) -> Method:
    return Method(params=params, result=None, answer=answer, role=Role.HELP_DESK, route="GET ")
