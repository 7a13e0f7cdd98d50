# SPDX-License-Identifier: MIT
"""`bridgehead user add|list|passwd|remove`."""

from pathlib import Path

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import AdminCommand, emit, json_option, table
from bridgehead.admin.cli.password import password_option, read_password

_STATE = {True: "enabled", False: "disabled"}


@click.group()
def user() -> None:
    """Manage logins for SMTP AUTH. The running server notices changes by itself."""


@user.command(cls=AdminCommand)
@click.argument("name")
@click.option("--address", "addresses", multiple=True, help="An address of its own; may be given several times.")
@click.option(
    "--send-as", multiple=True, help="A further address it may send as, '*@domain', or '*'; may be given several times."
)
@click.option(
    "--certificate", "certificates", multiple=True,
    help="A client certificate that logs it in: a name or address that it carries, or sha256:HEX; several times.",
)
@click.option("--comment", default="", help="Free text.")
@password_option
@json_option
@click.pass_context
def add(
    context: click.Context, name: str, addresses: tuple[str, ...], send_as: tuple[str, ...],
    certificates: tuple[str, ...], comment: str, password_stdin: bool, as_json: bool,
) -> None:  # fmt: skip
    """Add a login. It sends only as its own addresses, unless --send-as grants more.

    \b
    Examples:
      bridgehead user add scanner --address scanner@contoso.com
      bridgehead user add erp --address erp@contoso.com --send-as '*@contoso.com'
      pass show erp | bridgehead user add erp --password-stdin
    """
    from bridgehead.admin.users import add_user

    path = _file(context.obj)
    view = add_user(
        path, name, read_password(password_stdin), addresses=addresses, send_as=send_as,
        certificates=certificates, comment=comment,
    )  # fmt: skip
    granted = ", ".join((*view.addresses, *view.send_as)) or "nobody yet"
    emit(view, as_json, lambda: f"Added {view.name}; it may send as {granted}.")


@user.command("list", cls=AdminCommand)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List the logins.

    \b
    Examples:
      bridgehead user list
    """
    from bridgehead.admin.users import list_users

    users = list_users(_file(context.obj))
    rows = [
        (one.name, _STATE[one.enabled], " ".join(one.addresses), " ".join(one.send_as), one.comment) for one in users
    ]
    headings = ("NAME", "STATE", "ADDRESSES", "SEND AS", "COMMENT")
    emit(users, as_json, lambda: table(headings, rows, flexible=(2, 3, 4)) if rows else "There are no logins.")


@user.command(cls=AdminCommand)
@click.argument("name")
@password_option
@json_option
@click.pass_context
def passwd(context: click.Context, name: str, password_stdin: bool, as_json: bool) -> None:
    """Give a login another password.

    \b
    Examples:
      bridgehead user passwd scanner
    """
    from bridgehead.admin.users import set_password

    done = set_password(_file(context.obj), name, read_password(password_stdin))
    emit(done, as_json, lambda: f"The password of {done.name} was changed.")


@user.command(cls=AdminCommand)
@click.argument("name")
@json_option
@click.pass_context
def remove(context: click.Context, name: str, as_json: bool) -> None:
    """Remove a login.

    \b
    Examples:
      bridgehead user remove scanner
    """
    from bridgehead.admin.users import remove_user

    done = remove_user(_file(context.obj), name)
    emit(done, as_json, lambda: f"Removed {done.name}.")


def _file(cli: CliContext) -> Path:
    return cli.within_data_directory(cli.configuration.directory.users_file)
