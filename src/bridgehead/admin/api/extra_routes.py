# SPDX-License-Identifier: MIT
"""Routes that are no methods of the table: what programs read as plain text, such as metrics and health.

Each entry is a function that is given the application's `Core` and returns a Litestar handler. A handler is asked for a
login, as all are, unless it says `opt={PUBLIC: True}`; its caller is then `request.auth`, and what it asks of the
process that moves mail it asks in the caller's name, so that roles hold:

    def ready(core: Core) -> HTTPRouteHandler:
        @get("/health/ready", opt={PUBLIC: True}, media_type="text/plain")
        async def answer() -> Response[str]: ...
        return answer
"""

from collections.abc import Callable
from typing import Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from bridgehead.admin.api.authentication import PUBLIC
from bridgehead.admin.api.channel_client import Core
from bridgehead.admin.api.openapi import description


def openapi(_: Core) -> HTTPRouteHandler:
    """The description of the interface."""

    @get("/v1/openapi.json", opt={PUBLIC: True}, name="openapi")
    async def answer() -> Response[bytes]:
        return Response(description(), media_type="application/json")

    return answer


EXTRA_ROUTES: Final[tuple[Callable[[Core], HTTPRouteHandler], ...]] = (openapi,)
