# SPDX-License-Identifier: MIT
"""What the Safety Net keeps, for how long, and what a full disk or a crash does to it."""

import errno
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridgehead.mail.address import Mailbox
from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.envelope import EnvelopeRecipient
from bridgehead.mail.units import ByteSize, Duration
from bridgehead.queues.memory import MemoryQueueStore
from bridgehead.queues.safety_net import net as safety_net
from bridgehead.queues.safety_net import segments
from bridgehead.queues.safety_net.frames import DamagedSegment, content_of
from bridgehead.queues.safety_net.net import Found, SafetyNet
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.sqlite.content_files import FileContent
from bridgehead.queues.store import QueuedItem
from support.clock import JumpingClock
from support.queue_store_contract import OTHER_HOP, entry

HOUR = 3600.0


class Kept:
    """A net, its clock, and messages to put into it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.clock, self.store = directory, JumpingClock(), MemoryQueueStore()
        self.opened: list[SafetyNet] = []

    def net(self, **settings: object) -> SafetyNet:
        net = SafetyNet(self.directory, QueueSettings(**settings), self.clock.now, self.clock.monotonic)  # type: ignore[arg-type]
        net.open()
        self.opened.append(net)
        return net

    def deliver(self, net: SafetyNet, count: int = 1, content: Content | None = None) -> list[QueuedItem]:
        entries = [entry(self.store, content=content) for _ in range(count)]
        for one in entries:
            net.keep(one, one.item.envelope.recipients)
        net.flush()
        return entries


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    one = Kept(tmp_path)
    yield one
    for net in one.opened:
        net.close()


def found(net: SafetyNet, start: float = 0.0, end: float = 1e11) -> list[Found]:
    frames = list(net.scan(start, end))
    assert not [one for one in frames if isinstance(one, str)]
    return [one for one in frames if isinstance(one, Found)]


def ids(net: SafetyNet) -> list[int]:
    return [one.frame.kept.item.internal_message_id for one in found(net)]


def test_what_was_delivered_is_there_with_its_content(kept: Kept) -> None:
    net = kept.net()
    entries = kept.deliver(net, 3)
    for one, there in zip(entries, found(net), strict=True):
        assert there.frame.kept.item == one.item
        assert there.frame.kept.next_hop == one.next_hop
        assert there.frame.kept.at == kept.clock.now()
        assert content_of(there.segment, there.frame) == one.content
    assert net.verify() == []
    assert (net.facts().kept, net.facts().lost) == (3, 0)


def test_only_the_recipients_concerned_are_kept(kept: Kept) -> None:
    net = kept.net()
    one = entry(kept.store)
    done = EnvelopeRecipient(Mailbox("done", "example.net"))
    one.item.envelope.recipients.append(done)
    net.keep(one, [done])
    net.flush()
    assert found(net)[0].frame.kept.item.envelope.recipients == [done]
    assert len(one.item.envelope.recipients) == 2


def test_a_new_process_finds_it_and_goes_on_behind(kept: Kept) -> None:
    before = kept.deliver(kept.net(), 3)
    again = kept.net()
    after = kept.deliver(again, 2)
    assert ids(again) == [one.id for one in before + after]
    assert again.facts().segments == 2
    assert again.facts().used == sum(path.stat().st_size for path in again.folder.iterdir())


def test_a_torn_end_hides_nothing_before_it(kept: Kept) -> None:
    before = kept.deliver(kept.net(), 3)
    [segment] = (kept.directory / "safety_net").iterdir()
    whole = segment.read_bytes()
    for missing in (1, 10, 60):
        segment.write_bytes(whole[:-missing])
        assert ids(kept.net()) == [one.id for one in before[:2]]
    assert kept.net().verify() == []


def test_damage_is_found_and_harms_no_other_segment(kept: Kept) -> None:
    first = kept.net()
    kept.deliver(first, 3)
    [segment] = first.folder.iterdir()
    after = kept.deliver(kept.net(), 1)
    data = bytearray(segment.read_bytes())
    middle = found(first)[1]
    data[middle.frame.content_start] ^= 1
    segment.write_bytes(bytes(data))
    net = kept.net()
    [problem] = net.verify()
    assert "checksum differs" in problem.what
    assert not problem.lost
    with pytest.raises(DamagedSegment, match="checksum differs"):
        content_of(middle.segment, middle.frame)
    data[middle.frame.start] ^= 1
    segment.write_bytes(bytes(data))
    frames = list(net.scan(0.0, 1e11))
    assert "there is no message at octet" in str(frames[1])
    assert isinstance(frames[2], Found)
    assert frames[2].frame.kept.item.internal_message_id == after[0].id


def test_mail_is_dropped_by_the_hour_when_its_time_is_over(kept: Kept) -> None:
    net = kept.net(safety_net_hold_time=Duration(hours=2))
    for _ in range(4):
        kept.deliver(net, 2)
        kept.clock.advance(HOUR)
        net.tidy()
    assert net.facts().segments == 2
    assert ids(net) == [5, 6, 7, 8]
    kept.clock.advance(3 * HOUR)
    net.tidy()
    assert ids(net) == []
    assert list(net.folder.iterdir()) == []
    assert net.facts().cut_short_at == 0.0
    kept.deliver(net)
    assert ids(net) == [9]


def test_the_oldest_goes_first_when_there_is_too_much(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    net = kept.net(safety_net_max_size=ByteSize(160_000))
    for _ in range(30):
        kept.deliver(net, 1, BytesContent(b"x" * 10_000))
        net.tidy()
    facts = net.facts()
    assert 100_000 < facts.used <= 160_000
    assert ids(net)[-1] == 30
    assert ids(net) == sorted(ids(net))
    assert facts.cut_short_at == kept.clock.now()


def test_others_are_left_half_of_the_free_space(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    net = kept.net(safety_net_max_size=ByteSize(1_600_000))
    for _ in range(30):
        kept.deliver(net, 1, BytesContent(b"x" * 100_000))
        net.tidy()
    used = net.facts().used

    def full(folder: Path) -> shutil._ntuple_diskusage:
        """Full, but for what the net itself gives back."""
        return shutil._ntuple_diskusage(used, net.facts().used, used - net.facts().used)

    monkeypatch.setattr(safety_net.shutil, "disk_usage", full)
    net.tidy()
    assert used * 0.3 < net.facts().used <= used / 2


def test_a_disk_that_takes_nothing_raises_nothing_and_leaves_no_torn_frame(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = kept.net()
    kept.deliver(net, 2)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        kept.deliver(net, 3)
    assert "No space left" in net.trouble
    assert (net.kept, net.lost) == (2, 3)
    kept.deliver(net, 1)
    assert net.lost == 4, "it pauses"
    net.tidy()
    kept.clock.advance(safety_net.PAUSE_SECONDS + 1)
    after = kept.deliver(net, 1)
    assert net.trouble == ""
    assert ids(net)[-1] == after[0].id
    assert net.verify() == []


def test_what_was_written_before_the_disk_was_full_counts_as_kept(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    net = kept.net()
    write, pieces = os.write, []

    def full(descriptor: int, data: bytes) -> int:
        if pieces:
            raise OSError(errno.ENOSPC, "No space left on device")
        pieces.append(data)
        return write(descriptor, data)

    monkeypatch.setattr(segments, "WRITE_BYTES", 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        first, *_ = kept.deliver(net, 3)
    assert (net.kept, net.lost) == (1, 2)
    assert "No space left" in net.trouble, "not all of it was taken"
    assert ids(net) == [first.id]


def test_large_content_is_linked_and_outlives_the_queue_s_file(kept: Kept) -> None:
    net = kept.net()
    path = kept.directory / "0000000000000007.eml"
    path.write_bytes(b"Subject: large\r\n\r\n" + b"x" * 200_000)
    content = FileContent(path, path.stat().st_size, zlib.crc32(path.read_bytes()))
    kept.deliver(net, 2, content)  # two forks
    assert path.stat().st_nlink == 2
    path.unlink()
    first, second = found(net)
    for one in (first, second):
        with content_of(one.segment, one.frame).open() as stream:
            assert len(stream.read()) == 200_018
    assert net.facts().used > 200_000
    assert kept.net().facts().used == net.facts().used
    assert net.verify() == []
    kept.clock.advance(49 * HOUR)
    net.tidy()
    assert list(net.folder.iterdir()) == []


def test_large_content_that_is_gone_costs_only_its_own_message(kept: Kept) -> None:
    net = kept.net()
    kept.deliver(net, 1, FileContent(kept.directory / "gone.eml", 1, 1))
    after = kept.deliver(net, 1)
    assert ids(net) == [after[0].id]
    assert (net.kept, net.lost, net.trouble) == (1, 1, "")


def test_what_is_not_to_be_kept(kept: Kept) -> None:
    off = kept.net(safety_net_hold_time=Duration(0))
    kept.deliver(off)
    assert not off.enabled
    net = kept.net(safety_net_excluded_connectors=["Relay"])
    one = entry(kept.store, next_hop=OTHER_HOP)
    net.keep(one, one.item.envelope.recipients)
    kept.deliver(net)
    assert len(ids(net)) == 1
    assert net.kept == 1


def test_what_waits_for_a_commit_is_bounded(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety_net, "BACKLOG_BYTES", 1_000)
    net = kept.net()
    for _ in range(20):
        one = entry(kept.store, content=BytesContent(b"x" * 100))
        net.keep(one, one.item.envelope.recipients)
    assert net.lost == 10
    net.flush()
    assert net.kept == 10
    assert len(kept.deliver(net)) == 1
    assert net.kept == 11


def test_only_the_span_asked_for_is_read(kept: Kept) -> None:
    net = kept.net()
    times = []
    for _ in range(5):
        times.append(kept.clock.now())
        kept.deliver(net)
        kept.clock.advance(HOUR)
    assert [one.frame.kept.at for one in found(net, times[1], times[3])] == times[1:4]
    assert found(net, 0.0, times[0] - 1) == []
