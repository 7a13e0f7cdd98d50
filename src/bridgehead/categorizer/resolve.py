# SPDX-License-Identifier: MIT
"""Recipient resolution, top level: limits of the whole message, then each recipient's place in the directory.

Most recipients are a mailbox without conditions or an address elsewhere, and are settled here. Groups, forwarding,
contacts and restrictions are followed in `expand.py`. Nothing in the message changes before all look-ups have been
answered, so that a directory that fails half way leaves the message as it was.
"""

from collections.abc import Iterator
from typing import Final

from bridgehead.categorizer.expand import Expansion
from bridgehead.categorizer.mail_flow import MailFlow
from bridgehead.categorizer.refusals import TOO_LARGE_TO_RECEIVE, TOO_LARGE_TO_SEND, TOO_MANY_RECIPIENTS
from bridgehead.categorizer.resolution import Copy, Resolution
from bridgehead.categorizer.restrict import SYSTEM_PRINCIPAL
from bridgehead.categorizer.settings import CategorizerSettings
from bridgehead.directory.recipient import Recipient, RecipientType
from bridgehead.mail.delivery_status import DeliveryStatus
from bridgehead.mail.item import MailItem, Stage
from bridgehead.routing.settings import DomainType

NO_STEPS: Final[Iterator[None]] = iter(())
"""Everything is resolved already."""


def resolve(item: MailItem, mail_flow: MailFlow, now: float) -> tuple[Resolution, Iterator[None]]:
    """Find out where every pending recipient really is: a resolution, and the steps after which it is complete. Both
    raise DirectoryUnavailable, and then nothing has changed."""
    envelope, settings = item.envelope, mail_flow.settings
    recipients = envelope.recipients
    main = Copy(envelope.reverse_path, [], [])
    resolution = Resolution(main, None, [])
    first_time = item.stage is Stage.SUBMITTED
    if first_time and len(recipients) > settings.max_recipient_envelope_limit:
        main.results = [(recipient, TOO_MANY_RECIPIENTS) for recipient in recipients if not recipient.state]
        return resolution, NO_STEPS
    too_large = _too_large(item, settings) if first_time else None
    if too_large is not None and not item.authenticated:
        main.results = [(recipient, too_large) for recipient in recipients if not recipient.state]
        return resolution, NO_STEPS
    if len(recipients) == 1 and too_large is None and not recipients[0].state:
        recipient = recipients[0]
        address = recipient.forward_path
        found = mail_flow.directory.find(address)
        if found is None:
            domain = mail_flow.accepted_domains.find(address.domain_key)
            if address.domain and (domain is None or domain.domain_type is not DomainType.AUTHORITATIVE):
                recipient.mailbox = ""
                main.pending = recipients
                return resolution, NO_STEPS
        elif found.primary_smtp_address == address and is_plain_mailbox(found, item.size):
            recipient.mailbox = found.mailbox or found.name
            main.pending = recipients
            return resolution, NO_STEPS
    expansion = Expansion(item, mail_flow, resolution, too_large, now)
    return resolution, expansion.steps(recipients, restricted=first_time)


def is_plain_mailbox(found: Recipient, size: int) -> bool:
    """True for a mailbox that takes a message of this size from anybody and keeps it."""
    return (
        found.type is RecipientType.MAILBOX
        and found.forwarding_address is None
        and size <= found.max_receive_size
        and not found.require_sender_authentication
        and not found.accept_messages_only_from
        and not found.reject_messages_from
    )


def _too_large(item: MailItem, settings: CategorizerSettings) -> DeliveryStatus | None:
    """The organisation's limit that the message exceeds. Mail from inside to a mailbox here is exempt (`expand.py`)."""
    if item.is_dsn or item.principal == SYSTEM_PRINCIPAL:
        return None
    if item.authenticated:
        return TOO_LARGE_TO_SEND if item.size > settings.max_send_size else None
    return TOO_LARGE_TO_RECEIVE if item.size > settings.max_receive_size else None
