# SPDX-License-Identifier: MIT
"""The internal channel: a Unix socket on which the process that moves mail answers the one that speaks HTTP.

One JSON object to a line, in both directions:

    {"id":1,"method":"queues.list","params":{},"caller":{"name":"anna","role":2,"origin":"192.0.2.7:4711"}}
    {"id":1,"result":[…]}          or     {"id":1,"error":{"code":"not_found","message":"…","remedy":"…"}}

The socket is for the server's own account and root alone (mode 0600, and SO_PEERCRED on each connection). Only the
process of the HTTP interface may name another caller than itself. Roles are enforced (`method.perform`) and changes
recorded (`audit_log.py`) on this side, so that no way to ask goes round them. Which methods there are is `methods/`;
why a channel of our own, ADR 2 and ADR 7.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from bridgehead.admin.access.audit_log import AuditLog, NoAuditLog
from bridgehead.admin.calls.channel import LOG_ON, UNREADABLE, Error, LogOn, Request
from bridgehead.admin.calls.local_socket import LocalListener, Peer, peer_of
from bridgehead.admin.calls.paging import perform_page
from bridgehead.admin.faults import FAILED, FORBIDDEN, INVALID, TOO_LARGE, UNKNOWN_METHOD, AdminFault
from bridgehead.admin.method import Caller, Method
from bridgehead.admin.ports import RunningServer
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import CONTROL_CONNECTIONS, CONTROL_IDLE_SECONDS, CONTROL_REQUEST_BYTES

log = logging.getLogger("bridgehead.admin")


class _OutgoingResult(msgspec.Struct, omit_defaults=True):
    id: int
    result: msgspec.Raw
    next: str = ""


class _OutgoingError(msgspec.Struct):
    id: int
    error: Error


def channel_path(socket_path: Path) -> Path:
    """Where the internal channel's socket lies: beside that of the HTTP interface."""
    return socket_path.with_name(f"{socket_path.stem}-internal{socket_path.suffix}")


class ControlServer:
    """The end of the process that moves mail.

    Args:
        methods: gives what may be called, by name; asked once, in a thread, when the first question comes.
        server: what the methods act on.
        path: of the socket; its folder must exist.
        audit: where changes and refusals are recorded.
        interface_pid: process id of the HTTP interface, which may name callers; 0 while there is none.
    """

    def __init__(
        self, methods: Callable[[], Mapping[str, Method]], server: RunningServer, path: Path,
        audit: AuditLog | None = None,
        interface_pid: Callable[[], int] = lambda: 0,
    ) -> None:  # fmt: skip
        self._give_methods, self._running, self._path = methods, server, path
        self._methods: Mapping[str, Method] | None = None
        self._audit, self._interface_pid = audit or NoAuditLog(), interface_pid
        self._requests = msgspec.json.Decoder(Request)
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: LocalListener | None = None
        self._closing = False

    async def start(self) -> None:
        """Listen. A socket that a dead server left behind is replaced.

        Raises AdminFault where a living server has it, OSError where the folder cannot be used.
        """
        listener = LocalListener(self._path)
        try:
            self._server = await asyncio.start_unix_server(
                self._connected, sock=listener.socket, limit=CONTROL_REQUEST_BYTES
            )
        except BaseException:
            listener.close()
            raise
        self._listener = listener

    async def close(self) -> None:
        """Stop listening, end what is under way, remove the socket."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()

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
        peer = peer_of(writer.get_extra_info("socket"))
        if refusal := self._refusal(peer):
            await _send(writer, _OutgoingError(0, refusal))
            return
        while True:
            try:
                async with asyncio.timeout(CONTROL_IDLE_SECONDS):  # wait_for of 3.11 may swallow a cancellation
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                error = Error(TOO_LARGE, f"a request of at most {CONTROL_REQUEST_BYTES} octets was expected")
                await _send(writer, _OutgoingError(0, error))
                return
            await _send(writer, await self._answer(line, peer))

    def _refusal(self, peer: Peer) -> Error | None:
        if len(self._tasks) > CONTROL_CONNECTIONS:
            return Error(FAILED, f"{CONTROL_CONNECTIONS} commands are at work already", "try again in a moment")
        if peer.uid in (0, os.geteuid()):
            return None
        log.warning("the internal channel refused user id %d", peer.uid)
        return Error(FORBIDDEN, "only the server's own account and root may use the internal channel")

    async def _answer(self, line: bytes, peer: Peer) -> msgspec.Struct:
        try:
            request = self._requests.decode(line)
        except UNREADABLE as error:
            return _OutgoingError(0, Error(INVALID, f"the request is no valid JSON request: {error}"))
        try:
            result, following = await self._perform(request, self._caller(request, peer))
            return _OutgoingResult(request.id, result, following)
        except AdminFault as fault:
            return _OutgoingError(request.id, Error(fault.code, fault.message, fault.remedy))

    def _caller(self, request: Request, peer: Peer) -> Caller:
        """On whose behalf. Raises AdminFault where the other end must not speak for others."""
        if request.caller is None:
            return Caller(peer.account)
        if peer.pid != self._interface_pid():
            raise AdminFault(FORBIDDEN, "only the process of the HTTP interface may name a caller")
        return request.caller

    async def _perform(self, request: Request, caller: Caller) -> tuple[msgspec.Raw, str]:
        """A method's result as JSON, and where its list goes on. Raises AdminFault, also for faults of ours."""
        if request.method == LOG_ON and request.caller is not None:
            await self._logged_on(request.params, caller)
            return msgspec.Raw(b"null"), ""
        if self._methods is None:
            self._methods = await asyncio.to_thread(self._give_methods)
        method = self._methods.get(request.method)
        if method is None:
            name = clean_text(request.method, 100)
            remedy = "client and server may be of different versions; restart the server"
            raise AdminFault(UNKNOWN_METHOD, f"there is no method {name!r}", remedy)
        try:
            params = msgspec.json.decode(request.params, type=method.params)
        except UNREADABLE as error:
            raise AdminFault(INVALID, f"{request.method}: {error}") from None
        async with self._audit.recording(request.method, method, params, caller):
            try:
                result, following = await perform_page(
                    method, self._running, params, caller, request.page, request.limit
                )
                return msgspec.Raw(msgspec.json.encode(result)), following
            except AdminFault:
                raise
            except Exception as error:
                log.exception("the command %s failed", request.method)
                message = f"{request.method} failed: {type(error).__name__}: {clean_text(str(error))}"
                raise AdminFault(FAILED, message, "the server's log says more") from error

    async def _logged_on(self, params: msgspec.Raw, caller: Caller) -> None:
        told = msgspec.json.decode(params, type=LogOn)
        await self._audit.logged_on(caller, AdminFault(told.code, told.message) if told.code else None)


async def _send(writer: asyncio.StreamWriter, answer: msgspec.Struct) -> None:
    writer.write(msgspec.json.encode(answer) + b"\n")
    async with asyncio.timeout(CONTROL_IDLE_SECONDS):
        await writer.drain()
