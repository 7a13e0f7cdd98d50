# SPDX-License-Identifier: MIT
"""What is counted of each device, and which clients send without being one. Plain numbers; bounded; kept elsewhere."""

from typing import Final

import msgspec

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import DEVICES_COUNTED, LOGGED_TEXT


class DeviceUse(msgspec.Struct, kw_only=True):
    """One device's counts since it is known.

    Attributes:
        since: Unix time when it was first configured.
        connected: Unix time of its last connection, 0 for none yet.
        last_message: Unix time of the last message taken from it, 0 for none yet.
        away: seconds since its last message in which this server did not run.
        messages, octets: taken.
        rewritten: messages whose sender or author was rewritten.
        errors: commands, messages and handshakes refused.
        last_error, last_error_at: the last of them.
        client_ip, connector, helo, tls: of its last connection; tls "" for none.
        last_sender: reverse-path that it gave last, as it gave it.
    """

    since: float = 0.0
    connected: float = 0.0
    last_message: float = 0.0
    away: float = 0.0
    messages: int = 0
    octets: int = 0
    rewritten: int = 0
    errors: int = 0
    last_error: str = ""
    last_error_at: float = 0.0
    client_ip: str = ""
    connector: str = ""
    helo: str = ""
    tls: str = ""
    last_sender: str = ""

    def came(self, now: float, client_ip: str, connector: str) -> None:
        """A connection of it begins."""
        self.connected, self.client_ip, self.connector, self.tls = now, client_ip, connector, ""

    def spoke(self, helo: str, tls: str, sender: str) -> None:
        """It said MAIL; `tls` as in Received, "" in clear."""
        self.helo = clean_text(helo, LOGGED_TEXT)
        self.tls = tls.partition(", ")[0].removeprefix("version=")
        self.last_sender = clean_text(sender, LOGGED_TEXT)

    def accepted(self, now: float, octets: int, rewritten: bool) -> None:
        """A message of it is ours."""
        self.last_message, self.away = now, 0.0
        self.messages += 1
        self.octets += octets
        self.rewritten += rewritten

    def heard(self, at: float) -> None:
        """A message of it is another worker's, taken at this Unix time."""
        if at > self.last_message:
            self.last_message, self.away = at, 0.0

    def refused(self, now: float, what: str) -> None:
        """Something of it was refused."""
        self.errors += 1
        self.last_error, self.last_error_at = clean_text(what, LOGGED_TEXT), now

    def silent_for(self, now: float) -> float:
        """Seconds without a message from it in which this server ran and knew it."""
        return max(0.0, now - max(self.last_message, self.since) - self.away)


class BookState(msgspec.Struct, kw_only=True):
    """What is kept: `at` is the Unix time of writing."""

    at: float = 0.0
    devices: dict[str, DeviceUse] = {}


CAPACITY: Final = DEVICES_COUNTED


class DeviceBook:
    """The counts of all devices, also of those that are not configured at the moment, the most recent of them.

    Args:
        state: what a former run kept.
        now: Unix time; the time since `state` was written counts against nobody.
    """

    def __init__(self, state: BookState | None, now: float) -> None:
        self._uses = dict(state.devices) if state is not None else {}
        if state is not None:
            for use in self._uses.values():
                use.away += max(0.0, now - state.at)
        self._now = now

    def use(self, name: str, now: float = 0.0) -> DeviceUse:
        """The counts of a device, made where there are none."""
        found = self._uses.get(name)
        if found is None:
            found = self._uses[name] = DeviceUse(since=now or self._now)
        return found

    def known(self, name: str) -> DeviceUse | None:
        """The counts of a device, None where nothing was ever counted."""
        return self._uses.get(name)

    def keep_only(self, configured: set[str]) -> None:
        """Forget devices that are configured no longer, those that came last excepted, while there are too many."""
        gone = sorted(
            (name for name in self._uses if name not in configured), key=lambda name: self._uses[name].connected
        )
        for name in gone[: max(0, len(self._uses) - CAPACITY)]:
            del self._uses[name]

    def state(self, now: float) -> BookState:
        """All of it, to be kept."""
        return BookState(at=now, devices=self._uses)
