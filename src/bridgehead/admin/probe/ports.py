# SPDX-License-Identifier: MIT
"""What operators ask of tests, and what the running server does for them. Light: every command imports it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from bridgehead.admin.probe.steps import ProbeResult

if TYPE_CHECKING:
    from bridgehead.admin.connector.audit_report import AuditReport
    from bridgehead.admin.probe.site import Site

SEND_CONNECTOR: Final = "send-connector"
RECEIVE_CONNECTOR: Final = "receive-connector"
DOMAIN: Final = "domain"
SMTP: Final = "smtp"


class ProbeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be tested.

    Attributes:
        kind: one of the constants above.
        name: of the connector or domain; "HOST" or "HOST:PORT".
        domain: send connector: the way to this domain.
        sender, recipients: for MAIL and RCPT; postmaster where none is given.
        probe: send a real message there and wait for it; "" sends none.
        seconds: for a connection, a reply, and for the probe message; 0 for the setting.
        tls: host: "", "never", "required", "certificate" or "name", which also asks for `tls_name` or the host's own.
        source: host: from this address of ours.
        implicit_tls: host: TLS before the greeting; always on port 465.
    """

    kind: str
    name: str
    domain: str = ""
    sender: str = ""
    recipients: Sequence[str] = ()
    probe: str = ""
    seconds: float = 0.0
    tls: str = ""
    tls_name: str = ""
    source: str = ""
    implicit_tls: bool = False


class ConnectorTests(Protocol):
    """What the running server does for tests. Raises AdminFault."""

    async def run(self, request: ProbeRequest) -> ProbeResult:
        """Run a test now; a few at a time."""

    def results(self) -> Sequence[ProbeResult]:
        """The last ones, newest first."""

    def site(self) -> "Site":
        """The configuration in force with all that a test needs."""

    async def audit(self, *, again: bool) -> "AuditReport":
        """The last audit; a new one where there is none, or `again`."""
