# SPDX-License-Identifier: MIT
"""What operators' questions about a million queued messages cost: time, memory, and how long anybody else waits.

    python bench/filters.py                              # a million messages in a fresh folder, removed afterwards
    python bench/filters.py --messages 100000 --folder /var/tmp/filters --keep

The messages are put into a queue store by itself; then the real server starts on it and is asked through its
management socket. Meanwhile a session asks NOOP again and again: how long that takes is how long the loop that moves
mail was busy; "(nothing)" says how long it takes anyway.
"""

import argparse
import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from bridgehead.mail.address import Mailbox
from bridgehead.mail.content import BytesContent
from bridgehead.mail.envelope import Envelope, EnvelopeRecipient
from bridgehead.mail.item import MailItem, Priority, Stage
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, Transaction
from bridgehead.routing.next_hop import DeliveryType, NextHop

WORDS = ("invoice", "report", "march", "order", "delivery", "note", "meeting", "minutes", "backup", "printer", "weekly")
QUEUES = 20
NOBODY = "[127.0.0.1]:9"
"""A smart host that does not listen."""
CONNECTOR = f"""
[[send_connectors]]
name = "Partner {{number}}"
address_spaces = ["partner{{number}}.example"]
smart_hosts = ["{NOBODY}"]
"""
PUT_AT_ONCE = 2_000
NOOP_SECONDS = 0.002
CLI_SECONDS = 600
LAST_ACTION = "(the last action)"
QUIET_SECONDS = 5.0


def message(store: SqliteQueueStore, number: int, now: float) -> QueuedItem:
    """One of many: senders, domains, sizes, subjects and ages differ."""
    key = store.allocate_id()
    domain = f"partner{number % QUEUES}.example"
    size = 300 + number * 7919 % 20_000
    item = MailItem(
        internal_message_id=key,
        network_message_id=f"0a1b2c3d-1234-4abc-8def-{number:012d}",
        received_at=now - number % 3600,
        envelope=Envelope(
            reverse_path=Mailbox(f"user{number % 997}", "contoso.example"),
            recipients=[EnvelopeRecipient(forward_path=Mailbox(f"contact{number % 4093}", domain))],
        ),
        size=size,
        message_id=f"<{number}.bench@contoso.example>",
        subject=f"{WORDS[number % len(WORDS)]} {WORDS[number // 7 % len(WORDS)]} {number}",
        priority=Priority.LOW if number % 10 == 0 else Priority.NORMAL,
        connector="HOST\\Default",
        client_ip=f"10.2.{number % 250}.{number % 199}",
        stage=Stage.CATEGORIZED,
    )
    return QueuedItem(
        item=item,
        content=BytesContent(b"Subject: bench\r\n\r\n" + b"x" * 200),
        content_id=key,
        queue=QueueKind.DELIVERY,
        next_hop=NextHop(DeliveryType.SMART_HOST, NOBODY, f"Partner {number % QUEUES}"),
        status=MessageStatus.SUSPENDED if number % 50 == 0 else MessageStatus.READY,
        deadline=now + 86_400,
    )


async def fill(folder: Path, count: int) -> float:
    """Put so many messages into a store; the seconds it took."""
    began = time.monotonic()
    store = SqliteQueueStore(folder)
    await store.open()
    now = time.time()
    for first in range(0, count, PUT_AT_ONCE):
        entries = [message(store, number, now) for number in range(first, min(first + PUT_AT_ONCE, count))]
        await store.committed(Transaction(put=entries))
    await store.close()
    return time.monotonic() - began


class Noops(threading.Thread):
    """Asks NOOP again and again, in a new session whenever the server has heard enough of one.

    Attributes:
        slowest: seconds of the slowest answer since `take`, `late`: how many took longer than 50 ms.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._address = ("127.0.0.1", port)
        self.slowest, self.late, self.over = 0.0, 0, threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            with socket.create_connection(self._address, timeout=120) as session, session.makefile("rb") as lines:
                lines.readline()
                while not self.over.is_set() and self._ask(session, lines):
                    time.sleep(NOOP_SECONDS)

    def _ask(self, session: socket.socket, lines: BinaryIO) -> bool:
        began = time.monotonic()
        try:
            session.sendall(b"NOOP\r\n")
            answered = lines.readline().startswith(b"250")
        except OSError:
            return False
        took = time.monotonic() - began
        self.slowest = max(self.slowest, took)
        self.late += took > 0.05
        return answered

    def take(self) -> tuple[float, int]:
        taken, self.slowest, self.late = (self.slowest, self.late), 0.0, 0
        return taken


class Server:
    """The real one, on the store that was made."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "bridgehead.toml"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.config.write_text(
            f"""\
[server]
fqdn = "mx.bench.test"
data_directory = "{folder}/data"

[[receive_connectors]]
name = "Bench"
bindings = ["127.0.0.1:{self.port}"]
remote_ip_ranges = ["127.0.0.0/8"]
connection_timeout = "1d"
connection_inactivity_timeout = "1h"

"""
            + "".join(CONNECTOR.format(number=number) for number in range(QUEUES))
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridgehead", "-c", str(self.config), "run"], stderr=subprocess.DEVNULL
        )

    def greets(self) -> float:
        """Wait until it does; the seconds since the start."""
        began = time.monotonic()
        while time.monotonic() - began < CLI_SECONDS:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=60) as session:
                    if session.recv(3) == b"220":
                        return time.monotonic() - began
            except OSError:
                time.sleep(0.02)
        raise SystemExit("the server does not greet")

    def run(self, *words: str) -> str:
        command = [sys.executable, "-m", "bridgehead", "-c", str(self.config), *words]
        done = subprocess.run(command, capture_output=True, timeout=CLI_SECONDS, check=False)
        return (done.stdout if done.returncode == 0 else done.stdout + done.stderr).decode(errors="replace")

    def memory(self, field: str = "VmRSS") -> int:
        """Mebibytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) // 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("queue list", ("queue", "list", "--json")),
    ("queue list --filter", ("queue", "list", "--filter", "{MessageCount -gt 5000}", "--json")),
    ("queue show, first 1000", ("queue", "show", "Partner 7/[127.0.0.1]:9", "--json")),
    ("status", ("status", "--json")),
    ("message list, first 1000", ("message", "list", "--json")),
    ("message list --sender", ("message", "list", "--sender", "user13@*", "--json")),
    ("message list, rare", ("message", "list", "--filter", "{Subject -like '*999999*'}", "--json")),
    ("message list, by queue", ("message", "list", "--filter",
     "{Queue -eq 'Partner 7/[127.0.0.1]:9' -and Size -gt 20000}", "--json")),
    ("message list, none", ("message", "list", "--filter", "{FromAddress -eq 'nobody@nowhere.example'}", "--json")),
    ("message show, network id", ("message", "show", "0a1b2c3d-1234-4abc-8def-000000000777", "--json")),
    ("message show, unknown", ("message", "show", "<no.such@contoso.example>", "--json")),
    ("dry run, half of them", ("message", "suspend", "--filter", "{Size -gt 10000}", "--dry-run", "--json")),
    ("dry run, none", ("message", "suspend", "--filter", "{SourceIP -eq '192.0.2.1'}", "--dry-run", "--json")),
    ("suspend a tenth", ("message", "suspend", "--filter", "{Priority -eq Low}", "--reason", "bench", "--json")),
    ("undo that", ("action", "undo", LAST_ACTION, "--json")),
    ("queue verify", ("queue", "verify", "--json")),
)  # fmt: skip


def asked(server: Server, noops: Noops, chosen: str) -> Iterator[tuple[str, float, float, int, int, str]]:
    """Each question: name, seconds, slowest NOOP, late NOOPs, memory afterwards, beginning of the answer."""
    noops.take()
    time.sleep(QUIET_SECONDS)
    yield "(nothing)", QUIET_SECONDS, *noops.take(), server.memory(), ""
    for name, words in QUESTIONS:
        if chosen not in name:
            continue
        if LAST_ACTION in words:
            [last] = json.loads(server.run("action", "list", "--limit", "1", "--json"))
            words = tuple(str(last["id"]) if word == LAST_ACTION else word for word in words)
        noops.take()
        began = time.monotonic()
        answer = server.run(*words)
        took = time.monotonic() - began
        yield name, took, *noops.take(), server.memory(), " ".join(answer.split())[:70]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the queue lies; one that is filled already is used as it is")
    parser.add_argument("--only", default="", help="questions whose name holds this")
    parser.add_argument("--keep", action="store_true", help="leave the folder")
    arguments = parser.parse_args()
    folder: Path = arguments.folder or Path(tempfile.mkdtemp(prefix="filters-"))
    try:
        measure(folder, arguments.messages, arguments.only)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)


def measure(folder: Path, count: int, only: str, say: Callable[[str], object] = print) -> None:
    queue = folder / "data/queue"
    if not queue.exists():
        queue.parent.mkdir(parents=True)
        say(f"{count} messages put into the store in {asyncio.run(fill(queue, count)):.0f} s")
    server = Server(folder)
    try:
        say(f"greets after {server.greets():.2f} s")
        noops = Noops(server.port)
        noops.start()
        idle = server.memory()
        say(f"{'question':28}{'seconds':>9}{'NOOP max':>10}{'> 50 ms':>8}{'MiB':>6}")
        for name, took, slowest, late, memory, answer in asked(server, noops, only):
            say(f"{name:28}{took:9.2f}{slowest * 1000:7.0f} ms{late:8}{memory:6}  {answer}")
        noops.over.set()
        say(f"memory: {idle} MiB when idle, {server.memory('VmHWM')} MiB at most")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
