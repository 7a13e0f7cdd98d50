# SPDX-License-Identifier: MIT
"""The one schema of what happens to messages; message tracking log, trace and metrics are made from it.

Field names are Exchange's message tracking columns in snake case.
"""

from enum import StrEnum
from typing import Final

import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.mail.item import Directionality, Handling, MailItem, Source
from bridgehead.mail.limits import LOGGED_TEXT

COPIED: Final = "DeliverToMailboxAndForward"
"""`source_context` of a REDIRECT that leaves the former recipient a copy."""


EVENT_IDS: Final = (
    "AGENTINFO", "BADMAIL", "CLIENTSUBMISSION", "DEFER", "DELIVER", "DELIVERFAIL", "DROP", "DSN", "DUPLICATEDELIVER",
    "DUPLICATEEXPAND", "DUPLICATEREDIRECT", "EXPAND", "FAIL", "HADISCARD", "HARECEIVE", "HAREDIRECT",
    "HAREDIRECTFAIL", "INITMESSAGECREATED", "LOAD", "MODERATIONEXPIRE", "MODERATORAPPROVE", "MODERATORREJECT",
    "MODERATORSALLNDR", "NOTIFYMAPI", "NOTIFYSHADOW", "POISONMESSAGE", "PROCESS", "PROCESSMEETINGMESSAGE", "RECEIVE",
    "REDIRECT", "RESOLVE", "RESUBMIT", "RESUBMITDEFER", "RESUBMITFAIL", "SEND", "SUBMIT", "SUBMITDEFER", "SUBMITFAIL",
    "SUPPRESSED", "THROTTLE", "TRANSFER",
)  # fmt: skip
SOURCES: Final = (
    "ADMIN", "AGENT", "APPROVAL", "BOOTLOADER", "DNS", "DSN", "GATEWAY", "MAILBOXRULE", "MEETINGMESSAGEPROCESSOR",
    "ORAR", "PICKUP", "POISONMESSAGE", "PUBLICFOLDER", "QUEUE", "REDUNDANCY", "RESOLVER", "ROUTING", "SAFETYNET",
    "SMTP", "STOREDRIVER",
)  # fmt: skip
"""What message tracking logs of Exchange hold: searches read those, too."""


class EventId(StrEnum):
    """Message tracking event ids that occur here."""

    AGENTINFO = "AGENTINFO"
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


class TrackingEvent(msgspec.Struct):
    """One line of the message tracking log. Times are Unix seconds; lists run in the same order.

    Made by position only here: twenty keywords cost four times as much as twenty values.
    """

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


def change_context(action: int, by: str, reason: str, **facts: str) -> str:
    """The same of a change by an action of an administrator; the reason comes last, since it may hold anything."""
    said = "".join(f"{name}={text};" for name, text in facts.items())
    return clean_text(f"Action={action};By={by};{said}Reason={reason}", LOGGED_TEXT)


def handling_context(handling: Handling) -> str:
    """Who did what an event with the source ADMIN tells of, and why: its `source_context`."""
    part = f"StandingRule={handling.rule}" if handling.rule else f"Action={handling.action}"
    return clean_text(f"{part};By={handling.by};Reason={handling.reason}", LOGGED_TEXT)


def event_for(item: MailItem, event_id: EventId, source: Source, time: float, recipients: list[str]) -> TrackingEvent:
    """An event about `item` with the columns that follow from it; callers set the others."""
    return event_of_attempt(item, event_id, source, time, recipients, [], "", "", "", "", "", "", "")


def event_of_attempt(
    item: MailItem, event_id: EventId, source: Source, time: float, recipients: list[str], statuses: list[str],
    client_ip: str, client_hostname: str, server_ip: str, server_hostname: str, source_context: str, connector_id: str,
    custom_data: str,
) -> TrackingEvent:  # fmt: skip
    """An event about `item` with the columns that tell of an attempt to deliver it."""
    path = str(item.envelope.reverse_path)
    return TrackingEvent(
        time, event_id, source, item.internal_message_id, item.message_id, item.network_message_id,
        client_ip, client_hostname, server_ip, server_hostname, source_context, connector_id,
        recipients, statuses, item.size, len(recipients),
        "", "",  # related_recipient_address, reference
        item.subject, item.header_from or path, path or "<>",
        "",  # message_info
        item.directionality, item.client_ip, custom_data,
    )  # fmt: skip
