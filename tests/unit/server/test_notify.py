# SPDX-License-Identifier: MIT
"""What systemd is told, read from a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridgehead.server.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(5)
        yield channel


def test_every_state_is_one_datagram(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    assert notifier.ready("Listening on\n127.0.0.1:25")
    assert manager.recv(1000) == b"READY=1\nSTATUS=Listening on 127.0.0.1:25"
    assert notifier.reloading()
    first, second = manager.recv(1000).split(b"\n")
    assert first == b"RELOADING=1"
    assert second.startswith(b"MONOTONIC_USEC=")
    assert notifier.stopping()
    assert manager.recv(1000) == b"STOPPING=1"
    assert notifier.watchdog()
    assert manager.recv(1000) == b"WATCHDOG=1"


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        name = f"bridgehead-test-{os.getpid()}"
        channel.bind("\0" + name)
        channel.settimeout(5)
        assert Notifier({"NOTIFY_SOCKET": "@" + name}).ready()
        assert channel.recv(100) == b"READY=1"


def test_no_manager_or_a_dead_one_is_no_fault(tmp_path: Path) -> None:
    assert not Notifier({}).ready()
    assert not Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready()
    assert not Notifier({"NOTIFY_SOCKET": "vsock:2:1"}).ready()


def test_watchdog_interval_is_half_of_what_is_allowed_and_only_for_us() -> None:
    assert Notifier({}).watchdog_interval is None
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_interval == 15
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_interval == 15
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_interval is None
