# SPDX-License-Identifier: MIT
"""How commands take a password: asked for at the terminal, a new one twice, or from the first line of input.

It is never an argument: those are for everybody on the machine to read.
"""

import sys

import rich_click as click

from bridgehead.mail.secret import Secret

password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of input."
)  # fmt: skip


def read_password(from_stdin: bool, asking: str = "Password", *, new: bool = True) -> Secret:
    """The password. Raises click.UsageError where input holds none. `new`: it is asked for twice."""
    if not from_stdin:
        return Secret(click.prompt(asking, hide_input=True, confirmation_prompt=new, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.UsageError("A password was expected on the first line of input.")
    return Secret(line)
