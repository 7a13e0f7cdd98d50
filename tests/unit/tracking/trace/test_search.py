# SPDX-License-Identifier: MIT
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridgehead.mail.item import Source
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.log import LogFile, LogLimits
from bridgehead.tracking.message_tracking import FIELDS, KIND, MessageTrackingLog
from bridgehead.tracking.outcomes import Status
from bridgehead.tracking.trace.search import Criteria, CriteriaError, Found, FoundEvent, search

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def write(folder: Path, *events: TrackingEvent, file_size: int = 10**7) -> None:
    """Each event is written at its own time, as the server would."""
    now = [0.0]
    file = LogFile(folder, KIND, LogLimits(timedelta(0), file_size, 10**12), lambda: now[0])
    log = MessageTrackingLog(file)
    for event in events:
        now[0] = event.time
        log.record(event)
        file.flush()
    file.close()


def event(minutes: float = 0, event_id: EventId = EventId.RECEIVE, **changes: object) -> TrackingEvent:
    time = (START + timedelta(minutes=minutes)).timestamp()
    values: dict[str, object] = {"source": Source.SMTP, "internal_message_id": 1, "network_message_id": "net-1"}
    return TrackingEvent(time=time, event_id=event_id, **{**values, **changes})  # type: ignore[arg-type]


def events_of(found: Found) -> list[FoundEvent]:
    """Events that fit, by time."""
    return sorted((one for message in found.messages for one in message.fitting), key=lambda one: one.date_time)


def subjects(folder: Path, **criteria: object) -> list[str]:
    return [one.message_subject for one in events_of(search(folder, Criteria(**criteria)))]  # type: ignore[arg-type]


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    write(
        tmp_path,
        event(
            0,
            message_subject='Invoice, "final"',
            message_id="<one@a.example>",
            sender_address="Ann@a.example",
            return_path="bounce@a.example",
            recipient_address=["x@b.example", "y@b.example"],
            connector_id="mx\\Default",
        ),
        event(
            5,
            EventId.SEND,
            message_subject="Größe des Berichts",
            message_id="<two@a.example>",
            network_message_id="net-2",
            internal_message_id=22,
            sender_address="bob@c.example",
            recipient_address=["z@b.example"],
            recipient_status=["250 2.0.0 OK, queued"],
        ),
        event(
            10,
            EventId.DELIVER,
            message_subject="Third",
            message_id="<three@a.example>",
            network_message_id="net-3",
            internal_message_id=3,
            source=Source.STOREDRIVER,
            sender_address="bob@c.example",
            recipient_address=["x@b.example"],
            related_recipient_address="all@b.example",
            reference="parent",
        ),
    )
    return tmp_path


def test_without_criteria_every_event_comes_by_time(mail: Path) -> None:
    assert subjects(mail) == ['Invoice, "final"', "Größe des Berichts", "Third"]


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({"sender": "ann@A.example"}, ['Invoice, "final"']),
        ({"sender": "bounce@a.example"}, ['Invoice, "final"']),
        ({"sender": "*@c.example"}, ["Größe des Berichts", "Third"]),
        ({"sender": "@c.example"}, []),
        ({"recipient": "y@b.example"}, ['Invoice, "final"']),
        ({"recipient": "X@b.example"}, ['Invoice, "final"', "Third"]),
        ({"recipient": "all@b.example"}, ["Third"]),
        ({"message_id": "two@a.example"}, ["Größe des Berichts"]),
        ({"message_id": "<two@a.example>"}, ["Größe des Berichts"]),
        ({"message_id": "*@a.example", "sender": "bob*"}, ["Größe des Berichts", "Third"]),
        ({"network_message_id": "net-3"}, ["Third"]),
        ({"internal_message_id": "2"}, []),
        ({"internal_message_id": "22"}, ["Größe des Berichts"]),
        ({"subject": "final invoice"}, ['Invoice, "final"']),
        ({"subject": 'Invoice, "final"'}, ['Invoice, "final"']),
        ({"subject": "grösse"}, []),
        ({"subject": "größe"}, ["Größe des Berichts"]),
        ({"subject": "*BERICHTS"}, ["Größe des Berichts"]),
        ({"event_id": "send"}, ["Größe des Berichts"]),
        ({"source": "STOREDRIVER"}, ["Third"]),
        ({"connector": "*\\Def*"}, ['Invoice, "final"']),
        ({"connector": "default"}, ['Invoice, "final"']),
        ({"connector": "mx"}, []),
        ({"reference": "parent"}, ["Third"]),
        ({"any_of": frozenset({"net-1", "parent"})}, ['Invoice, "final"', "Third"]),
        ({"start": START + timedelta(minutes=5)}, ["Größe des Berichts", "Third"]),
        ({"end": START + timedelta(minutes=5)}, ['Invoice, "final"']),
        ({"start": START + timedelta(minutes=1), "end": START + timedelta(minutes=9)}, ["Größe des Berichts"]),
        ({"sender": "bob@c.example", "recipient": "x@b.example"}, ["Third"]),
    ],
)
def test_each_criterion_alone_and_together(mail: Path, criteria: dict[str, object], expected: list[str]) -> None:
    assert subjects(mail, **criteria) == expected


def test_found_events_have_exchanges_columns_in_order(mail: Path) -> None:
    assert tuple(name.replace("_", "-") for name in FoundEvent.__struct_fields__) == FIELDS
    found = events_of(search(mail, Criteria(event_id="SEND")))[0]
    assert found.recipient_status == ["250 2.0.0 OK, queued"]
    assert found.time == START + timedelta(minutes=5)


def test_a_reply_with_semicolons_stays_whole(tmp_path: Path) -> None:
    text = "550 5.4.7 QUEUE.Expired; message expired; last error: refused"
    write(tmp_path, event(0, EventId.FAIL, recipient_address=["x@b.example"], recipient_status=[text]))
    (found,) = events_of(search(tmp_path, Criteria()))
    assert found.recipient_status == [text]


def test_pages_follow_each_other_from_the_newest_to_the_oldest(tmp_path: Path) -> None:
    write(
        tmp_path,
        *(event(minute // 2, message_subject=f"s{minute}", network_message_id=f"n{minute:02}") for minute in range(30)),
        file_size=1500,
    )
    assert len(list(tmp_path.iterdir())) > 3
    pages, after = [], ""
    while not pages or after:
        found = search(tmp_path, Criteria(limit=7, after=after))
        pages.append([one.events[0].message_subject for one in found.messages])
        after = found.next
    assert [len(page) for page in pages] == [7, 7, 7, 7, 2]
    assert [one for page in pages for one in page] == [f"s{minute}" for minute in reversed(range(30))]


def test_what_is_no_cursor_is_refused(mail: Path) -> None:
    for text in ("x", "1", "a/b", "9" * 30 + "/x"):
        with pytest.raises(CriteriaError, match="where a page ended"):
            search(mail, Criteria(after=text))


def test_a_message_is_whole_though_one_event_fits(tmp_path: Path) -> None:
    write(
        tmp_path,
        event(0, recipient_address=["x@b.example", "y@b.example"]),
        event(1, EventId.SEND, recipient_address=["x@b.example"]),
        event(2, EventId.FAIL, recipient_address=["y@b.example"]),
    )
    (message,) = search(tmp_path, Criteria(event_id="FAIL")).messages
    assert [one.event_id for one in message.events] == ["RECEIVE", "SEND", "FAIL"]
    assert [one.event_id for one in message.fitting] == ["FAIL"]
    assert message.status is Status.FAILED
    assert [(one.recipient, one.state) for one in message.outcomes] == [
        ("x@b.example", Status.DELIVERED),
        ("y@b.example", Status.FAILED),
    ]


def test_status_is_that_of_the_recipient_who_is_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        event(0, recipient_address=["x@b.example", "y@b.example"]),
        event(1, EventId.SEND, recipient_address=["x@b.example"]),
        event(2, EventId.DEFER, recipient_address=["y@b.example"]),
    )

    def found(recipient: str, status: Status) -> bool:
        return bool(search(tmp_path, Criteria(recipient=recipient, status=status)).messages)

    assert found("", Status.DEFERRED)
    assert found("Y@b.example", Status.DEFERRED)
    assert not found("x@b.example", Status.DEFERRED)
    assert found("x@*", Status.DELIVERED)
    assert not found("y@*", Status.DELIVERED)


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ("10.2.0.17", True), ("10.2.0.18", False), ("10.2.0.0/16", True), ("10.3.0.0/16", False),
        ("10.2.0.1-10.2.0.17", True), ("10.2.0.18-10.2.0.30", False), ("10.2.*", True), ("192.*", False),
        ("2001:db8::/32", False), ("0.0.0.0/0", True),
    ],
)  # fmt: skip
def test_source_addresses_are_looked_for_by_range(tmp_path: Path, wanted: str, fits: bool) -> None:
    write(tmp_path, event(0, client_ip="10.2.0.17", original_client_ip="10.2.0.17"))
    assert bool(search(tmp_path, Criteria(source_address=wanted)).messages) is fits


@pytest.mark.parametrize("wanted", ["10.2", "10.2.0.0/33", "10.0.0.1-2001:db8::1", "anna"])
def test_what_is_no_address_is_refused(mail: Path, wanted: str) -> None:
    with pytest.raises(CriteriaError, match="neither an IP address nor a range"):
        search(mail, Criteria(source_address=wanted))


def test_the_address_of_a_later_hop_is_no_source(tmp_path: Path) -> None:
    write(tmp_path, event(0, EventId.SEND, client_ip="192.0.2.1", original_client_ip="10.0.0.7"))
    assert not search(tmp_path, Criteria(source_address="192.0.2.1")).messages
    assert search(tmp_path, Criteria(source_address="10.0.0.7")).messages


def test_a_malformed_line_is_reported_with_file_and_line_and_the_rest_is_found(mail: Path) -> None:
    (path,) = mail.iterdir()
    data = path.read_bytes()
    lines = data.split(b"\r\n")
    lines[6:6] = [b"2026-11-23T09:01:00.000Z,torn", b'2026-11-23T09:01:00.000Z,"never closed', b"\xff\x00garbage"]
    path.write_bytes(b"\r\n".join(lines))
    found = search(mail, Criteria())
    assert len(found.messages) == 3
    assert [(one.file, one.line) for one in found.unreadable] == [(str(path), 7), (str(path), 8), (str(path), 9)]
    assert "columns" in found.unreadable[0].what


def test_a_file_without_header_is_reported(tmp_path: Path) -> None:
    (tmp_path / "MSGTRK20261123-0001.log").write_bytes(b"2026-11-23T09:00:00.000Z,a,b\r\n")
    found = search(tmp_path, Criteria())
    assert found.messages == []
    assert "#Fields" in found.unreadable[0].what


def test_columns_are_found_by_the_header_so_that_older_files_can_be_read(tmp_path: Path) -> None:
    older = "#Fields: date-time,event-id,source,message-id,recipient-address\r\n2010-01-05T10:00:00.000Z,SEND,SMTP,<m>,a;b\r\n"
    (tmp_path / "MSGTRK2010010510-1.LOG").write_bytes(b"\xef\xbb\xbf#Software: x\r\n" + older.encode())
    (found,) = events_of(search(tmp_path, Criteria(message_id="m")))
    assert found.recipient_address == ["a", "b"]
    assert found.connector_id == ""


def test_a_last_line_without_line_end_is_read(mail: Path) -> None:
    (path,) = mail.iterdir()
    path.write_bytes(path.read_bytes().removesuffix(b"\r\n"))
    assert subjects(mail, network_message_id="net-3") == ["Third"]
    assert subjects(mail)[-1] == "Third"


def test_a_last_line_that_is_being_written_is_no_fault(mail: Path) -> None:
    (path,) = mail.iterdir()
    path.write_bytes(path.read_bytes() + b'2026-11-23T09:30:00.000Z,10.0.0.1,"half a')
    found = search(mail, Criteria())
    assert len(found.messages) == 3
    assert found.unreadable == []


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    found = search(tmp_path / "none", Criteria())
    assert found.messages == []
    assert found.files == 0
