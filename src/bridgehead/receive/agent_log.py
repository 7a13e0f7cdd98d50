# SPDX-License-Identifier: MIT
"""Tells the agent log what the checks of a session refused: which check, at which event, why (Exchange's agents).

Called on refusals only. Checks that are agents in Exchange have the agent's name; the others say what they are.
"""

from typing import TYPE_CHECKING, Final

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGGED_TEXT
from bridgehead.mail.reply import Reply
from bridgehead.receive.permissions.rights import PrincipalKind, is_from_inside
from bridgehead.receive.transaction import Transaction
from bridgehead.smtp import replies
from bridgehead.tracking.agent_log import AgentEvent

if TYPE_CHECKING:
    from bridgehead.receive.session import Session
    from bridgehead.receive.session_opening import SessionOpening

CONNECTION_FILTER: Final = "Connection Filtering Agent"
SENDER_FILTER: Final = "Sender Filter Agent"
SENDER_ID: Final = "Sender Id Agent"
RECIPIENT_FILTER: Final = "Recipient Filter Agent"
PERMISSIONS: Final = "Permission Check"
LIMITS: Final = "Limit Check"
CONTENT: Final = "Content Conformance Check"
RESOURCES: Final = "Resource Manager"
AUTHENTICATION: Final = "Authentication Check"

_CHECKS: Final[dict[Reply, tuple[str, str]]] = {
    replies.NO_CONNECTOR: (CONNECTION_FILTER, "NoReceiveConnector"),
    replies.TOO_MANY_CONNECTIONS: (CONNECTION_FILTER, "MaxInboundConnection"),
    replies.TOO_MANY_CONNECTIONS_FROM_SOURCE: (CONNECTION_FILTER, "MaxInboundConnectionPerSource"),
    replies.MUST_STARTTLS: (PERMISSIONS, "TlsRequired"),
    replies.CERTIFICATE_REQUIRED: (PERMISSIONS, "DomainSecurity"),
    replies.BAD_SENDER_SYNTAX: (SENDER_FILTER, "InvalidAddress"),
    replies.NOT_AUTHENTICATED: (PERMISSIONS, "NotAuthenticated"),
    replies.SUBMIT_DENIED: (PERMISSIONS, "NoRightToSubmit"),
    replies.SEND_AS_DENIED: (PERMISSIONS, "SendAsDenied"),
    replies.SIGNED_BY_DEVICE: (SENDER_FILTER, "SignedByDevice"),
    replies.DEVICE_RECIPIENT_DENIED: (PERMISSIONS, "DeviceRecipientDenied"),
    replies.SENDER_DOMAIN_DENIED: (SENDER_FILTER, "AuthoritativeDomainSender"),
    replies.RATE_LIMITED: (LIMITS, "MessageRateLimit"),
    replies.MESSAGE_TOO_LARGE: (LIMITS, "MaxMessageSize"),
    replies.USER_UNKNOWN: (RECIPIENT_FILTER, "RecipientDoesNotExist"),
    replies.UNABLE_TO_RELAY: (PERMISSIONS, "RelayDenied"),
    replies.RESERVED_TOP_LEVEL_DOMAIN: (RECIPIENT_FILTER, "ReservedTopLevelDomain"),
    replies.RESERVED_SECOND_LEVEL_DOMAIN: (RECIPIENT_FILTER, "ReservedSecondLevelDomain"),
    replies.SINGLE_LABEL_DOMAIN: (RECIPIENT_FILTER, "SingleLabelDomain"),
    replies.DOMAIN_REQUIRED: (RECIPIENT_FILTER, "DomainRequired"),
    replies.DIRECTORY_UNAVAILABLE: (RECIPIENT_FILTER, "DirectoryUnavailable"),
    replies.TOO_MANY_RECIPIENTS: (LIMITS, "MaxRecipientsPerMessage"),
    replies.HEADER_TOO_LARGE: (LIMITS, "MaxHeaderSize"),
    replies.HOP_COUNT: (LIMITS, "MaxHopCount"),
    replies.SEVERAL_AUTHORS: (SENDER_FILTER, "SeveralAuthors"),
    replies.BAD_FROM: (SENDER_FILTER, "NonCompliantSender"),
    replies.SENDER_IS_OURS: (SENDER_ID, "SpoofedDomain"),
    replies.SENDER_UNCHECKED: (SENDER_ID, "TemporaryError"),
    replies.TOO_MANY_CHUNKS: (LIMITS, "TooManyChunks"),
    replies.BARE_LF: (CONTENT, "BareLineFeed"),
    replies.BARE_CR: (CONTENT, "BareCarriageReturn"),
    replies.NUL: (CONTENT, "NulOctet"),
    replies.INSUFFICIENT_RESOURCES: (RESOURCES, "BackPressure"),
    replies.STORE_FAULT: (RESOURCES, "QueueStoreFault"),
    replies.AUTH_FAILED: (AUTHENTICATION, "LogonFailed"),
    replies.TOO_MANY_LOGON_FAILURES: (AUTHENTICATION, "MaxLogonFailures"),
}
_UNKNOWN: Final = ("Receive Connector", "Refused")


def connection_refused(session: "SessionOpening", reply: Reply, connector: str) -> None:
    """A connection was turned away; `connector`: its name, "" where none takes the client."""
    _record(session, reply, "OnConnect", "RejectConnection", connector=connector)


def sender_refused(session: "Session", reverse_path: object, reply: Reply) -> None:
    """MAIL was refused."""
    _record(session, reply, "OnMailCommand", "RejectCommand", p1_from=str(reverse_path) or "<>")


def recipient_refused(session: "Session", transaction: Transaction, forward_path: object, reply: Reply) -> None:
    """RCPT was refused."""
    p1_from = str(transaction.mail.reverse_path) or "<>"
    _record(session, reply, "OnRcptCommand", "RejectCommand", p1_from=p1_from, recipients=(str(forward_path),))


def message_refused(session: "Session", transaction: Transaction, reply: Reply) -> None:
    """A message was refused because of its header, its content, or because it could not be stored."""
    facts = transaction.content.facts if transaction.content is not None else None
    at_header = reply in (
        replies.HEADER_TOO_LARGE, replies.HOP_COUNT, replies.SEND_AS_DENIED, replies.SIGNED_BY_DEVICE
    )  # fmt: skip
    _record(
        session, reply, "OnEndOfHeaders" if at_header else "OnEndOfData", "RejectMessage",
        p1_from=str(transaction.mail.reverse_path) or "<>",
        p2_from=facts.header_from if facts else "",
        message_id=facts.message_id if facts else "",
        network_message_id=transaction.network_message_id,
        recipients=tuple(str(one.forward_path) for one in transaction.recipients),
    )  # fmt: skip


def logon_refused(session: "Session", reply: Reply, why: str) -> None:
    """AUTH was refused; the server's own log has the name as well."""
    _record(session, reply, "OnAuthCommand", "RejectAuthentication", why=why)


def _record(
    session: "SessionOpening", reply: Reply, event: str, action: str, *, connector: str | None = None,
    p1_from: str = "", p2_from: str = "", message_id: str = "", network_message_id: str = "",
    recipients: tuple[str, ...] = (), why: str = "",
) -> None:  # fmt: skip
    agent, reason = _CHECKS.get(reply, _UNKNOWN)
    name = session.connector.settings.name if connector is None else connector
    services = session.services
    inside = connector is None and is_from_inside(session.rights, session.principal)
    services.agent_log.record(
        AgentEvent(
            time=services.clock.now(),
            session_id=session.session_id,
            local_endpoint=f"{session.local_ip}:{session.listener.port}",
            remote_endpoint=f"{session.client_ip}:{session.client_port}",
            client_ip=session.client_ip,
            agent=agent,
            event=event,
            action=action,
            smtp_response=str(reply),
            reason=reason,
            reason_data=_where(session, name),
            diagnostics=clean_text(why, LOGGED_TEXT),
            message_id=clean_text(message_id, LOGGED_TEXT),
            p1_from=p1_from,
            p2_from=clean_text(p2_from, LOGGED_TEXT),
            recipients=recipients,
            network_message_id=network_message_id,
            directionality="Originating" if inside else "Incoming",
        )
    )


def _where(session: "SessionOpening", connector: str) -> str:
    """The connector, and the device that the client is, for the log."""
    if not connector:
        return ""
    device = session.principal.name if session.principal.kind is PrincipalKind.DEVICE else ""
    return f"connector={connector}" + (f";device={device}" if device else "")
