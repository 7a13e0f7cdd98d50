# SPDX-License-Identifier: MIT
"""Standing rules: hold or fail present and future mail that fits a filter, until they expire or are cancelled.

Future mail is judged by the categorizer as it enters its queue; present mail by an action that goes through the queues
in the background, begun once the rule is in force, so that nothing slips between the two. What a rule held is released
by an action when the rule ends. Rules are notes in the queue database; a start takes up what a stop interrupted.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from bridgehead.admin.faults import FAILED, INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.queue.action_record import Target
from bridgehead.admin.queue.action_runner import ActionRunner
from bridgehead.admin.queue.filter import written
from bridgehead.admin.queue.filter_match import Predicate, compiled
from bridgehead.admin.queue.message_properties import message_properties, read_filter
from bridgehead.mail.item import Handling
from bridgehead.mail.limits import LIST_RESULTS, STANDING_RULES
from bridgehead.queues.changes import ChangeKind, ItemChange
from bridgehead.queues.store import Note, QueuedItem, QueueStore, StoreFault

log = logging.getLogger("bridgehead.admin")

RULE: Final = 2
"""The kind of the notes of standing rules."""
HOLD, FAIL = "hold", "fail"
IN_FORCE, CANCELLED, EXPIRED = "In force", "Cancelled", "Expired"
LOOK_SECONDS: Final = 10.0
"""How often counts are kept and clocks looked at; a rule expires this much late at most."""


class StandingRule(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One rule.

    Attributes:
        verb: "hold" or "fail".
        filter: in the form that `filter.written` gives.
        by, reason, created: who ordered it, why, when (Unix time).
        expires: Unix time, 0 for never.
        ended, ended_by, end_reason: when it was cancelled or expired, by whom and why.
        matched: messages that came while it was in force and fitted.
        sweep, release: the actions on present mail at its beginning and its end, 0 for none yet.
    """

    id: int
    verb: str
    filter: str
    by: str
    reason: str
    created: float
    expires: float = 0.0
    state: str = IN_FORCE
    ended: float = 0.0
    ended_by: str = ""
    end_reason: str = ""
    matched: int = 0
    sweep: int = 0
    release: int = 0


class StandingRules:
    """The rules in force, and the book of all. Implements the categorizer's `Gate`.

    Args:
        actions: carries out what is done to present mail.
        set_gate: tells the categorizer by whom mail is to be judged; None while there are no rules.
    """

    def __init__(
        self, store: QueueStore, actions: ActionRunner, set_gate: Callable[["StandingRules | None"], None]
    ) -> None:  # fmt: skip
        self._store, self._actions, self._around = store, actions, actions.around
        self._set_gate = set_gate
        self._in_force: list[tuple[StandingRule, Predicate]] = []
        self._kept: dict[int, int] = {}
        self._next_id = 1
        self._task: asyncio.Task[None] | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self, *, counted: bool = True) -> None:
        """Put rules in force again, after the runner and before the categorizer. Raises StoreFault, AdminFault.

        `counted`: the records say what matched here; else what matched with the worker that they are a copy of.
        """
        for rule in await self.rules():
            rule.matched = rule.matched if counted else 0
            self._next_id = max(self._next_id, rule.id + 1)
            if rule.state == IN_FORCE:
                self._put_in_force(rule)
                if not rule.sweep:
                    await self._sweep(rule)
            elif not rule.release and rule.verb == HOLD:
                await self._release(rule)
        self._actions.held_by_another = self.judge
        self._task = asyncio.get_running_loop().create_task(self._watch(), name="standing rules")

    async def stop(self) -> None:
        """Keep the counts; rules stay."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._keep_counts()
        except StoreFault as fault:
            log.error("counts of standing rules could not be stored: %s", fault)

    # --- the gate ---------------------------------------------------------------------------------------------------

    def judge(self, entry: QueuedItem) -> Handling | None:
        """See `categorizer.ports.Gate`; the oldest rule that fits decides."""
        for rule, fits in self._in_force:
            if fits(entry):
                rule.matched += 1
                return Handling(
                    by=rule.by, reason=rule.reason, at=self._around.now(), rule=rule.id, with_ndr=rule.verb == FAIL,
                    expires_at=entry.item.expires_at,
                )  # fmt: skip
        return None

    # --- what commands ask ----------------------------------------------------------------------------------------

    async def add(
        self, verb: str, filter_text: str, by: str, reason: str, expires: float, sweep: int = 0
    ) -> StandingRule:  # fmt: skip
        """Put a new rule in force; `sweep`: the number of its action, where several workers share one. Raises
        AdminFault, StoreFault."""
        if len(self._in_force) >= STANDING_RULES:
            remedy = "cancel some: bridgehead standing-rule list"
            raise AdminFault(INVALID, f"{STANDING_RULES} standing rules are in force already", remedy)
        expression = read_filter(filter_text, message_properties(self._around), self._around.now())
        rule = StandingRule(
            id=self._next_id, verb=verb, filter=written(expression), by=by, reason=reason, created=self._around.now(),
            expires=expires,
        )  # fmt: skip
        self._next_id += 1
        await self._keep(rule)
        self._put_in_force(rule)
        await self._sweep(rule, sweep)
        return rule

    async def cancel(self, number: int, by: str, reason: str, release: int = 0) -> StandingRule:
        """End a rule and release what it holds; `release`: the number of that action, where several workers share one.
        Raises AdminFault, StoreFault."""
        rule = await self.rule(number)
        if rule.state != IN_FORCE:
            raise AdminFault(INVALID, f"standing rule {number} has ended already ({rule.state.lower()})")
        await self._end(rule, CANCELLED, by, reason, release)
        return rule

    async def rule(self, number: int) -> StandingRule:
        """One rule. Raises AdminFault, StoreFault."""
        for rule, _ in self._in_force:
            if rule.id == number:
                return rule
        notes = await self._store.notes(RULE, number, -1, 1)
        if not notes:
            raise AdminFault(NOT_FOUND, f"there is no standing rule {number}", "bridgehead standing-rule list")
        return _rule_of(notes[0])

    async def rules(self) -> list[StandingRule]:
        """All rules, ended ones too, the oldest first. Raises StoreFault, AdminFault."""
        live = {rule.id: rule for rule, _ in self._in_force}
        found: list[StandingRule] = []
        last = -1
        while notes := await self._store.notes(RULE, None, last, LIST_RESULTS):
            found += (live.get(note.id) or _rule_of(note) for note in notes)
            last = notes[-1].id
        return found

    # --- inside -----------------------------------------------------------------------------------------------------

    def _put_in_force(self, rule: StandingRule) -> None:
        expression = read_filter(rule.filter, message_properties(self._around), self._around.now())
        self._in_force.append((rule, compiled(expression)))
        self._kept[rule.id] = rule.matched
        self._set_gate(self)

    async def _sweep(self, rule: StandingRule, number: int = 0) -> None:
        """Begin to treat the mail that is there."""
        kind = ChangeKind.SUSPEND if rule.verb == HOLD else ChangeKind.REMOVE
        change = ItemChange(kind=kind, by=rule.by, reason=rule.reason, rule=rule.id, with_ndr=rule.verb == FAIL)
        rule.sweep = (await self._actions.begin(Target(filter=rule.filter), change, number)).id
        await self._keep(rule)

    async def _release(self, rule: StandingRule, number: int = 0) -> None:
        """Begin to let go what a rule held."""
        reason = f"standing rule {rule.id} {rule.state.lower()}" + (f": {rule.end_reason}" if rule.end_reason else "")
        change = ItemChange(kind=ChangeKind.RESUME, by=rule.ended_by, reason=reason, rule=rule.id)
        target = Target(filter=f"StandingRule -eq {rule.id}")
        rule.release = (await self._actions.begin(target, change, number)).id
        await self._keep(rule)

    async def _end(self, rule: StandingRule, state: str, by: str, reason: str, release: int = 0) -> None:
        rule.state, rule.ended, rule.ended_by, rule.end_reason = state, self._around.now(), by, reason
        await self._keep(rule)
        self._in_force = [pair for pair in self._in_force if pair[0] is not rule]
        if not self._in_force:
            self._set_gate(None)
        if rule.verb == HOLD:
            await self._release(rule, release)

    async def _keep(self, rule: StandingRule) -> None:
        await self._store.swap([], [Note(RULE, rule.id, 0, msgspec.msgpack.encode(rule))])
        self._kept[rule.id] = rule.matched

    async def _keep_counts(self) -> None:
        for rule, _ in self._in_force:
            if self._kept.get(rule.id) != rule.matched:
                await self._keep(rule)

    async def _watch(self) -> None:
        """Let rules expire, and keep their counts."""
        while True:
            now = self._around.now()
            try:
                for rule, _ in list(self._in_force):
                    if rule.expires and rule.expires <= now:
                        await self._end(rule, EXPIRED, rule.by, "")
                        log.info("standing rule %d has expired", rule.id)
                await self._keep_counts()
            except StoreFault as fault:
                log.error("standing rules could not be kept: %s", fault)
            nearest = min((rule.expires - now for rule, _ in self._in_force if rule.expires), default=LOOK_SECONDS)
            await asyncio.sleep(min(LOOK_SECONDS, max(0.1, nearest)))


def _rule_of(note: Note) -> StandingRule:
    try:
        return msgspec.msgpack.decode(note.record, type=StandingRule)
    except msgspec.MsgspecError as error:
        raise AdminFault(FAILED, f"standing rule {note.id} cannot be read: {error}") from None
