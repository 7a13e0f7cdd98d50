# SPDX-License-Identifier: MIT
"""What `why` needs of the running server; `server/diagnostics.py` implements it."""

from collections.abc import Sequence
from typing import Protocol

from bridgehead.diagnosis.facts import AttemptFacts, ConnectorFacts, DnsFacts, HostFacts, RefusalFacts
from bridgehead.diagnosis.scheduler import Situation
from bridgehead.mail.address import Mailbox
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import QueuedItem, QueueState
from bridgehead.routing.next_hop import NextHop


class Diagnostics(Protocol):
    """Facts about destinations, clients and the scheduler. On the event loop; nothing here changes anything."""

    @property
    def fqdn(self) -> str:
        """Our name."""

    @property
    def queue_settings(self) -> QueueSettings:
        """When senders are told, and when messages expire."""

    def attempts(self, queue: str = "") -> list[AttemptFacts]:
        """Kept failures of one queue, of all with "", oldest first."""

    def hosts(self, queue: str = "") -> list[HostFacts]:
        """Addresses that took mail of one queue, of all with ""."""

    def opening(self, session: str) -> Sequence[str]:
        """How a session of ours began in which all went well, as lines; nothing where that is not known any more."""

    def refusals(self, source: str = "") -> list[RefusalFacts]:
        """What one client was refused, all with "", completed with what the configuration says now."""

    def connector(self, next_hop: NextHop) -> ConnectorFacts:
        """The send connector of a queue, with where it is configured."""

    def queue_situation(self, state: QueueState, waits: int) -> Situation:
        """Where the scheduler stands with a queue."""

    def message_situation(self, entry: QueuedItem, of_queue: Situation) -> Situation:
        """Where it stands with one message."""

    @property
    def workers(self) -> int:
        """How many processes move mail and share what is limited for the whole server."""

    def origin(self, table: str, setting: str) -> str:
        """Where a setting is set: "bridgehead.toml:41", or "the default". `table`: "delivery", or for one element of
        an array of tables "send_connectors NAME"."""

    async def ask_dns(self, next_hop: NextHop) -> tuple[list[DnsFacts], list[str]]:
        """What DNS says now about a queue's next hop, and whether each resolver answers at all; a few seconds at most.
        Second: the resolvers."""

    async def open_ports(self, attempts: Sequence[AttemptFacts]) -> list[int]:
        """Submission ports on which the addresses of these attempts, which do not answer on theirs, answer now."""

    def nearest_recipient(self, address: Mailbox) -> str:
        """An address of the directory that is much like this one, "" for none."""
