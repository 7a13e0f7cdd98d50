# SPDX-License-Identifier: MIT
"""Message tracking search: the events that fit, and the stories of their messages (Get-MessageTrackingLog).

Reads files; needs no running server.
"""

from pathlib import Path

import msgspec

from bridgehead.tracking.search import Criteria, FoundEvent, Unreadable, search
from bridgehead.tracking.story import MessageStory, stories_of


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What a search came to.

    Attributes:
        events: those that fit, by time.
        truncated: there are more than the limit; these are the newest.
        stories: whole stories of the messages that the events are about.
        stories_left_out: there were too many messages; the newest are told.
        unreadable: lines and files that could not be read.
        files, bytes_read: what was looked at.
    """

    events: list[FoundEvent]
    truncated: bool
    stories: list[MessageStory]
    stories_left_out: bool
    unreadable: list[Unreadable]
    files: int
    bytes_read: int


def trace(folder: Path, criteria: Criteria, *, with_stories: bool = True) -> Trace:
    """Search the tracking logs in a folder."""
    found = search(folder, criteria)
    stories, left_out = stories_of(folder, found) if with_stories else ([], False)
    return Trace(
        events=found.events,
        truncated=found.truncated,
        stories=stories,
        stories_left_out=left_out,
        unreadable=found.unreadable,
        files=found.files,
        bytes_read=found.bytes_read,
    )
