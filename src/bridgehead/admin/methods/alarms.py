# SPDX-License-Identifier: MIT
"""Methods about alarms: list, silence, acknowledge, end a silence, test the channels."""

from typing import Final

import msgspec

from bridgehead.admin.health import joining
from bridgehead.admin.health.alarms import (
    AlarmReport,
    AlarmTest,
    SilenceView,
    end_silence,
    period,
    report_alarms,
    silence,
    test_channels,
)
from bridgehead.admin.merge import FIRST, Ask, Merge
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.admin.ports import RunningServer


class SilenceOrder(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`pattern`: an alarm's id, or a `*` pattern; `duration`: "4h", "2d", "00:30:00" or seconds."""

    pattern: str
    duration: str = "4h"
    reason: str = ""


class SilencePattern(msgspec.Struct, forbid_unknown_fields=True):
    """`pattern`: as it was given."""

    pattern: str


async def list_(server: RunningServer, _: NoParameters, __: Caller) -> AlarmReport:
    """Alarms that stand, silences in force, channels."""
    return await report_alarms(server.watch)


async def silence_(server: RunningServer, params: SilenceOrder, caller: Caller) -> SilenceView:
    """Tell nobody of an alarm, or of all that fit a pattern, for a while. They stay in the list."""
    seconds = period(params.duration).total_seconds()
    return silence(server.watch, params.pattern, seconds, server.now(), caller.name, params.reason)


async def acknowledge(server: RunningServer, params: SilenceOrder, caller: Caller) -> SilenceView:
    """Say that somebody is at it: no reminders for a while; that it gets worse or ends is told."""
    seconds = period(params.duration).total_seconds()
    return silence(
        server.watch, params.pattern, seconds, server.now(), caller.name, params.reason, acknowledge=True
    )  # fmt: skip


async def unsilence(server: RunningServer, params: SilencePattern, _: Caller) -> SilenceView:
    """End a silence or an acknowledgement."""
    return end_silence(server.watch, params.pattern)


async def test(server: RunningServer, _: NoParameters, caller: Caller) -> list[AlarmTest]:
    """Send a real test alarm through each channel, and say what became of it."""
    return await test_channels(server.watch, caller.name)


METHODS: Final = {
    "alarms.list": Method(
        params=NoParameters, result=AlarmReport, answer=list_, role=Role.HELP_DESK, route="GET /alarms",
        merge=Merge(Ask.WORKING, joining.alarms),
    ),
    "alarms.silence": Method(
        params=SilenceOrder, result=SilenceView, answer=silence_, role=Role.OPERATOR, route="POST /alarms/silences",
        merge=Merge(Ask.ALL),
    ),
    "alarms.acknowledge": Method(
        params=SilenceOrder, result=SilenceView, answer=acknowledge, role=Role.OPERATOR,
        route="POST /alarms/acknowledgements",
        merge=Merge(Ask.ALL),
    ),
    "alarms.unsilence": Method(
        params=SilencePattern, result=SilenceView, answer=unsilence, role=Role.OPERATOR,
        route="DELETE /alarms/silences/{pattern}",
        merge=Merge(Ask.KNOWING),
    ),
    "alarms.test": Method(
        params=NoParameters, result=list[AlarmTest], answer=test, role=Role.OPERATOR, route="POST /alarms/test",
        merge=FIRST,
    ),
}  # fmt: skip
