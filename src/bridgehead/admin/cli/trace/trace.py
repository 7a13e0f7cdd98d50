# SPDX-License-Identifier: MIT
"""`bridgehead trace`: where messages came from and went, from the message tracking logs."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, echo_json, json_option, say

if TYPE_CHECKING:
    from bridgehead.admin.trace.trace_story import Story
    from bridgehead.admin.trace.tracking import TracePage
    from bridgehead.tracking.trace.story import TraceLogs

_FOLLOW_SECONDS = 0.5


def _moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """ISO 8601, local where no zone is given; or "2h", "30m", "1.00:00:00" before now."""
    if value is None:
        return None
    from bridgehead.mail.units import Duration

    try:
        parsed = datetime.fromisoformat(value)
        if parsed.tzinfo is not None:
            return parsed
        return parsed.replace(tzinfo=UTC) if context.params.get("utc") else parsed.astimezone()
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - timedelta(seconds=Duration.parse(value).total_seconds())
    except (ValueError, OverflowError):
        message = f'"{value}" is neither a time such as 2026-11-23T09:00 nor a span such as 2h'
        raise click.BadParameter(message, context, parameter) from None


@click.command(cls=AdminCommand)
@click.argument("message", default="")
@click.option("--sender", default="", help="Sender in the header, or reverse-path.")
@click.option("--recipient", default="", help="A recipient, or the group it came from.")
@click.option("--subject", default="", help="Words that the subject holds; with *, a pattern for all of it.")
@click.option("--status", default="", help="What became of it: delivered, failed, deferred, pending, expanded, ...")
@click.option("--message-id", default="", help="Message-ID.")
@click.option("--network-message-id", default="", help="Network message id, the same in all forks.")
@click.option("--internal-message-id", default="", help="Internal message id.")
@click.option("--source-address", default="", help="Client that brought it: 10.2.0.17, 10.2.0.0/16, 10.2.*.")
@click.option("--connector", default="", help="Receive or send connector.")
@click.option("--event-id", default="", help="Has this event: RECEIVE, SEND, DELIVER, DEFER, FAIL, DSN, ...")
@click.option("--source", default="", help="Of this source: SMTP, DSN, ROUTING, STOREDRIVER, ...")
@click.option("--reference", default="", help="Reference column, such as the Message-ID that a report is about.")
@click.option("--utc", is_flag=True, is_eager=True, help="Times in UTC; otherwise they are local.")
@click.option("--start", callback=_moment, help="From then on: 2026-11-23, 2026-11-23T09:00, or 2h for 2 hours ago.")
@click.option("--end", callback=_moment, help="Before then; same forms.")
@click.option("--limit", default=100, show_default=True, help="Messages on a page, the newest first.")
@click.option("--after", default="", help="Go on where a page ended.")
@click.option("--csv", "as_csv", is_flag=True, help="The events that fit, as CSV with Exchange's header and columns.")
@click.option("--events", is_flag=True, help="With --json: the events that fit, too.")
@click.option("--no-transcript", is_flag=True, help="Tell the story without the SMTP conversations.")
@click.option("--follow", is_flag=True, help="Print events that fit as they come, until Ctrl-C.")
@click.option(
    "--logs", type=click.Path(path_type=Path, file_okay=False), help="Search the logs in this folder instead."
)
@json_option
@click.pass_context
def trace(context: click.Context, /, message: str, as_json: bool, **options: Any) -> None:
    """Find messages, or tell one message's story.

    MESSAGE is a network message id, Message-ID or internal id: its story is told from receipt to every recipient's
    end, with the choice of each connector, each attempt and its transcript, and the time that each step took. Without
    MESSAGE, those that fit are listed, the newest first; all criteria must hold for one event of a message. Case does
    not matter, and * stands for any text. The server need not run.

    Exit code 1 when nothing fits.

    \b
    Examples:
      bridgehead trace --recipient anna@contoso.com --start 2h
      bridgehead trace --subject 'invoice march' --status failed
      bridgehead trace --source-address 10.2.0.0/16 --status deferred
      bridgehead trace '<4f2a@contoso.com>'
      bridgehead trace --sender '*@contoso.com' --start 7d --csv > week.csv
      bridgehead trace --recipient '*@fabrikam.com' --follow
    """
    if sum((as_json, options["as_csv"], options["follow"])) > 1:
        raise click.UsageError("Give one of --json, --csv and --follow.", context)
    zone = UTC if options["utc"] else None
    if options["follow"]:
        _follow(context, zone, options)
    elif message:
        _tell(context, message, as_json, zone, options)
    else:
        _list(context, as_json, zone, options)


def _list(context: click.Context, as_json: bool, zone: tzinfo | None, options: dict[str, Any]) -> None:
    from bridgehead.admin.cli.trace.text import csv_text, found_text, list_text

    found = _search(context, options)
    if as_json:
        echo_json(found)
    elif options["as_csv"]:
        events = sorted((event for one in found.messages for event in one.events), key=lambda event: event.date_time)
        click.echo(csv_text(events, datetime.now(UTC)).encode(), nl=False)
    elif len(found.messages) == 1 and not found.next:
        one = found.messages[0]
        _tell(context, one.network_message_id or one.message_id, False, zone, options)
    else:
        say(list_text(found, zone) if found.messages else found_text(found))
    for problem in found.unreadable:
        say(f"{problem.file}{f':{problem.line}' if problem.line else ''}: {problem.what}", err=True)
    context.exit(0 if found.messages else NEGATIVE)


def _tell(
    context: click.Context, identity: str, as_json: bool, zone: tzinfo | None, options: dict[str, Any]
) -> None:  # fmt: skip
    from bridgehead.admin.cli.trace.text import story_text

    story = _story(context, identity, options)
    if as_json:
        echo_json(story)
    else:
        say(story_text(story, zone, transcripts=not options["no_transcript"]))


def _search(context: click.Context, options: dict[str, Any]) -> "TracePage":
    """Ask the server; without one, read the logs."""
    from bridgehead.admin.faults import ServerNotRunning
    from bridgehead.admin.methods.trace import TraceSearch
    from bridgehead.admin.trace.tracking import TracePage, criteria, page, search_logs

    wanted = {name: options[name] for name in _CRITERIA}
    with_events = options["events"] or options["as_csv"]
    cli: CliContext = context.obj
    if options["logs"] is None:
        with suppress(ServerNotRunning), cli.control(_SECONDS) as control:
            return control.call("trace.search", TraceSearch(**wanted, events=with_events), TracePage)
    found = search_logs(_logs(cli, options["logs"]), criteria(**wanted))
    return page(found, with_events=with_events)


def _story(context: click.Context, identity: str, options: dict[str, Any]) -> "Story":
    """Ask the server; without one, read the logs."""
    from bridgehead.admin.faults import NOT_FOUND, AdminFault, ServerNotRunning
    from bridgehead.admin.methods.trace import TraceIdentity
    from bridgehead.admin.trace.revisions import FOLDER_NAME, Revisions
    from bridgehead.admin.trace.trace_story import Story, tell
    from bridgehead.tracking.flight_recorder import FlightRecorder
    from bridgehead.tracking.logs import FLIGHT_RECORDER_FILE
    from bridgehead.tracking.trace.story import evidence

    cli: CliContext = context.obj
    if options["logs"] is None:
        with suppress(ServerNotRunning), cli.control(_SECONDS) as control:
            return control.call("trace.story", TraceIdentity(identity), Story)
    found = evidence(_logs(cli, options["logs"]), identity)
    if found is None:
        raise AdminFault(NOT_FOUND, f"the tracking logs know no message {identity}", "bridgehead trace --help")
    if options["logs"] is not None:
        return tell(found, None, "", None, datetime.now(UTC))
    recorder = FlightRecorder(
        cli.within_data_directory(cli.configuration.logs.log_directory) / FLIGHT_RECORDER_FILE, time.time
    )
    recorder.load()
    past = Revisions(cli.within_data_directory(FOLDER_NAME))
    return tell(found, cli.configuration, "", None, datetime.now(UTC), past, recorder.attempts())


def _logs(cli: CliContext, folder: Path | None) -> "TraceLogs":
    from bridgehead.admin.trace.tracking import copied_logs, own_logs

    if folder is not None:
        return copied_logs(folder)
    settings = cli.configuration.logs
    return own_logs(cli.within_data_directory(settings.log_directory), settings)


def _follow(context: click.Context, zone: tzinfo | None, options: dict[str, Any]) -> None:
    """Print events as they come; reads the files, whether the server runs or not."""
    from bridgehead.admin.cli.trace.text import event_text
    from bridgehead.admin.trace.tracking import criteria
    from bridgehead.tracking.trace.follow import follow

    wanted = criteria(**{name: options[name] for name in _CRITERIA})
    logs = _logs(context.obj, options["logs"])
    for event in follow(Path(logs.tracking), wanted, lambda: time.sleep(_FOLLOW_SECONDS)):
        say(event_text(event, zone))


_SECONDS = 180.0
_CRITERIA = (
    "sender", "recipient", "subject", "status", "message_id", "network_message_id", "internal_message_id",
    "source_address", "connector", "event_id", "source", "reference", "start", "end", "limit", "after",
)  # fmt: skip
