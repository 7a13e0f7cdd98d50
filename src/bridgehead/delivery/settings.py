# SPDX-License-Identifier: MIT
"""Settings of delivery: connection limits and notifications (Set-TransportService and Set-TransportConfig names)."""

import msgspec

from bridgehead.mail.units import ByteSize, Count, Duration


class DeliverySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is delivered at a time, and what reports look like.

    Attributes:
        max_outbound_connections: connections to all next hops together.
        max_per_domain_outbound_connections: connections to one next hop.
        connect_timeout: one address; the next address is tried after it.
        delay_dsn_enabled: delay reports are sent at all.
        external_dsn_reporting_authority: Reporting-MTA; "" for the server's name.
        external_postmaster_address: From of reports; "" for postmaster@default domain.
        dsn_max_message_attach_size: larger originals are returned as headers only.
        dsn_send_html: reports carry an HTML part beside the plain one.
        outbound_window_bytes: content of fresh messages kept in memory to be delivered without reading it back.
        token_store_key: reference to the key of the store of refresh tokens, 32 octets in base64; "": the file
            oauth-tokens.key in the data directory, made at first use.
    """

    max_outbound_connections: Count = Count(1000)
    max_per_domain_outbound_connections: Count = Count(40)
    connect_timeout: Duration = Duration(seconds=30)
    delay_dsn_enabled: bool = True
    external_dsn_reporting_authority: str = ""
    external_postmaster_address: str = ""
    dsn_max_message_attach_size: ByteSize = ByteSize(10 * 1024**2)
    dsn_send_html: bool = True
    outbound_window_bytes: ByteSize = ByteSize(32 * 1024**2)
    token_store_key: str = ""
