# SPDX-License-Identifier: MIT
"""Where the scheduler stands with a queue or one message, as plain values that `diagnosis.scheduler` gives a reason to.

Only reads; asked for on demand.
"""

import msgspec

from bridgehead.delivery.delivery_queue import DeliveryQueue
from bridgehead.delivery.ports import Standing
from bridgehead.diagnosis.scheduler import Limit, Situation
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, QueueState, QueueStatus

_QUEUE_STATUS = {QueueStatus.ACTIVE: "Active", QueueStatus.RETRY: "Retry", QueueStatus.SUSPENDED: "Suspended"}


def queue_situation(queue: DeliveryQueue, waits: int, *, store_fails: bool) -> Situation:
    """A delivery queue as a whole. `waits`: messages in it, those under way left out."""
    state = queue.state
    situation = Situation(
        queue_status=_QUEUE_STATUS[state.status],
        is_open=queue.is_open,
        suspended_by=state.suspended_by,
        suspended_at=state.suspended_at,
        suspend_reason=state.suspend_reason,
        store_fails=store_fails,
        being_failed=queue.is_failing,
        next_retry=state.next_retry,
        retry_count=state.retry_count,
        last_error=state.last_error,
        active=len(queue.active),
        sessions=len(queue.active),
        waits=waits,
        rate=queue.outgoing_rate,
    )
    courier: object = queue.courier
    if isinstance(courier, Standing):
        standing = courier.standing()
        situation.sessions = standing.sessions
        situation.connecting, situation.resolving = standing.connecting, standing.resolving
        situation.limits = standing.limits if waits else ()
        situation.pause_until = queue.now + standing.pause if standing.pause > 0 else 0.0
    return situation


def stored_situation(state: QueueState, waits: int) -> Situation:
    """A queue that is nobody's at the moment: Submission, Unreachable, Poison, or one known from the store only."""
    return Situation(
        queue_kind=state.queue.name.capitalize(),
        queue_status=_QUEUE_STATUS[state.status],
        is_open=state.status is QueueStatus.ACTIVE,
        suspended_by=state.suspended_by,
        suspended_at=state.suspended_at,
        suspend_reason=state.suspend_reason,
        next_retry=state.next_retry,
        retry_count=state.retry_count,
        last_error=state.last_error,
        waits=waits,
    )


def message_situation(
    entry: QueuedItem, of_queue: Situation, on_trial: int = 0, under_way: bool | None = None,
    of_priority: Limit | None = None,
) -> Situation:  # fmt: skip
    """One message in a queue that stands as given.

    Args:
        on_trial: id of the message that is tried alone, 0 for none.
        under_way: the courier has it; None where nobody knows. In memory all messages are ACTIVE on disk.
        of_priority: a limit of messages of its priority that is reached.
    """
    status = entry.status
    if status is MessageStatus.ACTIVE and under_way is False:
        status = MessageStatus.READY
    handling = entry.item.handling
    held = handling is not None and handling.rule > 0 and entry.status is MessageStatus.SUSPENDED
    suspended = entry.status in (MessageStatus.SUSPENDED, MessageStatus.PENDING_SUSPEND) and handling is not None
    return msgspec.structs.replace(
        of_queue,
        queue_kind=entry.queue.name.capitalize(),
        message_status=status.name.title().replace("_", ""),
        held_by=f"standing rule {handling.rule}" if held and handling is not None else "",
        suspended_by=handling.by if suspended and handling is not None else of_queue.suspended_by,
        suspended_at=handling.at if suspended and handling is not None else of_queue.suspended_at,
        suspend_reason=handling.reason if suspended and handling is not None else of_queue.suspend_reason,
        due=entry.due,
        on_trial=entry.crash_count > 0 and on_trial not in (0, entry.id) and entry.queue is QueueKind.DELIVERY,
        last_error=entry.last_error or of_queue.last_error,
        in_doubt=entry.in_doubt,
        limits=of_queue.limits if of_priority is None else (of_priority, *of_queue.limits),
        waits=max(1, of_queue.waits),
    )
