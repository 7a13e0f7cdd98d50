# SPDX-License-Identifier: MIT
"""Counts of what happened since the start, taken from tracking events on their way to the log."""

from collections import Counter
from typing import Final

from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.ports import Tracker

_RECEIVE: Final = EventId.RECEIVE


class CountingTracker:
    """A tracker that counts recipients by event and passes each event on."""

    __slots__ = ("_behind", "messages_received", "recipients")

    def __init__(self, behind: Tracker) -> None:
        self._behind = behind
        self.messages_received = 0
        self.recipients: Counter[EventId] = Counter()

    def record(self, event: TrackingEvent) -> None:
        """Count, then record."""
        event_id = event.event_id
        if event_id is _RECEIVE:
            self.messages_received += 1
        self.recipients[event_id] += event.recipient_count
        self._behind.record(event)
