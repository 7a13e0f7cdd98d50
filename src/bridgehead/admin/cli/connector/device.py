# SPDX-License-Identifier: MIT
"""`bridgehead device list|show|test|unknown`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
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
    from bridgehead.admin.connector.devices import DeviceList, DeviceTest, DeviceView, Inventory, UnknownSender

_SCAN_SECONDS = 600.0


@click.group()
def device() -> None:
    """Printers, scanners and programs that are known by their address: look, and ask about their mail."""


@device.command("list", cls=AdminCommand)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List devices: when each was last seen, its messages, errors and TLS.

    \b
    Examples:
      bridgehead device list
    """
    from bridgehead.admin.connector.devices import DeviceList

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("devices.list", None, DeviceList)
    emit(found, as_json, lambda: _list_text(found))


@device.command(cls=AdminCommand)
@click.argument("name")
@json_option
@click.pass_context
def show(context: click.Context, name: str, as_json: bool) -> None:
    """Show one device: what it may do, what it did, and the path of its mail.

    \b
    Examples:
      bridgehead device show printer-3
    """
    from bridgehead.admin.connector.devices import DeviceView
    from bridgehead.admin.methods.devices import DeviceName

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("devices.show", DeviceName(name=name), DeviceView)
    emit(found, as_json, lambda: _show_text(found))


@device.command(cls=AdminCommand)
@click.argument("client_ip", metavar="ADDRESS|DEVICE")
@click.option("--from", "sender", default="", help="What it says in MAIL FROM; left out: the null reverse-path.")
@click.option("--author", default="", help="What its From field says, where that is not the same.")
@click.option("--to", "recipients", multiple=True, help="A recipient; may be given several times.")
@click.option("--port", default=25, show_default=True, help="The port it connects to.")
@click.option("--to-address", "local_ip", default="", help="The local address it connects to, where several listen.")
@json_option
@click.pass_context
def test(
    context: click.Context, client_ip: str, sender: str, author: str, recipients: tuple[str, ...], port: int,
    local_ip: str, as_json: bool,
) -> None:  # fmt: skip
    """Say what would become of a device's mail, and why: nothing is sent. Works without a running server.

    Exit code 1 when something of it would be refused.

    \b
    Examples:
      bridgehead device test 10.2.0.17 --from scanner --to x@fabrikam.com
      bridgehead device test printer-3 --from root@localhost --author Scanner
    """
    cli: CliContext = context.obj
    found = _tried(cli, client_ip, sender, author, recipients, port, local_ip)
    emit(found, as_json, lambda: _test_text(found))
    context.exit(0 if found.accepted else NEGATIVE)


def _tried(
    cli: CliContext, client_ip: str, sender: str, author: str, recipients: tuple[str, ...], port: int, local_ip: str
) -> "DeviceTest":  # fmt: skip
    from bridgehead.admin.connector.devices import DeviceTest, test_device
    from bridgehead.admin.faults import ServerNotRunning
    from bridgehead.admin.methods.devices import DeviceTrial

    trial = DeviceTrial(
        client_ip=client_ip, sender=sender, author=author, recipients=list(recipients), port=port, local_ip=local_ip
    )
    try:
        with cli.control() as control:
            return control.call("devices.test", trial, DeviceTest)
    except ServerNotRunning:
        say(paint("The server is not running; the configuration file is asked.", "yellow"), err=True)
    return test_device(
        cli.configuration, cli.site().directory, client_ip=client_ip, port=port, local_ip=local_ip, sender=sender,
        author=author, recipients=recipients,
    )  # fmt: skip


@device.command(cls=AdminCommand)
@click.option("--days", default=7, show_default=True, help="How far back to look.")
@json_option
@click.pass_context
def unknown(context: click.Context, days: int, as_json: bool) -> None:
    """List clients that send without a login and are no device, each with a [[devices]] table to paste.

    It is read from the message tracking logs. Look at each proposal before you use it: it allows what was seen.

    \b
    Examples:
      bridgehead device unknown --days 30
    """
    from bridgehead.admin.connector.devices import Inventory
    from bridgehead.admin.methods.devices import InventoryWanted

    cli: CliContext = context.obj
    with cli.control(_SCAN_SECONDS) as control:
        found = control.call("devices.unknown", InventoryWanted(days=days), Inventory)
    emit(found, as_json, lambda: _inventory_text(found))


def _list_text(found: "DeviceList") -> str:
    rows: list[tuple[object, ...]] = [
        (
            one.name if one.enabled else f"{one.name} (disabled)", " ".join(one.remote_ip_ranges),
            when(one.last_seen) if one.last_seen else "never", one.messages, one.errors,
            one.tls_seen or ("none" if one.last_connection else ""), one.connector,
        )
        for one in found.devices
    ]  # fmt: skip
    headings = ("NAME", "ADDRESSES", "LAST SEEN", "MESSAGES", "ERRORS", "TLS", "THROUGH")
    nothing = "There are no devices. `bridgehead device unknown` shows who sends without being one."
    return table(headings, rows, flexible=(0, 1, 6)) if rows else nothing


def _show_text(one: "DeviceView") -> str:
    lines: list[tuple[str, object]] = [
        ("device", one.name if one.enabled else f"{one.name} (disabled)"),
        ("addresses", ", ".join(one.remote_ip_ranges)),
        ("owner", one.owner or "nobody is named"),
        ("comment", one.comment),
        ("senders", ", ".join(one.senders) or "none of its own"),
        ("others become", one.rewrite_sender or "refused"),
        ("recipients", ", ".join(one.recipients)),
        ("TLS", one.tls),
        ("silence", f"alarm after {span(one.silent_after)}" if one.silent_after else "alarm by its habit"),
        ("path", "; ".join(one.path)),
        ("last message", when(one.last_seen) if one.last_seen else "none yet"),
        ("last connection", _connection(one)),
        ("messages", f"{one.messages}, {size(one.octets)}, {one.rewritten} of them rewritten"),
        ("errors", one.errors),
    ]
    if one.last_error and one.last_error_at:
        lines.append(("last error", f"{when(one.last_error_at)}: {one.last_error}"))
    return facts([(name, value) for name, value in lines if value != ""])


def _connection(one: "DeviceView") -> str:
    if one.last_connection is None:
        return "none yet"
    said = f" as {one.helo}" if one.helo else ""
    where = f'{when(one.last_connection)} from {one.client_ip}{said} through "{one.connector}"'
    return f"{where}, TLS {one.tls_seen or 'none'}"


def _test_text(found: "DeviceTest") -> str:
    if not found.connector:
        lines = [f"{found.client_ip}: {paint('no receive connector', 'red')}", f"  {found.connector_reason}"]
    else:
        who = f"the device {paint(found.device, 'green')}" if found.device else paint("no device", "yellow")
        lines = [
            f"{found.client_ip} → {found.connector}: {found.connector_reason}",
            f"{who}: {found.reason}",
            f"as {found.principal}" + (f", TLS {found.tls}" if found.tls else ""),
        ]
    for check in found.checks:
        reply = paint(check.reply, "green" if check.accepted else "red")
        lines.append(f"{check.command}: {check.address} → {reply}{f' ({check.reason})' if check.reason else ''}")
    lines += found.routes
    lines += [f"not {other.connector}: {other.reason}" for other in found.others]
    return "\n".join(lines)


def _inventory_text(found: "Inventory") -> str:
    parts = [_unknown_text(one) for one in found.senders]
    if not parts:
        parts.append("Nobody sends without being a device or having a login.")
    if not found.complete:
        parts.append(f"# Only the newest {found.messages} messages were looked at: give fewer --days.")
    return "\n".join(parts)


def _unknown_text(one: "UnknownSender") -> str:
    outside = f"; {one.outside} recipients outside" if one.outside else ""
    through = f"through {', '.join(one.connectors)}; TLS {', '.join(one.tls)}"
    return "\n".join(
        (
            f"# {counted(one.messages, 'message')}, the last {when(one.last_seen)}, {through}",
            f"# sends as {', '.join(one.senders) or '<>'} to {', '.join(one.recipient_domains)}{outside}",
            one.proposal,
        )
    )
