# SPDX-License-Identifier: MIT
"""`bridgehead connector list|match`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, emit, facts, json_option, paint, table

if TYPE_CHECKING:
    from bridgehead.admin.connector.connectors import ConnectorList, NotChosen, ReceiveMatch, SendMatch
    from bridgehead.directory.lookup import Directory
    from bridgehead.directory.user_record import User


@click.group()
def connector() -> None:
    """Look at connectors, and ask which one a client or a recipient meets. Works without a running server."""


@connector.command("list", cls=AdminCommand)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List receive, send and foreign connectors with their key properties.

    \b
    Examples:
      bridgehead connector list
    """
    from bridgehead.admin.connector.connectors import list_connectors

    cli: CliContext = context.obj
    found = list_connectors(cli.configuration)
    emit(found, as_json, lambda: _list_text(found))


@connector.command(cls=AdminCommand)
@click.option("--from", "client_ip", help="A client's IP address: which receive connector does it meet?")
@click.option("--port", default=25, show_default=True, help="The port it connects to.")
@click.option("--to-address", "local_ip", default="", help="The local address it connects to, where several listen.")
@click.option("--login", default="", help="The user it logs in as.")
@click.option("--sender", help="Try this reverse-path ('<>' for the null one).")
@click.option("--recipient", "recipients", multiple=True, help="Try this recipient; without --from: where does it go?")
@click.option("--size", "octets", default=0, help="Size of the message in octets, for send connectors.")
@json_option
@click.pass_context
def match(
    context: click.Context, client_ip: str | None, port: int, local_ip: str, login: str, sender: str | None,
    recipients: tuple[str, ...], octets: int, as_json: bool,
) -> None:  # fmt: skip
    """Say which connector, why, why not the others, and with which rights and limits.

    With --from: which receive connector the client meets and what it may do there. Without: which send connector
    takes mail for the recipient. Exit code 1 when no connector does, or an address that was tried is refused.

    \b
    Examples:
      bridgehead connector match --from 10.2.0.17
      bridgehead connector match --from 10.2.0.17 --port 587 --login scanner
      bridgehead connector match --from 203.0.113.9 --recipient x@example.net
      bridgehead connector match --recipient user@fabrikam.com
    """
    from bridgehead.admin.connector.connectors import match_receive, match_send

    cli: CliContext = context.obj
    if client_ip is None:
        if not recipients:
            raise click.UsageError("Give --from IP, or --recipient ADDRESS, or both.", context)
        sends = [match_send(cli.configuration, recipient, octets) for recipient in recipients]
        emit(sends, as_json, lambda: "\n\n".join(map(_send_text, sends)))
        context.exit(0 if all(one.connector or not one.others for one in sends) else NEGATIVE)
    found = match_receive(
        cli.configuration,
        client_ip=client_ip,
        port=port,
        local_ip=local_ip,
        login=_user(cli, login) if login else None,
        sender=sender,
        recipients=recipients,
        directory=_directory(cli) if recipients else None,
    )
    emit(found, as_json, lambda: _receive_text(found))
    context.exit(0 if found.connector and all(check.accepted for check in found.checks) else NEGATIVE)


def _user(cli: CliContext, name: str) -> "User":
    from bridgehead.admin.access.users import find_user

    return find_user(cli.within_data_directory(cli.configuration.directory.users_file), name)


def _directory(cli: CliContext) -> "Directory":
    from bridgehead.admin.access.recipients import open_directory

    return open_directory(cli.recipients())


def _list_text(found: "ConnectorList") -> str:
    parts = []
    if found.receive:
        rows: list[tuple[object, ...]] = [
            (one.name, _state(one.enabled), " ".join(one.bindings), " ".join(one.remote_ip_ranges),
             " ".join(one.permission_groups))
            for one in found.receive
        ]  # fmt: skip
        headings = ("RECEIVE", "STATE", "BINDINGS", "REMOTE RANGES", "PERMISSIONS")
        parts.append(table(headings, rows, flexible=(0, 2, 3, 4)))
    if found.send:
        rows = [
            (one.name, _state(one.enabled), " ".join(one.address_spaces), " ".join(one.smart_hosts) or "DNS",
             one.tls_auth_level or ("required" if one.require_tls else "opportunistic"))
            for one in found.send
        ]  # fmt: skip
        parts.append(table(("SEND", "STATE", "ADDRESS SPACES", "THROUGH", "TLS"), rows, flexible=(0, 2, 3)))
    if found.foreign:
        rows = [
            (one.name, _state(one.enabled), " ".join(one.address_spaces), one.drop_directory) for one in found.foreign
        ]
        parts.append(table(("FOREIGN", "STATE", "ADDRESS SPACES", "DROP DIRECTORY"), rows, flexible=(0, 2, 3)))
    return "\n\n".join(parts) or "There are no connectors."


def _state(enabled: bool) -> str:
    return "enabled" if enabled else "disabled"


def _others(others: "list[NotChosen]") -> list[str]:
    return ["not:", *(f"  {one.connector}: {one.reason}" for one in others)] if others else []


def _receive_text(found: "ReceiveMatch") -> str:
    if not found.connector:
        nothing = paint("no receive connector", "red")
        first = f"{found.client_ip} → {found.local}: {nothing}; the connection is refused"
        return "\n".join([first, f"  {found.reason}", *_others(found.others)])
    lines = [
        f"{found.client_ip} → {found.local}: {paint(found.connector, 'green')}",
        f"  {found.reason}",
        *_others(found.others),
        *([f"the device {paint(found.device, 'green')}: {found.device_reason}"] if found.device else []),
        f"as {found.principal}, whose mail counts as coming from {'inside' if found.counts_as_inside else 'outside'}:",
    ]
    for right in found.rights:
        mark = paint("yes", "green") if right.held else paint("no ", "red")
        lines += [f"  {mark} {right.right}", f"        {right.reason}"]
    for check in found.checks:
        reply = paint(check.reply, "green" if check.accepted else "red")
        lines.append(f"{check.command}:{check.address} → {reply}{f' ({check.reason})' if check.reason else ''}")
    lines += ["limits:", facts(list(found.limits.items()))]
    return "\n".join(lines)


def _send_text(found: "SendMatch") -> str:
    if not found.connector:
        return "\n".join([f"{found.recipient} → no send connector: {found.reason}", *_others(found.others)])
    lines = [
        f"{found.recipient} → {paint(found.connector, 'green')}",
        f"  {found.reason}",
        f"  next hop {found.next_hop} ({found.delivery_type})",
    ]
    return "\n".join([*lines, *_others(found.others)])
