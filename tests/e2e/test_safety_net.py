# SPDX-License-Identifier: MIT
"""Delivered mail is kept and comes back when it is asked for, and only then."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.configuration import changed
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink

TEXT = (
    b"From: <ann@fabrikam.test>\r\nTo: someone\r\nMessage-ID: <offer@fabrikam.test>\r\nSubject: offer\r\n\r\nhello\r\n"
)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def resubmitted(server: Server, *options: str) -> dict[str, int]:
    answer = server.ask("safety-net", "resubmit", *options)
    assert answer["state"] == "Completed", answer
    return dict(answer)


def test_delivered_mail_comes_back_as_it_was_without_reports(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port).start()
    began = now()
    everybody = ["one@adatum.test", "two@adatum.test", "three@adatum.test"]
    options = ["NOTIFY=SUCCESS,FAILURE,DELAY"]
    server.send("ann@fabrikam.test", everybody, TEXT, "secured", rcpt_options=options)
    server.send("bob@fabrikam.test", "one@adatum.test", TEXT, "secured")
    large = TEXT + (b"x" * 76 + b"\r\n") * 4_000
    server.send("ann@fabrikam.test", "large@adatum.test", large, "secured")
    server.send("ann@fabrikam.test", "carol@contoso.test", TEXT, "secured")
    sink.wait(3, 20)
    server.wait_for_mail("carol")
    server.wait_until_empty()

    view = server.ask("safety-net", "status")
    assert (view["enabled"], view["kept"], view["lost"], view["trouble"]) == (True, 4, 0, "")
    listed = server.ask("safety-net", "list", "--recipient", "two@*")["messages"]
    assert [one["recipients"] for one in listed] == [["two@adatum.test"]]
    assert listed[0]["subject"] == "offer"

    counted = resubmitted(server, "--start", began, "--sender", "ann@*", "--dry-run")
    assert (counted["matched"], counted["recipients"], counted["resubmitted"]) == (3, 5, 0)
    assert len(sink.transactions) == 3

    done = resubmitted(server, "--start", began, "--recipient", "t*@adatum.test", "--reason", "lost by the archive")
    assert (done["matched"], done["recipients"], done["resubmitted"]) == (1, 2, 1)
    sink.wait(4, 20)
    first = next(one for one in sink.transactions if len(one.rcpts) == 3)
    again = sink.transactions[-1]
    assert sorted(again.forward_paths) == ["three@adatum.test", "two@adatum.test"]
    assert again.reverse_path == "ann@fabrikam.test"
    assert all("NOTIFY=NEVER" in rcpt for rcpt in again.rcpts)
    assert again.data == first.data
    [event] = server.wait_for_events("RESUBMIT", 1, source="SAFETYNET")
    [received] = server.events("RECEIVE", recipient_address="two@adatum.test")
    assert event["network-message-id"] == received["network-message-id"]
    assert event["internal-message-id"] != received["internal-message-id"]
    assert event["reference"] == received["internal-message-id"]

    assert resubmitted(server, "--start", began, "--recipient", "large@*")["resubmitted"] == 1
    sink.wait(5, 20)
    assert sink.transactions[-1].data == sink.to("large@adatum.test")[0].data
    assert resubmitted(server, "--start", began, "--next-hop", "mailboxes")["resubmitted"] == 1
    copies = server.wait_for_mail("carol", 2)
    assert copies[0].partition(b"Received:")[2] == copies[1].partition(b"Received:")[2]

    # What came out of the net is kept as well, and is left where it is when the same is asked for again.
    server.wait_until_empty()
    again_all = resubmitted(server, "--start", began, "--dry-run")
    assert (again_all["matched"], again_all["left_alone"]) == (4, 3)
    assert server.events("DSN") == []
    assert server.ask("queue", "verify") == []


def test_a_resubmitted_message_that_fails_is_reported_to_nobody(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port).start()
    server.send("ann@contoso.test", "one@adatum.test", TEXT, "secured", rcpt_options=["NOTIFY=FAILURE"])
    sink.wait(1, 20)
    server.wait_until_empty()
    sink.behaviour.on_rcpt = lambda _: "550 5.1.1 No such user"
    resubmitted(server, "--start", "1h")
    server.wait_for_event("FAIL", recipient_address="one@adatum.test")
    server.wait_until_empty()
    assert server.events("DSN") == []


def test_mail_is_kept_over_a_restart_and_a_kill(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port).start()
    for number in range(50):
        server.send("ann@fabrikam.test", f"x{number}@adatum.test", TEXT, "secured")
    sink.wait(50, 20)
    server.wait_until_empty()
    server.kill()
    server.start()
    server.send("ann@fabrikam.test", "later@adatum.test", TEXT, "secured")
    sink.wait(51, 20)
    server.wait_until_empty()
    assert len(server.ask("safety-net", "list", "--start", "1h")["messages"]) == 51
    server.restart()
    assert resubmitted(server, "--start", "1h", "--recipient", "x*")["resubmitted"] == 50
    sink.wait(101, 20)
    server.wait_until_empty()
    server.stop()
    assert server.ask("queue", "verify") == []


@pytest.mark.crash
def test_a_request_goes_on_after_a_kill_and_sends_nothing_twice(make_server: Callable[..., Server], sink: Sink) -> None:
    count = 1_300
    server = make_server(sink.port).start()
    with server.smtp("secured") as client:
        for number in range(count):
            client.sendmail("ann@fabrikam.test", [f"x{number}@adatum.test"], TEXT)
    sink.wait(count, 60)
    server.wait_until_empty()
    # While nothing leaves Submission, the request waits in its midst.
    server.succeed("queue", "suspend", "Submission")
    request = server.ask("safety-net", "resubmit", "--start", "1h", "--reason", "archive lost it", "--no-wait")

    def waiting() -> int:
        return sum(int(one["message_count"]) for one in server.queues() if one["identity"] == "Submission")

    wait_until(lambda: waiting() >= 1_000, 60, lambda: f"a thousand messages resubmitted, not {waiting()}")
    server.kill()
    server.start()
    [found] = server.ask("safety-net", "status")["requests"]
    assert (found["id"], found["state"], found["reason"]) == (request["id"], "Running", "archive lost it")
    assert found["resubmitted"] == waiting() < count
    server.succeed("queue", "resume", "Submission")

    def state() -> str:
        return str(server.ask("safety-net", "status")["requests"][0]["state"])

    wait_until(lambda: state() == "Completed", 60, lambda: f"the request completed; it is {state()}")
    sink.wait(2 * count, 60)
    server.wait_until_empty()
    everybody = Counter(address for one in sink.transactions for address in one.forward_paths)
    assert set(everybody.values()) == {2}
    assert len(everybody) == count
    [found] = server.ask("safety-net", "status")["requests"]
    assert (found["matched"], found["resubmitted"]) == (count, count)
    server.stop()
    assert server.ask("queue", "verify") == []


def test_the_net_can_be_switched_off_and_connectors_left_out(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port, queues={"safety_net_hold_time": 0}).start()
    server.send("ann@fabrikam.test", "off@adatum.test", TEXT, "secured")
    sink.wait(1, 20)
    server.configure(changed(server.settings, {"queues": {
        "safety_net_hold_time": "1h", "safety_net_excluded_connectors": ["Everything"],
    }}))  # fmt: skip
    server.reload()
    server.send("ann@fabrikam.test", "left-out@adatum.test", TEXT, "secured")
    server.send("ann@fabrikam.test", "carol@contoso.test", TEXT, "secured")
    sink.wait(2, 20)
    server.wait_for_mail("carol")
    server.wait_until_empty()
    listed = server.ask("safety-net", "list")["messages"]
    assert [one["recipients"] for one in listed] == [["carol@contoso.test"]]


def test_a_net_that_cannot_be_written_stops_no_delivery(
    make_server: Callable[..., Server], sink: Sink, tmp_path: Path
) -> None:
    server = make_server(sink.port)
    folder = server.data / "queue"
    folder.mkdir(parents=True)
    (folder / "safety_net").write_text("in the way")
    server.start()
    server.send("ann@fabrikam.test", "one@adatum.test", TEXT, "secured")
    sink.wait(1, 20)
    server.wait_until_empty()
    view = server.ask("safety-net", "status")
    assert (view["kept"], view["lost"]) == (0, 1)
    assert "cannot be kept" in view["trouble"]


def test_wrong_requests_are_refused_with_words(make_server: Callable[..., Server]) -> None:
    server = make_server(free_port()).start()
    nothing = server.command("safety-net", "resubmit")
    assert nothing.returncode == 1
    assert b"which mail is meant" in nothing.stderr
    backwards = server.command("safety-net", "resubmit", "--start", "1h", "--end", "2h")
    assert backwards.returncode == 1
    assert b"ends before it begins" in backwards.stderr
    unknown = server.command("safety-net", "cancel", "4711")
    assert unknown.returncode == 1
    assert b"no request 4711" in unknown.stderr
