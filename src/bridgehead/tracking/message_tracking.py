# SPDX-License-Identifier: MIT
"""The message tracking log: tracking events as lines of 30 columns (Exchange's Message Tracking Log, schema 15.02).

Written for every event of every message, so a line is made by one format string and examined once; only a line
that needs quoting is made again cell by cell. Files are the business of `log.py`; reading them of `trace`.
"""

from typing import Final

from bridgehead.tracking.csv_line import TimeText, cell
from bridgehead.tracking.events import TrackingEvent
from bridgehead.tracking.log import VERSION, LogFile, LogKind

FIELDS: Final = (
    "date-time", "client-ip", "client-hostname", "server-ip", "server-hostname", "source-context", "connector-id",
    "source", "event-id", "internal-message-id", "message-id", "network-message-id", "recipient-address",
    "recipient-status", "total-bytes", "recipient-count", "related-recipient-address", "reference", "message-subject",
    "sender-address", "return-path", "message-info", "directionality", "tenant-id", "original-client-ip",
    "original-server-ip", "custom-data", "transport-traffic-type", "log-id", "schema-version",
)  # fmt: skip
"""The 30 columns in order; consumers go by position."""

KIND: Final = LogKind(
    "MSGTRK", "Message Tracking Log", FIELDS,
    numbers=frozenset({"internal-message-id", "total-bytes", "recipient-count"}),
    lists=frozenset({"recipient-address", "recipient-status"}),
)  # fmt: skip

_TAIL: Final = f",Email,,{VERSION}\r\n".encode()
_SEPARATORS: Final = len(FIELDS) - 1 - 3
"""Commas before the tail where no cell holds one."""
_CONTROLS: Final = bytes(range(32)) + b"\x7f"


class MessageTrackingLog:
    """A `Tracker` that writes the message tracking log.

    Args:
        log: where the lines go.
        subject_logging_enabled: MessageTrackingLogSubjectLoggingEnabled.
    """

    __slots__ = ("_append", "_time_text", "log", "subject_logging_enabled")

    def __init__(self, log: LogFile, *, subject_logging_enabled: bool = True) -> None:
        self.log = log
        self._append = log.append
        self.subject_logging_enabled = subject_logging_enabled
        self._time_text = TimeText()

    def record(self, event: TrackingEvent) -> None:
        """Take one event."""
        e = event
        recipients, statuses = e.recipient_address, e.recipient_status
        recipient_text = recipients[0] if len(recipients) == 1 else ";".join(recipients)
        status_text = statuses[0] if len(statuses) == 1 else _joined(statuses)
        subject = e.message_subject if self.subject_logging_enabled else ""
        cells = [
            self._time_text(e.time), e.client_ip, e.client_hostname, e.server_ip, e.server_hostname, e.source_context,
            e.connector_id, e.source, e.event_id, str(e.internal_message_id), e.message_id, e.network_message_id,
            recipient_text, status_text, str(e.total_bytes), str(e.recipient_count), e.related_recipient_address,
            e.reference, subject, e.sender_address, e.return_path, e.message_info, e.directionality, "",
            e.original_client_ip, e.original_server_ip, e.custom_data,
        ]  # fmt: skip
        line = ",".join(cells)
        data = line.encode("utf-8", "replace")
        if data.translate(None, _CONTROLS) != data:
            data = ",".join(map(cell, cells)).encode("utf-8", "replace")
        elif line.count(",") != _SEPARATORS or '"' in line:
            quoted = [text if "," not in text and '"' not in text else cell(text) for text in cells]
            data = ",".join(quoted).encode("utf-8", "replace")
        self._append(data + _TAIL)


def _joined(statuses: list[str]) -> str:
    """Several statuses in one cell, in the order of the recipients: what parts them may stand in none of them."""
    return ";".join(status.replace(";", ",") for status in statuses)


class NoTracking:
    """A `Tracker` for MessageTrackingLogEnabled = false."""

    def record(self, event: TrackingEvent) -> None:
        """Forget the event."""
