# SPDX-License-Identifier: MIT
"""Sessions looked up in the protocol and connectivity logs by their id, for the story of a message.

The logs hold no secrets and no content; lines are quoted as they are. Bytes first: only lines that hold a session's id
are taken apart.
"""

import csv
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.mail.limits import TRANSCRIPT_LINES
from bridgehead.tracking.log import LogName, log_files

_SLACK: Final = timedelta(hours=2)
"""How long before its first and after its last message a session may have begun and ended."""
_DATE: Final = b"#Date: "


class TranscriptLine(msgspec.Struct, frozen=True):
    """One line of a conversation; `event` is + (connect), - (disconnect), > (sent), < (received), * (information)."""

    date_time: str
    event: str
    data: str = ""
    context: str = ""


class SessionLog(msgspec.Struct):
    """What the logs hold of one session.

    Attributes:
        connection: lines of the connectivity log.
        conversation: lines of the protocol log; empty where the connector keeps none.
    """

    session_id: str
    local: str = ""
    remote: str = ""
    connection: list[TranscriptLine] = []
    conversation: list[TranscriptLine] = []

    def about(self, moment: datetime) -> list[TranscriptLine]:
        """The part of the conversation that a message is in whose end is tracked at `moment`: how the session began,
        and the transaction under way then. How the session was closed afterwards is nothing about it."""
        opening: list[TranscriptLine] = []
        transactions: list[list[TranscriptLine]] = []
        for line in self.conversation:
            if line.event in "><" and line.data.upper() == "QUIT":
                break
            if line.event in "><" and line.data[:10].upper() == "MAIL FROM:":
                transactions.append([])
            (transactions[-1] if transactions else opening).append(line)
        begun = [one for one in transactions if _time(one[0]) <= moment + timedelta(milliseconds=1)]
        current = begun[-1] if begun else []
        return [*opening, *current][:TRANSCRIPT_LINES]


def sessions(
    folder: Path, prefix: str, connectivity: Path | None, wanted: Collection[str], start: datetime, end: datetime
) -> dict[str, SessionLog]:
    """What is known of sessions, by their id. Never raises OSError: a log that is gone says nothing.

    Args:
        folder, prefix: the protocol log that they stand in.
        connectivity: folder of the connectivity log, for sessions of ours.
        start, end: times of the first and last message of theirs that is asked about.
    """
    found = {one: SessionLog(one) for one in wanted if one}
    if not found:
        return {}
    for row in _rows(folder, prefix, set(found), start, end, column=2, width=9):
        session = found[row[2]]
        session.local, session.remote = row[4] or session.local, row[5] or session.remote
        session.conversation.append(TranscriptLine(row[0], row[6], row[7], row[8]))
    if connectivity is not None:
        for row in _rows(connectivity, "CONNECTLOG", set(found), start, end, column=1, width=6):
            found[row[1]].connection.append(TranscriptLine(row[0], row[4], row[5], row[3]))
    for session in found.values():
        session.conversation.sort(key=lambda line: line.date_time)
    return found


def _rows(
    folder: Path, prefix: str, wanted: set[str], start: datetime, end: datetime, *, column: int, width: int
) -> Iterator[list[str]]:
    """The lines of these sessions in order, taken apart."""
    needles = [f",{one},".encode() for one in wanted]
    for name in log_files(folder, prefix):
        try:
            data = _data(name, start - _SLACK, end + _SLACK)
        except OSError:
            continue
        for needle in needles:
            position = data.find(needle)
            while position >= 0:
                begin = data.rfind(b"\n", 0, position) + 1
                stop = data.find(b"\n", position)
                stop = len(data) if stop < 0 else stop
                row = next(csv.reader((data[begin:stop].decode("utf-8", "replace").rstrip("\r"),)), [])
                if len(row) == width and row[column] in wanted:
                    yield row
                position = data.find(needle, stop)


def _data(name: LogName, start: datetime, end: datetime) -> bytes:
    """A file's bytes, none where it cannot hold lines of that time. Raises OSError."""
    if name.day > end.astimezone(UTC).date() or name.path.stat().st_mtime < start.timestamp():
        return b""
    with name.path.open("rb") as file:
        head = file.read(1024)
        at = head.find(_DATE)
        if at >= 0:
            try:
                began = datetime.fromisoformat(head[at + len(_DATE) :].split(b"\r\n", 1)[0].decode("ascii", "replace"))
            except ValueError:
                began = None
            if began is not None and began > end:
                return b""
        return head + file.read()


def _time(line: TranscriptLine) -> datetime:
    try:
        return datetime.fromisoformat(line.date_time)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
