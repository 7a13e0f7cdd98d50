# SPDX-License-Identifier: MIT
"""Log-ons of people for a connector: by code, or with a refresh token that they bring along."""

from bridgehead.delivery.oauth.device import DeviceLogOn, LogOnState
from bridgehead.delivery.oauth.faults import TokenFault
from bridgehead.delivery.oauth.grants import DEVICE_CODE
from bridgehead.delivery.oauth.keeper import Account, TokenKeeper
from bridgehead.delivery.oauth.provider import Token
from bridgehead.diagnosis.facts import How
from bridgehead.mail.limits import TOKEN_CHARACTERS
from bridgehead.mail.secret import Secret


async def begin_log_on(keeper: TokenKeeper, account: Account) -> DeviceLogOn:
    """Have the provider make a code; one that still waits is given again. Raises TokenFault, ValueError, StoreUnusable.

    The store is looked at first: a code whose result could not be kept would be entered in vain.
    """
    await account.look()
    if account.log_on is not None and account.log_on.state is LogOnState.WAITING:
        return account.log_on
    urls = account.endpoints
    form = {"client_id": account.connector.oauth.client_id, "scope": urls.scope}
    code = await account.provider().device_code(urls.device_authorization_url, form)

    async def poll() -> Token:
        question = {
            "grant_type": DEVICE_CODE, "device_code": code.device_code, **account.credentials.client(keeper.clock.now())
        }  # fmt: skip
        return await account.provider().token(urls.token_url, question)

    async def keep(token: Token) -> None:
        if token.refresh is None:
            raise TokenFault(
                "the provider gave no refresh token: nothing would be left when the first token expires", How.POLICY,
                remedy="let scopes hold offline_access (Microsoft)",
            )  # fmt: skip
        moment = keeper.clock.now()
        await account.keep(token.refresh, moment, moment)
        try:
            await account.holding.force()
        except TokenFault:
            pass  # the log-on was good; what fails now stands in the account's fault

    account.log_on = DeviceLogOn(code, poll, keep, keeper.clock.now)
    return account.log_on


async def bring_refresh_token(keeper: TokenKeeper, account: Account, text: str) -> None:
    """Take a refresh token that was had elsewhere: it is tried, then kept. Raises TokenFault, ValueError,
    StoreUnusable."""
    if not text or len(text) > TOKEN_CHARACTERS or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("that is no refresh token")
    await account.look()
    now = keeper.clock.now()
    form = account.credentials.refresh(Secret(text), now)
    token = await account.provider().token(account.endpoints.token_url, form)
    await account.keep(token.refresh or Secret(text), now, now)
    await account.holding.force()
