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
from bridgehead.admin.messages import MessageView, view_message
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue_names import queue_identity
from bridgehead.admin.times import moment
from bridgehead.mail.limits import LIST_RESULTS
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
from bridgehead.queues.verify import verify_directory

_STATUS: Final = {QueueStatus.ACTIVE: "Active", QueueStatus.RETRY: "Retry", QueueStatus.SUSPENDED: "Suspended"}


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """One queue as Get-Queue shows it.

    Attributes:
        identity: what commands take: "Submission", "Unreachable", "Poison", or "connector/next hop domain".
        type: Submission, Delivery, Unreachable or Poison.
        status: Active, Ready (nothing is being delivered at the moment), Retry or Suspended.
        next_retry_time: null also where nothing is left to be tried.
        counts_by_status: messages by Exchange's message status.
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
    first_retry_time: datetime | None = None
    last_retry_time: datetime | None = None
    next_retry_time: datetime | None = None
    retry_count: int = 0
    last_error: str = ""
    suspended_by: str = ""


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


def view_queue(summary: QueueSummary) -> QueueView:
    """A queue of the store as people see it."""
    state, hop = summary.state, summary.state.next_hop
    status = _STATUS[state.status]
    if status == "Active" and not summary.counts_by_status.get(MessageStatus.ACTIVE):
        status = "Ready"
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
        first_retry_time=moment(state.first_retry),
        last_retry_time=moment(state.last_retry),
        next_retry_time=moment(state.next_retry) if summary.message_count else None,
        retry_count=state.retry_count,
        last_error=state.last_error,
        suspended_by=state.suspended_by,
    )


def view_problems(problems: Iterable[Problem]) -> list[ProblemView]:
    """Findings of `verify`, lost mail first."""
    found = [ProblemView(subject=one.subject, what=one.what, remedy=one.remedy, lost=one.lost) for one in problems]
    return sorted(found, key=lambda problem: not problem.lost)


def verify_stopped(folder: Path) -> list[ProblemView]:
    """Check the store of a stopped server. Raises AdminFault where there is none."""
    try:
        return view_problems(verify_directory(folder))
    except StoreFault as fault:
        raise AdminFault(FAILED, str(fault), "is this the configuration of the server that is meant?") from None


async def list_queues(server: RunningServer, pattern: str = "") -> list[QueueView]:
    """Queues whose identity, next hop domain or connector fits, those with most messages first. Raises StoreFault."""
    views = [view_queue(summary) for summary in _matching(await server.queues(), pattern or "*")]
    return sorted(views, key=lambda queue: (-queue.message_count, queue.identity))


async def show_queue(server: RunningServer, name: str, limit: int = LIST_RESULTS) -> QueueDetail:
    """One queue with its messages. Raises AdminFault where the name fits none or several."""
    summary = await one_queue(server, name)
    wanted = ItemFilter(queue=summary.state.queue, next_hop=summary.state.next_hop, limit=limit)
    around = server.actions.around
    messages = [view_message(entry, around, summary.state) for entry in await server.list_items(wanted)]
    return QueueDetail(queue=view_queue(summary), messages=messages)


async def retry_queues(server: RunningServer, name: str) -> list[QueueAction]:
    """Try again now: one queue by name, or all that match a `*` pattern ("*" for all). Poison is left alone.

    Raises AdminFault where no queue matches.
    """
    done = []
    for summary in await _chosen(server, name):
        if summary.state.queue is QueueKind.POISON:
            if "*" in name:
                continue
            remedy = "a message that crashed the server is looked at first: bridgehead queue show Poison"
            raise AdminFault(INVALID, "the poison queue is not retried as a whole", remedy)
        if summary.state.status is QueueStatus.SUSPENDED:
            if "*" in name:
                continue
            identity = queue_identity(summary.state.queue, summary.state.next_hop)
            raise AdminFault(INVALID, f"{identity} is suspended", f"bridgehead queue resume '{identity}'")
        done.append(_action(summary.state, "retried", await server.retry(summary.state)))
    return done


async def suspend_queue(server: RunningServer, name: str, who: str) -> list[QueueAction]:
    """Stop delivery from a queue. Raises AdminFault."""
    summary = await one_queue(server, name)
    if summary.state.queue is not QueueKind.DELIVERY:
        raise AdminFault(INVALID, "only delivery queues are suspended", "bridgehead queue list shows them")
    await server.suspend(summary.state, who)
    return [_action(summary.state, "suspended", summary.message_count)]


async def resume_queue(server: RunningServer, name: str) -> list[QueueAction]:
    """Undo a suspension. Raises AdminFault where the queue is not suspended."""
    summary = await one_queue(server, name)
    if summary.state.status is not QueueStatus.SUSPENDED:
        identity = queue_identity(summary.state.queue, summary.state.next_hop)
        raise AdminFault(INVALID, f"{identity} is not suspended", f"bridgehead queue retry '{identity}' tries it now")
    await server.resume(summary.state)
    return [_action(summary.state, "resumed", summary.message_count)]


async def one_queue(server: RunningServer, name: str) -> QueueSummary:
    """The queue with this identity, or the only one with this next hop domain or connector. Raises AdminFault."""
    summaries = await server.queues()
    found = _matching(summaries, name)
    exact = [one for one in found if queue_identity(one.state.queue, one.state.next_hop).casefold() == name.casefold()]
    found = exact or found
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(queue_identity(one.state.queue, one.state.next_hop) for one in found[:5])
        raise AdminFault(INVALID, f'"{name}" fits {len(found)} queues: {names}', "name one of them")
    raise _no_queue(name, summaries)


async def _chosen(server: RunningServer, name: str) -> Sequence[QueueSummary]:
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
