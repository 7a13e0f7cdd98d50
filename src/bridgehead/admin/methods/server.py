# SPDX-License-Identifier: MIT
"""Methods about the server as a whole: status, reload."""

from typing import Final

from bridgehead.admin.health import joining
from bridgehead.admin.health.status import StatusReport, report_status
from bridgehead.admin.merge import Ask, Merge
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.admin.ports import ReloadOutcome, RunningServer


async def status(server: RunningServer, _: NoParameters, __: Caller) -> StatusReport:
    """How the server is: sessions, counts, alarms, queues in Retry."""
    return await report_status(server)


async def reload(server: RunningServer, _: NoParameters, __: Caller) -> ReloadOutcome:
    """Read the configuration anew, all or nothing."""
    return await server.reload()


METHODS: Final = {
    "server.status": Method(
        params=NoParameters,
        result=StatusReport,
        answer=status,
        role=Role.VIEWER,
        route="GET /status",
        merge=Merge(Ask.WORKING, joining.status, joining.troubled_status),
    ),
    "server.reload": Method(
        params=NoParameters,
        result=ReloadOutcome,
        answer=reload,
        role=Role.ADMINISTRATOR,
        route="POST /reload",
        merge=Merge(Ask.SUPERVISOR),
    ),
}
