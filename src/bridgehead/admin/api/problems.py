# SPDX-License-Identifier: MIT
"""Errors as application/problem+json (RFC 9457): type, title, status, detail, and our own `code` and `remedy`."""

from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from bridgehead.admin import faults
from bridgehead.admin.faults import AdminFault

MEDIA_TYPE: Final = "application/problem+json"
UNAUTHENTICATED: Final = "unauthenticated"
TOO_MANY: Final = "too_many_attempts"
METHOD_NOT_ALLOWED: Final = "method_not_allowed"
UNSUPPORTED_MEDIA_TYPE: Final = "unsupported_media_type"

STATUS: Final = {
    faults.INVALID: HTTPStatus.BAD_REQUEST,
    faults.NOT_FOUND: HTTPStatus.NOT_FOUND,
    faults.UNKNOWN_METHOD: HTTPStatus.NOT_FOUND,
    faults.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    faults.FORBIDDEN: HTTPStatus.FORBIDDEN,
    faults.NOT_RUNNING: HTTPStatus.SERVICE_UNAVAILABLE,
    faults.NOT_ANSWERING: HTTPStatus.GATEWAY_TIMEOUT,
    faults.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
    UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    UNSUPPORTED_MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
"""What each code of a fault is in HTTP; one that is not here is a conflict with the state of things."""
_CODES: Final = {
    HTTPStatus.NOT_FOUND: faults.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: faults.TOO_LARGE,
}


_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="Bridgehead", charset="UTF-8", Bearer realm="Bridgehead"'}


class Problem(msgspec.Struct, kw_only=True, rename={"kind": "type"}):
    """What was not done, and why (RFC 9457 §3.1).

    Attributes:
        kind: "about:blank": the title says what HTTP's status does.
        title: HTTP's words for the status.
        status: HTTP's status.
        detail: what is the matter here.
        code: one word for programs.
        remedy: what to do; "" where nothing is to be said.
    """

    kind: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    remedy: str = ""


def problem_response(fault: AdminFault, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A fault as an answer."""
    status = STATUS.get(fault.code, HTTPStatus.CONFLICT)
    problem = Problem(
        title=status.phrase, status=status, detail=fault.message, code=fault.code, remedy=fault.remedy
    )  # fmt: skip
    return Response(msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def on_fault(_: Request[Any, Any, Any], fault: AdminFault) -> Response[bytes]:
    """What a handler could not do."""
    return problem_response(fault, _CHALLENGE if fault.code == UNAUTHENTICATED else None)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar refuses by itself: unknown paths and verbs, bodies that are too large."""
    try:
        status = HTTPStatus(error.status_code)
    except ValueError:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    fallback = faults.INVALID if status < HTTPStatus.INTERNAL_SERVER_ERROR else faults.FAILED
    remedy = "the routes are listed in /v1/openapi.json" if status in _CODES else ""
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return problem_response(AdminFault(_CODES.get(status, fallback), status.phrase, remedy), headers)
