# SPDX-License-Identifier: MIT
"""Tells systemd how the service is doing (sd_notify(3)): one datagram for each change, nothing where nobody asked."""

import os
import socket
import time
from collections.abc import Mapping

_RELOADING_NEEDS = "MONOTONIC_USEC"


class Notifier:
    """Speaks to the service manager that `$NOTIFY_SOCKET` names. Without one every call does nothing.

    A manager that cannot be reached never disturbs the server.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        values = os.environ if environment is None else environment
        self._address = values.get("NOTIFY_SOCKET", "")
        self._watchdog_usec = self._watchdog(values)

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between two calls of `watchdog`: half of what the manager allows. None where it does not watch."""
        return self._watchdog_usec / 2_000_000 if self._watchdog_usec else None

    def ready(self, status: str = "") -> bool:
        """Start, or a reload, is complete."""
        return self._send("READY=1", status)

    def reloading(self) -> bool:
        """A reload has begun; `ready` ends it."""
        return self._send(
            "RELOADING=1", "", f"{_RELOADING_NEEDS}={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
        )

    def stopping(self, status: str = "") -> bool:
        return self._send("STOPPING=1", status)

    def watchdog(self) -> bool:
        """The event loop is alive."""
        return self._send("WATCHDOG=1", "")

    def status(self, status: str) -> bool:
        """One line for `systemctl status`."""
        return self._send("", status)

    @staticmethod
    def _watchdog(values: Mapping[str, str]) -> int:
        period, process = values.get("WATCHDOG_USEC", ""), values.get("WATCHDOG_PID", "")
        if not period.isdigit() or (process and process != str(os.getpid())):
            return 0
        return int(period)

    def _send(self, state: str, status: str, *more: str) -> bool:
        """True when the manager has it."""
        if not self._address.startswith(("/", "@")):
            return False
        lines = [line for line in (state, f"STATUS={' '.join(status.split())}" if status else "", *more) if line]
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, address)
        except OSError:
            return False
        return True
