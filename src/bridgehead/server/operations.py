# SPDX-License-Identifier: MIT
"""What operators ask of the running server: facts, queues, reload. Implements `admin.ports.RunningServer`."""

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridgehead import __version__
from bridgehead.admin.health.alarms import sentences
from bridgehead.admin.health.pressure import PressureFacts
from bridgehead.admin.ports import ListenerFacts, QueueActivity, ReloadOutcome, ServerFacts
from bridgehead.admin.queue.action_runner import ActionRunner
from bridgehead.admin.queue.standing_rules import StandingRules
from bridgehead.delivery.resubmission import Resubmissions
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.monitoring.watch import Watch
from bridgehead.net.certificates.pairs import CertificateError
from bridgehead.queues.store import ItemFilter, Problem, QueuedItem, QueueKind, QueueState, QueueSummary
from bridgehead.receive.permissions.sender_exceptions import SenderExceptions
from bridgehead.server.config.check import load_checked
from bridgehead.server.config.checks.files import certificate_pairs
from bridgehead.server.config.problem import ConfigurationError
from bridgehead.server.config.reloaded import refused, reloaded
from bridgehead.server.connector_watch import ConnectorWatch
from bridgehead.server.devices import DeviceWatch
from bridgehead.server.diagnostics import ServerDiagnostics
from bridgehead.server.logons.lockouts import Lockouts
from bridgehead.server.monitoring.monitored import Monitored
from bridgehead.server.oauth import ServerOAuth
from bridgehead.server.queue_actions import queue_activity, resume_stage, suspend_stage
from bridgehead.server.rooms import Rooms, secure_domains
from bridgehead.server.submission_directories import changed_directories, use_directories
from bridgehead.server.tls.certificates import ServerCertificates, own_pair
from bridgehead.server.tls.policies import TlsPolicies
from bridgehead.server.tls.reports import TlsReports
from bridgehead.server.trace import Traces
from bridgehead.tracking.events import EventId
from bridgehead.tracking.settings import LogSettings

if TYPE_CHECKING:
    from bridgehead.server.app import Application

log = logging.getLogger("bridgehead.server")


class Operations:
    """The running server as its operators' commands see it."""

    def __init__(self, application: "Application") -> None:
        self._application = application

    def now(self) -> float:
        """Unix time."""
        return self._application.clock.now()

    def facts(self) -> ServerFacts:
        """Counters and names; no I/O."""
        app = self._application
        counts = app.tracker.recipients
        return ServerFacts(
            version=__version__,
            fqdn=app.fqdn,
            pid=os.getpid() if app.place.is_alone else os.getppid(),
            started_at=app.started_at,
            data_directory=str(app.loaded.data_directory),
            configuration_files=[str(file) for file in app.loaded.files],
            configuration_read_at=app.configured_at,
            listeners=[
                ListenerFacts(binding=binding, connectors=names, connections=connections)
                for binding, names, connections in app.receive.listening()
            ],
            sessions_in=len(app.receive.sessions),
            sessions_out=app.rooms.open_connections,
            received=app.tracker.messages_received,
            delivered=counts[EventId.SEND] + counts[EventId.DELIVER],
            failed=counts[EventId.FAIL],
            deferred=counts[EventId.DEFER],
            lost_log_lines=app.logs.lost_lines,
            alarms=sentences(app.alarms),
        )

    def back_pressure(self) -> PressureFacts:
        """Levels of the resources that are metered."""
        return self._application.resources.facts()

    @property
    def watch(self) -> Watch:
        """Alarms."""
        return self._application.watch

    @property
    def monitored(self) -> Monitored:
        """Numbers and health."""
        return self._application.monitored

    @property
    def traces(self) -> Traces:
        """Searches of the message tracking logs."""
        return self._application.traces

    @property
    def diagnostics(self) -> ServerDiagnostics:
        """Facts for `why`."""
        return self._application.diagnostics

    @property
    def connector_tests(self) -> ConnectorWatch:
        """Tests of connectors, and the audit."""
        return self._application.connector_watch

    @property
    def lockouts(self) -> Lockouts:
        """Accounts and sources that failed to log on too often."""
        return self._application.logons.lockouts

    @property
    def devices(self) -> DeviceWatch:
        """Clients known by their address."""
        return self._application.devices

    @property
    def certificate_desk(self) -> ServerCertificates:
        """Certificates, and their renewal."""
        return self._application.certificate_desk

    @property
    def safety_net(self) -> Resubmissions:
        """Delivered mail that is kept, and requests to resubmit it."""
        return self._application.resubmissions

    @property
    def tls_reports(self) -> TlsReports:
        """Reports on how TLS went."""
        return self._application.tls_reports

    @property
    def oauth(self) -> ServerOAuth:
        """Access tokens of send connectors."""
        return self._application.oauth

    @property
    def tls_policies(self) -> TlsPolicies:
        """What recipient domains ask of TLS."""
        return TlsPolicies(self._application)

    # --- configuration ----------------------------------------------------------------------------------------------

    async def reload(self) -> ReloadOutcome:
        """Read the configuration anew: everything is made and every socket opened before anything is exchanged."""
        app = self._application
        try:
            found = reloaded(app.loaded, app.place.share(load_checked(app.path)))
        except ConfigurationError as error:
            return refused(*error.problems)
        loaded = found.loaded
        connectors = loaded.configuration.receive_connectors
        try:
            rooms = Rooms(
                loaded, app.fqdn, app.clock, app.logs, app.domain_tls.shared, app.oauth.keeper, app.tls_reports.reading,
                app.client_certificates,
            )  # fmt: skip
            directories = changed_directories(app, loaded)
            pair = own_pair(loaded, app.fqdn)
            opened = app.open_sockets(connectors)
        except (OSError, DirectoryUnavailable) as error:
            return refused(error)
        try:
            management = app.management.prepare(loaded) if app.management is not None else None
        except (OSError, CertificateError) as error:
            for one in opened.values():
                one.close()
            return refused(error)
        app.notifier.reloading()
        former, app.rooms, app.loaded, app.server_pair = app.rooms, rooms, loaded, pair
        use_directories(app, directories)
        await self._use_log_settings(loaded.configuration.logs)
        app.oauth.reconfigure(loaded)
        app.configured_at = app.clock.now()
        services = app.receive.services
        app.traces.reconfigure(loaded)
        services.revision = app.traces.revision
        services.accepted_domains, services.directory = rooms.accepted_domains, rooms.directory
        services.sender_exceptions = SenderExceptions(loaded.configuration.sender_exceptions)
        services.secure_domains = frozenset(secure_domains(loaded))
        await app.logons.reconfigure(loaded)
        app.certificates.use(app.server_pair, certificate_pairs(loaded))
        app.devices.reconfigure(loaded.configuration.devices)
        await app.receive.configure(connectors, opened, loaded.configuration.devices)
        configuration = loaded.configuration
        app.store.weights.replace(configuration.queues.weights)
        app.safety_net.reconfigure(configuration.queues)
        app.acceptance.max_high_priority_size = configuration.queues.max_high_priority_size
        app.reporter.reconfigure(
            configuration.delivery, configuration.queues, app.fqdn, rooms.accepted_domains.default_name
        )
        await app.dispatcher.reconfigure(configuration.queues, configuration.delivery, rooms.courier_for)
        app.domain_tls.reconfigure(loaded.configuration.tls)
        app.categorizer.reconfigure(rooms.mail_flow, configuration.queues)
        app.resources.reconfigure(configuration.back_pressure)
        app.snapshots.reconfigured(configuration)
        await former.close()
        app.certificate_desk.put_in_force(())
        app.policy_host.reconfigure()
        app.connector_watch.configuration_changed()
        await app.watch.reconfigure(configuration.alarms, app.channels(loaded))
        app.metrics.destinations = configuration.monitoring.destinations
        if app.place.is_first:
            await app.telemetry.reconfigure(loaded)
        if app.management is not None and management is not None:
            app.management.reconfigure(loaded, management)
        app.notifier.ready()
        return found.outcome

    async def _use_log_settings(self, settings: LogSettings) -> None:
        """Keep the logs by other limits, and trace another sender's messages or nobody's."""
        app = self._application
        former = app.logs.pipeline_tracing
        app.logs.reconfigure(settings)
        if former is not app.logs.pipeline_tracing:
            app.receive.services.tracing = app.categorizer.tracing = app.logs.pipeline_tracing
            if former is not None:
                await asyncio.to_thread(former.close)

    # --- queues -----------------------------------------------------------------------------------------------------

    @property
    def actions(self) -> ActionRunner:
        """What administrators do to queued messages."""
        return self._application.actions

    @property
    def standing_rules(self) -> StandingRules:
        """What administrators ordered for mail to come."""
        return self._application.standing_rules

    async def queues(self) -> Sequence[QueueSummary]:
        """Every queue that holds a message or has a state other than Active; what was removed is in none of them.
        Raises StoreFault."""
        return [one for one in await self._application.store.queues() if one.state.queue is not QueueKind.REMOVED]

    async def list_items(self, wanted: ItemFilter) -> Sequence[QueuedItem]:
        """Queued messages without content. Raises StoreFault."""
        found = await self._application.store.list_items(wanted)
        return [entry for entry in found if entry.queue is not QueueKind.REMOVED]

    async def item(self, internal_message_id: int) -> QueuedItem | None:
        """One queued message with its content. Raises StoreFault."""
        return await self._application.store.get(internal_message_id)

    async def retry(self, queue: QueueState) -> int:
        """Retry-Queue; returns how many messages that concerns."""
        app = self._application
        count = next((s.message_count for s in await app.store.queues() if _same_queue(s.state, queue)), 0)
        if queue.queue is QueueKind.DELIVERY and queue.next_hop is not None:
            app.dispatcher.retry_now(queue.next_hop)
        elif queue.queue is QueueKind.UNREACHABLE:
            app.categorizer.resubmit_unreachable()
        else:
            app.categorizer.retry_submission()
        return count

    def activity(self, queue: QueueState) -> QueueActivity:
        """What a queue does at the moment."""
        return queue_activity(self._application, queue)

    async def suspend(self, queue: QueueState, who: str, reason: str = "") -> None:
        """Suspend-Queue."""
        if queue.next_hop is not None:
            self._application.dispatcher.suspend(queue.next_hop, who, reason)
        else:
            suspend_stage(self._application, queue.queue, who, reason)

    async def resume(self, queue: QueueState) -> None:
        """Resume-Queue."""
        if queue.next_hop is not None:
            self._application.dispatcher.resume(queue.next_hop)
        else:
            resume_stage(self._application, queue.queue)

    async def verify(self) -> Sequence[Problem]:
        """Check the store and the Safety Net without changing them."""
        app = self._application
        return [*await app.store.verify(), *await asyncio.to_thread(app.safety_net.verify)]


def _same_queue(one: QueueState, other: QueueState) -> bool:
    return one.queue is other.queue and one.next_hop == other.next_hop
