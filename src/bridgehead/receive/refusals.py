# SPDX-License-Identifier: MIT
"""Tells the flight recorder what our own door refused, with what only we know: connector, right, limit, place.

Called on refusals only. Secrets never come here: command lines pass `command_record`.
"""

from typing import TYPE_CHECKING, Final

from bridgehead.diagnosis.facts import RefusalFacts
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGGED_TEXT
from bridgehead.mail.reply import Reply
from bridgehead.receive import command_record
from bridgehead.receive.settings import Right
from bridgehead.smtp import replies

if TYPE_CHECKING:
    from bridgehead.receive.connectors.served import ServedConnector
    from bridgehead.receive.session import Session
    from bridgehead.receive.session_opening import SessionOpening

_LIMITS: Final = {
    replies.TOO_MANY_CONNECTIONS: "max_inbound_connection",
    replies.TOO_MANY_CONNECTIONS_FROM_SOURCE: "max_inbound_connection_per_source",
    replies.RATE_LIMITED: "message_rate_limit",
    replies.MESSAGE_TOO_LARGE: "max_message_size",
    replies.HEADER_TOO_LARGE: "max_header_size",
    replies.TOO_MANY_RECIPIENTS: "max_recipients_per_message",
    replies.HOP_COUNT: "max_hop_count",
    replies.TOO_MANY_ERRORS: "max_protocol_errors",
    replies.TOO_MANY_LOGON_FAILURES: "max_logon_failures",
}
"""Replies that a limit of the connector gives."""
_RIGHTS: Final = {
    replies.UNABLE_TO_RELAY: Right.ACCEPT_ANY_RECIPIENT,
    replies.DEVICE_RECIPIENT_DENIED: Right.ACCEPT_ANY_RECIPIENT,
    replies.NOT_AUTHENTICATED: Right.SUBMIT,
    replies.SUBMIT_DENIED: Right.SUBMIT,
    replies.SEND_AS_DENIED: Right.ACCEPT_ANY_SENDER,
    replies.SENDER_DOMAIN_DENIED: Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER,
}
"""Replies that a missing right gives."""


def note(session: "Session", reply: Reply, detail: str = "") -> None:
    """A command, a login, a message was refused in a session."""
    connector = session.connector
    if connector.device is not None:
        connector.device.use.refused(session.services.clock.now(), str(reply))
    facts = _facts(session, reply, connector, detail)
    facts.helo = clean_text(session.helo, LOGGED_TEXT)
    facts.principal = str(session.principal)
    facts.secure = bool(session.tls_info)
    facts.auth_tried = session.logon is not None
    facts.command = clean_text(command_record.shown(session.engine.line), LOGGED_TEXT) if session.engine.line else ""
    transaction, session.refused = session.transaction or session.refused, None
    if transaction is not None:
        facts.sender = str(transaction.mail.reverse_path)
        content = transaction.content
        if content is not None:
            facts.size = content.size
            facts.detail = facts.detail or clean_text(content.detail, LOGGED_TEXT)
    if reply is replies.TOO_MANY_RECIPIENTS and transaction is not None:
        facts.used = len(transaction.recipients) + 1
    session.services.flights.refused(facts)


def note_connection(session: "SessionOpening", reply: Reply, connector: "ServedConnector | None") -> None:
    """A connection was turned away before it was a session; `connector` is None where none takes the client."""
    facts = _facts(session, reply, connector, "")
    if connector is not None:
        if connector.device is not None:
            connector.device.use.refused(session.services.clock.now(), str(reply))
        limits = session.services.limits
        facts.used = limits.held(connector.settings.name, session.client_ip)
        if reply is replies.TOO_MANY_CONNECTIONS:
            facts.used = limits.open_connections(connector.settings.name)
    session.services.flights.refused(facts)


def note_handshake(session: "Session", reason: str) -> None:
    """A client and we did not agree on TLS; `reason` is OpenSSL's."""
    if (device := session.connector.device) is not None:
        device.use.refused(session.services.clock.now(), f"TLS handshake failed: {reason}")
    facts = _facts(session, Reply(454, "4.7.0", "TLS handshake failed"), session.connector, reason)
    facts.helo = clean_text(session.helo, LOGGED_TEXT)
    session.services.flights.refused(facts)


def _facts(session: "SessionOpening", reply: Reply, connector: "ServedConnector | None", detail: str) -> RefusalFacts:
    setting = _LIMITS.get(reply, "")
    right = _RIGHTS.get(reply)
    settings = connector.settings if connector is not None else None
    if reply is replies.TOO_MANY_CONNECTIONS_FROM_SOURCE and settings is not None:
        held = session.services.limits.held(settings.name, session.client_ip)
        if held < settings.max_inbound_connection_per_source:
            setting = "max_inbound_connection_percentage_per_source"
    return RefusalFacts(
        source=session.client_ip,
        connector=settings.name if settings is not None else "",
        code=reply.code,
        status=reply.status,
        text=reply.text,
        time=session.services.clock.now(),
        local_ip=session.local_ip,
        local_port=session.listener.port,
        right=right.value if right is not None else "",
        setting=setting,
        limit=int(getattr(settings, setting)) if settings is not None and setting else 0,
        detail=detail,
    )
