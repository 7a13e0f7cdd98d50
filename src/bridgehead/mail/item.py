# SPDX-License-Identifier: MIT
"""MailItem: a message in the house - identity, envelope and facts learned on the way (RFC 5321 §2.3.1).

The content travels beside it (`content.py`); the queue's bookkeeping around it (`queues/store.py`).
"""

from enum import IntEnum, StrEnum

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
