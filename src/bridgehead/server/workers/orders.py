# SPDX-License-Identifier: MIT
"""What a supervisor tells a worker: once on its standard input at the start; new listening sockets as they come."""

import pickle
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from bridgehead.net.ip_range import Binding, parse_binding
from bridgehead.receive.connectors.selection import ReceiveConnectors
from bridgehead.receive.settings import ReceiveConnector
from bridgehead.receive.workers.company import CompanyMemory
from bridgehead.server.config.load import Loaded
from bridgehead.server.workers.place import Place

READY: Final = b"ready\n"
"""A worker's one line on its standard output."""
_LENGTH: Final = struct.Struct("<Q")
_SOCKETS_AT_ONCE: Final = 200
"""Fewer than Linux passes in one message (SCM_MAX_FD)."""
_NAMES_BYTES: Final = 64 * 1024


class Orders(msgspec.Struct, frozen=True):
    """How one worker starts.

    Attributes:
        loaded: the configuration in force; a worker that is started again does not read files that an administrator
            may be editing.
        path: of its main file, for reloads.
        channel: path of the socket on which the worker answers.
        handover: descriptor over which further listening sockets come.
        memory: what workers tell each other in.
        receive, acme: descriptors of listening sockets by binding; `policy`: -1 for none.
    """

    loaded: Loaded
    path: Path | None
    place: Place
    channel: Path
    handover: int
    memory: CompanyMemory
    receive: dict[str, int]
    acme: dict[str, int]
    policy: int = -1

    @property
    def descriptors(self) -> list[int]:
        """All that the worker inherits."""
        found = (self.handover, *self.memory.descriptors, *self.receive.values(), *self.acme.values(), self.policy)
        return [one for one in found if one >= 0]


def written(orders: Orders) -> bytes:
    """For the worker's standard input. Both ends are this program."""
    document = pickle.dumps(orders)
    return _LENGTH.pack(len(document)) + document


def read(source: BinaryIO) -> Orders:
    """From our supervisor. Raises EOFError."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    orders = pickle.loads(source.read(_LENGTH.unpack(head)[0]))  # noqa: S301 (of the process that started us)
    assert isinstance(orders, Orders)
    return orders


def hand_over(channel: socket.socket, opened: dict[Binding, socket.socket]) -> None:
    """Give a worker listening sockets, before it is told of the configuration that needs them. Raises OSError."""
    bindings = list(opened)
    for first in range(0, len(bindings), _SOCKETS_AT_ONCE):
        part = bindings[first : first + _SOCKETS_AT_ONCE]
        socket.send_fds(
            channel, [msgspec.json.encode([str(one) for one in part])], [opened[one].fileno() for one in part]
        )


class Handover:
    """The worker's end: sockets that came, until a configuration needs them.

    Args:
        present: bindings that are open already.
    """

    def __init__(self, descriptor: int, present: Iterable[Binding]) -> None:
        self._channel = socket.socket(fileno=descriptor)
        self._channel.setblocking(False)
        self._open = set(present)
        self._come: dict[Binding, socket.socket] = {}

    def open_sockets(self, connectors: list[ReceiveConnector]) -> dict[Binding, socket.socket]:
        """Those that these connectors need and that are not open yet. Raises OSError where one did not come."""
        self._receive()
        wanted = set(ReceiveConnectors(connectors).listening())
        for binding in wanted - self._open - self._come.keys():
            raise OSError(f"the supervisor did not open {binding}")
        opened = {binding: self._come.pop(binding) for binding in wanted & self._come.keys()}
        for unused in self._come.values():
            unused.close()
        self._come.clear()
        self._open = wanted
        return opened

    def _receive(self) -> None:
        while True:
            try:
                names, descriptors, _, _ = socket.recv_fds(self._channel, _NAMES_BYTES, _SOCKETS_AT_ONCE)
            except BlockingIOError:
                return
            if not names:
                return
            for name, descriptor in zip(msgspec.json.decode(names, type=list[str]), descriptors, strict=True):
                listening = socket.socket(fileno=descriptor)
                listening.setblocking(False)
                self._come[parse_binding(name)] = listening
