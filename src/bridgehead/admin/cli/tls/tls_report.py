# SPDX-License-Identifier: MIT
"""`bridgehead tls-report list|show|results|send`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import AdminCommand, emit, json_option, table, when

if TYPE_CHECKING:
    from bridgehead.admin.tls.tls_reports import ReceivedReportView, SentReportView


@click.group("tls-report")
def tls_report() -> None:
    """How TLS went: reports of others on mail to us, and our own to others (RFC 8460)."""


@tls_report.command("list", cls=AdminCommand)
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="How far back.")
@json_option
@click.pass_context
def list_(context: click.Context, days: int, as_json: bool) -> None:
    """List the reports that others sent us.

    \b
    Examples:
      bridgehead tls-report list
    """
    from bridgehead.admin.methods.tls_reports import TlsReportSpan
    from bridgehead.admin.tls.tls_reports import ReceivedReportView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("tls_reports.list", TlsReportSpan(days), list[ReceivedReportView])
    rows = [
        (str(one.id), when(one.received_at), one.organization, ", ".join(one.domains), str(one.successes),
         str(one.failures))
        for one in found
    ]  # fmt: skip
    headings = ("ID", "RECEIVED", "FROM", "ABOUT", "GOOD", "FAILED")
    emit(found, as_json, lambda: table(headings, rows, flexible=(2,)) if rows else "No report has come.")


@tls_report.command(cls=AdminCommand)
@click.argument("report", type=click.IntRange(0))
@json_option
@click.pass_context
def show(context: click.Context, report: int, as_json: bool) -> None:
    """Show one report: who could not deliver to us over TLS, and why.

    \b
    Examples:
      bridgehead tls-report show 7
    """
    from bridgehead.admin.methods.tls_reports import TlsReportNumber
    from bridgehead.admin.tls.tls_reports import ReceivedReportView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("tls_reports.show", TlsReportNumber(report), ReceivedReportView)
    emit(found, as_json, lambda: _told(found))


def _told(report: "ReceivedReportView") -> str:
    lines = [
        f"{report.organization} ({report.contact}), report {report.report_id}",
        f"{report.begin:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M}, about {', '.join(report.domains)}",
        f"{report.successes} sessions went well, {report.failures} failed.",
    ]
    return "\n".join([*lines, *(f"* {sentence}." for sentence in report.sentences)])


@tls_report.command(cls=AdminCommand)
@click.argument("domain", required=False, default="")
@click.option("--days", type=click.IntRange(1, 3650), default=7, show_default=True, help="How far back.")
@json_option
@click.pass_context
def results(context: click.Context, domain: str, days: int, as_json: bool) -> None:
    """Show how TLS with recipient domains went, and what became of the reports on it.

    \b
    Examples:
      bridgehead tls-report results
      bridgehead tls-report results fabrikam.com --days 30
    """
    from bridgehead.admin.methods.tls_reports import TlsResultSpan
    from bridgehead.admin.tls.tls_reports import SentReportView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("tls_reports.results", TlsResultSpan(days, domain), list[SentReportView])
    emit(found, as_json, lambda: _results(found) if found else "No session has been counted.")


@tls_report.command(cls=AdminCommand)
@click.option("--today", is_flag=True, help="Report on today, too; what is to come of it is not reported any more.")
@json_option
@click.pass_context
def send(context: click.Context, today: bool, as_json: bool) -> None:
    """Make and send the reports that are due, now.

    \b
    Examples:
      bridgehead tls-report send
    """
    from bridgehead.admin.methods.tls_reports import TlsReportOrder
    from bridgehead.admin.tls.tls_reports import SentReportView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("tls_reports.send", TlsReportOrder(today), list[SentReportView])
    emit(found, as_json, lambda: _results(found) if found else "No report is due.")


def _results(found: "list[SentReportView]") -> str:
    rows = [
        (one.day, one.domain, str(one.successes), str(one.failures), one.state, one.reason or one.destinations)
        for one in found
    ]
    text = table(("DAY", "DOMAIN", "GOOD", "FAILED", "REPORT", "WHERE OR WHY"), rows, flexible=(5,))
    told = [f"{one.day} {one.domain}: {sentence}." for one in found for sentence in one.sentences]
    return "\n".join([text, *(["", *told] if told else [])])
