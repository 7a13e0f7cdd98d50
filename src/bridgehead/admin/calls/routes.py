# SPDX-License-Identifier: MIT
"""From a method to its place in the HTTP interface, and from parameters to a request: one reading of `Method.route`
for the interface, its description and its clients.
"""

from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from bridgehead.admin.method import Method

PREFIX: Final = "/v1"
"""Every route's; another version of the interface would stand beside it."""
_BODILESS: Final = frozenset({"GET", "DELETE"})


class Route(msgspec.Struct, frozen=True):
    """One method's place.

    Attributes:
        verb: HTTP's.
        path: template below the version, "/queues/{name}".
        in_path: parameters that stand in the path, in its order.
        rest: the other parameters.
        has_body: `rest` travels as a JSON object; otherwise in the query.
    """

    verb: str
    path: str
    in_path: tuple[str, ...]
    rest: tuple[str, ...]
    has_body: bool


@lru_cache(maxsize=256)
def route_of(method: Method) -> Route:
    """Read `Method.route`."""
    verb, _, path = method.route.partition(" ")
    in_path = tuple(part[1:-1] for part in path.split("/") if part.startswith("{"))
    names = tuple(field.encode_name for field in msgspec.structs.fields(method.params))
    return Route(verb, path, in_path, tuple(name for name in names if name not in in_path), verb not in _BODILESS)


def request_for(method: Method, params: msgspec.Struct | None) -> tuple[str, str, bytes | None]:
    """Verb, target and body of the request that calls a method. Defaults are left out of queries."""
    route = route_of(method)
    values: dict[str, Any] = msgspec.to_builtins(params) if params is not None else {}
    target = PREFIX + "/".join(
        quote(text_of(values.pop(part[1:-1])), safe="") if part.startswith("{") else part
        for part in route.path.split("/")
    )
    if route.has_body:
        return route.verb, target, msgspec.json.encode(values) if values else None
    query = urlencode([pair for name, value in values.items() for pair in _pairs(name, value)])
    return route.verb, f"{target}?{query}" if query else target, None


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    return [(name, text_of(one)) for one in value] if isinstance(value, list) else [(name, text_of(value))]


def text_of(value: Any) -> str:
    """A parameter as a path or a query shows it: texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
