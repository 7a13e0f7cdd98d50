# SPDX-License-Identifier: MIT
"""The connections that this process makes to its own receive connectors to test them, by their address and port.

Both ends are in one process, so each knows the other beyond doubt: nobody else can hold such an address and port.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bridgehead.net.ip_range import normalise_ip

Announce = Callable[[tuple[str, int]], None]
"""Told an own socket's name (address, port) after it was bound and before it connects."""


class OwnConnections:
    """Those that are open now; false while there are none."""

    def __init__(self) -> None:
        self._names: set[tuple[str, int]] = set()

    def __bool__(self) -> bool:
        return bool(self._names)

    def __contains__(self, name: tuple[str, int]) -> bool:
        """Whether a connection from this address (normalised) and port is one of ours."""
        return name in self._names

    @contextmanager
    def announced(self) -> Iterator[Announce]:
        """For one connection, as long as it lives: gives the function that its socket's name is told to."""
        told: list[tuple[str, int]] = []

        def announce(name: tuple[str, int]) -> None:
            told.append((normalise_ip(name[0]), name[1]))
            self._names.add(told[-1])

        try:
            yield announce
        finally:
            self._names.difference_update(told)
