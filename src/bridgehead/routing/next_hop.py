# SPDX-License-Identifier: MIT
"""The key of a delivery queue: where a message goes next (Exchange's NextHopSolutionKey)."""

from enum import StrEnum

import msgspec

from bridgehead.mail.item import TlsRequirement


class DeliveryType(StrEnum):
    """Kinds of next hop, named as Exchange names them."""

    UNDEFINED = "Undefined"
    DNS_CONNECTOR = "DnsConnectorDelivery"
    SMART_HOST = "SmartHostConnectorDelivery"
    MAILBOX = "SmtpDeliveryToMailbox"
    NON_SMTP_GATEWAY = "NonSmtpGatewayDelivery"
    UNREACHABLE = "Unreachable"


class NextHop(msgspec.Struct, frozen=True, array_like=True, cache_hash=True):
    """Delivery type, domain and connector. Equal keys share one delivery queue.

    Attributes:
        domain: recipient domain as A-labels (DNS connector), list of smart hosts (smart host), store name (mailbox),
            connector name (drop directory).
        connector: name of the send connector, foreign connector or mailbox store.
        tls_requirement: of all its messages: they share no connection with messages that ask for less, or more.
    """

    delivery_type: DeliveryType
    domain: str
    connector: str
    tls_requirement: TlsRequirement = TlsRequirement.NONE

    def __str__(self) -> str:
        """The queue's identity as commands show and take it."""
        name = f"{self.connector}/{self.domain}" if self.connector else self.domain
        return f"{name} ({self.tls_requirement.value})" if self.tls_requirement else name


def with_requirement(next_hop: NextHop, requirement: TlsRequirement) -> NextHop:
    """The queue for messages that say something of TLS: one of its own where they leave by SMTP, so that they never
    meet a connection that was opened for others."""
    if next_hop.delivery_type not in (DeliveryType.DNS_CONNECTOR, DeliveryType.SMART_HOST):
        return next_hop
    return msgspec.structs.replace(next_hop, tls_requirement=requirement)
