# SPDX-License-Identifier: MIT
"""Methods that test: a send connector, a receive connector, a domain, a host; and the results that were kept."""

from typing import Final

import msgspec

from bridgehead.admin.merge import FIRST
from bridgehead.admin.method import Caller, Method, Role
from bridgehead.admin.ports import RunningServer
from bridgehead.admin.probe.ports import DOMAIN, RECEIVE_CONNECTOR, SEND_CONNECTOR, SMTP, ProbeRequest
from bridgehead.admin.probe.steps import ProbeResult


class SendConnectorTest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`domain`: test the way there; `sender`, `recipients`: for MAIL and RCPT; `probe`: send a real message to this
    address and wait for it; `seconds`: for each step."""

    name: str
    domain: str = ""
    sender: str = ""
    recipients: list[str] = []
    probe: str = ""
    seconds: float = 0.0


class ReceiveConnectorTest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`seconds`: for each step."""

    name: str
    seconds: float = 0.0


class DomainTest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """As for send connectors; which one takes the mail is found out."""

    name: str
    sender: str = ""
    recipients: list[str] = []
    probe: str = ""
    seconds: float = 0.0


class HostTest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`host`: "HOST" or "HOST:PORT". `tls`: "never", "required", "certificate" or "name"; "" where offered.
    `source`: an address of the server to connect from."""

    host: str
    sender: str = ""
    recipients: list[str] = []
    tls: str = ""
    tls_name: str = ""
    source: str = ""
    implicit_tls: bool = False
    seconds: float = 0.0


class ResultsWanted(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`name`: of a connector; "" for all. `failed`: only those with a failure."""

    name: str = ""
    failed: bool = False


async def send_connector(server: RunningServer, params: SendConnectorTest, _: Caller) -> ProbeResult:
    """Test a send connector step by step: DNS, TCP, banner, EHLO, TLS, log-on, MAIL and RCPT, never DATA."""
    return await server.connector_tests.run(_request(SEND_CONNECTOR, params))


async def receive_connector(server: RunningServer, params: ReceiveConnectorTest, _: Caller) -> ProbeResult:
    """Test each binding of a receive connector against its configuration."""
    return await server.connector_tests.run(_request(RECEIVE_CONNECTOR, params))


async def domain(server: RunningServer, params: DomainTest, _: Caller) -> ProbeResult:
    """What would be done with mail for a domain, each mail host tested."""
    return await server.connector_tests.run(_request(DOMAIN, params))


async def smtp(server: RunningServer, params: HostTest, _: Caller) -> ProbeResult:
    """Test any SMTP server."""
    fields = msgspec.structs.asdict(params)
    return await server.connector_tests.run(ProbeRequest(kind=SMTP, name=fields.pop("host"), **fields))


async def results(server: RunningServer, params: ResultsWanted, _: Caller) -> list[ProbeResult]:
    """The last results of tests, newest first."""
    wanted = params.name.casefold()
    return [
        one
        for one in server.connector_tests.results()
        if (not wanted or one.name.casefold() == wanted) and (not params.failed or one.verdict == "failure")
    ]


def _request(kind: str, params: msgspec.Struct) -> ProbeRequest:
    return ProbeRequest(kind=kind, **msgspec.structs.asdict(params))


METHODS: Final = {
    "tests.send_connector": Method(
        params=SendConnectorTest, result=ProbeResult, answer=send_connector, role=Role.OPERATOR,
        route="POST /tests/send-connectors/{name}",
        merge=FIRST,
    ),
    "tests.receive_connector": Method(
        params=ReceiveConnectorTest, result=ProbeResult, answer=receive_connector, role=Role.OPERATOR,
        route="POST /tests/receive-connectors/{name}",
        merge=FIRST,
    ),
    "tests.domain": Method(
        params=DomainTest, result=ProbeResult, answer=domain, role=Role.OPERATOR, route="POST /tests/domains/{name}",
        merge=FIRST,
    ),
    "tests.smtp": Method(
        params=HostTest, result=ProbeResult, answer=smtp, role=Role.OPERATOR, route="POST /tests/hosts/{host}",
        merge=FIRST,
    ),
    "tests.results": Method(
        params=ResultsWanted, result=list[ProbeResult], answer=results, role=Role.VIEWER, route="GET /tests/results",
        merge=FIRST,
    ),
}  # fmt: skip
