# SPDX-License-Identifier: MIT
"""Protocol logs: SMTP conversations line by line (Exchange's SMTP Receive and SMTP Send Protocol Log, nine columns).

Callers leave out passwords and content; nothing here knows which lines hold them. Readers tell the two logs apart
by the folder, `SmtpReceive` or `SmtpSend`.
"""

from collections.abc import Callable
from typing import Final

from bridgehead.tracking.csv_line import TimeText, cell
from bridgehead.tracking.log import LogFile, LogKind

FIELDS: Final = (
    "date-time", "connector-id", "session-id", "sequence-number", "local-endpoint", "remote-endpoint", "event", "data",
    "context",
)  # fmt: skip
_NUMBERS: Final = frozenset({"sequence-number"})
RECEIVE_KIND: Final = LogKind("RECV", "SMTP Receive Protocol Log", FIELDS, numbers=_NUMBERS)
SEND_KIND: Final = LogKind("SEND", "SMTP Send Protocol Log", FIELDS, numbers=_NUMBERS)


class ProtocolLogFile:
    """A `ProtocolLog` that writes files.

    Args:
        now: Unix time of a line.
    """

    def __init__(self, log: LogFile, now: Callable[[], float]) -> None:
        self.log = log
        self._now = now
        self._time_text = TimeText()

    def record(
        self, *, connector_id: str, session_id: str, sequence: int, local: str, remote: str, event: str, data: str,
        context: str = "",
    ) -> None:  # fmt: skip
        """Take one line of a conversation; `event` is one of + - > < *."""
        line = (
            f"{self._time_text(self._now())},{cell(connector_id)},{cell(session_id)},{sequence},{cell(local)},"
            f"{cell(remote)},{event},{cell(data)},{cell(context)}\r\n"
        )
        self.log.append(line.encode("utf-8", "replace"))
