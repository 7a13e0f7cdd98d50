# SPDX-License-Identifier: MIT
"""The commands of operators. Each is a thin translation of arguments to a use case of the admin room, and of its result
to text or JSON. A command is imported when it is asked for, and what it needs beyond that when it runs, so that all
start quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import rich_click as click

__all__ = ["COMMANDS", "command"]

COMMANDS: Final = {
    "status": "status",
    "reload": "status",
    "alarm": "alarm",
    "monitor": "monitor",
    "back-pressure": "pressure",
    "queue": "queue",
    "message": "message_commands",
    "action": "action",
    "standing-rule": "standing_rule",
    "safety-net": "safety_net",
    "why": "why",
    "trace": "trace",
    "certificate": "certificate",
    "dns": "dns",
    "connector": "connector",
    "device": "device",
    "test": "test",
    "tls-policy": "tls_policy",
    "tls-report": "tls_report",
    "audit": "audit",
    "user": "user",
    "lockout": "lockout",
    "oauth": "oauth",
    "recipient": "recipient",
    "administrator": "administrator",
    "audit-log": "audit_log",
}
"""The module of each, in which it has its own name."""


def command(name: str) -> "click.Command":
    """A command of COMMANDS. Its `click.Context.obj` is to be a `CliContext`."""
    found: click.Command = getattr(import_module(f"{__name__}.{COMMANDS[name]}"), name.replace("-", "_"))
    return found
