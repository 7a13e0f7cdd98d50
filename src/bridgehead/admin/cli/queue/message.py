# SPDX-License-Identifier: MIT
"""`bridgehead message list|show`, and the group that the actions of `message_actions.py` join."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import SCAN_SECONDS, CliContext
from bridgehead.admin.cli.output import AdminCommand, age, emit, facts, json_option, paint, size, table, when

if TYPE_CHECKING:
    from bridgehead.admin.calls.client import ControlClient
    from bridgehead.admin.queue.messages import MessageDetail, MessageView


@click.group()
def message() -> None:
    """Look at queued messages and act on them. Where messages went that have left: `bridgehead trace`."""


@message.command("list", cls=AdminCommand)
@click.option("--queue", default="", help="Only this queue: identity or next hop domain.")
@click.option("--status", default="", help="Only this status: Ready, Active, Retry, Suspended, ...")
@click.option("--sender", default="", help="Reverse-path; * stands for any text, <> for reports.")
@click.option("--recipient", default="", help="A recipient; * stands for any text.")
@click.option("--subject", default="", help="The subject; * stands for any text.")
@click.option("--message-id", default="", help="The Message-ID; * stands for any text.")
@click.option("--filter", default="", help="An expression such as {Size -gt 1MB -and RetryCount -ge 3}.")
@click.option("--limit", default=1000, show_default=True, help="Most messages shown.")
@json_option
@click.pass_context
def list_(context: click.Context, /, as_json: bool, limit: int, **filters: str) -> None:
    """List queued messages, the oldest first.

    \b
    Examples:
      bridgehead message list --queue contoso.com
      bridgehead message list --sender '*@contoso.com' --status Retry
      bridgehead message list --filter "{Size -gt 1MB -and RetryCount -ge 3}"
    """
    from bridgehead.admin.methods.messages import MessageListParameters
    from bridgehead.admin.queue.messages import MessageView

    cli: CliContext = context.obj
    with cli.control(SCAN_SECONDS) as control:
        messages = control.call("messages.list", MessageListParameters(limit=limit, **filters), list[MessageView])
    emit(messages, as_json, lambda: message_table(messages) if messages else "No queued message fits.")


@message.command(cls=AdminCommand)
@click.argument("identity")
@click.option("--content", is_flag=True, help="Print the raw content and nothing else.")
@json_option
@click.pass_context
def show(context: click.Context, identity: str, content: bool, as_json: bool) -> None:
    """Show a queued message: envelope, recipients with their states, header.

    IDENTITY is the internal message id, the network message id or the Message-ID.

    \b
    Examples:
      bridgehead message show 4711
      bridgehead message show 4711 --content > message.eml
    """
    from bridgehead.admin.methods.messages import MessageParameters
    from bridgehead.admin.queue.messages import MessageDetail

    cli: CliContext = context.obj
    with cli.control(SCAN_SECONDS) as control:
        found = control.call("messages.show", MessageParameters(identity), list[MessageDetail])
        if content:
            _print_content(control, found[0].message.id)
            return
    emit(found, as_json, lambda: "\n\n".join(map(_text, found)))


def _held(one: "MessageView") -> str:
    """Who holds a message, since when and why."""
    who = f"standing rule {one.standing_rule}" if one.standing_rule else one.held_by
    if not who:
        return ""
    return f"{who}, {when(one.held_since)}" + (f": {one.hold_reason}" if one.hold_reason else "")


def message_table(messages: "Sequence[MessageView]") -> str:
    """Messages as a table that fits the terminal."""
    rows = [
        (one.id, one.status, age(one.date_received), size(one.size), one.from_address, _recipients(one), one.last_error)
        for one in messages
    ]
    return table(("ID", "STATUS", "AGE", "SIZE", "FROM", "TO", "LAST ERROR"), rows, flexible=(4, 5, 6), first=6)


def _recipients(one: "MessageView") -> str:
    first = one.recipients[0].address if one.recipients else ""
    return first if len(one.recipients) < 2 else f"{first} +{len(one.recipients) - 1}"


def _print_content(control: "ControlClient", number: int) -> None:
    from bridgehead.admin.methods.messages import ContentParameters
    from bridgehead.admin.queue.messages import ContentPart

    offset = 0
    output = sys.stdout.buffer
    while True:
        part = control.call("messages.content", ContentParameters(number, offset), ContentPart)
        output.write(part.data)
        offset += len(part.data)
        if offset >= part.total or not part.data:
            break
    output.flush()


def _text(detail: "MessageDetail") -> str:
    one = detail.message
    client = " ".join(part for part in (one.client_hostname, f"[{one.source_ip}]" if one.source_ip else "") if part)
    lines = [
        f"Message {one.id}: {paint(one.status, 'yellow' if one.status == 'Retry' else 'green')} in {one.queue}",
        facts(
            [
                ("from", one.from_address),
                ("subject", one.subject),
                ("message id", one.message_id),
                ("network message id", one.network_message_id),
                ("size", size(one.size)),
                ("received", when(one.date_received)),
                ("from client", f"{client}, HELO {one.helo}" if one.helo else client),
                ("through", f"{one.connector} ({one.source}) as {one.principal}"),
                ("priority", one.priority),
                ("SCL", "" if one.scl is None else one.scl),
                ("held by", _held(one)),
                ("expires", when(one.expiration_time)),
                ("envelope id", one.envelope_id),
                ("retries", one.retry_count or ""),
                ("next attempt", when(one.next_attempt)),
                ("next deadline", when(one.deadline)),
                ("last error", one.last_error),
                ("in doubt", "its last attempt may have delivered it" if one.in_doubt else ""),
                ("crashes", one.crash_count or ""),
            ]
        ),
        "  recipients",
    ]
    for recipient in one.recipients:
        lines.append(f"    {recipient.address}  {recipient.state}")
        if recipient.last_error:
            lines.append(f"      {recipient.last_error}")
    if detail.last_failure:
        lines.append(f"  last failure, {when(detail.failed_at)} with {detail.failed_with}")
        lines += [f"    {line}" for line in detail.last_failure]
    lines.append("")
    lines.append(detail.header_fault or "\n".join(f"  {line}" for line in detail.header.rstrip("\n").split("\n")))
    return "\n".join(lines)
