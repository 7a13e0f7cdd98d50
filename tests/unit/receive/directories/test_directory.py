# SPDX-License-Identifier: MIT
import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridgehead.queues.sqlite.queue_store import SqliteQueueStore
from bridgehead.queues.store import Done, QueuedItem, StoreFull, Transaction
from bridgehead.receive.acceptance import Acceptance
from bridgehead.receive.directories.directory import SubmissionDirectory
from bridgehead.receive.directories.pickup import pickup_reader
from bridgehead.tracking.events import EventId, TrackingEvent
from support.clock import JumpingClock

MESSAGE = b"From: a@x.com\nTo: b@y.com\nSubject: %d\n\nbody\n"


class Recording:
    """Keeps what it is told: a tracker and the categorizer's side of acceptance."""

    def __init__(self) -> None:
        self.events: list[TrackingEvent] = []
        self.entries: list[QueuedItem] = []

    def record(self, event: TrackingEvent) -> None:
        self.events.append(event)

    def process(self, entry: QueuedItem) -> None:
        self.entries.append(entry)


class House:
    """One watched directory with a real queue behind it."""

    def __init__(self, path: Path, store: SqliteQueueStore, **settings: Any) -> None:
        self.path = path
        self.store = store
        self.recording = Recording()
        self.clock = JumpingClock()
        self.directory = SubmissionDirectory(
            name="Pickup",
            path=path,
            read=pickup_reader(65536, 100),
            messages_per_minute=settings.get("messages_per_minute", 100),
            poll_interval=0.01,
            fqdn="mx.contoso.com",
            acceptance=Acceptance(store, self.recording, self.recording),
            new_content_file=store.new_content_file,
            tracker=self.recording,
            clock=self.clock,
            random_bytes=os.urandom,
        )

    def drop(self, name: str, data: bytes = MESSAGE % 1, age: float = 10.0) -> Path:
        file = self.path / name
        file.write_bytes(data)
        self.touch(file, age)
        return file

    def touch(self, file: Path, age: float) -> None:
        when = self.clock.now() - age
        os.utime(file, (when, when))

    @property
    def names(self) -> list[str]:
        return sorted(one.name for one in self.path.iterdir())

    @property
    def subjects(self) -> list[str]:
        return [entry.item.subject for entry in self.recording.entries]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteQueueStore]:
    made = SqliteQueueStore(tmp_path / "queue")
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def house(tmp_path: Path, store: SqliteQueueStore) -> House:
    (tmp_path / "pickup").mkdir()
    return House(tmp_path / "pickup", store)


async def test_a_file_is_submitted_tracked_and_deleted(house: House) -> None:
    house.drop("a.eml")
    assert await house.directory.poll() == 1
    assert house.names == []
    [entry] = house.recording.entries
    stored = await house.store.get(entry.id)
    assert stored is not None
    assert stored.content is not None
    with stored.content.open() as file:
        assert file.read().endswith(b"\r\n\r\nbody\r\n")
    [event] = house.recording.events
    assert (event.event_id, event.source_context) == (EventId.RECEIVE, "Pickup file a.eml")


async def test_oldest_first_and_other_names_are_left_alone(house: House) -> None:
    for age, name in enumerate(["three.eml", "two.EML", "one.eml"]):
        house.drop(name, MESSAGE % age, age=10.0 + age)
    house.drop("notes.txt")
    house.drop("x.bad")
    assert await house.directory.poll() == 3
    assert house.subjects == ["2", "1", "0"]
    assert house.names == ["notes.txt", "x.bad"]


async def test_a_file_still_being_written_waits_until_it_rests(house: House) -> None:
    house.drop("empty.eml", b"")
    file = house.drop("a.eml", b"From: a@x.com\nTo: b@y.com\n\nha", age=0.0)
    assert await house.directory.poll() == 0
    file.write_bytes(b"From: a@x.com\nTo: b@y.com\n\nhalf")
    house.touch(file, 0.0)
    assert await house.directory.poll() == 0
    assert await house.directory.poll() == 1
    assert house.names == ["empty.eml"]


async def test_what_is_no_message_becomes_bad_with_an_event(house: House) -> None:
    house.drop("a.eml", b"no header")
    house.drop("b.eml")
    house.drop("a.bad", b"an earlier one")
    assert await house.directory.poll() == 1
    assert house.names == ["a-1.bad", "a.bad"]
    bad = [event for event in house.recording.events if event.event_id is EventId.BADMAIL]
    assert [event.source_context for event in bad] == [
        "Pickup file a.eml: a blank line between header and body was expected"
    ]


async def test_names_from_outside_reach_no_log_unescaped(house: House) -> None:
    house.drop("a\nFAKE.eml", b"no header")
    await house.directory.poll()
    assert "\n" not in house.recording.events[0].source_context


async def test_a_link_to_somebody_elses_file_is_never_followed(house: House, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(MESSAGE % 9)
    (house.path / "link.eml").symlink_to(secret)
    os.mkfifo(house.path / "pipe.eml")
    (house.path / "folder.eml").mkdir()
    assert await house.directory.poll() == 0
    assert house.recording.entries == []
    assert secret.exists()
    assert house.names == ["folder.eml", "link.eml", "pipe.eml"]


async def test_rate_limit_leaves_the_rest_for_later(house: House, store: SqliteQueueStore) -> None:
    slow = House(house.path, store, messages_per_minute=2)
    for number in range(5):
        slow.drop(f"{number}.eml", MESSAGE % number, age=20.0 - number)
    assert [await slow.directory.poll() for _ in range(2)] == [2, 0]
    slow.clock.advance(121)
    assert await slow.directory.poll() == 2
    assert slow.subjects == ["0", "1", "2", "3"]
    assert slow.names == ["4.eml"]


async def test_large_content_goes_through_a_file(house: House) -> None:
    house.drop("a.eml", MESSAGE % 1 + b"x" * 70 + b"\n" + (b"y" * 76 + b"\n") * 10_000)
    assert await house.directory.poll() == 1
    stored = await house.store.get(house.recording.entries[0].id)
    assert stored is not None
    assert stored.content is not None
    assert stored.content.data is None
    with stored.content.open() as file:
        assert len(file.read()) == stored.item.size > 700_000


async def test_a_full_disk_leaves_the_file_for_later(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.drop("a.eml")
    with monkeypatch.context() as patch:
        patch.setattr(house.store, "commit", _full)
        assert await house.directory.poll() == 0
    assert house.names == ["a.eml"]
    assert house.recording.events == []
    assert await house.directory.poll() == 1
    assert house.names == []


def _full(transaction: Transaction, done: Done) -> None:
    done(StoreFull("no space left on device"))


async def test_a_stop_in_the_middle_leaves_either_the_file_or_the_message(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.drop("a.eml")
    reached = asyncio.Event()
    held: list[tuple[Transaction, Done]] = []

    def hold(transaction: Transaction, done: Done) -> None:
        held.append((transaction, done))
        reached.set()

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "commit", hold)
        polling = asyncio.create_task(house.directory.poll())
        await reached.wait()
        polling.cancel()
    house.store.commit(*held[0])
    with pytest.raises(asyncio.CancelledError):
        await polling
    assert house.names == []
    assert len(house.recording.entries) == 1


async def test_what_a_crash_left_is_taken_again_at_start(house: House) -> None:
    house.drop("a.tmp", MESSAGE % 1)
    house.drop("b.tmp", MESSAGE % 2)
    house.drop("b.eml", MESSAGE % 3)
    running = asyncio.create_task(house.directory.run())
    async with asyncio.timeout(20):
        while len(house.recording.entries) < 3 or house.names:
            await asyncio.sleep(0.01)
    house.directory.stop()
    await running
    assert sorted(house.subjects) == ["1", "2", "3"]


async def test_a_missing_directory_is_made_and_a_vanished_one_reported_once(
    tmp_path: Path, store: SqliteQueueStore, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(tmp_path / "new" / "pickup", store)
    house.directory.stop()
    await house.directory.run()
    assert house.path.stat().st_mode & 0o777 == 0o700
    house.path.rmdir()
    assert [await house.directory.poll() for _ in range(3)] == [0, 0, 0]
    assert caplog.text.count("No such file") == 1
