# SPDX-License-Identifier: MIT
import json
import os
from pathlib import Path

import msgspec
import pytest

from bridgehead.mail.item import Source
from bridgehead.mail.units import ByteSize
from bridgehead.tracking import json_lines, queue_log
from bridgehead.tracking.agent_log import FIELDS as AGENT_FIELDS
from bridgehead.tracking.agent_log import AgentEvent
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.logs import Logs
from bridgehead.tracking.queue_log import QueueDigest
from bridgehead.tracking.settings import LogSettings
from support.clock import JumpingClock

EVENT = TrackingEvent(
    time=1_800_000_000.0, event_id=EventId.DELIVER, source=Source.SMTP, internal_message_id=7, total_bytes=512,
    recipient_address=["a@x.test", "b@x.test"], recipient_status=["250 ok", "250, fine"], recipient_count=2,
    message_subject='say "hi", then go\r\n', message_id="<1@x.test>",
)  # fmt: skip


def made(tmp_path: Path, **settings: object) -> Logs:
    return Logs(LogSettings(json_log_enabled=True, **settings), tmp_path, JumpingClock().now)  # type: ignore[arg-type]


def objects(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_bytes().splitlines()]


def test_an_event_is_an_object_with_numbers_and_lists(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.message_tracking.record(EVENT)
    logs.close()
    (event,) = objects(tmp_path / "MessageTracking")
    assert event == {
        "log": "MSGTRK",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "source": "SMTP",
        "event_id": "DELIVER",
        "internal_message_id": 7,
        "message_id": "<1@x.test>",
        "recipient_address": ["a@x.test", "b@x.test"],
        "recipient_status": ["250 ok", "250, fine"],
        "total_bytes": 512,
        "recipient_count": 2,
        "message_subject": 'say "hi", then go  ',
        "directionality": "Undefined",
        "transport_traffic_type": "Email",
        "schema_version": "15.02.1748.010",
    }


def test_a_single_status_may_hold_what_parts_several(tmp_path: Path) -> None:
    logs = made(tmp_path)
    status = "550 5.7.1 RESOLVER.RST.NotAuthorized; not authorized"
    logs.message_tracking.record(
        msgspec.structs.replace(EVENT, recipient_address=["a@x.test"], recipient_status=[status])
    )  # fmt: skip
    logs.close()
    (event,) = objects(tmp_path / "MessageTracking")
    assert (event["recipient_address"], event["recipient_status"]) == (["a@x.test"], [status])


def test_every_kind_of_log_has_its_json_beside_it(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.message_tracking.record(EVENT)
    for log in (logs.smtp_receive, logs.smtp_send):
        log.record(connector_id="mx", session_id="1", sequence=3, local="", remote="", event="<", data="a,b")
    logs.connectivity.record(session="1", source="SMTP", destination="x.test", direction="+", description="d")
    logs.agents.record(agent_event("a@x.test"))
    assert logs.queues is not None
    logs.queues.record(
        1_800_000_000.0, [QueueDigest(identity="Internet/x.test", queue_type="Delivery", status="Ready")]
    )
    logs.close()
    pairs = {path.with_suffix("").relative_to(tmp_path) for path in tmp_path.rglob("*.log")}
    assert len(pairs) == 6
    assert {path.with_suffix("").relative_to(tmp_path) for path in tmp_path.rglob("*.jsonl")} == pairs
    (line,) = objects(tmp_path / "Hub/ProtocolLog/SmtpReceive")
    assert (line["sequence_number"], line["data"]) == (3, "a,b")


def test_without_the_setting_there_is_no_json(tmp_path: Path) -> None:
    logs = Logs(LogSettings(), tmp_path, JumpingClock().now)
    logs.message_tracking.record(EVENT)
    logs.close()
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_files_roll_by_size_and_both_kinds_are_counted_apart(tmp_path: Path) -> None:
    logs = made(tmp_path, message_tracking_log_max_file_size=ByteSize(64 * 1024))
    for _ in range(300):
        logs.message_tracking.record(EVENT)
        logs.flush()
    logs.close()
    assert len(objects(tmp_path / "MessageTracking")) == 300
    sizes = [file.stat().st_size for file in (tmp_path / "MessageTracking").glob("*.jsonl")]
    assert len(sizes) > 1
    assert max(sizes) <= 64 * 1024


def test_what_a_dead_disk_keeps_waiting_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LOG_BACKLOG_BYTES", 1000)
    logs = made(tmp_path)
    for _ in range(100):
        logs.message_tracking.record(EVENT)
    logs.flush_message_tracking()
    assert logs.lost_lines == 100
    logs.close()


def test_what_a_reader_has_open_is_only_ever_added_to(tmp_path: Path) -> None:
    """As a shipper reads: the file keeps its inode, grows by whole lines, and is never renamed."""
    logs = made(tmp_path)
    logs.message_tracking.record(EVENT)
    logs.flush()
    files = sorted((tmp_path / "MessageTracking").iterdir())
    before = [(file, os.stat(file).st_ino, file.read_bytes()) for file in files]
    for _ in range(50):
        logs.message_tracking.record(EVENT)
        logs.flush()
        for file, inode, start in before:
            assert os.stat(file).st_ino == inode
            data = file.read_bytes()
            assert data.startswith(start)
            assert data.endswith(b"\n")
    logs.close()
    assert sorted((tmp_path / "MessageTracking").iterdir()) == files


def agent_event(*recipients: str) -> AgentEvent:
    return AgentEvent(
        time=1_800_000_000.0, session_id="0A", local_endpoint="10.0.0.1:25", remote_endpoint="10.0.0.9:4711",
        client_ip="10.0.0.9", agent="Recipient Filter Agent", event="OnRcptCommand", action="RejectCommand",
        smtp_response="550 5.1.1 User unknown", reason="RecipientDoesNotExist", recipients=recipients,
    )  # fmt: skip


def test_the_agent_log_has_a_record_for_each_recipient(tmp_path: Path) -> None:
    logs = made(tmp_path)
    logs.agents.record(agent_event("a@x.test", "b@x.test"))
    logs.agents.record(agent_event())
    logs.close()
    found = objects(tmp_path / "Hub/AgentLog")
    assert [(one.get("recipient"), one["num_recipients"]) for one in found] == [
        ("a@x.test", 2), ("b@x.test", 2), (None, 0),
    ]  # fmt: skip
    assert found[0]["smtp_response"] == "550 5.1.1 User unknown"
    assert len(AGENT_FIELDS) == 20


def test_the_queue_log_tells_of_an_idle_server_too(tmp_path: Path) -> None:
    logs = made(tmp_path)
    assert logs.queues is not None
    logs.queues.record(1_800_000_000.0, [])
    logs.queues.record(
        1_800_000_060.0,
        [QueueDigest(identity="Internet/x.test", queue_type="Delivery", status="Retry", message_count=3,
                     next_retry=1_800_000_090.5, last_error="451 4.4.0, later")],
    )  # fmt: skip
    logs.close()
    idle, retrying = objects(tmp_path / "Hub/QueueViewer")
    assert (idle["status"], idle["message_count"], idle["sequence_number"]) == ("Empty", 0, 1)
    assert (retrying["next_retry_time"], retrying["last_error"]) == ("2027-01-15T08:01:30.500Z", "451 4.4.0, later")
    assert len(queue_log.FIELDS) == len(set(queue_log.FIELDS))
