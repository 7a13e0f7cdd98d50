# SPDX-License-Identifier: MIT
"""CSV cells and times as Exchange's logs have them: quoted where `,` or `"` occurs, one line for each record, UTC.

A control character, CR and LF among them, becomes a space: a record never spans two lines, whatever a client sent,
because most readers of these files work line by line.
"""

import re
import time as clock

_CONTROLS = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


def cell(text: str) -> str:
    """A text as a CSV cell."""
    if not text.isprintable():  # false for every control character
        text = _CONTROLS.sub(" ", text)
    if "," in text or '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return text


class TimeText:
    """Unix times as `2026-11-23T09:00:01.123Z`; made once a millisecond, and all before it once a second."""

    __slots__ = ("_last", "_prefix", "_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""
        self._last = -1
        self._text = ""

    def __call__(self, time: float) -> str:
        milliseconds = int(time * 1000 + 0.01)  # .123 may be stored as .12299
        if milliseconds == self._last:
            return self._text
        second, millisecond = divmod(milliseconds, 1000)
        if second != self._second:
            self._prefix = clock.strftime("%Y-%m-%dT%H:%M:%S", clock.gmtime(second))
            self._second = second
        self._last = milliseconds
        self._text = f"{self._prefix}.{millisecond:03}Z"
        return self._text
