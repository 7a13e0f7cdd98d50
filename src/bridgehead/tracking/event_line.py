# SPDX-License-Identifier: MIT
"""Lines of message tracking logs, ours or Exchange's, taken apart: columns are found by each file's own `#Fields`.

Also how text is compared wherever logs are searched: `fold`. Finding lines is the business of `trace`.
"""

import csv
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from bridgehead.tracking.message_tracking import FIELDS

_NEEDED: Final = ("date-time", "event-id")
HEADER_BYTES: Final = 4096
"""Where `#Fields` must stand."""
_is_stamp: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z").fullmatch
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class FoundEvent(msgspec.Struct, frozen=True, rename="kebab", gc=False):
    """One line of a tracking log. Names and order are Exchange's; columns that a file lacks are ""."""

    date_time: str
    client_ip: str = ""
    client_hostname: str = ""
    server_ip: str = ""
    server_hostname: str = ""
    source_context: str = ""
    connector_id: str = ""
    source: str = ""
    event_id: str = ""
    internal_message_id: str = ""
    message_id: str = ""
    network_message_id: str = ""
    recipient_address: list[str] = []
    recipient_status: list[str] = []
    total_bytes: str = ""
    recipient_count: str = ""
    related_recipient_address: str = ""
    reference: str = ""
    message_subject: str = ""
    sender_address: str = ""
    return_path: str = ""
    message_info: str = ""
    directionality: str = ""
    tenant_id: str = ""
    original_client_ip: str = ""
    original_server_ip: str = ""
    custom_data: str = ""
    transport_traffic_type: str = ""
    log_id: str = ""
    schema_version: str = ""

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.date_time)

    @property
    def milliseconds(self) -> int:
        """Unix time in whole milliseconds."""
        return milliseconds(self.date_time)

    @property
    def key(self) -> str:
        """What all events of one message share, folded: its network message id, else its Message-ID."""
        return fold(self.network_message_id or self.message_id) or f"{self.date_time} {self.source_context}"

    @property
    def origin(self) -> str:
        """Address of the client that handed the message in, "" where none did."""
        return self.original_client_ip or (self.client_ip if self.event_id in ("RECEIVE", "SUBMIT") else "")

    @property
    def facts(self) -> dict[str, str]:
        """The `S:name=value` pairs of custom-data."""
        pairs = (part.partition("=") for part in self.custom_data.split(";"))
        return {name.strip().removeprefix("S:"): value for name, sign, value in pairs if sign}


class LineFormat:
    """How the lines of one file are to be read.

    Args:
        columns: their names in the order of the file.
    """

    __slots__ = ("_in_order", "_indexes", "_message", "_network", "_time", "columns")

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns
        self._indexes = [columns.index(name) if name in columns else None for name in FIELDS]
        self._in_order = columns == list(FIELDS)
        self._time = columns.index("date-time")
        self._network = columns.index("network-message-id") if "network-message-id" in columns else -1
        self._message = columns.index("message-id") if "message-id" in columns else -1

    @classmethod
    def of_header(cls, head: bytes) -> "LineFormat | None":
        """The format that a file's first bytes announce; None where they name no column that we need."""
        at = head.find(b"#Fields:", 0, HEADER_BYTES)
        end = head.find(b"\n", at)
        if at < 0 or end < 0:
            return None
        columns = [name.strip().lower() for name in head[at + 8 : end].decode("utf-8", "replace").split(",")]
        return cls(columns) if all(name in columns for name in _NEEDED) else None

    def parse(self, line: bytes) -> FoundEvent | str:
        """An event, or in words what is wrong with the line."""
        text = line.decode("utf-8", "replace")
        cells = text.split(",")
        if '"' in text:
            try:
                cells = next(csv.reader((text,), strict=True))
            except csv.Error as error:
                return f"is no CSV: {error}"
        if len(cells) != len(self.columns):
            return f"has {len(cells)} columns where {len(self.columns)} were expected"
        if not _is_stamp(cells[self._time]):
            return "does not begin with a time such as 2026-11-23T09:00:01.123Z"
        if not self._in_order:
            cells = [cells[index] if index is not None else "" for index in self._indexes]
        return _event(cells)

    def key(self, line: bytes) -> str:
        """`FoundEvent.key` of a line without making an event of it where that is not needed; "" for a bad line."""
        if b'"' not in line and self._network >= 0 and line.count(b",") == len(self.columns) - 1:
            cells = line.split(b",", max(self._network, self._message) + 1)
            key = cells[self._network] or (cells[self._message] if self._message >= 0 else b"")
            if key:
                return fold(key.decode("utf-8", "replace"))
        event = self.parse(line)
        return "" if isinstance(event, str) else event.key

    def milliseconds(self, line: bytes) -> int:
        """Time of a line in milliseconds without making an event of it where that is not needed; 0 for a bad line."""
        if self._time == 0 and b'"' not in line:
            return stamp_milliseconds(line[: line.find(b",")])
        event = self.parse(line)
        return 0 if isinstance(event, str) else event.milliseconds


def _event(cells: list[str]) -> FoundEvent:
    recipients, status = cells[12], cells[13]
    split_recipients = recipients.split(";") if recipients else []
    # Replies hold semicolons, too: what is said of one recipient is not taken apart.
    split_status = ([status] if len(split_recipients) == 1 else status.split(";")) if status else []
    return FoundEvent(*cells[:12], split_recipients, split_status, *cells[14:])  # type: ignore[call-arg, arg-type]


def cells_of(event: FoundEvent) -> list[str]:
    """The 30 cells of an event's line, in order."""
    values = msgspec.structs.astuple(event)
    return [";".join(value) if isinstance(value, list) else value for value in values]


@lru_cache(maxsize=8192)
def milliseconds(stamp: str) -> int:
    """Unix time of `2026-11-23T09:00:01.123Z` in whole milliseconds; 0 for what is none."""
    try:
        difference = datetime.fromisoformat(stamp) - _EPOCH
    except ValueError:
        return 0
    return (difference.days * 86_400 + difference.seconds) * 1000 + difference.microseconds // 1000


def stamp_milliseconds(stamp: bytes) -> int:
    """Unix time of a stamp in whole milliseconds; 0 for what is none. Quick for stamps as we write them."""
    if len(stamp) == 24 and stamp[19] == 46 and stamp[23] == 90:
        digits = stamp[17:19] + stamp[20:23]
        if digits < b"60" and digits.isdigit() and (minute := _minute(stamp[:17])):
            return minute + int(digits)
    text = stamp.decode("ascii", "replace")
    return milliseconds(text) if _is_stamp(text) else 0


@lru_cache(maxsize=4096)
def _minute(stamp: bytes) -> int:
    """The time that a minute begins, of `2026-11-23T09:00:`."""
    text = stamp.decode("ascii", "replace") + "00Z"
    return milliseconds(text) if _is_stamp(text) else 0


def stamp(when: datetime) -> str:
    """A time as the logs write it."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fold(text: str) -> str:
    """Text as it is compared: without case, one character at a time.

    No character outside ASCII becomes one inside, so that bytes can be searched before lines are taken apart.
    """
    if text.isascii():
        return text.lower()
    return "".join(map(_fold_character, text))


def _fold_character(character: str) -> str:
    if character.isascii():
        return character.lower()
    folded = character.casefold()
    return folded if not any(map(str.isascii, folded)) else character
