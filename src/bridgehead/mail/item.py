# SPDX-License-Identifier: MIT
"""MailItem: a message in the house - identity, envelope and facts learned on the way (RFC 5321 §2.3.1).

The content travels beside it (`content.py`); the queue's bookkeeping around it (`queues/store.py`).
"""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec

from bridgehead.mail.envelope import Envelope


class Directionality(StrEnum):
    """Exchange's word for where a message came from."""

    INCOMING = "Incoming"
    ORIGINATING = "Originating"
    UNDEFINED = "Undefined"


class Source(StrEnum):
    """Which component brought a message in or acted on it (message tracking `source`)."""

    ADMIN = "ADMIN"
    AGENT = "AGENT"
    DNS = "DNS"
    DSN = "DSN"
    GATEWAY = "GATEWAY"
    PICKUP = "PICKUP"
    POISONMESSAGE = "POISONMESSAGE"
    QUEUE = "QUEUE"
    RESOLVER = "RESOLVER"
    ROUTING = "ROUTING"
    SAFETYNET = "SAFETYNET"
    SMTP = "SMTP"
    STOREDRIVER = "STOREDRIVER"


class Priority(IntEnum):
    """Order of delivery; lower goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Stage(IntEnum):
    """What the categorizer has already done to an item."""

    SUBMITTED = 0
    CATEGORIZED = 1


class TlsRequirement(StrEnum):
    """What a message itself says of TLS (RFC 8689)."""

    NONE = ""
    REQUIRED = "RequireTLS"
    """REQUIRETLS: only over verified TLS, to hosts that promise the same."""
    REPORT = "RequireTLS-Report"
    """A report on such a message: over verified TLS, and with REQUIRETLS where it is offered (§5)."""
    OPTIONAL = "TLS-Required-No"
    """The header field "TLS-Required: No": what the recipient's domain asks of TLS is passed over."""


def says_tls_optional(value: bytes) -> bool:
    """Whether the value of a TLS-Required field is the one that has a meaning (RFC 8689 §3)."""
    return value.strip().lower() == b"no"


SCL_FIELD: Final = b"x-ms-exchange-organization-scl"
BYPASSED_SCL: Final = -1


def read_scl(value: bytes) -> int | None:
    """The spam confidence level that a field's value says: 0 to 9, -1 for mail that is not to be checked; None where it
    says nothing of the kind."""
    text = value.strip()
    if text == b"-1":
        return BYPASSED_SCL
    return int(text) if len(text) == 1 and text.isdigit() else None


class Handling(msgspec.Struct, kw_only=True, frozen=True, gc=False, omit_defaults=True):
    """What an administrator decided about one message.

    Attributes:
        by, reason, at: who suspended it or asked for its removal, why, and when (Unix time).
        action: the recorded action by which that happened.
        rule: the standing rule that holds or failed it, 0 for none.
        with_ndr: a removal that waits for the end of an attempt tells the sender.
        expires_at: Unix time at which it expires instead of when the settings say, 0 for theirs.
    """

    by: str = ""
    reason: str = ""
    at: float = 0.0
    action: int = 0
    rule: int = 0
    with_ndr: bool = False
    expires_at: float = 0.0


class MailItem(msgspec.Struct, kw_only=True, gc=False):
    """One message, or one fork of it.

    Attributes:
        internal_message_id: number of this fork, given by the queue store.
        network_message_id: GUID, the same in all forks.
        received_at: Unix time of acceptance, seconds.
        envelope: who it is from and for.
        size: octets of the content.
        message_id, subject, header_from: header fields for logs and trace, "" where absent, made safe.
        source: which component brought it in.
        connector: "Server\\Connector" that received it, or the component's own name.
        client_ip, client_hostname, helo: of the client that handed it over.
        principal: "anonymous", "user:NAME", "externally-secured", "partner:NAME" or "system".
        authenticated: counts as from inside (rights decide, not the address).
        is_dsn: a report of ours; never reported on.
        has_8bit: content holds octets above 127.
        headers_utf8: header holds UTF-8, so the next hop must offer SMTPUTF8 (RFC 6532).
        stage: how far the categorizer got.
        reference: message id of the message a DSN is about, "" otherwise.
        strict: the content is known to have no bare CR or LF, so that nobody need look again.
        handling: what an administrator decided about it, None for nothing.
        original_from: reverse-path that it came with, where a group's expansion gave it another; "" otherwise.
        tls_requirement: what its sender says of TLS on the way.
        scl: spam confidence level that servers of ours gave it, None for none.
    """

    internal_message_id: int
    network_message_id: str
    received_at: float
    envelope: Envelope
    size: int
    message_id: str = ""
    subject: str = ""
    header_from: str = ""
    source: Source = Source.SMTP
    connector: str = ""
    client_ip: str = ""
    client_hostname: str = ""
    helo: str = ""
    principal: str = "anonymous"
    authenticated: bool = False
    directionality: Directionality = Directionality.INCOMING
    priority: Priority = Priority.NORMAL
    is_dsn: bool = False
    has_8bit: bool = False
    headers_utf8: bool = False
    stage: Stage = Stage.SUBMITTED
    reference: str = ""
    strict: bool = False
    handling: Handling | None = None
    original_from: str = ""
    tls_requirement: TlsRequirement = TlsRequirement.NONE
    scl: int | None = None

    @property
    def expires_at(self) -> float:
        """When an administrator said that it expires, 0 where the settings say."""
        return 0.0 if self.handling is None else self.handling.expires_at
