# SPDX-License-Identifier: MIT
"""The tokens of all send connectors: one for each connector, account and scope, shared by its sessions.

Survives a reload: what a connector no longer says is forgotten, what it still says is kept. Implements
`delivery.smtp_send.security.TokenSource`.
"""

import contextlib
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.delivery.oauth.device import DeviceLogOn
from bridgehead.delivery.oauth.faults import StillWaiting, TokenFault
from bridgehead.delivery.oauth.grants import Credentials
from bridgehead.delivery.oauth.holding import Holding
from bridgehead.delivery.oauth.provider import Provider, Token
from bridgehead.delivery.oauth.store import StoredToken, StoreUnusable, TokenStore
from bridgehead.diagnosis.facts import How
from bridgehead.diagnosis.replies import advice
from bridgehead.mail.secret import Secret
from bridgehead.net.clock import Clock
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.net.https import HttpsClient
from bridgehead.routing.oauth_settings import KEEPS_REFRESH_TOKEN, endpoints
from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism

EXERCISED_SECONDS: Final = 7 * 86400.0
"""A refresh token that no mail used for so long is used by ourselves: Microsoft's die after 90 days without."""
_REQUEST_SECONDS: Final = 30.0


class Account:
    """One connector's account with its provider."""

    def __init__(self, keeper: "TokenKeeper", connector: SendConnector) -> None:
        self.connector = connector
        self.log_on: DeviceLogOn | None = None
        self.stored: StoredToken | None = None
        """The refresh token as last seen."""
        self._keeper = keeper
        self.endpoints = endpoints(connector.oauth)
        self.credentials = Credentials(
            connector.oauth, connector.authentication_username, keeper.directory, lambda: str(uuid.uuid4())
        )
        self.holding = Holding(self._ask, self.credentials.fingerprint, keeper.clock, keeper.random)

    @property
    def key(self) -> str:
        """Under which the refresh token is stored."""
        one = self.connector
        return "\n".join((one.name, one.authentication_username, one.oauth.client_id, self.endpoints.scope))

    @property
    def keeps_refresh_token(self) -> bool:
        return self.connector.oauth.grant in KEEPS_REFRESH_TOKEN

    def provider(self) -> Provider:
        """The provider, as the settings name it."""
        oauth = self.connector.oauth
        ca_file = str(self._keeper.directory / oauth.ca_file) if oauth.ca_file else ""
        client = HttpsClient(self._keeper.dns, ca_file=ca_file, proxy=oauth.http_proxy, seconds=_REQUEST_SECONDS)
        return Provider(client, self.connector.name, self._keeper.clock.now())

    async def _ask(self) -> Token:
        """A new access token. Raises TokenFault."""
        now = self._keeper.clock.now()
        try:
            if not self.keeps_refresh_token:
                form = self.credentials.request(now)
                return await self.provider().token(self.endpoints.token_url, form)
            return await self._with_refresh_token(now)
        except ValueError as error:
            raise TokenFault(f"no token for {self.connector.name}: {error}", How.POLICY) from None
        except StoreUnusable as error:
            raise TokenFault(str(error), How.POLICY, remedy="see the message") from None
        except StillWaiting as error:
            raise TokenFault(f"the provider gives no token: {error}", How.SILENT) from None

    async def _with_refresh_token(self, now: float) -> Token:
        stored = self.stored = await self._keeper.store.get(self.key)
        if stored is None:
            line = "there is no refresh token"
            _, remedy = advice(line, connector=self.connector.name, who="")
            reason = f"nobody has logged on for {self.connector.name} yet → {remedy}"
            raise TokenFault(reason, How.REPLY, answer=line, remedy=remedy, gone=True)
        form = self.credentials.refresh(stored.refresh_token, now)
        token = await self.provider().token(self.endpoints.token_url, form)
        # A provider that exchanges refresh tokens has made the old one void: the new one is safe before it is needed.
        # With a disk that takes nothing it stays in memory, and `tend` tries again.
        try:
            await self.keep(token.refresh or stored.refresh_token, stored.obtained, now)
        except StoreUnusable:
            self.stored = await self._keeper.store.get(self.key)
        return token

    async def keep(self, refresh_token: Secret, obtained: float, used: float) -> None:
        """Store a refresh token. Raises StoreUnusable."""
        stored = StoredToken(key=self.key, refresh_token=refresh_token, obtained=obtained, used=used)
        await self._keeper.store.put(stored)
        self.stored = stored

    async def look(self) -> None:
        """See what the store has, for those who ask. Raises StoreUnusable."""
        self.stored = await self._keeper.store.get(self.key)

    async def forget(self) -> None:
        """Forget the refresh token and what is held. Raises StoreUnusable."""
        await self._keeper.store.remove(self.key)
        self.close()
        self.stored = self.log_on = None
        self.holding = Holding(self._ask, self.credentials.fingerprint, self._keeper.clock, self._keeper.random)

    def close(self) -> None:
        """Give up what is under way."""
        self.holding.close()
        if self.log_on is not None:
            self.log_on.close()


class TokenKeeper:
    """Tokens of all connectors.

    Args:
        directory: the data directory.
        dns: the resolver in force.
        random: gives floats from 0 up to 1.
    """

    def __init__(
        self, directory: Path, store: TokenStore, dns: Callable[[], DnsLookup], clock: Clock,
        random: Callable[[], float],
    ) -> None:  # fmt: skip
        self.directory, self.store, self.dns, self.clock, self.random = directory, store, dns, clock, random
        self._accounts: dict[str, Account] = {}

    def account(self, connector: SendConnector) -> Account:
        """The account of a connector, with the settings that are in force: those of `use`, not of a session that was
        opened before."""
        known = self._accounts.get(connector.name)
        if known is None:
            known = self._accounts[connector.name] = Account(self, connector)
        return known

    def use(self, connectors: Sequence[SendConnector]) -> None:
        """These connectors are in force now; tokens of others are forgotten."""
        wanted = {one.name: one for one in connectors if uses_oauth(one)}
        for name, known in list(self._accounts.items()):
            if name not in wanted or _identity(wanted[name]) != _identity(known.connector):
                self._accounts.pop(name).close()
        for connector in wanted.values():
            self.account(connector)

    @property
    def accounts(self) -> list[Account]:
        return list(self._accounts.values())

    async def token(self, connector: SendConnector) -> Secret:
        """See `TokenSource`."""
        return await self.account(connector).holding.get()

    async def renewed(self, connector: SendConnector, refused: Secret) -> Secret | None:
        """See `TokenSource`."""
        return await self.account(connector).holding.renewed(refused)

    async def tend(self) -> None:
        """Renew tokens that are in use and near their end, and use refresh tokens that nobody used for a week."""
        now = self.clock.now()
        if self.store.trouble:
            with contextlib.suppress(StoreUnusable):
                await self.store.save()
        for one in self.accounts:
            one.holding.tend()
            if not one.keeps_refresh_token:
                continue
            try:
                if one.stored is None:
                    await one.look()
                if one.stored is not None and now - one.stored.used > EXERCISED_SECONDS:
                    await one.holding.get()
            except (StoreUnusable, TokenFault):
                pass  # stands in the account's fault, from which alarms are made

    def close(self) -> None:
        """Give up what is under way."""
        for one in self.accounts:
            one.close()


def uses_oauth(connector: SendConnector) -> bool:
    """Whether a connector logs on with access tokens."""
    return connector.enabled and connector.smart_host_auth_mechanism is SmartHostAuthMechanism.OAUTH


def _identity(connector: SendConnector) -> tuple[object, ...]:
    """What a token depends on."""
    return connector.authentication_username, *msgspec.structs.astuple(connector.oauth)
