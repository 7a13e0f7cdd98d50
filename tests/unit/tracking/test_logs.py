# SPDX-License-Identifier: MIT
import csv
import io
import threading
from pathlib import Path

import msgspec
import pytest

from bridgehead.mail.item import Source
from bridgehead.mail.units import Duration
from bridgehead.tracking.connectivity_log import FIELDS as CONNECTIVITY_FIELDS
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.log import FLUSH_BYTES
from bridgehead.tracking.logs import Logs
from bridgehead.tracking.protocol_log import FIELDS as PROTOCOL_FIELDS
from bridgehead.tracking.settings import LogSettings
from support.clock import JumpingClock

EVENT = TrackingEvent(time=1_800_000_000.0, event_id=EventId.RECEIVE, source=Source.SMTP)


def rows(path: Path) -> list[list[str]]:
    text = path.read_bytes().decode("utf-8-sig")
    return [row for row in csv.reader(io.StringIO(text, newline="")) if not row[0].startswith("#")]


def test_each_log_has_exchanges_folder_name_and_columns(tmp_path: Path) -> None:
    logs = Logs(LogSettings(), tmp_path, JumpingClock().now)
    logs.message_tracking.record(EVENT)
    for log in (logs.smtp_receive, logs.smtp_send):
        log.record(
            connector_id="mx\\Default", session_id="08DE", sequence=3, local="10.0.0.1:25", remote="10.0.0.9:4711",
            event="<", data='MAIL FROM:<"a,b"@c>\r\n', context="one, two",
        )  # fmt: skip
    logs.connectivity.record(
        session="08DF", source="SMTP", destination="fabrikam.com", direction="+", description="DnsConnectorDelivery, 2"
    )
    logs.close()
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.log"))
    assert files == [
        "Hub/Connectivity/CONNECTLOG20270115-0001.log",
        "Hub/ProtocolLog/SmtpReceive/RECV20270115-0001.log",
        "Hub/ProtocolLog/SmtpSend/SEND20270115-0001.log",
        "MessageTracking/MSGTRK20270115-0001.log",
    ]
    (line,) = rows(tmp_path / files[1])
    assert dict(zip(PROTOCOL_FIELDS, line, strict=True)) == {
        "date-time": "2027-01-15T08:00:00.000Z",
        "connector-id": "mx\\Default",
        "session-id": "08DE",
        "sequence-number": "3",
        "local-endpoint": "10.0.0.1:25",
        "remote-endpoint": "10.0.0.9:4711",
        "event": "<",
        "data": 'MAIL FROM:<"a,b"@c>  ',
        "context": "one, two",
    }
    (line,) = rows(tmp_path / files[0])
    assert dict(zip(CONNECTIVITY_FIELDS, line, strict=True))["description"] == "DnsConnectorDelivery, 2"
    for file, log_type in (
        (files[0], b"Transport Connectivity Log"),
        (files[1], b"SMTP Receive Protocol Log"),
        (files[2], b"SMTP Send Protocol Log"),
    ):
        assert b"#Log-type: " + log_type + b"\r\n" in (tmp_path / file).read_bytes()


def test_switched_off_logs_write_nothing(tmp_path: Path) -> None:
    settings = LogSettings(message_tracking_log_enabled=False, connectivity_log_enabled=False)
    logs = Logs(settings, tmp_path, JumpingClock().now)
    logs.message_tracking.record(EVENT)
    logs.connectivity.record(session="", source="", destination="", direction="+", description="")
    logs.close()
    assert list(tmp_path.iterdir()) == []


def test_the_thread_writes_after_the_interval_without_being_asked(tmp_path: Path) -> None:
    logs = Logs(LogSettings(flush_interval=Duration(milliseconds=5)), tmp_path, JumpingClock().now)
    logs.start()
    logs.message_tracking.record(EVENT)
    deadline = threading.Event()
    for _ in range(2000):
        if list(tmp_path.rglob("*.log")):
            break
        deadline.wait(0.005)
    else:
        pytest.fail("nothing was written")
    logs.close()
    assert len(rows(next(tmp_path.rglob("*.log")))) == 1


def test_a_full_batch_is_written_long_before_the_interval(tmp_path: Path) -> None:
    logs = Logs(LogSettings(flush_interval=Duration(hours=1)), tmp_path, JumpingClock().now)
    logs.start()
    large = msgspec.structs.replace(EVENT, message_subject="x" * 1024)
    for _ in range(FLUSH_BYTES // 1024):
        logs.message_tracking.record(large)
    deadline = threading.Event()
    for _ in range(2000):
        if list(tmp_path.rglob("*.log")):
            break
        deadline.wait(0.005)
    else:
        pytest.fail("the full batch waited for the interval")
    logs.close()


def test_close_writes_what_is_left_and_ends_the_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    logs = Logs(LogSettings(flush_interval=Duration(hours=1)), tmp_path, JumpingClock().now)
    logs.start()
    logs.message_tracking.record(EVENT)
    logs.close()
    assert threading.active_count() == before
    assert len(rows(next(tmp_path.rglob("*.log")))) == 1
    assert logs.lost_lines == 0
