# SPDX-License-Identifier: MIT
"""What several workers say of queues, messages and actions, as one answer (`admin/merge.py`)."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from bridgehead.admin.merge import added, summed
from bridgehead.admin.queue.actions import ActionPreview, QueueCount, SkippedCount
from bridgehead.admin.queue.messages import MessageView
from bridgehead.admin.queue.queues import QueueDetail, QueueView
from bridgehead.admin.queue.safety_net import KeptList
from bridgehead.mail.limits import ACTION_SAMPLE

WORSE_FIRST: Final = ("Retry", "Connecting", "Active", "Ready", "Suspended")
"""A queue is what the first of these says that holds for one of its parts; suspended only where all parts are."""


def earliest(times: Iterable[datetime | None]) -> datetime | None:
    """The first of the times that are known."""
    return min((one for one in times if one is not None), default=None)


def latest(times: Iterable[datetime | None]) -> datetime | None:
    """The last of the times that are known."""
    return max((one for one in times if one is not None), default=None)


def age(message: MessageView) -> tuple[bool, Any, int]:
    """By which messages are sorted."""
    return message.date_received is None, message.date_received, message.id


# --- queues ---------------------------------------------------------------------------------------------------------


def one_queue(parts: Sequence[QueueView]) -> QueueView:
    """The parts of one queue that several workers have."""
    worst = min(parts, key=lambda one: WORSE_FIRST.index(one.status) if one.status in WORSE_FIRST else 0)
    sums = summed(
        parts, "message_count", "counts_by_status", "total_bytes", "incoming_rate", "outgoing_rate",
        "deferred_message_count", "message_counts_per_priority", "deferred_message_counts_per_priority",
    )  # fmt: skip
    velocity = round(sums["outgoing_rate"] - sums["incoming_rate"], 3)
    waiting = sums["message_count"]
    suspended = next((one for one in parts if one.suspended_since is not None), worst)
    return msgspec.structs.replace(
        worst,
        **sums,
        velocity=velocity,
        drain_time=round(waiting / velocity, 1) if waiting and velocity > 0 else None,
        oldest_received=earliest(one.oldest_received for one in parts if one.message_count),
        oldest_age=max((one.oldest_age for one in parts if one.oldest_age is not None), default=None),
        first_retry_time=earliest(one.first_retry_time for one in parts),
        last_retry_time=latest(one.last_retry_time for one in parts),
        next_retry_time=earliest(one.next_retry_time for one in parts),
        retry_count=max(one.retry_count for one in parts),
        last_error=worst.last_error or next((one.last_error for one in parts if one.last_error), ""),
        suspended_by=suspended.suspended_by,
        suspend_reason=suspended.suspend_reason,
        suspended_since=suspended.suspended_since,
    )


def queue_detail(answers: Sequence[QueueDetail], params: Any) -> QueueDetail:
    """One queue, and its first messages wherever they are."""
    messages = sorted((one for answer in answers for one in answer.messages), key=age)
    return QueueDetail(queue=one_queue([one.queue for one in answers]), messages=messages[: params.limit])


# --- actions --------------------------------------------------------------------------------------------------------


def preview(answers: Sequence[ActionPreview], _: Any) -> ActionPreview:
    """Everything that would be changed."""
    return msgspec.structs.replace(
        answers[0],
        **summed(answers, "messages", "pending", "total_bytes"),
        queues=_queue_counts(answers),
        skipped=_skipped(answers),
        sample=sorted((one for answer in answers for one in answer.sample), key=age)[:ACTION_SAMPLE],
    )


def _queue_counts(answers: Sequence[Any]) -> list[QueueCount]:
    counts = added([{one.queue: one.messages for one in answer.queues} for answer in answers])
    return [QueueCount(queue, count) for queue, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]


def _skipped(answers: Sequence[Any]) -> list[SkippedCount]:
    counts = added([{one.reason: one.messages for one in answer.skipped} for answer in answers])
    return [SkippedCount(reason, count) for reason, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]


# --- the Safety Net -------------------------------------------------------------------------------------------------


def kept(answers: Sequence[KeptList], params: Any) -> KeptList:
    """Oldest first."""
    found = sorted(
        (one for answer in answers for one in answer.messages), key=lambda one: (one.delivered is None, one.delivered)
    )
    more = any(one.more for one in answers) or len(found) > params.limit
    return KeptList(messages=found[: params.limit], more=more)
