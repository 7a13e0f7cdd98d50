# SPDX-License-Identifier: MIT
"""What a supervisor asks a worker, and nobody else can: the steps of what operators ask of all workers together.

A step is a method of `WorkerDesk`: its parameters and its result are what travels, its name is that of the question.
Who puts the steps together is `together.py`.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_type_hints

import msgspec

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.method import Caller, Method, Role
from bridgehead.admin.ports import QueueActivity
from bridgehead.admin.queue.action_record import ActionRecord, Target
from bridgehead.admin.queue.actions import ActionPreview, view_preview
from bridgehead.admin.queue.safety_net import too_many
from bridgehead.admin.queue.standing_rules import StandingRule
from bridgehead.delivery.resubmission import TooMany
from bridgehead.delivery.resubmit_request import Request, Wanted
from bridgehead.mail.limits import ACTION_SAMPLE
from bridgehead.queues.changes import ItemChange
from bridgehead.queues.safety_net.net import SafetyNetFacts
from bridgehead.queues.store import ItemFilter, QueueState, QueueSummary
from bridgehead.server.workers.elsewhere import Trouble

if TYPE_CHECKING:
    from bridgehead.server.app import Application
    from bridgehead.server.operations import Operations

_PREFIX: Final = "worker."


class QueuePart(msgspec.Struct, frozen=True):
    """What one worker has of a queue."""

    summary: QueueSummary
    activity: QueueActivity


class Senders(msgspec.Struct, frozen=True):
    """Who sent mail to one worker: `sources` since this was last asked; when each device sent last, Unix times."""

    sources: list[str]
    devices: dict[str, float]


class WorkerDesk:
    """One worker's steps. Each raises AdminFault, and StoreFault where the store cannot answer."""

    def __init__(self, application: "Application") -> None:
        self._application = application
        self._running: Operations = application.operations

    async def flush_logs(self) -> None:
        """Write what was recorded, before another worker reads it."""
        await asyncio.to_thread(self._application.logs.flush)
        await self._application.tls_reports.flush()

    async def note_troubles(self, troubles: Sequence[Trouble]) -> None:
        """Raise and clear alarms for others."""
        self._application.elsewhere.note(troubles)

    async def senders(self) -> Senders:
        """Who sent mail to us; the first worker watches who falls silent."""
        return Senders(list(self._application.metrics.take_sources()), self._application.devices.last_messages())

    async def note_senders(self, senders: Senders) -> None:
        """They sent mail to another worker."""
        self._application.monitored.heard_elsewhere.update(senders.sources)
        self._application.devices.heard(senders.devices)

    # --- queues -----------------------------------------------------------------------------------------------------

    async def queue_parts(self) -> list[QueuePart]:
        """Every queue with what it does."""
        found = await self._running.queues()
        return [QueuePart(one, self._running.activity(one.state)) for one in found]

    async def retry_queue(self, queue: QueueState) -> int:
        """Try it again now; how many messages that concerns."""
        return await self._running.retry(queue)

    async def suspend_queue(self, queue: QueueState, who: str, reason: str) -> None:
        """Suspend it, whether there is a message for it yet or not."""
        await self._running.suspend(queue, who, reason)

    async def resume_queue(self, queue: QueueState) -> None:
        """Let it go on."""
        await self._running.resume(queue)

    async def note_queues(self, change: ItemChange, chosen: str, counts: dict[str, int], undo_of: int) -> ActionRecord:
        """Record what was done to queues of all workers."""
        return await self._running.actions.note_queues(change, chosen, counts, undo_of)

    # --- messages and actions on them ---------------------------------------------------------------------------------

    async def listed(self, wanted: ItemFilter) -> list[int]:
        """Ids of the messages that fit."""
        return [entry.id for entry in await self._running.list_items(wanted)]

    async def preview(self, target: Target, change: ItemChange) -> ActionPreview:
        """What an action would do here."""
        actions = self._running.actions
        return view_preview(change, await actions.preview(target, change, ACTION_SAMPLE), actions.around)

    async def begin(self, target: Target, change: ItemChange, number: int) -> ActionRecord:
        """Begin our part of an action."""
        return await self._running.actions.begin(target, change, number)

    async def ended(self, number: int, seconds: float) -> ActionRecord:
        """Our part once it has ended, or after that time."""
        return await self._running.actions.ended(number, seconds)

    async def action(self, number: int) -> ActionRecord:
        """Our part as it stands."""
        return await self._running.actions.archive.record(number)

    async def actions(self, limit: int) -> list[ActionRecord]:
        """Our parts of the latest actions, the latest first."""
        return await self._running.actions.archive.records(limit)

    async def undo(self, number: int, by: str, reason: str, undoing: int) -> ActionRecord:
        """Begin to undo our part."""
        return await self._running.actions.undo(number, by, reason, undoing)

    # --- standing rules -----------------------------------------------------------------------------------------------

    async def add_rule(
        self, verb: str, filter_text: str, by: str, reason: str, expires: float, sweep: int
    ) -> StandingRule:  # fmt: skip
        """Put a new rule in force here."""
        return await self._running.standing_rules.add(verb, filter_text, by, reason, expires, sweep)

    async def cancel_rule(self, number: int, by: str, reason: str, release: int) -> StandingRule:
        """End a rule here."""
        return await self._running.standing_rules.cancel(number, by, reason, release)

    async def rule(self, number: int) -> StandingRule:
        """One rule, with what matched here."""
        return await self._running.standing_rules.rule(number)

    async def rules(self) -> list[StandingRule]:
        """All rules, with what matched here."""
        return await self._running.standing_rules.rules()

    # --- the Safety Net -----------------------------------------------------------------------------------------------

    async def net_facts(self) -> SafetyNetFacts:
        """How our net is."""
        return await self._running.safety_net.facts()

    async def resubmissions(self) -> list[Request]:
        """Our parts of all requests that are remembered."""
        return await self._running.safety_net.latest()

    async def resubmit(self, wanted: Wanted, dry_run: bool, by: str, reason: str, number: int) -> Request:
        """Begin our part of a request to resubmit."""
        try:
            return await self._running.safety_net.start(
                wanted, dry_run=dry_run, by=by, reason=reason, number=number
            )  # fmt: skip
        except TooMany:
            raise too_many() from None

    async def resubmission(self, number: int) -> Request:
        """Our part as it stands."""
        request = await self._running.safety_net.find(number)
        if request is None:
            raise AdminFault(NOT_FOUND, f"there is no request {number}")
        return request

    async def cancel_resubmission(self, number: int) -> None:
        """Stop our part."""
        if not await self._running.safety_net.cancel(number):
            raise AdminFault(INVALID, f"request {number} is over")


Step = Callable[..., Coroutine[Any, Any, Any]]
"""A method of WorkerDesk, unbound."""


class _Kind(NamedTuple):
    """What travels for a step."""

    name: str
    params: type[msgspec.Struct]
    result: Any


@functools.cache
def _kind(step: Step) -> _Kind:
    hints = get_type_hints(step)
    names = [name for name in inspect.signature(step).parameters if name != "self"]
    params = msgspec.defstruct(step.__name__, [(name, hints[name]) for name in names], frozen=True)
    return _Kind(f"{_PREFIX}{step.__name__}", params, hints["return"])


def question(step: Step, **values: Any) -> tuple[str, msgspec.Raw]:
    """A step as it is asked: method and parameters."""
    kind = _kind(step)
    return kind.name, msgspec.Raw(msgspec.json.encode(kind.params(**values)))


def answer(step: Step, result: msgspec.Raw) -> Any:
    """What a worker answered, of the type that the step returns."""
    return msgspec.json.decode(result, type=_kind(step).result)


def own_methods(desk: WorkerDesk) -> dict[str, Method]:
    """Every step as a method of the worker's channel, by name."""
    steps = [value for name, value in vars(WorkerDesk).items() if not name.startswith("_")]
    return {_kind(step).name: _method(desk, step) for step in steps}


def _method(desk: WorkerDesk, step: Step) -> Method:
    kind = _kind(step)

    async def perform(_: Any, params: Any, __: Caller) -> Any:
        return await step(desk, **{field: getattr(params, field) for field in kind.params.__struct_fields__})

    return Method(params=kind.params, result=kind.result, answer=perform, role=Role.HELP_DESK, route="GET ")
