# SPDX-License-Identifier: MIT
"""How commands reach the running server: over HTTP on its Unix socket, as any other client of the interface may."""

import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar, get_origin

import msgspec

from bridgehead.admin.calls.channel import UNREADABLE, Answer
from bridgehead.admin.calls.local_socket import short_path
from bridgehead.admin.calls.routes import request_for
from bridgehead.admin.faults import (
    FAILED,
    FORBIDDEN,
    NOT_ANSWERING,
    NOT_RUNNING,
    UNKNOWN_METHOD,
    AdminFault,
    ServerNotRunning,
)  # fmt: skip
from bridgehead.admin.method import Method
from bridgehead.mail.limits import CONTROL_RESPONSE_BYTES

Result = TypeVar("Result")

_OTHER_VERSION: Final = "command and server may be of different versions; restart the server"


class _Problem(msgspec.Struct):
    """What the interface says where there is no result (RFC 9457)."""

    code: str = FAILED
    detail: str = ""
    remedy: str = ""
    title: str = ""


def find_method(name: str) -> Method:
    """The method with this name. Only its own table is imported where that is called like its subject."""
    subject = name.partition(".")[0]
    try:
        methods: dict[str, Method] = import_module(f"bridgehead.admin.methods.{subject}").METHODS
        return methods[name]
    except (ImportError, AttributeError, KeyError):
        from bridgehead.admin.methods.table import METHODS

        if name not in METHODS:
            raise AdminFault(UNKNOWN_METHOD, f"there is no method {name}") from None
        return METHODS[name]


class _LocalConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path, self._seconds = path, timeout

    def connect(self) -> None:
        """Raises ServerNotRunning, AdminFault."""
        self.sock = connect(self._path, self._seconds)


class ControlClient:
    """One connection, made at the first call.

    Args:
        path: of the socket.
        timeout: seconds that one answer may take.
        find: from a name to the method.
    """

    def __init__(self, path: Path, timeout: float = 60.0, find: Callable[[str], Method] = find_method) -> None:
        self._timeout, self._find = timeout, find
        self._connection = _LocalConnection(path, timeout)

    def call(self, method: str, params: msgspec.Struct | None, result: type[Result]) -> Result:
        """Call a method and wait for its result; a list comes whole. Raises ServerNotRunning, AdminFault."""
        verb, target, body = request_for(self._find(method), params)
        data, following = self._request(verb, target, body)
        decoded = decode_result(data, method, result)
        if get_origin(result) is list and not hasattr(params, "limit"):
            items: Any = decoded
            while following:
                data, following = self._request(verb, following, body)
                items += decode_result(data, method, result)
        return decoded

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def __enter__(self) -> "ControlClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, verb: str, target: str, body: bytes | None) -> tuple[bytes, str]:
        """The answer's content, and the target of the next page. Raises AdminFault."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            self._connection.request(verb, target, body, headers)
            response = self._connection.getresponse()
            data = response.read(CONTROL_RESPONSE_BYTES + 1)
        except TimeoutError:
            self.close()
            raise _no_answer(self._timeout) from None
        except (HTTPException, OSError) as error:
            self.close()
            raise _unreadable(error) from None
        if len(data) > CONTROL_RESPONSE_BYTES:
            self.close()
            raise _unreadable(f"it is longer than {CONTROL_RESPONSE_BYTES} octets")
        if response.status >= 400:
            raise _fault(response, data)
        return data, _next_page(response)


def _fault(response: HTTPResponse, data: bytes) -> AdminFault:
    try:
        problem = msgspec.json.decode(data, type=_Problem)
    except UNREADABLE:
        return AdminFault(FAILED, f"the server answered {response.status} {response.reason}", "look at its log")
    return AdminFault(problem.code, problem.detail or problem.title, problem.remedy)


def _next_page(response: HTTPResponse) -> str:
    """The target of `Link: <…>; rel="next"` (RFC 8288)."""
    link, _, relation = (response.getheader("Link") or "").partition(">")
    return link.removeprefix("<") if 'rel="next"' in relation else ""


class ChannelClient:
    """The end of a command that must reach the process that moves mail while the HTTP interface is down.

    Args:
        path: of the socket.
        timeout: seconds that one answer may take.
    """

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        self._path, self._timeout = path, timeout
        self._socket: socket.socket | None = None
        self._received = b""
        self._last_id = 0

    def call(self, method: str, params: msgspec.Struct | None, result: type[Result]) -> Result:
        """Call a method and wait for its result. Raises ServerNotRunning, AdminFault."""
        connection = self._connected()
        self._last_id += 1
        request = {"id": self._last_id, "method": method, "params": params if params is not None else {}}
        try:
            try:
                connection.sendall(msgspec.json.encode(request) + b"\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server may have said why before it closed
            answer = msgspec.json.decode(self._line(connection), type=Answer)
        except TimeoutError:
            self.close()
            raise _no_answer(self._timeout) from None
        except (ConnectionError, *UNREADABLE) as error:
            self.close()
            raise _unreadable(error) from None
        if answer.error is not None:
            raise AdminFault(answer.error.code, answer.error.message, answer.error.remedy)
        if answer.id != self._last_id:
            self.close()
            raise AdminFault(FAILED, "the server answered another request than this one", "try again")
        return decode_result(answer.result, method, result)

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> "ChannelClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket, self._received = connect(self._path, self._timeout), b""
        return self._socket

    def _line(self, connection: socket.socket) -> bytes:
        """The next line from the server. Raises OSError."""
        parts = [self._received]
        size = len(self._received)
        while b"\n" not in parts[-1]:
            data = connection.recv(1 << 18)
            if not data:
                raise ConnectionError("it closed the connection")
            size += len(data)
            if size > CONTROL_RESPONSE_BYTES:
                raise ConnectionError(f"it is longer than {CONTROL_RESPONSE_BYTES} octets")
            parts.append(data)
        line, _, self._received = b"".join(parts).partition(b"\n")
        return line


def connect(path: Path, timeout: float) -> socket.socket:
    """A connection to a server's socket. Raises ServerNotRunning, AdminFault."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.settimeout(timeout)
    try:
        with short_path(path) as address:
            connection.connect(address)
    except OSError as error:
        connection.close()
        raise _not_connected(path, error) from None
    return connection


def decode_result(data: bytes | msgspec.Raw, method: str, result: type[Result]) -> Result:
    """A result as its type. Raises AdminFault where it is none."""
    try:
        return msgspec.json.decode(data, type=result)
    except UNREADABLE as error:
        raise AdminFault(FAILED, f"the server's answer to {method} is unexpected: {error}", _OTHER_VERSION) from None


def _not_connected(path: Path, error: OSError) -> AdminFault:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ServerNotRunning(f"The server is not running (no socket at {path})")
    if isinstance(error, ConnectionRefusedError):
        return ServerNotRunning(f"The server is not running (nobody answers at {path})")
    if isinstance(error, PermissionError):
        remedy = "run the command as the server's own account or as root"
        return AdminFault(FORBIDDEN, f"{path}: you may not use this socket", remedy)
    return AdminFault(NOT_RUNNING, f"{path}: {error.strerror or error}", "start it with `bridgehead run`")


def _no_answer(timeout: float) -> AdminFault:
    message = f"the server did not answer within {timeout:g} seconds"
    return AdminFault(NOT_ANSWERING, message, "look at its log; try again")


def _unreadable(error: object) -> AdminFault:
    return AdminFault(FAILED, f"the server's answer cannot be read: {error}", "look at its log")
