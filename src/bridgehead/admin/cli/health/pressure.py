# SPDX-License-Identifier: MIT
"""`bridgehead back-pressure`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import NEGATIVE, AdminCommand, emit, json_option, paint, wrapped

if TYPE_CHECKING:
    from bridgehead.admin.health.pressure import PressureView

_COLOURS = {"Low": "green", "Medium": "yellow", "High": "red"}


@click.command("back-pressure", cls=AdminCommand)
@json_option
@click.pass_context
def back_pressure(context: click.Context, as_json: bool) -> None:
    """Show how full disks, memory and the Submission queue are, and what the server leaves off because of it.

    At the present trend it also says when the next level is reached. Exit code 0 while the level is Low, 1 above.

    \b
    Examples:
      bridgehead back-pressure
      bridgehead back-pressure --json
    """
    from bridgehead.admin.health.pressure import PressureView

    cli: CliContext = context.obj
    with cli.control() as control:
        view = control.call("back_pressure.show", None, PressureView)
    emit(view, as_json, lambda: _text(view))
    context.exit(0 if view.level == "Low" else NEGATIVE)


def _text(view: "PressureView") -> str:
    if not view.enabled:
        return "Resources are not monitored (back_pressure.enable_resource_monitoring)."
    since = f" since {view.since:%Y-%m-%d %H:%M:%S} UTC" if view.since else ""
    lines = [f"Back pressure: {paint(view.level, _COLOURS[view.level])}{since}"]
    lines += [f"  {paint('!', 'red')} {action}" for action in view.actions]
    if view.tarpit_seconds:
        lines.append(f"  MAIL is answered after {view.tarpit_seconds} s")
    if view.refused:
        lines.append(f"  {view.refused} MAIL commands were refused since the start")
    for one in view.resources:
        lines.append(f"  {paint(one.level.ljust(6), _COLOURS[one.level])}  {wrapped(one.sentence, 10)}")
    return "\n".join(lines)
