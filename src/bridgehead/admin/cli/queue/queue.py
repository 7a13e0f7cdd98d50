# SPDX-License-Identifier: MIT
"""`bridgehead queue list|show|retry|suspend|resume|verify`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import (
    NEGATIVE,
    AdminCommand,
    counted,
    distance,
    emit,
    facts,
    json_option,
    paint,
    size,
    span,
    table,
    when,
)
from bridgehead.admin.cli.queue.message import message_table

if TYPE_CHECKING:
    from bridgehead.admin.queue.queues import ProblemView, QueueAction, QueueDetail, QueueView

_VERIFY_SECONDS = 3600.0


@click.group()
def queue() -> None:
    """Look at queues and act on them: Submission, Unreachable, Poison, and one delivery queue for each next hop."""


@queue.command("list", cls=AdminCommand)
@click.argument("pattern", default="")
@click.option("--filter", "filter_", default="", help="Those that fit, such as {MessageCount -gt 100}.")
@json_option
@click.pass_context
def list_(context: click.Context, pattern: str, filter_: str, as_json: bool) -> None:
    """List the queues that hold messages or are not Active, those with most messages first.

    PATTERN is a queue's identity, next hop domain or connector; * stands for any text.

    \b
    Examples:
      bridgehead queue list
      bridgehead queue list '*contoso.com'
      bridgehead queue list --filter "{Status -eq 'Retry' -and OldestAge -gt 2h}"
    """
    from bridgehead.admin.methods.queues import QueuePattern
    from bridgehead.admin.queue.queues import QueueView

    cli: CliContext = context.obj
    with cli.control() as control:
        queues = control.call("queues.list", QueuePattern(name=pattern, filter=filter_), list[QueueView])
    emit(queues, as_json, lambda: _list_text(queues, filtered=bool(pattern or filter_)))


@queue.command(cls=AdminCommand)
@click.argument("name")
@click.option("--limit", default=1000, show_default=True, help="Most messages shown.")
@json_option
@click.pass_context
def show(context: click.Context, name: str, limit: int, as_json: bool) -> None:
    """Show one queue with its state, last error and messages.

    NAME is its identity, or the domain or connector of its next hop where only one queue has it.

    \b
    Examples:
      bridgehead queue show Unreachable
      bridgehead queue show 'To internet/contoso.com'
      bridgehead queue show contoso.com
    """
    from bridgehead.admin.methods.queues import QueueShow
    from bridgehead.admin.queue.queues import QueueDetail

    cli: CliContext = context.obj
    with cli.control() as control:
        detail = control.call("queues.show", QueueShow(name=name, limit=limit), QueueDetail)
    emit(detail, as_json, lambda: _show_text(detail))


@queue.command(cls=AdminCommand)
@click.argument("name", default="")
@click.option("--all", "everything", is_flag=True, help="Retry every queue that is not suspended, Poison excepted.")
@click.option("--filter", "filter_", default="", help="Queues that fit, such as {LastError -like '*timed out*'}.")
@json_option
@click.pass_context
def retry(context: click.Context, name: str, everything: bool, filter_: str, as_json: bool) -> None:
    """Try a queue again now instead of at its next retry time; Unreachable is routed anew.

    \b
    Examples:
      bridgehead queue retry contoso.com
      bridgehead queue retry Unreachable
      bridgehead queue retry --all
    """
    if bool(name or filter_) == everything:
        raise click.UsageError("Name one queue (* stands for any text), give --filter, or --all.", context)
    _act(context, "queues.retry", "*" if everything else name, as_json, filter_=filter_)


@queue.command(cls=AdminCommand)
@click.argument("name", default="")
@click.option("--filter", "filter_", default="", help="Queues that fit, such as {NextHopCategory -eq External}.")
@click.option("--reason", default="", help="Why; needed for more than one queue, kept with the record.")
@json_option
@click.pass_context
def suspend(context: click.Context, name: str, filter_: str, reason: str, as_json: bool) -> None:
    """Stop delivery from a queue; messages go on arriving in it. Attempts under way finish.

    Submission: messages are accepted and wait to be routed. Unreachable: nothing is routed anew when the
    configuration changes. NAME may hold * for any text. It outlives a restart, and is undone by resume or action undo.

    \b
    Examples:
      bridgehead queue suspend contoso.com
    """
    _choose(context, name, filter_)
    _act(context, "queues.suspend", name, as_json, reason, filter_)


@queue.command(cls=AdminCommand)
@click.argument("name", default="")
@click.option("--filter", "filter_", default="", help="Queues that fit, such as {SuspendedBy -eq 'anna'}.")
@click.option("--reason", default="", help="Why; needed for more than one queue, kept with the record.")
@json_option
@click.pass_context
def resume(context: click.Context, name: str, filter_: str, reason: str, as_json: bool) -> None:
    """Let suspended queues go on. NAME may hold * for any text.

    \b
    Examples:
      bridgehead queue resume contoso.com
    """
    _choose(context, name, filter_)
    _act(context, "queues.resume", name, as_json, reason, filter_)


@queue.command(cls=AdminCommand)
@json_option
@click.pass_context
def verify(context: click.Context, as_json: bool) -> None:
    """Check the whole queue store without changing it; the server may be running or stopped.

    Exit code 0 without findings, 1 with any.

    \b
    Examples:
      bridgehead queue verify
    """
    from bridgehead.admin.faults import ServerNotRunning
    from bridgehead.admin.queue.queues import ProblemView, verify_stopped

    cli: CliContext = context.obj
    try:
        with cli.control(_VERIFY_SECONDS) as control:
            problems = control.call("queues.verify", None, list[ProblemView])
    except ServerNotRunning:
        folder = cli.within_data_directory(cli.configuration.queues.queue_database_path)
        problems = verify_stopped(folder)
    emit(problems, as_json, lambda: _verify_text(problems))
    context.exit(NEGATIVE if problems else 0)


def _choose(context: click.Context, name: str, filter_: str) -> None:
    if not name and not filter_:
        raise click.UsageError("Name a queue (* stands for any text), or give --filter.", context)


def _act(
    context: click.Context, method: str, name: str, as_json: bool, reason: str = "", filter_: str = ""
) -> None:  # fmt: skip
    from bridgehead.admin.methods.queues import QueueChoice
    from bridgehead.admin.queue.queues import QueueAction

    cli: CliContext = context.obj
    with cli.control() as control:
        actions = control.call(method, QueueChoice(name or "*", reason, filter_), list[QueueAction])
    emit(actions, as_json, lambda: _acted(actions))


def _acted(actions: "list[QueueAction]") -> str:
    if not actions:
        return "There is no such queue to act on."
    return "\n".join(f"{one.identity}: {one.action} ({counted(one.messages, 'message')})" for one in actions)


def _list_text(queues: "list[QueueView]", *, filtered: bool) -> str:
    if not queues:
        return "No queue fits." if filtered else "No queue holds a message."
    moving = any(one.incoming_rate or one.outgoing_rate for one in queues)
    headings = ("QUEUE", "STATUS", "MESSAGES", *(("IN/S", "OUT/S") if moving else ()), "NEXT RETRY", "LAST ERROR")
    rows = []
    for one in queues:
        rates = (_rate(one.incoming_rate), _rate(one.outgoing_rate)) if moving else ()
        waits = distance(one.next_retry_time)
        rows.append((one.identity, one.status, one.message_count, *rates, waits, one.last_error))
    return table(headings, rows, flexible=(0, len(headings) - 1), first=len(headings) - 1)


def _rate(messages: float) -> str:
    """Messages by the second; "" for none."""
    return f"{messages:.1f}" if messages >= 0.05 else ("<0.1" if messages else "")


def _priorities(counts: dict[str, int]) -> str:
    """ "High 3, Low 1"; "" where all are Normal."""
    if not any(count for name, count in counts.items() if name != "Normal"):
        return ""
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def _flow(one: "QueueView") -> str:
    if not one.incoming_rate and not one.outgoing_rate:
        return ""
    text = f"{one.incoming_rate:.2f} in, {one.outgoing_rate:.2f} out a second, velocity {one.velocity:+.2f}"
    return text if one.drain_time is None else f"{text}; empty in {span(one.drain_time)}"


def _show_text(detail: "QueueDetail") -> str:
    one = detail.queue
    counts = ", ".join(f"{name} {count}" for name, count in one.counts_by_status.items())
    lines = [
        f"{one.identity}: {paint(one.status, 'yellow' if one.status in ('Retry', 'Suspended') else 'green')}",
        facts(
            [
                ("messages", f"{one.message_count}, {size(one.total_bytes)}{f' ({counts})' if counts else ''}"),
                ("delivery type", one.delivery_type),
                ("next hop", one.next_hop_domain),
                ("connector", one.next_hop_connector),
                ("category", one.next_hop_category),
                ("TLS domain", one.tls_domain),
                ("by priority", _priorities(one.message_counts_per_priority)),
                ("deferred", one.deferred_message_count or ""),
                ("rates", _flow(one)),
                ("oldest", when(one.oldest_received)),
                ("last error", one.last_error),
                ("retries", one.retry_count or ""),
                ("first retry", when(one.first_retry_time)),
                ("last retry", when(one.last_retry_time)),
                ("next retry", when(one.next_retry_time)),
                ("suspended by", one.suspended_by),
                ("suspended", when(one.suspended_since)),
                ("because", one.suspend_reason),
            ]
        ),
    ]
    if detail.messages:
        lines += ["", message_table(detail.messages)]
    return "\n".join(lines)


def _verify_text(problems: "list[ProblemView]") -> str:
    if not problems:
        return "The queue store is sound."
    lines = []
    for one in problems:
        mark = paint("mail is affected", "red") if one.lost else "no mail is affected"
        lines += [f"{one.subject}: {one.what} ({mark})", f"  {one.remedy}"]
    return "\n".join(lines)
