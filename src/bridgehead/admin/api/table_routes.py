# SPDX-License-Identifier: MIT
"""Every method of the table as a route: verb, path, query or body from `Method.route` and its types."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.handlers import HTTPRouteHandler

from bridgehead.admin.api.channel_client import Core
from bridgehead.admin.api.parameters import Fields, field_types, from_body, from_query, from_text
from bridgehead.admin.api.problems import UNSUPPORTED_MEDIA_TYPE
from bridgehead.admin.calls.channel import Request as CoreRequest
from bridgehead.admin.calls.routes import PREFIX, Route, route_of
from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.method import Caller, Method
from bridgehead.mail.limits import LIST_RESULTS, LIST_WINDOW

SLASH: Final = "\0"
"""Stands for a slash within a part of a path while the path is taken apart; a name never holds it."""
CURSOR: Final = "cursor"
LIMIT: Final = "limit"
_DECORATORS: Final = {"GET": get, "POST": post, "PUT": put, "PATCH": patch, "DELETE": delete}

AnyRequest = Request[Any, Caller, Any]


def table_routes(methods: Mapping[str, Method], core: Core) -> Iterator[HTTPRouteHandler]:
    """A handler for each method that has a route."""
    for name, method in methods.items():
        if method.route:
            yield _handler(name, method, core)


def is_paged(method: Method) -> bool:
    """Whether it is read in parts."""
    return method.lists and not method.changes


def query_fields(method: Method) -> Fields:
    """What may stand in the query: parameters, and what chooses the part of a list."""
    route, types = route_of(method), field_types(method.params)
    known = {} if route.has_body else {name: types[name] for name in route.rest}
    return {LIMIT: int, **known, CURSOR: str} if is_paged(method) else known


def _handler(name: str, method: Method, core: Core) -> HTTPRouteHandler:
    route, types, in_query = route_of(method), field_types(method.params), query_fields(method)

    async def answer(request: AnyRequest) -> Response[bytes]:
        asked = from_query(request.scope["query_string"], in_query)
        page = asked.pop(CURSOR, "") if is_paged(method) else None
        limit = 0 if LIMIT in types or not is_paged(method) else _limit(asked.pop(LIMIT, LIST_RESULTS))
        values = {**asked, **(await _body(request, route, types)), **_in_path(request, route, types)}
        reply = await core.ask(
            CoreRequest(
                id=0, method=name, params=msgspec.Raw(msgspec.json.encode(values)), caller=request.auth, page=page,
                limit=limit,
            )
        )  # fmt: skip
        headers = {"Link": f'<{_next_target(request, reply.next)}>; rel="next"'} if reply.next else {}
        return Response(bytes(reply.result), media_type="application/json", headers=headers)

    answer.__name__ = name.replace(".", "_").replace("-", "_")
    path = "/".join(f"{part[:-1]}:str}}" if part.startswith("{") else part for part in route.path.split("/"))
    handler: HTTPRouteHandler = _DECORATORS[route.verb](PREFIX + path, name=name, status_code=200)(answer)
    return handler


def _limit(value: int) -> int:
    if not 1 <= value <= LIST_WINDOW:
        raise AdminFault(INVALID, f"limit: 1 to {LIST_WINDOW} were expected")
    return value


def _in_path(request: AnyRequest, route: Route, types: Fields) -> dict[str, Any]:
    return {name: from_text(name, request.path_params[name].replace(SLASH, "/"), types[name]) for name in route.in_path}


async def _body(request: AnyRequest, route: Route, types: Fields) -> dict[str, msgspec.Raw]:
    body = await request.body()
    if body and request.content_type[0] != "application/json":
        raise AdminFault(UNSUPPORTED_MEDIA_TYPE, "the body is to be application/json")
    if body and not route.has_body:
        raise AdminFault(INVALID, f"{route.verb} takes its parameters in the query, and no body")
    return from_body(body, {name: types[name] for name in route.rest})


def _next_target(request: AnyRequest, cursor: str) -> str:
    query = parse_qsl(request.scope["query_string"].decode("ascii"), keep_blank_values=True)
    kept = [(name, value) for name, value in query if name != CURSOR]
    path = request.scope["raw_path"].decode("ascii")
    return f"{path}?{urlencode([*kept, (CURSOR, cursor)])}"
