# SPDX-License-Identifier: MIT
"""Tokens of OpenID providers in the running server: how their keys are fetched, and who is told when they cannot be."""

from collections.abc import Callable, Sequence

from bridgehead.mail.limits import ISSUER_SECONDS
from bridgehead.net.clock import Clock
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.https import HttpFault, HttpsClient
from bridgehead.receive.logons.issuer_keys import Fetch, IssuerFault
from bridgehead.receive.logons.settings import AuthServer
from bridgehead.receive.logons.token_check import Logins, TokenChecker
from bridgehead.tracking.alarms import Alarms, Severity

_ALARM = "auth_server"


class TokenIssuers:
    """The checker of the configuration in force.

    Args:
        ca_path: where a relative `ca_file` lies.
    """

    def __init__(
        self, logins: Logins, clock: Clock, dns: Callable[[], DnsLookup], ca_path: Callable[[str], str], alarms: Alarms
    ) -> None:
        self._logins, self._clock, self._dns, self._ca_path, self._alarms = logins, clock, dns, ca_path, alarms
        self._settings: list[AuthServer] = []
        self.checker = self._make()

    def configure(self, settings: Sequence[AuthServer]) -> TokenChecker | None:
        """Judge by these from now on. Keys are kept where nothing changed; else the former checker, to be closed."""
        if list(settings) == self._settings:
            return None
        for gone in {one.name for one in self._settings} - {one.name for one in settings}:
            self._alarms.clear(f"{_ALARM}/{gone}")
        former, self._settings = self.checker, list(settings)
        self.checker = self._make()
        return former

    def _make(self) -> TokenChecker:
        return TokenChecker(
            self._settings, self._logins, self._fetch_for, now=self._clock.now, monotonic=self._clock.monotonic,
            told=self._tell,
        )  # fmt: skip

    def _fetch_for(self, issuer: AuthServer) -> Fetch:
        client = HttpsClient(
            self._dns, ca_file=self._ca_path(issuer.ca_file) if issuer.ca_file else "", seconds=ISSUER_SECONDS
        )

        async def fetch(url: str) -> bytes:
            try:
                answer = await client.get(url)
            except HttpFault as fault:
                raise IssuerFault(str(fault)) from None
            if answer.status != 200:
                raise IssuerFault(f"{url} answers with status {answer.status}")
            return answer.body

        return fetch

    def _tell(self, name: str, fault: str) -> None:
        if fault:
            self._alarms.raise_(
                f"{_ALARM}/{name}", Severity.WARNING, fault,
                "its last keys serve until max_key_age, then logons with tokens get 454; look at the way there",
            )  # fmt: skip
        else:
            self._alarms.clear(f"{_ALARM}/{name}")
