# SPDX-License-Identifier: MIT
"""Guessing takes time: after some failed log-ons in a row, the next attempts of an address are not even looked at.

What counts is a pair of name and address, so that nobody can lock out an administrator who is elsewhere, and the
address by itself, which may try many names. Pure: time is an argument.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from bridgehead.mail.limits import LOGON_FAILURES_KEPT

FREE_FAILURES: Final = 5
"""Failures of one pair before the first pause."""
FREE_FAILURES_OF_ADDRESS: Final = 20
_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 900.0
_FORGOTTEN_AFTER: Final = 3600.0


class _Failures(msgspec.Struct):
    count: int = 0
    last: float = 0.0
    until: float = 0.0


class Backoff:
    """Failed log-ons, a bounded number of them."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def pause(self, name: str, address: str, now: float) -> float:
        """Seconds until this address may try this name again; 0 for now."""
        held = [self._failures.get(key) for key in _keys(name, address)]
        return max((one.until - now for one in held if one is not None and one.until > now), default=0.0)

    def remember_seconds(self, now: float) -> float:
        """Seconds until no failure counts any more; 0 where none does."""
        last = max((one.last for one in self._failures.values()), default=now - _FORGOTTEN_AFTER)
        return max(0.0, last + _FORGOTTEN_AFTER - now)

    def failed(self, name: str, address: str, now: float) -> None:
        """A log-on failed."""
        for key, free in zip(_keys(name, address), (FREE_FAILURES, FREE_FAILURES_OF_ADDRESS), strict=True):
            one = self._failures.setdefault(key, _Failures())
            self._failures.move_to_end(key)
            one.count = 1 if now - one.last > _FORGOTTEN_AFTER else one.count + 1
            one.last = now
            if one.count >= free:
                one.until = now + min(_FIRST_PAUSE * 2 ** min(one.count - free, 20), _LONGEST_PAUSE)
        while len(self._failures) > LOGON_FAILURES_KEPT:
            self._failures.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """A log-on succeeded: this pair begins anew. The address does not, or one good login would free it."""
        self._failures.pop((name, address), None)


def _keys(name: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return (name, address), ("", address)
