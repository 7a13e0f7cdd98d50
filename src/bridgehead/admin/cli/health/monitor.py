# SPDX-License-Identifier: MIT
"""`bridgehead monitor check`: a plugin for Nagios, Icinga and whatever runs such plugins.

Exit codes are the plugin interface's, not ours: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import HelpfulCommand, echo_json, json_option, say

if TYPE_CHECKING:
    from bridgehead.admin.health.monitor_check import CheckResult


class PluginCommand(HelpfulCommand):
    """A command whose faults are states of the plugin interface."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Wrong usage is UNKNOWN; click's own exit code would mean CRITICAL."""
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.show()
            say(f"BRIDGEHEAD UNKNOWN - {error.format_message()}")
            raise Exit(3) from None

    def invoke(self, ctx: click.Context) -> Any:
        """A server that is not there is CRITICAL, one that cannot answer UNKNOWN."""
        from bridgehead.admin.faults import AdminFault, ServerNotRunning
        from bridgehead.admin.health.monitor_check import CheckResult, State

        try:
            result = super().invoke(ctx)
        except ServerNotRunning as fault:
            result = CheckResult(state=State.CRITICAL, text=fault.message)
        except AdminFault as fault:
            result = CheckResult(state=State.UNKNOWN, text=fault.message)
        if ctx.params.get("as_json"):
            echo_json({"state": result.state.name, "text": result.text, "line": result.line})
        else:
            say(result.line)
        ctx.exit(int(result.state))


@click.group()
def monitor() -> None:
    """Checks for monitoring systems."""


@monitor.command(cls=PluginCommand)
@click.option("--queue", default="", help="Only queues that fit: an identity, a domain, or a * pattern.")
@click.option("-w", "--warning", type=float, default=None, help="Messages from which on it is WARNING.")
@click.option("-c", "--critical", type=float, default=None, help="Messages from which on it is CRITICAL.")
@click.option("--warning-age", default="", help='Age of the oldest message from which on it is WARNING: "30m".')
@click.option("--critical-age", default="", help="Age of the oldest message from which on it is CRITICAL.")
@json_option
@click.pass_context
def check(
    context: click.Context, queue: str, warning: float | None, critical: float | None, warning_age: str,
    critical_age: str, as_json: bool,
) -> "CheckResult":  # fmt: skip
    """Check the running server, or queues of it, and print one line with performance data.

    Without options: CRITICAL when it takes no mail or a critical alarm stands, WARNING when other alarms stand; alarms
    that are silenced do not count. With a threshold or --queue: how many messages wait in all fitting queues, and how
    old the oldest is.

    Exit codes as plugins have them: 0 OK, 1 WARNING, 2 CRITICAL (also when the server is not running), 3 UNKNOWN.

    \b
    Examples:
      bridgehead monitor check
      bridgehead monitor check --warning 3000 --critical 5000
      bridgehead monitor check --queue 'Internet/*' --warning 250 --critical 1000
      bridgehead monitor check --queue Unreachable -w 1 -c 20 --critical-age 4h
    """
    from bridgehead.admin.health.alarms import AlarmReport, period
    from bridgehead.admin.health.health import Readiness
    from bridgehead.admin.health.metrics import MetricsSnapshot
    from bridgehead.admin.health.monitor_check import Limits, check_queues, check_server
    from bridgehead.admin.methods.queues import QueuePattern
    from bridgehead.admin.queue.queues import QueueView

    ages = [period(text).total_seconds() if text else None for text in (warning_age, critical_age)]
    cli: CliContext = context.obj
    with cli.control(timeout=20.0) as control:
        if queue or any(one is not None for one in (warning, critical, *ages)):
            queues = control.call("queues.list", QueuePattern(queue), list[QueueView])
            name = queue or "all queues"
            return check_queues(queues, name, Limits(warning, critical), Limits(*ages), datetime.now(UTC))
        return check_server(
            control.call("alarms.list", None, AlarmReport),
            control.call("health.ready", None, Readiness),
            control.call("metrics.snapshot", None, MetricsSnapshot),
        )
