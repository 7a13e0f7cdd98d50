# SPDX-License-Identifier: MIT
import csv
import io
import re
import time
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


def test_messages_are_listed_newest_first_with_what_became_of_them(commands: Commands) -> None:
    output = commands("trace").output
    assert output.index("net-3") < output.index("net-1") < output.index("net-2")
    for text in ("Failed", "Pending", "Delivered", "ann@a.example → x@b.example", "Report, 1"):
        assert text in output


def test_nothing_is_wider_than_the_terminal(commands: Commands) -> None:
    """80 columns here; only the line that names the message may be longer."""
    for output in (commands("trace").output, commands("trace", "net-1").output):
        assert max(len(line) for line in output.splitlines()) <= 80


def test_the_story_of_a_message_is_told_in_order_with_its_ends_and_its_report(commands: Commands) -> None:
    output = commands("trace", "--recipient", "x@b.example").output
    for text in ("<1@a.example>  Report, 1", "10.0.0.7", "550 5.1.1 User unknown", "report about this message"):
        assert text in output
    assert output.index("RECEIVE  received") < output.index("FAIL     failed") < output.index("→ x@b.example: failed")
    assert "old@b.example" not in output
    assert output == commands("trace", "<1@a.example>").output


def test_a_message_without_an_outcome_says_so(commands: Commands) -> None:
    assert "no end is logged; the server is not running" in commands("trace", "net-2").output


def test_a_message_that_nobody_knows_is_exit_code_one(commands: Commands) -> None:
    assert "know no message" in commands("trace", "nobody", code=1).output


def test_times_are_dates_or_spans(commands: Commands) -> None:
    def found(*options: str) -> set[str]:
        return {one["message_id"] for one in commands.json("trace", *options)["messages"]}

    assert found() == {"<1@a.example>", "<2@a.example>", "<3@a.example>"}
    assert found("--start", "2h") == {"<1@a.example>", "<3@a.example>"}
    assert found("--end", "1.00:00:00") == {"<2@a.example>"}
    assert found("--start", (NOW - timedelta(days=4)).date().isoformat(), "--end", "2h") == {"<2@a.example>"}
    assert "neither a time" in commands("trace", "--start", "yesterday-ish", code=2).stderr


def test_times_without_zone_are_local_and_utc_on_request(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Etc/GMT-5")
    time.tzset()
    try:
        received = NOW - timedelta(hours=72)
        local, utc = (received + timedelta(hours=5)).strftime("%d %H:%M"), received.strftime("%d %H:%M")
        assert f"-{local}" in commands("trace").output
        assert f"-{utc}" in commands("trace", "--utc").output
        edge = received.replace(tzinfo=None).isoformat()
        assert commands.json("trace", "--start", edge, "--end", "2h", "--utc")["messages"]
        assert commands.json("trace", "--end", edge, code=None)["messages"] == []
    finally:
        monkeypatch.undo()
        time.tzset()


def test_pages_go_on_where_the_one_before_ended(commands: Commands) -> None:
    output = commands("trace", "--limit", "2").output
    after = re.search(r"--after '?\s*'?([^'\s]+)", output)
    assert after is not None
    assert "net-2" in commands("trace", "--limit", "2", "--after", after[1]).output
    assert commands.json("trace", "--limit", "2")["next"] == after[1]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--status", "failed"), 1), (("--status", "Pending"), 1), (("--status", "poison"), 0),
        (("--source-address", "10.0.0.0/24"), 1), (("--source-address", "10.1.0.0/24"), 0),
        (("--connector", "default"), 1), (("--event-id", "FAIL", "--sender", "ANN@*"), 1),
        (("--subject", "report 2"), 1), (("--reference", "<1@a.example>"), 1),
    ],
)  # fmt: skip
def test_criteria(commands: Commands, options: tuple[str, ...], count: int) -> None:
    assert len(commands.json("trace", *options, code=None)["messages"]) == count


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--status", "gone"), "delivered, failed"), (("--source-address", "10.0"), "neither an IP address"),
        (("--limit", "0"), "outside 1 to"), (("--after", "x"), "not where a page ended"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_what_could(
    commands: Commands, options: tuple[str, ...], word: str
) -> None:
    assert word in commands("trace", *options, code=1).output


def test_csv_is_byte_for_byte_what_the_log_holds(commands: Commands, tmp_path: Path) -> None:
    (path,) = (tmp_path / "logs" / "MessageTracking").iterdir()
    written = path.read_bytes().split(b"\r\n")
    made = commands("trace", "--csv").stdout_bytes.split(b"\r\n")
    assert made[5:] == written[5:]
    assert made[:3] == written[:3]
    assert made[3].startswith(b"#Date: ")
    assert made[4] == written[4]
    rows = list(csv.reader(io.StringIO(commands("trace", "--event-id", "FAIL", "--csv").stdout, newline="")))[5:]
    assert len(rows) == 1
    assert dict(zip(FIELDS, rows[0], strict=True))["message-subject"] == "Report, 1"


def test_nothing_found_is_exit_code_one(commands: Commands) -> None:
    assert "No message fits" in commands("trace", "--sender", "nobody@a.example", code=1).output


def test_json_and_csv_together_are_wrong_usage(commands: Commands) -> None:
    commands("trace", "--json", "--csv", code=2)


def test_unreadable_lines_are_reported_beside_what_was_found(commands: Commands, tmp_path: Path) -> None:
    (path,) = (tmp_path / "logs" / "MessageTracking").iterdir()
    path.write_bytes(path.read_bytes() + b"2026-11-23T09:00:00.000Z,torn\r\n2026")
    result = commands("trace")
    assert "<1@a.example>" in commands("trace", "net-1").stdout
    assert f"{path}:11: " in result.stderr


def test_copied_logs_can_be_searched(commands: Commands, tmp_path: Path) -> None:
    commands("trace", "--logs", str(tmp_path), code=1)
    for folder in ("logs", "logs/MessageTracking"):
        assert "net-1" in commands("trace", "--logs", str(tmp_path / folder)).output
    assert "x@b.example: failed" in commands("trace", "net-1", "--logs", str(tmp_path / "logs")).output
