# SPDX-License-Identifier: MIT
"""Times as people type them: a date, a time, or a span before now."""

from datetime import UTC, datetime, timedelta

import rich_click as click


def read_moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """ISO 8601, UTC where no zone is given; or "2h", "30m", "1.00:00:00" before now. For `callback` of an option."""
    if not value:
        return None
    from bridgehead.mail.units import Duration

    try:
        parsed = datetime.fromisoformat(value)
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - timedelta(seconds=Duration.parse(value).total_seconds())
    except (ValueError, OverflowError):
        message = f'"{value}" is neither a time such as 2026-11-23T09:00 (UTC) nor a span such as 2h'
        raise click.BadParameter(message, context, parameter) from None
