# SPDX-License-Identifier: MIT
"""Several processes that accept on the same listening sockets: whoever has fewest sessions takes the next one.

The system wakes all that wait on a socket, and a loop that accepts as long as there is anything takes a burst alone.
So each process takes one connection at a time, and one that has clearly more sessions than another first leaves it a
moment, or until its own sessions have become fewer.
"""

import asyncio
import errno
import logging
import mmap
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

log = logging.getLogger("bridgehead.receive")

_SLOT: Final = struct.Struct("=q")
_ABSENT: Final = 2**62
_EXPECTED: Final = _ABSENT + 1
"""Started together with us, and not there yet."""
_ASSEMBLY_SECONDS: Final = 3.0
_ASSEMBLY_LOOKS_SECONDS: Final = 0.002
_COURTESY_SECONDS: Final = 0.005
_ALIKE: Final = 4
"""A quarter more is as many."""
_EXHAUSTED_SECONDS: Final = 1.0
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Crowd:
    """How many sessions each of several processes has, in memory that all of them share.

    Args:
        descriptor: of that memory (`make`).
        place: of this process among them, from 0; None for one that only looks after it.
    """

    def __init__(self, descriptor: int, count: int, place: int | None = None) -> None:
        self._memory = mmap.mmap(descriptor, count * _SLOT.size)
        self._place = place
        self._mine = 0

    @staticmethod
    def make(count: int) -> int:
        """The descriptor of memory for so many processes, all of which are about to start. Raises OSError."""
        descriptor = os.memfd_create("sessions", os.MFD_CLOEXEC)
        os.write(descriptor, _SLOT.pack(_EXPECTED) * count)
        return descriptor

    def tell(self, sessions: int) -> None:
        """We have so many now."""
        assert self._place is not None
        self._mine = sessions
        _SLOT.pack_into(self._memory, self._place * _SLOT.size, sessions)

    def absent(self, place: int) -> None:
        """This process accepts nothing for the time being."""
        _SLOT.pack_into(self._memory, place * _SLOT.size, _ABSENT)

    def others_have_fewer(self) -> bool:
        """Whether one of the others should take the next session. Where all have many, some more make no difference:
        to wait for each other would cost more."""
        fewest = min(self._sessions())
        return self._mine > fewest + fewest // _ALIKE

    async def assemble(self) -> None:
        """Wait until all that were started together are there, a few seconds at most.

        Whoever came first would take all clients that waited for the server, and they may stay for days.
        """
        loop = asyncio.get_running_loop()
        latest = loop.time() + _ASSEMBLY_SECONDS
        while _EXPECTED in self._sessions() and loop.time() < latest:  # noqa: ASYNC110  # memory of other processes
            await asyncio.sleep(_ASSEMBLY_LOOKS_SECONDS)

    def _sessions(self) -> list[int]:
        return [sessions for (sessions,) in _SLOT.iter_unpack(self._memory)]


class SharedAccepting:
    """Accepts on one socket beside other processes.

    Args:
        protocol: makes one for each connection.
        sessions: how many this process has.
    """

    def __init__(
        self, listening: socket.socket, crowd: Crowd, protocol: Callable[[], asyncio.BaseProtocol],
        sessions: Callable[[], int],
    ) -> None:  # fmt: skip
        self._socket, self._crowd, self._protocol, self._sessions = listening, crowd, protocol, sessions
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None
        self._reading = self._stands_back = False

    def start(self) -> None:
        """Begin to accept."""
        self._listen()

    def close(self) -> None:
        """Accept no more; the socket stays open."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._stands_back = False
        self._deafen()

    def session_ended(self) -> None:
        """We have one fewer: nobody else may be a better place any more."""
        if self._stands_back and not self._crowd.others_have_fewer():
            assert self._later is not None
            self._later.cancel()
            self._listen()

    def _listen(self) -> None:
        self._later = None
        self._stands_back = False
        self._reading = True
        self._loop.add_reader(self._socket.fileno(), self._waiting)

    def _deafen(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket.fileno())

    def _waiting(self) -> None:
        """Somebody wants to connect."""
        if self._crowd.others_have_fewer():
            self._deafen()
            self._stands_back = True
            self._later = self._loop.call_later(_COURTESY_SECONDS, self._take_all_the_same)
        else:
            self._take()

    def _take_all_the_same(self) -> None:
        self._listen()
        self._take()

    def _take(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            log.error("no connection can be accepted: %s", error.strerror)
            self._deafen()
            self._later = self._loop.call_later(_EXHAUSTED_SECONDS, self._listen)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        self._crowd.tell(self._sessions() + len(self._opening))

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            connection.close()  # the client is gone
