# SPDX-License-Identifier: MIT
"""The properties of queues that filters know: Exchange's (Get-Queue -Filter), and some of our own.

They read a `QueueView`.
"""

from datetime import datetime
from typing import Any, Final

from bridgehead.admin.queue.filter import Kind, Property
from bridgehead.queues.store import QueueKind
from bridgehead.routing.next_hop import DeliveryType

_KINDS: Final = tuple(kind.name.capitalize() for kind in QueueKind)
_STATUSES: Final = ("Active", "Connecting", "Ready", "Retry", "Suspended")


def _read(field: str) -> Any:
    """A field of the view; times as Unix seconds."""

    def get(view: Any) -> Any:
        value = getattr(view, field)
        return value.timestamp() if isinstance(value, datetime) else value

    return get


def _property(name: str, kind: Kind, field: str, choices: tuple[str, ...] = ()) -> Property:
    return Property(name=name, kind=kind, get=_read(field), choices=choices)


_TABLE: Final = (
    _property("DeferredMessageCount", Kind.NUMBER, "deferred_message_count"),
    _property("DeliveryType", Kind.CHOICE, "delivery_type", tuple(one.value for one in DeliveryType)),
    _property("FirstRetryTime", Kind.TIME, "first_retry_time"),
    _property("Identity", Kind.TEXT, "identity"),
    _property("IncomingRate", Kind.NUMBER, "incoming_rate"),
    _property("LastError", Kind.TEXT, "last_error"),
    _property("LastRetryTime", Kind.TIME, "last_retry_time"),
    _property("MessageCount", Kind.NUMBER, "message_count"),
    _property("NextHopCategory", Kind.CHOICE, "next_hop_category", ("Internal", "External")),
    _property("NextHopConnector", Kind.TEXT, "next_hop_connector"),
    _property("NextHopDomain", Kind.TEXT, "next_hop_domain"),
    _property("NextRetryTime", Kind.TIME, "next_retry_time"),
    _property("OutgoingRate", Kind.NUMBER, "outgoing_rate"),
    _property("RetryCount", Kind.NUMBER, "retry_count"),
    _property("Status", Kind.CHOICE, "status", _STATUSES),
    _property("TlsDomain", Kind.TEXT, "tls_domain"),
    _property("Velocity", Kind.NUMBER, "velocity"),
    # --- our own ---
    _property("DrainTime", Kind.SPAN, "drain_time"),
    _property("OldestAge", Kind.SPAN, "oldest_age"),
    _property("QueueType", Kind.CHOICE, "type", _KINDS),
    _property("Size", Kind.SIZE, "total_bytes"),
    _property("SuspendedBy", Kind.TEXT, "suspended_by"),
)
QUEUE_PROPERTIES: Final = {one.name.lower(): one for one in _TABLE}
"""The table for `parse_filter`."""
