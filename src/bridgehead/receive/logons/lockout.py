# SPDX-License-Identifier: MIT
"""Lock-out with back-off: who guesses passwords waits, by account and by source, across sessions. Pure.

Failures of an account and of a source fill a level that drains over the observation window; at the threshold the
account or source is locked, twice as long each time, up to a maximum. Whoever is locked is judged like everybody else
and then refused, so that from outside a lock looks like a wrong password: same reply, same work.

Nobody can be locked out by others from where he himself logs in: a source from which an account was good lately has a
count of its own for that account. Attempts while a lock holds count for nothing, so guessing does not prolong it, and
one source cannot lock many accounts once it is locked itself.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from bridgehead.mail.limits import FAMILIAR_SOURCES_KEPT, GUESSED_ACCOUNTS_SHOWN, LOCKOUTS_KEPT, SOURCES_ALARMED
from bridgehead.net.ip_range import IPRange, parse_range
from bridgehead.receive.logons.settings import LockoutSettings

_STRIKES_MAX: Final = 30
"""Beyond, doubling changes nothing."""


class LockoutKind(StrEnum):
    ACCOUNT = "account"
    SOURCE = "source"


class Lockout(msgspec.Struct, frozen=True, kw_only=True):
    """Who is locked.

    Attributes:
        account: login name as it is compared; "" for a source as a whole.
        source: IP address, or an IPv6 network of 64 bits; "" for an account from anywhere it is not familiar.
        failures: failed logons since it was last good or forgotten.
        strikes: how often in a row it was locked.
        since, until: Unix times.
    """

    kind: LockoutKind
    account: str
    source: str
    failures: int
    strikes: int
    since: float
    until: float


class Guessing(msgspec.Struct, frozen=True):
    """A source from which many accounts fail."""

    source: str
    accounts: int


_Key = tuple[str, str]
"""(account, source): ("ann", "") from anywhere, ("ann", "192.0.2.7") from where she is known, ("", "192.0.2.7")."""


class _Failures(msgspec.Struct):
    """What is remembered of one key. The level was right at `last`; `accounts`: names that failed from a source."""

    level: float = 0.0
    last: float = 0.0
    count: int = 0
    strikes: int = 0
    since: float = 0.0
    until: float = 0.0
    accounts: set[str] = msgspec.field(default_factory=set)


class _Saved(msgspec.Struct):
    """A key with what is remembered of it, on disk."""

    account: str
    source: str
    failures: _Failures


class _File(msgspec.Struct):
    at: float = 0.0
    locked: list[_Saved] = []
    familiar: list[_Key] = []


class LockoutTable:
    """Failed logons of all sessions; bounded, what was unused longest makes room. Times are Unix times."""

    def __init__(self, settings: LockoutSettings) -> None:
        self._failures: OrderedDict[_Key, _Failures] = OrderedDict()
        self._familiar: OrderedDict[_Key, None] = OrderedDict()
        self.changed = False
        """A lock began or was lifted since this was last set to False."""
        self.kept_at = -math.inf
        """When that was written which `restore` took up."""
        self.configure(settings)

    def configure(self, settings: LockoutSettings) -> None:
        """Other settings from now on; locks that hold stay."""
        self._settings = settings
        self._exempt: Sequence[IPRange] = [parse_range(text) for text in settings.exempt_ip_ranges]
        self._window = max(1.0, settings.lockout_observation_window.total_seconds())

    # --- what logons ask --------------------------------------------------------------------------------------------

    def is_locked(self, account: str, source: str, now: float, *, guessable: bool = True) -> bool:
        """Whether a logon is refused whatever it proves.

        Args:
            account: canonical name, "" where none was given.
            guessable: it was a password; tickets, tokens and certificates mind the source's lock only.
        """
        return any(self._holds(key, now) for key in self._keys(account if guessable else "", source))

    def failed(self, account: str, source: str, now: float, *, guessable: bool = True) -> None:
        """A logon failed."""
        keys = self._keys(account if guessable else "", source)
        if any(self._holds(key, now) for key in keys):
            return
        for key in keys:
            self._count(key, now)
            if not key[0] and account and len(self._failures[key].accounts) < GUESSED_ACCOUNTS_SHOWN:
                self._failures[key].accounts.add(account)
        while len(self._failures) > LOCKOUTS_KEPT:
            self._failures.popitem(last=False)

    def succeeded(self, account: str, source: str) -> None:
        """A logon succeeded: this pair begins anew, and the source is familiar. The source's own failures stay, or one
        good login would free a guesser."""
        for key in self._keys(account, source):
            if key[0]:
                self._failures.pop(key, None)
        familiar = (account, source_key(source))
        self._familiar[familiar] = None
        self._familiar.move_to_end(familiar)
        while len(self._familiar) > FAMILIAR_SOURCES_KEPT:
            self._familiar.popitem(last=False)

    # --- what administrators ask ------------------------------------------------------------------------------------

    def locked(self, now: float) -> list[Lockout]:
        """Every lock that holds, the one that ends last first."""
        found = [
            Lockout(
                kind=LockoutKind.ACCOUNT if account else LockoutKind.SOURCE, account=account, source=source,
                failures=one.count, strikes=one.strikes, since=one.since, until=one.until,
            )
            for (account, source), one in self._failures.items()
            if one.until > now
        ]  # fmt: skip
        return sorted(found, key=lambda one: -one.until)

    def lift(self, account: str = "", source: str = "") -> int:
        """Forget what is held against an account from everywhere, or against a source; both "": everybody. How many
        entries that were."""
        source = source_key(source) if source else ""
        gone = [
            key for key in self._failures
            if not (account or source) or (account and key[0] == account) or (source and key == ("", source))
        ]  # fmt: skip
        for key in gone:
            del self._failures[key]
        self.changed = self.changed or bool(gone)
        return len(gone)

    def guessing(self, now: float) -> list[Guessing]:
        """Sources from which many accounts failed within the observation window, the worst first."""
        wanted = self._settings.alarm_accounts
        found = [
            Guessing(source, len(one.accounts))
            for (account, source), one in self._failures.items()
            if not account and wanted and len(one.accounts) >= wanted
            and (one.until > now or now - one.last < self._window)
        ]  # fmt: skip
        return sorted(found, key=lambda one: -one.accounts)[:SOURCES_ALARMED]

    # --- across restarts ----------------------------------------------------------------------------------------------

    def dump(self, now: float) -> bytes:
        """Locks that hold or may double soon, and familiar sources, to be kept over a restart."""
        held = [
            _Saved(account, source, one)
            for (account, source), one in self._failures.items()
            if one.strikes and now - one.until < self._forgotten_after
        ]
        return msgspec.json.encode(_File(now, held, list(self._familiar)))

    def restore(self, data: bytes) -> None:
        """Take up what `dump` gave. Raises msgspec.DecodeError."""
        file = msgspec.json.decode(data, type=_File)
        self.kept_at = file.at
        for one in file.locked[-LOCKOUTS_KEPT:]:
            self._failures[one.account, one.source] = one.failures
        self._familiar.update(dict.fromkeys(file.familiar[-FAMILIAR_SOURCES_KEPT:]))

    # --- within -------------------------------------------------------------------------------------------------------

    @property
    def _forgotten_after(self) -> float:
        return self._window + self._settings.max_lockout_duration.total_seconds()

    def _keys(self, account: str, source: str) -> list[_Key]:
        """What a logon counts for."""
        keys: list[_Key] = []
        key = source_key(source)
        if account:
            keys.append((account, key if (account, key) in self._familiar else ""))
        if not any(one.contains(ipaddress.ip_address(source)) for one in self._exempt):
            keys.append(("", key))
        return keys

    def _threshold(self, key: _Key) -> int:
        return self._settings.account_lockout_threshold if key[0] else self._settings.source_lockout_threshold

    def _holds(self, key: _Key, now: float) -> bool:
        one = self._failures.get(key)
        return one is not None and one.until > now and bool(self._threshold(key))

    def _count(self, key: _Key, now: float) -> None:
        threshold = self._threshold(key)
        one = self._failures.setdefault(key, _Failures(last=now))
        self._failures.move_to_end(key)
        self._drain(one, now, threshold)
        one.level += 1
        one.count += 1
        one.last = now
        if threshold and math.ceil(one.level) >= threshold:  # what has drained by a part still counts
            self._lock(one, now)

    def _drain(self, one: _Failures, now: float, threshold: int) -> None:
        """What time has taken off: all of the threshold in a window, beginning when a lock ends."""
        quiet = now - max(one.last, one.until)
        if quiet > self._forgotten_after:
            one.count = one.strikes = 0
        if quiet > self._window:
            one.accounts.clear()
        one.level = max(0.0, one.level - max(0.0, quiet) * max(threshold, 1) / self._window)

    def _lock(self, one: _Failures, now: float) -> None:
        first, longest = self._settings.lockout_duration, self._settings.max_lockout_duration
        seconds = min(first.total_seconds() * 2 ** min(one.strikes, _STRIKES_MAX), longest.total_seconds())
        one.strikes += 1
        one.since, one.until = now, now + seconds
        self.changed = True


def source_key(address: str) -> str:
    """A client's address as failures are counted for it: IPv6 hands a whole network of 64 bits to one customer."""
    found = ipaddress.ip_address(address.partition("/")[0])
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)
