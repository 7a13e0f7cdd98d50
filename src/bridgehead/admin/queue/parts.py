# SPDX-License-Identifier: MIT
"""What several workers have of one queue, action or request to resubmit, as one. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from bridgehead.admin.faults import FAILED, AdminFault
from bridgehead.admin.merge import summed
from bridgehead.admin.ports import QueueActivity
from bridgehead.admin.queue.action_record import COMPLETED, RUNNING, ActionRecord
from bridgehead.admin.queue.joining import WORSE_FIRST
from bridgehead.admin.queue.standing_rules import StandingRule
from bridgehead.delivery.resubmit_request import PROBLEMS_SHOWN, Request, RequestState
from bridgehead.queues.safety_net.net import SafetyNetFacts
from bridgehead.queues.store import QueueState, QueueStatus, QueueSummary

_STATES: Final = (QueueStatus.RETRY, QueueStatus.ACTIVE, QueueStatus.SUSPENDED)
_ACTIVITIES: Final = (*WORSE_FIRST, "")
_REQUESTS: Final = (RequestState.RUNNING, RequestState.FAILED, RequestState.CANCELLED, RequestState.COMPLETED)


def summary(parts: Sequence[Any]) -> QueueSummary:
    """Of a queue's parts (each with `summary` and `activity`), all that the store says."""
    found: list[QueueSummary] = [part.summary for part in parts]
    return QueueSummary(
        state=state([one.state for one in found]),
        oldest_received=_earliest(one.oldest_received for one in found if one.message_count),
        **summed(
            found, "message_count", "counts_by_status", "total_bytes", "counts_by_priority", "deferred_by_priority"
        ),
    )


def state(states: Sequence[QueueState]) -> QueueState:
    """What is known of the queue as a whole."""
    worst = min(states, key=lambda one: _STATES.index(one.status))
    suspended = next((one for one in states if one.suspended_at), worst)
    return msgspec.structs.replace(
        worst,
        first_retry=_earliest(one.first_retry for one in states),
        last_retry=max(one.last_retry for one in states),
        next_retry=_earliest(one.next_retry for one in states),
        retry_count=max(one.retry_count for one in states),
        last_error=worst.last_error or next((one.last_error for one in states if one.last_error), ""),
        suspended_by=suspended.suspended_by,
        suspend_reason=suspended.suspend_reason,
        suspended_at=suspended.suspended_at,
    )


def activity(parts: Sequence[Any]) -> QueueActivity:
    """What the queue does at the moment."""
    found: list[QueueActivity] = [part.activity for part in parts]
    worst = min((one.status for one in found), key=_ACTIVITIES.index)
    sums = summed(found, "incoming_rate", "outgoing_rate")
    return QueueActivity(status=worst, tls_domain=found[0].tls_domain, **sums)


def action(records: Sequence[ActionRecord]) -> ActionRecord:
    """One action of several workers. How far it is, is how far the slowest is."""
    slowest = min(records, key=_progress)
    running = any(one.state == RUNNING for one in records)
    return msgspec.structs.replace(
        slowest,
        state=RUNNING if running else COMPLETED,
        ended=0.0 if running else max(one.ended for one in records),
        **summed(records, "done", "pending", "octets", "skipped", "queues"),
        undone_by=max(one.undone_by for one in records),
        purge_at=max(one.purge_at for one in records),
        fault=next((one.fault for one in records if one.fault), ""),
    )


def _progress(record: ActionRecord) -> float:
    return 1.0 if record.state != RUNNING else record.cursor / max(1, record.boundary)


def rule(rules: Sequence[StandingRule]) -> StandingRule:
    """One standing rule, which all workers have. Raises AdminFault where they do not have the same."""
    if len({(one.id, one.filter) for one in rules}) > 1:
        raise AdminFault(FAILED, "the workers do not have the same standing rules", "start the server again")
    return msgspec.structs.replace(rules[0], matched=sum(one.matched for one in rules))


def request(parts: Sequence[Request]) -> Request:
    """One request of several workers."""
    state = min((one.state for one in parts), key=_REQUESTS.index)
    problems = list(dict.fromkeys(problem for one in parts for problem in one.problems))
    return msgspec.structs.replace(
        parts[0],
        state=state,
        finished_at=0.0 if state is RequestState.RUNNING else max(one.finished_at for one in parts),
        delivered_until=max(one.delivered_until for one in parts),
        problems=problems[:PROBLEMS_SHOWN],
        **summed(parts, "scanned", "matched", "recipients", "octets", "resubmitted", "left_alone"),
    )


def facts(parts: Sequence[SafetyNetFacts]) -> SafetyNetFacts:
    """The Safety Nets of several workers as one."""
    return msgspec.structs.replace(
        parts[0],
        **summed(parts, "used", "max_size", "segments", "kept", "lost"),
        oldest=_earliest(one.oldest for one in parts),
        cut_short_at=max(one.cut_short_at for one in parts),
        trouble=next((one.trouble for one in parts if one.trouble), ""),
    )


def by_number(answers: Sequence[Sequence[Any]]) -> Iterator[list[Any]]:
    """What has one number, together; the highest number first."""
    found: dict[int, list[Any]] = {}
    for answer in answers:
        for one in answer:
            found.setdefault(one.id, []).append(one)
    return (found[number] for number in sorted(found, reverse=True))


def _earliest(times: Iterable[float]) -> float:
    """The first of the times that are known; 0 for none."""
    return min((one for one in times if one), default=0.0)
