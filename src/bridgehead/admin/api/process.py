# SPDX-License-Identifier: MIT
"""The process: takes its orders from the one that moves mail, serves, and ends with it.

Orders come as one line of JSON on standard input, which stays open; its end is the end of the parent, however that
came about. A parent that stops in order sends SIGTERM first. The listening sockets are inherited, so that callers wait
in them while this process starts, and while it starts again after a fault. When nobody has been connected for a while
it ends by itself, and gives its memory back until somebody asks again.
"""

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from bridgehead.admin.access.administrator_file import AdministratorFile
from bridgehead.admin.api.app import make_app
from bridgehead.admin.api.authentication import LocalRoles
from bridgehead.admin.api.channel_client import Core
from bridgehead.admin.api.http import HttpServer
from bridgehead.admin.api.logons import Logons
from bridgehead.admin.api.orders import Orders
from bridgehead.admin.api.probes import Probes, probe_app
from bridgehead.admin.methods.table import METHODS
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair, make_server_context

log = logging.getLogger("bridgehead.api")

_NICE: Final = 10
_CERTIFICATE_SECONDS: Final = 10.0
_IDLE_CHECK_SECONDS: Final = 1.0


def main() -> None:
    """Run until told to stop by SIGTERM or the end of standard input."""
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )  # fmt: skip
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # strangers must not fill the log with what is no HTTP
    try:
        os.nice(_NICE)
    except OSError:
        pass  # a service manager may forbid it, and has a say in priorities itself
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    asyncio.run(_serve(orders))


async def _serve(orders: Orders) -> None:
    core = Core(Path(orders.channel))
    logons = Logons(AdministratorFile(Path(orders.administrators_file)), core.report_log_on, time.time)
    app = make_app(METHODS, core, LocalRoles(orders.settings), logons)
    servers = [HttpServer(app, socket.socket(fileno=orders.local_fd))]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait())]
    if orders.tcp_fd >= 0:
        pair = CertificatePair(Path(orders.certificate), Path(orders.key))
        context = make_server_context(pair)
        servers.append(HttpServer(app, socket.socket(fileno=orders.tcp_fd), context))
        tasks.append(asyncio.ensure_future(_keep_certificate(pair, context)))
    if orders.probe_fd >= 0:
        # Connections of its own: whoever floods this socket does not keep administrators out.
        probes = Probes(Core(Path(orders.channel)), time.monotonic)
        servers.append(HttpServer(probe_app(probes), socket.socket(fileno=orders.probe_fd)))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    threading.Thread(target=_watch_parent, daemon=True).start()
    if orders.idle_seconds:
        tasks.append(asyncio.ensure_future(_until_idle(servers, logons, orders.idle_seconds)))
    serving = [asyncio.ensure_future(server.run_until_stopped()) for server in servers]
    await asyncio.wait([*serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*serving)
    core.close()


async def _until_idle(servers: list[HttpServer], logons: Logons, seconds: float) -> None:
    """Return when nobody has been connected for so long, nobody is, and what log-ons failed need not be remembered."""
    wait = seconds
    while wait > 0:
        await asyncio.sleep(max(wait, _IDLE_CHECK_SECONDS))
        wait = max(seconds - min(one.idle_seconds for one in servers), logons.remember_seconds)
    await asyncio.gather(*(server.close_listener() for server in servers))


async def _keep_certificate(pair: CertificatePair, context: ssl.SSLContext) -> None:
    """Show a certificate that was renewed to those who connect from now on."""
    seen = _stamps(pair)
    while True:
        await asyncio.sleep(_CERTIFICATE_SECONDS)
        found = _stamps(pair)
        if found == seen:
            continue
        seen = found
        try:
            make_server_context(pair)  # a pair that does not fit together must not reach the context in use
            context.load_cert_chain(pair.certificate, pair.key)
        except (CertificateError, OSError) as error:
            log.error("%s; the certificate read before stays in use", error)


def _stamps(pair: CertificatePair) -> list[int]:
    return [path.stat().st_mtime_ns if path.exists() else 0 for path in (pair.certificate, pair.key)]


def _watch_parent() -> None:
    """End with the parent, at once: whoever takes its place must find sockets that nobody holds."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)
