# SPDX-License-Identifier: MIT
"""`bridgehead user add|list|passwd|remove`."""

from pathlib import Path

import rich_click as click

from bridgehead.admin.cli.access.password import password_option, read_password
from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import AdminCommand, emit, json_option, say, table

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
    "--send-on-behalf",
    multiple=True,
    help="An address, '*@domain' or '*' that may stand in From while Sender shows its own; several times.",
)
@click.option(
    "--certificate",
    "certificates",
    multiple=True,
    help="A client certificate that logs it in: a name or address that it carries, or sha256:HEX; several times.",
)
@click.option("--comment", default="", help="Free text.")
@password_option
@json_option
@click.pass_context
def add(
    context: click.Context, name: str, addresses: tuple[str, ...], send_as: tuple[str, ...],
    send_on_behalf: tuple[str, ...], certificates: tuple[str, ...], comment: str, password_stdin: bool, as_json: bool,
) -> None:  # fmt: skip
    """Add a login. It sends only as its own addresses, unless --send-as grants more.

    \b
    Examples:
      bridgehead user add scanner --address scanner@contoso.com
      bridgehead user add erp --address erp@contoso.com --send-as '*@contoso.com'
      pass show erp | bridgehead user add erp --password-stdin
    """
    from bridgehead.admin.access.users import add_user

    path = _file(context.obj)
    view = add_user(
        path, name, read_password(password_stdin), addresses=addresses, send_as=send_as,
        send_on_behalf=send_on_behalf, certificates=certificates, comment=comment,
    )  # fmt: skip
    granted = ", ".join((*view.addresses, *view.send_as)) or "nobody yet"
    emit(view, as_json, lambda: f"Added {view.name}; it may send as {granted}.")


@user.command("set", cls=AdminCommand)
@click.argument("name")
@click.option("--address", "addresses", multiple=True, help="Its own addresses from now on; several times.")
@click.option("--send-as", multiple=True, help="What it may send as from now on; several times, '' for nothing.")
@click.option(
    "--send-on-behalf", multiple=True, help="On whose behalf it may write from now on; several times, '' for nobody's."
)
@click.option("--certificate", "certificates", multiple=True, help="Its certificates from now on; '' for none.")
@click.option("--comment", help="Free text.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether it may log on.")
@json_option
@click.pass_context
def set_(
    context: click.Context, name: str, addresses: tuple[str, ...], send_as: tuple[str, ...],
    send_on_behalf: tuple[str, ...], certificates: tuple[str, ...], comment: str | None, enabled: bool | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Change a login: what is given replaces what was there, the rest stays.

    With --send-on-behalf boss@contoso.com it may write From: boss@contoso.com; Sender shows an address of its own, and
    is added where the program left it out.

    \b
    Examples:
      bridgehead user set assistant --send-on-behalf boss@contoso.com
      bridgehead user set erp --send-as '' --comment 'sends as itself only'
      bridgehead user set scanner --disable
    """
    from bridgehead.admin.access.users import update_user

    def given(values: tuple[str, ...]) -> "tuple[str, ...] | None":
        return tuple(value for value in values if value) if values else None

    view = update_user(
        _file(context.obj), name, addresses=given(addresses), send_as=given(send_as),
        send_on_behalf=given(send_on_behalf), certificates=given(certificates), comment=comment, enabled=enabled,
    )  # fmt: skip
    behalf = f"; on behalf of {', '.join(view.send_on_behalf)}" if view.send_on_behalf else ""
    granted = ", ".join((*view.addresses, *view.send_as)) or "nobody"
    emit(view, as_json, lambda: f"{view.name} ({_STATE[view.enabled]}) may send as {granted}{behalf}.")


@user.command("list", cls=AdminCommand)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List the logins of the users file; those of an LDAP directory are not known here.

    \b
    Examples:
      bridgehead user list
    """
    from bridgehead.admin.access.users import list_users

    users = list_users(_file(context.obj))
    rows = [
        (one.name, _STATE[one.enabled], " ".join(one.addresses), " ".join(one.send_as),
         " ".join(one.send_on_behalf), one.comment)
        for one in users
    ]  # fmt: skip
    headings = ("NAME", "STATE", "ADDRESSES", "SEND AS", "ON BEHALF OF", "COMMENT")
    emit(users, as_json, lambda: table(headings, rows, flexible=(2, 3, 4, 5)) if rows else "There are no logins.")
    servers = context.obj.configuration.ldap_logins.servers
    if servers and not as_json:
        say(f"Other names are looked for in the directory at {', '.join(servers)}: bridgehead test ldap NAME")


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
    from bridgehead.admin.access.users import set_password

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
    from bridgehead.admin.access.users import remove_user

    done = remove_user(_file(context.obj), name)
    emit(done, as_json, lambda: f"Removed {done.name}.")


def _file(cli: CliContext) -> Path:
    return cli.own_file(cli.configuration.directory.users_file)
