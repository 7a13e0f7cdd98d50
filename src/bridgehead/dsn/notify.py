# SPDX-License-Identifier: MIT
"""Who is told of what (RFC 3461 §4.1, §5.2, §6.2; RFC 5321 §6.1; RFC 3464 §2).

When a delay is worth a report is decided by delivery; here stands only whether this sender is told of this outcome.
"""

from collections.abc import Sequence
from typing import Final

from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import EnvelopeRecipient, Notify
from bridgehead.mail.item import MailItem

_WANTED: Final = {
    Action.FAILED: Notify.FAILURE,
    Action.DELAYED: Notify.DELAY,
    Action.DELIVERED: Notify.SUCCESS,
    Action.RELAYED: Notify.SUCCESS,
    Action.EXPANDED: Notify.SUCCESS,
}
_UNSPECIFIED: Final = Notify.FAILURE | Notify.DELAY


def may_be_reported(item: MailItem) -> bool:
    """False for reports and for anything else with the null reverse-path: those are never answered (RFC 5321 §6.1)."""
    return not item.is_dsn and not item.envelope.reverse_path.is_null


def is_told(recipient: EnvelopeRecipient, status: DeliveryStatus) -> bool:
    """Whether the sender is told of this outcome for this recipient.

    A recipient relayed to a host that speaks DSN is that host's to report (RFC 3461 §5.2.1); a delay is told once.
    """
    notify = recipient.notify or _UNSPECIFIED
    if notify & Notify.NEVER or not notify & _WANTED[status.action]:
        return False
    if status.action is Action.DELAYED:
        return not recipient.delay_notified
    return not (status.dsn_passed_on and status.action is Action.RELAYED)


def told(
    item: MailItem, statuses: Sequence[tuple[EnvelopeRecipient, DeliveryStatus]]
) -> list[tuple[EnvelopeRecipient, DeliveryStatus]]:
    """The outcomes of one message that its sender is told of, in order; empty where nobody is told anything."""
    if not may_be_reported(item):
        return []
    return [(who, status) for who, status in statuses if is_told(who, status)]
