# SPDX-License-Identifier: MIT
"""What an administrator can do to one queued message, and how it is undone. Pure (Exchange's rules of *-Message).

A change says what becomes of an entry; whether a stage has the entry at the moment shows in its status, and what is
ACTIVE is only marked (PendingSuspend, PendingRemove) until its attempt has ended. Reports are the caller's.
"""

from enum import StrEnum
from typing import Final

import msgspec

from bridgehead.mail.envelope import RecipientState
from bridgehead.mail.item import Handling, Priority, TlsRequirement
from bridgehead.queues.states import Event, IllegalTransition, next_status
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind
from bridgehead.routing.next_hop import DeliveryType, NextHop, with_requirement


class ChangeKind(StrEnum):
    """The verbs of `bridgehead message` and `queue`; the last two are about queues as a whole, not about messages."""

    SUSPEND = "suspend"
    RESUME = "resume"
    RETRY = "retry"
    RESUBMIT = "resubmit"
    REMOVE = "remove"
    REDIRECT = "redirect"
    PRIORITY = "priority"
    EXPIRY = "expiry"
    SUSPEND_QUEUE = "suspend queue"
    RESUME_QUEUE = "resume queue"


class ItemChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change, the same for all messages of an action.

    Attributes:
        kind: what is done.
        by, reason, at, action, rule: who does it, why, when, and as part of what; see `Handling`.
        with_ndr: REMOVE: the sender is told.
        next_hop: REDIRECT: where to; a domain of "" stands for the recipients' own.
        priority: PRIORITY.
        expires_at: EXPIRY: Unix time, 0 for what the settings say.
    """

    kind: ChangeKind
    by: str = ""
    reason: str = ""
    at: float = 0.0
    action: int = 0
    rule: int = 0
    with_ndr: bool = False
    next_hop: NextHop | None = None
    priority: Priority = Priority.NORMAL
    expires_at: float = 0.0


class Unchanged(Exception):
    """The change does not apply to this message; the text says why, the same for all messages alike."""


class Former(msgspec.Struct, omit_defaults=True):
    """An entry's bookkeeping before a change, as far as changes touch it."""

    queue: QueueKind
    next_hop: NextHop | None = None
    status: MessageStatus = MessageStatus.READY
    due: float = 0.0
    deadline: float = 0.0
    priority: Priority = Priority.NORMAL
    handling: Handling | None = None
    last_error: str = ""
    crash_count: int = 0


UNDOABLE: Final = (
    ChangeKind.SUSPEND, ChangeKind.RESUME, ChangeKind.REMOVE, ChangeKind.REDIRECT, ChangeKind.PRIORITY,
    ChangeKind.EXPIRY, ChangeKind.SUSPEND_QUEUE, ChangeKind.RESUME_QUEUE,
)  # fmt: skip
OF_MESSAGES: Final = tuple(kind for kind in ChangeKind if not kind.value.endswith(" queue"))
_HELD: Final = (MessageStatus.ACTIVE, MessageStatus.PENDING_SUSPEND, MessageStatus.PENDING_REMOVE)
_WAITING: Final = (MessageStatus.READY, MessageStatus.RETRY)


def former(entry: QueuedItem) -> Former:
    """What is remembered of an entry before it changes. One that is being attempted waits when that is undone."""
    item = entry.item
    status = MessageStatus.READY if entry.status in _HELD else entry.status
    return Former(
        entry.queue, entry.next_hop, status, entry.due, entry.deadline, item.priority, item.handling, entry.last_error,
        entry.crash_count,
    )  # fmt: skip


def changed(entry: QueuedItem, change: ItemChange) -> QueuedItem:
    """The entry after the change, without content; one to be removed is marked so. Raises Unchanged."""
    if entry.queue is QueueKind.REMOVED:
        raise Unchanged("removed already; `bridgehead action undo` brings it back")
    return _CHANGES[change.kind](entry, change)


def restored(entry: QueuedItem, before: Former, change: ItemChange) -> QueuedItem:
    """The entry as it was before `change`, as far as that change touched it. Raises Unchanged where it has been changed
    again since, or has left."""
    if change.kind not in UNDOABLE:
        raise Unchanged(f"a {change.kind} cannot be undone")
    return _RESTORES[change.kind](entry, before, change)


# --- changes --------------------------------------------------------------------------------------------------------


def _with(entry: QueuedItem, handling: Handling | None, **fields: object) -> QueuedItem:
    item = msgspec.structs.replace(entry.item, handling=handling)
    return msgspec.structs.replace(entry, item=item, content=None, **fields)


def _handling(entry: QueuedItem, change: ItemChange) -> Handling:
    return Handling(
        by=change.by, reason=change.reason, at=change.at, action=change.action, rule=change.rule,
        with_ndr=change.with_ndr, expires_at=entry.item.expires_at,
    )  # fmt: skip


def _without_hold(entry: QueuedItem) -> Handling | None:
    """What stays decided once a message is no longer held."""
    expires_at = entry.item.expires_at
    return Handling(expires_at=expires_at) if expires_at else None


def _next(entry: QueuedItem, event: Event) -> MessageStatus:
    try:
        following = next_status(entry.status, event)
    except IllegalTransition:
        raise Unchanged(_WHY_NOT.get((event, entry.status), "not possible in its status")) from None
    assert isinstance(following, MessageStatus)
    return following


_WHY_NOT: Final = {
    (Event.SUSPEND, MessageStatus.SUSPENDED): "suspended already",
    (Event.SUSPEND, MessageStatus.PENDING_SUSPEND): "suspended already",
    (Event.SUSPEND, MessageStatus.PENDING_REMOVE): "being removed",
    (Event.RESUME, MessageStatus.READY): "not suspended",
    (Event.RESUME, MessageStatus.ACTIVE): "not suspended",
    (Event.RESUME, MessageStatus.RETRY): "not suspended",
    (Event.RESUME, MessageStatus.PENDING_REMOVE): "being removed",
}


def _suspend(entry: QueuedItem, change: ItemChange) -> QueuedItem:
    return _with(entry, _handling(entry, change), status=_next(entry, Event.SUSPEND))


def _resume(entry: QueuedItem, change: ItemChange) -> QueuedItem:
    if entry.queue is QueueKind.POISON:
        return _to_submission(entry)
    status = _next(entry, Event.RESUME)
    return _with(entry, _without_hold(entry), status=status, due=0.0)


def _retry(entry: QueuedItem, change: ItemChange) -> QueuedItem:
    _idle(entry)
    if entry.queue is QueueKind.POISON:
        raise Unchanged("in the poison queue: look at it, then resume it")
    if entry.status is MessageStatus.SUSPENDED:
        raise Unchanged("suspended: resume it")
    if entry.queue is QueueKind.UNREACHABLE:
        return _to_submission(entry)
    return _with(entry, entry.item.handling, status=MessageStatus.READY, due=0.0)


def _resubmit(entry: QueuedItem, change: ItemChange) -> QueuedItem:
    _idle(entry)
    if entry.queue is QueueKind.SUBMISSION:
        raise Unchanged("in Submission already")
    if entry.status is MessageStatus.SUSPENDED and entry.queue is not QueueKind.POISON:
        raise Unchanged("suspended: resume it")
    return _to_submission(entry)


def _to_submission(entry: QueuedItem) -> QueuedItem:
    return _with(
        entry, _without_hold(entry), queue=QueueKind.SUBMISSION, next_hop=None, status=MessageStatus.READY, due=0.0,
        deadline=0.0, last_error="", crash_count=0,
    )  # fmt: skip


def _remove(entry: QueuedItem, change: ItemChange) -> QueuedItem:
    if entry.status is MessageStatus.PENDING_REMOVE:
        raise Unchanged("being removed")
    # Marked first in any case: what is owed to its sender follows in a transaction of its own.
    return _with(entry, _handling(entry, change), status=MessageStatus.PENDING_REMOVE)


def removed(entry: QueuedItem, until: float) -> QueuedItem:
    """The entry as it is kept after a removal, until that Unix time."""
    return msgspec.structs.replace(
        entry, queue=QueueKind.REMOVED, next_hop=None, status=MessageStatus.SUSPENDED, due=until, deadline=0.0,
        content=None,
    )  # fmt: skip


def _redirect(entry: QueuedItem, change: ItemChange) -> QueuedItem:
    _idle(entry)
    if entry.queue not in (QueueKind.DELIVERY, QueueKind.UNREACHABLE):
        raise Unchanged("only messages in delivery queues and Unreachable are redirected")
    target = change.next_hop
    assert target is not None
    if not target.domain:
        target = NextHop(DeliveryType.DNS_CONNECTOR, _only_domain(entry), target.connector)
    if entry.item.tls_requirement:
        required = entry.item.tls_requirement is TlsRequirement.REQUIRED
        if required and target.delivery_type is DeliveryType.NON_SMTP_GATEWAY:
            raise Unchanged("its sender asked for TLS all the way (REQUIRETLS), which a gateway cannot promise")
        target = with_requirement(target, entry.item.tls_requirement)
    if target == entry.next_hop:
        raise Unchanged("on its way there already")
    status = MessageStatus.SUSPENDED if entry.status is MessageStatus.SUSPENDED else MessageStatus.READY
    return _with(
        entry, entry.item.handling, queue=QueueKind.DELIVERY, next_hop=target, status=status, due=0.0, last_error=""
    )  # fmt: skip


def _only_domain(entry: QueuedItem) -> str:
    recipients = entry.item.envelope.recipients
    domains = {one.forward_path.domain_key for one in recipients if one.state is RecipientState.PENDING}
    if len(domains) != 1:
        raise Unchanged("its recipients are in several domains, and that connector routes by DNS: resubmit it")
    return domains.pop()


def _set_priority(entry: QueuedItem, change: ItemChange) -> QueuedItem:
    if entry.item.priority is change.priority:
        raise Unchanged("of that priority already")
    after = _with(entry, entry.item.handling)
    after.item.priority = change.priority
    return after


def _set_expiry(entry: QueuedItem, change: ItemChange) -> QueuedItem:
    if entry.item.expires_at == change.expires_at:
        raise Unchanged("expires then already")
    handling = msgspec.structs.replace(entry.item.handling or Handling(), expires_at=change.expires_at)
    # A deadline of 0 is worked out anew by whoever places the entry; one in the past makes the sweep look at it.
    deadline = min(entry.deadline, change.expires_at) if entry.deadline and change.expires_at else entry.deadline
    return _with(entry, handling, deadline=deadline)


def _idle(entry: QueuedItem) -> None:
    if entry.status in _HELD:
        raise Unchanged("being delivered at the moment")


_CHANGES: Final = {
    ChangeKind.SUSPEND: _suspend, ChangeKind.RESUME: _resume, ChangeKind.RETRY: _retry, ChangeKind.RESUBMIT: _resubmit,
    ChangeKind.REMOVE: _remove, ChangeKind.REDIRECT: _redirect, ChangeKind.PRIORITY: _set_priority,
    ChangeKind.EXPIRY: _set_expiry,
}  # fmt: skip


# --- and back -------------------------------------------------------------------------------------------------------


def _is_of(entry: QueuedItem, change: ItemChange) -> bool:
    return entry.item.handling is not None and entry.item.handling.action == change.action


def _unsuspended(entry: QueuedItem, before: Former, change: ItemChange) -> QueuedItem:
    if not _is_of(entry, change) or entry.status not in (MessageStatus.SUSPENDED, MessageStatus.PENDING_SUSPEND):
        raise Unchanged("changed again since")
    if entry.status is MessageStatus.PENDING_SUSPEND:
        return _with(entry, before.handling, status=MessageStatus.ACTIVE)
    return _with(entry, before.handling, status=before.status, due=before.due)


def _suspended_again(entry: QueuedItem, before: Former, change: ItemChange) -> QueuedItem:
    if before.queue is QueueKind.POISON:
        if entry.queue is not QueueKind.SUBMISSION or entry.status not in _WAITING:
            raise Unchanged("processed since")
        return _with(
            entry, before.handling, queue=QueueKind.POISON, status=MessageStatus.SUSPENDED,
            last_error=before.last_error, crash_count=before.crash_count,
        )  # fmt: skip
    if entry.status in (MessageStatus.SUSPENDED, MessageStatus.PENDING_SUSPEND, MessageStatus.PENDING_REMOVE):
        raise Unchanged("changed again since")
    status = MessageStatus.PENDING_SUSPEND if entry.status is MessageStatus.ACTIVE else MessageStatus.SUSPENDED
    return _with(entry, before.handling, status=status)


def _unremoved(entry: QueuedItem, before: Former, change: ItemChange) -> QueuedItem:
    if not _is_of(entry, change):
        raise Unchanged("changed again since")
    if entry.status is MessageStatus.PENDING_REMOVE:
        return _with(entry, before.handling, status=MessageStatus.ACTIVE)
    if entry.queue is not QueueKind.REMOVED:
        raise Unchanged("changed again since")
    return _with(
        entry, before.handling, queue=before.queue, next_hop=before.next_hop, status=before.status, due=before.due,
        deadline=before.deadline,
    )  # fmt: skip


def _directed_back(entry: QueuedItem, before: Former, change: ItemChange) -> QueuedItem:
    target = change.next_hop
    assert target is not None
    target = with_requirement(target, entry.item.tls_requirement)
    there = entry.next_hop is not None and entry.next_hop.connector == target.connector
    if not there or (target.domain and entry.next_hop != target):
        raise Unchanged("changed again since")
    if entry.status in _HELD:
        raise Unchanged("being delivered at the moment")
    status = before.status if entry.status in _WAITING and before.status in _WAITING else entry.status
    return _with(
        entry, entry.item.handling, queue=before.queue, next_hop=before.next_hop, status=status, due=before.due,
        last_error=before.last_error,
    )  # fmt: skip


def _former_priority(entry: QueuedItem, before: Former, change: ItemChange) -> QueuedItem:
    if entry.item.priority is not change.priority:
        raise Unchanged("changed again since")
    after = _with(entry, entry.item.handling)
    after.item.priority = before.priority
    return after


def _former_expiry(entry: QueuedItem, before: Former, change: ItemChange) -> QueuedItem:
    if entry.item.expires_at != change.expires_at:
        raise Unchanged("changed again since")
    expires_at = 0.0 if before.handling is None else before.handling.expires_at
    handling = msgspec.structs.replace(entry.item.handling or Handling(), expires_at=expires_at)
    return _with(entry, None if handling == Handling() else handling, deadline=before.deadline)


_RESTORES: Final = {
    ChangeKind.SUSPEND: _unsuspended, ChangeKind.RESUME: _suspended_again, ChangeKind.REMOVE: _unremoved,
    ChangeKind.REDIRECT: _directed_back, ChangeKind.PRIORITY: _former_priority, ChangeKind.EXPIRY: _former_expiry,
}  # fmt: skip
