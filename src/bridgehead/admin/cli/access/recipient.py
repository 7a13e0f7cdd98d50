# SPDX-License-Identifier: MIT
"""`bridgehead recipient add|list|show|remove|import|export`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, counted, emit, facts, json_option, paint, size, table

if TYPE_CHECKING:
    from bridgehead.admin.access.recipients import RecipientList, RecipientView
    from bridgehead.directory.csv_import import ImportResult

_SHOWN = 50
_TYPES = ("Mailbox", "MailUser", "MailContact", "DistributionGroup")


@click.group()
def recipient() -> None:
    """Manage mailboxes, mail users, contacts and groups. The running server notices changes by itself."""


@recipient.command(cls=AdminCommand)
@click.argument("name")
@click.option(
    "--type", "type_", type=click.Choice(_TYPES, case_sensitive=False), default="Mailbox", show_default=True,
    help="What it is; a mail user or contact has its mailbox elsewhere.",
)  # fmt: skip
@click.option("--address", "addresses", multiple=True, required=True, help="Addresses; the first is the primary one.")
@click.option("--display-name", default="", help="Name for people.")
@click.option("--mailbox", default="", help="Mailbox name in the store, where it is not NAME.")
@click.option("--external-address", default="", help="Mail user or contact: where its mail really goes.")
@click.option("--forward-to", default="", help="Mail goes there instead.")
@click.option("--keep-copy", is_flag=True, help="With --forward-to: also into the mailbox.")
@click.option("--member", "members", multiple=True, help="Group: a member's address or name; several times.")
@click.option("--max-receive-size", default="", help='Largest message, such as "10 MB".')
@click.option("--require-authentication", is_flag=True, help="Take mail from authenticated senders only.")
@click.option("--accept-only-from", multiple=True, help="Take mail only from this sender or group; several times.")
@click.option("--reject-from", multiple=True, help="Refuse mail from this sender or group; several times.")
@click.option("--managed-by", default="", help="Group: its manager.")
@json_option
@click.pass_context
def add(
    context: click.Context, /, name: str, type_: str, addresses: tuple[str, ...], as_json: bool, **options: Any
) -> None:  # fmt: skip
    """Add a recipient. An address in a domain that is not accepted is a warning.

    \b
    Examples:
      bridgehead recipient add anna --address anna@contoso.com
      bridgehead recipient add sales --type DistributionGroup \\
        --address sales@contoso.com --member anna --member bob
      bridgehead recipient add bob --type MailUser \\
        --address bob@contoso.com --external-address bob@fabrikam.com
    """
    from bridgehead.admin.access.recipients import add_recipient

    cli: CliContext = context.obj
    values: dict[str, object] = {
        "name": name,
        "type": type_,
        "primary_smtp_address": addresses[0],
        "email_addresses": list(addresses),
        "display_name": options["display_name"],
        "mailbox": options["mailbox"],
        "external_email_address": options["external_address"],
        "forwarding_address": options["forward_to"],
        "deliver_to_mailbox_and_forward": options["keep_copy"],
        "members": list(options["members"]),
        "max_receive_size": options["max_receive_size"],
        "require_sender_authentication": options["require_authentication"],
        "accept_messages_only_from": list(options["accept_only_from"]),
        "reject_messages_from": list(options["reject_from"]),
        "managed_by": options["managed_by"],
    }
    given = {field: value for field, value in values.items() if value not in ("", [], False)}
    view = add_recipient(cli.recipients(to_change=True), given)
    done = f"Added {view.type} {view.name} <{view.primary_smtp_address}>."
    emit(view, as_json, lambda: "\n".join([done, *_warned(view.warnings)]))


@recipient.command("list", cls=AdminCommand)
@click.argument("pattern", default="")
@click.option("--type", "type_", type=click.Choice(_TYPES, case_sensitive=False), default=None, help="Only this type.")
@click.option("--limit", default=1000, show_default=True, help="Most recipients shown.")
@json_option
@click.pass_context
def list_(context: click.Context, pattern: str, type_: str | None, limit: int, as_json: bool) -> None:
    """List recipients by name.

    PATTERN is a name or an address; * stands for any text.

    \b
    Examples:
      bridgehead recipient list
      bridgehead recipient list '*@sales.contoso.com' --type DistributionGroup
    """
    from bridgehead.admin.access.recipients import list_recipients

    cli: CliContext = context.obj
    found = list_recipients(cli.recipients(), pattern, type_ or "", limit)
    emit(found, as_json, lambda: _list_text(found))


@recipient.command(cls=AdminCommand)
@click.argument("name")
@json_option
@click.pass_context
def show(context: click.Context, name: str, as_json: bool) -> None:
    """Show one recipient, by name or any of its addresses.

    \b
    Examples:
      bridgehead recipient show anna@contoso.com
    """
    from bridgehead.admin.access.recipients import show_recipient

    cli: CliContext = context.obj
    view = show_recipient(cli.recipients(), name)
    emit(view, as_json, lambda: _show_text(view))


@recipient.command(cls=AdminCommand)
@click.argument("name")
@json_option
@click.pass_context
def remove(context: click.Context, name: str, as_json: bool) -> None:
    """Remove a recipient, by name or any of its addresses. Its mailbox's mail stays where it is.

    \b
    Examples:
      bridgehead recipient remove anna
    """
    from bridgehead.admin.access.recipients import remove_recipient

    cli: CliContext = context.obj
    done = remove_recipient(cli.recipients(to_change=True), name)
    emit(done, as_json, lambda: f"Removed {done.name}.")


@recipient.command("import", cls=AdminCommand)
@click.argument("table_file", metavar="FILE.csv", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--replace", is_flag=True, help="Recipients of the same name are replaced.")
@click.option("--skip-bad-rows", is_flag=True, help="Import the good rows and report the others.")
@json_option
@click.pass_context
def import_(context: click.Context, table_file: Path, replace: bool, skip_bad_rows: bool, as_json: bool) -> None:
    """Import a CSV table with the columns of Exchange's exports (Get-Recipient, Get-Mailbox, ...).

    With a bad row nothing is imported, unless --skip-bad-rows. Exit code 1 when there are bad rows.

    \b
    Examples:
      bridgehead recipient import recipients.csv
      bridgehead recipient import recipients.csv --replace --skip-bad-rows
    """
    from bridgehead.admin.access.recipients import import_recipients

    cli: CliContext = context.obj
    if sys.stderr.isatty() and table_file.is_file():
        click.echo(f"Reading {table_file} ({size(table_file.stat().st_size)}) ...", err=True)
    result = import_recipients(cli.recipients(to_change=True), table_file, replace=replace, skip_bad_rows=skip_bad_rows)
    emit(result, as_json, lambda: _import_text(result))
    context.exit(NEGATIVE if result.bad_rows else 0)


@recipient.command(cls=AdminCommand)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File; standard output without.")
@json_option
@click.pass_context
def export(context: click.Context, output: Path | None, as_json: bool) -> None:
    """Export all recipients as a CSV table that `recipient import` and Exchange's scripts read.

    --json tells how many there were and needs --output.

    \b
    Examples:
      bridgehead recipient export --output recipients.csv
    """
    from bridgehead.admin.access.recipients import export_recipients

    cli: CliContext = context.obj
    if output is None:
        if as_json:
            raise click.UsageError("--json needs --output.", context)
        export_recipients(cli.recipients(), sys.stdout)
        return

    def progress(count: int) -> None:
        if count % 10_000 == 0 and sys.stderr.isatty():
            click.echo(f"{count} recipients ...", err=True)

    try:
        with output.open("w", encoding="utf-8-sig", newline="") as file:
            result = export_recipients(cli.recipients(), file, progress)
    except OSError as error:
        raise click.FileError(str(output), error.strerror or str(error)) from None
    emit(result, as_json, lambda: f"Exported {counted(result.exported, 'recipient')} to {output}.")


def _list_text(found: "RecipientList") -> str:
    if not found.recipients:
        return "No recipient fits."
    rows = [(one.name, one.type, one.primary_smtp_address, one.display_name) for one in found.recipients]
    text = table(("NAME", "TYPE", "ADDRESS", "DISPLAY NAME"), rows, flexible=(0, 2, 3))
    return text + ("\nThere are more; narrow it down, or raise --limit." if found.truncated else "")


def _show_text(one: "RecipientView") -> str:
    flags = [
        word
        for word, holds in (
            ("takes mail from authenticated senders only", one.require_sender_authentication),
            ("keeps a copy of what it forwards", one.deliver_to_mailbox_and_forward),
        )
        if holds
    ]
    pairs: list[tuple[str, object]] = [
        ("type", one.type),
        ("display name", one.display_name),
        ("primary address", one.primary_smtp_address),
        ("other addresses", ", ".join(text for text in one.email_addresses if text != one.primary_smtp_address)),
        ("mailbox", one.mailbox),
        ("external address", one.external_email_address),
        ("forwards to", one.forwarding_address),
        ("members", ", ".join(one.members)),
        ("managed by", one.managed_by),
        ("max receive size", size(one.max_receive_size) if one.max_receive_size else ""),
        ("accepts only from", ", ".join(one.accept_messages_only_from)),
        ("rejects from", ", ".join(one.reject_messages_from)),
        ("and", "; ".join(flags)),
    ]
    return f"{one.name}\n{facts(pairs)}"


def _import_text(result: "ImportResult") -> str:
    lines = _first(list(map(str, result.bad_rows)))
    bad = len({row.line for row in result.bad_rows})
    lines.append(f"Imported {counted(result.imported, 'recipient')}; {counted(bad, 'bad row')}.")
    return "\n".join(lines + _warned(result.warnings))


def _warned(warnings: list[str]) -> list[str]:
    return _first([paint(f"warning: {one}", "yellow") for one in warnings])


def _first(lines: list[str]) -> list[str]:
    """As many as somebody reads."""
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"... and {len(lines) - _SHOWN} more"]
