# SPDX-License-Identifier: MIT
"""Events as they are written: the ends of tracking logs, read again and again."""

from collections.abc import Callable, Iterator
from pathlib import Path

from bridgehead.tracking.event_line import FoundEvent
from bridgehead.tracking.log import log_files
from bridgehead.tracking.message_tracking import KIND
from bridgehead.tracking.trace.criteria import Criteria, Matcher
from bridgehead.tracking.trace.log_scan import Region, chunks
from bridgehead.tracking.trace.log_text import LogText, lines


def follow(folder: Path, criteria: Criteria, pause: Callable[[], object]) -> Iterator[FoundEvent]:
    """Events that fit, from now on and without end; status is not looked at, since it is not known yet.

    Args:
        pause: called whenever there is nothing new; may end this by raising.

    Raises CriteriaError.
    """
    matcher = Matcher(criteria)
    read: dict[Path, int] = {name.path: _size(name.path) for name in log_files(folder, KIND.prefix)}
    while True:
        names = log_files(folder, KIND.prefix)
        for name in names:
            try:
                file = LogText(name)
            except OSError:
                continue
            try:
                start = read.get(name.path, 0)
                for data, base in chunks(file, Region(0, start, file.size)):
                    whole = data[: data.rfind(b"\n") + 1]
                    read[name.path] = base + len(whole)
                    yield from _fitting(file, whole, base, matcher)
            except OSError:
                continue
            finally:
                file.close()
        pause()


def _fitting(file: LogText, data: bytes, base: int, matcher: Matcher) -> Iterator[FoundEvent]:
    if file.format is None:
        return
    for _, line in lines(data, base):
        if matcher.line_may_fit(line):
            event = file.format.parse(line)
            if not isinstance(event, str) and matcher.event(event):
                yield event


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
