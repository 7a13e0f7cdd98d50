# SPDX-License-Identifier: MIT
"""Sizes, durations and counts as administrators write them: Exchange's form and the plain one.

"36 MB" and "36MB" and 37748736; "00:10:00", "1.00:00:00", "10m" and 600; "unlimited" where a limit may be off.
The types are ordinary `int` and `timedelta` to whoever reads a setting.
"""

import re
from datetime import timedelta
from typing import Final, Self

UNLIMITED: Final = 2**63 - 1
"""What "unlimited" decodes to, so that a comparison needs no second case."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB|K|M|G|T|KiB|MiB|GiB|TiB|bytes)?\s*", re.IGNORECASE)
_FACTOR = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,3}):(\d{2}):(\d{2})(?:\.(\d{1,7}))?")
_PLAIN = re.compile(
    r"(?:(\d+)\s*w)?\s*(?:(\d+)\s*d)?\s*(?:(\d+)\s*h)?\s*(?:(\d+)\s*m(?:in)?)?\s*(?:(\d+(?:\.\d+)?)\s*s)?\s*(?:(\d+)\s*ms)?"
)


class ByteSize(int):
    """A size in bytes. Units are powers of 1024, as Exchange counts them."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read "36 MB", "36MB", "unlimited" or a number of bytes. Raises ValueError with what was expected."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        if isinstance(value, str):
            if value.strip().lower() == "unlimited":
                return cls(UNLIMITED)
            if match := _SIZE.fullmatch(value):
                unit = (match[2] or "").lower()
                octets = float(match[1]) * _FACTOR["" if unit.startswith("by") else unit[:1]]
                return cls(int(octets) if octets < UNLIMITED else UNLIMITED)
        raise ValueError(f'a size such as "36 MB", "64KB" or 65536 was expected, not {value!r}')

    def __str__(self) -> str:
        if self == UNLIMITED:
            return "unlimited"
        for unit, factor in (("GB", 1024**3), ("MB", 1024**2), ("KB", 1024)):
            if self and self % factor == 0:
                return f"{self // factor} {unit}"
        return f"{int(self)} B"


class Count(int):
    """A count that may be "unlimited"."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a whole number or "unlimited". Raises ValueError with what was expected."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        if isinstance(value, str):
            if value.strip().lower() == "unlimited":
                return cls(UNLIMITED)
            if value.strip().isdigit():
                return cls(value.strip())
        raise ValueError(f'a whole number or "unlimited" was expected, not {value!r}')

    def __str__(self) -> str:
        return "unlimited" if self == UNLIMITED else str(int(self))


class Duration(timedelta):
    """A span of time."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read "00:10:00", "1.00:00:00", "10m", "2h30m" or a number of seconds. Raises ValueError."""
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 86400 * 100_000:
            return cls(seconds=value)
        if isinstance(value, str) and (text := value.strip().lower()):
            if match := _SPAN.fullmatch(text):
                days, hours, minutes, seconds, fraction = match.groups()
                return cls(
                    days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=int(seconds),
                    microseconds=int((fraction or "0").ljust(6, "0")[:6]),
                )  # fmt: skip
            if match := _PLAIN.fullmatch(text):
                weeks, days, hours, minutes, plain_seconds, milliseconds = match.groups()
                return cls(
                    weeks=int(weeks or 0), days=int(days or 0), hours=int(hours or 0), minutes=int(minutes or 0),
                    seconds=float(plain_seconds or 0), milliseconds=int(milliseconds or 0),
                )  # fmt: skip
        raise ValueError(f'a time such as "00:10:00", "1.00:00:00", "10m" or 600 was expected, not {value!r}')

    def __str__(self) -> str:
        """Exchange's form: [d.]hh:mm:ss[.ffffff]."""
        hours, rest = divmod(self.seconds, 3600)
        text = f"{hours:02}:{rest // 60:02}:{rest % 60:02}"
        if self.days:
            text = f"{self.days}.{text}"
        return f"{text}.{self.microseconds:06}" if self.microseconds else text


def decode_hook(kind: type, value: object) -> object:
    """The `dec_hook` with which msgspec reads these types."""
    if issubclass(kind, ByteSize | Count | Duration):
        return kind.parse(value)
    raise NotImplementedError(kind)
