# SPDX-License-Identifier: MIT
"""The composition root: builds every room, starts and stops them in order, exchanges the configuration.

Starting: store, dispatcher and categorizer, then sockets; stopping: the other way round, so that nothing is accepted
that nobody would take further. What operators ask of the running server is in `operations.py`.
"""

import asyncio
import gc
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from bridgehead import __version__
from bridgehead.admin.access.audit_log import AuditLogFile
from bridgehead.admin.calls.control import ControlServer, channel_path
from bridgehead.admin.faults import AdminFault
from bridgehead.admin.methods.table import METHODS
from bridgehead.categorizer.worker import Categorizer
from bridgehead.delivery.dispatcher import Dispatcher
from bridgehead.delivery.notify import NotifyReporter
from bridgehead.delivery.rates import SAMPLE_SECONDS
from bridgehead.delivery.resubmission import Resubmissions
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.directory.user_record import UserFileError
from bridgehead.directory.users import UserFile
from bridgehead.monitoring.book import AlarmBook
from bridgehead.monitoring.watch import Watch
from bridgehead.net.authentication_lookup import ResolverLookup
from bridgehead.net.certificate_store import CertificateStore
from bridgehead.net.certificates import CertificateError, CertificatePair, ensure_self_signed
from bridgehead.net.client_certificates import ClientCertificates
from bridgehead.net.clock import SystemClock
from bridgehead.net.ip_range import Binding
from bridgehead.net.randomness import RandomBytes
from bridgehead.net.signatures import check_signature
from bridgehead.queues.pressure import BackPressure
from bridgehead.queues.safety_net import FLUSH_SECONDS
from bridgehead.queues.store import StoreFault
from bridgehead.receive.acceptance import Acceptance
from bridgehead.receive.authentication import Authenticator
from bridgehead.receive.pickup import pickup_reader
from bridgehead.receive.replay import read_replay
from bridgehead.receive.sender_exceptions import SenderExceptions
from bridgehead.receive.server import ReceiveServer, ReceiveServices
from bridgehead.receive.submission_directory import SubmissionDirectory
from bridgehead.server import api_process, privileges
from bridgehead.server.alarm_channels import alarm_channels
from bridgehead.server.api_process import ApiProcess
from bridgehead.server.certificates import ServerCertificates
from bridgehead.server.config.file_checks import certificate_pairs
from bridgehead.server.config.load import Loaded
from bridgehead.server.connector_watch import ConnectorWatch
from bridgehead.server.devices import DEVICES_FILE, DeviceWatch
from bridgehead.server.diagnostics import ServerDiagnostics
from bridgehead.server.early_sockets import EarlySockets
from bridgehead.server.ldap_logins import LdapDesk
from bridgehead.server.lockouts import Lockouts
from bridgehead.server.log_snapshots import LogSnapshots
from bridgehead.server.monitoring import Monitored
from bridgehead.server.notify import Notifier
from bridgehead.server.oauth import ServerOAuth
from bridgehead.server.operations import Operations
from bridgehead.server.outbound_tls import DomainTls
from bridgehead.server.policy_host import PolicyHost
from bridgehead.server.pressure import ResourceMonitor
from bridgehead.server.queue_actions import make_actions, make_standing_rules, restore_suspensions
from bridgehead.server.queue_store import TIDY_SECONDS, make_store, mind_safety_net
from bridgehead.server.rooms import Rooms, secure_domains
from bridgehead.server.stage_flows import StageFlows
from bridgehead.server.telemetry_process import TelemetryProcess
from bridgehead.server.tls_reports import TlsReports
from bridgehead.server.token_issuers import TokenIssuers
from bridgehead.server.trace import Traces
from bridgehead.tracking.counters import CountingTracker
from bridgehead.tracking.logs import Logs
from bridgehead.tracking.metrics import Metrics

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
    """

    def __init__(self, loaded: Loaded, path: Path | None, early: EarlySockets) -> None:
        configuration = loaded.configuration
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
        self.pressure = BackPressure()
        self.logs = Logs(configuration.logs, loaded.within(configuration.logs.log_directory), self.clock.now)
        self.tracker = CountingTracker(self.logs.message_tracking)
        self.metrics = Metrics(configuration.monitoring.destinations)
        queue_folder = loaded.within(configuration.queues.queue_database_path)
        self.store, self.safety_net = make_store(self, configuration.queues, queue_folder)
        self.tls_reports = TlsReports(self)
        self.domain_tls = DomainTls(
            loaded.data_directory, configuration.tls, self.alarms, self.clock, self.tls_reports
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
        self._tasks: set[asyncio.Task[None]] = set()
        self._directories: list[SubmissionDirectory] = []
        self._make_pipeline()
        self._make_receive()
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
        self.traces = Traces(loaded, self.logs.flush, self.clock.now)
        self.receive.services.revision = self.traces.revision
        self.actions = make_actions(self)
        self.stage_flows = StageFlows(self)
        self.standing_rules = make_standing_rules(self)
        self.connector_watch = ConnectorWatch(self)
        self.monitored = Monitored(self)
        channels = alarm_channels(loaded, self.fqdn, self.clock.now, self.random_bytes)
        self.watch = Watch(self.monitored, self.alarms, configuration.alarms, channels, loaded.data_directory)
        self.diagnostics = ServerDiagnostics(self)
        self.operations = Operations(self)
        self.certificate_desk = ServerCertificates(self, early.acme)
        self.policy_host = PolicyHost(self, early.policy)
        self._make_management()

    def _make_management(self) -> None:
        """The internal channel, the process of the interface that speaks it, and the record of what they change."""
        loaded, configuration = self.loaded, self.loaded.configuration
        socket_path = loaded.within(configuration.server.control_socket)
        channel = channel_path(socket_path)
        self.audit = AuditLogFile(configuration.logs, loaded.within(configuration.logs.log_directory), self.clock.now)
        settings = configuration.api
        self.api = ApiProcess(
            settings, socket_path, channel, loaded.within(settings.administrators_file),
            CertificatePair(loaded.within(settings.tls_certificate_file), loaded.within(settings.tls_key_file))
            if settings.tls_certificate_file else _server_pair(loaded, self.fqdn),
        )  # fmt: skip
        self.control = ControlServer(METHODS, self.operations, channel, self.audit, lambda: self.api.pid)
        self.telemetry = TelemetryProcess(loaded, channel, self.fqdn)

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

    def _make_receive(self) -> None:
        """The SMTP listeners and the directories that messages are picked up from."""
        loaded, configuration = self.loaded, self.loaded.configuration
        self.acceptance = Acceptance(self.store, self.tracker, self.categorizer)
        self.acceptance.max_high_priority_size = configuration.queues.max_high_priority_size
        self.users = UserFile(loaded.within(configuration.directory.users_file))
        self.server_pair = _server_pair(loaded, self.fqdn)
        self.certificates = CertificateStore(
            loaded.data_directory, self.server_pair, log.error, certificate_pairs(loaded),
            lambda pair, reason: self.certificate_desk.refused(pair, reason),
        )  # fmt: skip
        self.lockouts = Lockouts(
            configuration.lockout, loaded.data_directory / "lockout.json", self.alarms, self.clock.now
        )
        self.token_issuers = TokenIssuers(
            self.users, self.clock, lambda: self.rooms.resolver,
            lambda name: str(self.loaded.within(name)), self.alarms,
        )  # fmt: skip
        self.token_issuers.configure(configuration.auth_servers)
        self.authenticator = Authenticator(self.users, os.urandom, self.lockouts.table, self.clock.now)
        self.devices = DeviceWatch(configuration.devices, loaded.within(DEVICES_FILE), self.clock.now)
        self.authenticator.judge_token = self.token_issuers.checker.judge
        self.ldap = LdapDesk(lambda: self.rooms.resolver, self.alarms)
        self.authenticator.kerberos.use(configuration.kerberos, loaded.within(configuration.kerberos.keytab_file))
        self.receive = ReceiveServer(
            ReceiveServices(
                fqdn=self.fqdn,
                acceptance=self.acceptance,
                new_content_file=self.store.new_content_file,
                directory=self.rooms.directory,
                accepted_domains=self.rooms.accepted_domains,
                authenticator=self.authenticator,
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
                flights=self.logs.flights,
            )
        )

    def use_ldap(self) -> None:
        """Ask the directory that is configured about logins."""
        self.ldap.configure(self.loaded)
        self.authenticator.directory = self.ldap.logins
        self.ldap.start()

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
        self.api.listen(api_socket, probe_socket)
        await self.control.start()
        # Before the first message is taken: what is full at the start is known at the start.
        await self.resources.start()
        self.domain_tls.start()
        await self.dispatcher.start()
        await restore_suspensions(self)
        await self.actions.start()
        await self.standing_rules.start()
        self.categorizer.start()
        await self.resubmissions.open()
        self.use_ldap()
        await self.receive.configure(configuration.receive_connectors, opened, configuration.devices)
        self._tasks.add(asyncio.get_running_loop().create_task(self.devices.run()))
        self._start_directories()
        self.connector_watch.start()
        self._tasks.add(asyncio.get_running_loop().create_task(self.lockouts.run()))
        self._tasks.add(asyncio.get_running_loop().create_task(self.oauth.run()))
        self._tasks.add(asyncio.get_running_loop().create_task(self.tls_reports.run()))
        self._every(CERTIFICATE_CHECK_SECONDS, self._refresh_certificates)
        loop, net = asyncio.get_running_loop(), self.safety_net
        net.on_waiting = lambda: loop.call_later(FLUSH_SECONDS, net.flush_soon)
        self._every(SETTLE_SECONDS, self._settle)
        self._every(SAMPLE_SECONDS, self.stage_flows.sample)
        self._every(TIDY_SECONDS, lambda: mind_safety_net(self.safety_net, self.alarms))
        if (interval := self.notifier.watchdog_interval) is not None:
            self._every(interval, self.notifier.watchdog)
        self.snapshots.start()
        self.api.start()
        self.telemetry.start()
        await self.policy_host.start()
        self.certificate_desk.renewals.run()
        self.traces.start()
        await self.watch.start()

    async def stop(self) -> None:
        """Accept no more, finish what is under way, give the rest back to the disk."""
        self.notifier.stopping()
        await self.watch.stop()
        await self.api.stop()
        await self.telemetry.stop()
        await self.policy_host.stop()
        await self.certificate_desk.renewals.stop()
        await self.traces.stop()
        await self.control.close()
        self.audit.close()
        await self.connector_watch.stop()
        for directory in self._directories:
            directory.stop()
        await self.receive.stop(STOP_GRACE_SECONDS)
        await self.resources.stop()
        await self.snapshots.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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
        await self.token_issuers.checker.close()
        self.ldap.close()
        self.authenticator.close()
        self.lockouts.save()
        self.logs.close()

    def _start_directories(self) -> None:
        settings = self.loaded.configuration.pickup
        reader = pickup_reader(
            settings.pickup_directory_max_header_size, settings.pickup_directory_max_recipients_per_message
        )
        for name, path, read in (
            ("Pickup", settings.pickup_directory_path, reader),
            ("Replay", settings.replay_directory_path, read_replay),
        ):
            if path:
                folder = self.loaded.within(path)
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                directory = SubmissionDirectory(
                    name=name,
                    path=folder,
                    read=read,
                    messages_per_minute=settings.pickup_directory_max_messages_per_minute,
                    poll_interval=settings.poll_interval.total_seconds(),
                    fqdn=self.fqdn,
                    acceptance=self.acceptance,
                    new_content_file=self.store.new_content_file,
                    tracker=self.tracker,
                    clock=self.clock,
                    random_bytes=self.random_bytes,
                    pressure=self.pressure,
                )
                self._directories.append(directory)
                self._tasks.add(asyncio.get_running_loop().create_task(directory.run()))

    def _every(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something again and again until the server stops."""

        async def loop() -> None:
            while True:
                await asyncio.sleep(seconds)
                action()

        self._tasks.add(asyncio.get_running_loop().create_task(loop()))

    def _settle(self) -> None:
        """Bring together what was only noted while messages passed."""
        self.metrics.settle()

    def _client_certificate_refused(self, pair: CertificatePair, reason: str) -> None:
        self.certificate_desk.refused(pair, reason, sending=True)

    def _refresh_certificates(self) -> None:
        for path in self.certificates.refresh():
            log.info("certificate %s was read again", path)
        self.rooms.look_at_certificates()


def _server_pair(loaded: Loaded, fqdn: str) -> CertificatePair:
    """The server's own certificate; a self-signed one is made at the first start without."""
    server = loaded.configuration.server
    if server.tls_certificate_file:
        return CertificatePair(loaded.within(server.tls_certificate_file), loaded.within(server.tls_key_file))
    return ensure_self_signed(loaded.data_directory, fqdn)


# --- the process --------------------------------------------------------------------------------------------------


def run(loaded: Loaded, path: Path | None) -> int:
    """Run the server in the foreground until it is told to stop. Returns the exit code."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )  # fmt: skip
    logging.captureWarnings(True)
    # The hot path makes few cycles; rarer collections keep them from stopping a loaded server.
    gc.set_threshold(20_000, 50, 100)
    # The loop lets go of the interpreter's lock many times in a millisecond, each time only for a moment. A thread that
    # waits for the lock wakes up in vain until its own patience ends: with the usual 5 ms, dozens of times a commit.
    sys.setswitchinterval(0.0001)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(loaded, path))
    except KeyboardInterrupt:
        return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _serve(loaded: Loaded, path: Path | None) -> int:
    server = loaded.configuration.server
    opened: dict[Binding, socket.socket] = {}
    api_socket: socket.socket | None = None
    probe_socket: socket.socket | None = None
    early = EarlySockets()
    try:
        account = privileges.account_for(server.user, server.group)
        privileges.prepare_directory(loaded.data_directory, account)
        opened = ReceiveServer.bind_all(loaded.configuration.receive_connectors)
        api_socket = api_process.bind("api.binding", loaded.configuration.api.binding)
        probe_socket = api_process.bind("monitoring.probe_listen", loaded.configuration.monitoring.probe_listen)
        early.bind(loaded.configuration)
        if account is not None:
            privileges.become(account)
        application = Application(loaded, path, early)
        # Whoever hears a connector greet may tell the server to stop at once, while the rest of it still starts.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, application.stop_requested.set)
        await application.start(opened, api_socket, probe_socket)
    except (
        OSError, StoreFault, AdminFault, DirectoryUnavailable, UserFileError, CertificateError,
        privileges.PrivilegeError,
    ) as error:  # fmt: skip
        for listening in opened.values():
            listening.close()
        early.close()
        log.critical("the server cannot start: %s", error)
        return 1
    # Whoever hears that the server is ready may tell it to stop at once: signals are handled before anybody is told.
    _handle_signals(application)
    application.notifier.ready(f"Bridgehead {__version__} accepts mail")
    _announce(application)
    await application.stop_requested.wait()
    log.info("stopping")
    await application.stop()
    log.info("stopped")
    return 0


def _announce(application: Application) -> None:
    """Say what is open to whom, so that nobody has to guess."""
    for connector in application.loaded.configuration.receive_connectors:
        if connector.enabled:
            log.info(
                'receive connector "%s" listens on %s for %s', connector.name,
                ", ".join(connector.bindings), ", ".join(connector.permission_groups) or "nobody",
            )  # fmt: skip
    if not application.loaded.configuration.send_connectors:
        log.info("no send connector: mail for other domains waits in the Unreachable queue")
    log.info("Bridgehead %s is ready as %s, process %d", __version__, application.fqdn, os.getpid())


def _handle_signals(application: Application) -> None:
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        outcome = await application.operations.reload()
        for problem in outcome.problems:
            log.error("not reloaded: %s", problem)
        for change in outcome.changes:
            log.info("reloaded: %s", change)

    def start_reload() -> None:
        task = loop.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, start_reload)
