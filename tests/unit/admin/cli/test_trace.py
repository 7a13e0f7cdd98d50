# SPDX-License-Identifier: MIT
import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridgehead.mail.item import Source
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.logs import Logs
from bridgehead.tracking.message_tracking import FIELDS
from bridgehead.tracking.settings import LogSettings
from support.cli import Commands

NOW = datetime.now(UTC)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """Two messages: one of an hour ago that failed with a report, one of three days ago."""
    logs = Logs(LogSettings(), tmp_path / "logs", NOW.timestamp)

    def record(hours_ago: float, event_id: EventId, number: int, recipient: str, status: str = "", **more: str) -> None:
        source = Source.DSN if event_id is EventId.DSN else Source.SMTP
        time = (NOW - timedelta(hours=hours_ago)).timestamp()
        logs.message_tracking.record(
            TrackingEvent(
                time=time,
                event_id=event_id,
                source=source,
                network_message_id=f"net-{number}",
                message_id=f"<{number}@a.example>",
                recipient_address=[recipient],
                recipient_status=[status] if status else [],
                message_subject=f"Report, {number}",
                return_path="ann@a.example",
                **more,
            )
        )

    record(72, EventId.RECEIVE, 2, "old@b.example")
    record(1, EventId.RECEIVE, 1, "x@b.example", client_ip="10.0.0.7", connector_id="mx\\Default")
    record(0.9, EventId.FAIL, 1, "x@b.example", "550 5.1.1 User unknown", server_hostname="mx.b.example")
    record(0.8, EventId.DSN, 3, "ann@a.example", reference="<1@a.example>")
    record(0.7, EventId.SEND, 3, "ann@a.example", "250 2.0.0 OK")
    logs.close()
    return Commands(tmp_path)


def test_the_story_of_a_message_is_told_with_its_report(commands: Commands) -> None:
    output = commands("trace", "--recipient", "x@b.example").output
    for text in ("<1@a.example>  Report, 1", "from 10.0.0.7", "550 5.1.1 User unknown", "report:", "250 2.0.0 OK"):
        assert text in output
    assert output.index("RECEIVE") < output.index("FAIL") < output.index("report:") < output.index("SEND")
    assert "old@b.example" not in output


def test_a_message_without_an_outcome_says_so(commands: Commands) -> None:
    output = commands("trace", "--recipient", "old@b.example").output
    assert "no outcome yet" in output
    assert "bridgehead message show net-2" in output
    assert "bridgehead message show" not in commands("trace", "--recipient", "x@b.example").output


def test_times_are_dates_or_spans(commands: Commands) -> None:
    def found(*options: str) -> set[str]:
        return {event["message-id"] for event in commands.json("trace", *options)["events"]}

    assert found() == {"<1@a.example>", "<2@a.example>", "<3@a.example>"}
    assert found("--start", "2h") == {"<1@a.example>", "<3@a.example>"}
    assert found("--end", "1.00:00:00") == {"<2@a.example>"}
    assert found("--start", (NOW - timedelta(days=4)).date().isoformat(), "--end", "2h") == {"<2@a.example>"}
    assert "neither a time" in commands("trace", "--start", "yesterday-ish", code=2).stderr


def test_csv_has_exchanges_columns(commands: Commands) -> None:
    rows = list(csv.reader(io.StringIO(commands("trace", "--event-id", "FAIL", "--csv").stdout, newline="")))
    assert tuple(rows[0]) == FIELDS
    assert len(rows) == 2
    assert dict(zip(FIELDS, rows[1], strict=True))["message-subject"] == "Report, 1"


def test_nothing_found_is_exit_code_one(commands: Commands) -> None:
    assert "No event fits" in commands("trace", "--sender", "nobody@a.example", code=1).output


def test_json_and_csv_together_are_wrong_usage(commands: Commands) -> None:
    commands("trace", "--json", "--csv", code=2)


def test_unreadable_lines_are_reported_beside_what_was_found(commands: Commands, tmp_path: Path) -> None:
    (path,) = (tmp_path / "logs" / "MessageTracking").iterdir()
    path.write_bytes(path.read_bytes() + b"2026-11-23T09:00:00.000Z,torn\r\n")
    result = commands("trace")
    assert "<1@a.example>" in result.stdout
    assert f"{path}:11: " in result.stderr


def test_another_folder_can_be_read(commands: Commands, tmp_path: Path) -> None:
    commands("trace", "--folder", str(tmp_path), code=1)
    commands("trace", "--folder", str(tmp_path / "logs" / "MessageTracking"))
