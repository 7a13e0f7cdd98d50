# SPDX-License-Identifier: MIT
"""What the running server does around its queue store: the Safety Net is opened, tidied and watched, and messages that
the store could not read are tracked."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridgehead.mail.item import Source
from bridgehead.net.clock import Clock
from bridgehead.queues.fairness import Weights
from bridgehead.queues.safety_net.net import SafetyNet
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import QueuedItem
from bridgehead.tracking.alarms import Alarms, Severity
from bridgehead.tracking.events import EventId, event_for
from bridgehead.tracking.ports import Tracker

if TYPE_CHECKING:
    from bridgehead.server.app import Application

TIDY_SECONDS: Final = 30.0
ALARM: Final = "safety_net"
_REMEDY: Final = "free space on the drive of the queue, or see bridgehead safety-net status"


def make_store(app: "Application", settings: QueueSettings, folder: Path) -> tuple[SqliteQueueStore, SafetyNet]:
    """The queue store of the server, and its Safety Net."""
    net = SafetyNet(folder, settings, app.clock.now, app.clock.monotonic)

    def write_first() -> None:
        """No message leaves the queue before the log says where it went, and no large content before the net has it."""
        app.logs.flush_message_tracking()
        net.flush_due()

    store = SqliteQueueStore(
        folder, before_commit=write_first, on_commit=app.metrics.committed, weights=Weights(settings.weights),
        set_aside=lambda entry: track_set_aside(entry, app.tracker, app.clock),
        numbers=app.place.numbers,
    )  # fmt: skip
    return store, net


def mind_safety_net(net: SafetyNet, alarms: Alarms) -> None:
    """Drop what is too old, and say whether mail can be kept. To be called at intervals."""
    net.tidy_now_and_then()
    if net.trouble and net.enabled:
        alarms.raise_(ALARM, Severity.WARNING, f"Safety Net: {net.trouble}; it is delivered all the same", _REMEDY)
    else:
        alarms.clear(ALARM)


def track_set_aside(entry: QueuedItem, tracker: Tracker, clock: Clock) -> None:
    """The store could not read an entry and moved it to Poison."""
    recipients = entry.item.envelope.recipient_addresses()
    event = event_for(entry.item, EventId.POISONMESSAGE, Source.POISONMESSAGE, clock.now(), recipients)
    event.source_context = entry.last_error
    tracker.record(event)
