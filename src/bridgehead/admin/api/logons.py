# SPDX-License-Identifier: MIT
"""Log-ons over TCP: HTTP's Basic (RFC 7617) with a login, Bearer (RFC 6750) with a token. Both stand under TLS only.

A password is compared away from the event loop, two at a time. What was right is good for some minutes, so that a
program that sends it with each request pays once. Every first success and every failure goes to the audit log.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from bridgehead.admin.access.administrator_file import Administrator, AdministratorFile
from bridgehead.admin.api.backoff import Backoff
from bridgehead.admin.api.problems import TOO_MANY, UNAUTHENTICATED
from bridgehead.admin.faults import AdminFault
from bridgehead.admin.method import Caller, Role
from bridgehead.mail.limits import LOGIN_NAME_CHARACTERS, LOGONS_AT_ONCE, LOGONS_KEPT, PASSWORD_CHARACTERS
from bridgehead.mail.secret import Secret

GOOD_FOR_SECONDS: Final = 300.0

Report = Callable[[Caller, AdminFault | None], Awaitable[None]]
"""Tells the audit log of a log-on, or with a fault of one that failed."""


class _Held(msgspec.Struct):
    administrator: Administrator
    version: int
    until: float


class Logons:
    """Who may log on.

    Args:
        file: logins and tokens.
        report: awaited before anything is done for a caller.
        now: Unix time.
    """

    def __init__(self, file: AdministratorFile, report: Report, now: Callable[[], float]) -> None:
        self._file, self.report, self._now = file, report, now
        self._backoff = Backoff()
        self._comparing = asyncio.Semaphore(LOGONS_AT_ONCE)
        self._key = os.urandom(32)
        self._good: OrderedDict[bytes, _Held] = OrderedDict()

    @property
    def remember_seconds(self) -> float:
        """How long a log-on that failed counts against the next one; 0 where none does."""
        return self._backoff.remember_seconds(self._now())

    async def caller(self, authorization: str, origin: str) -> Caller:
        """Who a request with this Authorization field is from. Raises AdminFault.

        Args:
            origin: "192.0.2.7:49152" or "[2001:db8::7]:49152".
        """
        address = origin.rpartition(":")[0]
        scheme, _, rest = authorization.partition(" ")
        match scheme.lower():
            case "basic":
                name, password = _basic(rest)
            case "bearer":
                name, password = "", Secret(rest.strip())
            case _:
                raise AdminFault(UNAUTHENTICATED, "a login or a token is needed", "bridgehead administrator add NAME")
        held = self._held(address, name, password)
        if held is not None:
            return Caller(held.name, held.rank, origin)
        if (pause := self._backoff.pause(name, address, self._now())) > 0:
            raise AdminFault(TOO_MANY, "too many log-ons failed", f"try again in {pause:.0f} s")
        found = await self._look_up(name, password)
        if found is None:
            self._backoff.failed(name, address, self._now())
            fault = AdminFault(UNAUTHENTICATED, "no such login, or another password or token than expected")
            await self.report(Caller(name or "(token)", Role.HELP_DESK, origin), fault)
            raise fault
        self._backoff.succeeded(name, address)
        caller = Caller(found.name, found.rank, origin)
        await self.report(caller, None)
        self._hold(address, name, password, found)
        return caller

    async def _look_up(self, name: str, password: Secret) -> Administrator | None:
        if not name:
            return self._file.with_token(password, datetime.fromtimestamp(self._now(), UTC))
        async with self._comparing:
            return await asyncio.to_thread(self._file.with_password, name, password)

    # --- what was right is good for a while -------------------------------------------------------------------------

    def _held(self, address: str, name: str, password: Secret) -> Administrator | None:
        self._file.refresh()
        held = self._good.get(self._mark(address, name, password))
        if held is None or held.version != self._file.version or self._now() >= held.until:
            return None
        return held.administrator

    def _hold(self, address: str, name: str, password: Secret, found: Administrator) -> None:
        until = self._now() + GOOD_FOR_SECONDS
        if not name:  # a token's end is its own
            until = min([until, *(one.expires.timestamp() for one in found.tokens)])
        self._good[self._mark(address, name, password)] = _Held(found, self._file.version, until)
        while len(self._good) > LOGONS_KEPT:
            self._good.popitem(last=False)

    def _mark(self, address: str, name: str, password: Secret) -> bytes:
        text = "\0".join((address, name, password.reveal()))
        return hmac.digest(self._key, hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), "sha256")


def _basic(credentials: str) -> tuple[str, Secret]:
    """Name and password. Raises AdminFault."""
    try:
        name, colon, password = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        name, colon, password = "", "", ""
    if not name or not colon or len(name) > LOGIN_NAME_CHARACTERS or len(password) > PASSWORD_CHARACTERS:
        raise AdminFault(UNAUTHENTICATED, "the Authorization field holds no name and password")
    return name, Secret(password)
