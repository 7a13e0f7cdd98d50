# SPDX-License-Identifier: MIT
"""Alarms about credentials that end, refresh tokens that nobody uses, and tokens that cannot be had."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bridgehead.delivery.oauth.faults import TokenFault
from bridgehead.delivery.oauth.store import StoredToken
from bridgehead.diagnosis.facts import How
from bridgehead.mail.secret import Secret
from bridgehead.net.dns.resolver import Resolver
from bridgehead.routing.oauth_settings import ConnectorOAuth
from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism
from bridgehead.server.config.schema import Configuration
from bridgehead.server.oauth import ServerOAuth
from bridgehead.tracking.alarms import Severity
from support.certificates import Authority

NOW = datetime.now(UTC)


class Clock:
    def now(self) -> float:
        return NOW.timestamp()

    monotonic = now


def service(folder: Path, **oauth: Any) -> ServerOAuth:
    """The service of a server with one connector."""
    connector = SendConnector(
        name="Cloud", address_spaces=["*"], smart_host_auth_mechanism=SmartHostAuthMechanism.OAUTH,
        authentication_username="scanner@contoso.com",
        oauth=msgspec.convert({"token_url": "https://localhost:1/", **oauth}, ConnectorOAuth),
    )  # fmt: skip
    loaded = SimpleNamespace(configuration=Configuration(send_connectors=[connector]), data_directory=folder)
    clock = Clock()
    rooms = SimpleNamespace(resolver=Resolver(clock=clock, hosts={"localhost": ("127.0.0.1",)}))
    return ServerOAuth(SimpleNamespace(loaded=loaded, clock=clock, rooms=rooms))  # type: ignore[arg-type]


async def looked_after(one: ServerOAuth) -> None:
    """One round of upkeep."""
    task = asyncio.create_task(one.run())
    account = one.keeper.accounts[0]
    while account.connector.name not in one._expiry:
        await asyncio.sleep(0.001)
    task.cancel()


@pytest.mark.parametrize(
    ("days", "severity"), [(400, None), (29, Severity.WARNING), (3, Severity.CRITICAL), (-2, Severity.CRITICAL)]
)
async def test_a_secret_that_ends(tmp_path: Path, days: int, severity: Severity | None) -> None:
    one = service(tmp_path, client_secret_expires=(NOW + timedelta(days=days)).date())
    await looked_after(one)
    found = list(one.conditions())
    assert [verdict.severity for verdict in found] == ([severity] if severity else [])
    if days == -2:
        assert "has expired" in found[0].text


@pytest.mark.parametrize(("days", "alarms"), [(90, 0), (20, 1)])
async def test_a_certificate_that_ends(tmp_path: Path, days: int, alarms: int) -> None:
    pair = Authority(tmp_path).issue("app", days=days)
    one = service(tmp_path, certificate_file=str(pair.certificate), key_file=str(pair.key))
    await looked_after(one)
    assert [verdict.id for verdict in one.conditions()] == ["oauth_credential/Cloud"] * alarms


async def test_a_refresh_token_that_nobody_uses(tmp_path: Path) -> None:
    one = service(tmp_path, grant="RefreshToken")
    account = one.keeper.accounts[0]
    used = NOW.timestamp() - 40 * 86400
    await one.keeper.store.put(StoredToken(key=account.key, refresh_token=Secret("x"), obtained=used, used=used))
    await looked_after(one)  # which tries to use it: nobody listens at the provider's port
    found = {verdict.id: verdict for verdict in one.conditions()}
    assert "was not used for 40 days" in found["oauth_refresh_token/Cloud"].text
    assert "cannot be reached" in found["oauth_token/Cloud"].text


async def test_alarms_end_with_their_cause(tmp_path: Path) -> None:
    one = service(tmp_path)
    account = one.keeper.accounts[0]
    account.holding.fault = TokenFault("refused", How.REPLY, remedy="mend it")
    [raised] = one.conditions()
    assert (raised.id, raised.severity, raised.remedy) == ("oauth_token/Cloud", Severity.CRITICAL, "mend it")
    one.reconfigure(SimpleNamespace(configuration=Configuration()))  # type: ignore[arg-type]
    assert [(verdict.id, verdict.severity) for verdict in one.conditions()] == [("oauth_token/Cloud", None)]
    assert list(one.conditions()) == []
