# SPDX-License-Identifier: MIT
"""Methods about back pressure: show."""

from typing import Final

from bridgehead.admin.health import joining
from bridgehead.admin.health.pressure import PressureView, view_pressure
from bridgehead.admin.merge import Ask, Merge
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.admin.ports import RunningServer


async def show(server: RunningServer, _: NoParameters, __: Caller) -> PressureView:
    """Levels of disks, memory and Submission, their causes, and when the next level comes at this rate."""
    return view_pressure(server.back_pressure())


METHODS: Final = {
    "back_pressure.show": Method(
        params=NoParameters,
        result=PressureView,
        answer=show,
        role=Role.VIEWER,
        route="GET /back-pressure",
        merge=Merge(Ask.WORKING, joining.pressure),
    ),
}
