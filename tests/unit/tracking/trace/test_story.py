# SPDX-License-Identifier: MIT
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bridgehead.mail.item import Source
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.log import LogFile, LogLimits
from bridgehead.tracking.message_tracking import KIND, MessageTrackingLog
from bridgehead.tracking.outcomes import Status, outcomes_of
from bridgehead.tracking.protocol_log import SEND_KIND, ProtocolLogFile
from bridgehead.tracking.trace.search import Criteria, search
from bridgehead.tracking.trace.story import Evidence, Relation, TraceLogs, evidence
from bridgehead.tracking.trace.transcripts import sessions

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
    line(91, EventId.DSN, "net-9", "<dsn@us>", source=Source.DSN, recipients=("ann@a.example",), reference="<one@a>",
         internal=3),
    line(92, EventId.DELIVER, "net-9", "<dsn@us>", source=Source.STOREDRIVER, recipients=("ann@a.example",),
         internal=3),
    line(50, EventId.RECEIVE, "net-5", "<other@a>", recipients=("x@b",), internal=5),
    line(51, EventId.RECEIVE, "net-6", "<one@a>", recipients=("z@b",), internal=6),
]  # fmt: skip


def write(folder: Path, events: list[TrackingEvent]) -> None:
    file = LogFile(folder, KIND, LogLimits(timedelta(0), 10**7, 10**9), lambda: START)
    log = MessageTrackingLog(file)
    for event in sorted(events, key=lambda event: event.time):
        log.record(event)
    file.close()


def known(folder: Path, identity: str, events: list[TrackingEvent] = BOUNCED) -> Evidence:
    write(folder, events)
    found = evidence(TraceLogs(tracking=str(folder)), identity)
    assert found is not None
    return found


def links(found: Evidence) -> list[tuple[str, Relation]]:
    return [(one.message.key, one.relation) for one in found.linked]


def test_a_message_is_found_by_each_of_its_ids_with_its_forks(tmp_path: Path) -> None:
    for identity in ("net-1", "NET-1", "2"):
        found = known(tmp_path, identity)
        events = [event.event_id for event in found.message.events]
        assert events[:5] == ["RECEIVE", "TRANSFER", "SEND", "DEFER", "FAIL"], identity
        for file in tmp_path.iterdir():
            file.unlink()


def test_it_is_linked_with_its_report_and_with_what_has_the_same_id(tmp_path: Path) -> None:
    assert links(known(tmp_path, "net-1")) == [("net-6", Relation.SAME_ID), ("net-9", Relation.REPORT)]


def test_a_report_is_linked_with_the_message_it_is_about(tmp_path: Path) -> None:
    found = known(tmp_path, "dsn@us")
    assert found.message.key == "net-9"
    assert ("net-1", Relation.ORIGINAL) in links(found)


def test_of_several_messages_with_one_id_the_newest_is_meant(tmp_path: Path) -> None:
    assert known(tmp_path, "<one@a>").message.key == "net-6"


def test_what_is_not_known_is_nothing(tmp_path: Path) -> None:
    write(tmp_path, BOUNCED)
    assert evidence(TraceLogs(tracking=str(tmp_path)), "nobody") is None
    assert evidence(TraceLogs(tracking=str(tmp_path / "none")), "net-1") is None


def outcomes(folder: Path, events: list[TrackingEvent]) -> list[tuple[str, Status, str]]:
    write(folder, events)
    (one,) = search(folder, Criteria()).messages
    assert one.outcomes == outcomes_of(one.events)
    return [(outcome.recipient, outcome.state, outcome.status) for outcome in one.outcomes]


def test_each_recipient_has_the_outcome_of_its_last_event(tmp_path: Path) -> None:
    assert outcomes(tmp_path, BOUNCED[:5]) == [
        ("x@b", Status.DELIVERED, "250 2.0.0 OK"),
        ("y@c", Status.FAILED, "550 5.1.1 unknown"),
    ]


def test_groups_and_aliases_end_where_others_begin_and_a_second_way_changes_nothing(tmp_path: Path) -> None:
    def event(seconds: float, event_id: EventId, *recipients: str, related: str = "") -> TrackingEvent:
        made = line(seconds, event_id, "net-2", "<two@a>", recipients=recipients)
        made.related_recipient_address = related
        return made

    assert outcomes(
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
    ) == [
        ("team@b", Status.EXPANDED, ""),
        ("alias@b", Status.REDIRECTED, "now y@b"),
        ("fwd@b", Status.REDIRECTED, "now x@b"),
        ("x@b", Status.DELIVERED, ""),
        ("y@b", Status.PENDING, ""),
    ]


def test_what_the_server_itself_put_off_tells_its_reason(tmp_path: Path) -> None:
    put_off = line(1, EventId.DEFER, "net-3", "<three@a>", source=Source.ROUTING, recipients=("x@b",))
    put_off.source_context = "no send connector has an address space for b"
    assert outcomes(tmp_path, [put_off]) == [("x@b", Status.DEFERRED, "no send connector has an address space for b")]


def test_a_transcript_is_the_beginning_of_the_session_and_the_messages_own_transaction(tmp_path: Path) -> None:
    now = [START]
    file = LogFile(tmp_path, SEND_KIND, LogLimits(timedelta(0), 10**7, 10**9), lambda: now[0])
    log = ProtocolLogFile(file, lambda: now[0])
    talk = [
        (0, "+", ""), (0, "<", "220 mx"), (1, ">", "MAIL FROM:<a@a> SIZE=1"), (1, "<", "250 first"),
        (5, ">", "MAIL FROM:<b@b> SIZE=1"), (6, "<", "451 4.7.1 later, please"), (9, ">", "MAIL FROM:<c@c>"),
        (9, "<", "250 third"),
    ]  # fmt: skip
    for number, (seconds, event, data) in enumerate(talk):
        now[0] = START + seconds
        for session in ("00000000000000AA", "00000000000000AB"):
            log.record(
                connector_id="Internet", session_id=session, sequence=number, local="10.0.0.1:1", remote="10.0.0.2:25",
                event=event, data=data if session.endswith("A") else "other",
            )  # fmt: skip
    file.close()

    def moment(seconds: float) -> datetime:
        return datetime.fromtimestamp(START + seconds, UTC)

    found = sessions(tmp_path, "SEND", None, ["00000000000000AA", "none"], moment(0), moment(9))
    session = found["00000000000000AA"]
    assert session.remote == "10.0.0.2:25"
    said = [one.data for one in session.about(moment(6))]
    assert said == ["", "220 mx", "MAIL FROM:<b@b> SIZE=1", "451 4.7.1 later, please"]
    assert found["none"].conversation == []
    later = sessions(tmp_path, "SEND", None, ["00000000000000AA"], moment(40_000), moment(40_001))
    assert len(later["00000000000000AA"].conversation) == (8 if _written_lately(tmp_path, moment(32_000)) else 0)


def _written_lately(folder: Path, when: datetime) -> bool:
    """The real clock decides whether the file could still hold lines of that time."""
    return any(file.stat().st_mtime >= when.timestamp() for file in folder.iterdir())
