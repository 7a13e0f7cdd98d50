# SPDX-License-Identifier: MIT
"""The agent log: what the server's own checks refused, one record for each recipient (Exchange's Agent Log).

The columns are those of Exchange Server 2016 and later, of which documentation names the first sixteen.
"""

from typing import Final

import msgspec

from bridgehead.tracking.csv_line import TimeText, cell
from bridgehead.tracking.log import LogFile, LogKind

FIELDS: Final = (
    "Timestamp", "SessionId", "LocalEndpoint", "RemoteEndpoint", "EnteredOrgFromIP", "MessageId", "P1FromAddress",
    "P2FromAddresses", "Recipient", "NumRecipients", "Agent", "Event", "Action", "SmtpResponse", "Reason",
    "ReasonData", "Diagnostics", "NetworkMsgID", "TenantID", "Directionality",
)  # fmt: skip
KIND: Final = LogKind("AGENTLOG", "Agent Log", FIELDS, numbers=frozenset({"NumRecipients"}))


class AgentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One action of one check.

    Attributes:
        time: Unix seconds.
        recipients: one record for each; none where the action precedes RCPT.
        agent, event, action: by Exchange's names: "Recipient Filter Agent", "OnRcptCommand", "RejectCommand".
        reason, reason_data: why, as one word and in particular.
        diagnostics: why, in a sentence, where the check has more to say.
    """

    time: float
    session_id: str
    local_endpoint: str
    remote_endpoint: str
    client_ip: str
    agent: str
    event: str
    action: str
    smtp_response: str
    reason: str
    reason_data: str = ""
    diagnostics: str = ""
    message_id: str = ""
    p1_from: str = ""
    p2_from: str = ""
    recipients: tuple[str, ...] = ()
    network_message_id: str = ""
    directionality: str = ""


class AgentLogFile:
    """An `AgentLog` that writes files."""

    def __init__(self, log: LogFile) -> None:
        self.log = log
        self._time_text = TimeText()

    def record(self, event: AgentEvent) -> None:
        """Take one action."""
        e = event
        for recipient in e.recipients or ("",):
            cells = (
                self._time_text(e.time), e.session_id, e.local_endpoint, e.remote_endpoint, e.client_ip, e.message_id,
                e.p1_from, e.p2_from, recipient, str(len(e.recipients)), e.agent, e.event, e.action, e.smtp_response,
                e.reason, e.reason_data, e.diagnostics, e.network_message_id, "", e.directionality,
            )  # fmt: skip
            self.log.append((",".join(map(cell, cells)) + "\r\n").encode("utf-8", "replace"))


class NoAgentLog:
    """An `AgentLog` for AgentLogEnabled = false."""

    def record(self, event: AgentEvent) -> None:
        """Forget it."""
