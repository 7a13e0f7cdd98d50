# SPDX-License-Identifier: MIT
"""The connectivity log: outbound connections, not messages (Exchange's Transport Connectivity Log, six columns)."""

from collections.abc import Callable
from typing import Final

from bridgehead.tracking.csv_line import TimeText, cell
from bridgehead.tracking.log import LogFile, LogKind

FIELDS: Final = ("date-time", "session", "source", "destination", "direction", "description")
KIND: Final = LogKind("CONNECTLOG", "Transport Connectivity Log", FIELDS)


class ConnectivityLogFile:
    """A `ConnectivityLog` that writes files.

    Args:
        now: Unix time of a line.
    """

    def __init__(self, log: LogFile, now: Callable[[], float]) -> None:
        self.log = log
        self._now = now
        self._time_text = TimeText()

    def record(self, *, session: str, source: str, destination: str, direction: str, description: str) -> None:
        """Take one line; `direction` is + (connect), > (progress) or - (disconnect)."""
        line = (
            f"{self._time_text(self._now())},{cell(session)},{cell(source)},{cell(destination)},{direction},"
            f"{cell(description)}\r\n"
        )
        self.log.append(line.encode("utf-8", "replace"))


class NoConnectivityLog:
    """A `ConnectivityLog` for ConnectivityLogEnabled = false."""

    def record(self, *, session: str, source: str, destination: str, direction: str, description: str) -> None:
        """Forget the line."""
