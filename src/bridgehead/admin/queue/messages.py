# SPDX-License-Identifier: MIT
"""Queued messages: list, show, content (Get-Message, Export-Message)."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from bridgehead.admin.faults import FAILED, NOT_FOUND, AdminFault
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue.export import injected_header
from bridgehead.admin.queue.message_properties import Vantage, defer_reason, source_name, words
from bridgehead.admin.queue.queue_names import queue_identity
from bridgehead.admin.times import moment
from bridgehead.diagnosis.facts import SESSION_PHASES, AttemptFacts
from bridgehead.mail.content import Content
from bridgehead.mail.envelope import Notify
from bridgehead.mail.header import split_header
from bridgehead.mail.item import Handling
from bridgehead.mail.limits import CONTROL_CONTENT_BYTES
from bridgehead.queues.store import ItemFilter, QueuedItem, QueueKind, QueueState, QueueStatus
from bridgehead.routing.next_hop import NextHop

_VIEWED_AT_ONCE: Final = 100


class RecipientView(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient of a queued message; `state` is Pending, Delivered, Relayed, Expanded, Failed, Redirected, Dropped.

    `notify`: NOTIFY words of the client, empty where it gave none.
    """

    address: str
    state: str
    last_error: str = ""
    original_recipient: str = ""
    notify: list[str] = []
    delay_notified: bool = False


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """A queued message as Get-Message shows it.

    Attributes:
        id: internal message id, what commands take.
        from_address: reverse-path, "<>" for reports.
        next_attempt: when it is tried again, or its queue where only that waits; null when nothing is waited for.
        last_error: its own, else that of its queue.
        deadline: when the next thing is owed: delay report or expiry.
        expiration_time: when it fails for its age; null while it is suspended.
        scl: spam confidence level that servers of ours gave it: -1 for unchecked, 0 to 9; null for none.
        message_latency: seconds since it was received.
        defer_reason: None, TransientFailure or ResolverRetry: why the message itself waits, not its queue.
        original_from_address: the sender before a group's expansion put its manager in that place.
        message_source_name: component and connector that it came through.
        held_by, hold_reason, held_since: who suspended it (or asked for its removal), why and when.
        standing_rule: the rule that did so, 0 for a person.
        in_doubt: the outcome of its last attempt is unknown; it may arrive twice.
    """

    id: int
    network_message_id: str
    queue: str
    status: str
    from_address: str
    recipients: list[RecipientView]
    size: int
    date_received: datetime | None
    message_id: str = ""
    subject: str = ""
    priority: str = "Normal"
    scl: int | None = None
    directionality: str = ""
    source: str = ""
    connector: str = ""
    source_ip: str = ""
    client_hostname: str = ""
    helo: str = ""
    principal: str = ""
    next_attempt: datetime | None = None
    deadline: datetime | None = None
    expiration_time: datetime | None = None
    message_latency: float = 0.0
    defer_reason: str = "None"
    original_from_address: str = ""
    message_source_name: str = ""
    held_by: str = ""
    hold_reason: str = ""
    held_since: datetime | None = None
    standing_rule: int = 0
    retry_count: int = 0
    last_error: str = ""
    in_doubt: bool = False
    crash_count: int = 0
    is_dsn: bool = False
    envelope_id: str = ""
    body_type: str = ""
    smtputf8: bool = False


class MessageDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its header section; `header` is "" and `header_fault` says why where it cannot be read.

    `last_failure`: what the flight recorder holds of its last failed attempt, or of its queue's; `failed_at`,
    `failed_with`: when, and with whom.
    """

    message: MessageView
    header: str = ""
    header_fault: str = ""
    last_failure: list[str] = []
    failed_at: datetime | None = None
    failed_with: str = ""


class ContentPart(msgspec.Struct, frozen=True, kw_only=True):
    """Octets of a message's content from `offset` on; `total` is the size of the whole."""

    data: bytes
    offset: int
    total: int


def view_message(entry: QueuedItem, vantage: Vantage, queue: QueueState | None = None) -> MessageView:
    """An entry of the store as people see it; `queue`: the state of the queue that it waits in, where that is known."""
    item, envelope = entry.item, entry.item.envelope
    status, handling = words(entry.status), item.handling or Handling()
    due = entry.due if status == "Retry" else 0.0
    if queue is not None and queue.status is QueueStatus.RETRY and status in ("Ready", "Retry"):
        due = max(due, queue.next_retry)
    return MessageView(
        id=item.internal_message_id,
        network_message_id=item.network_message_id,
        queue=queue_identity(entry.queue, entry.next_hop),
        status=status,
        from_address=str(envelope.reverse_path) or "<>",
        recipients=[
            RecipientView(
                address=str(recipient.forward_path),
                state=recipient.state.name.capitalize(),
                last_error=recipient.last_error,
                original_recipient=recipient.original_recipient,
                notify=[flag.name or "" for flag in Notify if flag and flag in recipient.notify],
                delay_notified=recipient.delay_notified,
            )
            for recipient in envelope.recipients
        ],
        size=item.size,
        date_received=moment(item.received_at),
        message_id=item.message_id,
        subject=item.subject,
        priority=item.priority.name.capitalize(),
        scl=item.scl,
        directionality=item.directionality.value,
        source=item.source.value,
        connector=item.connector,
        source_ip=item.client_ip,
        client_hostname=item.client_hostname,
        helo=item.helo,
        principal=item.principal,
        next_attempt=moment(due),
        deadline=moment(entry.deadline),
        expiration_time=None if status == "Suspended" else moment(vantage.expiration_time(entry)),
        message_latency=max(0.0, round(vantage.now() - item.received_at, 3)),
        defer_reason=defer_reason(entry),
        original_from_address=item.original_from or str(envelope.reverse_path) or "<>",
        message_source_name=source_name(entry),
        held_by=handling.by,
        hold_reason=handling.reason,
        held_since=moment(handling.at),
        standing_rule=handling.rule,
        retry_count=entry.retry_count,
        last_error=entry.last_error or (queue.last_error if queue is not None else ""),
        in_doubt=entry.in_doubt,
        crash_count=entry.crash_count,
        is_dsn=item.is_dsn,
        envelope_id=envelope.envelope_id,
        body_type=envelope.body_type.value,
        smtputf8=envelope.smtputf8,
    )


async def view_messages(
    entries: Sequence[QueuedItem], vantage: Vantage, states: Mapping[tuple[QueueKind, NextHop | None], QueueState]
) -> list[MessageView]:
    """Many of them, a few at a time: mail goes on in between."""
    views = []
    for number, entry in enumerate(entries):
        if number and number % _VIEWED_AT_ONCE == 0:
            await asyncio.sleep(0)
        views.append(view_message(entry, vantage, states.get((entry.queue, entry.next_hop))))
    return views


async def list_messages(server: RunningServer, wanted: ItemFilter, filter_text: str = "") -> list[MessageView]:
    """Queued messages that fit: by age, or with a filter in order of id. Raises AdminFault, StoreFault."""
    states = await _states(server)
    entries: Sequence[QueuedItem]
    if filter_text:
        entries = await server.actions.selection.listed(wanted, filter_text)
    else:
        entries = await server.list_items(wanted)
    return await view_messages(entries, server.actions.around, states)


async def show_message(server: RunningServer, identity: str) -> list[MessageDetail]:
    """The message with this internal id, or all forks with this network message id or Message-ID.

    Raises AdminFault where none is queued, StoreFault.
    """
    details = []
    states = await _states(server)
    for number in await _ids(server, identity):
        entry = await server.item(number)
        if entry is None:
            continue
        header, fault = "", ""
        try:
            header = await asyncio.to_thread(_header, entry.content) if entry.content else ""
        except OSError as error:
            fault = f"the content cannot be read: {error.strerror or error}"
        state = states.get((entry.queue, entry.next_hop))
        message = view_message(entry, server.actions.around, state)
        waits = state is not None and state.status is QueueStatus.RETRY
        flight = _last_failure(entry.id, message.queue, waits, server.diagnostics.attempts())
        details.append(
            MessageDetail(
                message=message,
                header=header,
                header_fault=fault,
                last_failure=list(flight.transcript) if flight is not None else [],
                failed_at=moment(flight.time) if flight is not None else None,
                failed_with=flight.where if flight is not None else "",
            )
        )
    if not details:
        raise _not_queued(identity)
    return details


async def read_content(server: RunningServer, internal_message_id: int, offset: int) -> ContentPart:
    """Up to CONTROL_CONTENT_BYTES of a message's content. Raises AdminFault, StoreFault."""
    entry = await server.item(internal_message_id)
    if entry is None:
        raise _not_queued(str(internal_message_id))
    if entry.content is None:
        raise AdminFault(FAILED, f"message {internal_message_id} has no readable content", "bridgehead queue verify")
    try:
        data = await asyncio.to_thread(_part, entry.content, offset)
    except OSError as error:
        message = f"the content of message {internal_message_id} cannot be read: {error.strerror or error}"
        raise AdminFault(FAILED, message, "bridgehead queue verify") from None
    return ContentPart(data=data, offset=offset, total=entry.content.size)


async def export_message(server: RunningServer, internal_message_id: int, offset: int) -> ContentPart:
    """Up to CONTROL_CONTENT_BYTES of a message as a file for the replay directory. Raises AdminFault, StoreFault."""
    entry = await server.item(internal_message_id)
    if entry is None:
        raise _not_queued(str(internal_message_id))
    top = injected_header(entry.item)
    data = top[offset : offset + CONTROL_CONTENT_BYTES]
    if len(data) < CONTROL_CONTENT_BYTES:
        data += (await read_content(server, internal_message_id, max(0, offset - len(top)))).data
    total = len(top) + (entry.content.size if entry.content is not None else 0)
    return ContentPart(data=data, offset=offset, total=total)


async def _states(server: RunningServer) -> dict[tuple[QueueKind, NextHop | None], QueueState]:
    """The state of each queue: where its next hop cannot be reached, it is what the messages wait for."""
    return {(one.state.queue, one.state.next_hop): one.state for one in await server.queues()}


async def _ids(server: RunningServer, identity: str) -> list[int]:
    if identity.isdecimal() and len(identity) < 19:
        return [int(identity)]
    by_network_id = await server.list_items(ItemFilter(network_message_id=identity, limit=20))
    if by_network_id:
        return [entry.id for entry in by_network_id]
    return [entry.id for entry in await server.list_items(ItemFilter(message_id=identity, limit=20))]


def _last_failure(
    number: int, queue: str, queue_waits: bool, flights: Iterable[AttemptFacts]
) -> AttemptFacts | None:  # fmt: skip
    """The last failure of a message: its own, or, while its queue cannot be reached, that of its queue."""
    found = [
        one
        for one in flights
        if one.message == number or (queue_waits and one.queue == queue and one.phase in SESSION_PHASES)
    ]
    return max(found, key=lambda one: one.time, default=None)


def _header(content: Content) -> str:
    with content.open() as stream:
        header, _ = split_header(stream.read(CONTROL_CONTENT_BYTES))
    return header.decode("utf-8", "replace").replace("\r\n", "\n")


def _part(content: Content, offset: int) -> bytes:
    with content.open() as stream:
        stream.seek(offset)
        return stream.read(CONTROL_CONTENT_BYTES)


def _not_queued(identity: str) -> AdminFault:
    option = (
        "internal-message-id" if identity.isdecimal() else "message-id" if "@" in identity else "network-message-id"
    )
    remedy = f"it may have left already: bridgehead trace --{option} '{identity}'"
    return AdminFault(NOT_FOUND, f"no message {identity} is queued", remedy)
