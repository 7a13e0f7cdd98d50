# SPDX-License-Identifier: MIT
"""`bridgehead audit-log`."""

from datetime import datetime
from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.moment import read_moment
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, emit, json_option, table

if TYPE_CHECKING:
    from bridgehead.admin.access.audit_log import AuditRecord


@click.command("audit-log", cls=AdminCommand)
@click.option("--caller", default="", help="Only what this account or login did; a part of its name is enough.")
@click.option("--origin", default="", help="Only from there: an address, or local.")
@click.option("--method", default="", help="Only these methods: queues.suspend, or a part such as messages.")
@click.option("--text", default="", help="Only records in which this text occurs: a queue's name, a reason.")
@click.option(
    "--since", callback=read_moment, help="From then on: 2026-11-23, 2026-11-23T09:00 (UTC), or a span such as 2h."
)
@click.option("--until", callback=read_moment, help="Before then; same forms.")
@click.option("--failed", is_flag=True, help="Only what was refused or failed.")
@click.option("--limit", default=1000, show_default=True, help="The newest that many.")
@json_option
@click.pass_context
def audit_log(
    context: click.Context, caller: str, origin: str, method: str, text: str, since: datetime | None,
    until: datetime | None, failed: bool, limit: int, as_json: bool,
) -> None:  # fmt: skip
    """Show who changed what: every change, reading of content, log-on and refusal. Works without a running server.

    \b
    Examples:
      bridgehead audit-log --since 1d
      bridgehead audit-log --caller anna --method queues
      bridgehead audit-log --failed
    """
    from bridgehead.admin.access.audit_log import AuditFilter, read_audit_log

    cli: CliContext = context.obj
    wanted = AuditFilter(
        caller=caller, origin=origin, method=method, text=text, since=since, until=until, failed=failed,
        limit=limit,
    )  # fmt: skip
    found = read_audit_log(cli.within_data_directory(cli.configuration.logs.log_directory), wanted)
    emit(found, as_json, lambda: _text(found) if found else "No record fits.")
    context.exit(0 if found else NEGATIVE)


def _text(found: "list[AuditRecord]") -> str:
    rows = [
        (f"{one.time:%Y-%m-%d %H:%M:%S}Z", one.caller, one.origin, one.method or one.event, _parameters(one),
         f"{one.outcome}: {one.message}" if one.message else one.outcome)
        for one in found
    ]  # fmt: skip
    return table(("TIME", "CALLER", "FROM", "METHOD", "PARAMETERS", "OUTCOME"), rows, flexible=(1, 2, 3, 4, 5))


def _parameters(one: "AuditRecord") -> str:
    return " ".join(f"{name}={value}" for name, value in one.parameters.items())
