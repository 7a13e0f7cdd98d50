# SPDX-License-Identifier: MIT
"""Who asks: an account of this machine on the Unix socket, a login or token on TCP. What each may do is a role."""

import os
from typing import Final

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from bridgehead.admin.api.http import PEER
from bridgehead.admin.api.logons import Logons
from bridgehead.admin.calls.local_socket import Peer
from bridgehead.admin.faults import FORBIDDEN, AdminFault
from bridgehead.admin.method import Caller, Role
from bridgehead.admin.settings import ApiSettings

PUBLIC: Final = "public"
"""Option of routes that answer everybody."""


class LocalRoles:
    """From accounts and groups of this machine to roles."""

    def __init__(self, settings: ApiSettings) -> None:
        self._lists = (
            (Role.ADMINISTRATOR, settings.local_administrators),
            (Role.OPERATOR, settings.local_operators),
            (Role.VIEWER, settings.local_viewers),
            (Role.HELP_DESK, settings.local_help_desk),
        )

    def caller(self, peer: Peer) -> Caller:
        """Who is at the other end of a Unix socket. Raises AdminFault where the account has no role."""
        account = peer.account
        if peer.uid in (0, os.geteuid()):
            return Caller(account)
        names = {account, *(f"group:{name}" for name in peer.groups())}
        for role, listed in self._lists:
            if names.intersection(listed):
                return Caller(account, role)
        raise AdminFault(
            FORBIDDEN, f"{account} has no role here", "settings api.local_viewers and the like give roles to accounts"
        )


class Authentication(ASGIMiddleware):
    """Sets `scope["auth"]` to the Caller."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = PUBLIC

    def __init__(self, local: LocalRoles, logons: Logons) -> None:
        self._local, self._logons = local, logons

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Find out who asks. Raises AdminFault."""
        headers = Headers.from_scope(scope)
        peer = scope["state"].get(PEER)
        if isinstance(peer, Peer):
            scope["auth"] = await self._local_caller(peer)
        else:
            _refuse_other_sites(headers)
            host, port = scope["client"] or ("", 0)
            origin = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            scope["auth"] = await self._logons.caller(headers.get("authorization", ""), origin)
        await next_app(scope, receive, send)

    async def _local_caller(self, peer: Peer) -> Caller:
        try:
            return self._local.caller(peer)
        except AdminFault as fault:
            await self._logons.report(Caller(peer.account, Role.HELP_DESK), fault)
            raise


def _refuse_other_sites(headers: Headers) -> None:
    """A browser that remembers a login must not be used by pages of others; we have none. Raises AdminFault."""
    site = headers.get("sec-fetch-site", "none")
    if "origin" in headers or site not in ("none", "same-origin"):
        raise AdminFault(FORBIDDEN, "pages of other sites may not use this interface")
