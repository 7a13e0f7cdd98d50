# SPDX-License-Identifier: MIT
import csv
import io
from datetime import timedelta
from pathlib import Path

from bridgehead.mail.item import Directionality, Source
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.log import LogFile, LogLimits
from bridgehead.tracking.message_tracking import FIELDS, KIND, MessageTrackingLog
from support.clock import JumpingClock

LIMITS = LogLimits(timedelta(days=30), 10 * 1024**2, 1000 * 1024**2)
START = 1_795_424_401.123  # 2026-11-23T09:00:01.123Z


def written(folder: Path, *events: TrackingEvent, subjects: bool = True) -> bytes:
    clock = JumpingClock(START)
    file = LogFile(folder, KIND, LIMITS, clock.now)
    log = MessageTrackingLog(file, subject_logging_enabled=subjects)
    for event in events:
        log.record(event)
    file.close()
    (path,) = folder.iterdir()
    assert path.name == "MSGTRK20261123-0001.log"
    return path.read_bytes()


def rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def an_event(**changes: object) -> TrackingEvent:
    values: dict[str, object] = {
        "time": START,
        "event_id": EventId.SEND,
        "source": Source.SMTP,
        "internal_message_id": 77,
        "message_id": "<a@b.example>",
        "network_message_id": "0a1b-2c",
        "client_ip": "10.0.0.1",
        "client_hostname": "us",
        "server_ip": "10.0.0.2",
        "server_hostname": "them",
        "source_context": "08DE",
        "connector_id": "To internet",
        "recipient_address": ["x@example.com", "y@example.com"],
        "recipient_status": ["250 2.1.5 OK", "250 2.1.5 OK"],
        "total_bytes": 4096,
        "recipient_count": 2,
        "related_recipient_address": "rel@example.com",
        "reference": "ref",
        "message_subject": "Report",
        "sender_address": "s@example.org",
        "return_path": "<>",
        "message_info": "info",
        "directionality": Directionality.ORIGINATING,
        "original_client_ip": "10.9.9.9",
        "original_server_ip": "10.8.8.8",
        "custom_data": "S:a=b",
    }
    values.update(changes)
    return TrackingEvent(**values)  # type: ignore[arg-type]


def test_a_file_begins_with_a_bom_and_five_header_lines_ended_by_cr_lf(tmp_path: Path) -> None:
    data = written(tmp_path, an_event())
    assert data.startswith(b"\xef\xbb\xbf#Software: Microsoft Exchange Server\r\n#Version: 15.02.")
    lines = data.decode("utf-8-sig").split("\r\n")
    assert [line.split(":")[0] for line in lines[:5]] == ["#Software", "#Version", "#Log-type", "#Date", "#Fields"]
    assert lines[2] == "#Log-type: Message Tracking Log"
    assert lines[3] == "#Date: 2026-11-23T09:00:01.123Z"
    assert lines[4] == "#Fields: " + ",".join(FIELDS)
    assert data.count(b"\n") == data.count(b"\r\n") == 6
    assert data.count(b"\xef\xbb\xbf") == 1


def test_every_event_has_the_thirty_columns_in_exchanges_order(tmp_path: Path) -> None:
    row = rows(written(tmp_path, an_event()))[-1]
    assert dict(zip(FIELDS, row, strict=True)) == {
        "date-time": "2026-11-23T09:00:01.123Z",
        "client-ip": "10.0.0.1",
        "client-hostname": "us",
        "server-ip": "10.0.0.2",
        "server-hostname": "them",
        "source-context": "08DE",
        "connector-id": "To internet",
        "source": "SMTP",
        "event-id": "SEND",
        "internal-message-id": "77",
        "message-id": "<a@b.example>",
        "network-message-id": "0a1b-2c",
        "recipient-address": "x@example.com;y@example.com",
        "recipient-status": "250 2.1.5 OK;250 2.1.5 OK",
        "total-bytes": "4096",
        "recipient-count": "2",
        "related-recipient-address": "rel@example.com",
        "reference": "ref",
        "message-subject": "Report",
        "sender-address": "s@example.org",
        "return-path": "<>",
        "message-info": "info",
        "directionality": "Originating",
        "tenant-id": "",
        "original-client-ip": "10.9.9.9",
        "original-server-ip": "10.8.8.8",
        "custom-data": "S:a=b",
        "transport-traffic-type": "Email",
        "log-id": "",
        "schema-version": "15.02.1748.010",
    }


def test_commas_and_quotes_in_any_text_column_are_quoted(tmp_path: Path) -> None:
    texts = [
        "client_hostname", "source_context", "connector_id", "message_id", "related_recipient_address", "reference",
        "message_subject", "sender_address", "return_path", "message_info", "custom_data",
    ]  # fmt: skip
    data = written(tmp_path, *(an_event(**{name: 'one, "two"'}) for name in texts))
    for name, row in zip(texts, rows(data)[-len(texts) :], strict=True):
        assert len(row) == 30
        column = {"client_hostname": "client-hostname"}.get(name, name.replace("_", "-"))
        assert row[FIELDS.index(column)] == 'one, "two"'
        assert row.count('one, "two"') == 1


def test_a_quote_alone_is_quoted_although_the_commas_add_up(tmp_path: Path) -> None:
    row = rows(written(tmp_path, an_event(message_subject='"')))[-1]
    assert row[18] == '"'
    assert len(row) == 30


def test_control_characters_cannot_break_a_record_in_two(tmp_path: Path) -> None:
    data = written(tmp_path, an_event(message_subject="a\r\n2026-01-01T00:00:00.000Z,forged", source_context="\x1b[2J"))
    assert data.count(b"\r\n") == 6
    row = rows(data)[-1]
    assert row[18] == "a  2026-01-01T00:00:00.000Z,forged"
    assert row[5] == " [2J"


def test_text_is_utf8_and_a_lone_surrogate_does_no_harm(tmp_path: Path) -> None:
    data = written(tmp_path, an_event(message_subject="Größe 日本"), an_event(message_subject="\ud800"))
    assert [row[18] for row in rows(data)[-2:]] == ["Größe 日本", "?"]


def test_subjects_are_left_out_where_the_setting_says_so(tmp_path: Path) -> None:
    data = written(tmp_path, an_event(message_subject="Layoffs"), subjects=False)
    assert b"Layoffs" not in data
    assert rows(data)[-1][18] == ""


def test_milliseconds_and_seconds_follow_the_event(tmp_path: Path) -> None:
    data = written(tmp_path, an_event(time=START), an_event(time=START + 0.5), an_event(time=START + 3600))
    assert [row[0][11:] for row in rows(data)[-3:]] == ["09:00:01.123Z", "09:00:01.623Z", "10:00:01.123Z"]
