# SPDX-License-Identifier: MIT
"""Free ports and waiting: every wait in these tests is for something that can be observed, with a deadline."""

import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_given_out: set[int] = set()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on, outside the range that outgoing connections take theirs from."""
    while True:
        port = random.randrange(11000, 32000)
        if port in _given_out:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_out.add(port)
        return port


def wait_until(observe: Callable[[], T], seconds: float = 15.0, what: str | Callable[[], str] = "") -> T:
    """Call `observe` until its result is true and return that. Raises AssertionError naming `what` when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        if result := observe():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not: {what() if callable(what) else what or observe}")
        time.sleep(0.01)


def greets(port: int, host: str = "127.0.0.1") -> bool:
    """True when an SMTP or LMTP server on this port says 220."""
    try:
        with socket.create_connection((host, port), 2) as connection:
            connection.settimeout(5)
            greeting = connection.recv(512)
            connection.sendall(b"QUIT\r\n")
            return greeting.startswith(b"220")
    except OSError:
        return False


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """True when something accepts connections on this port."""
    try:
        with socket.create_connection((host, port), 2):
            return True
    except OSError:
        return False
