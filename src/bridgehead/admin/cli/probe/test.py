# SPDX-License-Identifier: MIT
"""`bridgehead test send-connector|receive-connector|domain|smtp|ldap|results`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from bridgehead.admin.cli.access.password import password_option, read_password
from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, echo_json, json_option, paint, say, table

if TYPE_CHECKING:
    import msgspec

    from bridgehead.admin.probe.ports import ProbeRequest
    from bridgehead.admin.probe.steps import ProbeResult

_ANSWER_SECONDS: Final = 900.0


@click.group()
def test() -> None:
    """Test connectors, domains and hosts step by step, up to the first real cause.

    Tests run within the server, from its addresses; where it does not run, within the command itself. They say MAIL
    and RCPT and never DATA. Exit code 0 when mail goes (there may be warnings), 1 when it does not; with --strict 1
    for warnings, too.
    """


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    """Options of every test."""
    for option in (
        json_option,
        click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the result to this file."),
        click.option("--strict", is_flag=True, help="Exit code 1 for warnings, too."),
        click.option("-v", "--verbose", is_flag=True, help="Show the evidence of steps that passed, too."),
        click.option("--timeout", "seconds", default=0.0, help="Seconds for each step. Default: the setting."),
    ):
        command = option(command)
    return command


def _envelope(command: Callable[..., None]) -> Callable[..., None]:
    """Options about MAIL and RCPT."""
    for option in (
        click.option("--sender", default="", help="For MAIL. Default: postmaster of the default domain."),
        click.option("--recipient", "recipients", multiple=True, help="For RCPT. Default: postmaster of the domain."),
    ):
        command = option(command)
    return command


@test.command("send-connector", cls=AdminCommand)
@click.argument("name")
@click.option("--domain", default="", help="Test the way to this domain, for connectors that find hosts by MX.")
@click.option("--probe", default="", metavar="ADDRESS", help="Send a real message there and wait for it.")
@_envelope
@_shared
@click.pass_context
def send_connector(context: click.Context, /, name: str, **options: Any) -> None:
    """Test a send connector: DNS, TCP, banner, EHLO, TLS and certificate, log-on, MAIL and RCPT, expectations.

    \b
    Examples:
      bridgehead test send-connector Internet --domain fabrikam.com
      bridgehead test send-connector Office365 --recipient anna@contoso.com
      bridgehead test send-connector Internet --probe me@fabrikam.com
    """
    from bridgehead.admin.methods.tests import SendConnectorTest
    from bridgehead.admin.probe.ports import SEND_CONNECTOR

    _run(context, SEND_CONNECTOR, SendConnectorTest, {"name": name}, options)


@test.command("receive-connector", cls=AdminCommand)
@click.argument("name")
@_shared
@click.pass_context
def receive_connector(context: click.Context, /, name: str, **options: Any) -> None:
    """Test a receive connector: each binding against its configuration, certificate, AUTH, relaying, expectations.

    \b
    Examples:
      bridgehead test receive-connector Default
    """
    from bridgehead.admin.methods.tests import ReceiveConnectorTest
    from bridgehead.admin.probe.ports import RECEIVE_CONNECTOR

    _run(context, RECEIVE_CONNECTOR, ReceiveConnectorTest, {"name": name}, options)


@test.command("domain", cls=AdminCommand)
@click.argument("name")
@click.option("--probe", default="", metavar="ADDRESS", help="Send a real message there and wait for it.")
@_envelope
@_shared
@click.pass_context
def domain(context: click.Context, /, name: str, **options: Any) -> None:
    """What would be done with mail for a domain: whose it is, which connector takes it and why, each mail host tested.

    \b
    Examples:
      bridgehead test domain fabrikam.com --html fabrikam.html
      bridgehead test domain contoso.com --probe anna@contoso.com
    """
    from bridgehead.admin.methods.tests import DomainTest
    from bridgehead.admin.probe.ports import DOMAIN

    _run(context, DOMAIN, DomainTest, {"name": name}, options)


@test.command("smtp", cls=AdminCommand)
@click.argument("host", metavar="HOST[:PORT]")
@click.option(
    "--tls", type=click.Choice(["never", "required", "certificate", "name"]), default=None,
    help="How far to ask for TLS: as for tls_auth_level. Default: where it is offered.",
)  # fmt: skip
@click.option("--tls-name", default="", help="The name that the certificate must carry.")
@click.option("--source", default="", metavar="ADDRESS", help="Connect from this address of this machine.")
@click.option("--implicit-tls", is_flag=True, help="TLS with the first octet; always on port 465.")
@_envelope
@_shared
@click.pass_context
def smtp(context: click.Context, /, host: str, tls: str | None, **options: Any) -> None:
    """Test any SMTP server.

    \b
    Examples:
      bridgehead test smtp mail.fabrikam.com
      bridgehead test smtp 192.0.2.1:587 --tls name --tls-name relay.contoso.com
    """
    from bridgehead.admin.methods.tests import HostTest
    from bridgehead.admin.probe.ports import SMTP

    _run(context, SMTP, HostTest, {"host": host}, {"tls": tls or "", **options})


@test.command("ldap", cls=AdminCommand)
@click.argument("name", default="")
@password_option
@click.option("-v", "--verbose", is_flag=True, help="Show the evidence of steps that passed, too.")
@json_option
@click.pass_context
def ldap(context: click.Context, name: str, password_stdin: bool, verbose: bool, as_json: bool) -> None:
    """Test the LDAP directory: each server, the lookup account, and with NAME and its password a logon.

    This command asks the directory by itself; the running server never sees the password.

    \b
    Examples:
      bridgehead test ldap
      bridgehead test ldap anna
      pass show anna | bridgehead test ldap anna --password-stdin
    """
    import asyncio

    from bridgehead.admin.faults import INVALID, AdminFault
    from bridgehead.admin.probe.ldap import run_ldap_test
    from bridgehead.net.clock import SystemClock
    from bridgehead.net.dns.resolver import Resolver

    cli: CliContext = context.obj
    settings = cli.configuration.ldap_logins
    if not settings.servers:
        raise AdminFault(INVALID, "no LDAP directory is configured", "add a table [ldap_logins]")
    password = read_password(password_stdin, f"Password of {name}", new=False) if name else None

    async def run() -> "ProbeResult":
        resolver = Resolver(cli.configuration.server.dns_servers, clock=SystemClock())
        try:
            return await run_ldap_test(settings, cli.data_directory, resolver, name, password)
        finally:
            await resolver.close()

    _print(context, asyncio.run(run()), as_json=as_json, verbose=verbose, strict=False)


@test.command("results", cls=AdminCommand)
@click.argument("name", default="")
@click.option("--failed", is_flag=True, help="Only those that failed.")
@json_option
@click.pass_context
def results(context: click.Context, name: str, failed: bool, as_json: bool) -> None:
    """The last results of tests, newest first: those that the server ran by itself, and those of operators.

    \b
    Examples:
      bridgehead test results
      bridgehead test results Internet --failed
    """
    from bridgehead.admin.methods.tests import ResultsWanted
    from bridgehead.admin.probe.steps import ProbeResult

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("tests.results", ResultsWanted(name=name, failed=failed), list[ProbeResult])
    if as_json:
        echo_json(found)
    else:
        say(_results_text(found))


def _results_text(found: "list[ProbeResult]") -> str:
    from bridgehead.admin.cli.probe.text import MARKS

    if not found:
        return "There are no results."
    rows: list[tuple[object, ...]] = [
        (f"{one.started_at:%Y-%m-%d %H:%M:%S}Z", MARKS[one.verdict.value][0], one.kind, one.name, one.trigger,
         one.cause or "all is well")
        for one in found
    ]  # fmt: skip
    return table(("WHEN", " ", "TEST", "NAME", "BY", "RESULT"), rows, flexible=(3, 5))


def _run(
    context: click.Context, kind: str, params_type: "type[msgspec.Struct]", params: dict[str, Any],
    options: dict[str, Any],
) -> None:  # fmt: skip
    """Run a test, print it, write the page, end with the exit code."""
    shown = {key: options.pop(key) for key in ("as_json", "html", "strict", "verbose")}
    options["recipients"] = list(options["recipients"]) if "recipients" in options else None
    given = {**params, **{key: value for key, value in options.items() if value is not None}}
    result = _result(context.obj, kind, params_type(**given), given)
    if shown["html"] is not None:
        from bridgehead.admin.cli.probe.page import page

        shown["html"].write_text(page(result), encoding="utf-8")
    _print(context, result, as_json=shown["as_json"], verbose=shown["verbose"], strict=shown["strict"])


def _print(context: click.Context, result: "ProbeResult", *, as_json: bool, verbose: bool, strict: bool) -> None:
    """Print a result and end with the exit code."""
    if as_json:
        echo_json(result)
    else:
        from bridgehead.admin.cli.probe.text import tree_text

        say(tree_text(result, everything=verbose))
    bad = ("failure", "warning") if strict else ("failure",)
    context.exit(NEGATIVE if result.verdict.value in bad else 0)


def _result(cli: CliContext, kind: str, params: "msgspec.Struct", given: dict[str, Any]) -> "ProbeResult":
    """From the running server; where there is none, worked out here."""
    from bridgehead.admin.faults import ServerNotRunning
    from bridgehead.admin.probe.steps import ProbeResult

    method = f"tests.{kind.replace('-', '_')}"
    try:
        with cli.control(timeout=_ANSWER_SECONDS) as control:
            return control.call(method, params, ProbeResult)
    except ServerNotRunning:
        say(paint("The server is not running; this command tests by itself.", "yellow"), err=True)
    from bridgehead.admin.probe.ports import ProbeRequest

    fields = {("name" if key == "host" else key): value for key, value in given.items()}
    return _by_ourselves(cli, ProbeRequest(kind=kind, **fields))


def _by_ourselves(cli: CliContext, request: "ProbeRequest") -> "ProbeResult":
    import asyncio

    from bridgehead.admin.connector.connector_tests import run_test

    return asyncio.run(run_test(cli.site(), request))
