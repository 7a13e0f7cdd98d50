# SPDX-License-Identifier: MIT
"""Reports that return a message of a file: written beside the event loop, the same octets as all others."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from bridgehead.delivery.notify import NotifyReporter
from bridgehead.delivery.settings import DeliverySettings
from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import BodyType, Return
from bridgehead.queues.settings import QueueSettings
from bridgehead.queues.sqlite.content_files import ContentFileWriter, FileContent, damage_of_file
from bridgehead.queues.store import ContentWriter, QueuedItem
from support.clock import JumpingClock
from support.work_source import queued

FAILED = DeliveryStatus(action=Action.FAILED, status="5.1.1", diagnostic="550 5.1.1 no", remote_mta="mx.example.net")
HEADER = b"From: a@example.com\r\nX-MS-Exchange-Organization-SCL: 5\r\nSubject: large\r\n"
LINE = b"0123456789" * 7 + b"..\r\n"


def reporter(new_content_file: Callable[[], ContentWriter] | None) -> NotifyReporter:
    numbers, octets = iter(range(1000, 2000)), iter(range(256))
    return NotifyReporter(
        allocate_id=lambda: next(numbers), clock=JumpingClock(), random_bytes=lambda count: bytes([next(octets)]) * count,
        delivery_settings=DeliverySettings(), queue_settings=QueueSettings(), fqdn="mail.contoso.com",
        default_domain="contoso.com", new_content_file=new_content_file,
    )  # fmt: skip


def in_file(folder: Path, data: bytes) -> FileContent:
    (folder / "original.eml").write_bytes(data)
    return FileContent(folder / "original.eml", len(data), 0)


def reported(by: NotifyReporter, content: Content, **envelope: object) -> QueuedItem:
    item = queued(subject="large").item
    item.envelope = msgspec.structs.replace(item.envelope, **envelope)
    report = by.report(item, content, [(one, FAILED) for one in item.envelope.recipients])
    assert report is not None
    return report


@pytest.mark.parametrize(
    "body",
    [
        b"\r\n" + LINE * 40_000,
        b"\r\n" + LINE * 4_000 + "Grüße\r\n".encode() + LINE * 4_000,
        b"\r\n" + LINE * 4_000 + b"x" * 2_000 + b"\r\n",
    ],
    ids=["7-bit", "8-bit", "a line too long to be returned"],
)
@pytest.mark.parametrize("header", [HEADER, HEADER + b"X-Long: " + b"\r\n y" * 90_000 + b"\r\n"], ids=["short", "long"])
async def test_it_has_the_octets_of_one_that_is_made_at_once(tmp_path: Path, header: bytes, body: bytes) -> None:
    data = header + body
    with ThreadPoolExecutor(1) as executor:
        by = reporter(lambda: ContentFileWriter(tmp_path, 77, executor))
        report = reported(by, in_file(tmp_path, data), body_type=BodyType.EIGHT_BIT_MIME)
        assert by.is_draft(report)
        undo = await by.write(report)
        assert not by.is_draft(report)
        expected = reported(reporter(None), BytesContent(data), body_type=BodyType.EIGHT_BIT_MIME)
        written = report.content
        assert isinstance(written, FileContent)
        assert isinstance(expected.content, BytesContent)
        assert written.path.read_bytes() == expected.content.data
        assert damage_of_file(written, read=True) == ""
        assert msgspec.structs.replace(report, content=None) == msgspec.structs.replace(expected, content=None)
        await undo()
        assert not written.path.exists()


def test_what_is_small_or_returns_its_header_only_is_no_draft(tmp_path: Path) -> None:
    by = reporter(lambda: ContentFileWriter(tmp_path, 77, ThreadPoolExecutor(1)))
    large = in_file(tmp_path, HEADER + b"\r\n" + LINE * 10_000)
    assert not by.is_draft(reported(by, BytesContent(HEADER + b"\r\n")))
    assert not by.is_draft(reported(by, large, ret=Return.HEADERS))
    assert not by.is_draft(reported(by, msgspec.structs.replace(large, size=11 * 1024 * 1024)))


async def test_where_no_file_can_be_written_it_goes_without_the_original(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as executor:
        by = reporter(lambda: ContentFileWriter(tmp_path / "gone", 77, executor))
        report = reported(by, in_file(tmp_path, HEADER + b"\r\n" + LINE * 10_000))
        await by.write(report)
    assert report.content is not None
    data = report.content.data
    assert data is not None
    assert b"Content-Type: text/rfc822-headers\r\n" in data
    assert b"Subject: large\r\n\r\n--" in data
    assert LINE not in data
    assert report.item.size == len(data)
    assert "goes without the message that it is about" in caplog.text


async def test_the_event_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    """Processor time that its thread spends between two turns: what other programs take of the machine is not in it."""
    longest, ended = 0.0, asyncio.Event()

    async def beat() -> None:
        nonlocal longest
        while not ended.is_set():
            before = time.thread_time()
            await asyncio.sleep(0.0005)
            longest = max(longest, time.thread_time() - before)

    beating = asyncio.create_task(beat())
    with ThreadPoolExecutor(1) as executor:
        by = reporter(lambda: ContentFileWriter(tmp_path, 77, executor))
        report = reported(by, in_file(tmp_path, HEADER + b"\r\n" + LINE * 130_000))
        await by.write(report)
    ended.set()
    await beating
    assert report.item.size > 9_000_000
    assert longest < 0.008
