# SPDX-License-Identifier: MIT
"""`bridgehead oauth status|login|refresh|forget`: access tokens of send connectors. No command shows a token."""

import sys
import time
from typing import TYPE_CHECKING, Final

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, emit, facts, json_option, paint, say, when

if TYPE_CHECKING:
    from bridgehead.admin.calls.client import ControlClient
    from bridgehead.admin.connector.oauth import LogOnView, OAuthView

_POLL_SECONDS: Final = 1.0
_COLOURS: Final = {"valid": "green", "failing": "red", "log on": "yellow", "expired": "yellow"}


@click.group()
def oauth() -> None:
    """Access tokens with which send connectors log on: their state, log-ons of people, renewal."""


@oauth.command(cls=AdminCommand)
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show what each connector has, until when, and what fails. Exit code 1 where a token cannot be had.

    \b
    Examples:
      bridgehead oauth status
    """
    from bridgehead.admin.connector.oauth import OAuthView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("oauth.list", None, list[OAuthView])
    emit(found, as_json, lambda: "\n\n".join(map(_text, found)) or "No send connector logs on with access tokens.")
    context.exit(NEGATIVE if any(one.state in ("failing", "log on") for one in found) else 0)


@oauth.command(cls=AdminCommand)
@click.argument("connector")
@click.option("--refresh-token-stdin", is_flag=True, help="Read a refresh token from the first line of input instead.")
@click.option("--no-wait", is_flag=True, help="Show the code and end; the server goes on waiting.")
@json_option
@click.pass_context
def login(context: click.Context, connector: str, refresh_token_stdin: bool, no_wait: bool, as_json: bool) -> None:
    """Log on for a connector: open the address on any device, enter the code; the server keeps what comes.

    \b
    Examples:
      bridgehead oauth login "To Microsoft 365"
      bridgehead oauth login Gmail --refresh-token-stdin < refresh-token
    """
    from bridgehead.admin.connector.oauth import LogOnView, OAuthView
    from bridgehead.admin.methods.oauth import OAuthConnector, RefreshTokenOrder

    cli: CliContext = context.obj
    with cli.control() as control:
        if refresh_token_stdin:
            token = sys.stdin.readline().strip()
            if not token:
                raise click.UsageError("A refresh token was expected on the first line of input.", context)
            kept = control.call("oauth.bring", RefreshTokenOrder(connector, token), OAuthView)
            emit(kept, as_json, lambda: _text(kept))
            return
        begun = control.call("oauth.login", OAuthConnector(connector), LogOnView)
        said = f"Open {paint(begun.url, 'cyan')} and enter the code {paint(begun.code, 'green')}."
        if no_wait:
            emit(begun, as_json, lambda: said)
            return
        say(said, err=as_json)
        done = _awaited(control, begun)
    emit(done, as_json, lambda: _ended(done))
    context.exit(0 if done.state == "done" else NEGATIVE)


@oauth.command(cls=AdminCommand)
@click.argument("connector")
@json_option
@click.pass_context
def refresh(context: click.Context, connector: str, as_json: bool) -> None:
    """Ask the provider for a new access token now, whatever is held.

    \b
    Examples:
      bridgehead oauth refresh "To Microsoft 365"
    """
    _order(context, "oauth.refresh", connector, as_json)


@oauth.command(cls=AdminCommand)
@click.argument("connector")
@json_option
@click.pass_context
def forget(context: click.Context, connector: str, as_json: bool) -> None:
    """Forget a connector's refresh token and access token; somebody must log on again.

    \b
    Examples:
      bridgehead oauth forget "To Microsoft 365"
    """
    _order(context, "oauth.forget", connector, as_json)


def _order(context: click.Context, method: str, connector: str, as_json: bool) -> None:
    from bridgehead.admin.connector.oauth import OAuthView
    from bridgehead.admin.methods.oauth import OAuthConnector

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call(method, OAuthConnector(connector), OAuthView)
    emit(found, as_json, lambda: _text(found))


def _awaited(control: "ControlClient", begun: "LogOnView") -> "LogOnView":
    """The log-on when it is over; a bar of dots while it is not, where somebody looks."""
    from bridgehead.admin.connector.oauth import LogOnView
    from bridgehead.admin.methods.oauth import OAuthConnector

    watched = sys.stderr.isatty()
    while True:
        seen = control.call("oauth.progress", OAuthConnector(begun.connector), LogOnView)
        if seen.state != "waiting":
            if watched:
                click.echo("", err=True)
            return seen
        if watched:
            click.echo(".", nl=False, err=True)
        time.sleep(_POLL_SECONDS)


def _ended(done: "LogOnView") -> str:
    if done.state == "done":
        return f"{paint('Logged on.', 'green')} The server keeps the refresh token and renews it by itself."
    more = f"\n→ {done.remedy}" if done.remedy else ""
    return f"{paint('Not logged on:', 'red')} {done.problem}{more}"


def _text(one: "OAuthView") -> str:
    pairs: list[tuple[str, object]] = [
        ("account", one.account),
        ("provider", f"{one.provider}, {one.grant}"),
        ("token", f"expires {when(one.expires)}" if one.expires else "none yet"),
    ]
    if one.refresh_token_obtained:
        obtained, used = when(one.refresh_token_obtained), when(one.refresh_token_used)
        pairs.append(("refresh token", f"from {obtained}, last used {used}"))
    if one.credential_expires:
        pairs.append(("credential", f"expires {when(one.credential_expires)}"))
    if one.problem:
        pairs.append(("problem", one.problem))
    if one.remedy:
        pairs.append(("remedy", one.remedy))
    return f"{one.connector}: {paint(one.state, _COLOURS.get(one.state, 'yellow'))}\n{facts(pairs)}"
