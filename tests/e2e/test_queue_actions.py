# SPDX-License-Identifier: MIT
"""An administrator's hand on the queues of a real server: actions, dry runs, records, undo, across restarts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink

HOUR = {"queues": {"queue_glitch_retry_interval": "1h", "message_retry_interval": "1h", "retry_jitter": 0.0}}


@pytest.fixture
def closed_sink() -> Iterator[Sink]:
    sink = Sink(port=free_port(), listening=False)
    yield sink
    sink.close()


def message(subject: str, size: int = 0) -> bytes:
    return b"From: a@fabrikam.test\r\nSubject: %s\r\n\r\nhello\r\n" % subject.encode() + (b"x" * 70 + b"\r\n") * size


def fill(server: Server, count: int, sender: str = "a@fabrikam.test", subject: str = "Offer") -> None:
    for number in range(count):
        server.send(sender, f"x{number}@adatum.test", message(subject), "secured")


def in_retry(server: Server, count: int) -> None:
    """Until so many messages wait for a next hop that does not answer."""
    wait_until(
        lambda: any(one["status"] == "Retry" and one["message_count"] == count for one in server.queues()), 15,
        lambda: f"{count} messages in Retry; queues: {server.queues()}",
    )  # fmt: skip


def listed(server: Server, text: str) -> list[dict[str, Any]]:
    found = server.ask("message", "list", "--filter", text)
    assert isinstance(found, list)
    return found


def test_messages_are_suspended_and_resumed_by_filter_across_a_restart(
    make_server: Callable[..., Server], closed_sink: Sink
) -> None:
    server = make_server(closed_sink.port, **HOUR).start()
    fill(server, 3)
    fill(server, 2, "b@fabrikam.test", "Invoice")
    in_retry(server, 5)
    chosen = "{FromAddress -like 'B@*' -and Size -lt 1MB}"
    preview = server.ask("message", "suspend", "--filter", chosen, "--dry-run")
    assert (preview["messages"], len(preview["sample"])) == (2, 2)
    assert listed(server, "{Status -eq 'Suspended'}") == []
    refused = server.command("message", "suspend", "--filter", chosen)
    assert refused.returncode == 1
    assert b"needs a reason" in refused.stderr
    done = server.ask("message", "suspend", "--filter", chosen, "--reason", "to be looked at")
    assert (done["messages"], done["reason"], done["state"]) == (2, "to be looked at", "Completed")
    assert server.stop() == 0
    closed_sink.listen()
    server.start()
    held = listed(server, "{Status -eq 'Suspended'}")
    assert [(one["from_address"], one["hold_reason"]) for one in held] == [("b@fabrikam.test", "to be looked at")] * 2
    server.succeed("queue", "retry", "--all")
    closed_sink.wait(3)
    assert server.queued() == 2
    server.succeed("message", "resume", "--filter", "{HoldReason -eq 'to be looked at'}", "--reason", "fine")
    closed_sink.wait(5)
    server.wait_until_empty()
    assert [one["action"] for one in server.ask("action", "list")] == ["resume", "suspend"]


def test_what_is_removed_without_ndr_comes_back_by_undo(make_server: Callable[..., Server], closed_sink: Sink) -> None:
    server = make_server(closed_sink.port, **HOUR).start()
    fill(server, 4)
    in_retry(server, 4)
    asked = server.command("message", "remove", "--queue", "Everything/*", "--without-ndr", "--reason", "spam")
    assert asked.returncode == 2
    assert b"--yes" in asked.stderr
    assert server.queued() == 4
    removed = server.ask(
        "message", "remove", "--filter", "{Subject -eq 'Offer'}", "--without-ndr", "--reason", "spam", "--yes"
    )  # fmt: skip
    assert removed["messages"] == 4
    assert server.queued() == 0
    drops = server.events("DROP")
    assert [one["source"] for one in drops] == ["ADMIN"] * 4
    assert "Reason=spam" in drops[0]["source-context"]
    server.restart()
    assert server.queued() == 0
    closed_sink.listen()
    undone = server.ask("action", "undo", str(removed["id"]), "--reason", "no spam after all")
    assert undone["messages"] == 4
    server.succeed("queue", "retry", "--all")
    closed_sink.wait(4)
    server.wait_until_empty()
    again = server.command("action", "undo", str(removed["id"]))
    assert again.returncode == 1
    assert b"undone already" in again.stderr


def test_what_is_removed_with_ndr_tells_its_sender_and_cannot_come_back(
    make_server: Callable[..., Server], closed_sink: Sink
) -> None:
    server = make_server(closed_sink.port, **HOUR).start()
    server.send("bob@contoso.test", "x@adatum.test", message("Offer"), "secured")
    in_retry(server, 1)
    [one] = server.ask("message", "list")
    done = server.ask("message", "remove", str(one["id"]))
    assert (done["messages"], done["undoable"]) == (1, False)
    [report] = server.wait_for_mail("bob")
    assert b"5.7.1" in report
    assert b"message removed by the administrator" in report
    event = server.wait_for_event("FAIL", source="ADMIN")
    assert event["recipient-address"] == "x@adatum.test"
    undone = server.command("action", "undo", str(done["id"]))
    assert undone.returncode == 1
    assert b"its sender has been told" in undone.stdout


def test_an_exported_message_is_what_the_replay_directory_takes_back(
    make_server: Callable[..., Server], closed_sink: Sink, tmp_path: Path
) -> None:
    server = make_server(closed_sink.port, pickup={"replay_directory_path": "replay"}, **HOUR).start()
    body = (
        b"From: a@fabrikam.test\r\nX-Receiver: trap@example.com\r\nSubject: x\r\n\r\n.r\xc3\xa9sum\xc3\xa9\r\n\r\nend"
    )
    server.send(
        '"a b"@fabrikam.test', ["x@adatum.test", "y@adatum.test"], body, "secured",
        ["BODY=8BITMIME", "RET=HDRS", "ENVID=QQ+2B1"], ["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;old+2Bx@adatum.test"],
    )  # fmt: skip
    in_retry(server, 1)
    [before] = server.ask("message", "list")
    exported = tmp_path / "exported"
    server.succeed("message", "export", str(before["id"]), "--to", str(exported))
    server.succeed("message", "remove", str(before["id"]), "--without-ndr")
    [file] = exported.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    content = file.read_bytes()
    folder = server.data / "replay"
    file.rename(folder / file.name)
    in_retry(server, 1)
    [after] = server.ask("message", "list")
    same = ("from_address", "body_type", "envelope_id", "subject", "source_ip", "helo", "smtputf8")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    for name in ("address", "notify", "original_recipient"):
        assert [one[name] for one in after["recipients"]] == [one[name] for one in before["recipients"]]
    closed_sink.listen()
    server.succeed("queue", "retry", "--all")
    [arrived] = closed_sink.wait(1)
    assert arrived.data.endswith(body.partition(b"\r\n\r\n")[2] + b"\r\n")
    assert b"X-Receiver: trap@example.com" in content


def test_redirect_sends_by_another_connector_and_to_another_host(make_server: Callable[..., Server]) -> None:
    dead = Sink(port=free_port(), listening=False)
    with Sink() as backup:
        server = make_server(dead.port, **HOUR)
        connectors = [*server.settings["send_connectors"]]
        connectors.append({**connectors[0], "name": "Backup", "smart_hosts": [f"127.0.0.1:{backup.port}"]})
        connectors[-1]["address_spaces"] = ["nowhere.example"]
        connectors.append({**connectors[-1], "name": "Routes", "smart_hosts": [], "port": backup.port})
        server.configure({**server.settings, "send_connectors": connectors})
        server.start()
        fill(server, 3)
        in_retry(server, 3)
        first, *_ = server.ask("message", "list")
        wrong = server.command("message", "redirect", str(first["id"]), "--connector", "Bakup")
        assert b"one of Everything, Backup, Routes" in wrong.stderr
        server.succeed("message", "redirect", str(first["id"]), "--connector", "Backup")
        backup.wait(1)
        server.succeed(
            "message", "redirect", "--filter", "{NextHopConnector -eq 'Everything'}", "--connector", "Routes",
            "--smart-host", "[127.0.0.1]", "--reason", "the line is down",
        )  # fmt: skip
        backup.wait(3)
        server.wait_until_empty()
        for number, way, why in (
            (first["id"], f"Backup/127.0.0.1:{backup.port}", ""),
            (first["id"] + 1, "Routes/[127.0.0.1]", " (the line is down)"),
        ):
            story = server.ask("trace", str(number))
            [moved] = [step for step in story["steps"] if step["event"] == "AGENTINFO"]
            assert moved["what"].startswith(f"redirected to {way} by ")
            assert f"{why}, action " in moved["what"]
            routed = [step for step in story["steps"] if step["event"] == "ROUTE"][-1]
            assert routed["reason"] == f"it was {moved['what']}"
    dead.close()


def test_the_story_tells_who_held_a_message_and_who_let_it_go(make_server: Callable[..., Server]) -> None:
    with Sink() as sink:
        server = make_server(sink.port).start()
        server.succeed(
            "standing-rule", "add", "hold", "--filter", "{FromAddress -like '*@fabrikam.test'}", "--reason", "audit"
        )
        server.send("a@fabrikam.test", "x@adatum.test", b"Subject: held\r\n\r\nhello\r\n", "secured")
        held = wait_until(lambda: server.ask("message", "list", "--filter", "{HoldReason -eq audit}"))
        server.succeed("standing-rule", "cancel", "1")
        sink.wait(1)
        told = server.succeed("trace", str(held[0]["id"]))
    assert "AGENTINFO let go by " in told
    assert "had suspended it at 20" in told


def test_priority_and_expiry_change_and_change_back(make_server: Callable[..., Server], closed_sink: Sink) -> None:
    server = make_server(closed_sink.port, **HOUR).start()
    fill(server, 2)
    in_retry(server, 2)
    before = server.ask("message", "list")
    high = server.ask("message", "set", "--filter", "{Size -gt 0}", "--priority", "High", "--reason", "urgent")
    late = server.ask("message", "set", "--filter", "{Size -gt 0}", "--expires", "9d", "--reason", "long outage")
    changed = server.ask("message", "list")
    assert [one["priority"] for one in changed] == ["High", "High"]
    assert all(new["expiration_time"] > old["expiration_time"] for new, old in zip(changed, before, strict=True))
    server.restart()
    for action in (late, high):
        assert server.ask("action", "undo", str(action["id"]))["messages"] == 2
    restored = server.ask("message", "list")
    for name in ("priority", "expiration_time", "deadline"):
        assert [one[name] for one in restored] == [one[name] for one in before]
    server.succeed("message", "set", "--queue", "Everything/*", "--expires", "1s", "--reason", "give up")
    assert len(server.wait_for_events("FAIL", 2, 60, source="QUEUE")) == 2


def test_unreachable_mail_is_resubmitted_once_there_is_a_way(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server().start()
    server.send("a@fabrikam.test", "x@adatum.test", message("Offer"), "secured")
    wait_until(lambda: any(one["identity"] == "Unreachable" for one in server.queues()), 10, "it is unreachable")
    [one] = server.ask("message", "list", "--queue", "Unreachable")
    done = server.ask("message", "resubmit", str(one["id"]))
    assert done["messages"] == 1
    server.wait_for_event("RESUBMIT", source="ADMIN")
    wait_until(lambda: server.ask("message", "list", "--queue", "Unreachable"), 10, "it is unreachable again")


def test_a_mistake_in_a_filter_is_shown_with_its_place(make_server: Callable[..., Server]) -> None:
    server = make_server().start()
    wrong = server.command("message", "list", "--filter", "{Sise -gt 1MB}")
    assert wrong.returncode == 1
    lines = wrong.stderr.decode().splitlines()
    place = next(number for number, line in enumerate(lines) if line.strip() == "^")
    assert lines[place].index("^") == lines[place - 1].index("Sise")
    assert "did you mean Size?" in wrong.stderr.decode()


def test_a_standing_rule_holds_present_and_future_mail_until_it_is_cancelled(
    make_server: Callable[..., Server], closed_sink: Sink
) -> None:
    server = make_server(closed_sink.port, **HOUR).start()
    fill(server, 2)
    fill(server, 1, "b@fabrikam.test")
    in_retry(server, 3)
    rule = server.ask("standing-rule", "add", "hold", "--filter", "{FromAddress -like 'a@*'}", "--reason", "wave")
    wait_until(lambda: len(listed(server, f"{{StandingRule -eq {rule['id']}}}")) == 2, 10, "present mail is held")
    closed_sink.listen()
    server.restart()
    fill(server, 1)
    server.send("c@fabrikam.test", ["one@adatum.test", "two@contoso.test"], message("Both"), "secured")
    server.succeed("queue", "retry", "--all")
    closed_sink.wait(2)
    held = listed(server, "{Status -eq 'Suspended'}")
    assert {(one["from_address"], one["hold_reason"], one["standing_rule"]) for one in held} == {
        ("a@fabrikam.test", "wave", rule["id"])
    }
    assert len(held) == 3
    [shown] = server.ask("standing-rule", "list")
    assert (shown["state"], shown["matched"]) == ("In force", 1)
    server.succeed("standing-rule", "cancel", str(rule["id"]), "--reason", "over")
    closed_sink.wait(5)
    server.wait_until_empty()
    assert server.ask("standing-rule", "show", str(rule["id"]))["state"] == "Cancelled"


def test_a_standing_rule_fails_mail_with_its_reason_and_expires(
    make_server: Callable[..., Server], closed_sink: Sink
) -> None:
    server = make_server(closed_sink.port, **HOUR).start()
    server.send("bob@contoso.test", "present@adatum.test", message("Offer"), "secured")
    in_retry(server, 1)
    server.succeed(
        "standing-rule", "add", "fail", "--filter", "{Recipients -like '*@adatum.test'}", "--reason", "no more Adatum",
        "--expires", "6s",
    )  # fmt: skip
    server.send("carol@contoso.test", "future@adatum.test", message("Offer"), "secured")
    for name in ("bob", "carol"):
        [report] = server.wait_for_mail(name)
        assert b"message removed by the administrator: no more Adatum" in report.replace(b"\r\n ", b" ")
    events = server.wait_for_events("FAIL", 2, source="ADMIN")
    assert {one["recipient-address"] for one in events} == {"present@adatum.test", "future@adatum.test"}
    assert all("StandingRule=1" in one["source-context"] for one in events)
    wait_until(lambda: server.ask("standing-rule", "show", "1")["state"] == "Expired", 20, "the rule expires")
    server.send("carol@contoso.test", "later@adatum.test", message("Offer"), "secured")
    in_retry(server, 1)


def test_submission_and_delivery_queues_are_suspended_across_a_restart_and_by_filter(
    make_server: Callable[..., Server], sink: Sink
) -> None:
    server = make_server(sink.port).start()
    server.succeed("queue", "suspend", "Submission", "--reason", "new directory")
    fill(server, 3)
    [waiting] = server.queues()
    assert (waiting["identity"], waiting["status"], waiting["message_count"]) == ("Submission", "Suspended", 3)
    assert waiting["suspend_reason"] == "new directory"
    server.restart()
    fill(server, 1)
    assert [one["message_count"] for one in server.queues()] == [4]
    server.succeed("queue", "suspend", "Unreachable")
    server.succeed("queue", "resume", "Submission")
    sink.wait(4)
    [row] = [one for one in server.queues() if one["identity"] == "Unreachable"]
    assert row["status"] == "Suspended"
    refused = server.command("queue", "resume", "--filter", "{Status -eq Suspended}", "--reason", "done")
    assert refused.returncode == 0
    actions = server.ask("action", "list")
    assert [one["action"] for one in actions] == [
        "resume queue", "resume queue", "suspend queue", "suspend queue",
    ]  # fmt: skip


def test_suspending_queues_in_bulk_is_undone_and_views_have_exchanges_properties(
    make_server: Callable[..., Server], closed_sink: Sink
) -> None:
    server = make_server(closed_sink.port, **HOUR).start()
    fill(server, 3)
    in_retry(server, 3)
    [queue] = server.ask("queue", "list", "--filter", "{MessageCount -ge 3 -and OldestAge -lt 1h}")
    assert queue["incoming_rate"] == pytest.approx(3 / 60, abs=0.01)
    assert queue["velocity"] == -queue["incoming_rate"]
    assert queue["next_hop_category"] == "External"
    assert queue["message_counts_per_priority"] == {"High": 0, "Normal": 3, "Low": 0}
    assert queue["retry_count"] >= 1
    assert queue["first_retry_time"] <= queue["last_retry_time"] < queue["next_retry_time"]
    assert queue["drain_time"] is None
    assert server.ask("queue", "list", "--filter", "{MessageCount -gt 3}") == []
    [one, *_] = server.ask("message", "list")
    assert one["message_source_name"].startswith("SMTP:")
    assert one["defer_reason"] == "None"
    assert one["message_latency"] > 0
    server.succeed("queue", "suspend", "--filter", "{NextHopCategory -eq External}", "--reason", "line is down")
    assert server.queues()[0]["status"] == "Suspended"
    [action] = server.ask("action", "list")
    assert (action["action"], action["messages"]) == ("suspend queue", 3)
    server.restart()
    assert server.queues()[0]["suspended_by"] == action["by"]
    closed_sink.listen()
    server.succeed("action", "undo", str(action["id"]))
    closed_sink.wait(3)
    server.wait_until_empty()


def test_the_scl_is_what_servers_of_ours_say(make_server: Callable[..., Server], closed_sink: Sink) -> None:
    server = make_server(closed_sink.port, **HOUR)
    anonymous, secured = server.settings["receive_connectors"]
    anonymous["extended_rights"] = [{"principal": "Anonymous", "grant": ["ms-Exch-SMTP-Accept-Any-Recipient"]}]
    headers = {"principal": "ExternallySecured", "grant": ["ms-Exch-Accept-Headers-Organization"]}
    secured["extended_rights"] = [headers]
    server.configure(server.settings)
    server.start()
    stamped = b"X-MS-Exchange-Organization-SCL: %d\r\n" + message("stamped")
    for number, connector, content in (
        (1, "secured", stamped % 6), (2, "secured", message("plain")), (3, "anonymous", stamped % 0),
        (4, "secured", b"X-MS-Exchange-Organization-SCL: 6; spam\r\n" + message("odd")),
    ):  # fmt: skip
        server.send("a@fabrikam.test", f"x{number}@adatum.test", content, connector)
    in_retry(server, 4)
    found = {one["recipients"][0]["address"]: one["scl"] for one in server.ask("message", "list")}
    assert found == {"x1@adatum.test": 6, "x2@adatum.test": -1, "x3@adatum.test": None, "x4@adatum.test": -1}
    assert [one["scl"] for one in listed(server, "{SCL -ge 5}")] == [6]
    assert [one["scl"] for one in listed(server, "{SCL -eq -1}")] == [-1, -1]
    assert [one["scl"] for one in listed(server, "{SCL -eq $null}")] == [None]


def test_submission_and_unreachable_have_rates(make_server: Callable[..., Server]) -> None:
    server = make_server().start()

    def flows(name: str) -> tuple[int, int]:
        """Messages that entered and left within the last minute."""
        queue = server.ask("queue", "show", name)["queue"]
        assert queue["velocity"] == pytest.approx(queue["outgoing_rate"] - queue["incoming_rate"], abs=0.002)
        return round(queue["incoming_rate"] * 60), round(queue["outgoing_rate"] * 60)

    def come_to(name: str, entered: int, left: int) -> None:
        wait_until(lambda: flows(name) == (entered, left), 10, lambda: f"{entered}, {left} of {name}: {flows(name)}")

    fill(server, 6)
    come_to("Unreachable", 6, 0)
    come_to("Submission", 6, 6)
    first, second, *_ = server.ask("message", "list")
    for one in (first, second):
        server.succeed("message", "resubmit", str(one["id"]))
    come_to("Unreachable", 8, 2)
    come_to("Submission", 8, 8)
    server.succeed("message", "remove", str(first["id"]), "--without-ndr", "--reason", "rates")
    come_to("Unreachable", 8, 3)
    server.succeed("queue", "suspend", "Submission")
    fill(server, 3)
    come_to("Submission", 11, 8)
    server.succeed("queue", "retry", "Unreachable")
    come_to("Unreachable", 8, 8)
    come_to("Submission", 16, 8)
    server.succeed("queue", "resume", "Submission")
    come_to("Submission", 16, 16)
    come_to("Unreachable", 16, 8)


def test_views_change_nothing(make_server: Callable[..., Server], closed_sink: Sink) -> None:
    """What the database says of every queued message is the same before and after all that only looks."""
    import sqlite3

    server = make_server(closed_sink.port, **HOUR).start()
    fill(server, 3)
    in_retry(server, 3)
    database = next(server.data.glob("queue/*.db"))

    def everything() -> dict[str, list[tuple[Any, ...]]]:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {one: connection.execute(f"SELECT * FROM {one}").fetchall() for one in tables}
        finally:
            connection.close()

    before = everything()
    assert before["item"]
    number = str(server.ask("message", "list")[0]["id"])
    for command in (
        ["queue", "list"], ["queue", "show", "Everything/*"], ["message", "list", "--filter", "{Size -gt 1}"],
        ["message", "show", number], ["message", "show", number, "--content"], ["queue", "verify"],
        ["message", "remove", "--filter", "{Size -gt 1}", "--dry-run"], ["message", "suspend", number, "--dry-run"],
        ["message", "export", number, "--to", str(server.directory / "out")], ["action", "list"],
        ["standing-rule", "list"],
    ):  # fmt: skip
        server.command(*command)
    assert everything() == before
