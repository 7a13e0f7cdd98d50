# SPDX-License-Identifier: MIT
"""What a client connection tells its driver, and the transaction it works on."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from bridgehead.mail.address import Mailbox
from bridgehead.mail.delivery_status import DeliveryStatus
from bridgehead.mail.envelope import BodyType, EnvelopeRecipient, Return
from bridgehead.mail.reply import Reply


class Extensions(msgspec.Struct, frozen=True, kw_only=True):
    """What the remote server offers (RFC 5321 §4.1.1.1). Nothing after HELO, nothing after STARTTLS until EHLO again.

    Attributes:
        size: None where SIZE is not offered, 0 where it is without a limit, else octets (RFC 1870).
        auth: mechanisms, upper case (RFC 4954).
        mail_max, rcpt_max, rcpt_domain_max: LIMITS (RFC 9422), 0 where not declared.
    """

    pipelining: bool = False
    size: int | None = None
    eight_bit_mime: bool = False
    binary_mime: bool = False
    chunking: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    require_tls: bool = False
    auth: tuple[str, ...] = ()
    mail_max: int = 0
    rcpt_max: int = 0
    rcpt_domain_max: int = 0


NO_EXTENSIONS: Final = Extensions()


class Transaction(msgspec.Struct, kw_only=True):
    """One mail transaction: what is asked, and what became of each recipient.

    Attributes:
        reverse_path: as sent; in A-labels unless `smtputf8`.
        recipients: whose `forward_path` is sent, likewise.
        size: octets declared with SIZE=, 0 declares nothing.
        body: declared with BODY=, None declares nothing.
        smtputf8: the SMTPUTF8 parameter is sent.
        require_tls: the REQUIRETLS parameter is sent (RFC 8689).
        ret, envelope_id: sent where the server offers DSN.
        chunked: content goes by BDAT instead of DATA.
        tag: the driver's own.
        statuses: one for each recipient when it is done; None for those still undecided.
        accepted: positions of the recipients that the server accepted.
        begun: a reply to it was read.
        mail_accepted: MAIL was answered 2yz and nothing ended the transaction on the server yet.
        content_asked: the server waits for content, or has had it.
        refusal: what all recipients without a status of their own get.
        committed: all content was sent; from here on a lost connection leaves the outcome in doubt.
        reply: the reply that ended it, as one line for logs; "" where none came.
    """

    reverse_path: Mailbox
    recipients: Sequence[EnvelopeRecipient]
    size: int = 0
    body: BodyType | None = None
    smtputf8: bool = False
    require_tls: bool = False
    ret: Return = Return.UNSPECIFIED
    envelope_id: str = ""
    chunked: bool = False
    tag: object = None
    statuses: list[DeliveryStatus | None] = []
    accepted: list[int] = []
    answered: int = 0
    begun: bool = False
    mail_accepted: bool = False
    content_asked: bool = False
    committed: bool = False
    refusal: DeliveryStatus | None = None
    reply: str = ""


class SaslClient(Protocol):
    """One SASL exchange, seen from the client (RFC 4422)."""

    @property
    def mechanism(self) -> str: ...

    def initial_response(self) -> bytes | None:
        """What goes with the AUTH command, None where the server must speak first."""

    def respond(self, challenge: bytes) -> bytes:
        """The answer to a challenge. Raises ValueError where the server's words are not to be trusted."""


class HelloDone(msgspec.Struct, frozen=True):
    """EHLO, LHLO or HELO was accepted."""

    extensions: Extensions
    reply: Reply


class Refused(msgspec.Struct, frozen=True):
    """The greeting or hello was not positive: this host does not want us now."""

    reply: Reply


class TlsAccepted(msgspec.Struct, frozen=True):
    """The server waits for the TLS handshake."""


class TlsRefused(msgspec.Struct, frozen=True):
    """STARTTLS was answered 4yz or 5yz."""

    reply: Reply


class Authenticated(msgspec.Struct, frozen=True):
    reply: Reply


class AuthenticationFailed(msgspec.Struct, frozen=True):
    reply: Reply


class Answered(msgspec.Struct, frozen=True):
    """The reply to a single command (`ClientConnection.ask`)."""

    reply: Reply


class ContentWanted(msgspec.Struct, frozen=True):
    """The server waits for content. Answer with `send_content`."""

    transaction: Transaction


class TransactionDone(msgspec.Struct, frozen=True):
    """Every recipient has its status."""

    transaction: Transaction


class Closing(msgspec.Struct, frozen=True):
    """The server said 421, or answered QUIT: the connection is to be closed. Transactions that are open and not yet
    answered come back from `connection_lost`."""

    reply: Reply


ClientEvent = (
    HelloDone | Refused | TlsAccepted | TlsRefused | Authenticated | AuthenticationFailed | Answered | ContentWanted
    | TransactionDone | Closing
)  # fmt: skip
