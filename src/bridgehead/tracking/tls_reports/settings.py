# SPDX-License-Identifier: MIT
"""Settings of TLS reports (RFC 8460); Exchange on premises has none."""

import msgspec

from bridgehead.mail.units import Duration


class TlsReportSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reports on how TLS went, ours to others and theirs to us.

    Attributes:
        sending_enabled: send a report a day to each domain that asks for one.
        organization_name: whose reports they are; "" for the default accepted domain.
        contact_info: whom to ask about them; "" for the sender.
        sender_address: who they are from; "" for postmaster at the default accepted domain.
        report_address: mailbox of ours that reports of others go to: what is delivered there is read, too.
        max_age: how long results and reports are kept.
        https_ca_file: trust anchors of servers that take reports over HTTPS, PEM; "" for the system's.
    """

    sending_enabled: bool = True
    organization_name: str = ""
    contact_info: str = ""
    sender_address: str = ""
    report_address: str = ""
    max_age: Duration = Duration(days=30)
    https_ca_file: str = ""
