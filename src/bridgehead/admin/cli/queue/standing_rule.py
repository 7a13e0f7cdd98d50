# SPDX-License-Identifier: MIT
"""`bridgehead standing-rule add|list|show|cancel`."""

from typing import TYPE_CHECKING

import rich_click as click

from bridgehead.admin.cli.context import CliContext
from bridgehead.admin.cli.output import AdminCommand, counted, distance, emit, facts, json_option, paint, table, when

if TYPE_CHECKING:
    from bridgehead.admin.methods.standing_rules import StandingRuleView


@click.group("standing-rule")
def standing_rule() -> None:
    """Hold or fail present and future mail that fits a filter, until the rule expires or is cancelled."""


@standing_rule.command(cls=AdminCommand)
@click.argument("rule", metavar="hold|fail")
@click.option("--filter", "filter_", required=True, help="Which mail: {Recipients -like '*@contoso.com'}.")
@click.option("--reason", required=True, help="Why; kept with the rule, and quoted in the reports of fail.")
@click.option("--expires", default="", help='When it ends by itself: a time, or a span from now such as "2h".')
@json_option
@click.pass_context
def add(context: click.Context, rule: str, filter_: str, reason: str, expires: str, as_json: bool) -> None:
    """Put a rule in force. hold: mail that fits waits until the rule ends; fail: its senders get a report.

    Mail that is in the queues now is dealt with in the background; see what it would be with
    message suspend --dry-run and the same filter.

    \b
    Examples:
      bridgehead standing-rule add hold --filter "{Size -gt 20MB}" --reason load
      bridgehead standing-rule add fail --filter "{Subject -like '*.exe*'}" \\
        --reason "infected mail" --expires 2d
    """
    from bridgehead.admin.methods.standing_rules import StandingRuleOrder, StandingRuleView

    order = StandingRuleOrder(rule=rule, filter=filter_, reason=reason, expires=expires)
    cli: CliContext = context.obj
    with cli.control() as control:
        made = control.call("standing_rules.add", order, StandingRuleView)
    emit(made, as_json, lambda: _text(made))


@standing_rule.command("list", cls=AdminCommand)
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List standing rules, those in force first.

    \b
    Examples:
      bridgehead standing-rule list
    """
    from bridgehead.admin.methods.standing_rules import StandingRuleView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("standing_rules.list", None, list[StandingRuleView])
    emit(found, as_json, lambda: _list_text(found))


@standing_rule.command(cls=AdminCommand)
@click.argument("number", type=int)
@json_option
@click.pass_context
def show(context: click.Context, number: int, as_json: bool) -> None:
    """Show one standing rule. The messages that it holds: message list with {StandingRule -eq NUMBER}.

    \b
    Examples:
      bridgehead standing-rule show 3
    """
    from bridgehead.admin.methods.standing_rules import StandingRuleNumber, StandingRuleView

    cli: CliContext = context.obj
    with cli.control() as control:
        found = control.call("standing_rules.show", StandingRuleNumber(number), StandingRuleView)
    emit(found, as_json, lambda: _text(found))


@standing_rule.command(cls=AdminCommand)
@click.argument("number", type=int)
@click.option("--reason", default="", help="Why it is cancelled; kept with the rule.")
@json_option
@click.pass_context
def cancel(context: click.Context, number: int, reason: str, as_json: bool) -> None:
    """End a standing rule now and let go what it holds; what another rule holds too stays.

    \b
    Examples:
      bridgehead standing-rule cancel 3 --reason "wave is over"
    """
    from bridgehead.admin.methods.standing_rules import StandingRuleCancel, StandingRuleView

    cli: CliContext = context.obj
    with cli.control() as control:
        ended = control.call("standing_rules.cancel", StandingRuleCancel(number, reason), StandingRuleView)
    emit(ended, as_json, lambda: _text(ended))


def _text(one: "StandingRuleView") -> str:
    state = paint(one.state, "green" if one.state == "In force" else "yellow")
    return "\n".join(
        [
            f"Standing rule {one.id}: {one.rule} {{{one.filter}}}: {state}",
            facts(
                [
                    ("by", one.by),
                    ("reason", one.reason),
                    ("created", when(one.created)),
                    ("expires", when(one.expires)),
                    ("matched", f"{counted(one.matched, 'message')} that came since"),
                    ("mail present then", f"bridgehead action show {one.sweep}" if one.sweep else ""),
                    ("ended", when(one.ended)),
                    ("ended by", one.ended_by),
                    ("because", one.end_reason),
                    ("released", f"bridgehead action show {one.release}" if one.release else ""),
                ]
            ),
        ]
    )


def _expires(one: "StandingRuleView") -> str:
    """How long it is still in force; nothing for one that has ended."""
    return distance(one.expires) if one.state == "In force" else ""


def _list_text(found: "list[StandingRuleView]") -> str:
    if not found:
        return "There are no standing rules."
    rows = [(one.id, one.rule, one.state, one.by, _expires(one), one.matched, one.filter, one.reason) for one in found]
    headings = ("ID", "RULE", "STATE", "BY", "EXPIRES IN", "MATCHED", "FILTER", "REASON")
    return table(headings, rows, flexible=(6, 7))
