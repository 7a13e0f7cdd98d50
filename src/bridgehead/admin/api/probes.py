# SPDX-License-Identifier: MIT
"""What scrapers and probes read: `/metrics` as text, `/health/live` and `/health/ready` as JSON with a status.

Offered on the management interface and, where `monitoring.probe_listen` is set, in clear on a socket of its own. The
process that moves mail is asked for numbers once a second at most, however many ask.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from bridgehead.admin.api.channel_client import Core
from bridgehead.admin.calls.channel import Request
from bridgehead.admin.faults import AdminFault, ServerNotRunning
from bridgehead.admin.health.health import Liveness, Readiness, ReadinessCheck
from bridgehead.admin.health.metrics import MetricsSnapshot
from bridgehead.admin.health.metrics_text import CONTENT_TYPE, exposition
from bridgehead.admin.method import Caller, Role

PROBE: Final = Caller("probe", Role.VIEWER)
"""Who asks where nobody logs on."""
ANSWER_SECONDS: Final = 5.0
"""A server that takes longer to say that it is well is not."""
KEPT_SECONDS: Final = 1.0
"""How long a page of numbers is given again."""
_JSON: Final = "application/json"


class Page(msgspec.Struct, frozen=True):
    """An answer."""

    status: int
    media_type: str
    body: bytes


class Probes:
    """Makes the pages."""

    def __init__(self, core: Core, now: Callable[[], float]) -> None:
        self._core, self._now = core, now
        self._metrics: Page | None = None
        self._made_at = 0.0
        self._making = asyncio.Lock()

    async def metrics(self, caller: Caller = PROBE) -> Page:
        """Numbers in Prometheus' text format. Raises AdminFault where the caller may not see them."""
        if caller.role < Role.VIEWER:
            await self._ask("metrics.snapshot", caller)  # which says why not, and is recorded
        async with self._making:
            if self._metrics is None or self._now() - self._made_at >= KEPT_SECONDS:
                result = await self._ask("metrics.snapshot", caller)
                snapshot = msgspec.json.decode(result, type=MetricsSnapshot)
                self._metrics = Page(200, CONTENT_TYPE, exposition(snapshot))
                self._made_at = self._now()
            return self._metrics

    async def live(self) -> Page:
        """200 while the process that moves mail answers, else 503."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ask("health.live", PROBE)
        except (AdminFault, TimeoutError):
            return Page(503, _JSON, msgspec.json.encode(Liveness(alive=False)))
        return Page(200, _JSON, msgspec.json.encode(Liveness()))

    async def ready(self) -> Page:
        """200 while mail is taken, else 503; the body says why."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = msgspec.json.decode(await self._ask("health.ready", PROBE), type=Readiness)
        except (AdminFault, TimeoutError) as error:
            reason = error.message if isinstance(error, AdminFault) else f"no answer within {ANSWER_SECONDS:g} s"
            found = Readiness(ready=False, checks=[ReadinessCheck(name="answers", ok=False, reason=reason)])
        return Page(200 if found.ready else 503, _JSON, msgspec.json.encode(found))

    async def _ask(self, method: str, caller: Caller) -> msgspec.Raw:
        return (await self._core.ask(Request(id=0, method=method, caller=caller))).result


def probe_app(probes: Probes) -> ASGIApp:
    """The application of the socket for scrapers and probes: three pages and nothing else."""
    pages: dict[str, Callable[[], Awaitable[Page]]] = {
        "/metrics": probes.metrics, "/health/live": probes.live, "/health/ready": probes.ready,
    }  # fmt: skip

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == ScopeType.HTTP, "the server speaks nothing else"
        make = pages.get(scope["path"])
        if make is None or scope["method"] not in ("GET", "HEAD"):
            page = Page(404 if make is None else 405, "text/plain", b"see /metrics, /health/live, /health/ready\n")
        else:
            try:
                page = await make()
            except ServerNotRunning as fault:
                page = Page(503, "text/plain", f"{fault.message}\n".encode())
            except AdminFault as fault:
                page = Page(500, "text/plain", f"{fault.message}\n".encode())
        await _send(page, send, scope["method"] == "HEAD")

    return app


async def _send(page: Page, send: Send, head: bool) -> None:
    headers = [
        (b"content-type", page.media_type.encode()),
        (b"content-length", str(len(page.body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": page.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else page.body, "more_body": False})
