# SPDX-License-Identifier: MIT
"""Numbered messages sent under load, and the counting afterwards: nothing acknowledged is lost, nothing comes twice
unless an attempt was in doubt."""

import threading
from collections import Counter

from support.server import Server
from support.sink import Sink
from support.talk import Closed, Talk


class Senders:
    """Clients that send numbered messages, each to a recipient of its own, until told to stop or refused."""

    def __init__(self, server: Server, clients: int, prefix: str) -> None:
        self.acknowledged: set[str] = set()
        self.sent: set[str] = set()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._number = 0
        self._port, self._prefix = server.port("secured"), prefix
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _next(self) -> str:
        with self._lock:
            self._number += 1
            # every fifth goes to a mailbox of ours by plus addressing, every tenth is large
            domain = "contoso.test" if self._number % 5 == 0 else "adatum.test"
            local = "bob+" if domain == "contoso.test" else ""
            return f"{local}{self._prefix}-{self._number}@{domain}"

    def _run(self) -> None:
        try:
            with Talk(self._port, seconds=10) as talk:
                talk.hello()
                while not self._stop.is_set():
                    address = self._next()
                    size = 200_000 if address.partition("@")[0].endswith("1") else 2000
                    content = f"Subject: {address}\r\n\r\n".encode() + b"x" * 70 + b"\r\n"
                    content += (b"y" * 76 + b"\r\n") * (size // 78)
                    with self._lock:
                        self.sent.add(address)
                    talk.message("a@fabrikam.test", address, content)
                    with self._lock:
                        self.acknowledged.add(address)
        except (Closed, OSError, AssertionError):
            return

    def stop(self) -> None:
        self._stop.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)


def arrivals(server: Server, sink: Sink) -> Counter[str]:
    """How often each recipient got its message, here and at the next hop."""
    found = Counter(path for one in list(sink.transactions) for path in one.forward_paths)
    for data in server.mail_in("bob"):
        head = data.partition(b"\n\n")[0] if b"\n\n" in data[:4000] else data.partition(b"\r\n\r\n")[0]
        found[head.replace(b"\r", b"").partition(b"Subject: ")[2].partition(b"\n")[0].decode()] += 1
    return found


def judge(server: Server, sink: Sink, acknowledged: set[str], sent: set[str]) -> None:
    """The counting."""
    server.wait_until_empty(60)
    found = arrivals(server, sink)
    lost = acknowledged - set(found)
    assert not lost, f"{len(lost)} acknowledged messages are lost: {sorted(lost)[:5]}"
    assert set(found) <= sent, f"never sent: {sorted(set(found) - sent)[:5]}"
    twice = {address for address, count in found.items() if count > 1}
    in_doubt = {
        address
        for line in server.tracking()
        if "doubt" in ",".join(line.values()).lower()
        for address in line["recipient-address"].split(";")
    }
    assert twice <= in_doubt, f"twice without doubt recorded: {sorted(twice - in_doubt)[:5]}"
    assert server.command("queue", "verify").returncode == 0
