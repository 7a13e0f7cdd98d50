# SPDX-License-Identifier: MIT
"""Local mailboxes as Maildir folders, the embedded default: the courier. How one message is written is in `maildir`.

Files are written and synced on threads, a batch at a time, so that no session waits for a disk.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from bridgehead.delivery.maildir import NoSpace, Written, write_batch
from bridgehead.delivery.ports import Attempt, CourierStanding, WorkSource
from bridgehead.diagnosis.scheduler import Limit
from bridgehead.queues.store import QueuedItem
from bridgehead.routing.settings import MailboxStore

logger = logging.getLogger("bridgehead.delivery")

BATCH: Final = 16
"""Messages written by one thread in one go; they share the sync of a folder."""
THREADS: Final = 8
"""More would only queue at the disk, whatever MaxConcurrentMailboxDeliveries allows."""
CLOSE_SECONDS: Final = 5.0


class MaildirCourier:
    """Delivers into Maildir folders below `root`.

    Args:
        root: folder with one Maildir for each mailbox; made where missing, mode 0700.
        fqdn: our name, part of file names.
    """

    def __init__(self, root: Path, store: MailboxStore, source: WorkSource, fqdn: str = "localhost") -> None:
        self._source = source
        self._name = store.name
        self._root = root
        self._fqdn = fqdn
        self._limit = max(1, min(int(store.max_concurrent_mailbox_deliveries), THREADS))
        self._batch = max(1, min(BATCH, int(store.max_concurrent_mailbox_deliveries) // self._limit))
        self._threads = ThreadPoolExecutor(self._limit, "mailbox-delivery")
        self._under_way: set[asyncio.Future[list[Written]]] = set()
        self._closing = False
        self._waking = False

    @property
    def connections(self) -> int:
        """Batches being written."""
        return len(self._under_way)

    def wake(self) -> None:
        """See `Courier`."""
        if self._waking or self._closing:
            return
        self._waking = True
        try:
            while len(self._under_way) < self._limit and (batch := self._take()):
                self._write(batch)
        finally:
            self._waking = False

    def standing(self) -> CourierStanding:
        """See `Standing`."""
        busy = len(self._under_way)
        limit = Limit("max_concurrent_mailbox_deliveries", int(self._limit), busy, table="mailbox_store")
        set_by_settings = self._limit < THREADS  # raising a setting above what the threads allow would release nothing
        return CourierStanding(sessions=busy, limits=(limit,) if busy >= self._limit and set_by_settings else ())

    async def close(self) -> None:
        """See `Courier`."""
        self._closing = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=CLOSE_SECONDS)
        self._threads.shutdown(wait=False)

    def _take(self) -> list[QueuedItem]:
        batch: list[QueuedItem] = []
        while len(batch) < self._batch and (entry := self._source.take()) is not None:
            batch.append(entry)
        return batch

    def _write(self, batch: Sequence[QueuedItem]) -> None:
        work = partial(write_batch, self._root, self._fqdn, batch)
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        self._under_way.add(future)
        future.add_done_callback(partial(self._written, batch))

    def _written(self, batch: Sequence[QueuedItem], future: "asyncio.Future[list[Written]]") -> None:
        self._under_way.discard(future)
        if (error := future.exception()) is not None:
            logger.error("mailbox store %s: writing failed unexpectedly", self._name, exc_info=error)
            for entry in batch:
                self._source.put_back(entry)
            self._source.connection_failed(f"{self._name}: {type(error).__name__}: {error}")
            return
        full: NoSpace | None = None
        for entry, written in zip(batch, future.result(), strict=True):
            if isinstance(written, NoSpace):
                full = written
                self._source.put_back(entry)
            else:
                self._source.finished(entry, Attempt(statuses=written, connector=self._name))
        if full is not None:
            self._source.connection_failed(f"{self._name}: {full.reason}", status="4.3.1")
        else:
            self._source.connection_succeeded()
        self.wake()
