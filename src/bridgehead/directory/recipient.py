# SPDX-License-Identifier: MIT
"""What the directory knows of a recipient or a group."""

from enum import StrEnum

import msgspec

from bridgehead.mail.address import Mailbox
from bridgehead.mail.units import UNLIMITED


class RecipientType(StrEnum):
    """Exchange's object types that matter to mail flow."""

    MAILBOX = "Mailbox"
    MAIL_USER = "MailUser"
    MAIL_CONTACT = "MailContact"
    GROUP = "DistributionGroup"


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """One directory object.

    Attributes:
        name: unique name; for a mailbox also the name of its Maildir or LMTP user unless `mailbox` says otherwise.
        primary_smtp_address: what recipients are rewritten to.
        email_addresses: all proxy addresses, the primary among them.
        external_email_address: mail user or contact: where mail really goes.
        forwarding_address: mail goes there instead, or also with `deliver_to_mailbox_and_forward`.
        members: group: addresses or names of members, groups among them.
        max_receive_size: octets.
        require_sender_authentication: only mail from inside (authenticated) is taken.
        accept_messages_only_from, reject_messages_from: addresses or names of senders or groups.
        report_to_originator, report_to_manager, managed_by: group receipts.
    """

    name: str
    type: RecipientType
    primary_smtp_address: Mailbox
    email_addresses: tuple[Mailbox, ...] = ()
    display_name: str = ""
    mailbox: str = ""
    external_email_address: Mailbox | None = None
    forwarding_address: Mailbox | None = None
    deliver_to_mailbox_and_forward: bool = False
    members: tuple[str, ...] = ()
    max_receive_size: int = UNLIMITED
    require_sender_authentication: bool = False
    accept_messages_only_from: tuple[str, ...] = ()
    reject_messages_from: tuple[str, ...] = ()
    report_to_originator: bool = True
    report_to_manager: bool = False
    managed_by: str = ""
