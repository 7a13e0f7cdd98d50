# SPDX-License-Identifier: MIT
"""A log's lines once more as JSON lines, one object for each, beside the CSV file: `PREFIXyyyymmdd-nnnn.jsonl`.

Made from the finished CSV lines by the thread that writes the logs, so whoever records an event does not pay for it.
Names are the columns in snake case, the time is always `timestamp`; empty columns are left out, counts are numbers,
and columns that hold several values joined by ; are lists.
"""

import csv
import re
import threading
from collections.abc import Sequence
from typing import Final

import msgspec

from bridgehead.mail.limits import LOG_BACKLOG_BYTES
from bridgehead.tracking.log import LogFile, LogKind

_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TIMES: Final = frozenset({"date-time", "Timestamp"})


def name_of(column: str) -> str:
    """A column's name in JSON."""
    return "timestamp" if column in _TIMES else _CAPITAL.sub("_", column).lower().replace("-", "_")


def json_kind(kind: LogKind) -> LogKind:
    """The kind of files that hold another kind's lines as JSON."""
    return LogKind(kind.prefix, kind.log_type, (), suffix="jsonl")


class JsonLines:
    """Turns lines of one kind into JSON and hands them to their own file.

    Args:
        kind: of the CSV lines.
        file: takes the JSON lines.
    """

    def __init__(self, kind: LogKind, file: LogFile) -> None:
        self.file = file
        self.lost_lines = 0
        self._log = kind.prefix
        self._columns = [(name_of(one), one in kind.numbers, one in kind.lists) for one in kind.fields]
        self._encode = msgspec.json.Encoder().encode
        self._taken: list[bytes] = []
        self._bytes = 0
        self._lock = threading.Lock()

    def take(self, lines: Sequence[bytes]) -> None:
        """Take finished CSV lines. From any thread, at the price of keeping them; those beyond the bound are lost."""
        size = sum(map(len, lines))
        with self._lock:
            if self._bytes + size > LOG_BACKLOG_BYTES:
                self.lost_lines += len(lines)
                return
            self._taken += lines
            self._bytes += size

    def flush(self) -> None:
        """Write what was taken. From one thread at a time; never raises."""
        with self._lock:
            taken, self._taken, self._bytes = self._taken, [], 0
        texts = (line.decode("utf-8", "replace").rstrip("\r\n") for line in taken)
        for row in csv.reader(texts):
            self.file.append(self._object(row) + b"\n")
        self.file.flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        self.file.close()

    def _object(self, row: list[str]) -> bytes:
        values: dict[str, object] = {"log": self._log}
        length = 0
        for (name, is_number, is_list), text in zip(self._columns, row, strict=False):
            if not text:
                continue
            if is_number and text.lstrip("-").isdecimal():
                values[name] = int(text)
            elif is_list:
                # Lists of one line have one length; a single value may hold a ; of its own.
                parts = text.split(";")
                values[name] = parts if length in (0, len(parts)) else [text]
                length = length or len(parts)
            else:
                values[name] = text
        return self._encode(values)
