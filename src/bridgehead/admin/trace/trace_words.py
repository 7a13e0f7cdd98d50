# SPDX-License-Identifier: MIT
"""Tracking events in words, for the story of a message; pure."""

from typing import Final

from bridgehead.tracking.outcomes import Status
from bridgehead.tracking.trace.search import FoundEvent
from bridgehead.tracking.trace.story import session_of
from bridgehead.tracking.trace.transcripts import SessionLog

END_TEXTS: Final = {
    Status.DELIVERED: "delivered",
    Status.FAILED: "failed",
    Status.EXPANDED: "replaced by its members",
    Status.REDIRECTED: "replaced",
    Status.DROPPED: "dropped",
}
"""How a recipient ended."""


def what(event: FoundEvent) -> str:
    """An event in words."""
    client = event.client_hostname or event.client_ip
    remote = _host(event.server_hostname, event.server_ip)
    match event.event_id:
        case "RECEIVE" if event.source == "SMTP":
            return f'received from {_host(client, event.client_ip)} by "{event.connector_id}"'
        case "RECEIVE":
            return f"received by {event.connector_id or event.source}"
        case "EXPAND":
            return f"group {event.related_recipient_address} expanded"
        case "REDIRECT":
            return f"{event.related_recipient_address} redirected"
        case "RESOLVE":
            return f"{event.related_recipient_address} resolved"
        case "DUPLICATEEXPAND":
            also = f" as {event.related_recipient_address}" if event.related_recipient_address else ""
            return f"reached on a second way{also}; served once"
        case "TRANSFER":
            return "copy of its own made"
        case "SEND":
            return f"sent to {remote or event.connector_id}"
        case "DELIVER":
            return f'delivered to "{event.connector_id}"'
        case "DEFER":
            return f"put off{f' by {remote}' if remote else ''}"
        case "FAIL":
            return f"failed{f', refused by {remote}' if remote and event.source != 'QUEUE' else ''}"
        case "DSN":
            return "report written"
        case "RESUBMIT":
            return "submitted again"
        case "AGENTINFO" if event.source == "ADMIN":
            return by_administrator(event)
        case "POISONMESSAGE":
            return "set aside as poison"
        case "DROP":
            return "dropped"
    return event.event_id.lower()


def by_administrator(event: FoundEvent) -> str:
    """What an action did to the message, by whom, and why."""
    told = event.source_context
    number, by, reason = fact_of(told, "Action="), fact_of(told, ";By="), told.partition(";Reason=")[2]
    who = f"by {by}{f' ({reason})' if reason else ''}, action {number}"
    if to := fact_of(told, ";Redirected="):
        return f"redirected {'back to where it was' if to == 'back' else f'to {to}'} {who}"
    return f"let go {who}; {fact_of(told, ';HeldBy=')} had suspended it at {fact_of(told, ';Since=')}"


def fact_of(text: str, name: str) -> str:
    """What the context of an administrator's change says under a name, such as ";By="; "" for nothing."""
    return text.partition(";Reason=")[0].partition(name)[2].partition(";")[0]


def _host(name: str, address: str) -> str:
    return f"{name} [{address}]" if name and address and name.strip("[]") != address else name or address


def tls(event: FoundEvent, session: SessionLog | None) -> str:
    """Protocol and cipher of the session that an event came of, "none" in clear, "" where that is not known."""
    if event.facts.get("TlsVersion"):
        return f"{event.facts['TlsVersion']} {event.facts.get('TlsCipher', '')}".strip()
    if event.event_id == "RECEIVE" and event.facts.get("Port"):
        return "none"
    for line in session.connection if session is not None else ():
        if line.context.startswith("Established connection"):
            return line.context.rpartition(", ")[2] if "no TLS" in line.context else _within(line.context)
    return ""


def _within(text: str) -> str:
    """What stands in the last pair of parentheses of "…, TLS (TLSv1.3 with …)"."""
    return text.partition("TLS (")[2].removesuffix(")") or "TLS"


def note(event: FoundEvent) -> str:
    """What else an event says of itself."""
    said = []
    if "InDoubt" in event.facts:
        said.append(f"in doubt: {event.facts['InDoubt']}")
    if "TlsPolicy" in event.facts:
        said.append(f"TLS policy: {event.facts['TlsPolicy']}")
    context = event.source_context
    told = event.event_id == "AGENTINFO" or context.startswith("InternalMessageId=")
    if context and not session_of(event) and not told:
        said.append(context)
    return "; ".join(said)
