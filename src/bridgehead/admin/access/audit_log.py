# SPDX-License-Identifier: MIT
"""Who did what: one JSON object to a line for every change, every reading of content, every log-on and every refusal
(Exchange's administrator audit log).

    {"time":"2026-11-23T09:00:01.123Z","event":"call","caller":"anna","role":"operator","origin":"192.0.2.7:4711",
     "method":"queues.suspend","parameters":{"name":"Internet/contoso.com"},"outcome":"done"}

The process that moves mail writes it, before it answers, and has the disk keep it; so nobody who asks through any
interface gets round it. Where the disk takes none, the change is still made, because it may be the one that makes room:
the lines wait in memory, the server's log and an alarm say so. Passwords and content are never in it.
"""

import asyncio
import logging
import os
import pwd
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from bridgehead.admin.access.ownership import keep_owner
from bridgehead.admin.faults import FAILED, FORBIDDEN, AdminFault
from bridgehead.admin.method import Caller, Method, Role, role_name
from bridgehead.admin.times import moment
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import AUDITED_ITEMS, AUDITED_TEXT
from bridgehead.tracking.log import LogFile, LogKind, LogLimits, log_files
from bridgehead.tracking.settings import LogSettings

log = logging.getLogger("bridgehead.admin")

FOLDER: Final = "AdminAudit"
"""Below `log_directory`."""
KIND: Final = LogKind("ADMINAUDIT", "Administrator Audit Log", (), suffix="jsonl")
DONE: Final = "done"
CALL: Final = "call"
COMMAND: Final = "command"
LOG_ON: Final = "log-on"

_SECRET: Final = re.compile("password|passphrase|secret|token|credential|private_key", re.IGNORECASE)
REDACTED: Final = "(redacted)"


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line.

    Attributes:
        time: when it was over.
        event: "call", "log-on", or "command" for what a command changed without the server.
        caller: account of this machine, or login of the interface.
        role: what the caller may do, "help-desk" to "administrator"; "" where nobody logged on.
        origin: "local", or address and port.
        method: what was called, "queues.suspend".
        parameters: without secrets, long ones cut.
        outcome: "done", or the fault's code.
        message: the fault's words.
    """

    time: datetime
    event: str
    caller: str
    role: str = ""
    origin: str = "local"
    method: str = ""
    parameters: dict[str, Any] = {}
    outcome: str = DONE
    message: str = ""


class AuditLog(Protocol):
    """Where changes are recorded."""

    def recording(
        self, name: str, method: Method, params: msgspec.Struct, caller: Caller
    ) -> AbstractAsyncContextManager[None]:
        """Around a call: records it, with how it ended, if it is one to be recorded."""

    async def logged_on(self, caller: Caller, fault: AdminFault | None) -> None:
        """Record a log-on, or with a fault one that failed."""


class NoAuditLog:
    """For tests of other things."""

    @asynccontextmanager
    async def recording(self, name: str, method: Method, params: msgspec.Struct, caller: Caller) -> AsyncIterator[None]:
        """Nothing."""
        yield

    async def logged_on(self, caller: Caller, fault: AdminFault | None) -> None:
        """Nothing."""


def _limits(settings: LogSettings) -> LogLimits:
    return LogLimits(
        settings.admin_audit_log_age_limit,
        settings.admin_audit_log_max_file_size,
        settings.admin_audit_log_max_directory_size,
    )


class AuditLogFile:
    """The log on disk.

    Args:
        folder: `log_directory`, made absolute by the caller.
        now: Unix time.
    """

    def __init__(self, settings: LogSettings, folder: Path, now: Callable[[], float]) -> None:
        self._now = now
        self._file = LogFile(folder / FOLDER, KIND, _limits(settings), now)
        self.trouble = ""
        """Why the last record is not on disk; "" while all are."""

    def reconfigure(self, settings: LogSettings) -> None:
        """Keep it by other limits from now on."""
        self._file.limits = _limits(settings)

    @asynccontextmanager
    async def recording(self, name: str, method: Method, params: msgspec.Struct, caller: Caller) -> AsyncIterator[None]:
        """Around a call: records changes, readings of content, and refusals."""
        fault = None
        try:
            yield
        except AdminFault as error:
            fault = error
            raise
        except asyncio.CancelledError:
            fault = AdminFault("cancelled", "the server was stopped meanwhile")
            raise
        finally:
            if is_audited(method) or (fault is not None and fault.code == FORBIDDEN):
                await self._record(caller, fault, event=CALL, method=name, parameters=redacted(params))

    async def logged_on(self, caller: Caller, fault: AdminFault | None) -> None:
        """Record a log-on, or with a fault one that failed."""
        await self._record(caller, fault, event=LOG_ON)

    async def _record(self, caller: Caller, fault: AdminFault | None, **values: Any) -> None:
        record = AuditRecord(
            time=_milliseconds(self._now()),
            caller=clean_text(caller.name, AUDITED_TEXT),
            role="" if fault is not None and values["event"] == LOG_ON else role_name(caller.role),
            origin=caller.origin,
            outcome=DONE if fault is None else fault.code,
            message="" if fault is None else clean_text(fault.message, AUDITED_TEXT),
            **values,
        )
        self._file.append(msgspec.json.encode(record) + b"\n")
        await asyncio.shield(asyncio.to_thread(self._sync))

    def write(self, record: AuditRecord) -> None:
        """Record what was done elsewhere. Blocks."""
        self._file.append(msgspec.json.encode(record) + b"\n")
        self._sync()

    def _sync(self) -> None:
        try:
            self._file.sync()
            self.trouble = ""
        except OSError as error:
            self.trouble = str(error.strerror or error)
            log.error("changes by administrators are not recorded on disk: %s", error)

    def close(self) -> None:
        """Write what is left. Never raises."""
        self._file.close()


@contextmanager
def record_command(settings: LogSettings, folder: Path, name: str, parameters: dict[str, Any]) -> Iterator[None]:
    """Around a change that a command makes without the server. Raises what the body raises; whatever that is, the
    change was not done."""
    fault = None
    try:
        yield
    except AdminFault as error:
        fault = error
        raise
    except BaseException as error:
        fault = AdminFault(FAILED, f"ended by {type(error).__name__}")
        raise
    finally:
        account = pwd.getpwuid(os.geteuid()).pw_name
        record = AuditRecord(
            time=_milliseconds(time.time()),
            event=COMMAND,
            caller=os.environ.get("SUDO_USER", account) if os.geteuid() == 0 else account,
            role=role_name(Role.ADMINISTRATOR),
            method=name,
            parameters=_shown("", {key: value for key, value in parameters.items() if value not in ("", None)}),
            outcome=DONE if fault is None else fault.code,
            message="" if fault is None else clean_text(fault.message, AUDITED_TEXT),
        )
        audit = AuditLogFile(settings, folder, time.time)
        audit.write(record)
        audit.close()
        files = [one.path for one in log_files(folder / FOLDER, KIND.prefix, KIND.suffix)]
        keep_owner(folder.parent, folder, folder / FOLDER, *files)


def is_audited(method: Method) -> bool:
    """Whether every call of it is recorded: it changes something, or it shows what people wrote."""
    return method.changes or method.role >= Role.OPERATOR


def _milliseconds(now: float) -> datetime:
    return moment(now) or datetime.fromtimestamp(0, UTC)


def redacted(params: msgspec.Struct) -> dict[str, Any]:
    """Parameters as they may be written down: no secrets, no content, bounded."""
    plain = msgspec.to_builtins(params, builtin_types=(bytes,))
    return {name: _shown(name, value) for name, value in plain.items() if value not in ("", None, [], {})}


def _shown(name: str, value: Any) -> Any:
    if _SECRET.search(name):
        return REDACTED
    if isinstance(value, bytes):
        return f"({len(value)} octets)"
    if isinstance(value, str):
        return clean_text(value, AUDITED_TEXT)
    if isinstance(value, list):
        more = [f"(and {len(value) - AUDITED_ITEMS} more)"] if len(value) > AUDITED_ITEMS else []
        return [_shown("", one) for one in value[:AUDITED_ITEMS]] + more
    if isinstance(value, dict):
        return {str(inner): _shown(str(inner), one) for inner, one in value.items()}
    return value


# --- reading --------------------------------------------------------------------------------------------------------


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records are wanted; all given parts must hold. Texts are found anywhere, without regard to case.

    `failed`: only what was refused or failed. `limit`: the newest that many.
    """

    caller: str = ""
    origin: str = ""
    method: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    failed: bool = False
    limit: int = 1000


def read_audit_log(folder: Path, wanted: AuditFilter) -> list[AuditRecord]:
    """Records that fit, the oldest first. Works without a running server. Raises AdminFault.

    A line that is no record, such as one that a crash cut off, is passed over.
    """
    found: list[AuditRecord] = []
    for record in _newest_first(folder / FOLDER, wanted.since):
        if _fits(record, wanted):
            found.append(record)
            if len(found) == wanted.limit:
                break
    return found[::-1]


def _newest_first(folder: Path, since: datetime | None) -> Iterator[AuditRecord]:
    """Day by day, since commands write files of their own beside the server's."""
    for day, files in groupby(reversed(log_files(folder, KIND.prefix, KIND.suffix)), key=lambda one: one.day):
        if since is not None and day < since.astimezone(UTC).date():
            return
        records = [record for file in reversed(list(files)) for record in _records(file.path)]
        records.sort(key=lambda record: record.time)
        yield from reversed(records)


def _records(path: Path) -> Iterator[AuditRecord]:
    decoder = msgspec.json.Decoder(AuditRecord)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        remedy = "run the command as the server's account or as root"
        raise AdminFault(FAILED, f"{path}: {error.strerror}", remedy) from None
    for line in lines:
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue


def _fits(record: AuditRecord, wanted: AuditFilter) -> bool:
    def holds(text: str, part: str) -> bool:
        return part.casefold() in text.casefold()

    return (
        holds(record.caller, wanted.caller)
        and holds(record.origin, wanted.origin)
        and holds(record.method, wanted.method)
        and (not wanted.text or holds(msgspec.json.encode(record).decode(), wanted.text))
        and (wanted.since is None or record.time >= wanted.since)
        and (wanted.until is None or record.time < wanted.until)
        and (not wanted.failed or record.outcome != DONE)
    )
