# SPDX-License-Identifier: MIT
"""The connections that this server makes to its own receive connectors to test them, by their address and port.

Both ends are in one process, or in two that share memory, so each knows the other beyond doubt: nobody else can hold
such an address and port.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bridgehead.net.ip_range import normalise_ip
from bridgehead.net.shared_slots import SharedSlots, key_of

Announce = Callable[[tuple[str, int]], None]
"""Told an own socket's name (address, port) after it was bound and before it connects."""


class OwnConnections:
    """Those that are open now; false while there are none.

    Args:
        shared: where several processes of this server tell each other of theirs.
    """

    def __init__(self, shared: SharedSlots | None = None) -> None:
        self._names: set[tuple[str, int]] = set()
        self._shared = shared

    def __bool__(self) -> bool:
        return bool(self._names) or (self._shared is not None and self._shared.others_hold_any())

    def __contains__(self, name: tuple[str, int]) -> bool:
        """Whether a connection from this address (normalised) and port is one of ours."""
        return name in self._names or (self._shared is not None and self._shared.others(_key(name)) > 0)

    @contextmanager
    def announced(self) -> Iterator[Announce]:
        """For one connection, as long as it lives: gives the function that its socket's name is told to."""
        told: list[tuple[str, int]] = []
        slots: list[int] = []

        def announce(name: tuple[str, int]) -> None:
            told.append((normalise_ip(name[0]), name[1]))
            self._names.add(told[-1])
            if self._shared is not None:
                slots.append(self._shared.put(_key(told[-1])))

        try:
            yield announce
        finally:
            self._names.difference_update(told)
            for slot in slots:
                assert self._shared is not None
                self._shared.free(slot)


def _key(name: tuple[str, int]) -> bytes:
    return key_of(name[0], str(name[1]))
