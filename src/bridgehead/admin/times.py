# SPDX-License-Identifier: MIT
"""Times as reports carry them: UTC, to the millisecond."""

from datetime import UTC, datetime


def moment(time: float) -> datetime | None:
    """Unix time as a date with zone; None for 0, which stands for never."""
    if not time:
        return None
    when = datetime.fromtimestamp(time, UTC)
    return when.replace(microsecond=when.microsecond // 1000 * 1000)
