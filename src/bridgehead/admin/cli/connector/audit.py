# SPDX-License-Identifier: MIT
"""`bridgehead audit`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, counted, emit, json_option, paint, say

if TYPE_CHECKING:
    from bridgehead.admin.connector.audit_report import AuditReport, ConnectorAudit

_ANSWER_SECONDS = 600.0


@click.command(cls=AdminCommand)
@click.option("--last", is_flag=True, help="Show the last report instead of trying again.")
@click.option("--rights", is_flag=True, help="Name the rights behind each sentence.")
@json_option
@click.pass_context
def audit(context: click.Context, last: bool, rights: bool, as_json: bool) -> None:
    """Who may do what on each receive connector, what is open to whom, and whether anybody can relay.

    The open-relay self-test says the known address tricks to every connector over loopback, MAIL and RCPT only. The
    server runs it by itself at the start and after each reload. Exit code 1 when something is open that should not be.

    \b
    Examples:
      bridgehead audit
      bridgehead audit --last --json
    """
    cli: CliContext = context.obj
    report = _report(cli, last)
    emit(report, as_json, lambda: _text(report, rights))
    context.exit(NEGATIVE if report.verdict.value == "failure" else 0)


def _report(cli: CliContext, last: bool) -> "AuditReport":
    from bridgehead.admin.connector.audit_report import AuditReport
    from bridgehead.admin.faults import ServerNotRunning

    try:
        with cli.control(timeout=_ANSWER_SECONDS) as control:
            return control.call("audit.report" if last else "audit.run", None, AuditReport)
    except ServerNotRunning:
        say(paint("The server is not running; the self-test is worked out from the configuration.", "yellow"), err=True)
    import asyncio

    from bridgehead.admin.connector.audit import audit as run_audit

    return asyncio.run(run_audit(cli.site()))


def _text(report: "AuditReport", rights: bool) -> str:
    from bridgehead.admin.cli.probe.text import MARKS

    parts = [_connector(one, rights) for one in report.connectors]
    if report.exposures:
        lines = ["What is open:"]
        for one in report.exposures:
            mark, color = MARKS[one.verdict.value]
            lines.append(f'  {paint(mark, color)} {one.name}, "{one.connector}": {one.sentence}')
            lines.append(f"      {one.setting}: {one.remedy}")
        parts.append("\n".join(lines))
    lines = [f"Open-relay self-test: {report.self_test}"]
    for trick in report.accepted_tricks:
        mark, color = MARKS[trick.verdict.value]
        how = "" if trick.on_the_wire else ", by evaluation"
        lines.append(f'  {paint(mark, color)} "{trick.connector}", {trick.trick}{how}: {trick.command} → {trick.reply}')
        lines.append(f"      {trick.reason}")
    parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _connector(one: "ConnectorAudit", rights: bool) -> str:
    state = "" if one.enabled else " (disabled)"
    where = f"{', '.join(one.bindings)}, reached from {one.reach}, for clients in {', '.join(one.remote_ip_ranges)}"
    lines = [f'"{one.name}"{state}: {where}']
    for each in one.classes:
        what = f"none: {each.absent}" if each.absent else "; ".join(each.may)
        lines.append(f"  {each.clients}: {what}")
        if rights and each.rights:
            lines.append(f"      {', '.join(each.rights)}")
    if one.enabled:
        lines.append(f"  tried: {counted(one.tricks_tried, 'trick')}, {one.tricks_on_the_wire} of them on the wire")
    return "\n".join(lines)
