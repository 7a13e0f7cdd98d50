# SPDX-License-Identifier: MIT
"""The commands of operators. Each is a thin translation of arguments to a use case of the admin room, and of its result
to text or JSON. They lie in folders by subject, as the use cases do. A command is imported when it is asked for, and
what it needs beyond that when it runs, so that all start quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import rich_click as click

__all__ = ["COMMANDS", "command"]

COMMANDS: Final = {
    "status": "health.status",
    "reload": "health.status",
    "alarm": "health.alarm",
    "monitor": "health.monitor",
    "back-pressure": "health.pressure",
    "queue": "queue.queue",
    "message": "queue.message_commands",
    "action": "queue.action",
    "standing-rule": "queue.standing_rule",
    "safety-net": "queue.safety_net",
    "why": "trace.why",
    "trace": "trace.trace",
    "certificate": "tls.certificate",
    "dns": "tls.dns",
    "connector": "connector.connector",
    "device": "connector.device",
    "test": "probe.test",
    "tls-policy": "tls.tls_policy",
    "tls-report": "tls.tls_report",
    "audit": "connector.audit",
    "user": "access.user",
    "lockout": "access.lockout",
    "oauth": "connector.oauth",
    "recipient": "access.recipient",
    "administrator": "access.administrator",
    "audit-log": "access.audit_log",
}
"""The module of each, in which it has its own name; the folders are those of the admin room."""


def command(name: str) -> "click.Command":
    """A command of COMMANDS. Its `click.Context.obj` is to be a `CliContext`."""
    found: click.Command = getattr(import_module(f"{__name__}.{COMMANDS[name]}"), name.replace("-", "_"))
    return found
