# SPDX-License-Identifier: MIT
"""Queues: list, show, retry, suspend, resume, verify (Get-Queue, Retry-Queue, Suspend-Queue, Resume-Queue)."""

import difflib
from collections.abc import Iterable, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.admin.faults import FAILED, INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.ports import QueueActivity, RunningServer
from bridgehead.admin.queue.action_record import ActionRecord
from bridgehead.admin.queue.filter_match import compiled
from bridgehead.admin.queue.message_properties import read_filter
from bridgehead.admin.queue.messages import MessageView, view_messages
from bridgehead.admin.queue.queue_names import queue_identity
from bridgehead.admin.queue.queue_properties import QUEUE_PROPERTIES
from bridgehead.admin.times import moment
from bridgehead.mail.item import Priority
from bridgehead.mail.limits import LIST_RESULTS
from bridgehead.queues.changes import ChangeKind, ItemChange
from bridgehead.queues.sqlite.shards import shard_folder, shards
from bridgehead.queues.sqlite.verify import verify_directory
from bridgehead.queues.store import (
    ItemFilter,
    MessageStatus,
    Problem,
    QueueKind,
    QueueState,
    QueueStatus,
    QueueSummary,
    StoreFault,
)
from bridgehead.routing.next_hop import DeliveryType

_UNKNOWN: Final = QueueActivity()
_EMPTY: Final = tuple(
    QueueSummary(state=QueueState(queue=kind), message_count=0, counts_by_status={})
    for kind in (QueueKind.SUBMISSION, QueueKind.UNREACHABLE)
)
"""Queues that are there without a message, too; behind those that the store tells of."""
_STATUS: Final = {QueueStatus.ACTIVE: "Active", QueueStatus.RETRY: "Retry", QueueStatus.SUSPENDED: "Suspended"}


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """One queue as Get-Queue shows it.

    Attributes:
        identity: what commands take: "Submission", "Unreachable", "Poison", or "connector/next hop domain".
        type: Submission, Delivery, Unreachable or Poison.
        status: Active, Ready (nothing is being delivered at the moment), Retry or Suspended.
        next_retry_time: null also where nothing is left to be tried.
        counts_by_status: messages by Exchange's message status.
        next_hop_category: Internal or External.
        incoming_rate, outgoing_rate: messages by the second, over the last minute.
        velocity: outgoing less incoming rate; the queue drains where it is above zero.
        deferred_message_count: messages that wait for a retry of their own.
        oldest_age: seconds since the oldest message was received.
        drain_time: seconds until the queue is empty at its present velocity; null where it does not drain.
        tls_domain: name that the connector demands of the next hop's certificate.
        suspended_by, suspend_reason, suspended_since: who suspended it, why and when.
    """

    identity: str
    type: str
    status: str
    message_count: int
    delivery_type: str = ""
    next_hop_domain: str = ""
    next_hop_connector: str = ""
    counts_by_status: dict[str, int] = {}
    total_bytes: int = 0
    oldest_received: datetime | None = None
    next_hop_category: str = ""
    incoming_rate: float = 0.0
    outgoing_rate: float = 0.0
    velocity: float = 0.0
    deferred_message_count: int = 0
    message_counts_per_priority: dict[str, int] = {}
    deferred_message_counts_per_priority: dict[str, int] = {}
    oldest_age: float | None = None
    drain_time: float | None = None
    tls_domain: str = ""
    first_retry_time: datetime | None = None
    last_retry_time: datetime | None = None
    next_retry_time: datetime | None = None
    retry_count: int = 0
    last_error: str = ""
    suspended_by: str = ""
    suspend_reason: str = ""
    suspended_since: datetime | None = None


class QueueDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A queue and its first messages."""

    queue: QueueView
    messages: list[MessageView]


class QueueAction(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to one queue; `messages` is how many it concerns."""

    identity: str
    action: str
    messages: int


class ProblemView(msgspec.Struct, frozen=True, kw_only=True):
    """A finding of `queue verify`; `lost` means that mail is affected."""

    subject: str
    what: str
    remedy: str
    lost: bool = False


def view_queue(summary: QueueSummary, activity: QueueActivity = _UNKNOWN, now: float = 0.0) -> QueueView:
    """A queue of the store as people see it, with what it does at the moment where the caller knows; `now` in Unix time
    for ages."""
    state, hop = summary.state, summary.state.next_hop
    status = activity.status or _STATUS[state.status]
    if status == "Active" and not summary.counts_by_status.get(MessageStatus.ACTIVE):
        status = "Ready"
    velocity = activity.outgoing_rate - activity.incoming_rate
    waiting = summary.message_count
    return QueueView(
        identity=queue_identity(state.queue, hop),
        type=state.queue.name.capitalize(),
        status=status,
        message_count=summary.message_count,
        delivery_type=hop.delivery_type.value if hop else "",
        next_hop_domain=hop.domain if hop else "",
        next_hop_connector=hop.connector if hop else "",
        counts_by_status={_words(status): count for status, count in summary.counts_by_status.items() if count},
        total_bytes=summary.total_bytes,
        oldest_received=moment(summary.oldest_received),
        next_hop_category=_category(state),
        incoming_rate=round(activity.incoming_rate, 3),
        outgoing_rate=round(activity.outgoing_rate, 3),
        velocity=round(velocity, 3),
        deferred_message_count=summary.counts_by_status.get(MessageStatus.RETRY, 0),
        message_counts_per_priority=_per_priority(summary.counts_by_priority),
        deferred_message_counts_per_priority=_per_priority(summary.deferred_by_priority),
        oldest_age=max(0.0, round(now - summary.oldest_received, 1)) if waiting and now else None,
        drain_time=round(waiting / velocity, 1) if waiting and velocity > 0 else None,
        tls_domain=activity.tls_domain,
        first_retry_time=moment(state.first_retry),
        last_retry_time=moment(state.last_retry),
        next_retry_time=moment(state.next_retry) if summary.message_count else None,
        retry_count=state.retry_count,
        last_error=state.last_error,
        suspended_by=state.suspended_by,
        suspend_reason=state.suspend_reason,
        suspended_since=moment(state.suspended_at),
    )


_INTERNAL: Final = (DeliveryType.MAILBOX, DeliveryType.UNDEFINED)


def _category(state: QueueState) -> str:
    """NextHopCategory: whether the next hop is ours."""
    return "Internal" if state.next_hop is None or state.next_hop.delivery_type in _INTERNAL else "External"


def _per_priority(counts: dict[int, int]) -> dict[str, int]:
    return {priority.name.capitalize(): counts.get(priority, 0) for priority in Priority}


def view_problems(problems: Iterable[Problem]) -> list[ProblemView]:
    """Findings of `verify`, lost mail first."""
    found = [ProblemView(subject=one.subject, what=one.what, remedy=one.remedy, lost=one.lost) for one in problems]
    return sorted(found, key=lambda problem: not problem.lost)


def verify_stopped(folder: Path) -> list[ProblemView]:
    """Check the store of a stopped server, and those of its workers beyond the first. Raises AdminFault where there is
    none."""
    try:
        problems = verify_directory(folder)
        for number in shards(folder):
            problems += (
                msgspec.structs.replace(one, subject=f"worker {number}: {one.subject}")
                for one in verify_directory(shard_folder(folder, number))
            )
        return view_problems(problems)
    except StoreFault as fault:
        raise AdminFault(FAILED, str(fault), "is this the configuration of the server that is meant?") from None


def _viewed(server: RunningServer, summary: QueueSummary) -> QueueView:
    return view_queue(summary, server.activity(summary.state), server.now())


async def list_queues(server: RunningServer, pattern: str = "", filter_text: str = "") -> list[QueueView]:
    """Queues whose identity, next hop domain or connector fits, and that fit a filter, those with most messages first.

    Raises StoreFault, AdminFault.
    """
    views = [_viewed(server, summary) for summary in _matching(await server.queues(), pattern or "*")]
    if filter_text:
        fits = compiled(read_filter(filter_text, QUEUE_PROPERTIES, server.now()))
        views = [view for view in views if fits(view)]
    return sorted(views, key=lambda queue: (-queue.message_count, queue.identity))


async def show_queue(server: RunningServer, name: str, limit: int = LIST_RESULTS) -> QueueDetail:
    """One queue with its messages. Raises AdminFault where the name fits none or several."""
    summary = await one_queue(server, name)
    wanted = ItemFilter(queue=summary.state.queue, next_hop=summary.state.next_hop, limit=limit)
    states = {(summary.state.queue, summary.state.next_hop): summary.state}
    messages = await view_messages(await server.list_items(wanted), server.actions.around, states)
    return QueueDetail(queue=_viewed(server, summary), messages=messages)


async def retry_queues(server: RunningServer, name: str, filter_text: str = "") -> list[QueueAction]:
    """Try again now: one queue by name, or all that match a `*` pattern ("*" for all) and fit a filter. Poison is left
    alone. Raises AdminFault where no queue matches.
    """
    done = []
    several = "*" in name or bool(filter_text)
    for summary in await _chosen(server, name, filter_text):
        if summary.state.queue is QueueKind.POISON:
            if several:
                continue
            remedy = "a message that crashed the server is looked at first: bridgehead queue show Poison"
            raise AdminFault(INVALID, "the poison queue is not retried as a whole", remedy)
        if summary.state.status is QueueStatus.SUSPENDED:
            if several:
                continue
            identity = queue_identity(summary.state.queue, summary.state.next_hop)
            raise AdminFault(INVALID, f"{identity} is suspended", f"bridgehead queue resume '{identity}'")
        done.append(_action(summary.state, "retried", await server.retry(summary.state)))
    return done


async def suspend_queues(
    server: RunningServer, name: str, who: str, reason: str = "", filter_text: str = ""
) -> list[QueueAction]:  # fmt: skip
    """Stop delivery from queues, or the processing of Submission or Unreachable. Raises AdminFault."""
    chosen = await _acted_on(server, name, reason, filter_text)
    done = []
    for summary in chosen:
        state = summary.state
        if state.status is QueueStatus.SUSPENDED or state.queue is QueueKind.POISON:
            if len(chosen) > 1:
                continue
            raise AdminFault(INVALID, _why_not_suspended(state))
        await server.suspend(state, who, reason)
        done.append(_action(state, "suspended", summary.message_count))
    await _recorded(server, ChangeKind.SUSPEND_QUEUE, who, reason, _words_of(name, filter_text), done)
    return done


async def resume_queues(
    server: RunningServer, name: str, who: str, reason: str = "", filter_text: str = ""
) -> list[QueueAction]:  # fmt: skip
    """Undo suspensions. Raises AdminFault where the one queue named is not suspended."""
    chosen = await _acted_on(server, name, reason, filter_text)
    done = []
    for summary in chosen:
        if summary.state.status is not QueueStatus.SUSPENDED:
            if len(chosen) > 1:
                continue
            identity = queue_identity(summary.state.queue, summary.state.next_hop)
            remedy = f"bridgehead queue retry '{identity}' tries it now"
            raise AdminFault(INVALID, f"{identity} is not suspended", remedy)
        await server.resume(summary.state)
        done.append(_action(summary.state, "resumed", summary.message_count))
    await _recorded(server, ChangeKind.RESUME_QUEUE, who, reason, _words_of(name, filter_text), done)
    return done


async def undo_queues(server: RunningServer, record: ActionRecord, who: str, reason: str) -> ActionRecord:
    """Resume what an action suspended, or suspend what it resumed, where nobody did since. Raises StoreFault."""
    suspended = record.change.kind is ChangeKind.SUSPEND_QUEUE
    done: dict[str, int] = {}
    for summary in await server.queues():
        state = summary.state
        identity = queue_identity(state.queue, state.next_hop)
        if identity not in record.queues or (state.status is QueueStatus.SUSPENDED) is not suspended:
            continue
        if suspended:
            await server.resume(state)
        else:
            await server.suspend(state, who, reason)
        done[identity] = summary.message_count
    change = msgspec.structs.replace(record.change, by=who, reason=reason)
    return await server.actions.note_queues(change, record.target.queues, done, undo_of=record.id)


async def _acted_on(server: RunningServer, name: str, reason: str, filter_text: str) -> Sequence[QueueSummary]:
    """The queues of an action. Raises AdminFault where they are several and nobody says why."""
    chosen = await _chosen(server, name, filter_text)
    if len(chosen) > 1 and not reason:
        raise AdminFault(INVALID, "an action on more than one queue needs a reason", 'give it: --reason "…"')
    return chosen


def _words_of(name: str, filter_text: str) -> str:
    """Which queues were meant, for the record."""
    if not filter_text:
        return name
    return f"{{{filter_text}}}" if name in ("", "*") else f"{name} {{{filter_text}}}"


async def _recorded(
    server: RunningServer, kind: ChangeKind, who: str, reason: str, chosen: str, done: list[QueueAction]
) -> None:  # fmt: skip
    if done:
        change = ItemChange(kind=kind, by=who, reason=reason)
        await server.actions.note_queues(change, chosen, {one.identity: one.messages for one in done})


def _why_not_suspended(state: QueueState) -> str:
    if state.queue is QueueKind.POISON:
        return "messages in the poison queue are suspended one by one already"
    return f"{queue_identity(state.queue, state.next_hop)} is suspended already"


async def one_queue(server: RunningServer, name: str) -> QueueSummary:
    """The queue with this identity, or the only one with this next hop domain or connector. Raises AdminFault."""
    summaries = [*await server.queues(), *_EMPTY]
    found = _matching(summaries, name)
    exact = [one for one in found if queue_identity(one.state.queue, one.state.next_hop).casefold() == name.casefold()]
    found = exact or found
    if exact or len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(queue_identity(one.state.queue, one.state.next_hop) for one in found[:5])
        raise AdminFault(INVALID, f'"{name}" fits {len(found)} queues: {names}', "name one of them")
    raise _no_queue(name, summaries)


async def _chosen(server: RunningServer, name: str, filter_text: str) -> Sequence[QueueSummary]:
    if filter_text:
        fits = compiled(read_filter(filter_text, QUEUE_PROPERTIES, server.now()))
        matching = _matching(await server.queues(), name or "*")
        return [summary for summary in matching if fits(_viewed(server, summary))]
    if "*" not in name:
        return [await one_queue(server, name)]
    summaries = await server.queues()
    found = _matching(summaries, name)
    if not found and name != "*":
        raise _no_queue(name, summaries)
    return found


def _matching(summaries: Sequence[QueueSummary], pattern: str) -> list[QueueSummary]:
    wanted = pattern.casefold().replace("[", "[[]")
    return [one for one in summaries if any(fnmatchcase(text.casefold(), wanted) for text in _names(one.state))]


def _names(state: QueueState) -> list[str]:
    """What a queue may be called."""
    hop = state.next_hop
    return [queue_identity(state.queue, hop), *((hop.domain, hop.connector) if hop else ())]


def _no_queue(name: str, summaries: Sequence[QueueSummary]) -> AdminFault:
    names = [queue_identity(one.state.queue, one.state.next_hop) for one in summaries]
    close = difflib.get_close_matches(name, names, n=1)
    remedy = f'did you mean "{close[0]}"?' if close else "bridgehead queue list shows the queues that hold messages"
    return AdminFault(NOT_FOUND, f'there is no queue "{name}" now', remedy)


def _action(state: QueueState, action: str, messages: int) -> QueueAction:
    return QueueAction(identity=queue_identity(state.queue, state.next_hop), action=action, messages=messages)


def _words(status: MessageStatus) -> str:
    """PENDING_REMOVE → PendingRemove."""
    return status.name.title().replace("_", "")
