# SPDX-License-Identifier: MIT
"""One mail transaction of a session: made whole by MAIL, dropped whole by whatever ends it (RFC 5321 §3.3)."""

from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.receive.content import IncomingContent
from bridgehead.receive.permissions.senders import MessageCheck
from bridgehead.smtp.events import Mail
from bridgehead.tracking.pipeline_tracing import Incoming


class Transaction:
    """What MAIL, RCPT and DATA or BDAT have brought so far.

    Attributes:
        mail: the accepted MAIL command.
        recipients: accepted forward-paths, in order.
        content: once DATA or the first BDAT was accepted.
        incoming: keeps a copy for pipeline tracing, None for almost every message.
        internal_message_id, network_message_id: given when the content begins.
        began: monotonic time of MAIL.
        sender_check: checks that the message is from whom it says; None where nobody asks.
        sender_checked: what it had to ask of DNS is answered.
    """

    __slots__ = (
        "began", "content", "incoming", "internal_message_id", "mail", "network_message_id", "recipients",
        "sender_check", "sender_checked",
    )  # fmt: skip

    def __init__(self, mail: Mail, began: float = 0.0) -> None:
        self.mail = mail
        self.began = began
        self.recipients: list[EnvelopeRecipient] = []
        self.content: IncomingContent | None = None
        self.incoming: Incoming | None = None
        self.internal_message_id = 0
        self.network_message_id = ""
        self.sender_check: MessageCheck | None = None
        self.sender_checked = False
