# SPDX-License-Identifier: MIT
"""Has the kernel sync a file and tell the event loop when it is done: Linux's asynchronous I/O (io_submit(2) with
IOCB_CMD_FDSYNC, completion by eventfd(2)).

A thread that calls fdatasync(2) does the same at a price: beside a busy event loop each end of its wait costs two
changes of the interpreter's lock. What is synced, and what a failure means, is `writer.py`'s affair.
"""

import asyncio
import ctypes
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

_FDSYNC: Final = 3
"""IOCB_CMD_FDSYNC: as fdatasync(2)."""
_RESULT_TO_EVENTFD: Final = 1
"""IOCB_FLAG_RESFD."""


class _Calls(NamedTuple):
    """System call numbers; the C library has no functions for these."""

    setup: int
    destroy: int
    getevents: int
    submit: int


_CALLS: Final = {"x86_64": _Calls(206, 207, 208, 209), "aarch64": _Calls(0, 1, 4, 2), "riscv64": _Calls(0, 1, 4, 2)}


class _Request(ctypes.Structure):
    """struct iocb, on machines that store the low byte first."""

    _fields_ = (
        ("data", ctypes.c_uint64), ("key", ctypes.c_uint32), ("rw_flags", ctypes.c_uint32),
        ("opcode", ctypes.c_uint16), ("priority", ctypes.c_int16), ("descriptor", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64), ("size", ctypes.c_uint64), ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64), ("flags", ctypes.c_uint32), ("eventfd", ctypes.c_uint32),
    )  # fmt: skip


class _Event(ctypes.Structure):
    """struct io_event; `result` is 0 or a negative error number."""

    _fields_ = (
        ("data", ctypes.c_uint64), ("request", ctypes.c_uint64), ("result", ctypes.c_int64), ("more", ctypes.c_int64),
    )  # fmt: skip


Finished = Callable[[OSError | None], object]


class DiskSync:
    """Syncs one file, one sync at a time. For the event loop's thread only.

    Raises OSError where the system does not offer this.
    """

    def __init__(self, path: Path) -> None:
        calls = _CALLS.get(platform.machine())
        if calls is None or sys.platform != "linux" or sys.maxsize < 1 << 32:
            raise OSError("asynchronous syncs are not known for this system")
        self._calls = calls
        # Holding the interpreter's lock: none of these calls waits for the disk.
        self._syscall = ctypes.PyDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        self._context = ctypes.c_ulong(0)
        self._call(calls.setup, ctypes.c_long(1), ctypes.byref(self._context))
        self._finished: Finished = _nobody
        self._event = _Event()
        self._file = self._signal = -1
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._signal = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._release()
            raise
        self._request = _Request(
            opcode=_FDSYNC, descriptor=self._file, flags=_RESULT_TO_EVENTFD, eventfd=self._signal
        )  # fmt: skip
        self._requests = (ctypes.POINTER(_Request) * 1)(ctypes.pointer(self._request))
        self._submission = ctypes.c_long(calls.submit), self._context, ctypes.c_long(1), self._requests
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._signal, self._signalled)

    def begin(self, finished: Finished) -> None:
        """Sync what was written until now. Raises OSError where the kernel takes no request at present.

        Args:
            finished: called on the event loop with None, or with why the data may not be on the disk.
        """
        self._finished = finished
        if self._syscall(*self._submission) < 0:
            raise _last_error()

    def close(self) -> None:
        """Give everything back; waits for a sync under way, of which nobody is told."""
        self._loop.remove_reader(self._signal)
        self._release()

    def _release(self) -> None:
        self._call(self._calls.destroy, self._context)
        for descriptor in (self._file, self._signal):
            if descriptor >= 0:
                os.close(descriptor)

    def _signalled(self) -> None:
        os.eventfd_read(self._signal)
        none, one = ctypes.c_long(0), ctypes.c_long(1)
        if self._call(self._calls.getevents, self._context, none, one, ctypes.byref(self._event), None) == 1:
            result = self._event.result
            self._finished(OSError(-result, os.strerror(-result)) if result else None)

    def _call(self, number: int, *arguments: object) -> int:
        """Raises OSError."""
        result = self._syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            raise _last_error()
        return int(result)


def _last_error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


def _nobody(error: OSError | None) -> None:
    """Nothing was asked for yet."""
