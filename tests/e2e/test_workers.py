# SPDX-License-Identifier: MIT
"""Several workers: mail through all of them, one that is killed under load, other numbers of them, one answer of all."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from support.numbered_mail import Senders, judge
from support.ports import free_port, greets, wait_until
from support.server import Server
from support.sink import Sink
from support.talk import Talk
from support.workers import send_to_all, sessions, workers

MakeServer = Callable[..., Server]


def shard_folders(server: Server) -> list[str]:
    return sorted(one.name for one in (server.data / "queue").iterdir() if one.name.isdecimal())


def test_mail_goes_through_every_worker_and_is_seen_as_one_servers(make_server: MakeServer, sink: Sink) -> None:
    with make_server(sink.port, server={"workers": 2}) as server:
        pids = workers(server, 2)
        send_to_all(server, [f"x{number}@adatum.test" for number in range(10)] + ["bob@contoso.test"] * 4)
        sink.wait(10)
        server.wait_for_mail("bob", 4)
        sends = server.wait_for_events("SEND", 10)
        assert len({line["internal-message-id"] for line in sends}) == 10
        assert len(list((server.data / "logs/MessageTracking").glob("MSGTRK*.log"))) == 2
        for folder in ("queue", "queue/2"):
            assert list((server.data / folder / "safety_net").glob("*.sn")), f"no mail went through {folder}"
        server.wait_until_empty()
        status = server.ask("status")
        assert (status["received"], status["delivered"]) == (14, 14)
        assert status["pid"] == server.process.pid  # type: ignore[union-attr]
        traced = server.ask("trace", "--sender", "a@fabrikam.test")
        assert len(traced["messages"]) == 14
        assert server.stop() == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_clients_that_waited_for_the_server_are_shared_by_all_workers(make_server: MakeServer, sink: Sink) -> None:
    """A worker that was there first took them all; clients with lasting sessions then stayed with it."""
    server = make_server(sink.port, server={"workers": 2})
    server.launch()
    wait_until(lambda: greets(server.ports[0]), 30, server.stderr)
    with ExitStack() as stack:
        talks = [stack.enter_context(Talk(server.ports[0])) for _ in range(12)]
        for talk in talks:
            talk.hello()
            talk.message("a@fabrikam.test", "bob@contoso.test", b"Subject: at once\r\n\r\n")
    server.wait_for_events("RECEIVE", len(talks))
    logs = (server.data / "logs/MessageTracking").glob("MSGTRK*.log")
    shares = [log.read_text().count(",RECEIVE,") for log in logs]
    assert len(shares) == 2
    assert min(shares) > 3
    server.stop()


def test_a_killed_worker_loses_nothing_and_comes_back(make_server: MakeServer, sink: Sink) -> None:
    with make_server(sink.port, server={"workers": 2}, queues={"poison_threshold": 10}) as server:
        senders = Senders(server, 6, "load")
        acknowledged, sent = set(), set()
        for number in range(3):
            wait_until(lambda: len(senders.acknowledged) > 40, 30, server.stderr)  # noqa: B023
            victim = workers(server, 2)[-1]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: len(set(workers(server)) - {victim}) == 2, 30, server.stderr)  # noqa: B023
            senders.stop()
            acknowledged |= senders.acknowledged
            sent |= senders.sent
            senders = Senders(server, 6, f"kill{number}")
        senders.stop()
        judge(server, sink, acknowledged | senders.acknowledged, sent | senders.sent)


def test_others_accept_while_a_worker_does_not(make_server: MakeServer, sink: Sink) -> None:
    with make_server(sink.port, server={"workers": 2}) as server:
        first = workers(server, 2)[0]
        os.kill(first, signal.SIGSTOP)
        try:
            for number in range(4):
                server.send("a@fabrikam.test", f"x{number}@adatum.test", connector="secured")
            sink.wait(4)
        finally:
            os.kill(first, signal.SIGCONT)


def test_fewer_workers_take_over_the_queues_of_those_that_went(make_server: MakeServer, sink: Sink) -> None:
    """Three workers hold mail for a next hop that is away, small and large; one worker delivers all of it."""
    port = free_port()
    server = make_server(port, server={"workers": 3})
    addresses = [f"x{number}@adatum.test" for number in range(12)]
    with server:
        with sessions(server) as talks:
            for number, address in enumerate(addresses):
                content = f"Subject: {address}\r\n\r\n".encode() + b"x" * 70 + b"\r\n"
                content += (b"y" * 76 + b"\r\n") * (2_000 if number < 3 else 0)
                talks[number % 3].message("a@fabrikam.test", address, content)
        wait_until(lambda: server.queued() == 12, 15, lambda: str(server.queues()))
        assert shard_folders(server) == ["2", "3"]
        listed = server.ask("message", "list")
        assert len({one["id"] for one in listed}) == 12
    large = sum(len(list((server.data / folder / "content").iterdir())) for folder in ("queue", "queue/2", "queue/3"))
    assert large == 3
    server.configure({**server.settings, "server": {**server.settings["server"], "workers": 1}})
    with server:
        assert shard_folders(server) == []
        assert {one["id"] for one in server.ask("message", "list")} == {one["id"] for one in listed}
        assert server.command("queue", "verify").returncode == 0
        connector = {**server.settings["send_connectors"][0], "smart_hosts": [f"[127.0.0.1]:{sink.port}"]}
        server.configure({**server.settings, "send_connectors": [connector]})
        server.reload()
        server.succeed("queue", "retry", "--all")
        server.wait_until_empty()
    assert {path for one in sink.transactions for path in one.forward_paths} == set(addresses)
    assert len(sink.transactions) == 12


def test_more_workers_leave_what_waits_with_the_first(make_server: MakeServer, sink: Sink) -> None:
    server = make_server(free_port())
    with server:
        server.send("a@fabrikam.test", "old@adatum.test", connector="secured")
        wait_until(lambda: server.queued() == 1, 15, lambda: str(server.queues()))
        old = server.ask("message", "list")[0]["id"]
    server.configure({**server.settings, "server": {**server.settings["server"], "workers": 2}})
    with server:
        send_to_all(server, [f"new{number}@adatum.test" for number in range(4)])
        wait_until(lambda: server.queued() == 5, 15, lambda: str(server.queues()))
        ids = [one["id"] for one in server.ask("message", "list")]
        assert len(set(ids)) == 5
        assert old in ids


def test_administrators_see_and_change_one_queue(make_server: MakeServer, sink: Sink) -> None:
    with make_server(free_port(), server={"workers": 2}) as server:
        send_to_all(server, [f"x{number}@adatum.test" for number in range(6)])
        wait_until(lambda: server.queued() == 6, 15, lambda: str(server.queues()))
        (queue,) = [one for one in server.queues() if one["message_count"]]
        assert queue["message_count"] == 6
        shown = server.ask("queue", "show", queue["identity"])
        assert len(shown["messages"]) == 6
        ids = [one["id"] for one in shown["messages"]]
        done = server.ask("message", "suspend", "--filter", "{FromAddress -eq 'a@fabrikam.test'}", "--reason", "test")
        assert done["messages"] == 6
        assert {one["status"] for one in server.ask("message", "list")} == {"Suspended"}
        done = server.ask("message", "remove", *map(str, ids), "--without-ndr", "--reason", "test", "--yes")
        assert done["messages"] == 6
        server.wait_until_empty()


def test_a_suspended_queue_is_suspended_with_every_worker(make_server: MakeServer, sink: Sink) -> None:
    """Also with one that has no mail for it when it is suspended."""
    with make_server(sink.port, server={"workers": 2}) as server:
        server.send("a@fabrikam.test", "first@adatum.test", connector="secured")
        sink.wait(1)
        (queue,) = [one for one in server.queues() if one["type"] == "Delivery"] or [{"identity": ""}]
        identity = queue["identity"] or server.wait_for_event("SEND")["connector-id"]
        if queue["identity"]:
            server.succeed("queue", "suspend", identity)
            send_to_all(server, [f"x{number}@adatum.test" for number in range(4)])
            wait_until(lambda: server.queued() == 4, 15, lambda: str(server.queues()))
            assert len(sink.transactions) == 1
            server.succeed("queue", "resume", identity)
            sink.wait(5)


def test_a_reload_reaches_every_worker(make_server: MakeServer, sink: Sink) -> None:
    """With a listener that was not there before, which all of them accept on."""
    port = free_port()
    with make_server(sink.port, server={"workers": 2}) as server:
        more = {**server.settings["receive_connectors"][1], "name": "more", "bindings": [f"127.0.0.1:{port}"]}
        server.configure({**server.settings, "receive_connectors": [*server.settings["receive_connectors"], more]})
        server.reload()
        with Talk(port) as one, Talk(port) as other:
            for talk in (one, other):
                talk.hello()
                talk.message("a@fabrikam.test", "x@adatum.test", b"Subject: x\r\n\r\n")
        sink.wait(2)
        assert next(one for one in server.ask("status")["listeners"] if one["binding"].endswith(str(port)))
        before = workers(server, 2)
        os.kill(before[1], signal.SIGKILL)
        wait_until(lambda: len(workers(server)) == 2 and workers(server) != before, 30, server.stderr)
        os.kill(workers(server)[0], signal.SIGSTOP)
        try:
            wait_until(lambda: greets(port), 15, server.stderr)
        finally:
            os.kill(before[0], signal.SIGCONT)
        server.config.write_text(server.config.read_text().replace("[server]", "[server]\nnonsense = 1"))
        assert server.command("reload").returncode != 0
        assert greets(port)


def test_metrics_are_those_of_all_workers(make_server: MakeServer, sink: Sink) -> None:
    with make_server(sink.port, server={"workers": 2}) as server:
        send_to_all(server, [f"x{number}@adatum.test" for number in range(6)])
        sink.wait(6)
        server.wait_for_events("SEND", 6)
        done = subprocess.run(
            ["curl", "-s", "--unix-socket", str(server.data / "control.sock"), "http://localhost/metrics"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        assert 'bridgehead_smtp_receive_messages_total{connector="secured"} 6.0' in lines, done.stdout[:3000]


def test_the_workers_end_with_their_supervisor(make_server: MakeServer, sink: Sink) -> None:
    server = make_server(sink.port, server={"workers": 2}).start()
    pids = workers(server, 2)
    server.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 30, server.stderr)
    server.start()
    server.send("a@fabrikam.test", "x@adatum.test", connector="secured")
    sink.wait(1)


def test_one_that_cannot_start_stops_all(make_server: MakeServer) -> None:
    server = make_server(server={"workers": 2})
    (server.data / "queue").mkdir(parents=True)
    (server.data / "queue/2").write_text("no folder")
    server.launch()
    assert server.wait_for_death() == 1
    assert "cannot start" in server.stderr()


def test_commands_choose_act_and_undo_over_all_workers(make_server: MakeServer, sink: Sink) -> None:
    device = {"name": "printer", "remote_ip_ranges": ["127.0.0.17"], "allowed_senders": ["a@fabrikam.test"]}
    with make_server(sink.port, server={"workers": 2}, devices=[device]) as server:
        send_to_all(server, [f"x{number}@adatum.test" for number in range(4)])
        sink.wait(4)
        server.wait_until_empty()
        assert server.ask("device", "show", "printer")["messages"] == 0
        resubmit = ["safety-net", "resubmit", "--recipient", "*@adatum.test", "--reason", "a test"]
        assert server.ask(*resubmit, "--dry-run")["matched"] == 4
        sink.close()
        done = server.ask(*resubmit)
        assert (done["state"], done["resubmitted"]) == ("Completed", 4)
        fits = "{MessageCount -eq 4}"
        wait_until(lambda: len(server.ask("queue", "list", "--filter", fits)) == 1, 15, lambda: str(server.queues()))
        (suspended,) = server.ask("queue", "suspend", "--filter", fits, "--reason", "a test")
        assert suspended["messages"] == 4
        (record, *_) = server.ask("action", "list")
        assert (record["action"], record["messages"], record["target"]) == ("suspend queue", 4, f"queues {{{fits}}}")
        assert "undo suspend queue" in server.succeed("action", "undo", str(record["id"]))
        assert [one["status"] for one in server.queues() if one["message_count"]] != ["Suspended"]
        recorded = [line["method"] for line in server.ask("audit-log")]
        assert recorded.count("safety_net.resubmit") == 2
        assert recorded.count("queues.suspend") == recorded.count("actions.undo") == 1


def test_a_worker_that_cannot_come_back_is_alarmed_and_the_others_go_on(make_server: MakeServer, sink: Sink) -> None:
    with make_server(sink.port, server={"workers": 2}) as server:
        victim = workers(server, 2)[1]
        with (server.data / "queue/2/lock").open() as lock:
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: not is_held(lock), 10, server.stderr)
            for number in range(4):
                server.send("a@fabrikam.test", f"x{number}@adatum.test", connector="secured")
            sink.wait(4)
            wait_until(lambda: b"worker 2" in server.command("status", "--json").stdout, 30, server.stderr)
            wait_until(
                lambda: b"worker_2/down" in server.command("alarm", "list", "--json").stdout,
                60,
                server.stderr,
            )
            assert server.command("message", "list").returncode != 0, "half a list would be a wrong answer"
        workers(server, 2)
        wait_until(lambda: server.command("message", "list").returncode == 0, 30, server.stderr)


def is_held(lock: TextIO) -> bool:
    """Try to hold a queue's lock as another process would; whether somebody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def test_standing_rules_hold_mail_wherever_it_comes(make_server: MakeServer, sink: Sink) -> None:
    with make_server(sink.port, server={"workers": 2}) as server:
        rule = ["standing-rule", "add", "hold", "--filter", "{FromAddress -like 'a@*'}", "--reason", "test"]
        server.succeed(*rule)
        send_to_all(server, [f"x{number}@adatum.test" for number in range(4)])
        wait_until(
            lambda: [one["status"] for one in server.ask("message", "list")] == ["Suspended"] * 4, 15, server.stderr
        )
        (shown,) = server.ask("standing-rule", "list")
        server.succeed("standing-rule", "cancel", str(shown["id"]))
        sink.wait(4)
