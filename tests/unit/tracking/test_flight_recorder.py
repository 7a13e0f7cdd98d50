# SPDX-License-Identifier: MIT
"""The flight recorder: bounded, counted, past with a success, and there again after a restart."""

from pathlib import Path
from typing import Any

from bridgehead.diagnosis.facts import AttemptFacts, How, Phase, RefusalFacts
from bridgehead.mail.limits import (
    FLIGHT_DESTINATIONS,
    FLIGHT_TRANSCRIPT_BYTES,
    FLIGHTS_PER_DESTINATION,
    GOOD_SESSIONS,
    REFUSALS_PER_SOURCE,
    REFUSED_SOURCES,
)
from bridgehead.tracking.flight_recorder import SAVE_SECONDS, FlightRecorder


class Now:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


def failure(time: float, **changes: Any) -> AttemptFacts:
    facts: dict[str, Any] = {
        "queue": "To x/x.test", "phase": Phase.RCPT, "how": How.REPLY, "time": time, "address": "192.0.2.1", "port": 25,
        "code": 450, "status": "4.7.1", "text": "try later, id 4711", "transcript": ("> RCPT", "< 450")
    }  # fmt: skip
    return AttemptFacts(**(facts | changes))


def recorder(tmp_path: Path, now: Now) -> FlightRecorder:
    return FlightRecorder(tmp_path / "FlightRecorder" / "flights.msgpack", now)


def test_failures_alike_are_one_record_with_a_count(tmp_path: Path) -> None:
    now = Now()
    one = recorder(tmp_path, now)
    for number in range(12):
        one.failed(failure(now.time + number, text=f"try later, id {number * 37}", octets=1000 + number))
    one.failed(failure(now.time + 20, code=451))
    first, second = one.attempts("To x/x.test")
    assert (first.count, first.first, first.time) == (12, now.time, now.time + 11)
    assert (first.least, first.most) == (1000, 1011)
    assert second.count == 1


def test_a_success_ends_what_kept_sessions_from_being_had_and_not_what_was_said_of_messages(tmp_path: Path) -> None:
    now = Now()
    one = recorder(tmp_path, now)
    one.failed(failure(now.time, phase=Phase.CONNECT, how=How.REFUSED))
    one.failed(failure(now.time, phase=Phase.DNS, how=How.SILENT, address="", port=0))
    one.failed(failure(now.time))
    one.failed(failure(now.time, phase=Phase.CONNECT, how=How.REFUSED, address="192.0.2.2"))
    one.delivered(
        "To x/x.test", "mx", "192.0.2.1", 25, messages=3, last=now.time + 1, local="192.0.2.9:4", encrypted=True,
        heard=b"220 mx\r\n250-mx\r\n250 STARTTLS\r\n",
    )  # fmt: skip
    assert {(kept.phase, kept.address) for kept in one.attempts()} == {
        (Phase.RCPT, "192.0.2.1"), (Phase.CONNECT, "192.0.2.2")
    }  # fmt: skip
    (host,) = one.hosts("To x/x.test")
    assert (host.good, host.sessions, host.starttls, host.encrypted) == (3, 1, 1, 1)


def test_a_session_in_which_a_message_was_refused_ends_what_kept_sessions_from_being_had(tmp_path: Path) -> None:
    now = Now()
    one = recorder(tmp_path, now)
    one.failed(failure(now.time, phase=Phase.CONNECT, how=How.REFUSED))
    one.failed(failure(now.time, phase=Phase.DNS, how=How.SILENT, address="", port=0))
    one.failed(failure(now.time, phase=Phase.CONNECT, how=How.REFUSED, address="192.0.2.2"))
    one.failed(failure(now.time + 1, phase=Phase.AFTER_DOT))
    assert {(kept.phase, kept.address) for kept in one.attempts()} == {
        (Phase.AFTER_DOT, "192.0.2.1"), (Phase.CONNECT, "192.0.2.2")
    }  # fmt: skip
    one.failed(failure(now.time + 2, phase=Phase.CONNECT, how=How.REFUSED))
    assert [kept.phase for kept in one.attempts()][-1] is Phase.CONNECT


def test_how_the_last_good_sessions_of_each_destination_began_is_kept(tmp_path: Path) -> None:
    one = recorder(tmp_path, Now())
    pieces = [(False, b"220 mx\r\n"), (True, b"EHLO us\r\n"), (False, b"250-mx\r\n250 STARTTLS\r\n"),
              (True, b"STARTTLS\r\n"), (False, b"220 go\r\n")]  # fmt: skip
    for address, count in (("192.0.2.1", GOOD_SESSIONS + 2), ("192.0.2.2", 1)):
        for number in range(count):
            for _ in range(2):  # told in the midst of a session, and at its end
                one.delivered(
                    "To x/x.test", "mx", address, 25, messages=1, last=1.0, local="", encrypted=True, heard=b"",
                    session=f"{address}#{number}", opening=pieces, tls="TLSv1.3 with X",
                )  # fmt: skip
    kept = [number for number in range(GOOD_SESSIONS + 2) if one.opening(f"192.0.2.1#{number}")]
    assert kept == list(range(2, GOOD_SESSIONS + 2))
    assert one.opening("192.0.2.2#0") == (
        "< 220 mx", "> EHLO us", "< 250-mx", "< 250 STARTTLS", "> STARTTLS", "< 220 go",
        "* TLS negotiated: TLSv1.3 with X",
    )  # fmt: skip


def test_memory_is_bounded_and_the_longest_unused_makes_room(tmp_path: Path) -> None:
    now = Now()
    one = recorder(tmp_path, now)
    for number in range(FLIGHT_DESTINATIONS + 10):
        one.failed(failure(now.time + number, queue=f"To x/{number}.test", transcript=("x" * 500,) * 100))
        one.refused(RefusalFacts(source=f"s{number % (REFUSED_SOURCES + 5)}", connector="c", code=550, status="5.7.1",
                                 text="no", time=now.time + number))  # fmt: skip
    queues = {kept.queue for kept in one.attempts()}
    assert len(queues) == FLIGHT_DESTINATIONS
    assert "To x/0.test" not in queues
    assert f"To x/{FLIGHT_DESTINATIONS + 9}.test" in queues
    assert all(sum(map(len, kept.transcript)) <= FLIGHT_TRANSCRIPT_BYTES + 40 for kept in one.attempts())
    for number in range(30):
        one.failed(failure(now.time + 1000 + number, queue="many", code=400 + number))
        one.refused(RefusalFacts(source="many", connector="c", code=500 + number, status="", text="", time=now.time))
    assert len(one.attempts("many")) == FLIGHTS_PER_DESTINATION
    assert len(one.refusals("many")) == REFUSALS_PER_SOURCE
    assert one.attempts("many")[-1].code == 429


def test_it_survives_a_restart_and_is_written_at_intervals(tmp_path: Path) -> None:
    now = Now()
    one = recorder(tmp_path, now)
    one.failed(failure(now.time))
    one.refused(RefusalFacts(source="a", connector="c", code=550, status="5.7.1", text="no", time=now.time))
    one.save()
    file = tmp_path / "FlightRecorder" / "flights.msgpack"
    written = file.stat().st_mtime_ns
    assert file.stat().st_mode & 0o777 == 0o600
    one.failed(failure(now.time + 1))
    one.save()
    assert file.stat().st_mtime_ns == written, "it is written only now and then"
    now.time += SAVE_SECONDS
    one.save()
    after = recorder(tmp_path, now)
    after.load()
    assert after.attempts() == one.attempts()
    assert after.attempts()[0].count == 2
    assert after.refusals("a") == one.refusals("a")


def test_what_is_old_is_forgotten_and_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    now = Now()
    one = recorder(tmp_path, now)
    one.failed(failure(now.time))
    one.save(at_once=True)
    now.time += 8 * 86_400
    after = recorder(tmp_path, now)
    after.load()
    assert after.attempts() == []
    (tmp_path / "FlightRecorder" / "flights.msgpack").write_bytes(b"\xc1 nothing")
    after.load()
    assert after.attempts() == []
