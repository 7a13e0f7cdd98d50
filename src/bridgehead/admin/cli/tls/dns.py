# SPDX-License-Identifier: MIT
"""`bridgehead dns check`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, emit, json_option, paint, say, wrapped

if TYPE_CHECKING:
    from bridgehead.admin.tls.dns_records import DnsReport

_COLOURS = {"pass": "green", "note": "cyan", "warning": "yellow", "failure": "red"}


@click.group()
def dns() -> None:
    """DNS records that belong to this server."""


@dns.command(cls=AdminCommand)
@click.argument("domains", nargs=-1)
@click.option("--zone", is_flag=True, help="Print only the records to publish, as a zone file has them.")
@json_option
@click.pass_context
def check(context: click.Context, domains: tuple[str, ...], zone: bool, as_json: bool) -> None:
    """Print the DNS records to publish for our domains and hosts, beside what DNS says now.

    MX, SPF, DKIM, DMARC, MTA-STS with its policy file, TLS-RPT, TLSA for the certificates in use and to come,
    addresses and their names. Exit code 0, or 1 where something is wrong.

    \b
    Examples:
      bridgehead dns check
      bridgehead dns check contoso.com
      bridgehead dns check --zone
    """
    from bridgehead.admin.methods.dns import DnsCheckWanted
    from bridgehead.admin.tls.dns_records import DnsReport, zone_text

    cli: CliContext = context.obj
    with cli.control(timeout=300.0) as control:
        report = control.call("dns.check", DnsCheckWanted(",".join(domains)), DnsReport)
    if zone and not as_json:
        say(zone_text(report).rstrip("\n"))
    else:
        emit(report, as_json, lambda: _report_text(report))
    context.exit(NEGATIVE if report.verdict == "failure" else 0)


def _report_text(report: "DnsReport") -> str:
    lines: list[str] = []
    about = ""
    for one in report.records:
        if one.about != about:
            about = one.about
            lines += ["", about] if lines else [about]
        lines.append(f"  {paint(one.verdict.value.ljust(7), _COLOURS[one.verdict])}  {wrapped(one.sentence, 11)}")
        if one.remedy:
            lines.append(f"           {wrapped(one.remedy, 11)}")
        lines += [f"           found    {one.name} {one.kind} {text}" for text in one.found]
        if one.verdict != "pass":
            lines += [f"           publish  {one.name}. IN {one.kind} {text}" for text in one.publish]
    for policy in report.policies:
        lines += ["", f"{policy.url}{'' if policy.served else '  (not served here: set binding in [mta_sts])'}"]
        lines += [f"  {line}" for line in policy.text.splitlines()]
    return "\n".join(lines)
