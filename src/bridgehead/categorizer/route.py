# SPDX-License-Identifier: MIT
"""The next hop of a resolved recipient: our mailboxes, or what connector selection says for its domain."""

from bridgehead.categorizer.mail_flow import MailFlow
from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.routing.connector_selection import Selection


def route(recipient: EnvelopeRecipient, size: int, mail_flow: MailFlow) -> Selection:
    """Where a recipient's copy of `size` octets goes. The outcome says whether there is a way (pure, cached)."""
    if recipient.mailbox:
        return mail_flow.mailboxes
    return mail_flow.connectors.select(recipient.forward_path.domain_key, size)
