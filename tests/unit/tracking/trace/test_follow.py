# SPDX-License-Identifier: MIT
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridgehead.mail.item import Source
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.log import LogFile, LogLimits
from bridgehead.tracking.message_tracking import KIND, MessageTrackingLog
from bridgehead.tracking.trace.criteria import Criteria
from bridgehead.tracking.trace.follow import follow

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()


class Enough(Exception):
    """Ends following."""


def test_events_that_fit_come_as_they_are_written_across_files(tmp_path: Path) -> None:
    file = LogFile(tmp_path, KIND, LogLimits(timedelta(0), 1500, 10**9), lambda: START)
    log = MessageTrackingLog(file)

    def write(*numbers: int) -> None:
        for number in numbers:
            sender = "ann@a.example" if number % 2 else "bob@b.example"
            log.record(TrackingEvent(START + number, EventId.RECEIVE, Source.SMTP, number, return_path=sender))
            file.flush()

    def half_a_line() -> None:
        newest = max(tmp_path.iterdir())
        line = newest.read_bytes().splitlines()[-1]
        with newest.open("ab") as one:
            one.write(line[:40])

    def stop() -> None:
        raise Enough

    write(1, 2)  # before anybody follows
    steps: list[Callable[[], None]] = [
        lambda: write(3), lambda: None, lambda: write(*range(4, 30)), half_a_line, lambda: None, stop
    ]  # fmt: skip
    seen: list[int] = []
    events = follow(tmp_path, Criteria(sender="ANN@*"), lambda: steps.pop(0)())
    with pytest.raises(Enough):
        seen.extend(int(event.internal_message_id) for event in events)
    assert len(list(tmp_path.iterdir())) > 3
    assert seen == [number for number in range(3, 30) if number % 2]
