# SPDX-License-Identifier: MIT
"""`bridgehead administrator add|list|password|remove|token|revoke`."""

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.access.password import password_option, read_password
from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import AdminCommand, emit, json_option, table

if TYPE_CHECKING:
    from bridgehead.admin.access.administrators import NewToken

_ROLES = ("help-desk", "viewer", "operator", "administrator")


@click.group()
def administrator() -> None:
    """Manage logins and tokens of the management interface over TCP. The running server notices changes by itself."""


@administrator.command(cls=AdminCommand)
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What the login may do.")
@click.option("--comment", default="", help="Free text.")
@password_option
@json_option
@click.pass_context
def add(context: click.Context, name: str, role: str, comment: str, password_stdin: bool, as_json: bool) -> None:
    """Add a login.

    \b
    Examples:
      bridgehead administrator add anna --role operator
      bridgehead administrator add eve --role viewer --password-stdin < eve.txt
    """
    from bridgehead.admin.access.administrators import add_administrator

    with context.obj.recorded("administrator add", name=name, role=role, comment=comment):
        view = add_administrator(_file(context.obj), name, read_password(password_stdin), role, comment)
    emit(view, as_json, lambda: f"Added {view.name}, {view.role}.")


@administrator.command("list", cls=AdminCommand)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List logins and their tokens.

    \b
    Examples:
      bridgehead administrator list
    """
    from bridgehead.admin.access.administrators import list_administrators

    found = list_administrators(_file(context.obj))
    rows: list[tuple[object, ...]] = []
    for one in found:
        rows.append((one.name, one.role, "", "", one.comment))
        for token in one.tokens:
            end = f"{'expired' if token.expired else 'until'} {token.expires:%Y-%m-%d}"
            rows.append(("", "", token.id, end, token.comment))
    headings = ("NAME", "ROLE", "TOKEN", "GOOD", "COMMENT")
    emit(found, as_json, lambda: table(headings, rows, flexible=(0, 4)) if rows else "There are no administrators.")


@administrator.command(cls=AdminCommand)
@click.argument("name")
@password_option
@json_option
@click.pass_context
def password(context: click.Context, name: str, password_stdin: bool, as_json: bool) -> None:
    """Give a login another password. Its tokens stay.

    \b
    Examples:
      bridgehead administrator password anna
    """
    from bridgehead.admin.access.administrators import set_administrator_password

    with context.obj.recorded("administrator password", name=name):
        done = set_administrator_password(_file(context.obj), name, read_password(password_stdin))
    emit(done, as_json, lambda: f"The password of {done.name} was changed.")


@administrator.command(cls=AdminCommand)
@click.argument("name")
@json_option
@click.pass_context
def remove(context: click.Context, name: str, as_json: bool) -> None:
    """Remove a login with its tokens.

    \b
    Examples:
      bridgehead administrator remove anna
    """
    from bridgehead.admin.access.administrators import remove_administrator

    with context.obj.recorded("administrator remove", name=name):
        done = remove_administrator(_file(context.obj), name)
    emit(done, as_json, lambda: f"Removed {done.name}.")


@administrator.command(cls=AdminCommand)
@click.argument("name")
@click.option("--days", default=90, show_default=True, help="How long it is good.")
@click.option("--comment", default="", help="What it is for.")
@json_option
@click.pass_context
def token(context: click.Context, name: str, days: int, comment: str, as_json: bool) -> None:
    """Make a token with which a program acts as this login. It is shown once.

    \b
    Examples:
      bridgehead administrator token anna --comment "nightly report" --days 30
    """
    from bridgehead.admin.access.administrators import make_token

    with context.obj.recorded("administrator token", name=name, days=days, comment=comment):
        made = make_token(_file(context.obj), name, days, comment)
    emit(made, as_json, lambda: _token_text(made))


@administrator.command(cls=AdminCommand)
@click.argument("token_id")
@json_option
@click.pass_context
def revoke(context: click.Context, token_id: str, as_json: bool) -> None:
    """Remove a token by the id that `list` shows.

    \b
    Examples:
      bridgehead administrator revoke 5f0c9d1e2a3b
    """
    from bridgehead.admin.access.administrators import revoke_token

    with context.obj.recorded("administrator revoke", id=token_id):
        done = revoke_token(_file(context.obj), token_id)
    emit(done, as_json, lambda: f"{done.name}: {done.action}.")


def _file(cli: CliContext) -> Path:
    return cli.own_file(cli.configuration.api.administrators_file)


def _token_text(made: "NewToken") -> str:
    return (
        f"{made.token}\n\n"
        f"This is shown once. It acts as {made.name} ({made.role}) until {made.expires:%Y-%m-%d}; "
        f"`bridgehead administrator revoke {made.id}` ends it."
    )
