# SPDX-License-Identifier: MIT
"""How many messages a client may submit in a minute (MessageRateLimit, MessageRateSource).

A sliding window from two counters for each client: the last whole minute counts as far as it still lies within the
past sixty seconds. Constant time and memory for each client, and no burst of twice the limit at a minute's edge.
"""

from collections import OrderedDict
from typing import Final

from bridgehead.mail.limits import RATE_CLIENTS
from bridgehead.mail.units import UNLIMITED
from bridgehead.receive.settings import MessageRateSource, ReceiveConnector

WINDOW_SECONDS: Final = 60.0


class SlidingWindows:
    """Events counted by key within the past minute, for the keys used last.

    Args:
        capacity: keys remembered; beyond it the one unused for longest is forgotten, which frees it to start anew.
    """

    __slots__ = ("_capacity", "_windows")

    def __init__(self, capacity: int = RATE_CLIENTS) -> None:
        self._capacity = capacity
        # key → [number of the window, events in it, events in the one before]
        self._windows: OrderedDict[str, list[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def count(self, key: str, now: float) -> float:
        """Events of a key within the sixty seconds before `now`, the oldest of them estimated."""
        window = self._windows.get(key)
        if window is None:
            return 0.0
        number, share = divmod(now, WINDOW_SECONDS)
        age = int(number) - window[0]
        if age == 0:
            return window[1] + window[2] * (1.0 - share / WINDOW_SECONDS)
        if age == 1:
            return window[1] * (1.0 - share / WINDOW_SECONDS)
        # Long ago, or a clock that went back: nothing known counts against the client.
        return 0.0

    def add(self, key: str, now: float) -> None:
        """Count one event now."""
        number = int(now // WINDOW_SECONDS)
        window = self._windows.get(key)
        if window is None:
            self._windows[key] = [number, 1, 0]
            if len(self._windows) > self._capacity:
                self._windows.popitem(last=False)
            return
        self._windows.move_to_end(key)
        if window[0] == number:
            window[1] += 1
        else:
            window[:] = [number, 1, window[1] if window[0] == number - 1 else 0]


class MessageRate:
    """The message rate of one connector's clients."""

    __slots__ = ("_by_ip", "_by_user", "_limit", "_windows")

    def __init__(self, connector: ReceiveConnector) -> None:
        self._windows = SlidingWindows()
        self.configure(connector)

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
            if self._windows.count(key, now) + 1 > self._limit:
                return False
        for key in keys:
            self._windows.add(key, now)
        return True
