# SPDX-License-Identifier: MIT
"""Runs connector tests within the server: for operators, at the start, after each reload and at intervals.

Expectations that do not hold and relays that are open alarm until they are well again. Results survive a restart.
Everything runs in one background task, one connector after the other; mail does not wait for it.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from bridgehead.admin.connector.audit import audit
from bridgehead.admin.connector.audit_report import AuditReport
from bridgehead.admin.connector.connector_tests import run_test
from bridgehead.admin.faults import FAILED, AdminFault
from bridgehead.admin.probe.ports import RECEIVE_CONNECTOR, SEND_CONNECTOR, ProbeRequest
from bridgehead.admin.probe.settings import ConnectorTestSettings
from bridgehead.admin.probe.site import BY_SERVER, Site, site_of
from bridgehead.admin.probe.steps import ProbeResult, Verdict
from bridgehead.mail.limits import PROBES_AT_ONCE
from bridgehead.net.durable_files import replace_file
from bridgehead.server.probe_mail import ProbeMailer
from bridgehead.tracking.alarms import Severity

if TYPE_CHECKING:
    from bridgehead.server.app import Application

log = logging.getLogger("bridgehead.server")

RESULTS_FILE: Final = "connector-tests.json"
_EXPECTATION: Final = "expectation"
_OPEN_RELAY: Final = "open_relay"


class ConnectorWatch:
    """Tests of one running server. Implements `admin.probe.ports.ConnectorTests`."""

    def __init__(self, application: "Application") -> None:
        self._application = application
        settings = application.loaded.configuration.connector_tests
        self._file: Path = application.loaded.within(RESULTS_FILE)
        self._results: deque[ProbeResult] = deque(_read(self._file), maxlen=max(1, settings.results_kept))
        self._report: AuditReport | None = None
        self._auditing: asyncio.Task[AuditReport] | None = None
        self._running = 0
        self._writing = asyncio.Lock()
        self._mailer = ProbeMailer(application)
        self._again = asyncio.Event()
        self._trigger = "start"
        self._task: asyncio.Task[None] | None = None
        self._alarms: set[str] = set()

    # --- for operators ----------------------------------------------------------------------------------------------

    async def run(self, request: ProbeRequest) -> ProbeResult:
        """Run a test now. Raises AdminFault."""
        if self._running >= PROBES_AT_ONCE:
            raise AdminFault(FAILED, f"{PROBES_AT_ONCE} tests are running already", "wait until one is done")
        self._running += 1
        try:
            result = await run_test(self.site(), request, self._mailer)
        finally:
            self._running -= 1
        await self._keep(result)
        return result

    def results(self) -> Sequence[ProbeResult]:
        """The last results, newest first."""
        return list(reversed(self._results))

    async def audit(self, *, again: bool) -> AuditReport:
        """The last audit; a new one where there is none, or `again`. Those who ask at the same time share one."""
        if self._report is not None and not again:
            return self._report
        if self._auditing is None:
            self._auditing = asyncio.get_running_loop().create_task(self._audit())
        try:
            return await asyncio.shield(self._auditing)
        finally:
            if self._auditing is not None and self._auditing.done():
                self._auditing = None

    # --- by itself ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to run tests in the background. The listeners are open."""
        self._task = asyncio.get_running_loop().create_task(self._loop())

    def configuration_changed(self) -> None:
        """Run everything again, now."""
        settings = self._application.loaded.configuration.connector_tests
        self._results = deque(self._results, maxlen=max(1, settings.results_kept))
        self._trigger = "reload"
        self._again.set()

    async def stop(self) -> None:
        """End what is under way."""
        for task in (self._task, self._auditing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _loop(self) -> None:
        while True:
            self._again.clear()
            trigger, self._trigger = self._trigger, "timer"
            try:
                await self._round(trigger)
            except Exception:
                log.exception("tests of connectors")
            try:
                async with asyncio.timeout(self._settings.interval.total_seconds()):
                    await self._again.wait()
            except TimeoutError:
                pass

    async def _round(self, trigger: str) -> None:
        """Every connector's expectations, and after a change the audit beside them."""
        audit_too = trigger != "timer" and self._settings.relay_self_test_enabled
        await asyncio.gather(self._expectations(trigger), *([self.audit(again=True)] if audit_too else []))

    async def _expectations(self, trigger: str) -> None:
        configuration = self._application.loaded.configuration
        wanted = [
            *((RECEIVE_CONNECTOR, one.name) for one in configuration.receive_connectors if one.enabled and one.expect),
            *((SEND_CONNECTOR, one.name) for one in configuration.send_connectors if one.enabled and one.expect),
        ]
        present = {f"{_EXPECTATION}/{kind}/{name}" for kind, name in wanted}
        for stale in [key for key in self._alarms if key.startswith(_EXPECTATION) and key not in present]:
            self._clear(stale)
        for kind, name in wanted:
            result = await run_test(self.site(), ProbeRequest(kind=kind, name=name), trigger=trigger)
            self._judge(kind, name, result)
            await self._keep(result)

    def _judge(self, kind: str, name: str, result: ProbeResult) -> None:
        key = f"{_EXPECTATION}/{kind}/{name}"
        if result.verdict is Verdict.FAILURE:
            text = f'{kind.replace("-", " ")} "{name}" does not do what is expected of it: {result.cause}'
            self._raise(key, text, f'bridgehead test {kind} "{name}"')
        else:
            self._clear(key)

    async def _audit(self) -> AuditReport:
        report = self._report = await audit(self.site())
        opened = [trick for trick in report.accepted_tricks if trick.verdict is Verdict.FAILURE]
        exposed = [one for one in report.exposures if one.verdict is Verdict.FAILURE]
        if opened:
            first = opened[0]
            text = f'receive connector "{first.connector}" relays for anybody ({first.trick}): {first.command}'
            self._raise(_OPEN_RELAY, text, "bridgehead audit")
        elif exposed:
            text = f'receive connector "{exposed[0].connector}": {exposed[0].sentence}'
            self._raise(_OPEN_RELAY, text, "bridgehead audit")
        else:
            self._clear(_OPEN_RELAY)
        log.info("audit of receive connectors: %s", report.self_test)
        return report

    def _raise(self, key: str, text: str, remedy: str) -> None:
        if key not in self._alarms:
            log.error("%s (%s)", text, remedy)
        self._alarms.add(key)
        self._application.alarms.raise_(key, Severity.CRITICAL, text, remedy)

    def _clear(self, key: str) -> None:
        self._application.alarms.clear(key)
        if key in self._alarms:
            self._alarms.remove(key)
            log.info("%s: well again", key)

    # --- results ------------------------------------------------------------------------------------------------------

    @property
    def _settings(self) -> ConnectorTestSettings:
        return self._application.loaded.configuration.connector_tests

    def site(self) -> Site:
        """The configuration in force, for tests."""
        app = self._application
        return site_of(
            app.loaded.configuration, app.loaded.data_directory, fqdn=app.fqdn, directory=app.rooms.directory,
            clock=app.clock, random=random.random, by=BY_SERVER,
            users=app.logons.users.list_users(), tokens=app.oauth.keeper,
            own_connections=app.receive.services.own_connections,
        )  # fmt: skip

    async def _keep(self, result: ProbeResult) -> None:
        """Remember a result, on disk too; a disk that takes nothing is logged and no more."""
        self._results.append(result)
        try:
            async with self._writing:
                await asyncio.to_thread(
                    replace_file, self._file, msgspec.json.encode(list(self._results)), durable=False
                )
        except OSError as error:
            log.warning("%s cannot be written: %s", self._file, error)


def _read(file: Path) -> list[ProbeResult]:
    """The results of a former process; none where there is no such file, or it is of another version."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[ProbeResult])
    except (OSError, msgspec.DecodeError):
        return []
