# SPDX-License-Identifier: MIT
"""Counts of what happened since the start, taken from tracking events on their way to the log."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from bridgehead.mail.item import Source
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.ports import Tracker

_RECEIVE: Final = EventId.RECEIVE
_FAIL: Final = EventId.FAIL
_SMTP: Final = Source.SMTP
_ROUTING: Final = Source.ROUTING


class ObservedTracker:
    """A tracker that shows each event to observers before it passes it on."""

    __slots__ = ("behind", "observers")

    def __init__(self, behind: Tracker) -> None:
        self.behind = behind
        self.observers: list[Callable[[TrackingEvent], None]] = []

    def record(self, event: TrackingEvent) -> None:
        """Show, then record."""
        for observer in tuple(self.observers):
            observer(event)
        self.behind.record(event)


class CountingTracker:
    """A tracker that counts events and recipients and passes each event on.

    Attributes:
        messages, recipients: by event.
        messages_received, picked_up: RECEIVE, and those of them from directories.
        refused_recipients, unresolved_recipients, loop_recipients: whom the categorizer refused, and those of them whom
            nobody knows, or whose forwarding or groups have no end.
    """

    __slots__ = (
        "_behind", "loop_recipients", "messages", "messages_received", "picked_up", "recipients", "refused_recipients",
        "unresolved_recipients",
    )  # fmt: skip

    def __init__(self, behind: Tracker) -> None:
        self._behind = behind
        self.messages_received = self.picked_up = 0
        self.refused_recipients = self.unresolved_recipients = self.loop_recipients = 0
        self.messages: Counter[EventId] = Counter()
        self.recipients: Counter[EventId] = Counter()

    def record(self, event: TrackingEvent) -> None:
        """Count, then record."""
        event_id = event.event_id
        if event_id is _RECEIVE:
            self.messages_received += 1
            self.picked_up += event.source is not _SMTP
        elif event_id is _FAIL and event.source is _ROUTING:
            self._refused(event)
        self.messages[event_id] += 1
        self.recipients[event_id] += event.recipient_count
        self._behind.record(event)

    def observe(self, observer: Callable[[TrackingEvent], None]) -> Callable[[], None]:
        """Show every event to an observer, too, until the function that this gives is called. Events pass as fast as
        ever while there is none."""
        behind = self._behind
        observed = self._behind = behind if isinstance(behind, ObservedTracker) else ObservedTracker(behind)
        observed.observers.append(observer)

        def forget() -> None:
            observed.observers.remove(observer)
            if not observed.observers and self._behind is observed:
                self._behind = observed.behind

        return forget

    def _refused(self, event: TrackingEvent) -> None:
        self.refused_recipients += event.recipient_count
        for status in event.recipient_status:
            self.unresolved_recipients += "RESOLVER.ADR.RecipientNotFound" in status
            self.loop_recipients += "RESOLVER.FWD.Loop" in status or "RESOLVER.GRP.Depth" in status
