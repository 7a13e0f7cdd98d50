# SPDX-License-Identifier: MIT
"""`bridgehead status` and `bridgehead reload`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, counted, emit, facts, json_option, paint, span, wrapped

if TYPE_CHECKING:
    from bridgehead.admin.health.pressure import PressureView
    from bridgehead.admin.health.status import StatusReport
    from bridgehead.admin.ports import ReloadOutcome


_PATIENCE_SECONDS = 15.0


@click.command(cls=AdminCommand)
@json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Show how the running server is: listeners, sessions, queues, alarms.

    Exit code 0 when all is well, 1 with alarms, 3 when the server is not running.

    \b
    Examples:
      bridgehead status
      bridgehead status --json
    """
    report = _ask(context.obj)
    emit(report, as_json, lambda: _text(report))
    context.exit(0 if report.healthy else NEGATIVE)


@click.command(cls=AdminCommand)
@json_option
@click.pass_context
def reload(context: click.Context, as_json: bool) -> None:
    """Let the running server read its configuration anew, all or nothing.

    With a mistake in it nothing changes, every mistake is printed, and the exit code is 1.

    \b
    Examples:
      bridgehead reload
    """
    from bridgehead.admin.ports import ReloadOutcome

    cli: CliContext = context.obj
    with cli.control() as control:
        outcome = control.call("server.reload", None, ReloadOutcome)
    emit(outcome, as_json, lambda: _reloaded(outcome))
    context.exit(NEGATIVE if outcome.problems else 0)


def _ask(cli: CliContext) -> "StatusReport":
    """The report, over the internal channel where the management interface is down: that is then what it says."""
    from bridgehead.admin.faults import NOT_ANSWERING, AdminFault
    from bridgehead.admin.health.status import StatusReport

    try:
        with cli.control(timeout=_PATIENCE_SECONDS) as control:
            return control.call("server.status", None, StatusReport)
    except AdminFault as fault:
        if fault.code != NOT_ANSWERING:
            raise
    with cli.channel() as channel:
        return channel.call("server.status", None, StatusReport)


def _text(report: "StatusReport") -> str:
    health = paint("all is well", "green") if report.healthy else paint(counted(len(report.alarms), "alarm"), "red")
    lines = [f"Bridgehead {report.version} as {report.fqdn}: {health}"]
    lines += [f"  {paint('!', 'red')} {wrapped(alarm, 4)}" for alarm in report.alarms]
    queued = ", ".join(f"{name} {count}" for name, count in report.messages_by_queue_type.items() if count)
    pairs: list[tuple[str, object]] = [
        ("running", f"{span(report.uptime_seconds)}, process {report.pid}"),
        ("configuration", ", ".join(report.configuration_files) or "the embedded default"),
        ("data directory", report.data_directory),
    ]
    for listener in report.listeners:
        connections = counted(listener.connections, "connection")
        pairs.append(("listening", f"{listener.binding}  {', '.join(listener.connectors)}  ({connections})"))
    counts = (
        f"{report.received} received, {report.delivered} delivered or relayed, {report.deferred} deferred, "
        f"{report.failed} failed"
    )
    pairs += [
        ("sessions", f"{report.sessions_in} in, {report.sessions_out} out"),
        ("since start", counts),
        ("queued", f"{counted(report.queued_messages, 'message')}{f' ({queued})' if queued else ''}"),
    ]
    pairs += [
        ("retrying", f"{queue.identity}: {counted(queue.message_count, 'message')}, {queue.last_error}")
        for queue in report.retrying_queues[:10]
    ]
    pairs += _pressure(report.back_pressure)
    lines.append(facts(pairs))
    return "\n".join(lines)


def _pressure(view: "PressureView") -> list[tuple[str, object]]:
    """The level, and whatever is above Low or on its way up."""
    if not view.enabled:
        return [("back pressure", "not monitored")]
    rising = [one.sentence for one in view.resources if one.level != "Low" or one.next_level]
    return [("back pressure", view.level), *(("", wrapped(one, 18)) for one in rising)]


def _reloaded(outcome: "ReloadOutcome") -> str:
    if outcome.problems:
        return "\n".join([*outcome.problems, "Nothing was changed."])
    lines = [f"  {change}" for change in outcome.changes]
    lines += [f"  {name} was changed and takes effect after a restart" for name in outcome.needs_restart]
    return "\n".join(["The configuration was read anew.", *lines])
