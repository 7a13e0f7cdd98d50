# SPDX-License-Identifier: MIT
"""`bridgehead message` with all of its verbs: those that look, those that act, and export."""

from bridgehead.admin.cli.queue.message import message
from bridgehead.admin.cli.queue.message_actions import MESSAGE_COMMANDS
from bridgehead.admin.cli.queue.message_export import export

__all__ = ["message"]

for verb in (*MESSAGE_COMMANDS, export):
    message.add_command(verb)
