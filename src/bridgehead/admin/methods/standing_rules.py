# SPDX-License-Identifier: MIT
"""Methods about standing rules: add, list, show, cancel."""

from datetime import datetime
from typing import Final

import msgspec

from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.merge import TOGETHER
from bridgehead.admin.method import Caller, Method, NoParameters, Number, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.queue.actions import read_moment
from bridgehead.admin.queue.standing_rules import FAIL, HOLD, IN_FORCE, StandingRule
from bridgehead.admin.times import moment
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import REASON_TEXT


class StandingRuleOrder(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A new rule.

    Attributes:
        rule: "hold": mail that fits waits until the rule ends; "fail": its senders get a report with the reason.
        filter: which mail: {Recipients -like '*@contoso.com' -and Size -gt 1MB}.
        reason: why; a report of "fail" quotes it.
        expires: a time, or a span from now such as "2h"; "" for never.
    """

    rule: str
    filter: str
    reason: str
    expires: str = ""


class StandingRuleNumber(msgspec.Struct, forbid_unknown_fields=True):
    """`id`: the rule's number."""

    id: Number


class StandingRuleCancel(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`id`: the rule's number; `reason`: why it is cancelled."""

    id: Number
    reason: str = ""


class StandingRuleView(msgspec.Struct, frozen=True, kw_only=True):
    """A standing rule.

    Attributes:
        rule: hold or fail.
        state: In force, Cancelled or Expired.
        matched: messages that came while it was in force and fitted; of other workers than the first, since the start.
        sweep: the action on the mail that was there when it began; 0 for none yet.
        release: the action that let go what it held when it ended; 0 for none.
    """

    id: int
    rule: str
    filter: str
    by: str
    reason: str
    created: datetime | None
    expires: datetime | None
    state: str
    ended: datetime | None
    ended_by: str
    end_reason: str
    matched: int
    sweep: int
    release: int


def view_rule(rule: StandingRule) -> StandingRuleView:
    """A rule as people see it."""
    return StandingRuleView(
        id=rule.id, rule=rule.verb, filter=rule.filter, by=rule.by, reason=rule.reason, created=moment(rule.created),
        expires=moment(rule.expires), state=rule.state, ended=moment(rule.ended), ended_by=rule.ended_by,
        end_reason=rule.end_reason, matched=rule.matched, sweep=rule.sweep, release=rule.release,
    )  # fmt: skip


async def add(server: RunningServer, params: StandingRuleOrder, caller: Caller) -> StandingRuleView:
    """Hold or fail present and future mail that fits a filter."""
    verb = params.rule.casefold()
    if verb not in (HOLD, FAIL):
        raise AdminFault(INVALID, f'there is no standing rule "{params.rule}"', f"one of {HOLD}, {FAIL}")
    reason = clean_text(params.reason, REASON_TEXT)
    if not reason:
        raise AdminFault(INVALID, "a standing rule needs a reason", 'give it: --reason "…"')
    if not params.filter:
        raise AdminFault(INVALID, "a standing rule needs a filter", "such as {FromAddress -like '*@contoso.com'}")
    expires = read_moment(params.expires, server.now(), "expiry") if params.expires else 0.0
    return view_rule(await server.standing_rules.add(verb, params.filter, caller.name, reason, expires))


async def list_(server: RunningServer, _: NoParameters, __: Caller) -> list[StandingRuleView]:
    """All standing rules: those in force first, then those that ended, the latest first."""
    rules = await server.standing_rules.rules()
    return [view_rule(rule) for rule in sorted(rules, key=lambda rule: (rule.state != IN_FORCE, -rule.id))]


async def show(server: RunningServer, params: StandingRuleNumber, _: Caller) -> StandingRuleView:
    """One standing rule."""
    return view_rule(await server.standing_rules.rule(params.id))


async def cancel(server: RunningServer, params: StandingRuleCancel, caller: Caller) -> StandingRuleView:
    """End a standing rule and release what it holds."""
    reason = clean_text(params.reason, REASON_TEXT)
    return view_rule(await server.standing_rules.cancel(params.id, caller.name, reason))


METHODS: Final = {
    "standing_rules.add": Method(
        params=StandingRuleOrder, result=StandingRuleView, answer=add, role=Role.OPERATOR,
        route="POST /standing-rules",
        merge=TOGETHER,
    ),
    "standing_rules.list": Method(
        params=NoParameters, result=list[StandingRuleView], answer=list_, role=Role.VIEWER,
        route="GET /standing-rules",
        merge=TOGETHER,
    ),
    "standing_rules.show": Method(
        params=StandingRuleNumber, result=StandingRuleView, answer=show, role=Role.VIEWER,
        route="GET /standing-rules/{id}",
        merge=TOGETHER,
    ),
    "standing_rules.cancel": Method(
        params=StandingRuleCancel, result=StandingRuleView, answer=cancel, role=Role.OPERATOR,
        route="POST /standing-rules/{id}/cancel",
        merge=TOGETHER,
    ),
}  # fmt: skip
