# SPDX-License-Identifier: MIT
"""What the categorizer decides by: directory, domains, connectors and limits of one configuration, as one value.

A reload replaces it as a whole, so that no message is decided by half of each.
"""

from bridgehead.categorizer.settings import CategorizerSettings
from bridgehead.directory.lookup import Directory
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.connector_selection import ConnectorSelection, Outcome, Selection
from bridgehead.routing.next_hop import DeliveryType, NextHop


class MailFlow:
    """The configuration of the categorizer.

    Args:
        mailbox_store: name of the store that local mailboxes are in.
    """

    __slots__ = ("accepted_domains", "connectors", "directory", "mailboxes", "settings")

    def __init__(
        self, *, directory: Directory, accepted_domains: AcceptedDomains, connectors: ConnectorSelection,
        mailbox_store: str, settings: CategorizerSettings,
    ) -> None:  # fmt: skip
        self.directory = directory
        self.accepted_domains = accepted_domains
        self.connectors = connectors
        self.settings = settings
        next_hop = NextHop(DeliveryType.MAILBOX, mailbox_store, mailbox_store)
        self.mailboxes = Selection(Outcome.CHOSEN, next_hop=next_hop)
        """The "selection" of every recipient that has a mailbox here."""
