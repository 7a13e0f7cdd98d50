# SPDX-License-Identifier: MIT
"""The commands of operators. Each is a thin translation of arguments to a use case of the admin room, and of its result
to text or JSON; what a command needs beyond that is imported when it runs, so that all start quickly.
"""

import rich_click as click

from bridgehead.admin.cli.action import action
from bridgehead.admin.cli.administrator import administrator
from bridgehead.admin.cli.alarm import alarm
from bridgehead.admin.cli.audit import audit
from bridgehead.admin.cli.audit_log import audit_log
from bridgehead.admin.cli.certificate import certificate
from bridgehead.admin.cli.connector import connector
from bridgehead.admin.cli.device import device
from bridgehead.admin.cli.dns import dns
from bridgehead.admin.cli.lockout import lockout
from bridgehead.admin.cli.message import message
from bridgehead.admin.cli.message_actions import MESSAGE_COMMANDS
from bridgehead.admin.cli.message_export import export
from bridgehead.admin.cli.monitor import monitor
from bridgehead.admin.cli.oauth import oauth
from bridgehead.admin.cli.pressure import back_pressure
from bridgehead.admin.cli.queue import queue
from bridgehead.admin.cli.recipient import recipient
from bridgehead.admin.cli.safety_net import safety_net
from bridgehead.admin.cli.standing_rule import standing_rule
from bridgehead.admin.cli.status import reload, status
from bridgehead.admin.cli.test import test
from bridgehead.admin.cli.tls_policy import tls_policy
from bridgehead.admin.cli.tls_report import tls_report
from bridgehead.admin.cli.trace import trace
from bridgehead.admin.cli.user import user
from bridgehead.admin.cli.why import why

__all__ = ["register"]


def register(group: click.Group) -> None:
    """Add the commands to the program's own. Their `click.Context.obj` is to be a `CliContext`."""
    for verb in (*MESSAGE_COMMANDS, export):
        message.add_command(verb)
    commands = (
        status, reload, alarm, monitor, back_pressure, queue, message, action, standing_rule, safety_net, why, trace,
        certificate, dns, connector, device, test, tls_policy, tls_report, audit, user, lockout, oauth, recipient,
        administrator, audit_log,
    )  # fmt: skip
    for command in commands:
        group.add_command(command)
