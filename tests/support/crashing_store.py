# SPDX-License-Identifier: MIT
"""A process that works a queue store as hard as it can and tells what was acknowledged, until it is killed.

Lines on standard output: `stored ID` and `removed ID` after the commit was reported, `removing ID` before it is asked
for. Content of entry ID is `text_of(ID)`.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from bridgehead.mail.content import BytesContent
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import QueuedItem, StoreFault, Transaction
from support.queue_store_contract import ACTIVE, DELIVERY, HOP, SUBMISSION, entry


def text_of(content_id: int) -> bytes:
    """Distinct content of distinct size, some of it large."""
    return b"Subject: %d\r\n\r\n" % content_id + b"%x" % content_id * (content_id * 7919 % 3_000)


def tell(text: str) -> None:
    os.write(1, text.encode() + b"\n")


class Worker:
    """Runs messages through their life: submitted, categorized into one or two entries, most of them delivered."""

    def __init__(self, store: SqliteQueueStore) -> None:
        self.store = store

    def submit(self) -> None:
        number = self.store.allocate_id()
        one = entry(
            self.store, SUBMISSION, key=number, status=ACTIVE, content=BytesContent(text_of(number)),
        )  # fmt: skip
        self.store.commit(Transaction(put=[one]), lambda fault: self.submitted(one, fault))

    def submitted(self, one: QueuedItem, fault: StoreFault | None) -> None:
        assert fault is None
        tell(f"stored {one.id}")
        forks = [entry(self.store, content_id=one.content_id, content=one.content) for _ in range(random.randint(1, 2))]
        tell(f"removing {one.id}")
        self.store.commit(Transaction(remove=[one.id], put=forks), lambda fault: self.categorized(one, forks, fault))

    def categorized(self, one: QueuedItem, forks: list[QueuedItem], fault: StoreFault | None) -> None:
        assert fault is None
        tell(f"removed {one.id}")
        for fork in forks:
            tell(f"stored {fork.id}")
            if random.random() < 0.8:
                tell(f"removing {fork.id}")
                self.store.commit(Transaction(remove=[fork.id]), lambda fault, key=fork.id: tell(f"removed {key}"))  # type: ignore[misc]
        self.submit()

    async def lease_for_ever(self) -> None:
        """Leases of what stayed, handed back as they were."""
        while True:
            for one in await self.store.lease(DELIVERY, HOP, 2000.0, 5, 10**6):
                tell(f"leased {one.id}")
            await asyncio.sleep(0.002)


async def main(folder: Path) -> None:
    store = SqliteQueueStore(folder, reserve_bytes=65_536)
    await store.open()
    worker = Worker(store)
    for _ in range(20):
        worker.submit()
    await worker.lease_for_ever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
