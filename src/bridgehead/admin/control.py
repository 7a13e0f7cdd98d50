# SPDX-License-Identifier: MIT
"""The control channel: a Unix socket between the running server and its commands.

One JSON object to a line, in both directions:

    {"id":1,"method":"queues.list","params":{}}
    {"id":1,"result":[…]}          or     {"id":1,"error":{"code":"not_found","message":"…","remedy":"…"}}

The socket is for the server's own account and root alone (mode 0600, and SO_PEERCRED on each connection). Which
methods there are is `methods/`; why a socket of our own, ADR 2.
"""

import asyncio
import logging
import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bridgehead.admin.faults import (
    FAILED,
    FORBIDDEN,
    INVALID,
    NOT_RUNNING,
    TOO_LARGE,
    UNKNOWN_METHOD,
    AdminFault,
    ServerNotRunning,
)  # fmt: skip
from bridgehead.admin.method import Caller, Method, perform
from bridgehead.admin.ports import RunningServer
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import (
    CONTROL_CONNECTIONS,
    CONTROL_IDLE_SECONDS,
    CONTROL_REQUEST_BYTES,
    CONTROL_RESPONSE_BYTES,
)  # fmt: skip

log = logging.getLogger("bridgehead.admin")

_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding arbitrary bytes raises."""
_CREDENTIALS: Final = struct.Struct("3i")
_PATH_BYTES: Final = 100
"""A Unix socket's path holds 107 octets; a longer one is reached through its folder's descriptor."""

Result = TypeVar("Result")


class _Request(msgspec.Struct):
    """`caller`: on whose behalf; without one, the account at the other end."""

    id: int
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    caller: Caller | None = None


class _Error(msgspec.Struct, omit_defaults=True):
    code: str
    message: str
    remedy: str = ""


class _Answer(msgspec.Struct, omit_defaults=True):
    id: int = 0
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None


class _OutgoingResult(msgspec.Struct):
    id: int
    result: msgspec.Raw


class _OutgoingError(msgspec.Struct):
    id: int
    error: _Error


class ControlServer:
    """The server's end.

    Args:
        methods: what may be called, by name.
        server: what the methods act on.
        path: of the socket; its folder must exist.
    """

    def __init__(self, methods: Mapping[str, Method], server: RunningServer, path: Path) -> None:
        self._methods, self._running, self._path = methods, server, path
        self._requests = msgspec.json.Decoder(_Request)
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._inode = 0
        self._closing = False

    async def start(self) -> None:
        """Listen. A socket that a dead server left behind is replaced.

        Raises AdminFault where a living server has it, OSError where the folder cannot be used.
        """
        self._remove_stale()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            mask = os.umask(0o177)
            try:
                with _short_path(self._path) as address:
                    listening.bind(address)
            finally:
                os.umask(mask)
            self._inode = self._path.stat().st_ino
            listening.setblocking(False)
            self._server = await asyncio.start_unix_server(self._connected, sock=listening, limit=CONTROL_REQUEST_BYTES)
        except BaseException:
            listening.close()
            raise

    async def close(self) -> None:
        """Stop listening, end what is under way, remove the socket."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            if self._inode and self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except FileNotFoundError:
            pass

    def _remove_stale(self) -> None:
        try:
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise AdminFault(FAILED, f"{self._path} is not a socket", "move it away")
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(2)
            try:
                with _short_path(self._path) as address:
                    probe.connect(address)
            except (ConnectionRefusedError, FileNotFoundError):
                self._path.unlink(missing_ok=True)
                return
            except TimeoutError:
                pass
        raise AdminFault(FAILED, f"another server answers at {self._path}", "stop it, or use another data_directory")

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._closing:
                await self._serve(reader, writer)
        except (ConnectionError, TimeoutError):
            pass
        except asyncio.CancelledError:
            if not self._closing:  # else it is `close` that ends us, and the streams would report a cancelled task
                raise
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = _peer(writer)
        if refusal := self._refusal(uid):
            await _send(writer, _OutgoingError(0, refusal))
            return
        caller = Caller(_account(uid))
        while True:
            try:
                async with asyncio.timeout(CONTROL_IDLE_SECONDS):  # wait_for of 3.11 may swallow a cancellation
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                error = _Error(TOO_LARGE, f"a request of at most {CONTROL_REQUEST_BYTES} octets was expected")
                await _send(writer, _OutgoingError(0, error))
                return
            await _send(writer, await self._answer(line, caller))

    def _refusal(self, uid: int) -> _Error | None:
        if len(self._tasks) > CONTROL_CONNECTIONS:
            return _Error(FAILED, f"{CONTROL_CONNECTIONS} commands are at work already", "try again in a moment")
        if uid in (0, os.geteuid()):
            return None
        log.warning("the control channel refused a command of user id %d", uid)
        return _Error(FORBIDDEN, "only the server's own account and root may give commands")

    async def _answer(self, line: bytes, account: Caller) -> msgspec.Struct:
        try:
            request = self._requests.decode(line)
        except _UNREADABLE as error:
            return _OutgoingError(0, _Error(INVALID, f"the request is no valid JSON request: {error}"))
        method = self._methods.get(request.method)
        if method is None:
            name = clean_text(request.method, 100)
            remedy = "client and server may be of different versions; restart the server"
            return _OutgoingError(request.id, _Error(UNKNOWN_METHOD, f"there is no method {name!r}", remedy))
        try:
            params = msgspec.json.decode(request.params, type=method.params)
        except _UNREADABLE as error:
            return _OutgoingError(request.id, _Error(INVALID, f"{request.method}: {error}"))
        try:
            answer = await perform(method, self._running, params, request.caller or account)
            return _OutgoingResult(request.id, msgspec.Raw(msgspec.json.encode(answer)))
        except AdminFault as fault:
            return _OutgoingError(request.id, _Error(fault.code, fault.message, fault.remedy))
        except Exception as error:
            log.exception("the command %s failed", request.method)
            message = f"{request.method} failed: {type(error).__name__}: {clean_text(str(error))}"
            return _OutgoingError(request.id, _Error(FAILED, message, "the server's log says more"))


def _peer(writer: asyncio.StreamWriter) -> int:
    """User id of the process at the other end."""
    peer = writer.get_extra_info("socket")
    _, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


async def _send(writer: asyncio.StreamWriter, answer: msgspec.Struct) -> None:
    writer.write(msgspec.json.encode(answer) + b"\n")
    async with asyncio.timeout(CONTROL_IDLE_SECONDS):
        await writer.drain()


class ControlClient:
    """The commands' end: one connection, made at the first call.

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
            answer = msgspec.json.decode(self._line(connection), type=_Answer)
        except TimeoutError:
            self.close()
            message = f"the server did not answer within {self._timeout:g} seconds"
            raise AdminFault(FAILED, message, "look at its log; try again") from None
        except (ConnectionError, msgspec.DecodeError) as error:
            self.close()
            raise AdminFault(FAILED, f"the server's answer cannot be read: {error}", "look at its log") from None
        if answer.error is not None:
            raise AdminFault(answer.error.code, answer.error.message, answer.error.remedy)
        if answer.id != self._last_id:
            self.close()
            raise AdminFault(FAILED, "the server answered another request than this one", "try again")
        try:
            return msgspec.json.decode(answer.result, type=result)
        except msgspec.DecodeError as error:
            remedy = "command and server may be of different versions; restart the server"
            raise AdminFault(FAILED, f"the server's answer to {method} is unexpected: {error}", remedy) from None

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> "ControlClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(self._timeout)
        try:
            with _short_path(self._path) as address:
                connection.connect(address)
        except OSError as error:
            connection.close()
            raise self._not_connected(error) from None
        self._socket, self._received = connection, b""
        return connection

    def _not_connected(self, error: OSError) -> AdminFault:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return ServerNotRunning(f"The server is not running (no socket at {self._path})")
        if isinstance(error, ConnectionRefusedError):
            return ServerNotRunning(f"The server is not running (nobody answers at {self._path})")
        if isinstance(error, PermissionError):
            remedy = "run the command as the server's own account or as root"
            return AdminFault(FORBIDDEN, f"{self._path}: you may not use this socket", remedy)
        return AdminFault(NOT_RUNNING, f"{self._path}: {error.strerror or error}", "start it with `bridgehead run`")

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


@contextmanager
def _short_path(path: Path) -> Iterator[str]:
    """A name of the socket that fits into a socket address."""
    text = str(path.absolute())
    if len(os.fsencode(text)) <= _PATH_BYTES:
        yield text
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
