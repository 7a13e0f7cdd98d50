# SPDX-License-Identifier: MIT
"""The lock-out table of several processes: each has all of it, and learns what the others did before it judges."""

from collections.abc import Callable
from typing import Final

import msgspec

from bridgehead.mail.limits import LOGIN_NAME_CHARACTERS
from bridgehead.net.shared_journal import SharedJournal
from bridgehead.receive.logons.lockout import Guessing, Lockout, LockoutTable
from bridgehead.receive.logons.settings import LockoutSettings

_LONGEST_CHARACTER: Final = 4
RECORD_OCTETS: Final = LOGIN_NAME_CHARACTERS * _LONGEST_CHARACTER + 100
"""A name, an address, a time."""


class _Logon(msgspec.Struct, array_like=True):
    """One that ended, at a Unix time."""

    account: str
    source: str
    at: float
    good: bool
    guessable: bool = True


class SharedLockoutTable(LockoutTable):
    """As `LockoutTable`, with the logons of all processes.

    A process that begins anew reads what the others keep of the last logons, behind what was kept on disk.
    """

    def __init__(self, settings: LockoutSettings, journal: SharedJournal, now: Callable[[], float]) -> None:
        super().__init__(settings)
        self._journal, self._now = journal, now

    def is_locked(self, account: str, source: str, now: float, *, guessable: bool = True) -> bool:
        self._learn()
        return super().is_locked(account, source, now, guessable=guessable)

    def failed(self, account: str, source: str, now: float, *, guessable: bool = True) -> None:
        self._learn()
        super().failed(account, source, now, guessable=guessable)
        self._tell(_Logon(account, source, now, False, guessable))

    def succeeded(self, account: str, source: str) -> None:
        self._learn()
        super().succeeded(account, source)
        self._tell(_Logon(account, source, self._now(), True))

    def locked(self, now: float) -> list[Lockout]:
        self._learn()
        return super().locked(now)

    def lift(self, account: str = "", source: str = "") -> int:
        self._learn()
        return super().lift(account, source)

    def guessing(self, now: float) -> list[Guessing]:
        self._learn()
        return super().guessing(now)

    def dump(self, now: float) -> bytes:
        self._learn()
        return super().dump(now)

    def _tell(self, logon: _Logon) -> None:
        self._journal.tell(msgspec.msgpack.encode(logon))

    def _learn(self) -> None:
        for record in self._journal.news():
            logon = msgspec.msgpack.decode(record, type=_Logon)
            if logon.at <= self.kept_at:
                continue
            if logon.good:
                super().succeeded(logon.account, logon.source)
            else:
                super().failed(logon.account, logon.source, logon.at, guessable=logon.guessable)
