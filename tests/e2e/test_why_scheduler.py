# SPDX-License-Identifier: MIT
"""Why the scheduler does not send: limits that release the queue when they are raised, suspensions, routes, poison."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridgehead.admin.why.verdict import Verdict
from e2e.why_world import World
from support.configuration import changed
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink, Transaction
from support.talk import Talk

CRASHING = Path(__file__).parents[1] / "support" / "crashing_server.py"


class Holding(Sink):
    """Does not answer the content until it is told to."""

    def __init__(self) -> None:
        self.release = threading.Event()
        super().__init__(on_content=self._hold)

    def _hold(self, _: Transaction) -> str | None:
        self.release.wait(60)
        return None


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.close()


def _raise_limit(lab: World, **changes: Any) -> None:
    assert lab.server is not None
    lab.server.configure(changed(lab.server.settings, changes))
    lab.server.reload()


def _limited(lab: World, about: str, setting: str) -> Any:
    def ask() -> Any:
        found = lab.why(about).verdicts
        return next((one for one in found if one.limit is not None and one.limit.setting == setting), None)

    return wait_until(ask, 15, lambda: f"{setting} named; there: {lab.why(about).verdicts}")


def test_the_limit_of_all_connections_is_named_with_its_line_and_releases_the_queue_when_raised(lab: World) -> None:
    holding, free = lab.stack.enter_context(Holding()), lab.stack.enter_context(Sink())
    lab.smart_host("slow.test", holding.port)
    lab.smart_host("free.test", free.port)
    server = lab.start(delivery={"connect_timeout": 1, "max_outbound_connections": 1})
    lab.send("x@slow.test")
    wait_until(lambda: holding.commands and holding.commands[-1][1] == "DATA", 10, "the connection is held")
    lab.send("x@free.test")
    verdict = _limited(lab, "x@free.test", "max_outbound_connections")
    line = int(verdict.limit.origin.removeprefix("bridgehead.toml:"))
    assert server.config.read_text().splitlines()[line - 1] == "max_outbound_connections = 1"
    assert (verdict.limit.value, verdict.limit.used) == (1, 1)
    assert verdict.reason == "limit"
    assert verdict.state == "STUCK"
    assert verdict.why.startswith(
        "It could go now, but max_outbound_connections is reached: 1 of 1 connections are in use"
    )
    assert verdict.do == f"raise max_outbound_connections (bridgehead.toml:{line}), then: bridgehead reload"
    assert not free.transactions
    _raise_limit(lab, delivery={"max_outbound_connections": 5})
    assert free.wait(1)[0].forward_paths == ["x@free.test"]
    holding.release.set()
    holding.wait(1)


def test_the_limit_of_one_connector_is_named_and_releases_its_queue_when_raised(lab: World) -> None:
    holding = lab.stack.enter_context(Holding())
    lab.smart_host("slow.test", holding.port, max_outbound_connections_per_domain=1)
    server = lab.start()
    lab.send("first@slow.test")
    wait_until(lambda: holding.commands and holding.commands[-1][1] == "DATA", 10, "the connection is held")
    lab.send("second@slow.test")
    verdict = _limited(lab, "second@slow.test", "max_outbound_connections_per_domain")
    line = int(verdict.limit.origin.removeprefix("bridgehead.toml:"))
    assert server.config.read_text().splitlines()[line - 1] == "max_outbound_connections_per_domain = 1"
    connectors = [{**one, "max_outbound_connections_per_domain": 3} for one in server.settings["send_connectors"]]
    _raise_limit(lab, send_connectors=connectors)
    wait_until(lambda: _reached(holding, "second@slow.test"), 20, "the second message is sent beside the first")
    assert not holding.transactions
    holding.release.set()


def test_the_limit_of_one_priority_is_named_and_releases_its_messages_when_raised(lab: World) -> None:
    holding = lab.stack.enter_context(Holding())
    lab.smart_host("slow.test", holding.port)
    queues = {"priority_queuing_enabled": True, "max_per_domain_low_priority_connections": 1}
    server = lab.start(queues=queues)
    low = b"Importance: low\r\nSubject: patient\r\n\r\nhello\r\n"
    lab.send("first@slow.test", low)
    wait_until(lambda: holding.commands and holding.commands[-1][1] == "DATA", 10, "the connection is held")
    lab.send("second@slow.test", low)
    verdict = _limited(lab, "second@slow.test", "max_per_domain_low_priority_connections")
    line = int(verdict.limit.origin.removeprefix("bridgehead.toml:"))
    assert server.config.read_text().splitlines()[line - 1] == "max_per_domain_low_priority_connections = 1"
    assert verdict.reason == "limit"
    assert "1 of 1 messages of its priority are under way, set in bridgehead.toml:" in verdict.why
    _raise_limit(lab, queues={"max_per_domain_low_priority_connections": 3})
    wait_until(lambda: _reached(holding, "second@slow.test"), 20, "the second message is sent beside the first")
    holding.release.set()
    holding.wait(2)


def _reached(sink: Sink, recipient: str) -> bool:
    return any(recipient in line for _, line in sink.commands)


def test_suspended_by_whom_and_when(lab: World) -> None:
    lab.smart_host("there.test", free_port())
    server = lab.start()
    lab.send("x@there.test")
    identity = wait_until(lambda: next((q["identity"] for q in server.queues() if q["message_count"]), None))
    server.succeed("queue", "suspend", identity)
    verdict = lab.why("x@there.test").verdicts[0]
    assert verdict.reason == "queue-suspended"
    assert verdict.why.startswith("The queue was suspended by ")
    assert " on 20" in verdict.why
    assert verdict.do == f"bridgehead queue resume '{identity}'"
    assert verdict.since is not None
    server.succeed("queue", "resume", identity)
    wait_until(lambda: lab.why("x@there.test").verdicts[0].reason != "queue-suspended", 10)


def test_a_standing_rule_that_holds_a_message_is_named(lab: World) -> None:
    lab.smart_host("held.test", free_port())
    server = lab.start()
    server.succeed(
        "standing-rule", "add", "hold", "--filter", "FromAddress -like '*@fabrikam.test'", "--reason", "audit"
    )
    lab.send("x@held.test")
    verdict = wait_until(lambda: next((v for v in lab.why("x@held.test").verdicts if v.reason == "held-by-rule"), None))
    assert verdict is not None
    assert "standing rule 1 holds it" in verdict.why
    assert "(audit)" in verdict.why
    assert verdict.do.startswith("bridgehead standing-rule show 1")


def test_what_an_administrator_or_a_rule_removed_is_not_told_as_the_far_side_s_doing(lab: World) -> None:
    lab.smart_host("there.test", free_port())
    server = lab.start()
    rule = ("--filter", "FromAddress -like 'ann@*'", "--reason", "spam run")
    lab.send("x@there.test")
    number = wait_until(lambda: next((str(one["id"]) for one in server.ask("message", "list")), None))
    assert number is not None
    server.succeed("message", "remove", number, "--without-ndr", "--reason", "virus found")
    verdict = wait_until(lambda: next((v for v in lab.why("x@there.test").verdicts if v.state == "FAILED"), None))
    assert verdict is not None
    assert verdict.why.endswith("(action 1) removed it (virus found); nothing was sent.")
    assert (verdict.owner, verdict.do, verdict.otherwise) == ("you", "bridgehead action show 1", "nobody was told")
    server.succeed("standing-rule", "add", "fail", *rule)
    lab.send("y@there.test")
    verdict = wait_until(lambda: next((v for v in lab.why("y@there.test").verdicts if v.state == "FAILED"), None))
    assert verdict is not None
    assert verdict.why.startswith("Standing rule 1 of ")
    assert verdict.why.endswith(" removed it (spam run); nothing was sent.")
    assert verdict.otherwise == "its sender has a report"


def test_back_pressure_is_told_to_whom_it_refuses(lab: World) -> None:
    """A threshold below what is in use stands for memory that is used up."""
    always = dict.fromkeys(("low_to_medium", "medium_to_high", "high_to_medium", "medium_to_low"), 0)
    server = lab.start(back_pressure={"resource_metering_interval": 0.1, "private_bytes": always})

    def refused() -> bool:
        with Talk(server.port("anonymous"), source="127.0.0.77") as talk:
            talk.send(b"EHLO scanner.test\r\n")
            talk.read()
            talk.send(b"MAIL FROM:<scan@fabrikam.test>\r\n")
            return "452" in str(talk.read())

    wait_until(refused, 15)
    verdict = lab.verdict("127.0.0.77", "door-back-pressure")
    assert "resources are short (back pressure: " in verdict.why
    assert "High" in verdict.why
    assert verdict.do.startswith("see which resource and since when: bridgehead back-pressure")
    [kept] = lab.why("Submission").verdicts
    assert (kept.state, kept.reason, kept.owner, kept.do) == (
        "STUCK",
        "back-pressure",
        "you",
        "bridgehead back-pressure",
    )
    assert "all mail is refused with 452 4.3.1" in kept.why
    assert "the pickup and replay directories wait" in kept.why
    assert any("memory of this server is High" in line for line in kept.proof)
    server.configure(changed(server.settings, {"back_pressure": {"enable_resource_monitoring": False}}))
    server.reload()
    assert lab.why("Submission").verdicts[0].why == "Nothing waits."


def test_a_port_that_is_taken_names_who_holds_it(lab: World) -> None:
    server = lab.start()
    other = World(lab.folder / "other")
    try:
        other.start(receive_connectors=[server.settings["receive_connectors"][0]])
        assert other.server is not None
        assert other.server.wait_for_death() == 1
        error = next(line for line in other.server.stderr().splitlines() if "cannot listen on" in line)
        said = other.server.command("why", error.partition("cannot start: ")[2]).stdout.decode()
    finally:
        other.close()
    assert server.process is not None
    assert f"Port {server.ports[0]} is held by process {server.process.pid} (" in said


def test_no_route_and_what_frees_it(lab: World) -> None:
    sink = lab.stack.enter_context(Sink())
    server = lab.start()
    lab.send("x@adatum.test")
    verdict = wait_until(lambda: next(iter(lab.why("adatum.test").verdicts), None))
    assert verdict is not None
    assert verdict.reason == "no-route"
    assert "adatum.test" in verdict.why
    for recipient in ("y@adatum.test", "z@northwind.test"):
        lab.send(recipient)
    every = wait_until(lambda: next((one for one in lab.why("Unreachable").verdicts if one.messages == 3), None))
    assert every is not None
    assert every.why == "No send connector takes mail for adatum.test (2) and northwind.test (1)."
    lab.smart_host("*", sink.port)
    server.configure(changed(server.settings, {"send_connectors": lab.connectors}))
    server.reload()
    sink.wait(3)


def test_a_message_that_crashed_the_server_is_set_aside(lab: World, tmp_path: Path) -> None:
    def launched(server: Server, *launcher: str) -> Server:
        server.launcher = list(launcher)
        return server

    server = lab.start(queues={"poison_threshold": 1})
    server.stop()
    step = "accepted and answered, not categorized"
    launched(server, sys.executable, str(CRASHING), step, "1").start()
    lab.send("bob@contoso.test")
    server.wait_for_death()
    launched(server, sys.executable, "-m", "bridgehead").start()
    verdict = wait_until(lambda: next((v for v in lab.why("Poison").verdicts if v.messages), None))
    assert verdict is not None
    assert verdict.reason == "set-aside"
    assert "too often" in verdict.why
    assert verdict.do == "look at it: bridgehead queue show Poison, then bridgehead message resume or remove"
    assert verdict.otherwise == "it stays there until an administrator resumes or removes it"
    assert (verdict.expires, verdict.delay_notice) == (None, None)


def test_submission_that_waits_for_the_directory_says_so(lab: World) -> None:
    """Submission grows: the recipients' database is gone while the server runs. It comes back, and mail goes by itself."""
    database, sink = lab.folder / "recipients.db", lab.stack.enter_context(Sink())
    lab.smart_host("adatum.test", sink.port)
    server = lab.start()
    server.stop()
    changes = {"directory": {"recipients_file": str(database)}, "queues": {"resolver_retry_interval": 1}}
    server.configure(changed(server.settings, changes))
    server.succeed("recipient", "add", "bob", "--address", "bob@contoso.test")
    server.start()
    assert lab.why("Submission").verdicts[0].why == "Nothing waits."
    database.rename(lab.folder / "aside")
    sent = 0

    def waiting() -> Verdict | None:
        nonlocal sent
        lab.send("x@adatum.test")
        sent += 1
        return next((one for one in lab.why("Submission").verdicts if one.reason == "waiting-for-directory"), None)

    verdict = wait_until(waiting)
    assert verdict is not None
    assert verdict.messages
    assert "waits for the directory" in verdict.why
    (lab.folder / "aside").rename(database)
    sink.wait(sent)


def test_nothing_waits_once_all_is_delivered(lab: World) -> None:
    """Nothing waits: that is said, too, with what is remembered of the destination."""
    sink = lab.stack.enter_context(Sink())
    lab.smart_host("done.test", sink.port)
    lab.start()
    lab.send("x@done.test")
    sink.wait(1)
    verdict = wait_until(lambda: next((v for v in lab.why("x@done.test").verdicts if v.state == "DELIVERED"), None))
    assert verdict is not None
    assert lab.why("").verdicts[0].state == "IDLE"


def test_queues_that_wait_for_one_thing_of_ours_are_told_once(lab: World) -> None:
    """No resolver answers: whoever asks why nothing moves reads it once, not once for each of hundreds of queues."""
    server = lab.start(
        server={"dns_servers": [f"127.0.0.1:{free_port()}"]},
        send_connectors=[{"name": "Internet", "address_spaces": ["*"]}],
    )
    for domain in ("adatum.test", "fabrikam.test", "wingtip.test"):
        lab.send(f"x@{domain}")
    wait_until(lambda: sum(one["status"] == "Retry" for one in server.queues()) == 3, 30, "three queues in Retry")

    def told() -> Verdict | None:
        verdicts = lab.why("").verdicts
        return verdicts[0] if [one.cause for one in verdicts] == ["resolver-dead"] else None

    verdict = wait_until(told, 20, lambda: f"one verdict, not {lab.why('').verdicts}")
    assert verdict is not None
    assert verdict.headline.startswith("3 messages to 3 queues (")
    assert (verdict.messages, verdict.owner) == (3, "you")
