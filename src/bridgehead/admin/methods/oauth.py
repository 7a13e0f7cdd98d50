# SPDX-License-Identifier: MIT
"""Methods about access tokens of send connectors: list, renew, log on, forget. None answers with a token."""

from typing import Final

import msgspec

from bridgehead.admin.connector import oauth
from bridgehead.admin.connector.oauth import LogOnView, OAuthView
from bridgehead.admin.merge import FIRST, Ask, Merge
from bridgehead.admin.method import Caller, Method, NoParameters, Role
from bridgehead.admin.ports import RunningServer


class OAuthConnector(msgspec.Struct, forbid_unknown_fields=True):
    """`name`: of a send connector."""

    name: str


class RefreshTokenOrder(msgspec.Struct, forbid_unknown_fields=True):
    """`name`: of a send connector; `refresh_token`: what the provider gave elsewhere."""

    name: str
    refresh_token: str


async def list_(server: RunningServer, _: NoParameters, __: Caller) -> list[OAuthView]:
    """Every send connector that logs on with access tokens: state, expiry, what fails and what helps."""
    return await oauth.list_accounts(server.oauth)


async def refresh(server: RunningServer, params: OAuthConnector, _: Caller) -> OAuthView:
    """Ask the identity provider for a new access token now."""
    return await oauth.refresh(server.oauth, params.name)


async def login(server: RunningServer, params: OAuthConnector, _: Caller) -> LogOnView:
    """Begin a log-on by code: somebody opens the address and enters the code; the server waits and keeps what comes."""
    return await oauth.log_on(server.oauth, params.name)


async def progress(server: RunningServer, params: OAuthConnector, _: Caller) -> LogOnView:
    """How far the last log-on by code came."""
    return oauth.progress(server.oauth, params.name)


async def bring(server: RunningServer, params: RefreshTokenOrder, _: Caller) -> OAuthView:
    """Hand over a refresh token that was had elsewhere; it is tried before it is kept."""
    return await oauth.bring(server.oauth, params.name, params.refresh_token)


async def forget(server: RunningServer, params: OAuthConnector, _: Caller) -> OAuthView:
    """Forget a connector's refresh token and access token."""
    return await oauth.forget(server.oauth, params.name)


METHODS: Final = {
    "oauth.list": Method(
        params=NoParameters, result=list[OAuthView], answer=list_, role=Role.VIEWER, route="GET /oauth",
        merge=FIRST,
    ),
    "oauth.refresh": Method(
        params=OAuthConnector, result=OAuthView, answer=refresh, role=Role.OPERATOR, route="POST /oauth/{name}/refresh",
        merge=Merge(Ask.ALL),
    ),
    "oauth.login": Method(
        params=OAuthConnector, result=LogOnView, answer=login, role=Role.ADMINISTRATOR,
        route="POST /oauth/{name}/login",
        merge=FIRST,
    ),
    "oauth.progress": Method(
        params=OAuthConnector, result=LogOnView, answer=progress, role=Role.ADMINISTRATOR,
        route="GET /oauth/{name}/login",
        merge=FIRST,
    ),
    "oauth.bring": Method(
        params=RefreshTokenOrder, result=OAuthView, answer=bring, role=Role.ADMINISTRATOR,
        route="POST /oauth/{name}/refresh-token",
        merge=FIRST,
    ),
    "oauth.forget": Method(
        params=OAuthConnector, result=OAuthView, answer=forget, role=Role.ADMINISTRATOR, route="DELETE /oauth/{name}",
        merge=FIRST,
    ),
}  # fmt: skip
