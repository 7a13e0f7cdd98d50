# SPDX-License-Identifier: MIT
"""Maildir delivery into real folders."""

import errno
import os
from pathlib import Path

import pytest

from bridgehead.delivery.mailbox import MaildirCourier
from bridgehead.delivery.maildir import NoSpace, UnusableName, file_name, folder_name, write_batch
from bridgehead.mail.address import NULL
from bridgehead.mail.delivery_status import Action
from bridgehead.mail.envelope import RecipientState
from bridgehead.queues.store import QueuedItem
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import MailboxStore
from bridgehead.tracking.events import EventId
from support.delivery_world import World
from support.work_source import queued


def for_mailbox(*names: str, **facts: object) -> QueuedItem:
    entry = queued(recipients=[f"r{number}@example.net" for number in range(len(names))], **facts)
    for recipient, name in zip(entry.item.envelope.recipients, names, strict=True):
        recipient.mailbox = name
    return entry


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_message_arrives_with_its_trace_fields_and_private(tmp_path: Path) -> None:
    root = tmp_path / "mailboxes"
    ((status,),) = write_batch(root, "mail.contoso.com", [for_mailbox("ana")])  # type: ignore[misc]
    assert (status.action, status.status) == (Action.DELIVERED, "2.0.0")
    (path,) = files(root)
    assert path.parent == root / "ana" / "new"
    assert path.read_bytes() == (
        b"Return-Path: <a@example.com>\r\nDelivered-To: r0@example.net\r\n"
        b"From: a@example.com\r\nTo: b@example.net\r\nSubject: test\r\n\r\nHello\r\n"
    )
    assert path.stat().st_mode & 0o777 == 0o600
    for folder in (root, root / "ana", root / "ana" / "new", root / "ana" / "cur", root / "ana" / "tmp"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_report_has_the_null_return_path(tmp_path: Path) -> None:
    entry = for_mailbox("ana", sender="")
    assert entry.item.envelope.reverse_path == NULL
    write_batch(tmp_path, "m", [entry])
    assert files(tmp_path)[0].read_bytes().startswith(b"Return-Path: <>\r\n")


def test_the_same_attempt_again_makes_no_second_copy(tmp_path: Path) -> None:
    entry = for_mailbox("ana")
    write_batch(tmp_path, "m", [entry])
    write_batch(tmp_path, "m", [entry])
    assert len(files(tmp_path)) == 1
    (path,) = files(tmp_path)
    path.rename(tmp_path / "ana" / "cur" / f"{path.name}:2,S")  # a reader saw it
    entry.in_doubt = True
    ((status,),) = write_batch(tmp_path, "m", [entry])  # type: ignore[misc]
    assert status.action is Action.DELIVERED
    assert len(files(tmp_path)) == 1


def test_what_a_crash_left_in_tmp_is_written_over(tmp_path: Path) -> None:
    entry = for_mailbox("ana")
    (tmp_path / "ana" / "tmp").mkdir(parents=True)
    (tmp_path / "ana" / "tmp" / file_name(entry, "m")).write_bytes(b"half")
    write_batch(tmp_path, "m", [entry])
    (path,) = files(tmp_path)
    assert path.parent.name == "new"
    assert path.read_bytes().endswith(b"Hello\r\n")


def test_two_messages_and_two_mailboxes_do_not_meet(tmp_path: Path) -> None:
    write_batch(tmp_path, "m", [for_mailbox("ana", "bob"), for_mailbox("ana")])
    assert len(files(tmp_path / "ana" / "new")) == 2
    assert len(files(tmp_path / "bob" / "new")) == 1


def test_only_pending_recipients_get_it(tmp_path: Path) -> None:
    entry = for_mailbox("ana", "bob")
    entry.item.envelope.recipients[0].state = RecipientState.DELIVERED
    (statuses,) = write_batch(tmp_path, "m", [entry])
    assert isinstance(statuses, list)
    assert len(statuses) == 1
    assert not (tmp_path / "ana").exists()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("ana", "ana"),
        ("ana.b+c@example.com", "ana.b+c@example.com"),
        ("Ana B", "Ana%20B"),
        ("grün", "gr%C3%BCn"),
        ("100%", "100%25"),
        (".hidden", "%2Ehidden"),
        ("a:b*?", "a%3Ab%2A%3F"),
    ],
)
def test_folder_names(name: str, folder: str) -> None:
    assert folder_name(name) == folder


@pytest.mark.parametrize(
    "name", ["", ".", "..", "...", "../x", "a/b", "a\\b", "a\0b", "a\nb", "\u2028", "x" * 201, "ü" * 70]
)
def test_names_that_could_leave_the_root_fail_the_recipient(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnusableName):
        folder_name(name)
    root = tmp_path / "deep" / "root"
    ((status,),) = write_batch(root, "m", [for_mailbox(name)])  # type: ignore[misc]
    assert (status.action, status.status) == (Action.FAILED, "5.1.3")
    assert files(tmp_path) == []


def test_a_hostile_server_name_stays_a_file_name() -> None:
    assert "/" not in file_name(for_mailbox("ana"), "../../etc")


def test_a_full_disk_holds_the_whole_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    (outcome,) = write_batch(tmp_path, "m", [for_mailbox("ana", "bob")])
    assert outcome == NoSpace("No space left on device")
    assert files(tmp_path) == []


def test_a_failed_sync_of_the_folder_is_no_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_batch(tmp_path, "m", [for_mailbox("ana")])
    real = os.fsync

    def fails_for_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails_for_folders)
    ((status,),) = write_batch(tmp_path, "m", [for_mailbox("ana")])  # type: ignore[misc]
    assert (status.action, status.status) == (Action.DELAYED, "4.3.0")


def test_a_mailbox_that_cannot_be_written_delays_only_its_own(tmp_path: Path) -> None:
    (tmp_path / "ana").write_bytes(b"a file where a folder should be")
    (statuses,) = write_batch(tmp_path, "m", [for_mailbox("ana", "bob")])
    assert isinstance(statuses, list)
    assert [status.action for status in statuses] == [Action.DELAYED, Action.DELIVERED]
    assert str(tmp_path) not in statuses[0].diagnostic


LOCAL = NextHop(DeliveryType.MAILBOX, "Mailboxes", "Mailboxes")


async def delivered_by_dispatcher(world: World, count: int) -> None:
    """Wait for events, which threads bring about."""
    while len(world.events.of(EventId.DELIVER)) < count:
        (courier,) = [queue.courier for queue in world.dispatcher.queues.values()]
        assert isinstance(courier, MaildirCourier)
        if courier._under_way:
            await next(iter(courier._under_way))
        await world.settle()


async def test_with_the_dispatcher_and_real_threads(tmp_path: Path) -> None:
    world = World(tmp_path / "queue")
    root = tmp_path / "mailboxes"
    world.dispatcher._courier_for = lambda hop, source: MaildirCourier(root, MailboxStore(), source)
    await world.start()
    entries = [world.entry(next_hop=LOCAL) for _ in range(50)]
    for entry in entries:
        entry.item.envelope.recipients[0].mailbox = "bob"
    await world.hand_over(*entries)
    await delivered_by_dispatcher(world, 50)
    assert len(files(root / "bob" / "new")) == 50
    assert await world.stored(None) == []
    await world.stop()


async def test_a_full_disk_sends_the_queue_to_retry_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "queue")
    root = tmp_path / "mailboxes"
    world.dispatcher._courier_for = lambda hop, source: MaildirCourier(root, MailboxStore(), source)
    await world.start()
    outcomes = [NoSpace("No space left on device")]
    monkeypatch.setattr("bridgehead.delivery.mailbox.write_batch", lambda root, fqdn, batch: outcomes * len(batch))
    entry = world.entry(next_hop=LOCAL)
    entry.item.envelope.recipients[0].mailbox = "bob"
    await world.hand_over(entry)
    queue = world.dispatcher.queues[LOCAL]
    while queue.status != "Retry":
        courier = queue.courier
        assert isinstance(courier, MaildirCourier)
        if courier._under_way:
            await next(iter(courier._under_way))
        await world.settle()
    assert queue.state.next_retry == world.clock.now() + 300
    assert queue.state.last_error == "Mailboxes: No space left on device"
    monkeypatch.undo()
    await world.pass_time(300)
    await delivered_by_dispatcher(world, 1)
    assert len(files(root / "bob" / "new")) == 1
    await world.stop()
