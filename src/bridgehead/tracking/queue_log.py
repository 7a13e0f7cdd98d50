# SPDX-License-Identifier: MIT
"""The queue log: every queue at an interval, as one line each (Exchange's folder QueueViewer).

Microsoft documents folder and limits of its queue log, not its columns; these are the properties that Get-Queue shows.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from bridgehead.tracking.csv_line import TimeText, cell
from bridgehead.tracking.log import LogFile, LogKind

FIELDS: Final = (
    "Timestamp", "SequenceNumber", "Identity", "QueueType", "Status", "DeliveryType", "NextHopDomain",
    "NextHopConnector", "MessageCount", "DeferredMessageCount", "SuspendedMessageCount", "TotalBytes",
    "OldestReceived", "RetryCount", "FirstRetryTime", "LastRetryTime", "NextRetryTime", "LastError",
)  # fmt: skip
KIND: Final = LogKind(
    "QUEUELOG", "Queue Log", FIELDS,
    numbers=frozenset({
        "SequenceNumber", "MessageCount", "DeferredMessageCount", "SuspendedMessageCount", "TotalBytes", "RetryCount",
    }),
)  # fmt: skip
QUEUES_MOST: Final = 1000
"""Queues that one snapshot shows, those with most messages first."""


class QueueDigest(msgspec.Struct, frozen=True, kw_only=True):
    """One queue at one moment. Times are Unix seconds, 0 for never."""

    identity: str
    queue_type: str
    status: str
    delivery_type: str = ""
    next_hop_domain: str = ""
    next_hop_connector: str = ""
    message_count: int = 0
    deferred: int = 0
    suspended: int = 0
    total_bytes: int = 0
    oldest_received: float = 0.0
    retry_count: int = 0
    first_retry: float = 0.0
    last_retry: float = 0.0
    next_retry: float = 0.0
    last_error: str = ""


class QueueLogFile:
    """Writes snapshots of all queues."""

    def __init__(self, log: LogFile) -> None:
        self.log = log
        self._sequence = 0
        self._time_text = TimeText()

    def record(self, now: float, queues: Sequence[QueueDigest]) -> None:
        """Take a snapshot; one without queues leaves a line, too, so that nobody takes silence for an idle server."""
        self._sequence += 1
        for queue in queues or [QueueDigest(identity="", queue_type="", status="Empty")]:
            self.log.append((",".join(map(cell, self._cells(now, queue))) + "\r\n").encode("utf-8", "replace"))

    def _cells(self, now: float, q: QueueDigest) -> tuple[str, ...]:
        return (
            self._time_text(now), str(self._sequence), q.identity, q.queue_type, q.status, q.delivery_type,
            q.next_hop_domain, q.next_hop_connector, str(q.message_count), str(q.deferred), str(q.suspended),
            str(q.total_bytes), self._when(q.oldest_received), str(q.retry_count), self._when(q.first_retry),
            self._when(q.last_retry), self._when(q.next_retry), q.last_error,
        )  # fmt: skip

    def _when(self, time: float) -> str:
        return TimeText()(time) if time else ""
