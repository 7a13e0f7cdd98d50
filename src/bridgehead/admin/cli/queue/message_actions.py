# SPDX-License-Identifier: MIT
"""`bridgehead message suspend|resume|retry|resubmit|remove|redirect|set`: actions by message, queue or filter."""

from typing import Any

import rich_click as click

from bridgehead.admin.cli.output import AdminCommand, json_option
from bridgehead.admin.cli.queue.action import act, choosing


@click.command(cls=AdminCommand)
@choosing
@json_option
@click.pass_context
def suspend(context: click.Context, /, as_json: bool, dry_run: bool, yes: bool, **chosen: Any) -> None:
    """Hold messages in their queue until they are resumed. One that is being delivered stops after that attempt.

    MESSAGES are internal ids, network message ids or Message-IDs.

    \b
    Examples:
      bridgehead message suspend 4711
      bridgehead message suspend --queue contoso.com --reason "infected" --dry-run
    """
    act(context, "suspend", as_json, dry_run, yes, chosen)


@click.command(cls=AdminCommand)
@choosing
@json_option
@click.pass_context
def resume(context: click.Context, /, as_json: bool, dry_run: bool, yes: bool, **chosen: Any) -> None:
    """Let suspended messages go on. Those in the Poison queue go through the categorizer anew.

    \b
    Examples:
      bridgehead message resume 4711
      bridgehead message resume --filter "{HeldBy -eq 'anna'}" --reason "checked"
    """
    act(context, "resume", as_json, dry_run, yes, chosen)


@click.command(cls=AdminCommand)
@choosing
@json_option
@click.pass_context
def retry(context: click.Context, /, as_json: bool, dry_run: bool, yes: bool, **chosen: Any) -> None:
    """Try messages now instead of at their next retry; their queue connects now, too.

    \b
    Examples:
      bridgehead message retry 4711
      bridgehead message retry --filter "{RetryCount -ge 3}" --reason "let in now"
    """
    act(context, "retry", as_json, dry_run, yes, chosen)


@click.command(cls=AdminCommand)
@choosing
@json_option
@click.pass_context
def resubmit(context: click.Context, /, as_json: bool, dry_run: bool, yes: bool, **chosen: Any) -> None:
    """Put messages through the categorizer anew: recipients are looked up and routed as things are now.

    \b
    Examples:
      bridgehead message resubmit 4711
      bridgehead message resubmit --queue Unreachable --reason "new connector"
    """
    act(context, "resubmit", as_json, dry_run, yes, chosen)


@click.command(cls=AdminCommand)
@choosing
@click.option("--with-ndr/--without-ndr", default=True, show_default=True, help="Tell the senders, or nobody.")
@json_option
@click.pass_context
def remove(context: click.Context, /, as_json: bool, dry_run: bool, yes: bool, **chosen: Any) -> None:
    """Remove messages from their queues. Without NDR they are kept for a day, so that it can be undone.

    One that is being delivered goes when that attempt ends, unless it was delivered.

    \b
    Examples:
      bridgehead message remove 4711
      bridgehead message remove --queue spam.example --without-ndr --reason "spam"
      bridgehead message remove --filter "{Subject -like '*.exe*'}" --dry-run
    """
    act(context, "remove", as_json, dry_run, yes, chosen)


@click.command(cls=AdminCommand)
@choosing
@click.option("--connector", required=True, help="Send connector or foreign connector to deliver through.")
@click.option("--smart-host", default="", help="A host to send to through that connector: a name or [address].")
@json_option
@click.pass_context
def redirect(context: click.Context, /, as_json: bool, dry_run: bool, yes: bool, **chosen: Any) -> None:
    """Send messages another way: through another connector, or to another smart host. Mail to come is not affected.

    \b
    Examples:
      bridgehead message redirect --queue a.example --connector B --reason x
      bridgehead message redirect 4711 --connector Backup --smart-host [192.0.2.9]
    """
    act(context, "redirect", as_json, dry_run, yes, chosen)


@click.command("set", cls=AdminCommand)
@choosing
@click.option("--priority", default="", help="High, Normal or Low.")
@click.option("--expires", default="", help='A time, or a span from now such as "2h"; "default" for the settings.')
@json_option
@click.pass_context
def set_(context: click.Context, /, as_json: bool, dry_run: bool, yes: bool, **chosen: Any) -> None:
    """Change the priority of messages, or when they expire.

    \b
    Examples:
      bridgehead message set 4711 --priority High
      bridgehead message set --queue contoso.com --expires 3d --reason "outage"
    """
    if bool(chosen["priority"]) == bool(chosen["expires"]):
        raise click.UsageError("Give either --priority or --expires.", context)
    act(context, "priority" if chosen["priority"] else "expiry", as_json, dry_run, yes, chosen)


MESSAGE_COMMANDS = (suspend, resume, retry, resubmit, remove, redirect, set_)
