# SPDX-License-Identifier: MIT
"""`bridgehead safety-net status|list|resubmit|cancel`."""

import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.moment import read_moment
from bridgehead.admin.cli.output import (
    NEGATIVE,
    AdminCommand,
    counted,
    emit,
    facts,
    json_option,
    paint,
    say,
    size,
    span,
    table,
    when,
)

if TYPE_CHECKING:
    from bridgehead.admin.calls.client import ControlClient
    from bridgehead.admin.queue.safety_net import KeptList, RequestView, SafetyNetView

_POLL_SECONDS = 0.5
_SCAN_SECONDS = 3600.0

Command = TypeVar("Command", bound=Callable[..., Any])


def _selecting(command: Command) -> Command:
    """The options that say which mail is meant."""
    for option in (
        click.option("--network-message-id", default="", metavar="ID", help="Network message id."),
        click.option("--message-id", default="", metavar="TEXT", help="Message-ID."),
        click.option("--connector", default="", metavar="NAME", help="Send connector that delivered it."),
        click.option("--next-hop", default="", metavar="TEXT", help="Where it went: domain, smart hosts, or queue."),
        click.option("--sender", default="", metavar="TEXT", help="Reverse-path; <> for reports."),
        click.option("--recipient", default="", metavar="TEXT", help="Only these recipients."),
        click.option("--end", metavar="TIME", callback=read_moment, help="Delivered until then."),
        click.option("--start", metavar="TIME", callback=read_moment, help="Delivered since then: a time, or 2h ago."),
    ):
        command = option(command)
    return command


@click.group("safety-net")
def safety_net() -> None:
    """Delivered mail that is kept for a while: look at it, and resubmit it."""


@safety_net.command(cls=AdminCommand)
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show since when delivered mail is kept, how much there is, and requests to resubmit.

    \b
    Examples:
      bridgehead safety-net status
    """
    from bridgehead.admin.queue.safety_net import SafetyNetView

    cli: CliContext = context.obj
    with cli.control() as control:
        view = control.call("safety_net.status", None, SafetyNetView)
    emit(view, as_json, lambda: _status_text(view))


@safety_net.command("list", cls=AdminCommand)
@_selecting
@click.option("--limit", default=1000, show_default=True, help="Most messages shown.")
@json_option
@click.pass_context
def list_(context: click.Context, /, limit: int, as_json: bool, **selection: "str | datetime | None") -> None:
    """List delivered mail that is kept, oldest first. Text options take * for any text.

    \b
    Examples:
      bridgehead safety-net list --start 2h --recipient '*@contoso.com'
      bridgehead safety-net list --next-hop mail.fabrikam.com --limit 20
    """
    from bridgehead.admin.methods.safety_net import KeptListParameters
    from bridgehead.admin.queue.safety_net import KeptList

    cli: CliContext = context.obj
    with cli.control(_SCAN_SECONDS) as control:
        found = control.call("safety_net.list", KeptListParameters(limit=limit, **selection), KeptList)  # type: ignore[arg-type]
    emit(found, as_json, lambda: _list_text(found))


@safety_net.command(cls=AdminCommand)
@_selecting
@click.option("--dry-run", is_flag=True, help="Only count what would be resubmitted.")
@click.option("--reason", default="", help="Why, for the record.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end; `safety-net status` shows it.")
@json_option
@click.pass_context
def resubmit(
    context: click.Context, /, dry_run: bool, reason: str, no_wait: bool, as_json: bool,
    **selection: "str | datetime | None",
) -> None:  # fmt: skip
    """Send delivered mail again, to the recipients that had it; nobody gets a report about it.

    It passes Submission and the categorizer anew, with its network message id and content as they were. What had been
    resubmitted itself is left alone. Exit code 1 where the request does not complete.

    \b
    Examples:
      bridgehead safety-net resubmit --start 4h --dry-run
      bridgehead safety-net resubmit --start 4h --recipient '*@contoso.com'
      bridgehead safety-net resubmit --start 4h --connector Mailboxes
    """
    from bridgehead.admin.methods.safety_net import ResubmitParameters
    from bridgehead.admin.queue.safety_net import RequestView

    cli: CliContext = context.obj
    parameters = ResubmitParameters(dry_run=dry_run, reason=reason, **selection)  # type: ignore[arg-type]
    with cli.control() as control:
        request = control.call("safety_net.resubmit", parameters, RequestView)
        if not no_wait:
            request = _wait(control, request, quiet=as_json)
    emit(request, as_json, lambda: _request_text(request))
    context.exit(NEGATIVE if request.state in ("Failed", "Cancelled") else 0)


@safety_net.command(cls=AdminCommand)
@click.argument("number", type=int, metavar="REQUEST")
@json_option
@click.pass_context
def cancel(context: click.Context, number: int, as_json: bool) -> None:
    """Stop a request to resubmit. What it resubmitted by then is on its way.

    \b
    Examples:
      bridgehead safety-net cancel 1795449738
    """
    from bridgehead.admin.methods.safety_net import RequestParameters
    from bridgehead.admin.queue.safety_net import RequestView

    cli: CliContext = context.obj
    with cli.control() as control:
        request = control.call("safety_net.cancel", RequestParameters(id=number), RequestView)
    emit(request, as_json, lambda: _request_text(request))


def _wait(control: "ControlClient", request: "RequestView", *, quiet: bool) -> "RequestView":
    """Until a request has ended; a terminal is told how far it is."""
    from bridgehead.admin.methods.safety_net import RequestParameters
    from bridgehead.admin.queue.safety_net import RequestView

    shows = not quiet and sys.stderr.isatty()
    while request.state == "Running":
        if shows:
            click.echo(f"\r{request.scanned} looked at, {request.matched} fit, {request.resubmitted} resubmitted",
                       err=True, nl=False)  # fmt: skip
        time.sleep(_POLL_SECONDS)
        request = control.call("safety_net.request", RequestParameters(id=request.id), RequestView)
    if shows:
        say("", err=True)
    return request


def _status_text(view: "SafetyNetView") -> str:
    if not view.enabled:
        head = paint("Delivered mail is not kept", "yellow") + " (queues.safety_net_hold_time is 0)"
    elif view.trouble:
        head = paint(view.trouble, "red")
    else:
        head = f"Delivered mail is kept for {span(view.hold_time_seconds)}."
    cut = f"{when(view.cut_short)}: the oldest went before its time" if view.cut_short else ""
    lines = [
        head,
        facts(
            [
                ("kept since", when(view.kept_since)),
                ("size", f"{size(view.used)} of {size(view.max_size)}, {counted(view.segments, 'file')}"),
                ("cut short", cut),
                ("since the start", f"{counted(view.kept, 'message')} kept"),
                ("lost", f"{counted(view.lost, 'message')} could not be kept" if view.lost else ""),
            ]
        ),
    ]
    for request in view.requests:
        lines += ["", _request_text(request)]
    return "\n".join(lines)


def _list_text(found: "KeptList") -> str:
    if not found.messages:
        return "Nothing that is kept fits."
    rows = [
        (f"{one.delivered:%Y-%m-%d %H:%M:%S}", one.sender, ", ".join(one.recipients), one.next_hop, one.subject)
        for one in found.messages
    ]
    text = table(("DELIVERED (UTC)", "SENDER", "RECIPIENTS", "NEXT HOP", "SUBJECT"), rows, flexible=(1, 2, 3, 4))
    return f"{text}\nThere are more." if found.more else text


def _request_text(one: "RequestView") -> str:
    what = "dry run" if one.dry_run else "request"
    if one.dry_run and one.state == "Completed":
        done = f"{counted(one.matched, 'message')} would be resubmitted"
    elif one.dry_run:
        done = f"{counted(one.matched, 'message')} fit so far"
    else:
        done = f"{counted(one.resubmitted, 'message')} resubmitted"
    chosen = one.selection
    parts = [
        f"{name} {value}"
        for name, value in (
            ("recipient", chosen.recipient), ("sender", chosen.sender), ("next hop", chosen.next_hop),
            ("connector", chosen.connector), ("message id", chosen.message_id),
            ("network message id", chosen.network_message_id),
        )
        if value
    ]  # fmt: skip
    pairs: list[tuple[str, object]] = [
        ("delivered", f"{when(chosen.start) or 'ever'} to {when(chosen.end)}"),
        ("selection", ", ".join(parts)),
        ("looked at", counted(one.scanned, "message")),
        ("fit", f"{counted(one.matched, 'message')}, {counted(one.recipients, 'recipient')}, {size(one.octets)}"),
        ("left alone", f"{counted(one.left_alone, 'message')} that had been resubmitted" if one.left_alone else ""),
        ("by", f"{one.by}{f': {one.reason}' if one.reason else ''}"),
        *(("problem", problem) for problem in one.problems),
    ]
    return f"{what} {one.id}: {one.state}, {done}\n{facts(pairs)}"
