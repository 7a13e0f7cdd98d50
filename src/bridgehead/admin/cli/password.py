# SPDX-License-Identifier: MIT
"""How commands take a password: asked for twice at the terminal, or from the first line of input; never an argument."""

import sys

import rich_click as click

from bridgehead.mail.secret import Secret

password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of input."
)  # fmt: skip


def read_password(from_stdin: bool) -> Secret:
    """The password. Raises click.UsageError where input holds none."""
    if not from_stdin:
        return Secret(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.UsageError("A password was expected on the first line of input.")
    return Secret(line)
