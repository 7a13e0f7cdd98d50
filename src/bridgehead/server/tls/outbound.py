# SPDX-License-Identifier: MIT
"""What the running server knows of the TLS of recipient domains: kept over reloads and restarts, refreshed in time.

Policies and the best TLS seen are in `tls_policies.db` of the data directory; a fault of that file is an alarm.
"""

import asyncio
from pathlib import Path
from typing import Final

from bridgehead.delivery.smtp_send.domain_policy import OutboundTls
from bridgehead.delivery.smtp_send.tls_memory import TlsMemory
from bridgehead.net.certificates.server_trust import ServerTrust
from bridgehead.net.certificates.settings import TlsSettings
from bridgehead.net.clock import Clock
from bridgehead.net.sts.policies import StsPolicies
from bridgehead.net.sts.policy_file import PolicyFile
from bridgehead.net.sts.policy_host import PolicyHosts
from bridgehead.routing.tls_result import PolicyType, ResultType
from bridgehead.tracking.alarms import Alarms, Severity
from bridgehead.tracking.tls_reports.port import NoTlsResults, TlsResult, TlsResults

FILE: Final = "tls_policies.db"
_ALARM: Final = "tls_policies"
REFRESH_SECONDS: Final = 3600.0


class DomainTls:
    """Holds it.

    Args:
        results: who makes reports of how sessions came out.
    """

    def __init__(
        self, folder: Path, settings: TlsSettings, alarms: Alarms, clock: Clock, results: TlsResults | None = None
    ) -> None:  # fmt: skip
        self._alarms = alarms
        self._results = results or NoTlsResults()
        self.file = PolicyFile(folder / FILE, self._fault)
        sts = StsPolicies(self.file, _hosts(settings), self._not_fetched, clock)
        self.shared = OutboundTls(
            sts, TlsMemory(self.file, alarms, clock.now), self._results, ServerTrust(clock.monotonic)
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read what was known, and keep it fresh."""
        self.shared.sts.load()
        self.shared.memory.load()
        self._task = asyncio.get_running_loop().create_task(self._refresh(), name="tls policies")

    async def stop(self) -> None:
        """Write what is still to be written."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.shared.sts.close()
        await self.file.close()

    def reconfigure(self, settings: TlsSettings) -> None:
        """Fetch by other settings from now on."""
        self.shared.sts.hosts = _hosts(settings)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.shared.sts.refresh()

    def _fault(self, problem: str) -> None:
        if problem:
            self._alarms.raise_(
                _ALARM, Severity.WARNING, f"What is known of the TLS of recipient domains is not kept: {problem}",
                f"check the data directory and {FILE} in it",
            )  # fmt: skip
        else:
            self._alarms.clear(_ALARM)

    def _not_fetched(self, domain: str, result: ResultType, reason: str) -> None:
        self._results.record(TlsResult(domain=domain, policy_type=PolicyType.STS, result=result, information=reason))


def _hosts(settings: TlsSettings) -> PolicyHosts:
    return PolicyHosts(ca_file=settings.mta_sts_ca_file, port=settings.mta_sts_port)
