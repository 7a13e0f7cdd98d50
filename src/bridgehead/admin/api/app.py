# SPDX-License-Identifier: MIT
"""The Litestar application: routes of the table and extra ones, errors as problems, callers known."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Receive, Scope, Send

from bridgehead.admin.api.authentication import Authentication, LocalRoles
from bridgehead.admin.api.channel_client import Core
from bridgehead.admin.api.extra_routes import EXTRA_ROUTES
from bridgehead.admin.api.logons import Logons
from bridgehead.admin.api.problems import on_fault, on_http_exception
from bridgehead.admin.api.table_routes import SLASH, table_routes
from bridgehead.admin.faults import AdminFault
from bridgehead.admin.method import Method
from bridgehead.mail.limits import CONTROL_REQUEST_BYTES

_BODY_BYTES: Final = CONTROL_REQUEST_BYTES - 4096
"""The rest of a request to the process that moves mail is its method, caller and path."""


def make_app(methods: Mapping[str, Method], core: Core, local: LocalRoles, logons: Logons) -> ASGIApp:
    """The application on all sockets."""
    app = Litestar(
        route_handlers=[*table_routes(methods, core), *(make(core) for make in EXTRA_ROUTES)],
        middleware=[Authentication(local, logons)],
        exception_handlers={AdminFault: on_fault, HTTPException: on_http_exception},
        request_max_body_size=_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
    )

    async def with_slashes(scope: Scope, receive: Receive, send: Send) -> None:
        """An encoded slash is part of a name and parts nothing ("To internet/contoso.com")."""
        if scope["type"] == ScopeType.HTTP:
            parts = scope["raw_path"].decode("ascii", "replace").split("/")
            scope["path"] = "/".join(unquote(part).replace("/", SLASH) for part in parts)
        await app(scope, receive, send)

    return with_slashes
