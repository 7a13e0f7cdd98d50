# SPDX-License-Identifier: MIT
"""Kills a process in the midst of writing to its queue store, again and again, and counts what is there afterwards.

`BRIDGEHEAD_CRASH_ROUNDS` sets the number of kills (default 15).
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import ItemFilter, MessageStatus
from support.crashing_store import text_of

ROUNDS = int(os.environ.get("BRIDGEHEAD_CRASH_ROUNDS", "15"))


def work_and_die(folder: Path, lines_until_the_end: int) -> dict[str, set[int]]:
    """What the process told before it was killed, by first word."""
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "support.crashing_store", str(folder)], stdout=subprocess.PIPE, cwd=tests,
    )  # fmt: skip
    assert process.stdout is not None
    told: dict[str, set[int]] = {"stored": set(), "removing": set(), "removed": set(), "leased": set()}
    for number, line in enumerate(process.stdout):
        if not line.endswith(b"\n"):
            break
        word, key = line.split()
        told[word.decode()].add(int(key))
        if number == lines_until_the_end:
            process.kill()  # what it has told by now is still read
    process.wait()
    process.stdout.close()
    assert process.returncode == -9
    return told


@pytest.mark.crash
@pytest.mark.timeout(600)
async def test_no_acknowledged_entry_is_lost_and_none_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    expected: set[int] = set()
    uncertain: set[int] = set()
    removed: set[int] = set()
    for _ in range(ROUNDS):
        told = work_and_die(folder, random.randint(0, 3_000))
        expected |= told["stored"]
        expected -= told["removing"]
        uncertain |= told["removing"] - told["removed"]
        removed |= told["removed"]
        store = SqliteQueueStore(folder, reserve_bytes=65_536)
        await store.open()
        await store.settled()
        found = {one.id: one for one in await store.list_items(ItemFilter(limit=10**6))}
        assert expected - set(found) == set(), "acknowledged, and lost"
        assert removed & set(found) == set(), "removed, and back again"
        assert {one.status for one in found.values()} <= {MessageStatus.READY}
        assert await store.verify() == []
        for key in told["stored"] & set(found):
            one = await store.get(key)
            assert one is not None
            assert one.content is not None
            assert one.content.data == text_of(one.content_id)
        for key in told["leased"] & set(found):
            assert found[key].in_doubt
        await store.close()
    assert expected
    assert removed
