# SPDX-License-Identifier: MIT
"""Access tokens within the server: the keeper that couriers ask, its upkeep, and the alarms about what will fail soon.

Implements `admin.connector.oauth.OAuthDesk`.
"""

import asyncio
import logging
import random
from collections.abc import Iterator
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridgehead.delivery.oauth.keeper import Account, TokenKeeper
from bridgehead.delivery.oauth.store import TokenStore
from bridgehead.monitoring.rules import Verdict
from bridgehead.server.config.load import Loaded
from bridgehead.tracking.alarms import Severity

if TYPE_CHECKING:
    from bridgehead.server.app import Application

log = logging.getLogger("bridgehead.server")

TEND_SECONDS: Final = 60.0
_DAY: Final = 86400.0
_SOON_DAYS, _NOW_DAYS = 30, 7
"""From when an expiry warns, and from when it is critical."""
UNUSED_DAYS: Final = 30
"""A refresh token that could not be used for so long alarms: Microsoft's die after 90 days."""


class ServerOAuth:
    """Tokens of one running server."""

    def __init__(self, application: "Application") -> None:
        self._application = application
        self._key_reference = application.loaded.configuration.delivery.token_store_key
        self.keeper = TokenKeeper(
            application.loaded.data_directory, self._store(), lambda: application.rooms.resolver, application.clock,
            random.random,
        )  # fmt: skip
        self._raised: set[str] = set()
        self._expiry: dict[str, float] = {}
        self.keeper.use(application.loaded.configuration.send_connectors)

    def reconfigure(self, loaded: Loaded) -> None:
        """These settings are in force now."""
        reference = loaded.configuration.delivery.token_store_key
        if reference != self._key_reference:
            self._key_reference = reference
            self.keeper.store = self._store()
        self.keeper.use(loaded.configuration.send_connectors)

    async def run(self) -> None:
        """Look after the tokens until cancelled."""
        while True:
            try:
                await self.keeper.tend()
                self._expiry = {one.connector.name: await self.credential_expiry(one) for one in self.keeper.accounts}
            except Exception:
                log.exception("access tokens")
            await asyncio.sleep(TEND_SECONDS)

    async def credential_expiry(self, account: Account) -> float:
        """See `OAuthDesk`."""
        oauth = account.connector.oauth
        if oauth.certificate_file:
            file = self._application.loaded.data_directory / oauth.certificate_file
            return await asyncio.to_thread(_certificate_expiry, file)
        if oauth.client_secret_expires is not None:
            return datetime.combine(oauth.client_secret_expires, time(), UTC).timestamp()
        return 0.0

    def conditions(self) -> Iterator[Verdict]:
        """What is wrong or will be, and what is well again."""
        now = self._application.clock.now()
        standing: dict[str, Verdict] = {}
        if trouble := self.keeper.store.trouble:
            standing["oauth_store"] = Verdict("oauth_store", Severity.CRITICAL, trouble, "make room on its disk")
        for account in self.keeper.accounts:
            for verdict in self._judge(account, now):
                standing[verdict.id] = verdict
        yield from standing.values()
        yield from (Verdict(id, None) for id in self._raised - standing.keys())
        self._raised = set(standing)

    def _judge(self, account: Account, now: float) -> Iterator[Verdict]:
        name, holding = account.connector.name, account.holding
        if holding.fault is not None:
            text = f'send connector "{name}" gets no access token: {holding.fault}'
            yield Verdict(f"oauth_token/{name}", Severity.CRITICAL, text, holding.fault.remedy)
        left = self._expiry.get(name, 0.0) - now
        if name in self._expiry and self._expiry[name] and left < _SOON_DAYS * _DAY:
            what = "certificate that signs its assertions" if account.connector.oauth.certificate_file else "secret"
            days = int(left // _DAY)
            when = f"expires in {days} days" if left > 0 else "has expired"
            urgent = Severity.CRITICAL if days < _NOW_DAYS else Severity.WARNING
            remedy = "make a new one with the identity provider and replace the file; it is read at the next request"
            text = f'the {what} of send connector "{name}" {when}'
            yield Verdict(f"oauth_credential/{name}", urgent, text, remedy, step=days < _NOW_DAYS)
        stored = account.stored
        if stored is not None and now - stored.used > UNUSED_DAYS * _DAY:
            days = int((now - stored.used) // _DAY)
            text = f'the refresh token of send connector "{name}" was not used for {days} days and will die'
            yield Verdict(f"oauth_refresh_token/{name}", Severity.WARNING, text, f'bridgehead oauth refresh "{name}"')

    def _store(self) -> TokenStore:
        return TokenStore(self._application.loaded.data_directory, self._key_reference)


def _certificate_expiry(file: Path) -> float:
    """0 where the file cannot be read: whoever signs with it says so."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(file.read_bytes())[0].not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return 0.0
