# SPDX-License-Identifier: MIT
"""The properties of queued messages that filters know: Exchange's (Get-Message -Filter), and some of our own.

They read a `QueuedItem` as the store lists it. What the store can decide by its columns is asked of it (`narrowed`);
the rest is compared entry by entry as pages of the listing stream by, so that a filter costs time and no memory.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.queue.filter import Comparison, Expression, FilterError, Kind, Property, parse_filter, required
from bridgehead.admin.queue.queue_names import queue_identity
from bridgehead.mail.item import Directionality, Priority
from bridgehead.queues.sqlite.reading import longest_text
from bridgehead.queues.store import ItemFilter, MessageStatus, QueuedItem, QueueKind, QueueSummary
from bridgehead.routing.next_hop import DeliveryType


class Vantage(Protocol):
    """What properties depend on besides the message."""

    def now(self) -> float:
        """Unix time."""

    def expiration_time(self, entry: QueuedItem) -> float:
        """Unix time at which a message expires as things stand."""


def words(status: MessageStatus) -> str:
    """Exchange's word for a message status: PENDING_REMOVE → PendingRemove."""
    return status.name.title().replace("_", "")


STATUS_WORDS: Final = tuple(map(words, MessageStatus))
PRIORITY_WORDS: Final = tuple(one.name.capitalize() for one in Priority)
DEFER_REASONS: Final = ("None", "ResolverRetry", "TransientFailure")


def defer_reason(entry: QueuedItem) -> str:
    """Why a message itself waits for a later time (DeferReason), "None" where it does not."""
    if entry.status is not MessageStatus.RETRY:
        return "None"
    return "ResolverRetry" if entry.queue is QueueKind.SUBMISSION else "TransientFailure"


def source_name(entry: QueuedItem) -> str:
    """Which component brought the message in, and through which connector (MessageSourceName)."""
    item = entry.item
    return f"{item.source.value}:{item.connector}" if item.connector else item.source.value


def _handling(entry: QueuedItem, name: str) -> str:
    return "" if entry.item.handling is None else str(getattr(entry.item.handling, name))


def message_properties(vantage: Vantage) -> dict[str, Property]:
    """The table for `parse_filter`."""

    def text(name: str, get: Callable[[QueuedItem], object]) -> Property:
        return Property(name=name, kind=Kind.TEXT, get=get)

    def choice(name: str, get: Callable[[QueuedItem], object], choices: Sequence[str]) -> Property:
        return Property(name=name, kind=Kind.CHOICE, get=get, choices=tuple(choices))

    def other(name: str, kind: Kind, get: Callable[[QueuedItem], object]) -> Property:
        return Property(name=name, kind=kind, get=get)

    table = [
        other("Identity", Kind.NUMBER, lambda one: one.id),
        other("DateReceived", Kind.TIME, lambda one: one.item.received_at),
        choice("DeferReason", defer_reason, DEFER_REASONS),
        choice("Directionality", lambda one: one.item.directionality.value, [one.value for one in Directionality]),
        other("ExpirationTime", Kind.TIME, vantage.expiration_time),
        text("FromAddress", lambda one: str(one.item.envelope.reverse_path) or "<>"),
        text("InternetMessageId", lambda one: one.item.message_id),
        text("LastError", lambda one: one.last_error),
        other("MessageLatency", Kind.SPAN, lambda one: vantage.now() - one.item.received_at),
        text("MessageSourceName", source_name),
        text("OriginalFromAddress", lambda one: one.item.original_from or str(one.item.envelope.reverse_path) or "<>"),
        choice("Priority", lambda one: one.item.priority.name.capitalize(), PRIORITY_WORDS),
        text("Queue", lambda one: queue_identity(one.queue, one.next_hop)),
        text("Recipients", lambda one: one.item.envelope.recipient_addresses()),
        other("RetryCount", Kind.NUMBER, lambda one: one.retry_count),
        other("SCL", Kind.NUMBER, lambda one: one.item.scl),
        other("Size", Kind.SIZE, lambda one: one.item.size),
        text("SourceIP", lambda one: one.item.client_ip),
        choice("Status", lambda one: words(one.status), STATUS_WORDS),
        text("Subject", lambda one: one.item.subject),
        # --- our own ---
        text("Connector", lambda one: one.item.connector),
        choice("DeliveryType", _delivery_type, [one.value for one in DeliveryType]),
        text("HeldBy", lambda one: _handling(one, "by")),
        text("HoldReason", lambda one: _handling(one, "reason")),
        other("InDoubt", Kind.FLAG, lambda one: one.in_doubt),
        other("IsDsn", Kind.FLAG, lambda one: one.item.is_dsn),
        text("NetworkMessageId", lambda one: one.item.network_message_id),
        text("NextHopConnector", lambda one: "" if one.next_hop is None else one.next_hop.connector),
        text("NextHopDomain", lambda one: "" if one.next_hop is None else one.next_hop.domain),
        text("Principal", lambda one: one.item.principal),
        choice("QueueType", lambda one: one.queue.name.capitalize(), [one.name.capitalize() for one in QueueKind]),
        other("StandingRule", Kind.NUMBER, lambda one: 0 if one.item.handling is None else one.item.handling.rule),
    ]
    return {one.name.lower(): one for one in table}


def _delivery_type(entry: QueuedItem) -> str:
    return (DeliveryType.UNDEFINED if entry.next_hop is None else entry.next_hop.delivery_type).value


def read_filter(text: str, properties: Mapping[str, Property], now: float) -> Expression:
    """A filter of a command. Raises AdminFault."""
    try:
        return parse_filter(text, properties, now)
    except FilterError as error:
        raise AdminFault(INVALID, f"the filter: {error}", error.remedy) from None


def narrowed(expression: Expression, summaries: Sequence[QueueSummary], limit: int) -> ItemFilter:
    """What the store can decide of a filter by itself: by its columns, and by texts that a message must hold."""
    wanted = ItemFilter(limit=limit)
    for one in required(expression):
        wanted = _hinted(wanted, one)
        if one.operator != "-eq" or one.value is None:
            continue
        match one.property.name:
            case "Status":
                status = next(status for status in MessageStatus if words(status) == one.value)
                wanted = msgspec.structs.replace(wanted, status=status)
            case "QueueType":
                wanted = msgspec.structs.replace(wanted, queue=QueueKind[one.value.upper()])
            case "Identity":
                wanted = msgspec.structs.replace(wanted, internal_message_id=int(one.value))
            case "Queue":
                for summary in summaries:
                    state = summary.state
                    if queue_identity(state.queue, state.next_hop).casefold() == one.value.casefold():
                        wanted = msgspec.structs.replace(wanted, queue=state.queue, next_hop=state.next_hop)
    return wanted


_COLUMNS: Final = {"Size": "size", "DateReceived": "received_at", "RetryCount": "retry_count"}
_OPERATORS: Final = {"-eq": "=", "-gt": ">", "-ge": ">=", "-lt": "<", "-le": "<="}
_STORED_AS_SHOWN: Final = frozenset(
    {"InternetMessageId", "SourceIP", "Subject", "Connector", "NetworkMessageId", "Principal"}
)  # fmt: skip
_ADDRESSES: Final = frozenset({"FromAddress", "OriginalFromAddress", "Recipients"})
"""Stored in two parts."""


def _hinted(wanted: ItemFilter, one: Comparison) -> ItemFilter:
    """With what the store may leave out early."""
    name, value = one.property.name, one.value
    if name in _COLUMNS and one.operator in _OPERATORS and isinstance(value, int | float):
        hint = (_COLUMNS[name], _OPERATORS[one.operator], value)
        return msgspec.structs.replace(wanted, ranges=(*wanted.ranges, hint))
    if one.operator not in ("-eq", "-like", "-contains") or not isinstance(value, str):
        return wanted
    if name in _ADDRESSES:
        parts = re.split(r"[*@<>]" if one.operator == "-like" else r"[@<>]", value)
    elif name in _STORED_AS_SHOWN:
        parts = value.split("*") if one.operator == "-like" else [value]
    else:
        return wanted
    text = longest_text(parts)
    return msgspec.structs.replace(wanted, mentions=(*wanted.mentions, text)) if text else wanted


def names_a_queue(expression: Expression) -> bool:
    """Whether `narrowed` has a use for the queues."""
    return any(one.property.name == "Queue" and one.operator == "-eq" for one in required(expression))
