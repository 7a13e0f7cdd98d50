# SPDX-License-Identifier: MIT
"""Measures the queue store by itself: messages a second, CPU for each, syncs for each.

    python bench/store.py [--count 20000] [--concurrency 64] [--directory FOLDER] [job ...]

Jobs: submit-4k, submit-64k (accept only), life-4k, life-64k (submitted, categorized, delivered: three transactions),
deep-4k (100,000 stay queued; the rate of the last tenth against the first, then open and drain).
`concurrency` messages are under way at any time, as with that many SMTP sessions.
"""

import argparse
import asyncio
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bridgehead.mail.address import Mailbox
from bridgehead.mail.content import BytesContent
from bridgehead.mail.envelope import Envelope, EnvelopeRecipient
from bridgehead.mail.item import MailItem, Stage
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import MessageStatus, QueuedItem, QueueKind, StoreFault, Transaction
from bridgehead.routing.next_hop import DeliveryType, NextHop

HOP = NextHop(DeliveryType.SMART_HOST, "relay.example.com", "Internet")


def message(store: SqliteQueueStore, size: int, now: float) -> QueuedItem:
    number = store.allocate_id()
    item = MailItem(
        internal_message_id=number,
        network_message_id="0a1b2c3d-1234-4abc-8def-0123456789ab",
        received_at=now,
        envelope=Envelope(
            reverse_path=Mailbox("sender", "example.com"),
            recipients=[EnvelopeRecipient(forward_path=Mailbox(f"user{number % 100}", "example.net"))],
        ),
        size=size,
        message_id=f"<{number}.bench@example.com>",
        subject="Benchmark message",
        header_from="sender@example.com",
        connector="HOST\\Default",
        client_ip="127.0.0.1",
        client_hostname="localhost",
        helo="client.example.com",
    )
    return QueuedItem(
        item=item,
        content=BytesContent(os.urandom(32) + b"x" * (size - 32)),
        content_id=number,
        queue=QueueKind.SUBMISSION,
        status=MessageStatus.ACTIVE,
    )


class Run:
    """Keeps `concurrency` messages under way until `count` are through."""

    def __init__(self, store: SqliteQueueStore, size: int, count: int, concurrency: int, *, whole_life: bool) -> None:
        self.store, self.size, self.count, self.whole_life = store, size, count, whole_life
        self.concurrency = concurrency
        self.started = self.finished = 0
        self.over = asyncio.get_running_loop().create_future()
        self.times: list[float] = []

    async def go(self) -> None:
        for _ in range(min(self.concurrency, self.count)):
            self.submit()
        await self.over

    def submit(self) -> None:
        self.started += 1
        entry = message(self.store, self.size, time.time())
        if not self.whole_life:
            entry.status = MessageStatus.READY
            entry.queue, entry.next_hop = QueueKind.DELIVERY, HOP
        self.store.commit(Transaction(put=[entry]), lambda fault: self.submitted(entry, fault))

    def submitted(self, entry: QueuedItem, fault: StoreFault | None) -> None:
        check(fault)
        if not self.whole_life:
            return self.done(None)
        entry.queue, entry.next_hop, entry.item.stage = QueueKind.DELIVERY, HOP, Stage.CATEGORIZED
        entry.deadline = entry.item.received_at + 14400
        return self.store.commit(Transaction(put=[entry]), lambda fault: self.categorized(entry, fault))

    def categorized(self, entry: QueuedItem, fault: StoreFault | None) -> None:
        check(fault)
        self.store.commit(Transaction(remove=[entry.id]), self.done)

    def done(self, fault: StoreFault | None) -> None:
        check(fault)
        self.finished += 1
        if self.finished % 1000 == 0:
            self.times.append(time.perf_counter())
        if self.started < self.count:
            self.submit()
        elif self.finished == self.count:
            self.over.set_result(None)


def check(fault: StoreFault | None) -> None:
    if fault is not None:
        raise SystemExit(f"the store refused: {fault}")


def counted_batches(store: SqliteQueueStore) -> Callable[[], int]:
    """How many batches, and so syncs of the log, the store has made."""
    batches = 0
    submit = store._writer.submit

    def counting(batch: object) -> None:
        nonlocal batches
        batches += 1
        submit(batch)  # type: ignore[arg-type]

    store._writer.submit = counting  # type: ignore[method-assign]
    return lambda: batches


async def measure(name: str, directory: Path, count: int, concurrency: int) -> None:
    size = 65536 if name.endswith("64k") else 4096
    count = count // 5 if size > 4096 else count
    store = SqliteQueueStore(directory)
    await store.open()
    batches = counted_batches(store)
    run = Run(store, size, count, concurrency, whole_life=name.startswith("life"))
    wall, cpu = time.perf_counter(), time.process_time()
    await run.go()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    changes = count * (3 if run.whole_life else 1)
    print(
        f"{name:11} {count / wall:8.0f} messages/s  {cpu / count * 1e6:6.1f} µs CPU/message"
        f"  {batches() / count:6.3f} syncs/message  {changes / batches():6.1f} changes/batch"
    )
    await store.close()


async def measure_deep(directory: Path, concurrency: int) -> None:
    count = 100_000
    store = SqliteQueueStore(directory)
    await store.open()
    run = Run(store, 4096, count, concurrency, whole_life=False)
    await run.go()
    tenth = len(run.times) // 10
    first, last = run.times[tenth] - run.times[0], run.times[-1] - run.times[-1 - tenth]
    longest = max(after - before for before, after in zip(run.times, run.times[1:], strict=False))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"deep-4k     {count / (run.times[-1] - run.times[0]):8.0f} messages/s  last tenth/first {first / last:.2f}"
        f"  slowest 1000 {longest * 1000:.0f} ms  {memory} MiB"
    )
    del store  # as a crash leaves it: nothing is closed in order
    await reopen(directory, count)


async def reopen(directory: Path, count: int) -> None:
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    store = SqliteQueueStore(copy)
    started = time.perf_counter()
    await store.open()
    opened = time.perf_counter() - started
    cpu, left = time.process_time(), count
    while entries := await store.lease(QueueKind.DELIVERY, HOP, time.time(), 200, 4 * 1024 * 1024):
        left -= len(entries)
        store.commit(Transaction(remove=[entry.id for entry in entries]))
    drained = time.perf_counter() - started - opened
    cpu = time.process_time() - cpu
    print(
        f"  open {opened * 1000:.0f} ms, then lease and remove {count / drained:.0f} messages/s"
        f"  {cpu / count * 1e6:.1f} µs CPU/message  left {left}"
    )
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the queue store by itself.")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--directory", type=Path, default=None, help="where; default: the temporary folder")
    parser.add_argument("jobs", nargs="*", default=["submit-4k", "submit-64k", "life-4k", "life-64k", "deep-4k"])
    wanted = parser.parse_args()
    try:
        import uvloop

        runner = uvloop.run
    except ImportError:
        runner = asyncio.run
    for name in wanted.jobs:
        with tempfile.TemporaryDirectory(dir=wanted.directory, prefix="bench-store-") as folder:
            if name.startswith("deep"):
                runner(measure_deep(Path(folder) / "queue", wanted.concurrency))
            else:
                runner(measure(name, Path(folder) / "queue", wanted.count, wanted.concurrency))


if __name__ == "__main__":
    main()
