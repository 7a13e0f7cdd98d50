# SPDX-License-Identifier: MIT
"""The index changes how long a search takes, never what it answers."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bridgehead.mail.item import Source
from bridgehead.tracking.event_line import FoundEvent
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.log import LogFile, LogLimits
from bridgehead.tracking.message_tracking import KIND, MessageTrackingLog
from bridgehead.tracking.outcomes import Status, after_event, outcomes_of
from bridgehead.tracking.trace import candidates as trace_candidates
from bridgehead.tracking.trace.candidates import TraceCandidates
from bridgehead.tracking.trace.criteria import Criteria, Matcher
from bridgehead.tracking.trace.index import INDEX_NAME, connect_to_read
from bridgehead.tracking.trace.indexer import Indexer
from bridgehead.tracking.trace.search import Found, IndexState, search

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ADDRESSES = (
    "ann@a.example",
    "Bob@b.example",
    "x@b.example",
    "joann@a.example",
    "größe@ä.example",
    '"a,b"@c.example',
    "",
)
SUBJECTS = ("Invoice March", 'the "final", invoice', "GRÖSSE", "größe", "grosse", "\u212aelvin", "", "10% off_*")
IPS = ("10.2.0.17", "10.3.0.1", "2001:db8::1", "")


class Log:
    """A tracking log written by the real writer, each event at its own time."""

    def __init__(self, folder: Path, file_size: int = 2500) -> None:
        self.folder, self._now = folder, 0.0
        self._file = LogFile(folder, KIND, LogLimits(timedelta(0), file_size, 10**12), lambda: self._now)
        self._log = MessageTrackingLog(self._file)

    def write(self, *events: TrackingEvent) -> None:
        for one in events:
            self._now = one.time
            self._log.record(one)
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def event(minutes: float, event_id: EventId = EventId.RECEIVE, number: int = 1, **changes: object) -> TrackingEvent:
    values: dict[str, object] = {
        "source": Source.SMTP, "internal_message_id": number, "network_message_id": f"net-{number:04}",
        "message_id": f"<m{number}@a.example>", "recipient_address": ["x@b.example"], "return_path": "ann@a.example",
    }  # fmt: skip
    time = (START + timedelta(minutes=minutes)).timestamp()
    return TrackingEvent(time=time, event_id=event_id, **{**values, **changes})  # type: ignore[arg-type]


@st.composite
def random_events(draw: st.DrawFn) -> list[TrackingEvent]:
    minute, made = 0.0, []
    for _ in range(draw(st.integers(1, 25))):
        minute += draw(st.sampled_from((0.0, 0.5, 60.0, 1500.0)))
        number = draw(st.integers(1, 8))
        made.append(
            event(
                minute,
                draw(st.sampled_from(EventId)),
                number,
                network_message_id=draw(st.sampled_from((f"net-{number}", f"net-{number}", ""))),
                internal_message_id=draw(st.integers(1, 12)),
                recipient_address=draw(st.lists(st.sampled_from(ADDRESSES[:5]), max_size=3)),
                sender_address=draw(st.sampled_from(ADDRESSES)),
                return_path=draw(st.sampled_from(ADDRESSES)),
                related_recipient_address=draw(st.sampled_from(("", "", "team@b.example", "x@b.example"))),
                message_subject=draw(st.sampled_from(SUBJECTS)),
                client_ip=draw(st.sampled_from(IPS)),
                original_client_ip=draw(st.sampled_from(IPS)),
                connector_id=draw(st.sampled_from(("mx\\Default", "Internet", ""))),
                reference=draw(st.sampled_from(("", "<m1@a.example>", "3"))),
                source=draw(st.sampled_from((Source.SMTP, Source.DSN, Source.ROUTING))),
            )
        )
    return made


WANTED: dict[str, tuple[object, ...]] = {
    "sender": ("ann@a.example", "*@A.example", "bob@B.example", "*,*", "*ö*", "ann*"),
    "recipient": ("X@b.example", "team@b.example", "*@b.example", "gr*e@*", "nobody@b.example"),
    "subject": ("invoice", "march INVOICE", '"final",', "größe", "grösse", "g*e", "k", "%", "*_*"),
    "message_id": ("m1@a.example", "<M2@a.example>", "*@a.example"),
    "network_message_id": ("NET-0003", "net*"),
    "internal_message_id": ("3", "1*"),
    "event_id": ("send", "FAIL", "D*", "receive"),
    "source": ("smtp", "DSN"),
    "connector": ("default", "mx\\*", "internet"),
    "reference": ("<m1@a.example>", "3"),
    "source_address": ("10.2.0.0/16", "10.3.0.1", "2001:db8::/32", "10.*"),
    "any_of": (frozenset({"net-0002", "<m1@a.example>"}), frozenset({"3"})),
    "status": tuple(Status),
    "start": (START + timedelta(minutes=1), START + timedelta(days=1)),
    "end": (START + timedelta(minutes=61), START + timedelta(days=2)),
}


@st.composite
def criteria(draw: st.DrawFn) -> Criteria:
    """Few at once: what nothing fits tells nothing."""
    names = draw(st.lists(st.sampled_from(sorted(WANTED)), max_size=2, unique=True))
    chosen = {name: draw(st.sampled_from(WANTED[name])) for name in names}
    return Criteria(**chosen, limit=draw(st.sampled_from((1, 3, 1000))))  # type: ignore[arg-type]


def facts(found: Found) -> list[object]:
    return [(one.key, one.first, one.events, one.fitting, one.outcomes) for one in found.messages] + [found.next]


def by_hand(folder: Path, wanted: Criteria) -> list[str]:
    """Keys of the messages that fit, found by looking at every event of every message."""
    matcher = Matcher(wanted)
    return [
        one.key
        for one in search(folder, Criteria(limit=10**6)).messages
        if any(map(matcher.event, one.events)) and matcher.outcomes(one.outcomes)
    ][: wanted.limit]


def index_all(folder: Path, max_size: int = 2**40) -> Path:
    indexer = Indexer(folder / INDEX_NAME, folder, max_size)
    while indexer.step():
        pass
    indexer.close()
    return folder / INDEX_NAME


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=st.lists(random_events(), min_size=1, max_size=3), steps=st.integers(0, 6),
    wanted=st.lists(criteria(), min_size=1, max_size=8), lost=st.booleans(),
    many=st.sampled_from((0, 200)), in_order=st.booleans(),
)  # fmt: skip
def test_with_an_index_or_half_of_one_the_answer_is_that_of_the_logs(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[TrackingEvent]], steps: int, wanted: list[Criteria],
    lost: bool, many: int, in_order: bool,
) -> None:  # fmt: skip
    """Some lines are indexed at their time, some in part afterwards, some not; the oldest file may go meanwhile."""
    folder = tmp_path_factory.mktemp("log")
    log = Log(folder)
    if in_order:  # else each part begins at the same time, and what is indexed later may have happened before
        parts = [[replace(one, time=one.time + 1e6 * n) for one in part] for n, part in enumerate(parts)]
    for part in parts[:-1]:
        log.write(*part)
        index_all(folder)
    log.write(*parts[-1])
    if lost and len(files := sorted(folder.glob("MSGTRK*"))) > 1:
        files[0].unlink()
    indexer = Indexer(folder / INDEX_NAME, folder, 2**40)
    for _ in range(max(steps, 1 if lost else 0)):
        indexer.step()
    indexer.close()
    log.close()
    for one in wanted:
        with mock.patch.object(trace_candidates, "_MANY", many):
            with_index, without = search(folder, one, folder / INDEX_NAME), search(folder, one)
        assert facts(with_index) == facts(without), one
        assert [message.key for message in without.messages] == by_hand(folder, one), one


@given(random_events())
def test_states_without_reasons_are_those_of_outcomes(events: list[TrackingEvent]) -> None:
    states: dict[str, Status] = {}
    found = [
        FoundEvent(
            date_time="2026-11-23T09:00:00.000Z", event_id=one.event_id.value, recipient_address=one.recipient_address,
            related_recipient_address=one.related_recipient_address,
        )
        for one in events
    ]  # fmt: skip
    for one in found:
        after_event(states, one.event_id, one.recipient_address, one.related_recipient_address)
    assert states == {one.recipient: one.state for one in outcomes_of(found)}


def proposed(index: Path, wanted: Criteria) -> list[str]:
    """Keys of the messages whose lines a search would read."""
    connection = connect_to_read(index)
    try:
        files = [file for (file,) in connection.execute("SELECT id FROM file")]
        return [one.key for one in TraceCandidates(connection, files, wanted).proposed(None, ())]
    finally:
        connection.close()


def test_what_became_of_a_message_that_waited_is_known_without_its_first_lines(tmp_path: Path) -> None:
    """Or a search for what is still deferred would read all that ever was."""
    log = Log(tmp_path / "logs", file_size=10**6)
    recipients = ["x@b.example", "y@b.example"]
    log.write(*(event(n, number=n, recipient_address=recipients) for n in range(5)))
    for hour in range(1, 5):
        index_all(log.folder)
        log.write(*(event(60 * hour + n, EventId.DEFER, n, recipient_address=["x@b.example"]) for n in range(5)))
    index = index_all(log.folder)
    everybody = {f"net-{n:04}" for n in range(5)}
    assert set(proposed(index, Criteria(status=Status.DEFERRED))) == everybody
    assert set(proposed(index, Criteria(status=Status.PENDING))) == everybody
    log.write(*(event(600 + n, EventId.SEND, n, recipient_address=recipients) for n in range(4)))
    index_all(log.folder)
    assert proposed(index, Criteria(status=Status.DEFERRED)) == ["net-0004"]
    assert proposed(index, Criteria(status=Status.DELIVERED, end=START + timedelta(minutes=2))) == [
        "net-0002", "net-0001", "net-0000",
    ]  # fmt: skip
    with closing(sqlite3.connect(index)) as connection, connection:
        assert connection.execute("SELECT key FROM open_message").fetchall() == [("net-0004",)]


@pytest.mark.parametrize(
    ("first", "then", "status"),
    [
        pytest.param([(0, EventId.RECEIVE), (1, EventId.SEND)], (60, EventId.RESUBMIT), Status.PENDING, id="reopened"),
        pytest.param([(0, EventId.RECEIVE), (60, EventId.DEFER)], (30, EventId.SEND), Status.DEFERRED, id="late line"),
    ],
)
def test_what_became_of_a_message_is_looked_up_where_its_order_is_unusual(
    tmp_path: Path, first: list[tuple[int, EventId]], then: tuple[int, EventId], status: Status
) -> None:
    log = Log(tmp_path / "logs", file_size=10**6)
    log.write(*(event(*one) for one in first))
    index_all(log.folder)
    log.write(event(*then))
    index = index_all(log.folder)
    for wanted in (Criteria(status=status), Criteria(status=status, event_id="RECEIVE")):
        found = search(log.folder, wanted, index)
        assert (numbers(found), found.bytes_read) == ([1], 0)
        assert facts(found) == facts(search(log.folder, wanted))


def test_little_at_the_end_of_the_newest_log_waits(log: Log) -> None:
    indexer = Indexer(log.folder / INDEX_NAME, log.folder, 2**40, least=10**6)
    while indexer.step():
        pass
    indexer.close()
    newest = sorted(log.folder.glob("MSGTRK*"))[-1]
    found = search(log.folder, Criteria(), log.folder / INDEX_NAME)
    assert (numbers(found), found.bytes_read) == (ALL, newest.stat().st_size)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Forty messages that were received and sent, in several files."""
    made = Log(tmp_path / "logs")
    for number in range(40):
        made.write(event(number, number=number), event(number + 0.1, EventId.SEND, number))
    return made


def numbers(found: Found) -> list[int]:
    return [int(one.events[0].internal_message_id) for one in found.messages]


ALL = list(reversed(range(40)))


def test_an_index_covers_what_is_written_and_the_rest_is_read(log: Log) -> None:
    index = index_all(log.folder)
    found = search(log.folder, Criteria(), index)
    assert numbers(found) == ALL
    assert found.index.state is IndexState.COMPLETE
    assert (found.index.events, found.bytes_read) == (80, 0)
    assert 40 <= found.index.messages < 50, "some messages stand in two files"
    assert found.index.size == sum(file.stat().st_size for file in log.folder.glob(INDEX_NAME + "*"))
    log.write(event(50, number=50))
    found = search(log.folder, Criteria(), index)
    assert numbers(found) == [50, *ALL]
    assert 0 < found.bytes_read < 1000


def test_no_index_is_needed(log: Log) -> None:
    found = search(log.folder, Criteria(), log.folder / INDEX_NAME)
    assert numbers(found) == ALL
    assert found.index.state is IndexState.MISSING


def cut_short(index: Path) -> None:
    with index.open("r+b") as file:
        file.truncate(8192)


def overwritten(index: Path) -> None:
    data = bytearray(index.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    index.write_bytes(data)


def no_database(index: Path) -> None:
    index.write_bytes(b"this is not a database at all, though it is long enough to be looked at" * 40)


def emptied(index: Path) -> None:
    index.write_bytes(b"")


def of_somebody_else(index: Path) -> None:
    index.unlink()
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("CREATE TABLE file (id INTEGER)")


def of_another_version(index: Path) -> None:
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("PRAGMA user_version = 999")


def with_torn_records(index: Path) -> None:
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("UPDATE part SET data = x'0011' WHERE name = 'offsets'")


DAMAGES = [cut_short, overwritten, no_database, emptied, of_somebody_else, of_another_version, with_torn_records]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_index_makes_no_answer_wrong_and_is_made_anew(log: Log, damage: Callable[[Path], None]) -> None:
    index = index_all(log.folder)
    damage(index)
    found = search(log.folder, Criteria(), index)
    assert numbers(found) == ALL
    assert found.index.state is IndexState.DAMAGED
    indexer = Indexer(index, log.folder, 2**40)
    indexer.rebuild("a search found it damaged")
    while indexer.step():
        pass
    indexer.close()
    found = search(log.folder, Criteria(), index)
    assert numbers(found) == ALL
    assert found.index.state is IndexState.COMPLETE


def test_an_index_of_other_logs_is_not_believed(log: Log, tmp_path: Path) -> None:
    other = Log(tmp_path / "other")
    other.write(*(event(number, number=900 + number, message_subject="other") for number in range(100)))
    foreign = index_all(other.folder)
    index = log.folder / INDEX_NAME
    index.write_bytes(foreign.read_bytes())
    assert numbers(search(log.folder, Criteria(), index)) == ALL
    assert not search(log.folder, Criteria(subject="other"), index).messages
    index_all(log.folder)
    found = search(log.folder, Criteria(), index)
    assert numbers(found) == ALL
    assert (found.bytes_read, found.index.events) == (0, 80)


def test_a_log_that_was_edited_is_read_anew(log: Log) -> None:
    index = index_all(log.folder)
    file = sorted(log.folder.glob("MSGTRK*"))[1]
    file.write_bytes(file.read_bytes().replace(b"x@b.example", b"y@b.example"))
    edited = len(search(log.folder, Criteria(recipient="y@b.example")).messages)
    assert edited
    assert len(search(log.folder, Criteria(recipient="y@b.example"), index).messages) == edited
    index_all(log.folder)
    found = search(log.folder, Criteria(recipient="y@b.example"), index)
    assert (len(found.messages), found.bytes_read) == (edited, 0)


def test_what_a_deleted_log_held_is_forgotten(log: Log) -> None:
    index = index_all(log.folder)
    files = sorted(log.folder.glob("MSGTRK*"))
    for file in files[:-1]:
        file.unlink()
    kept = numbers(search(log.folder, Criteria()))
    assert 0 < len(kept) < 10
    assert numbers(search(log.folder, Criteria(), index)) == kept
    index_all(log.folder)
    with closing(sqlite3.connect(index)) as connection, connection:
        for table in ("file", "segment"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
        assert connection.execute("SELECT count(DISTINCT segment) FROM part").fetchone() == (1,)
    assert numbers(search(log.folder, Criteria(), index)) == kept


def test_a_log_that_goes_during_a_search_takes_only_its_own_lines(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_all(log.folder)
    files = sorted(log.folder.glob("MSGTRK*"))
    from bridgehead.tracking.trace import search as module

    real = module.scan

    def scan_later(*arguments: object) -> object:
        files[0].unlink(missing_ok=True)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "scan", scan_later)
    found = search(log.folder, Criteria(), index)
    assert set(numbers(search(log.folder, Criteria()))) <= set(numbers(found))
    assert len(numbers(found)) >= 35


def test_an_index_of_limited_size_leaves_the_oldest_out(log: Log) -> None:
    whole = index_all(log.folder).stat().st_size
    for file in log.folder.glob(INDEX_NAME + "*"):
        file.unlink()
    index = index_all(log.folder, max_size=100_000)
    assert index.stat().st_size < max(whole, 150_000)
    assert numbers(search(log.folder, Criteria(), index)) == ALL
    tiny = index_all(log.folder, max_size=1)
    for number in range(60, 120):
        log.write(event(number, number=number))
        index_all(log.folder, max_size=1)
    assert tiny.stat().st_size < 400_000
    assert numbers(search(log.folder, Criteria(), tiny)) == [*reversed(range(60, 120)), *ALL]


def test_lines_that_cannot_be_read_are_told_from_the_index_too(log: Log) -> None:
    file = sorted(log.folder.glob("MSGTRK*"))[0]
    file.write_bytes(file.read_bytes() + b"2026-11-23T09:01:00.000Z,torn\r\n")
    without = search(log.folder, Criteria()).unreadable
    found = search(log.folder, Criteria(), index_all(log.folder))
    assert found.bytes_read == 0
    assert found.unreadable == without
    assert len(without) == 1


def test_two_events_of_one_message_in_one_batch_or_many_make_the_same(log: Log) -> None:
    """The message is found by what came later, too."""
    log.write(event(60, number=77))
    index = index_all(log.folder)
    assert not search(log.folder, Criteria(status=Status.FAILED), index).messages
    log.write(event(61, EventId.FAIL, 77))
    assert numbers(search(log.folder, Criteria(status=Status.FAILED), index)) == [77]
    index_all(log.folder)
    found = search(log.folder, Criteria(status=Status.FAILED), index)
    assert (numbers(found), found.bytes_read) == ([77], 0)
    assert not search(log.folder, Criteria(status=Status.PENDING), index).messages
