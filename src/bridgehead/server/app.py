# SPDX-License-Identifier: MIT
"""The composition root: builds every room, starts and stops them in order, exchanges the configuration.

Starting: store, dispatcher and categorizer, then sockets, then what has waited; stopping: the other way round, so that
nothing is accepted that nobody would take further. What operators ask of the running server is in `operations.py`.
"""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

from bridgehead.admin.calls.control import ControlServer, channel_path
from bridgehead.admin.methods import every_method
from bridgehead.categorizer.worker import Categorizer
from bridgehead.delivery.dispatcher import Dispatcher
from bridgehead.delivery.notify import NotifyReporter
from bridgehead.delivery.rates import SAMPLE_SECONDS
from bridgehead.delivery.resubmission import Resubmissions
from bridgehead.monitoring.book import AlarmBook
from bridgehead.monitoring.channels import Channel, LogChannel
from bridgehead.monitoring.watch import Watch
from bridgehead.net.certificates.clients import ClientCertificates
from bridgehead.net.certificates.pairs import CertificatePair
from bridgehead.net.certificates.store import CertificateStore
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.authentication_lookup import ResolverLookup
from bridgehead.net.ip_range import Binding
from bridgehead.net.randomness import RandomBytes
from bridgehead.net.signatures import check_signature
from bridgehead.queues.pressure import BackPressure
from bridgehead.queues.safety_net.net import FLUSH_SECONDS
from bridgehead.receive.acceptance import Acceptance
from bridgehead.receive.directories.directory import SubmissionDirectory
from bridgehead.receive.permissions.sender_exceptions import SenderExceptions
from bridgehead.receive.server import ReceiveServer, ReceiveServices
from bridgehead.receive.settings import ReceiveConnector
from bridgehead.receive.workers.company import Company
from bridgehead.server.background import Background
from bridgehead.server.config.checks.files import certificate_pairs
from bridgehead.server.config.load import Loaded
from bridgehead.server.connector_watch import ConnectorWatch
from bridgehead.server.devices import DEVICES_FILE, DeviceWatch
from bridgehead.server.diagnostics import ServerDiagnostics
from bridgehead.server.early_sockets import EarlySockets
from bridgehead.server.logons.logons import Logons
from bridgehead.server.management import Management
from bridgehead.server.monitoring.alarm_channels import alarm_channels
from bridgehead.server.monitoring.log_snapshots import LogSnapshots
from bridgehead.server.monitoring.monitored import Monitored
from bridgehead.server.monitoring.pressure import ResourceMonitor
from bridgehead.server.monitoring.stage_flows import StageFlows
from bridgehead.server.notify import Notifier
from bridgehead.server.oauth import ServerOAuth
from bridgehead.server.operations import Operations
from bridgehead.server.queue_actions import make_actions, make_standing_rules, restore_suspensions
from bridgehead.server.queue_store import TIDY_SECONDS, make_store, mind_safety_net
from bridgehead.server.rooms import Rooms, secure_domains
from bridgehead.server.submission_directories import submission_directories, use_directories
from bridgehead.server.telemetry_process import TelemetryProcess
from bridgehead.server.tls.certificates import ServerCertificates, own_pair
from bridgehead.server.tls.outbound import DomainTls
from bridgehead.server.tls.policy_host import PolicyHost
from bridgehead.server.tls.reports import TlsReports
from bridgehead.server.trace import Traces
from bridgehead.server.workers.desk import WorkerDesk, own_methods
from bridgehead.server.workers.elsewhere import Elsewhere
from bridgehead.server.workers.place import ALONE, TELL_SECONDS, Place
from bridgehead.tracking.counters import CountingTracker
from bridgehead.tracking.logs import FLIGHT_RECORDER_FILE, Logs
from bridgehead.tracking.metrics import Metrics

OpenSockets = Callable[[list[ReceiveConnector]], dict[Binding, socket.socket]]

log = logging.getLogger("bridgehead.server")

STOP_GRACE_SECONDS = 10.0
CERTIFICATE_CHECK_SECONDS = 10.0
SETTLE_SECONDS = 1.0


class Application:
    """One running server.

    Args:
        loaded: the configuration to start with.
        path: its main file, read again by `reload`; None for the embedded default.
        early: sockets that were bound while ports below 1024 could be had.
        place: which of several workers this is.
        channel: path of the internal channel's socket, where it is not that of the only process.
        open_sockets: opens those that other receive connectors need, by default itself. Raises OSError.
        company: the workers that accept on the same sockets.
    """

    def __init__(
        self, loaded: Loaded, path: Path | None, early: EarlySockets, place: Place = ALONE,
        channel: Path | None = None, open_sockets: OpenSockets | None = None, company: Company | None = None,
    ) -> None:  # fmt: skip
        self.place, loaded = place, place.share(loaded)
        configuration = loaded.configuration
        own_folder = place.own_folder(loaded.data_directory)
        self.loaded, self.path = loaded, path
        self.clock = SystemClock()
        self.random_bytes = RandomBytes()
        self.fqdn = configuration.server.fqdn or socket.getfqdn()
        self.started_at = self.configured_at = self.clock.now()
        self.stop_requested = asyncio.Event()
        self.notifier = Notifier()
        self.alarms = AlarmBook(
            self.clock.now,
            reminder_interval=configuration.alarms.reminder_interval.total_seconds(),
            all_clear_delay=configuration.alarms.all_clear_delay.total_seconds(),
        )
        self.elsewhere = Elsewhere(lambda id: any(alarm.id == id for alarm in self.alarms.standing()))
        self.pressure = BackPressure()
        own_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_folder = loaded.within(configuration.logs.log_directory)
        self.logs = Logs(configuration.logs, log_folder, self.clock.now, place.own(log_folder / FLIGHT_RECORDER_FILE))
        self.tracker = CountingTracker(self.logs.message_tracking)
        self.metrics = Metrics(configuration.monitoring.destinations)
        queue_folder = place.queue_folder(loaded.within(configuration.queues.queue_database_path))
        self.store, self.safety_net = make_store(self, configuration.queues, queue_folder)
        self.tls_reports = TlsReports(self)
        self.domain_tls = DomainTls(
            own_folder, configuration.tls, self.alarms, self.clock, self.tls_reports
        )  # fmt: skip
        self.oauth = ServerOAuth(self)
        self.client_certificates = ClientCertificates(self._client_certificate_refused)
        self.rooms = Rooms(
            loaded,
            self.fqdn,
            self.clock,
            self.logs,
            self.domain_tls.shared,
            self.oauth.keeper,
            self.tls_reports.reading,
            self.client_certificates,
        )
        self.background = Background()
        self.directories: list[SubmissionDirectory] = []
        self._make_pipeline()
        self._make_receive(company)
        self.snapshots = LogSnapshots(
            self.logs, loaded.within(configuration.logs.log_directory), configuration, self.fqdn, self.clock,
            self.store.queues,
        )  # fmt: skip
        self.resources = ResourceMonitor(
            configuration.back_pressure, self.pressure,
            queue_folder=queue_folder,
            log_folder=loaded.within(configuration.logs.log_directory),
            waiting=self.store.count_waiting, relief=self.dispatcher,
            flush_caches=lambda: self.rooms.flush_caches(), alarms=self.alarms, clock=self.clock,
        )  # fmt: skip
        self.traces = Traces(loaded, self.logs.flush, self.clock.now, place.is_first)
        self.receive.services.revision = self.traces.revision
        self.actions = make_actions(self)
        self.stage_flows = StageFlows(self)
        self.standing_rules = make_standing_rules(self)
        self.connector_watch = ConnectorWatch(self)
        self.monitored = Monitored(self)
        self.watch = Watch(self.monitored, self.alarms, configuration.alarms, self.channels(loaded), own_folder)
        self.diagnostics = ServerDiagnostics(self)
        self.operations: Operations = Operations(self)
        self.certificate_desk = ServerCertificates(self, early.acme)
        self.policy_host = PolicyHost(self, early.policy)
        self.open_sockets = open_sockets or self.receive.bind
        self._make_channel(channel)

    def channels(self, loaded: Loaded) -> list[Channel]:
        """The ways out of alarms: those of other workers leave through the first."""
        if not self.place.is_first:
            return [LogChannel()]
        return alarm_channels(loaded, self.fqdn, self.clock.now, self.random_bytes)

    def _make_channel(self, channel: Path | None) -> None:
        """The internal channel, and the interface that speaks it. A worker has an end at which its supervisor asks;
        whoever else asks does so at the supervisor's."""
        operators = channel_path(self.loaded.within(self.loaded.configuration.server.control_socket))
        self.telemetry = TelemetryProcess(self.loaded, operators, self.fqdn)
        self.management: Management | None = None
        if channel is None:
            management = self.management = Management(self.loaded, self.fqdn, self.clock.now)
            self.control = ControlServer(
                every_method, self.operations, operators, management.audit, management.interface_pid
            )
        else:
            own = own_methods(WorkerDesk(self))
            self.control = ControlServer(
                lambda: {**every_method(), **own}, self.operations, channel, interface_pid=os.getppid
            )

    def _make_pipeline(self) -> None:
        """Categorizer, dispatcher and reporter around the store."""
        configuration = self.loaded.configuration
        self.reporter = NotifyReporter(
            allocate_id=self.store.allocate_id,
            clock=self.clock,
            random_bytes=self.random_bytes,
            delivery_settings=configuration.delivery,
            queue_settings=configuration.queues,
            fqdn=self.fqdn,
            default_domain=self.rooms.accepted_domains.default_name,
            metrics=self.metrics,
            new_content_file=self.store.new_content_file,
        )
        self.dispatcher = Dispatcher(
            self.store, configuration.queues, configuration.delivery, self.tracker, self.clock, random.random,
            self.rooms.courier_for, self.reporter, lambda entry: self.categorizer.process(entry), self.fqdn,
            self.metrics, self.safety_net,
        )  # fmt: skip
        self.categorizer = Categorizer(
            store=self.store,
            mail_flow=self.rooms.mail_flow,
            queue_settings=configuration.queues,
            tracker=self.tracker,
            clock=self.clock,
            reporter=self.reporter,
            intake=self.dispatcher,
            metrics=self.metrics,
            tracing=self.logs.pipeline_tracing,
            agent_log=self.logs.agents,
        )
        self.resubmissions = Resubmissions(
            self.store, self.safety_net, self.tracker, self.clock, self.categorizer, self.pressure
        )

    def _make_receive(self, company: Company | None) -> None:
        """The SMTP listeners and the directories that messages are picked up from."""
        loaded, configuration = self.loaded, self.loaded.configuration
        self.acceptance = Acceptance(self.store, self.tracker, self.categorizer)
        self.acceptance.max_high_priority_size = configuration.queues.max_high_priority_size
        own_folder = self.place.own_folder(loaded.data_directory)
        self.server_pair = own_pair(loaded, self.fqdn)
        self.certificates = CertificateStore(
            loaded.data_directory, self.server_pair, log.error, certificate_pairs(loaded),
            lambda pair, reason: self.certificate_desk.refused(pair, reason),
        )  # fmt: skip
        self.logons = Logons(
            loaded, loaded.data_directory, self.clock, self.alarms, lambda: self.rooms.resolver,
            company.failures if company is not None else None, self.place.is_first,
        )  # fmt: skip
        self.devices = DeviceWatch(
            configuration.devices,
            own_folder / DEVICES_FILE,
            self.clock.now,
            0.0 if self.place.is_alone else TELL_SECONDS,
        )
        self.receive = ReceiveServer(
            ReceiveServices(
                fqdn=self.fqdn,
                acceptance=self.acceptance,
                new_content_file=self.store.new_content_file,
                directory=self.rooms.directory,
                accepted_domains=self.rooms.accepted_domains,
                authenticator=self.logons.authenticator,
                certificates=self.certificates,
                protocol_log=self.logs.smtp_receive,
                metrics=self.metrics,
                clock=self.clock,
                random_bytes=self.random_bytes,
                pressure=self.pressure,
                agent_log=self.logs.agents,
                tracing=self.logs.pipeline_tracing,
                sender_exceptions=SenderExceptions(configuration.sender_exceptions),
                secure_domains=secure_domains(loaded),
                device_book=self.devices.book,
                authentication_lookup=ResolverLookup(lambda: self.rooms.resolver),
                check_signature=check_signature,
                company=company,
                flights=self.logs.flights,
            )
        )

    # --- life -----------------------------------------------------------------------------------------------------

    async def start(
        self, opened: dict[Binding, socket.socket], api_socket: socket.socket | None = None,
        probe_socket: socket.socket | None = None,
    ) -> None:  # fmt: skip
        """Start every room, the pipeline from its end. Raises StoreFault, AdminFault, OSError, CertificateError."""
        configuration = self.loaded.configuration
        self.logs.start()
        await self.store.open()
        await asyncio.to_thread(self.safety_net.open)
        if self.management is not None:
            self.management.api.listen(api_socket, probe_socket)
        await self.control.start()
        # Before the first message is taken: what is full at the start is known at the start.
        await self.resources.start()
        self.domain_tls.start()
        await self.dispatcher.start()
        await restore_suspensions(self)
        await self.actions.start()
        await self.standing_rules.start(counted=self.place.is_first)
        self.categorizer.start()
        await self.resubmissions.open()
        self.logons.start()
        await self.receive.configure(configuration.receive_connectors, opened, configuration.devices)
        await self.dispatcher.take_up()
        for work in (self.devices.run(), self.logons.lockouts.run(), self.tls_reports.run(send=self.place.is_first)):
            self.background.begin(work)
        self.background.every(CERTIFICATE_CHECK_SECONDS, self._refresh_certificates)
        loop, net = asyncio.get_running_loop(), self.safety_net
        net.on_waiting = lambda: loop.call_later(FLUSH_SECONDS, net.flush_soon)
        # Bring together what was only noted while messages passed.
        self.background.every(SETTLE_SECONDS, self.metrics.settle)
        self.background.every(SAMPLE_SECONDS, self.stage_flows.sample)
        self.background.every(TIDY_SECONDS, lambda: mind_safety_net(self.safety_net, self.alarms))
        if (interval := self.notifier.watchdog_interval) is not None:
            self.background.every(interval, self.notifier.watchdog)
        if self.management is not None:
            self.management.api.start()
        if self.place.is_first:
            await self._start_what_is_done_once()
        await self.watch.start()

    async def _start_what_is_done_once(self) -> None:
        """What is the server's and not a worker's: the first worker does it for all."""
        use_directories(self, submission_directories(self, self.loaded))
        self.connector_watch.start()
        self.background.begin(self.oauth.run())
        self.snapshots.start()
        self.telemetry.start()
        await self.policy_host.start()
        self.certificate_desk.renewals.run()
        self.traces.start()

    async def stop(self) -> None:
        """Accept no more, finish what is under way, give the rest back to the disk."""
        self.notifier.stopping()
        await self.watch.stop()
        if self.management is not None:
            await self.management.api.stop()
        await self.telemetry.stop()
        await self.policy_host.stop()
        await self.certificate_desk.renewals.stop()
        await self.traces.stop()
        await self.control.close()
        if self.management is not None:
            self.management.audit.close()
        await self.connector_watch.stop()
        for directory in self.directories:
            directory.stop()
        await self.receive.stop(STOP_GRACE_SECONDS)
        await self.resources.stop()
        await self.snapshots.stop()
        await self.background.stop()
        self.devices.save()
        await self.standing_rules.stop()
        await self.actions.stop()
        await self.resubmissions.stop()
        await self.categorizer.stop()
        await self.dispatcher.stop()
        await self.store.close()
        await asyncio.to_thread(self.safety_net.close)
        self.oauth.keeper.close()
        await self.rooms.close()
        await self.domain_tls.stop()
        await self.tls_reports.close()
        await self.logons.close()
        self.logs.close()

    def _client_certificate_refused(self, pair: CertificatePair, reason: str) -> None:
        self.certificate_desk.refused(pair, reason, sending=True)

    def _refresh_certificates(self) -> None:
        for path in self.certificates.refresh():
            log.info("certificate %s was read again", path)
        self.rooms.look_at_certificates()
