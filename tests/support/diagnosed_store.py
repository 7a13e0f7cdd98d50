# SPDX-License-Identifier: MIT
"""The facts that `why` asks for, over a queue store and a real flight recorder; no dispatcher, no DNS."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bridgehead.delivery.situation import message_situation, stored_situation
from bridgehead.diagnosis.facts import AttemptFacts, ConnectorFacts, DnsFacts, HostFacts, RefusalFacts
from bridgehead.diagnosis.scheduler import Situation
from bridgehead.mail.address import Mailbox
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.store import QueuedItem, QueueState
from bridgehead.routing.next_hop import NextHop
from bridgehead.tracking.flight_recorder import FlightRecorder


class DiagnosedStore:
    """Implements `admin.why.ports.Diagnostics`."""

    fqdn = "mx.contoso.com"
    queue_settings = QueueSettings()
    workers = 1

    def __init__(self, now: Callable[[], float]) -> None:
        self.flights = FlightRecorder(Path("nowhere"), now)

    def attempts(self, queue: str = "") -> list[AttemptFacts]:
        return self.flights.attempts(queue)

    def hosts(self, queue: str = "") -> list[HostFacts]:
        return self.flights.hosts(queue)

    def opening(self, session: str) -> Sequence[str]:
        return self.flights.opening(session)

    def refusals(self, source: str = "") -> list[RefusalFacts]:
        return self.flights.refusals(source)

    def connector(self, next_hop: NextHop) -> ConnectorFacts:
        return ConnectorFacts(name=next_hop.connector, origin="bridgehead.toml:41")

    def queue_situation(self, state: QueueState, waits: int) -> Situation:
        return stored_situation(state, waits)

    def message_situation(self, entry: QueuedItem, of_queue: Situation) -> Situation:
        return message_situation(entry, of_queue)

    def origin(self, table: str, setting: str) -> str:
        return "the default"

    async def ask_dns(self, next_hop: NextHop) -> tuple[list[DnsFacts], list[str]]:
        return [], []

    async def open_ports(self, attempts: Sequence[AttemptFacts]) -> list[int]:
        return []

    def nearest_recipient(self, address: Mailbox) -> str:
        return ""
