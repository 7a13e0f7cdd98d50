# SPDX-License-Identifier: MIT
"""How many messages a client may submit in a minute (MessageRateLimit, MessageRateSource).

A sliding window of five-second slots for each client: no sixty seconds, wherever they begin, hold more than the limit.
What has left the minute counts for up to five seconds longer. Constant time and memory for each client.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, Protocol, TypeVar

from bridgehead.mail.limits import RATE_CLIENTS
from bridgehead.mail.units import UNLIMITED
from bridgehead.receive.settings import MessageRateSource, ReceiveConnector

Key = TypeVar("Key", bound=Hashable)

_SLOT_SECONDS: Final = 5.0
_SLOTS: Final = 13
"""Twelve slots make a minute; the thirteenth is the one that the minute's begin cuts through."""


class _Window:
    """Events of one key: how many in each of the last slots, and together."""

    __slots__ = ("counts", "slot", "total")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.counts = [0] * _SLOTS
        self.total = 0

    def move_to(self, slot: int) -> None:
        """Forget what lies too far back. A clock that went back counts nothing known against the client."""
        passed = slot - self.slot
        if passed == 0:
            return
        if not 0 < passed < _SLOTS:
            self.counts = [0] * _SLOTS
            self.total = 0
        else:
            for over in range(self.slot + 1, slot + 1):
                self.total -= self.counts[over % _SLOTS]
                self.counts[over % _SLOTS] = 0
        self.slot = slot


class SlidingWindows(Generic[Key]):
    """Events counted by key within the past minute, for the keys used last.

    Args:
        capacity: keys remembered; beyond it the one unused for longest is forgotten, which frees it to start anew.
    """

    __slots__ = ("_capacity", "_windows")

    def __init__(self, capacity: int = RATE_CLIENTS) -> None:
        self._capacity = capacity
        self._windows: OrderedDict[Key, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def count(self, key: Key, now: float) -> int:
        """Events of a key within the sixty seconds before `now`, and up to five more."""
        window = self._windows.get(key)
        if window is None:
            return 0
        window.move_to(int(now // _SLOT_SECONDS))
        return window.total

    def add(self, key: Key, now: float) -> None:
        """Count one event now."""
        slot = int(now // _SLOT_SECONDS)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(slot)
            if len(self._windows) > self._capacity:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(key)
            window.move_to(slot)
        window.counts[slot % _SLOTS] += 1
        window.total += 1


class CountedElsewhere(Protocol):
    """What other processes of this server counted; `scope` says of whose clients a key is."""

    def count(self, scope: str, key: str, now: float) -> int: ...
    def add(self, scope: str, key: str, now: float) -> None: ...


class MessageRate:
    """The message rate of one connector's clients."""

    __slots__ = ("_by_ip", "_by_user", "_elsewhere", "_limit", "_scope", "_windows")

    def __init__(self, connector: ReceiveConnector) -> None:
        self._windows: SlidingWindows[str] = SlidingWindows()
        self._elsewhere: CountedElsewhere | None = None
        self._scope = ""
        self.configure(connector)

    def count_with(self, elsewhere: CountedElsewhere, scope: str) -> None:
        """Count together with other processes."""
        self._elsewhere, self._scope = elsewhere, scope

    def configure(self, connector: ReceiveConnector) -> None:
        """Take over the limits of a reloaded connector; what was counted stays."""
        source = connector.message_rate_source
        self._limit = int(connector.message_rate_limit)
        limited = self._limit < UNLIMITED
        self._by_ip = limited and source in (MessageRateSource.IP_ADDRESS, MessageRateSource.ALL)
        self._by_user = limited and source in (MessageRateSource.USER, MessageRateSource.ALL)

    def admit(self, client_ip: str, user: str, now: float) -> bool:
        """Whether one more message may be submitted, counting it if so; False: answer `replies.RATE_LIMITED`.

        Args:
            user: name of the login, "" for a session without one, which MessageRateSource User does not limit.
            now: monotonic seconds.
        """
        if not self._by_ip and not self._by_user:
            return True
        keys = []
        if self._by_ip:
            keys.append(f"ip:{client_ip}")
        if self._by_user and user:
            keys.append(f"user:{user}")
        for key in keys:
            counted = self._windows.count(key, now)
            if self._elsewhere is not None:
                counted += self._elsewhere.count(self._scope, key, now)
            if counted + 1 > self._limit:
                return False
        for key in keys:
            self._windows.add(key, now)
            if self._elsewhere is not None:
                self._elsewhere.add(self._scope, key, now)
        return True
