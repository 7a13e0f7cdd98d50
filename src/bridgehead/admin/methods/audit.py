# SPDX-License-Identifier: MIT
"""Methods of the audit of receive connectors: the last report, and a new one."""

from typing import Final

from bridgehead.admin.connector.audit_report import AuditReport
from bridgehead.admin.merge import FIRST
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.admin.ports import RunningServer


async def report(server: RunningServer, _: NoParameters, __: Caller) -> AuditReport:
    """Who may do what on each receive connector, what is open to whom, and the last open-relay self-test."""
    return await server.connector_tests.audit(again=False)


async def run(server: RunningServer, _: NoParameters, __: Caller) -> AuditReport:
    """The same, with the open-relay self-test run now."""
    return await server.connector_tests.audit(again=True)


METHODS: Final = {
    "audit.report": Method(
        params=NoParameters,
        result=AuditReport,
        answer=report,
        role=Role.VIEWER,
        route="GET /connector-audit",
        merge=FIRST,
    ),
    "audit.run": Method(
        params=NoParameters,
        result=AuditReport,
        answer=run,
        role=Role.OPERATOR,
        route="POST /connector-audit",
        merge=FIRST,
    ),
}
