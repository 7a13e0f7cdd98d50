# SPDX-License-Identifier: MIT
"""A worker: `python -m bridgehead.server.workers`, started by its supervisor alone.

It reads its orders from standard input, which stays open as long as the supervisor lives, and ends with it.
"""

import asyncio
import os
import signal
import socket
import sys

from bridgehead.net.ip_range import Binding, parse_binding
from bridgehead.receive.workers.company import Company
from bridgehead.server.app import Application
from bridgehead.server.early_sockets import EarlySockets
from bridgehead.server.process import CANNOT_START, log, run_loop, stop_on_signals
from bridgehead.server.workers.orders import READY, Handover, Orders, read


async def _work(orders: Orders) -> int:
    receive = _sockets(orders.receive)
    early = EarlySockets()
    early.acme = _sockets(orders.acme)
    if orders.policy >= 0:
        early.policy = socket.socket(fileno=orders.policy)
    handover = Handover(orders.handover, receive)
    try:
        application = Application(
            orders.loaded, orders.path, early, orders.place, orders.channel, handover.open_sockets,
            Company(orders.memory, orders.place.number - 1),
        )  # fmt: skip
        stop_on_signals(application.stop_requested)
        await application.start(receive)
    except CANNOT_START as error:
        log.critical("the worker cannot start: %s", error)
        return 1
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), application.stop_requested.set)
    os.write(sys.stdout.fileno(), READY)
    await application.stop_requested.wait()
    log.info("stopping")
    await application.stop()
    return 0


def _sockets(descriptors: dict[str, int]) -> dict[Binding, socket.socket]:
    return {parse_binding(name): socket.socket(fileno=descriptor) for name, descriptor in descriptors.items()}


def main() -> None:
    """The process."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor tells all when to reload
    orders = read(sys.stdin.buffer)
    sys.exit(run_loop(_work(orders), f"worker {orders.place.number} "))


if __name__ == "__main__":
    main()
