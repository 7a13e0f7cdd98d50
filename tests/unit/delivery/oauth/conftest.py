# SPDX-License-Identifier: MIT
"""A keeper of tokens beside a real identity provider, with a clock that can jump."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridgehead.delivery.oauth.keeper import TokenKeeper
from bridgehead.delivery.oauth.store import TokenStore
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.resolver import Resolver
from bridgehead.routing.oauth_settings import ConnectorOAuth
from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism
from support.certificates import Authority
from support.identity_provider import CLIENT, TENANT, IdentityProvider


class JumpingClock(SystemClock):
    """The machine's clocks, and so many seconds more."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class World:
    """One provider, one keeper, one connector."""

    def __init__(self, folder: Path, provider: IdentityProvider, authority: Authority) -> None:
        self.folder, self.provider, self.authority = folder, provider, authority
        self.clock = JumpingClock()
        self.secret = folder / "client.secret"
        self.secret.write_text(provider.secret + "\n")
        self.resolver = Resolver(clock=self.clock, hosts={"localhost": ("127.0.0.1",)})
        self.keeper = self.new_keeper()

    def new_keeper(self) -> TokenKeeper:
        """As after a restart."""
        store = TokenStore(self.folder, "")
        return TokenKeeper(self.folder, store, lambda: self.resolver, self.clock, lambda: 0.5)

    def connector(self, **changes: Any) -> SendConnector:
        settings: dict[str, Any] = {
            "tenant": TENANT, "client_id": CLIENT, "client_secret": "file:client.secret",
            "token_url": self.provider.token_url, "device_authorization_url": self.provider.device_url,
            "ca_file": str(self.authority.root), **changes,
        }  # fmt: skip
        return SendConnector(
            name="Cloud", address_spaces=["*"], smart_hosts=["localhost"],
            smart_host_auth_mechanism=SmartHostAuthMechanism.OAUTH, authentication_username="scanner@contoso.com",
            oauth=msgspec.convert(settings, ConnectorOAuth),
        )  # fmt: skip

    async def settle(self) -> None:
        """Let a renewal in the background end."""
        for account in self.keeper.accounts:
            while account.holding._task is not None:
                await asyncio.wait([account.holding._task])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def provider(authority: Authority) -> Iterator[IdentityProvider]:
    with IdentityProvider(authority.issue("localhost").server_context()) as one:
        yield one


@pytest.fixture
def world(tmp_path: Path, provider: IdentityProvider, authority: Authority) -> World:
    return World(tmp_path, provider, authority)
