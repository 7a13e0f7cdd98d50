# SPDX-License-Identifier: MIT
"""Times as reports carry them: UTC, to the millisecond."""

from datetime import UTC, datetime


def moment(time: float) -> datetime | None:
    """Unix time as a date with zone; None for 0, which stands for never."""
    if not time:
        return None
    when = datetime.fromtimestamp(time, UTC)
    return when.replace(microsecond=when.microsecond // 1000 * 1000)


def clock(time: float) -> str:
    """Unix time as people read it: "2026-11-21 00:00:12Z"."""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}Z"


def span(seconds: float) -> str:
    """Seconds in the two largest units that matter: "2 d 3 h", "3 h 5 min", "4 min", "12 s"."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{rest} s"
