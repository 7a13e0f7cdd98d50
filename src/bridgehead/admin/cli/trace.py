# SPDX-License-Identifier: MIT
"""`bridgehead trace`: where messages came from and went, from the message tracking logs."""

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, counted, echo_json, json_option, paint, say

if TYPE_CHECKING:
    from bridgehead.admin.tracking import Trace
    from bridgehead.tracking.search import FoundEvent
    from bridgehead.tracking.story import MessageStory

_COLORS: Final = {
    "DELIVER": "green", "SEND": "green", "EXPAND": "green", "REDIRECT": "green", "RESOLVE": "green",
    "DUPLICATEEXPAND": "green",
    "FAIL": "red", "BADMAIL": "red", "POISONMESSAGE": "red", "DROP": "red", "DEFER": "yellow",
}  # fmt: skip
"""Events that say what became of a recipient."""


def _moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """ISO 8601, UTC where no zone is given; or "2h", "30m", "1.00:00:00" before now."""
    if value is None:
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


@click.command(cls=AdminCommand)
@click.option("--sender", default="", help="Sender in the header, or reverse-path; * stands for any text.")
@click.option("--recipient", default="", help="A recipient, or the group it came from; * stands for any text.")
@click.option("--message-id", default="", help="Message-ID; * stands for any text.")
@click.option("--network-message-id", default="", help="Network message id, the same in all forks.")
@click.option("--internal-message-id", default="", help="Internal message id.")
@click.option("--subject", default="", help="Words that the subject holds; with *, a pattern for all of it.")
@click.option("--event-id", default="", help="Only this event: RECEIVE, SEND, DELIVER, DEFER, FAIL, DSN, ...")
@click.option("--source", default="", help="Only this source: SMTP, DSN, ROUTING, STOREDRIVER, ...")
@click.option("--connector", default="", help="Connector; * stands for any text.")
@click.option("--reference", default="", help="Reference column, such as the Message-ID that a report is about.")
@click.option(
    "--start", callback=_moment, help="From then on: 2026-11-23, 2026-11-23T09:00 (UTC), or 2h for 2 hours ago."
)
@click.option("--end", callback=_moment, help="Before then; same forms.")
@click.option("--limit", default=1000, show_default=True, help="ResultSize: the newest so many events.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the events as CSV with Exchange's 30 columns.")
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="Read the tracking logs in this folder instead."
)
@json_option
@click.pass_context
def trace(context: click.Context, /, as_json: bool, as_csv: bool, folder: Path | None, **criteria: Any) -> None:
    """Find messages and tell their stories: every event in order, across forks and reports.

    All given criteria must hold for an event; the whole message is told then. --json and --csv print the events
    that fit. Exit code 1 when nothing fits.

    \b
    Examples:
      bridgehead trace --recipient anna@contoso.com --start 2h
      bridgehead trace --subject 'invoice march' --event-id FAIL
      bridgehead trace --sender '*@contoso.com' --start 7d --csv > week.csv
    """
    from bridgehead.admin.tracking import trace as find
    from bridgehead.tracking.logs import MESSAGE_TRACKING_FOLDER
    from bridgehead.tracking.search import Criteria

    if as_json and as_csv:
        raise click.UsageError("Give --json or --csv, not both.", context)
    if folder is None:
        cli: CliContext = context.obj
        folder = cli.within_data_directory(cli.configuration.logs.log_directory) / MESSAGE_TRACKING_FOLDER
    found = find(folder, Criteria(**criteria), with_stories=not as_csv and not as_json)
    if as_json:
        echo_json(found)
    elif as_csv:
        click.echo(_csv(found.events), nl=False)
    else:
        say(_text(found, folder))
    for one in found.unreadable:
        say(f"{one.file}{f':{one.line}' if one.line else ''}: {one.what}", err=True)
    context.exit(0 if found.events else NEGATIVE)


def _csv(events: "list[FoundEvent]") -> str:
    import msgspec

    from bridgehead.tracking.message_tracking import FIELDS

    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\r\n")
    writer.writerow(FIELDS)
    for event in events:
        cells = msgspec.structs.astuple(event)
        writer.writerow([";".join(cell) if isinstance(cell, list) else cell for cell in cells])
    return output.getvalue()


def _text(found: "Trace", folder: Path) -> str:
    if not found.events:
        return f"No event fits ({counted(found.files, 'file')} in {folder})."
    parts = [_story(one) for one in found.stories]
    if found.truncated:
        newest = f"these are the newest {len(found.events)} events"
        parts.append(f"There are more; {newest}. Narrow it down, or raise --limit.")
    if found.stories_left_out:
        parts.append(f"The newest {len(found.stories)} messages are told. Narrow it down to see older ones.")
    return "\n\n".join(parts)


def _story(story: "MessageStory", indent: str = "") -> str:
    lines = [f"{indent}{paint(story.message_id or story.network_message_id, 'cyan')}  {story.subject}"]
    lines.append(f"{indent}  from {story.sender or '<>'}  network message id {story.network_message_id}")
    day = ""
    for event in story.events:
        if event.date_time[:10] != day:
            day = event.date_time[:10]
            lines.append(f"{indent}  {day} (UTC)")
        lines.append(f"{indent}  {_event(event)}")
    for outcome in story.outcomes:
        color = _COLORS.get(outcome.event_id, "yellow")
        status = f": {outcome.status}" if outcome.status else "" if outcome.event_id in _COLORS else " (no outcome yet)"
        lines.append(f"{indent}  {paint('→', color)} {outcome.recipient} {paint(outcome.event_id, color)}{status}")
    if any(_COLORS.get(outcome.event_id, "yellow") == "yellow" for outcome in story.outcomes):
        lines.append(f"{indent}  what it waits for: bridgehead message show {story.network_message_id}")
    for report in story.reports:
        lines.append(f"{indent}  report:")
        lines.append(_story(report, indent + "    "))
    return "\n".join(lines)


def _event(event: "FoundEvent") -> str:
    """One line: time, event, source, whom it is about, and the other side."""
    recipients = ", ".join(event.recipient_address[:3])
    if len(event.recipient_address) > 3:
        recipients += f" and {len(event.recipient_address) - 3} more"
    place = ""
    if event.event_id == "RECEIVE" and event.client_ip:
        place = f"  from {event.client_hostname or event.client_ip}"
    elif event.event_id in ("SEND", "DEFER", "FAIL") and (event.server_hostname or event.server_ip):
        place = f"  {'to' if event.event_id == 'SEND' else 'by'} {event.server_hostname or event.server_ip}"
    elif event.event_id in ("BADMAIL", "POISONMESSAGE") and event.source_context:
        place = f"  {event.source_context}"
    elif event.related_recipient_address:
        place = f"  for {event.related_recipient_address}"
    connector = f"  ({event.connector_id})" if event.connector_id else ""
    return f"{event.date_time[11:23]}  {event.event_id:<15} {event.source:<13} {recipients}{place}{connector}"
