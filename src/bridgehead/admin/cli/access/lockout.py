# SPDX-License-Identifier: MIT
"""`bridgehead lockout list|lift`."""

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import AdminCommand, emit, json_option, table, when


@click.group()
def lockout() -> None:
    """Accounts and sources that are locked after failed logons: list them, lift a lock."""


@lockout.command("list", cls=AdminCommand)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List who is locked, and until when.

    \b
    Examples:
      bridgehead lockout list
    """
    from bridgehead.admin.access.lockouts import LockoutView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("lockouts.list", None, list[LockoutView])
    rows = [
        (one.account or "any", one.source or "anywhere", str(one.failures), str(one.strikes), when(one.until))
        for one in found
    ]
    headings = ("ACCOUNT", "FROM", "FAILURES", "LOCKS", "UNTIL")
    emit(found, as_json, lambda: table(headings, rows, flexible=(0,)) if rows else "Nobody is locked.")


@lockout.command(cls=AdminCommand)
@click.argument("account", required=False, default="")
@click.option("--source", default="", help="Lift the lock of an IP address instead.")
@click.option("--all", "everybody", is_flag=True, help="Lift every lock.")
@json_option
@click.pass_context
def lift(context: click.Context, account: str, source: str, everybody: bool, as_json: bool) -> None:
    """Lift the lock of an account, of a source or of everybody, and forget the failed logons.

    \b
    Examples:
      bridgehead lockout lift scanner
      bridgehead lockout lift --source 192.0.2.7
    """
    from bridgehead.admin.access.lockouts import LockoutLift
    from bridgehead.admin.methods.lockouts import LiftOrder

    cli: CliContext = context.obj
    with cli.control() as control:
        done = control.call("lockouts.lift", LiftOrder(account, source, everybody), LockoutLift)
    emit(done, as_json, lambda: f"Lifted; {done.lifted} of accounts and sources begin anew.")
