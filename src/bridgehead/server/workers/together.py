# SPDX-License-Identifier: MIT
"""All workers as one server, for what operators do to queues and messages, by standing rules and with the Safety Net.

The very code that answers in a single process runs here, on what all workers have: it finds the same queues, refuses
the same, records the same. An action and a request to resubmit have one number, under which every worker keeps the
record of its part; what was done to queues as a whole is recorded by the first worker for all.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.ports import QueueActivity
from bridgehead.admin.queue import parts
from bridgehead.admin.queue.action_record import ActionRecord, Target
from bridgehead.admin.queue.action_runner import check_undoable
from bridgehead.admin.queue.actions import ActionOrder, ActionPreview, wanted
from bridgehead.admin.queue.joining import preview
from bridgehead.admin.queue.standing_rules import StandingRule
from bridgehead.delivery.resubmit_request import Request, Wanted
from bridgehead.net.clock import SystemClock
from bridgehead.queues.changes import ItemChange
from bridgehead.queues.numbers import Numbers
from bridgehead.queues.safety_net.net import SafetyNetFacts
from bridgehead.queues.store import ItemFilter, QueueKind, QueueState, QueueSummary
from bridgehead.routing.next_hop import NextHop
from bridgehead.server.queue_actions import ConfigurationAround
from bridgehead.server.workers.desk import Step, WorkerDesk

if TYPE_CHECKING:
    from bridgehead.server.config.load import Loaded


class Workers(Protocol):
    """Who takes the steps."""

    async def each(self, step: Step, **values: Any) -> list[Any]:
        """What every worker says. Raises AdminFault where one does not work, before any is asked."""

    async def knowing(self, step: Step, **values: Any) -> list[Any]:
        """What those say that have what is named. Raises AdminFault where none has."""

    async def first(self, step: Step, **values: Any) -> Any:
        """What the first worker says. Raises AdminFault."""


class Listed(NamedTuple):
    """A queued message, as far as it must be known here."""

    id: int


class Series:
    """Numbers that no worker gives and that are given once."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers, self._next = numbers, numbers.first(0)

    def take(self, least: int = 0) -> int:
        """The next one, from `least` on."""
        number = self._numbers.first(max(self._next, least))
        self._next = number + 1
        return number


class Common(Protocol):
    """What is the server's: the configuration in force, and the numbers of actions and of requests."""

    loaded: "Loaded"
    clock: SystemClock
    action_numbers: Series
    request_numbers: Series


class Together:
    """One question to the server as a whole. Implements what the methods of queues, actions and the Safety Net ask of
    `admin.ports.RunningServer`."""

    def __init__(self, workers: Workers, common: Common) -> None:
        self._workers, self._clock = workers, common.clock
        self._activities: dict[tuple[QueueKind, NextHop | None], QueueActivity] = {}
        self.actions = ActionsTogether(workers, common)
        self.standing_rules = RulesTogether(workers, common)
        self.safety_net = ResubmissionsTogether(workers, common)

    def now(self) -> float:
        """Unix time."""
        return self._clock.now()

    async def queues(self) -> Sequence[QueueSummary]:
        """Every queue that a worker has, with all of its messages."""
        found: dict[tuple[QueueKind, NextHop | None], list[Any]] = {}
        for answer in await self._workers.each(WorkerDesk.queue_parts):
            for part in answer:
                found.setdefault((part.summary.state.queue, part.summary.state.next_hop), []).append(part)
        self._activities = {key: parts.activity(found[key]) for key in found}
        return [parts.summary(found[key]) for key in found]

    def activity(self, queue: QueueState) -> QueueActivity:
        """What a queue did when `queues` was asked."""
        return self._activities.get((queue.queue, queue.next_hop), QueueActivity())

    async def list_items(self, wanted: ItemFilter) -> Sequence[Listed]:
        """The messages that fit, wherever they are."""
        answers = await self._workers.each(WorkerDesk.listed, wanted=wanted)
        return [Listed(id) for id in sorted(id for answer in answers for id in answer)]

    async def retry(self, queue: QueueState) -> int:
        """Retry-Queue; how many messages that concerns."""
        return sum(await self._workers.each(WorkerDesk.retry_queue, queue=queue))

    async def suspend(self, queue: QueueState, who: str, reason: str = "") -> None:
        """Suspend-Queue, also with workers that have no mail for it yet."""
        await self._workers.each(WorkerDesk.suspend_queue, queue=queue, who=who, reason=reason)

    async def resume(self, queue: QueueState) -> None:
        """Resume-Queue."""
        await self._workers.each(WorkerDesk.resume_queue, queue=queue)

    async def preview(self, order: ActionOrder) -> ActionPreview:
        """What an action would do, everywhere. Raises AdminFault."""
        target, change = await wanted(self, order)  # type: ignore[arg-type]  # of which it needs what is here
        return preview(await self._workers.each(WorkerDesk.preview, target=target, change=change), order)


class ActionsTogether:
    """Actions as one process has them in its `ActionRunner`, which is also where they are archived."""

    def __init__(self, workers: Workers, common: Common) -> None:
        self._workers, self._numbers = workers, common.action_numbers
        self.around = ConfigurationAround(common)
        self.archive = self

    async def begin(self, target: Target, change: ItemChange) -> ActionRecord:
        """Begin an action with every worker."""
        number = self._numbers.take()
        return parts.action(await self._workers.each(WorkerDesk.begin, target=target, change=change, number=number))

    async def ended(self, number: int, seconds: float) -> ActionRecord:
        """The action once all parts have ended, or after that time."""
        return parts.action(await self._workers.knowing(WorkerDesk.ended, number=number, seconds=seconds))

    async def record(self, number: int) -> ActionRecord:
        """One action as it stands."""
        return parts.action(await self._workers.knowing(WorkerDesk.action, number=number))

    async def records(self, limit: int) -> list[ActionRecord]:
        """The latest actions, the latest first."""
        found = map(parts.action, parts.by_number(await self._workers.each(WorkerDesk.actions, limit=limit)))
        return sorted(found, key=lambda one: (one.change.at, one.id), reverse=True)[:limit]

    async def undo(self, number: int, by: str, reason: str) -> ActionRecord:
        """Begin to undo every part."""
        check_undoable(await self.record(number))
        undoing = self._numbers.take()
        return parts.action(
            await self._workers.knowing(WorkerDesk.undo, number=number, by=by, reason=reason, undoing=undoing)
        )

    async def note_queues(
        self, change: ItemChange, chosen: str, counts: dict[str, int], undo_of: int = 0
    ) -> ActionRecord:  # fmt: skip
        """Record what was done to queues as a whole."""
        record: ActionRecord = await self._workers.first(
            WorkerDesk.note_queues, change=change, chosen=chosen, counts=counts, undo_of=undo_of
        )
        return record


class RulesTogether:
    """Standing rules, of which every worker has all, as one process has them in its `StandingRules`."""

    def __init__(self, workers: Workers, common: Common) -> None:
        self._workers, self._numbers = workers, common.action_numbers

    async def add(self, verb: str, filter_text: str, by: str, reason: str, expires: float) -> StandingRule:
        """Put a new rule in force everywhere."""
        return parts.rule(
            await self._workers.each(
                WorkerDesk.add_rule, verb=verb, filter_text=filter_text, by=by, reason=reason, expires=expires,
                sweep=self._numbers.take(),
            )
        )  # fmt: skip

    async def cancel(self, number: int, by: str, reason: str) -> StandingRule:
        """End a rule everywhere."""
        release = self._numbers.take()
        return parts.rule(
            await self._workers.knowing(
                WorkerDesk.cancel_rule, number=number, by=by, reason=reason, release=release
            )
        )  # fmt: skip

    async def rule(self, number: int) -> StandingRule:
        """One rule."""
        return parts.rule(await self._workers.knowing(WorkerDesk.rule, number=number))

    async def rules(self) -> list[StandingRule]:
        """All rules, ended ones too, the oldest first."""
        found = list(map(parts.rule, parts.by_number(await self._workers.each(WorkerDesk.rules))))
        return found[::-1]


class ResubmissionsTogether:
    """Requests to resubmit, as one process has them in its `Resubmissions`."""

    def __init__(self, workers: Workers, common: Common) -> None:
        self._workers, self._clock, self._numbers = workers, common.clock, common.request_numbers

    async def facts(self) -> SafetyNetFacts:
        """How all nets are."""
        return parts.facts(await self._workers.each(WorkerDesk.net_facts))

    async def latest(self) -> list[Request]:
        """All requests that are remembered, the latest first."""
        return list(map(parts.request, parts.by_number(await self._workers.each(WorkerDesk.resubmissions))))

    async def find(self, number: int) -> Request | None:
        """A request by its number, as it stands."""
        try:
            return parts.request(await self._workers.knowing(WorkerDesk.resubmission, number=number))
        except AdminFault as fault:
            if fault.code != NOT_FOUND:
                raise
            return None

    async def start(self, wanted: Wanted, *, dry_run: bool, by: str, reason: str) -> Request:
        """Begin it with every worker, or with none."""
        now = self._clock.now()
        number = self._numbers.take(int(now))
        wanted = msgspec.structs.replace(wanted, end=min(wanted.end, now))
        try:
            return parts.request(
                await self._workers.each(
                    WorkerDesk.resubmit, wanted=wanted, dry_run=dry_run, by=by, reason=reason, number=number
                )
            )
        except AdminFault:
            await self.cancel(number)
            raise

    async def cancel(self, number: int) -> bool:
        """Stop what is left of a request; whether anything was."""
        try:
            await self._workers.knowing(WorkerDesk.cancel_resubmission, number=number)
        except AdminFault as fault:
            if fault.code not in (NOT_FOUND, INVALID):
                raise
            return False
        return True
