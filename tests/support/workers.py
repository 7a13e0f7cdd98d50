# SPDX-License-Identifier: MIT
"""Workers of a running server: their processes, a session with each of them, and mail through all of them."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.ports import wait_until
from support.server import Server
from support.talk import Talk


def workers(server: Server, count: int = 0) -> list[int]:
    """Process ids of the workers that have their queues open now, the first worker's first; once there are `count`."""
    if count:
        wait_until(lambda: f"is ready with {count} workers" in server.stderr(), 30, server.stderr)
        wait_until(lambda: len(workers(server)) == count, 30, server.stderr)
    assert server.process is not None
    found: dict[int, int] = {}
    for process in Path("/proc").iterdir():
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) != server.process.pid:
                continue
            descriptors = list((process / "fd").iterdir())
        except (OSError, IndexError):
            continue  # it has ended
        queues = {"queue": 1, **{str(number): number for number in range(2, 10)}}
        names = [target(one) for one in descriptors]
        held = [queues[name.split("/")[-2]] for name in names if name.endswith("/lock") and "/queue/" in name]
        found.update(dict.fromkeys(held, int(process.name)))
    return [found[number] for number in sorted(found)]


def target(link: Path) -> str:
    """Where a link leads, "" where it is gone."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


@contextmanager
def alone(server: Server, chosen: int) -> Iterator[None]:
    """The others sleep: who connects now comes to the worker with this process id."""
    others = [pid for pid in workers(server, server.settings["server"]["workers"]) if pid != chosen]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def sessions(server: Server) -> Iterator[list[Talk]]:
    """A session with each worker, the first worker's first."""
    with ExitStack() as stack:
        talks = []
        for pid in workers(server, server.settings["server"]["workers"]):
            with alone(server, pid):
                talks.append(stack.enter_context(Talk(server.port("secured"))))
                talks[-1].hello()
        yield talks


def send_to_all(server: Server, addresses: list[str]) -> None:
    """Hand over messages to the workers in turn."""
    with sessions(server) as talks:
        for number, address in enumerate(addresses):
            content = f"Subject: {address}\r\n\r\n".encode()
            talks[number % len(talks)].message("a@fabrikam.test", address, content)
