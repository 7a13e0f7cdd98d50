# SPDX-License-Identifier: MIT
"""Actions on queued messages: suspend, resume, retry, resubmit, remove, redirect, priority, expiry.

By message, queue or filter; tried dry first, recorded, and undone where nothing has left yet (Exchange's Suspend-,
Resume-, Remove- and Redirect-Message, and Retry-Queue -Resubmit).
"""

from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import msgspec

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue.action_record import RUNNING, ActionRecord, Target
from bridgehead.admin.queue.filter import FilterError, Kind, Property, parse_filter, written
from bridgehead.admin.queue.message_properties import Vantage, message_properties, read_filter
from bridgehead.admin.queue.messages import MessageView, view_message
from bridgehead.admin.queue.queue_names import queue_identity
from bridgehead.admin.queue.queues import one_queue, undo_queues
from bridgehead.admin.times import moment
from bridgehead.mail.header import clean_text
from bridgehead.mail.item import Priority
from bridgehead.mail.limits import ACTION_SAMPLE, ACTION_TARGETS, REASON_TEXT
from bridgehead.queues.changes import OF_MESSAGES, ChangeKind, ItemChange
from bridgehead.queues.store import ItemFilter

if TYPE_CHECKING:
    from bridgehead.admin.queue.action_runner import Preview

WAIT_SECONDS: Final = 2.0
"""How long an answer waits for the end of an action, which most reach; whoever wants more asks again."""


class ActionOrder(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What is to be done to which messages.

    Attributes:
        action: suspend, resume, retry, resubmit, remove, redirect, priority or expiry.
        messages: internal ids, network message ids or Message-IDs, separated by commas; or
        queue: all of one queue, by its identity, next hop domain or connector; and, or
        filter: those that fit: {FromAddress -like '*@contoso.com' -and Size -gt 1MB}.
        ignore_missing: named messages that are not queued are left out, as long as one is.
        reason: why; needed unless one message is named.
        with_ndr: remove: tell the sender (Exchange's default).
        connector: redirect: the send connector to use.
        smart_host: redirect: a host to send to through that connector, in place of its own way.
        priority: High, Normal or Low.
        expires: expiry: a time, or a span from now such as "2h"; "default" for what the settings say.
    """

    action: str
    messages: str = ""
    queue: str = ""
    filter: str = ""
    ignore_missing: bool = False
    reason: str = ""
    with_ndr: bool = True
    connector: str = ""
    smart_host: str = ""
    priority: str = ""
    expires: str = ""


class QueueCount(msgspec.Struct, frozen=True):
    """Messages of one queue."""

    queue: str
    messages: int


class SkippedCount(msgspec.Struct, frozen=True):
    """Messages left alone for one reason."""

    reason: str
    messages: int


class ActionPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What an action would do, of which it has done nothing.

    `pending`: messages among them that would change only when the attempt under way has ended.
    """

    action: str
    messages: int
    pending: int
    total_bytes: int
    queues: list[QueueCount]
    skipped: list[SkippedCount]
    sample: list[MessageView]


class ActionView(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded action.

    Attributes:
        state: Running or Completed.
        messages: changed so far; `pending` of them when the attempt under way has ended.
        progress: share of the queues looked through, 0 to 1.
        undoable: `undo` may still restore some of it.
        kept_until: until then what it removed can be brought back.
        fault: why it stopped before its end, "" where it did not.
    """

    id: int
    action: str
    state: str
    by: str
    reason: str
    started: datetime | None
    ended: datetime | None
    target: str
    details: str
    messages: int
    pending: int
    total_bytes: int
    queues: list[QueueCount]
    skipped: list[SkippedCount]
    progress: float
    undoable: bool
    kept_until: datetime | None = None
    undo_of: int = 0
    undone_by: int = 0
    fault: str = ""


async def preview_action(server: RunningServer, order: ActionOrder) -> ActionPreview:
    """What `start_action` would do now. Raises AdminFault, StoreFault."""
    target, change = await wanted(server, order)
    return view_preview(change, await server.actions.preview(target, change, ACTION_SAMPLE), server.actions.around)


async def wanted(server: RunningServer, order: ActionOrder, who: str = "") -> tuple[Target, ItemChange]:
    """What an order is about, and what it does. Raises AdminFault, StoreFault."""
    return await _target(server, order), _change(server, order, who)


def view_preview(change: ItemChange, found: "Preview", around: Vantage) -> ActionPreview:
    """A preview as people see it."""
    counts = {queue_identity(queue, hop): count for (queue, hop), count in found.applied.queues.items()}
    return ActionPreview(
        action=change.kind.value,
        messages=len(found.applied.done),
        pending=found.applied.pending,
        total_bytes=found.applied.octets,
        queues=_queue_counts(counts),
        skipped=_skipped_counts(found.applied.skipped),
        sample=[view_message(entry, around) for entry in found.sample],
    )


async def start_action(server: RunningServer, order: ActionOrder, who: str) -> ActionView:
    """Do it; the record, as it stands at its end or after WAIT_SECONDS. Raises AdminFault, StoreFault."""
    target, change = await wanted(server, order, who)
    if target.is_bulk and not change.reason:
        raise AdminFault(INVALID, "an action on more than one message needs a reason", 'give it: --reason "…"')
    record = await server.actions.begin(target, change)
    view = view_action(await server.actions.ended(record.id, WAIT_SECONDS))
    if not target.is_bulk and view.state != RUNNING and not view.messages:
        reasons = "; ".join(one.reason for one in view.skipped) or "it is not queued any more"
        raise AdminFault(INVALID, f"message {target.ids[0]} was left alone: {reasons}")
    return view


async def list_actions(server: RunningServer, limit: int) -> list[ActionView]:
    """The latest actions, the latest first. Raises StoreFault, AdminFault."""
    return [view_action(record) for record in await server.actions.archive.records(limit)]


async def show_action(server: RunningServer, number: int) -> ActionView:
    """One action. Raises AdminFault, StoreFault."""
    return view_action(await server.actions.archive.record(number))


async def undo_action(server: RunningServer, number: int, who: str, reason: str) -> ActionView:
    """Restore what has not left since. Raises AdminFault, StoreFault."""
    reason = clean_text(reason, REASON_TEXT)
    found = await server.actions.archive.record(number)
    if found.change.kind not in OF_MESSAGES and found.can_be_undone:
        return view_action(await undo_queues(server, found, who, reason))
    record = await server.actions.undo(number, who, reason)
    return view_action(await server.actions.ended(record.id, WAIT_SECONDS))


def view_action(record: ActionRecord) -> ActionView:
    """A record as people see it."""
    change = record.change
    told = change.kind is ChangeKind.REMOVE and change.with_ndr  # its senders have reports, which nobody can call back
    return ActionView(
        id=record.id,
        action=record.verb,
        state=record.state,
        by=change.by,
        reason=change.reason,
        started=moment(change.at),
        ended=moment(record.ended),
        target=_target_text(record.target),
        details=_details(change),
        messages=record.done,
        pending=record.pending,
        total_bytes=record.octets,
        queues=_queue_counts(record.queues),
        skipped=_skipped_counts(record.skipped),
        progress=1.0 if record.state != RUNNING else round(record.cursor / max(1, record.boundary), 3),
        undoable=record.can_be_undone and record.state != RUNNING and not told,
        kept_until=moment(record.purge_at),
        undo_of=record.undo_of,
        undone_by=record.undone_by,
        fault=record.fault,
    )


# --- from words to values -------------------------------------------------------------------------------------------


async def _target(server: RunningServer, order: ActionOrder) -> Target:
    """Which messages are meant. Raises AdminFault, StoreFault."""
    if order.messages:
        if order.queue or order.filter:
            raise AdminFault(INVALID, "messages are named by id, or by queue and filter, not by both")
        return Target(ids=await _named(server, order.messages, order.ignore_missing))
    if not order.queue and not order.filter:
        remedy = "name messages, a queue, or give a filter"
        raise AdminFault(INVALID, "it is not said which messages are meant", remedy)
    text = ""
    if order.filter:
        text = written(read_filter(order.filter, message_properties(server.actions.around), server.now()))
    if not order.queue:
        return Target(filter=text)
    state = (await one_queue(server, order.queue)).state
    return Target(queue=state.queue, next_hop=state.next_hop, filter=text)


async def _named(server: RunningServer, names: str, ignore_missing: bool) -> tuple[int, ...]:
    """Internal ids of the messages that are named; of every part of those named by another identity."""
    found: list[int] = []
    missing: AdminFault | None = None
    for name in (part.strip() for part in names.split(",")):
        if not name:
            continue
        if name.isdecimal() and len(name) < 19:
            entries = await server.list_items(ItemFilter(internal_message_id=int(name)))
        else:
            entries = await server.list_items(ItemFilter(network_message_id=name, limit=ACTION_TARGETS))
            entries = entries or await server.list_items(ItemFilter(message_id=name, limit=ACTION_TARGETS))
        if not entries:
            missing = AdminFault(NOT_FOUND, f"no message {name} is queued", f"bridgehead trace '{name}'")
            if not ignore_missing:
                raise missing
        found += [entry.id for entry in entries]
        if len(found) > ACTION_TARGETS:
            raise AdminFault(INVALID, f"at most {ACTION_TARGETS} messages are named by id", "use a filter")
    if missing is not None and not found:
        raise missing
    return tuple(dict.fromkeys(found))


def _change(server: RunningServer, order: ActionOrder, who: str) -> ItemChange:
    """What is to be done. Raises AdminFault."""
    words = {kind.value: kind for kind in OF_MESSAGES}
    kind = words.get(order.action.casefold())
    if kind is None:
        raise AdminFault(INVALID, f'there is no action "{order.action}"', _nearest(order.action, list(words)))
    change = ItemChange(kind=kind, by=who, reason=clean_text(order.reason, REASON_TEXT))
    match kind:
        case ChangeKind.REMOVE:
            return msgspec.structs.replace(change, with_ndr=order.with_ndr)
        case ChangeKind.REDIRECT:
            next_hop = server.actions.around.next_hop_through(order.connector, order.smart_host)
            return msgspec.structs.replace(change, next_hop=next_hop)
        case ChangeKind.PRIORITY:
            return msgspec.structs.replace(change, priority=_priority(order.priority))
        case ChangeKind.EXPIRY:
            return msgspec.structs.replace(change, expires_at=read_moment(order.expires, server.now(), "expiry"))
    return change


def _priority(text: str) -> Priority:
    for priority in Priority:
        if priority.name.casefold() == text.casefold():
            return priority
    names = [priority.name.capitalize() for priority in Priority]
    raise AdminFault(INVALID, f'"{text}" is no priority', _nearest(text, names))


def read_moment(text: str, now: float, what: str) -> float:
    """A time to come: "2026-11-24T08:00", or a span from now such as "2h"; 0 for "default". Raises AdminFault."""
    if text.casefold() == "default":
        return 0.0
    for kind in (Kind.SPAN, Kind.TIME):
        table = {"it": Property(name="It", kind=kind, get=lambda value: value)}
        try:
            value = getattr(parse_filter("It -eq '" + text.replace("'", "''") + "'", table, now), "value", None)
        except FilterError:
            continue
        if isinstance(value, int | float):
            when = now + value if kind is Kind.SPAN else value
            if when < now:
                raise AdminFault(INVALID, f'the {what} "{text}" is past', "to be rid of messages, remove them")
            return when
    raise AdminFault(
        INVALID, f'"{text}" is no {what}', 'a span such as "2h", a time such as 2026-11-24T08:00, or "default"'
    )


def _nearest(given: str, names: Sequence[str]) -> str:
    close = get_close_matches(given, names, n=1)
    return f"did you mean {close[0]}?" if close else f"one of {', '.join(names)}"


# --- from values to words -------------------------------------------------------------------------------------------


def _target_text(target: Target) -> str:
    if target.queues:
        return f"queues {target.queues}"
    if target.ids:
        shown = ", ".join(map(str, target.ids[:5]))
        return f"messages {shown}" + (f" and {len(target.ids) - 5} more" if len(target.ids) > 5 else "")
    parts = [f"queue {queue_identity(target.queue, target.next_hop)}"] if target.queue is not None else []
    return ", ".join(parts + ([f"{{{target.filter}}}"] if target.filter else []))


def _details(change: ItemChange) -> str:
    match change.kind:
        case ChangeKind.REMOVE:
            return "with NDR" if change.with_ndr else "without NDR"
        case ChangeKind.REDIRECT:
            return f"to {change.next_hop}"
        case ChangeKind.PRIORITY:
            return change.priority.name.capitalize()
        case ChangeKind.EXPIRY:
            when = moment(change.expires_at)
            return "as the settings say" if when is None else f"{when:%Y-%m-%d %H:%M:%S}Z"
    return f"standing rule {change.rule}" if change.rule else ""


def _queue_counts(counts: dict[str, int]) -> list[QueueCount]:
    return [QueueCount(queue, count) for queue, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _skipped_counts(counts: dict[str, int]) -> list[SkippedCount]:
    return [SkippedCount(reason, n) for reason, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
