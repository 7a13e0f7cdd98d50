# SPDX-License-Identifier: MIT
"""One mail transaction of a session: made whole by MAIL, dropped whole by whatever ends it (RFC 5321 §3.3)."""

from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.receive.content import IncomingContent
from bridgehead.smtp.events import Mail


class Transaction:
    """What MAIL, RCPT and DATA or BDAT have brought so far.

    Attributes:
        mail: the accepted MAIL command.
        recipients: accepted forward-paths, in order.
        content: once DATA or the first BDAT was accepted.
        internal_message_id, network_message_id: given when the content begins.
        began: monotonic time of MAIL.
    """

    __slots__ = ("began", "content", "internal_message_id", "mail", "network_message_id", "recipients")

    def __init__(self, mail: Mail, began: float = 0.0) -> None:
        self.mail = mail
        self.began = began
        self.recipients: list[EnvelopeRecipient] = []
        self.content: IncomingContent | None = None
        self.internal_message_id = 0
        self.network_message_id = ""
