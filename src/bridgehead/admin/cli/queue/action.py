# SPDX-License-Identifier: MIT
"""`bridgehead action list|show|undo`, and how other commands order an action: dry run, question, progress."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from bridgehead.admin.cli.context import SCAN_SECONDS, CliContext
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
    table,
    when,
)

if TYPE_CHECKING:
    from bridgehead.admin.calls.client import ControlClient
    from bridgehead.admin.queue.actions import ActionOrder, ActionPreview, ActionView

_POLL_SECONDS: Final = 1.0
DESTRUCTIVE: Final = ("remove",)
"""Actions that ask before they touch more than one message."""


@click.group()
def action() -> None:
    """Look at what administrators did to queued messages, and undo it where nothing has left yet."""


@action.command("list", cls=AdminCommand)
@click.option("--limit", default=50, show_default=True, help="Most actions shown.")
@json_option
@click.pass_context
def list_(context: click.Context, limit: int, as_json: bool) -> None:
    """List actions on queued messages, the latest first: who, when, why, and how many messages.

    \b
    Examples:
      bridgehead action list
    """
    from bridgehead.admin.methods.actions import ActionListParameters
    from bridgehead.admin.queue.actions import ActionView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("actions.list", ActionListParameters(limit), list[ActionView])
    emit(found, as_json, lambda: _list_text(found))


@action.command(cls=AdminCommand)
@click.argument("number", type=int)
@json_option
@click.pass_context
def show(context: click.Context, number: int, as_json: bool) -> None:
    """Show one action: who, when, why, on what, what became of it, and whether it can be undone.

    \b
    Examples:
      bridgehead action show 12
    """
    from bridgehead.admin.methods.actions import ActionNumber
    from bridgehead.admin.queue.actions import ActionView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("actions.show", ActionNumber(number), ActionView)
    emit(found, as_json, lambda: action_text(found))


@action.command(cls=AdminCommand)
@click.argument("number", type=int)
@click.option("--reason", default="", help="Why it is undone; kept with the record.")
@json_option
@click.pass_context
def undo(context: click.Context, number: int, reason: str, as_json: bool) -> None:
    """Undo an action where nothing has left yet: suspend, resume, redirect, priority, expiry, remove without NDR.

    Messages that were delivered or changed again since are left alone, and counted. Exit code 1 where nothing could be
    restored.

    \b
    Examples:
      bridgehead action undo 12 --reason "wrong domain"
    """
    from bridgehead.admin.methods.actions import ActionUndo
    from bridgehead.admin.queue.actions import ActionView

    cli: CliContext = context.obj
    with cli.control() as control:
        done = control.call("actions.undo", ActionUndo(number, reason), ActionView)
        done = _followed(control, done, quiet=as_json)
    emit(done, as_json, lambda: action_text(done))
    context.exit(0 if done.messages else NEGATIVE)


def choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command that acts on messages."""
    options = [
        click.option("--queue", default="", help="All messages of one queue: identity, next hop domain or connector."),
        click.option("--filter", "filter_", default="", help="Messages that fit, such as {Size -gt 1MB}."),
        click.option("--reason", default="", help="Why; needed for more than one message, kept with the record."),
        click.option("--dry-run", is_flag=True, help="Show what would be touched and do nothing."),
        click.option("--yes", is_flag=True, help="Do not ask before removing more than one message."),
        click.argument("messages", nargs=-1),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def act(context: click.Context, verb: str, as_json: bool, dry_run: bool, yes: bool, chosen: dict[str, Any]) -> None:
    """Order an action, or try it dry.

    Args:
        chosen: what `choosing` gave, and the action's own parameters by their names in `ActionOrder`.
    """
    from bridgehead.admin.queue.actions import ActionOrder, ActionPreview, ActionView

    names: Sequence[str] = chosen.pop("messages", ())
    order = ActionOrder(action=verb, messages=",".join(names), filter=chosen.pop("filter_", ""), **chosen)
    cli: CliContext = context.obj
    with cli.control(SCAN_SECONDS) as control:
        if dry_run:
            preview = control.call("actions.preview", order, ActionPreview)
            emit(preview, as_json, lambda: _preview_text(preview))
            return
        if verb in DESTRUCTIVE and len(names) != 1 and not yes:
            _confirm(context, control, order)
        done = _followed(control, control.call("actions.start", order, ActionView), quiet=as_json)
    emit(done, as_json, lambda: action_text(done))
    context.exit(0 if done.messages and not done.fault else NEGATIVE)


def _confirm(context: click.Context, control: "ControlClient", order: "ActionOrder") -> None:
    """Show what would go, and ask; where nobody can answer, refuse."""
    from bridgehead.admin.queue.actions import ActionPreview

    preview = control.call("actions.preview", order, ActionPreview)
    say(_preview_text(preview), err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("This removes more than one message: give --yes where nobody can be asked.", context)
    click.confirm(f"Remove {counted(preview.messages, 'message')}?", abort=True, err=True)


def _followed(control: "ControlClient", view: "ActionView", quiet: bool) -> "ActionView":
    """The action at its end; its progress is shown where somebody looks."""
    from bridgehead.admin.methods.actions import ActionNumber
    from bridgehead.admin.queue.actions import ActionView

    shown = not quiet and sys.stderr.isatty()
    while view.state == "Running":
        if shown:
            click.echo(f"\r{view.messages} messages, {view.progress:.0%} looked through", err=True, nl=False)
        time.sleep(_POLL_SECONDS)
        view = control.call("actions.show", ActionNumber(view.id), ActionView)
    if shown:
        click.echo("\r", err=True, nl=False)
    return view


def action_text(one: "ActionView") -> str:
    """An action in words."""
    color = "yellow" if one.state == "Running" or not one.messages else "green"
    lines = [
        f"Action {one.id}: {one.action} {paint(counted(one.messages, 'message'), color)}, {size(one.total_bytes)}",
        facts(
            [
                ("state", one.state if one.state != "Running" else f"Running, {one.progress:.0%} looked through"),
                ("on", one.target),
                ("how", one.details),
                ("by", one.by),
                ("reason", one.reason),
                ("started", when(one.started)),
                ("ended", when(one.ended)),
                ("pending", f"{counted(one.pending, 'message')} when the attempt ends" if one.pending else ""),
                ("undoes", f"action {one.undo_of}" if one.undo_of else ""),
                ("undone by", f"action {one.undone_by}" if one.undone_by else ""),
                ("fault", one.fault),
            ]
        ),
    ]
    lines += [f"  {queue.messages} in {queue.queue}" for queue in one.queues]
    lines += [f"  {skipped.messages} left alone: {skipped.reason}" for skipped in one.skipped]
    if one.undoable and one.messages:
        lines.append(f"  to undo it: bridgehead action undo {one.id}")
    return "\n".join(lines)


def _preview_text(preview: "ActionPreview") -> str:
    lines = [f"{preview.action} would touch {counted(preview.messages, 'message')}, {size(preview.total_bytes)}."]
    if preview.pending:
        lines.append(f"  {preview.pending} are being delivered: it takes effect when that ends")
    lines += [f"  {queue.messages} in {queue.queue}" for queue in preview.queues]
    lines += [f"  {skipped.messages} would be left alone: {skipped.reason}" for skipped in preview.skipped]
    if preview.sample:
        from bridgehead.admin.cli.queue.message import message_table

        lines += ["", message_table(preview.sample)]
    return "\n".join(lines)


def _list_text(found: "list[ActionView]") -> str:
    if not found:
        return "No action is recorded."
    rows = [
        (
            one.id,
            f"{one.started:%Y-%m-%d %H:%M:%SZ}" if one.started else "",
            one.by,
            one.action,
            one.messages,
            _state(one),
            one.reason,
        )
        for one in found
    ]
    return table(("ID", "STARTED", "BY", "ACTION", "MESSAGES", "STATE", "REASON"), rows, flexible=(6, 2))


def _state(one: "ActionView") -> str:
    return f"undone by {one.undone_by}" if one.undone_by else one.state
