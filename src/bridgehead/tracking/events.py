# SPDX-License-Identifier: MIT
"""The one schema of what happens to messages; message tracking log, trace and metrics are made from it.

Field names are Exchange's message tracking columns in snake case.
"""

from enum import StrEnum

import msgspec

from bridgehead.mail.item import Directionality, MailItem, Source


class EventId(StrEnum):
    """Message tracking event ids that occur here."""

    BADMAIL = "BADMAIL"
    DEFER = "DEFER"
    DELIVER = "DELIVER"
    DROP = "DROP"
    DSN = "DSN"
    DUPLICATEEXPAND = "DUPLICATEEXPAND"
    EXPAND = "EXPAND"
    FAIL = "FAIL"
    LOAD = "LOAD"
    POISONMESSAGE = "POISONMESSAGE"
    RECEIVE = "RECEIVE"
    REDIRECT = "REDIRECT"
    RESOLVE = "RESOLVE"
    RESUBMIT = "RESUBMIT"
    SEND = "SEND"
    TRANSFER = "TRANSFER"


class TrackingEvent(msgspec.Struct, kw_only=True):
    """One line of the message tracking log. Times are Unix seconds; lists run in the same order."""

    time: float
    event_id: EventId
    source: Source
    internal_message_id: int = 0
    message_id: str = ""
    network_message_id: str = ""
    client_ip: str = ""
    client_hostname: str = ""
    server_ip: str = ""
    server_hostname: str = ""
    source_context: str = ""
    connector_id: str = ""
    recipient_address: list[str] = []
    recipient_status: list[str] = []
    total_bytes: int = 0
    recipient_count: int = 0
    related_recipient_address: str = ""
    reference: str = ""
    message_subject: str = ""
    sender_address: str = ""
    return_path: str = ""
    message_info: str = ""
    directionality: Directionality = Directionality.UNDEFINED
    original_client_ip: str = ""
    custom_data: str = ""
    original_server_ip: str = ""


def event_for(item: MailItem, event_id: EventId, source: Source, time: float, recipients: list[str]) -> TrackingEvent:
    """An event about `item` with the columns that follow from it; callers set the others."""
    envelope = item.envelope
    return TrackingEvent(
        time=time,
        event_id=event_id,
        source=source,
        internal_message_id=item.internal_message_id,
        message_id=item.message_id,
        network_message_id=item.network_message_id,
        recipient_address=recipients,
        recipient_count=len(recipients),
        total_bytes=item.size,
        message_subject=item.subject,
        sender_address=item.header_from or str(envelope.reverse_path),
        return_path=str(envelope.reverse_path) or "<>",
        directionality=item.directionality,
        original_client_ip=item.client_ip,
    )
