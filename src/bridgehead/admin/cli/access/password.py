# SPDX-License-Identifier: MIT
"""How commands take a password: asked for at the terminal, a new one twice, or from the first line of input.

It is never an argument: those are for everybody on the machine to read.
"""

import sys
import warnings
from getpass import GetPassWarning

import rich_click as click

from bridgehead.mail.secret import Secret

password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of input."
)  # fmt: skip


def read_password(from_stdin: bool, asking: str = "Password", *, new: bool = True) -> Secret:
    """The password. Raises click.UsageError where input holds none, or nobody can be asked without showing it.

    Args:
        new: it is asked for twice.
    """
    if not from_stdin:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            try:
                return Secret(click.prompt(asking, hide_input=True, confirmation_prompt=new, err=True))
            except GetPassWarning:
                raise click.UsageError("There is no terminal to ask at: use --password-stdin.") from None
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.UsageError("A password was expected on the first line of input.")
    return Secret(line)
