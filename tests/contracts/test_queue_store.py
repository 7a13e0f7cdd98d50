# SPDX-License-Identifier: MIT
"""Every queue store against the contract."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import QueueStore
from support.queue_changes_contract import QueueChangesContract
from support.queue_store_contract import QueueStoreContract


class TestMemoryQueueStore(QueueStoreContract, QueueChangesContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[QueueStore]:
        store = MemoryQueueStore()
        await store.open()
        yield store
        await store.close()

    async def restarted(self, store: QueueStore) -> QueueStore:
        await store.open()
        return store


class TestSqliteQueueStore(QueueStoreContract, QueueChangesContract):
    @pytest.fixture
    async def opened(self) -> AsyncIterator[list[SqliteQueueStore]]:
        """All that a test opened, to be closed."""
        opened: list[SqliteQueueStore] = []
        yield opened
        for store in opened:
            await store.close()

    @pytest.fixture
    async def store(self, tmp_path: Path, opened: list[SqliteQueueStore]) -> QueueStore:
        self.folder, self.opened = tmp_path / "queue", opened
        store = SqliteQueueStore(self.folder, reserve_bytes=65_536)
        opened.append(store)
        await store.open()
        return store

    async def restarted(self, store: QueueStore) -> QueueStore:
        """What a killed process leaves is what the files hold now."""
        copy = self.folder.with_name("after-the-crash")
        shutil.copytree(self.folder, copy)
        again = SqliteQueueStore(copy, reserve_bytes=65_536)
        self.opened.append(again)
        await again.open()
        return again
