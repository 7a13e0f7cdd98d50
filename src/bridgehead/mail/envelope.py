# SPDX-License-Identifier: MIT
"""The envelope: who is told to whom by SMTP commands, not by the header (RFC 5321 §2.3.1, RFC 3461, RFC 6531)."""

from enum import IntEnum, IntFlag, StrEnum

import msgspec

from bridgehead.mail.address import NULL, Mailbox


class Notify(IntFlag):
    """NOTIFY= of RCPT (RFC 3461 §4.1). Without the parameter: UNSPECIFIED, treated as FAILURE and DELAY."""

    UNSPECIFIED = 0
    SUCCESS = 1
    FAILURE = 2
    DELAY = 4
    NEVER = 8


class BodyType(StrEnum):
    """BODY= of MAIL (RFC 6152, RFC 3030)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT_MIME = "8BITMIME"
    BINARY_MIME = "BINARYMIME"


class Return(StrEnum):
    """RET= of MAIL (RFC 3461 §4.3)."""

    UNSPECIFIED = ""
    FULL = "FULL"
    HEADERS = "HDRS"


class RecipientState(IntEnum):
    """Where a recipient of a queued message stands. All but PENDING are final."""

    PENDING = 0
    DELIVERED = 1
    RELAYED = 2
    EXPANDED = 3
    FAILED = 4
    REDIRECTED = 5
    DROPPED = 6


class EnvelopeRecipient(msgspec.Struct, gc=False):
    """One recipient.

    Attributes:
        forward_path: the address that the next hop is told.
        notify: NOTIFY flags.
        original_recipient: ORCPT as "type;address", decoded; "" where the client gave none and nothing was rewritten.
        state: life cycle of this recipient in this message.
        last_error: the last diagnostic, "" before the first.
        delay_notified: a delay DSN went out already.
        mailbox: name of the local mailbox that recipient resolution found, "" for all others.
    """

    forward_path: Mailbox
    notify: Notify = Notify.UNSPECIFIED
    original_recipient: str = ""
    state: RecipientState = RecipientState.PENDING
    last_error: str = ""
    delay_notified: bool = False
    mailbox: str = ""


class Envelope(msgspec.Struct, gc=False):
    """Reverse-path, recipients and the parameters of MAIL."""

    reverse_path: Mailbox = NULL
    recipients: list[EnvelopeRecipient] = msgspec.field(default_factory=list)
    body_type: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    ret: Return = Return.UNSPECIFIED
    envelope_id: str = ""

    def recipient_addresses(self) -> list[str]:
        """Of every recipient, as texts."""
        return [str(one.forward_path) for one in self.recipients]
