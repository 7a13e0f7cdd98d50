# SPDX-License-Identifier: MIT
"""Tokens of send connectors, for operators: what is held and what fails, log-ons, renewing. Never a token itself."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from bridgehead.admin.faults import FAILED, INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.times import moment
from bridgehead.delivery.oauth.device import DeviceLogOn, LogOnState
from bridgehead.delivery.oauth.faults import TokenFault
from bridgehead.delivery.oauth.keeper import Account, TokenKeeper
from bridgehead.delivery.oauth.log_on import begin_log_on, bring_refresh_token
from bridgehead.delivery.oauth.store import StoreUnusable
from bridgehead.routing.oauth_settings import OAuthGrant


class OAuthView(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one connector's tokens.

    Attributes:
        connector, account: whose.
        provider, grant, token_url, scope: from where and for what.
        state: "valid", "expired", "none" (not asked for yet), "failing", "log on" (somebody must).
        obtained, expires: of the access token that is held.
        requests: to the provider since the start or the last change of settings.
        refresh_token_obtained, refresh_token_used: of the refresh token that is stored, null for none.
        credential_expires: of the client secret or the certificate that signs assertions, as far as known.
        problem, remedy: why the last request failed, "" where it did not.
        failing_since: the first of those failures.
    """

    connector: str
    account: str
    provider: str
    grant: str
    token_url: str
    scope: str
    state: str
    obtained: datetime | None = None
    expires: datetime | None = None
    requests: int = 0
    refresh_token_obtained: datetime | None = None
    refresh_token_used: datetime | None = None
    credential_expires: datetime | None = None
    problem: str = ""
    remedy: str = ""
    failing_since: datetime | None = None


class LogOnView(msgspec.Struct, frozen=True, kw_only=True):
    """A log-on by code.

    Attributes:
        url, code: what somebody is to open, and to enter there.
        state: "waiting", "done", "failed".
        expires: until when the code is good.
        problem, remedy: why it failed.
    """

    connector: str
    url: str
    code: str
    state: str
    expires: datetime | None
    problem: str = ""
    remedy: str = ""


class OAuthDesk(Protocol):
    """The server's tokens."""

    @property
    def keeper(self) -> TokenKeeper: ...

    async def credential_expiry(self, account: Account) -> float:
        """Unix time at which a client secret or a certificate expires, 0 where that is not known."""


async def list_accounts(desk: OAuthDesk) -> list[OAuthView]:
    """Every connector that logs on with tokens."""
    return [await _view(desk, account) for account in desk.keeper.accounts]


async def refresh(desk: OAuthDesk, name: str) -> OAuthView:
    """Ask the provider for a new access token now. Raises AdminFault."""
    account = _account(desk, name)
    try:
        await account.holding.force()
    except TokenFault as fault:
        raise AdminFault(FAILED, str(fault), fault.remedy) from None
    return await _view(desk, account)


async def log_on(desk: OAuthDesk, name: str) -> LogOnView:
    """Have the provider make a code for somebody to enter. Raises AdminFault."""
    account = _account(desk, name)
    if account.connector.oauth.grant is not OAuthGrant.DEVICE_CODE:
        raise AdminFault(
            INVALID, f"{account.connector.name} has the grant {account.connector.oauth.grant.value}: nobody logs on",
            'only connectors with grant = "DeviceCode" are logged on with a code',
        )  # fmt: skip
    try:
        begun = await begin_log_on(desk.keeper, account)
    except TokenFault as fault:
        raise AdminFault(FAILED, str(fault), fault.remedy) from None
    except (StoreUnusable, ValueError) as fault:
        raise AdminFault(FAILED, str(fault)) from None
    return _log_on_view(account, begun)


def progress(desk: OAuthDesk, name: str) -> LogOnView:
    """How far the last log-on came. Raises AdminFault."""
    account = _account(desk, name)
    if account.log_on is None:
        raise AdminFault(NOT_FOUND, f"nobody logs on for {account.connector.name}", "bridgehead oauth login")
    return _log_on_view(account, account.log_on)


async def bring(desk: OAuthDesk, name: str, refresh_token: str) -> OAuthView:
    """Take a refresh token that was had elsewhere, after the provider honoured it. Raises AdminFault."""
    account = _account(desk, name)
    if not account.keeps_refresh_token:
        raise AdminFault(
            INVALID, f"{account.connector.name} needs no refresh token", 'set grant = "RefreshToken" in its oauth table'
        )
    try:
        await bring_refresh_token(desk.keeper, account, refresh_token)
    except TokenFault as fault:
        raise AdminFault(FAILED, str(fault), fault.remedy) from None
    except (StoreUnusable, ValueError) as fault:
        raise AdminFault(FAILED, str(fault)) from None
    return await _view(desk, account)


async def forget(desk: OAuthDesk, name: str) -> OAuthView:
    """Forget the refresh token and the access token. Raises AdminFault."""
    account = _account(desk, name)
    try:
        await account.forget()
    except StoreUnusable as fault:
        raise AdminFault(FAILED, str(fault)) from None
    return await _view(desk, account)


def _account(desk: OAuthDesk, name: str) -> Account:
    accounts = desk.keeper.accounts
    for account in accounts:
        if account.connector.name.casefold() == name.casefold():
            return account
    raise AdminFault(NOT_FOUND, f'no send connector "{name}" logs on with tokens', _names(accounts))


def _names(accounts: Sequence[Account]) -> str:
    names = ", ".join(f'"{one.connector.name}"' for one in accounts)
    return f"those that do: {names}" if names else 'set smart_host_auth_mechanism = "OAuth"'


async def _view(desk: OAuthDesk, account: Account) -> OAuthView:
    problem = remedy = ""
    if account.keeps_refresh_token and account.stored is None:
        try:
            await account.look()
        except StoreUnusable as fault:
            problem = str(fault)
    holding, connector = account.holding, account.connector
    if holding.fault is not None:
        problem, remedy = str(holding.fault), holding.fault.remedy
    stored = account.stored
    return OAuthView(
        connector=connector.name,
        account=connector.authentication_username,
        provider=connector.oauth.provider.value,
        grant=connector.oauth.grant.value,
        token_url=account.endpoints.token_url,
        scope=account.endpoints.scope,
        state=_state(account, desk.keeper.clock.now(), bool(problem)),
        obtained=moment(holding.obtained_at),
        expires=moment(holding.expires_at),
        requests=holding.requests,
        refresh_token_obtained=moment(stored.obtained) if stored else None,
        refresh_token_used=moment(stored.used) if stored else None,
        credential_expires=moment(await desk.credential_expiry(account)),
        problem=problem,
        remedy=remedy,
        failing_since=moment(holding.failing_since),
    )


def _state(account: Account, now: float, troubled: bool) -> str:
    if troubled:
        return "failing"
    if account.keeps_refresh_token and account.stored is None:
        return "log on"
    if not account.holding.obtained_at:
        return "none"
    return "valid" if now < account.holding.expires_at else "expired"


def _log_on_view(account: Account, log_on: DeviceLogOn) -> LogOnView:
    waiting = log_on.state is LogOnState.WAITING
    return LogOnView(
        connector=account.connector.name,
        url=log_on.code.url,
        code=log_on.code.user_code if waiting else "",
        state=log_on.state.value,
        expires=datetime.fromtimestamp(log_on.expires_at, UTC),
        problem=log_on.problem,
        remedy=log_on.remedy,
    )
