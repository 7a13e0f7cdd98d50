# SPDX-License-Identifier: MIT
"""The description of the interface (OpenAPI 3.1), made from the table of methods: their types, docstrings and roles."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec
from msgspec.structs import FieldInfo

from bridgehead.admin.api.problems import MEDIA_TYPE, Problem
from bridgehead.admin.api.table_routes import CURSOR, LIMIT, is_paged, query_fields
from bridgehead.admin.calls.routes import PREFIX, route_of
from bridgehead.admin.method import Method, role_name
from bridgehead.admin.methods.table import METHODS
from bridgehead.mail.limits import LIST_RESULTS, LIST_WINDOW

_REFERENCE: Final = "#/components/schemas/{name}"
_ABOUT: Final = """\
Everything that operators can see and do. On the server's Unix socket, root and the server's own account are \
administrators, and others what the settings make them; over TCP there is TLS and a login or a token.

Errors are application/problem+json with a `code` for programs and a `remedy` for people. Long lists come in parts: \
`Link: <…>; rel="next"` leads to the next one."""

Json = dict[str, Any]


@cache
def description() -> bytes:
    """The description of the table's methods as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(describe(METHODS)), indent=2) + b"\n"


def describe(methods: Mapping[str, Method]) -> Json:
    """The description of these methods."""
    listed = {name: method for name, method in sorted(methods.items()) if method.route}
    types = [Problem, *(kind for method in listed.values() for kind in _types(method))]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    schema_of = dict(zip(map(_key, types), schemas, strict=True))
    paths: dict[str, Json] = {}
    for name, method in listed.items():
        route = route_of(method)
        paths.setdefault(PREFIX + route.path, {})[route.verb.lower()] = _operation(name, method, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Bridgehead", "version": PREFIX[1:], "description": _ABOUT, "license": _LICENSE},
        "paths": paths,
        "security": [{"password": []}, {"token": []}, {}],
        "components": {
            "schemas": components,
            "responses": {"Problem": _problem()},
            "securitySchemes": {
                "password": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


_LICENSE: Final = {"name": "MIT", "identifier": "MIT"}


def _types(method: Method) -> list[Any]:
    return [method.result, *(field.type for field in msgspec.structs.fields(method.params))]


def _key(kind: Any) -> str:
    return repr(kind)


def _operation(name: str, method: Method, schema_of: Mapping[str, Json]) -> Json:
    route = route_of(method)
    summary, _, more = (inspect.getdoc(method.answer) or "").partition("\n\n")
    about_parameters = inspect.getdoc(method.params) if route.in_path or route.rest else ""
    fields = {field.encode_name: field for field in msgspec.structs.fields(method.params)}
    texts = (more, about_parameters, f"Role: {role_name(method.role)}.")
    operation: Json = {
        "operationId": name,
        "tags": [name.partition(".")[0]],
        "summary": summary.replace("\n", " ").strip(),
        "description": "\n\n".join(text for text in texts if text),
        "parameters": _parameters(method, fields, schema_of),
        "responses": {"200": _success(method, schema_of), "default": {"$ref": "#/components/responses/Problem"}},
    }
    if route.has_body and route.rest:
        operation["requestBody"] = _body([fields[one] for one in route.rest], schema_of)
    return operation


def _parameters(method: Method, fields: Mapping[str, FieldInfo], schema_of: Mapping[str, Json]) -> list[Json]:
    """Those of path and query."""
    parameters: list[Json] = [
        {"name": one, "in": "path", "required": True, "schema": schema_of[_key(fields[one].type)]}
        for one in route_of(method).in_path
    ]
    for one in query_fields(method):
        if one in fields:
            schema = _with_default(schema_of[_key(fields[one].type)], fields[one])
            parameters.append({"name": one, "in": "query", "required": fields[one].required, "schema": schema})
        else:
            parameters.append(_PAGING[one])
    return parameters


def _success(method: Method, schema_of: Mapping[str, Json]) -> Json:
    success: Json = {
        "description": "The result.",
        "content": {"application/json": {"schema": schema_of[_key(method.result)]}},
    }
    if is_paged(method):
        success["headers"] = {"Link": {"description": "The next part of the list.", "schema": {"type": "string"}}}
    return success


def _body(fields: list[FieldInfo], schema_of: Mapping[str, Json]) -> Json:
    properties = {one.encode_name: _with_default(schema_of[_key(one.type)], one) for one in fields}
    required = [one.encode_name for one in fields if one.required]
    schema: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}


def _with_default(schema: Json, field: FieldInfo) -> Json:
    if field.required:
        return schema
    default = field.default
    if default is msgspec.NODEFAULT:
        assert callable(field.default_factory)
        default = field.default_factory()
    return {**schema, "default": msgspec.to_builtins(default)}


_PAGING: Final[Mapping[str, Json]] = {
    LIMIT: {
        "name": LIMIT, "in": "query", "required": False, "description": "Most items in one part.",
        "schema": {"type": "integer", "minimum": 1, "maximum": LIST_WINDOW, "default": LIST_RESULTS},
    },
    CURSOR: {
        "name": CURSOR, "in": "query", "required": False,
        "description": "Where the part begins, as the link of the part before says; opaque.",
        "schema": {"type": "string"},
    },
}  # fmt: skip


def _problem() -> Json:
    content = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(name=Problem.__name__)}}}
    return {"description": "What was not done, why, and what helps (RFC 9457).", "content": content}
