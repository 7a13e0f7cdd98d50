# SPDX-License-Identifier: MIT
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bridgehead.mail.item import Source
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.log import LogFile, LogLimits
from bridgehead.tracking.message_tracking import KIND, MessageTrackingLog
from bridgehead.tracking.search import Criteria, search
from bridgehead.tracking.story import MESSAGES, MessageStory, stories_of

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC).timestamp()


def line(
    seconds: float, event_id: EventId, network_id: str, message_id: str, *, source: Source = Source.SMTP,
    recipients: tuple[str, ...] = (), statuses: tuple[str, ...] = (), reference: str = "", internal: int = 1,
) -> TrackingEvent:  # fmt: skip
    return TrackingEvent(
        time=START + seconds,
        event_id=event_id,
        source=source,
        network_message_id=network_id,
        message_id=message_id,
        recipient_address=list(recipients),
        recipient_status=list(statuses),
        reference=reference,
        internal_message_id=internal,
        return_path="ann@a.example",
    )


BOUNCED = [
    line(0, EventId.RECEIVE, "net-1", "<one@a>", recipients=("x@b", "y@c")),
    line(1, EventId.TRANSFER, "net-1", "<one@a>", recipients=("y@c",), reference="1", internal=2),
    line(2, EventId.SEND, "net-1", "<one@a>", recipients=("x@b",), statuses=("250 2.0.0 OK",)),
    line(3, EventId.DEFER, "net-1", "<one@a>", recipients=("y@c",), statuses=("451 4.3.0 later",), internal=2),
    line(90, EventId.FAIL, "net-1", "<one@a>", recipients=("y@c",), statuses=("550 5.1.1 unknown",), internal=2),
    line(
        91,
        EventId.DSN,
        "net-9",
        "<dsn@us>",
        source=Source.DSN,
        recipients=("ann@a.example",),
        reference="<one@a>",
        internal=3,
    ),
    line(
        92, EventId.DELIVER, "net-9", "<dsn@us>", source=Source.STOREDRIVER, recipients=("ann@a.example",), internal=3
    ),
    line(50, EventId.RECEIVE, "net-5", "<other@a>", recipients=("x@b",), internal=5),
]


def told(folder: Path, events: list[TrackingEvent], **criteria: object) -> list[MessageStory]:
    file = LogFile(folder, KIND, LogLimits(timedelta(0), 10**7, 10**9), lambda: START)
    log = MessageTrackingLog(file)
    for event in sorted(events, key=lambda event: event.time):
        log.record(event)
    file.close()
    stories, _ = stories_of(folder, search(folder, Criteria(**criteria)))  # type: ignore[arg-type]
    return stories


def test_one_found_event_brings_the_whole_message_with_its_forks_and_its_report(tmp_path: Path) -> None:
    (one,) = told(tmp_path, BOUNCED, event_id="SEND")
    assert [event.event_id for event in one.events] == ["RECEIVE", "TRANSFER", "SEND", "DEFER", "FAIL"]
    (report,) = one.reports
    assert [event.event_id for event in report.events] == ["DSN", "DELIVER"]


def test_a_report_that_was_found_brings_the_message_it_is_about(tmp_path: Path) -> None:
    (one,) = told(tmp_path, BOUNCED, message_id="<dsn@us>", event_id="DELIVER")
    assert one.message_id == "<one@a>"
    assert [report.message_id for report in one.reports] == ["<dsn@us>"]


def test_each_recipient_has_the_outcome_of_its_last_event(tmp_path: Path) -> None:
    (one,) = told(tmp_path, BOUNCED, network_message_id="net-1")
    outcomes = [(outcome.recipient, outcome.event_id, outcome.status) for outcome in one.outcomes]
    assert outcomes == [("x@b", "SEND", "250 2.0.0 OK"), ("y@c", "FAIL", "550 5.1.1 unknown")]


def test_groups_and_aliases_end_where_others_begin_and_a_second_way_changes_nothing(tmp_path: Path) -> None:
    def event(seconds: float, event_id: EventId, *recipients: str, related: str = "") -> TrackingEvent:
        made = line(seconds, event_id, "net-2", "<two@a>", recipients=recipients)
        made.related_recipient_address = related
        return made

    (one,) = told(
        tmp_path,
        [
            event(0, EventId.RECEIVE, "team@b", "alias@b", "fwd@b"),
            event(1, EventId.EXPAND, "x@b", "team@b", related="team@b"),
            event(2, EventId.DUPLICATEEXPAND, "team@b"),
            event(3, EventId.RESOLVE, "y@b", related="alias@b"),
            event(4, EventId.REDIRECT, "x@b", related="fwd@b"),
            event(5, EventId.DELIVER, "x@b"),
            event(6, EventId.DUPLICATEEXPAND, "x@b"),
        ],
    )
    assert [(outcome.recipient, outcome.event_id, outcome.status) for outcome in one.outcomes] == [
        ("team@b", "EXPAND", ""),
        ("alias@b", "RESOLVE", "now y@b"),
        ("fwd@b", "REDIRECT", "now x@b"),
        ("x@b", "DELIVER", ""),
        ("y@b", "RESOLVE", ""),
    ]


def test_what_the_server_itself_put_off_tells_its_reason(tmp_path: Path) -> None:
    put_off = line(1, EventId.DEFER, "net-3", "<three@a>", source=Source.ROUTING, recipients=("x@b",))
    put_off.source_context = "no send connector has an address space for b"
    (one,) = told(tmp_path, [put_off])
    assert [outcome.status for outcome in one.outcomes] == ["no send connector has an address space for b"]


def test_messages_that_share_nothing_are_stories_of_their_own_by_time(tmp_path: Path) -> None:
    stories = told(tmp_path, BOUNCED, recipient="x@b")
    assert [one.message_id for one in stories] == ["<one@a>", "<other@a>"]


def test_what_was_not_found_is_not_told(tmp_path: Path) -> None:
    assert told(tmp_path, BOUNCED, recipient="nobody@b") == []


def test_the_newest_messages_are_told_when_there_are_too_many(tmp_path: Path) -> None:
    events = [line(number, EventId.RECEIVE, f"net-{number}", f"<{number}@a>") for number in range(MESSAGES + 5)]
    stories = told(tmp_path, events)
    assert len(stories) == MESSAGES
    assert stories[0].network_message_id == "net-5"
