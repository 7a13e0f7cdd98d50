# SPDX-License-Identifier: MIT
"""`bridgehead alarm list|silence|acknowledge|unsilence|test`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, emit, json_option, paint, when

if TYPE_CHECKING:
    from bridgehead.admin.health.alarms import AlarmReport, AlarmTest, AlarmView, SilenceView

_COLOURS = {"critical": "red", "warning": "yellow"}
_for = click.option("--for", "duration", default="4h", show_default=True, help='How long: "30m", "8h", "2d".')
_reason = click.option("--reason", default="", help="Why, for those who look at the list.")


@click.group()
def alarm() -> None:
    """What is wrong: list alarms, silence or acknowledge them, test the ways they go out."""


@alarm.command("list", cls=AdminCommand)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List the alarms that stand, with cause and remedy, and the silences in force.

    Exit code 0 without alarms, 1 with.

    \b
    Examples:
      bridgehead alarm list
    """
    from bridgehead.admin.health.alarms import AlarmReport

    cli: CliContext = context.obj
    with cli.control() as control:
        report = control.call("alarms.list", None, AlarmReport)
    emit(report, as_json, lambda: _report_text(report))
    context.exit(NEGATIVE if report.alarms else 0)


@alarm.command(cls=AdminCommand)
@click.argument("pattern")
@_for
@_reason
@json_option
@click.pass_context
def silence(context: click.Context, pattern: str, duration: str, reason: str, as_json: bool) -> None:
    """Tell nobody of an alarm for a while, or of all that fit a * pattern; they stay in the list.

    \b
    Examples:
      bridgehead alarm silence poison_queue --for 2d --reason "known"
      bridgehead alarm silence 'peer_failures/Internet/*' --for 8h
    """
    _silence(context, "alarms.silence", pattern, duration, reason, as_json)


@alarm.command(cls=AdminCommand)
@click.argument("id")
@_for
@_reason
@json_option
@click.pass_context
def acknowledge(context: click.Context, id: str, duration: str, reason: str, as_json: bool) -> None:
    """Say that somebody is at it: no reminders for a while. That the alarm gets worse or ends is told.

    \b
    Examples:
      bridgehead alarm acknowledge oldest_message --for 8h
    """
    _silence(context, "alarms.acknowledge", id, duration, reason, as_json)


@alarm.command(cls=AdminCommand)
@click.argument("pattern")
@json_option
@click.pass_context
def unsilence(context: click.Context, pattern: str, as_json: bool) -> None:
    """End a silence or an acknowledgement.

    \b
    Examples:
      bridgehead alarm unsilence poison_queue
    """
    from bridgehead.admin.health.alarms import SilenceView
    from bridgehead.admin.methods.alarms import SilencePattern

    cli: CliContext = context.obj
    with cli.control() as control:
        ended = control.call("alarms.unsilence", SilencePattern(pattern), SilenceView)
    emit(ended, as_json, lambda: f"{ended.pattern} is told again.")


@alarm.command(cls=AdminCommand)
@json_option
@click.pass_context
def test(context: click.Context, as_json: bool) -> None:
    """Send a real test alarm through each way out, and say what became of it.

    Exit code 0 when all took it, 1 otherwise.

    \b
    Examples:
      bridgehead alarm test
    """
    from bridgehead.admin.health.alarms import AlarmTest

    cli: CliContext = context.obj
    with cli.control(timeout=600.0) as control:
        outcomes = control.call("alarms.test", None, list[AlarmTest])
    emit(outcomes, as_json, lambda: _test_text(outcomes))
    context.exit(0 if all(one.ok for one in outcomes) else NEGATIVE)


def _silence(
    context: click.Context, method: str, pattern: str, duration: str, reason: str, as_json: bool
) -> None:  # fmt: skip
    from bridgehead.admin.health.alarms import SilenceView
    from bridgehead.admin.methods.alarms import SilenceOrder

    cli: CliContext = context.obj
    with cli.control() as control:
        made = control.call(method, SilenceOrder(pattern, duration, reason), SilenceView)
    emit(made, as_json, lambda: _silence_text(made))


def _report_text(report: "AlarmReport") -> str:
    lines = [line for one in report.alarms for line in _alarm_lines(one)] or [paint("No alarms.", "green")]
    if report.silences:
        lines += ["", "Silences:", *(f"  {_silence_text(one)}" for one in report.silences)]
    lines += ["", f"Told by: {', '.join(report.channels)}"]
    if report.channels == ["log"]:
        lines.append("  mail_to and mail_server of [alarms], or webhook_url, tell people as well")
    return "\n".join(lines)


def _alarm_lines(one: "AlarmView") -> list[str]:
    lines = [f"{paint(one.severity.upper(), _COLOURS[one.severity])}  {one.text}", f"  id          {one.id}"]
    lines.append(f"  since       {when(one.since)}")
    if one.remedy:
        lines.append(f"  what to do  {one.remedy}")
    if one.silenced_until is not None:
        what = "acknowledged" if one.acknowledged else "silenced"
        why = f": {one.silence_reason}" if one.silence_reason else ""
        lines.append(f"  {what}  until {when(one.silenced_until)} by {one.silenced_by}{why}")
    return lines


def _silence_text(one: "SilenceView") -> str:
    what = "acknowledged" if one.acknowledged else "silenced"
    why = f": {one.reason}" if one.reason else ""
    return f"{one.pattern}  {what} until {when(one.until)} by {one.who}{why}"


def _test_text(outcomes: "list[AlarmTest]") -> str:
    return "\n".join(
        f"{paint('ok' if one.ok else 'failed', 'green' if one.ok else 'red')}  {one.channel}"
        + (f": {one.fault}" if one.fault else "")
        for one in outcomes
    )
