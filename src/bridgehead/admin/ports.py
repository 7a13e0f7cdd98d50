# SPDX-License-Identifier: MIT
"""What the commands need of the running server, and the facts that it reports about itself.

`server/app.py` implements `RunningServer`; the use cases of this room turn its answers into what people see.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from bridgehead.queues.store import ItemFilter, Problem, QueuedItem, QueueState, QueueSummary

if TYPE_CHECKING:  # a command that asks for queues does not load what traces and tests need
    from bridgehead.admin.access.lockouts import LockoutDesk
    from bridgehead.admin.connector.devices import DeviceDesk
    from bridgehead.admin.connector.oauth import OAuthDesk
    from bridgehead.admin.health.alarms import AlarmKeeper
    from bridgehead.admin.health.health import Ready
    from bridgehead.admin.health.metrics import MetricsSource
    from bridgehead.admin.health.pressure import PressureFacts
    from bridgehead.admin.probe.ports import ConnectorTests
    from bridgehead.admin.queue.action_runner import ActionRunner
    from bridgehead.admin.queue.safety_net import SafetyNetDesk
    from bridgehead.admin.queue.standing_rules import StandingRules
    from bridgehead.admin.tls.certificate_binding import CertificateDesk
    from bridgehead.admin.tls.tls_policy import TlsPolicyDesk
    from bridgehead.admin.tls.tls_reports import TlsReportDesk
    from bridgehead.admin.trace.tracking import TraceService
    from bridgehead.admin.why.ports import Diagnostics

    class MonitoredServer(MetricsSource, Ready, Protocol):
        """What scrapes and probes ask."""


class ListenerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One address that is listened on.

    Attributes:
        binding: "0.0.0.0:25".
        connectors: receive connectors that share it.
        connections: open now.
    """

    binding: str
    connectors: Sequence[str] = ()
    connections: int = 0


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the server knows of itself, read at once without I/O.

    Attributes:
        started_at, configuration_read_at: Unix times.
        configuration_files: what the configuration was read from; empty for the embedded default.
        sessions_in, sessions_out: SMTP sessions open now.
        received, delivered, failed, deferred: messages accepted, and recipients relayed or delivered, failed and put
            off, since the start.
        lost_log_lines: lines that no disk took.
        alarms: what is wrong now, in words for an administrator, the worst first.
    """

    version: str
    fqdn: str
    pid: int
    started_at: float
    data_directory: str
    configuration_files: Sequence[str] = ()
    configuration_read_at: float = 0.0
    listeners: Sequence[ListenerFacts] = ()
    sessions_in: int = 0
    sessions_out: int = 0
    received: int = 0
    delivered: int = 0
    failed: int = 0
    deferred: int = 0
    lost_log_lines: int = 0
    alarms: Sequence[str] = ()


class QueueActivity(msgspec.Struct, frozen=True, kw_only=True):
    """What the server knows of a queue that the store does not.

    Attributes:
        status: Exchange's word where a delivery queue is at work: Active, Connecting, Ready, Retry, Suspended; else "".
        incoming_rate, outgoing_rate: messages by the second over the last minute.
        tls_domain: name that its connector demands of the certificate, "" for none.
    """

    status: str = ""
    incoming_rate: float = 0.0
    outgoing_rate: float = 0.0
    tls_domain: str = ""


class ReloadOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a reload. With problems nothing has changed.

    Attributes:
        problems: every mistake found, ready to print.
        changes: what is different now, one line each.
        needs_restart: settings that were changed and take effect only after a restart.
    """

    problems: Sequence[str] = ()
    changes: Sequence[str] = ()
    needs_restart: Sequence[str] = ()


class RunningServer(Protocol):
    """The running server as its operators' commands see it. All calls on its event loop; none blocks it.

    Methods that reach the store raise StoreFault where it cannot answer.
    """

    @property
    def lockouts(self) -> "LockoutDesk":
        """Accounts and sources that failed to log on too often."""

    @property
    def tls_reports(self) -> "TlsReportDesk":
        """Reports on how TLS went."""

    @property
    def certificate_desk(self) -> "CertificateDesk":
        """Certificates: who shows which, putting new ones in force, ACME."""

    @property
    def safety_net(self) -> "SafetyNetDesk":
        """Delivered mail that is kept, and requests to resubmit it."""

    def now(self) -> float:
        """Unix time."""

    def facts(self) -> ServerFacts: ...

    def back_pressure(self) -> "PressureFacts":
        """Levels of disks, memory and Submission, and what follows from them."""

    @property
    def watch(self) -> "AlarmKeeper":
        """Alarms."""

    @property
    def monitored(self) -> "MonitoredServer":
        """Numbers and health."""

    @property
    def actions(self) -> "ActionRunner":
        """What administrators do to queued messages."""

    @property
    def standing_rules(self) -> "StandingRules":
        """What administrators ordered for mail to come."""

    @property
    def traces(self) -> "TraceService":
        """Searches of the message tracking logs."""

    @property
    def diagnostics(self) -> "Diagnostics":
        """Facts about destinations, clients and the scheduler, for `why`."""

    @property
    def devices(self) -> "DeviceDesk":
        """Clients known by their address."""

    @property
    def connector_tests(self) -> "ConnectorTests":
        """Tests of connectors, and the audit."""

    @property
    def oauth(self) -> "OAuthDesk":
        """Access tokens of send connectors."""

    @property
    def tls_policies(self) -> "TlsPolicyDesk":
        """What recipient domains ask of TLS."""

    async def reload(self) -> ReloadOutcome:
        """Read the configuration anew, all or nothing."""

    async def queues(self) -> Sequence[QueueSummary]:
        """Every queue that holds a message or has a state other than Active."""

    def activity(self, queue: QueueState) -> QueueActivity:
        """What a queue does at the moment; no I/O."""

    async def list_items(self, wanted: ItemFilter) -> Sequence[QueuedItem]:
        """Queued messages without content, by age."""

    async def item(self, internal_message_id: int) -> QueuedItem | None:
        """One queued message with its content, untouched."""

    async def retry(self, queue: QueueState) -> int:
        """Try this queue now: a delivery queue's timer is reset and its messages in Retry become due; the messages of
        Unreachable and Submission pass the categorizer anew. Returns how many messages that concerns."""

    async def suspend(self, queue: QueueState, who: str, reason: str = "") -> None:
        """Stop delivery from a queue, or processing of Submission or Unreachable; what is under way finishes."""

    async def resume(self, queue: QueueState) -> None:
        """Undo `suspend`."""

    async def verify(self) -> Sequence[Problem]:
        """Check the store without changing it."""
