# SPDX-License-Identifier: MIT
"""What every process of the server needs, whatever it does: its event loop, its signals, what it binds while it has
privileges, what keeps it from starting. What it then does is `serving.py`, or with several workers `workers/`.
"""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bridgehead.admin.faults import AdminFault
from bridgehead.admin.ports import ReloadOutcome
from bridgehead.directory.lookup import DirectoryUnavailable
from bridgehead.directory.user_record import UserFileError
from bridgehead.net.certificates.pairs import CertificateError
from bridgehead.net.ip_range import Binding
from bridgehead.queues.store import StoreFault
from bridgehead.receive.server import ReceiveServer
from bridgehead.server import api_process, privileges
from bridgehead.server.config.load import Loaded
from bridgehead.server.early_sockets import EarlySockets

log = logging.getLogger("bridgehead.server")

CANNOT_START = (
    OSError, StoreFault, AdminFault, DirectoryUnavailable, UserFileError, CertificateError, privileges.PrivilegeError,
)  # fmt: skip
"""What keeps a server from starting; the message says why."""


class Bound:
    """Every socket that was opened while ports below 1024 could be had. Afterwards the process has its account."""

    def __init__(self) -> None:
        self.receive: dict[Binding, socket.socket] = {}
        self.api: socket.socket | None = None
        self.probe: socket.socket | None = None
        self.early = EarlySockets()

    def bind(self, loaded: Loaded) -> None:
        """Raises OSError, PrivilegeError."""
        server = loaded.configuration.server
        account = privileges.account_for(server.user, server.group)
        privileges.prepare_directory(loaded.data_directory, account)
        self.receive = ReceiveServer.bind_all(loaded.configuration.receive_connectors)
        self.api = api_process.bind("api.binding", loaded.configuration.api.binding)
        self.probe = api_process.bind("monitoring.probe_listen", loaded.configuration.monitoring.probe_listen)
        self.early.bind(loaded.configuration)
        if account is not None:
            privileges.become(account)

    def close(self) -> None:
        """The server did not start."""
        for one in (*self.receive.values(), self.api, self.probe):
            if one is not None:
                one.close()
        self.early.close()


def run_loop(main: Coroutine[Any, Any, int], name: str = "") -> int:
    """Run a process of the server to its end. Returns the exit code. `name` stands in what it logs."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format=f"%(asctime)s %(levelname)s {name}%(name)s: %(message)s"
    )  # fmt: skip
    logging.captureWarnings(True)
    # The hot path makes few cycles; rarer collections keep them from stopping a loaded server.
    gc.set_threshold(20_000, 50, 100)
    gc.freeze()  # what is imported stays: no collection is to look through it
    gc.enable()
    # The loop lets go of the interpreter's lock many times in a millisecond, each time only for a moment. A thread that
    # waits for the lock wakes up in vain until its own patience ends: with the usual 5 ms, dozens of times a commit.
    sys.setswitchinterval(0.0001)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(main)
    except KeyboardInterrupt:
        return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def tell_gathered(gathered: dict[int, int]) -> None:
    """Say whose queues came to the first worker."""
    for number, messages in gathered.items():
        log.info("the queue of former worker %d, %d messages, came to the first one's", number, messages)


def announce(loaded: Loaded) -> None:
    """Say what is open to whom, so that nobody has to guess."""
    for connector in loaded.configuration.receive_connectors:
        if connector.enabled:
            log.info(
                'receive connector "%s" listens on %s for %s', connector.name,
                ", ".join(connector.bindings), ", ".join(connector.permission_groups) or "nobody",
            )  # fmt: skip
    if not loaded.configuration.send_connectors:
        log.info("no send connector: mail for other domains waits in the Unreachable queue")


def stop_on_signals(stop_requested: asyncio.Event) -> None:
    """SIGTERM and SIGINT stop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_requested.set)


def reload_on_signal(reload: Callable[[], Awaitable[ReloadOutcome]]) -> None:
    """SIGHUP reloads."""
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    async def tell() -> None:
        outcome = await reload()
        for problem in outcome.problems:
            log.error("not reloaded: %s", problem)
        for change in outcome.changes:
            log.info("reloaded: %s", change)

    def start_reload() -> None:
        task = loop.create_task(tell())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, start_reload)
