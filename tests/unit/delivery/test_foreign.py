# SPDX-License-Identifier: MIT
"""Drop directories of foreign connectors, read back by the replay directory's reader."""

from pathlib import Path
from typing import BinaryIO

import pytest

from bridgehead.delivery.foreign import ForeignCourier, drop
from bridgehead.mail.content import BytesContent
from bridgehead.mail.delivery_status import Action, DeliveryStatus
from bridgehead.mail.envelope import BodyType, Notify, Return
from bridgehead.mail.header import HeaderBlock, split_header
from bridgehead.mail.units import ByteSize
from bridgehead.queues.store import QueuedItem
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import ForeignConnector
from bridgehead.tracking.events import EventId
from support.delivery_world import World
from support.work_source import queued

CONTENT = (
    b"Received: from x by y; Mon, 1 Jan 2024 00:00:00 +0000\r\nX-MS-Exchange-Organization-SCL: -1\r\n"
    b"X-MS-Exchange-Forest-Language: en\r\nSubject: to the fax\r\n\r\nHello\r\n"
)


def connector(**more: object) -> ForeignConnector:
    return ForeignConnector(name="Fax", address_spaces=["FAX:*"], drop_directory="fax", **more)  # type: ignore[arg-type]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_file_holds_envelope_and_message_without_internal_fields(tmp_path: Path) -> None:
    entry = queued(CONTENT, ["bob@fax.example", "eve@fax.example"], envelope_id="QQ=1", ret=Return.HEADERS)
    entry.item.envelope.recipients[1].notify = Notify.SUCCESS | Notify.FAILURE
    entry.item.envelope.recipients[1].original_recipient = "rfc822;eve+x@example.com"
    status = drop(entry, tmp_path / "drop", connector())
    assert isinstance(status, DeliveryStatus)
    assert status.action is Action.RELAYED
    (path,) = files(tmp_path)
    assert path.suffix == ".eml"
    header, body = split_header(path.read_bytes())
    block = HeaderBlock(header)
    assert [name for name, _, _ in block.fields] == [
        b"x-sender", b"x-receiver", b"x-receiver", b"x-createdby", b"x-endofinjectedxheaders", b"received", b"subject",
    ]  # fmt: skip
    assert block.first(b"x-sender") == b"<a@example.com> RET=HDRS ENVID=QQ+3D1"
    assert list(block.raw_values(b"x-receiver")) == [
        b"<bob@fax.example>",
        b"<eve@fax.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;eve+2Bx@example.com",
    ]
    assert body == b"\r\nHello\r\n"


def test_eight_bit_content_says_so(tmp_path: Path) -> None:
    drop(queued("Subject: x\r\n\r\nGrüße\r\n".encode(), body_type=BodyType.EIGHT_BIT_MIME), tmp_path, connector())
    assert files(tmp_path)[0].read_bytes().startswith(b"X-Sender: <a@example.com> BODY=8BITMIME\r\n")


@pytest.mark.parametrize(("required", "passed_on"), [(False, True), (True, False)])
def test_relay_report_only_where_it_is_required(tmp_path: Path, required: bool, passed_on: bool) -> None:
    status = drop(queued(CONTENT), tmp_path, connector(relay_dsn_required=required))
    assert isinstance(status, DeliveryStatus)
    assert status.dsn_passed_on is passed_on


def test_the_quota_stops_the_queue_and_not_the_message(tmp_path: Path) -> None:
    quota = ByteSize(len(CONTENT) + 50)
    assert isinstance(drop(queued(CONTENT), tmp_path, connector(drop_directory_quota=quota)), DeliveryStatus)
    second = drop(queued(CONTENT), tmp_path, connector(drop_directory_quota=quota))
    assert isinstance(second, OSError)
    assert "quota" in str(second)
    assert len(files(tmp_path)) == 1


def test_again_makes_no_second_file(tmp_path: Path) -> None:
    entry = queued(CONTENT)
    drop(entry, tmp_path, connector())
    drop(entry, tmp_path, connector())
    assert len(files(tmp_path)) == 1


def test_unreadable_content_delays_the_message_alone_and_leaves_no_file(tmp_path: Path) -> None:
    class Gone(BytesContent):
        def open(self) -> BinaryIO:
            raise FileNotFoundError(2, "No such file or directory", "/secret/path")

    entry = queued(CONTENT)
    entry.content = Gone(CONTENT)
    status = drop(entry, tmp_path, connector())
    assert isinstance(status, DeliveryStatus)
    assert (status.action, status.status) == (Action.DELAYED, "4.3.0")
    assert "secret" not in status.diagnostic
    assert files(tmp_path) == []


async def test_with_the_dispatcher(tmp_path: Path) -> None:
    hop = NextHop(DeliveryType.NON_SMTP_GATEWAY, "Fax", "Fax")
    world = World(tmp_path / "queue")
    target = tmp_path / "drop"
    target.write_bytes(b"a file in the way")
    world.dispatcher._courier_for = lambda hop, source: ForeignCourier(connector(), source, target)
    await world.start()
    entries: list[QueuedItem] = [world.entry(next_hop=hop) for _ in range(5)]
    await world.hand_over(*entries)
    queue = world.dispatcher.queues[hop]

    async def until(reached: "object") -> None:
        while not reached():  # type: ignore[operator]
            courier = queue.courier
            assert isinstance(courier, ForeignCourier)
            if courier._under_way is not None:
                await courier._under_way
            await world.settle()

    await until(lambda: queue.status == "Retry")
    assert "Fax" in queue.state.last_error
    target.unlink()
    await world.pass_time(60)
    await until(lambda: len(world.events.of(EventId.SEND)) == 5)
    assert len(files(target)) == 5
    assert {event.source for event in world.events.all} == {"GATEWAY"}
    assert await world.stored(None) == []
    await world.stop()
