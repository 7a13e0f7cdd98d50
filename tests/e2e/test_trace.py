# SPDX-License-Identifier: MIT
"""Messages through a real server, and what trace tells of them: with its index, without it, with half of it."""

import fcntl
import os
import signal
import sqlite3
import ssl
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridgehead.mail.item import Source
from bridgehead.tracking.events import EventId, TrackingEvent
from bridgehead.tracking.log import LogFile, LogLimits
from bridgehead.tracking.message_tracking import KIND, MessageTrackingLog
from support.certificates import Authority
from support.configuration import receive_connector, send_connector
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink
from support.talk import Talk

Json = dict[str, Any]


def message(number: str, subject: str = "traced") -> bytes:
    return b"From: a@fabrikam.test\r\nMessage-ID: <%s@fabrikam.test>\r\nSubject: %s\r\n\r\nhello\r\n" % (
        number.encode(), subject.encode(),
    )  # fmt: skip


def steps(story: Json) -> list[tuple[str, list[str]]]:
    return [(step["event"], [one["address"] for one in step["recipients"]]) for step in story["steps"]]


def ends(story: Json) -> dict[str, str]:
    return {end["recipient"]["address"]: end["recipient"]["status"] for end in story["ends"]}


def step(story: Json, event: str, address: str = "") -> Json:
    """The first step of this kind about this recipient."""
    return next(
        one
        for one in story["steps"]
        if one["event"] == event and (not address or address in [to["address"] for to in one["recipients"]])
    )


def test_the_story_of_an_attempt_that_failed_and_one_that_did_not(make_server: Callable[..., Server]) -> None:
    replies = iter(["451 4.7.1 Greylisted, try later"])
    with Sink(on_content=lambda _: next(replies, None)) as sink:
        connectors = [
            send_connector("Everything", sink.port, protocol_logging_level="Verbose"),
            send_connector("Unused", sink.port, spaces=("northwind.test",)),
        ]
        server = make_server(send_connectors=connectors).start()
        server.send("a@fabrikam.test", "x@adatum.test", message("one"), "secured")
        server.wait_for_event("SEND")
        story = server.ask("trace", "<one@fabrikam.test>")
    assert [event for event, _ in steps(story)] == ["RECEIVE", "ROUTE", "DEFER", "SEND"]
    received, routed, put_off, sent = story["steps"]
    assert received["connector"] == "mx.contoso.test\\secured"
    assert f"it listens on 127.0.0.1:{server.port('secured')}" in received["reason"]
    assert [(one["connector"], "does not listen" in one["reason"]) for one in received["others"]] == [
        ("anonymous", True)
    ]
    assert (received["tls"], received["login"]) == ("none", "externally-secured")
    assert "best match for adatum.test" in routed["reason"]
    assert [one["connector"] for one in routed["others"]] == ["Unused"]
    assert "none of its address spaces matches adatum.test" in routed["others"][0]["reason"]
    said = [line["data"] for line in put_off["transcript"]]
    assert "RCPT TO:<x@adatum.test>" in said
    assert said[-1] == "451 4.7.1 Greylisted, try later"
    assert "451 4.7.1 Greylisted, try later" not in [line["data"] for line in sent["transcript"]]
    assert sent["transcript"][-1]["data"].startswith("250")
    assert sent["waited_seconds"] >= 0.9
    assert 0 <= sent["attempt_seconds"] < 0.9
    assert story["slowest"] == "waiting before SEND x@adatum.test"
    assert story["slowest_seconds"] == sent["waited_seconds"]
    assert story["total_seconds"] >= story["slowest_seconds"]
    assert ends(story) == {"x@adatum.test": "Delivered"}
    assert story["configuration"] == story["received_under"] != ""
    assert story["asked_server"]


def test_failures_have_their_conversation_without_verbose(make_server: Callable[..., Server]) -> None:
    replies = iter(["451 4.7.1 Greylisted, try later"])
    with Sink(on_content=lambda _: next(replies, None)) as sink:
        server = make_server(sink.port).start()
        server.send("a@fabrikam.test", "x@adatum.test", message("quiet"), "secured")
        server.wait_for_event("SEND")
        story = server.ask("trace", "quiet@fabrikam.test")
    put_off, sent = step(story, "DEFER"), step(story, "SEND")
    said = [(line["event"], line["data"]) for line in put_off["transcript"]]
    assert said[0] == ("<", "220 sink.test ESMTP sink")
    assert (">", "RCPT TO:<x@adatum.test>") in said
    assert said[-1] == ("<", "451 4.7.1 Greylisted, try later")
    assert not any("hello" in text for _, text in said)
    assert [f"{line['event']} {line['data']}" for line in sent["transcript"] if line["data"]][-3:] == [
        "> MAIL FROM:<a@fabrikam.test>", "> RCPT TO:<x@adatum.test>", "< 250 2.6.0 taken",
    ]  # fmt: skip
    assert "put together from the log" in sent["note"]
    [hint] = [note for note in story["notes"] if "conversations" in note]
    assert 'protocol_logging_level = "Verbose" for send connector "Everything"' in hint
    assert "451 4.7.1 Greylisted" in server.succeed("trace", "quiet@fabrikam.test")
    server.stop()
    story = server.ask("trace", "quiet@fabrikam.test")
    assert step(story, "DEFER")["transcript"] == put_off["transcript"]


def test_a_next_hop_out_of_reach_shows_its_session(make_server: Callable[..., Server]) -> None:
    with Sink(banner="554 5.7.1 We know you not") as sink:
        server = make_server(sink.port, queues={"queue_glitch_retry_interval": "1h", "retry_jitter": 0.0}).start()
        for number in range(2):
            server.send("a@fabrikam.test", f"x{number}@adatum.test", message(f"shut{number}"), "secured")
            server.wait_for_event("DEFER", recipient_address=f"x{number}@adatum.test")
        for number in range(2):
            story = server.ask("trace", f"shut{number}@fabrikam.test")
            said = [line["data"] for line in step(story, "DEFER")["transcript"]]
            assert said[0] == "554 5.7.1 We know you not"
            told = server.succeed("trace", f"shut{number}@fabrikam.test")
            assert "< 554 5.7.1 We know you not" in told
            assert told.rpartition("→")[2].count("554 5.7.1 We know you not") == 1
        [waiting] = server.ask("message", "show", "<shut1@fabrikam.test>")
        assert waiting["last_failure"][0] == "< 554 5.7.1 We know you not"
        assert "< 554 5.7.1 We know you not" in server.succeed("message", "show", "<shut1@fabrikam.test>")


def test_choices_are_explained_by_the_configuration_of_then(make_server: Callable[..., Server], sink: Sink) -> None:
    connectors = [send_connector("Former", sink.port), send_connector("Unused", sink.port, spaces=("northwind.test",))]
    server = make_server(send_connectors=connectors).start()
    server.send("a@fabrikam.test", "x@adatum.test", message("before"), "secured")
    sink.wait(1)
    server.wait_until_empty()
    server.configure({**server.settings, "send_connectors": [send_connector("Present", sink.port)]})
    server.reload()
    server.send("a@fabrikam.test", "x@adatum.test", message("after"), "secured")
    sink.wait(2)
    server.wait_until_empty()
    before, after = (server.ask("trace", f"{name}@fabrikam.test") for name in ("before", "after"))
    then, now = before["received_under"], after["received_under"]
    assert then != now == before["configuration"] == after["configuration"]
    routed = step(before, "ROUTE")
    assert (routed["connector"], routed["configuration"]) == ("Former", then)
    assert [one["connector"] for one in routed["others"]] == ["Unused"]
    assert "best match for adatum.test" in routed["reason"]
    assert routed["note"] == f"explained by configuration {then}, in force then"
    assert step(before, "RECEIVE")["configuration"] == then
    assert step(after, "ROUTE")["connector"] == "Present"
    assert before["notes"][:-1] == []  # but for the transcript of what was taken
    (server.data / "configurations" / f"{then}.json").unlink()
    before = server.ask("trace", "before@fabrikam.test")
    routed = step(before, "ROUTE")
    assert 'the configuration has changed: "Present" would be chosen now' in routed["reason"]
    assert f"{then}, in force then, is no longer kept" in routed["note"]
    assert f"configuration {then} is no longer kept" in before["notes"][0]


def test_groups_forwarding_and_outside_recipients_stand_in_one_story(
    make_server: Callable[..., Server], sink: Sink
) -> None:
    server = make_server(sink.port).start()
    to = ["team@contoso.test", "away@contoso.test", "robert@contoso.test", "x@adatum.test"]
    server.send("a@fabrikam.test", to, message("many"), "secured")
    server.wait_until_empty()
    story = server.ask("trace", "many@fabrikam.test")
    events = [event for event, _ in steps(story)]
    assert events[0] == "RECEIVE"
    assert events.index("EXPAND") < events.index("ROUTE") < events.index("DELIVER")
    assert ends(story) == {
        "team@contoso.test": "Expanded", "inner@contoso.test": "Expanded", "away@contoso.test": "Redirected",
        "robert@contoso.test": "Redirected", "contact@contoso.test": "Redirected", "bob@contoso.test": "Delivered",
        "carol@contoso.test": "Delivered", "dave@contoso.test": "Delivered", "real@adatum.test": "Delivered",
        "x@adatum.test": "Delivered",
    }  # fmt: skip
    via = {end["recipient"]["address"]: end["recipient"]["via"] for end in story["ends"]}
    assert (via["carol@contoso.test"], via["x@adatum.test"]) == ("team@contoso.test", "")
    delivered = step(story, "DELIVER", "carol@contoso.test")
    assert delivered["waited_seconds"] + delivered["attempt_seconds"] < 5
    found = server.ask("trace", "--recipient", "team@contoso.test")["messages"]
    assert [one["network_message_id"] for one in found] == [story["message"]["network_message_id"]]


def test_a_report_leads_to_its_message_and_back(make_server: Callable[..., Server]) -> None:
    with Sink(on_rcpt=lambda _: "550 5.1.1 no such user") as sink:
        server = make_server(sink.port).start()
        server.send("bob@contoso.test", "gone@adatum.test", message("refused"), "secured")
        server.wait_for_mail("bob")
        server.wait_until_empty()
        story = server.ask("trace", "<refused@fabrikam.test>")
        assert ends(story) == {"gone@adatum.test": "Failed"}
        assert "550 5.1.1 no such user" in step(story, "FAIL")["recipients"][0]["detail"]
        (linked,) = story["linked"]
        assert (linked["relation"], linked["message"]["status"]) == ("report about this message", "Delivered")
        report = server.ask("trace", linked["message"]["network_message_id"])
        assert steps(report)[0][0] == "DSN"
        assert ends(report) == {"bob@contoso.test": "Delivered"}
        (original,) = report["linked"]
        assert original["relation"] == "the message that this report is about"
        assert original["message"]["network_message_id"] == story["message"]["network_message_id"]
        text = server.succeed("trace", "--recipient", "gone@adatum.test", "--status", "failed")
        assert "550 5.1.1 no such user" in text
        assert server.command("trace", "--recipient", "gone@adatum.test", "--status", "delivered").returncode == 1


def test_what_still_waits_says_in_which_queue_and_until_when(make_server: Callable[..., Server]) -> None:
    server = make_server(free_port(), queues={"outbound_connection_failure_retry_interval": 600,
        "queue_glitch_retry_interval": 600, "transient_failure_retry_interval": 600}).start()  # fmt: skip
    server.send("a@fabrikam.test", "x@adatum.test", message("waits"), "secured")
    wait_until(
        lambda: any(one["status"] == "Retry" for one in server.queues()), 20, lambda: f"a retry; {server.queues()}"
    )
    story = server.ask("trace", "waits@fabrikam.test")
    (end,) = story["ends"]
    assert "still in queue" in end["state"]
    assert end["queue"] == server.queues()[0]["identity"]
    assert end["next_attempt"]
    assert "refused" in end["state"]
    routed = step(story, "ROUTE", "x@adatum.test")
    assert routed["connector"] == "Everything"
    assert "best match for adatum.test" in routed["reason"]
    assert "still in queue" in server.succeed("trace", "waits@fabrikam.test")
    status = end["recipient"]["status"]
    assert status in ("Pending", "Deferred")
    assert len(server.ask("trace", "--status", status.lower())["messages"]) == 1
    server.stop()
    (end,) = server.ask("trace", "waits@fabrikam.test")["ends"]
    assert end["state"] == "no end is logged; the server is not running"


def test_tls_and_login_of_the_client_are_told(make_server: Callable[..., Server], sink: Sink, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("mx.contoso.test")
    server = make_server(
        sink.port,
        server={"tls_certificate_file": str(pair.certificate), "tls_key_file": str(pair.key)},
        receive_connectors=[
            receive_connector(
                "clients", free_port(), auth_mechanism=["Tls", "BasicAuth", "BasicAuthRequireTLS"],
                permission_groups=["ExchangeUsers"],
            )
        ],
    )  # fmt: skip
    server.add_user("bob", "a long password", "bob@contoso.test")
    server.start()
    with server.smtp("clients") as client:
        context = ssl.create_default_context(cafile=str(authority.root))
        context.check_hostname = False  # 127.0.0.1 is not in it
        client.starttls(context=context)
        client.login("bob", "a long password")
        content = message("login").replace(b"From: a@fabrikam.test", b"From: bob@contoso.test")
        client.sendmail("bob@contoso.test", ["x@adatum.test"], content)
    server.wait_for_event("SEND")
    story = server.ask("trace", "login@fabrikam.test")
    assert step(story, "RECEIVE")["login"] == "user:bob"
    assert step(story, "RECEIVE")["tls"].startswith("TLSv1.3 TLS_")
    assert "a long password" not in server.succeed("trace", "login@fabrikam.test")


# --- the index --------------------------------------------------------------------------------------------------------


def covered(server: Server) -> Json:
    """How the index stands."""
    index: Json = server.ask("trace", "--limit", "1")["index"]
    return index


def write_old_log(server: Server, mebibytes: int) -> None:
    """Messages of yesterday, as the server writes them: less is not worth an index."""
    now = [time.time() - 86_400.0]
    limits = LogLimits(timedelta(0), 10 * 1024**2, 2**40)
    file = LogFile(server.data / "logs/MessageTracking", KIND, limits, lambda: now[0])
    log = MessageTrackingLog(file)
    for number in range(mebibytes * 512):
        now[0] += 0.01
        log.record(
            TrackingEvent(
                time=now[0], event_id=EventId.RECEIVE, source=Source.SMTP, internal_message_id=number,
                network_message_id=f"old-{number}", message_subject="old " * 480, recipient_address=["x@adatum.test"],
            )
        )  # fmt: skip
        if number % 1000 == 0:
            file.flush()
    file.close()


def wait_for_index(server: Server) -> None:
    """Until it covers all but what is not worth it."""

    def complete() -> bool:
        index = covered(server)
        return bool(index["state"] == "complete" and index["log_bytes"] - index["covered_bytes"] < 2**22)

    wait_until(complete, 60, lambda: f"the index covers all: {covered(server)}\n{server.stderr()[-2000:]}")


def flood(server: Server, count: int) -> None:
    """Many messages in one session."""
    with Talk(server.port("secured")) as talk:
        talk.hello()
        for number in range(count):
            talk.message("a@fabrikam.test", f"f{number}@adatum.test", message(f"f{number}", "flood"))


def spoil(index: Path) -> None:
    data = bytearray(index.read_bytes())
    data[5000:] = bytes(len(data) - 5000)
    index.write_bytes(data)


def remove(index: Path) -> None:
    for one in index.parent.glob("trace.db*"):
        one.unlink()


@pytest.mark.parametrize("harm", [spoil, remove], ids=["damaged", "lost"])
def test_an_index_that_is_lost_or_damaged_is_made_anew_and_answers_stay_right(
    make_server: Callable[..., Server], sink: Sink, harm: Callable[[Path], None]
) -> None:
    server = make_server(sink.port)
    write_old_log(server, 20)
    server.start()
    flood(server, 50)
    server.wait_until_empty()
    wait_for_index(server)
    server.stop()
    harm(server.data / "logs/trace.db")
    assert len(server.ask("trace", "--subject", "flood")["messages"]) == 50
    server.start()
    assert len(server.ask("trace", "--subject", "flood")["messages"]) == 50
    wait_for_index(server)
    assert len(server.ask("trace", "--subject", "flood")["messages"]) == 50


def test_the_last_line_is_found_though_it_is_not_indexed(make_server: Callable[..., Server], sink: Sink) -> None:
    """Not even written: the log is flushed before each search."""
    server = make_server(sink.port, logs={"flush_interval": 60}).start()
    server.send("a@fabrikam.test", "x@adatum.test", message("fresh"), "secured")
    sink.wait(1)
    (found,) = server.ask("trace", "--message-id", "fresh@fabrikam.test")["messages"]
    assert found["recipients"][0]["address"] == "x@adatum.test"


def test_a_server_killed_while_its_log_is_indexed_goes_on_afterwards(
    make_server: Callable[..., Server], sink: Sink
) -> None:
    server = make_server(sink.port)
    write_old_log(server, 40)
    server.start()
    flood(server, 300)
    process = wait_for_indexer(server)
    os.kill(process, signal.SIGSTOP)
    server.kill()
    os.kill(process, signal.SIGCONT)
    index = server.data / "logs/trace.db"
    lock = server.data / "logs/trace.db-lock"
    wait_until(lambda: _free(lock), 20, "the index's process ends with the server")
    # The end of the log went with the process; each message's way out is written before it leaves the queue.
    assert len(server.ask("trace", "--subject", "flood", "--limit", "1000")["messages"]) > 200
    server.start()
    flood(server, 20)
    server.wait_until_empty()
    wait_for_index(server)
    assert len(server.ask("trace", "--subject", "flood", "--limit", "1000")["messages"]) == 320
    with closing(sqlite3.connect(index)) as connection, connection:
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)


def _free(lock: Path) -> bool:
    """Whether nobody holds the lock (any more)."""
    if not lock.exists():
        return True
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def wait_for_indexer(server: Server) -> int:
    """The process that indexes, as soon as it gives way to others."""
    assert server.process is not None
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    found: list[int] = []

    def seen() -> bool:
        for one in map(int, children.read_text().split()):
            with suppress(OSError):
                idle = os.sched_getscheduler(one) == os.SCHED_IDLE
                if idle and b"indexer_process" in Path(f"/proc/{one}/cmdline").read_bytes():
                    found.append(one)
        return bool(found)

    wait_until(seen, 60, lambda: f"an idle indexer\n{server.stderr()[-2000:]}")
    return found[0]


def test_the_indexer_gives_way_to_everybody_and_ends_with_the_server(
    make_server: Callable[..., Server], sink: Sink
) -> None:
    server = make_server(sink.port)
    write_old_log(server, 40)
    server.start()
    indexer = wait_for_indexer(server)
    os.kill(indexer, signal.SIGSTOP)  # it would be done before we look
    assert server.stop() == 0
    assert not Path(f"/proc/{indexer}").exists()


def test_an_indexer_that_is_killed_is_started_again(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port)
    write_old_log(server, 40)
    server.start()
    os.kill(wait_for_indexer(server), signal.SIGKILL)
    wait_until(lambda: "ended with code -9; it is started again" in server.stderr(), 20, server.stderr)
    assert len(server.ask("trace", "--subject", "old", "--limit", "5")["messages"]) == 5
    wait_for_index(server)


def test_without_an_index_the_logs_are_read(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port, logs={"message_tracking_index_max_size": 0}).start()
    server.send("a@fabrikam.test", "x@adatum.test", message("plain"), "secured")
    server.wait_for_event("SEND")
    found = server.ask("trace", "--message-id", "plain@fabrikam.test")
    assert (len(found["messages"]), found["index"]["state"]) == (1, "off")
    assert not list((server.data / "logs").glob("trace.db*"))
