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

import time
from collections.abc import Callable
from typing import Any, Final

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from bridgehead.admin.api.authentication import PUBLIC
from bridgehead.admin.api.channel_client import Core
from bridgehead.admin.api.openapi import description
from bridgehead.admin.api.probes import Page, Probes
from bridgehead.admin.method import Caller


def openapi(_: Core) -> HTTPRouteHandler:
    """The description of the interface."""

    @get("/v1/openapi.json", opt={PUBLIC: True}, name="openapi")
    async def answer() -> Response[bytes]:
        return Response(description(), media_type="application/json")

    return answer


def metrics(core: Core) -> HTTPRouteHandler:
    """Numbers for Prometheus."""
    probes = Probes(core, time.monotonic)

    @get("/metrics", name="metrics")
    async def answer(request: Request[Any, Caller, Any]) -> Response[bytes]:
        return _response(await probes.metrics(request.auth))

    return answer


def live(core: Core) -> HTTPRouteHandler:
    """Whether the process that moves mail answers."""
    probes = Probes(core, time.monotonic)

    @get("/health/live", opt={PUBLIC: True}, name="live")
    async def answer() -> Response[bytes]:
        return _response(await probes.live())

    return answer


def ready(core: Core) -> HTTPRouteHandler:
    """Whether mail is taken, and why not."""
    probes = Probes(core, time.monotonic)

    @get("/health/ready", opt={PUBLIC: True}, name="ready")
    async def answer() -> Response[bytes]:
        return _response(await probes.ready())

    return answer


def _response(page: Page) -> Response[bytes]:
    media_type = page.media_type.removesuffix("; charset=utf-8")  # Litestar adds it to every text
    return Response(page.body, status_code=page.status, media_type=media_type)


EXTRA_ROUTES: Final[tuple[Callable[[Core], HTTPRouteHandler], ...]] = (openapi, metrics, live, ready)
