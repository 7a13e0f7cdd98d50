# SPDX-License-Identifier: MIT
"""What operators ask and do has the same result with two workers as with one: every method, on the same mail."""

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridgehead.admin.calls.client import ChannelClient
from bridgehead.admin.calls.control import channel_path
from bridgehead.admin.faults import AdminFault
from bridgehead.admin.methods.table import METHODS
from support.configuration import (
    ANONYMOUS,
    EXTERNALLY_SECURED,
    Settings,
    base,
    receive_connector,
    send_connector,
)
from support.population import RECIPIENTS
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink
from support.talk import Talk
from support.workers import sessions

PRINTER, NEIGHBOUR = "127.0.0.17", "127.0.0.18"
WHY = {"reason": "a test"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(\+00:00|Z)?|\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?Z?|\d\d:\d\d:\d\d \+0000")
LONG_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|<[^<>@]*@mx\.contoso\.test>")
NUMBERED = re.compile(r"\b(actions?|requests?|messages?|rules?) \d+(?:, \d+)*")
LIVELY = {
    "pid", "uptime_seconds", "sessions_out", "size", "total_bytes", "octets", "used", "max_size", "segments", "data",
    "resources",
}  # fmt: skip
"""What is another number with each run, or of the machine."""


class World:
    """One server with its mail, and what was found of it so far."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.channel = ChannelClient(channel_path(server.data / "control.sock"))

    def close(self) -> None:
        self.channel.close()

    def call(self, name: str, /, **params: Any) -> Any:
        """A method's result as anybody gets it, or its fault."""
        method = METHODS[name]
        try:
            return self.channel.call(name, method.params(**params), Any)
        except AdminFault as fault:
            return {"fault": fault.code, "message": fault.message, "remedy": fault.remedy}

    def alike(self, value: Any, key: str = "") -> Any:
        """A result without what differs from run to run."""
        if key in LIVELY or isinstance(value, float):
            return "a number"
        if isinstance(value, dict):
            return {one: self.alike(inner, one) for one, inner in value.items()}
        if isinstance(value, list):
            return sorted((self.alike(one, key) for one in value), key=repr)
        if isinstance(value, int) and (
            key == "id" or key.endswith(("_id", "undo_of", "undone_by", "sweep", "release"))
        ):
            return bool(value)
        if isinstance(value, str):
            text = LONG_ID.sub("an id", TIME.sub("a time", value)).replace(str(self.server.directory), "here")
            return NUMBERED.sub(r"\1 N", text)
        return value


Step = Callable[[World], Any]


def asked(name: str, /, **params: Any) -> Step:
    return lambda world: world.call(name, **params)


def messages(world: World, *subjects: int) -> list[int]:
    """Internal ids of queued messages by the numbers in their subjects."""
    found = {one["subject"]: one["id"] for one in world.call("messages.list")}
    return [found[str(one)] for one in subjects]


def on(name: str, /, *subjects: int, **params: Any) -> Step:
    """A method about the one message with this subject."""
    field = METHODS[name].params.__struct_fields__[0]
    return lambda world: world.call(
        name, **{field: str(messages(world, *subjects)[0]) if field == "identity" else messages(world, *subjects)[0]},
        **params,
    )  # fmt: skip


def act(name: str, action: str, *subjects: int, **params: Any) -> Step:
    """An action on messages by subject, known from then on."""

    def step(world: World) -> Any:
        if subjects:
            params["messages"] = ",".join(map(str, messages(world, *subjects)))
        return world.call(name, action=action, **params)

    return step


def of_latest(name: str, **params: Any) -> Step:
    """About the latest action."""

    def step(world: World) -> Any:
        latest = next(one for one in world.call("actions.list") if not one["undo_of"])
        return world.call(name, id=latest["id"], **params)

    return step


def resubmit(**params: Any) -> Step:
    """A request to resubmit, awaited."""

    def step(world: World) -> Any:
        before = world.call("safety_net.status")["kept"]
        request = world.call("safety_net.resubmit", **params)
        if "id" not in request:
            return request
        wait_until(lambda: world.call("safety_net.request", id=request["id"])["state"] == "Completed", 20, "it ends")
        done = world.call("safety_net.request", id=request["id"])
        wait_until(
            lambda: world.call("safety_net.status")["kept"] == before + done["resubmitted"], 20, "it is delivered"
        )
        return done

    return step


def of_request(name: str) -> Step:
    return lambda world: world.call(name, id=world.call("safety_net.status")["requests"][0]["id"])


def rule(name: str) -> Step:
    return lambda world: world.call(name, id=world.call("standing_rules.list")[0]["id"])


def ended_actions(world: World) -> Any:
    """The latest actions once they have ended."""

    def latest() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = world.call("actions.list", limit=4)
        return found

    wait_until(lambda: all(one["state"] == "Completed" for one in latest()), 20, "the actions end")
    return [(one["action"], one["details"], one["messages"], one["reason"]) for one in latest()]


RETRY, OTHER = "Slow", "Other"
BY_ANNA = "{FromAddress -like 'anna@*'}"
STEPS: dict[str, Step] = {
    "status": asked("server.status"),
    "queues": asked("queues.list"),
    "queues by pattern": asked("queues.list", name="Slow*"),
    "queues by filter": asked("queues.list", filter="{MessageCount -ge 3}"),
    "queues by a bad filter": asked("queues.list", filter="{Nonsense -eq 3}"),
    "a queue": asked("queues.show", name=RETRY),
    "an empty queue": asked("queues.show", name="Unreachable"),
    "no queue": asked("queues.show", name="nowhere"),
    "two queues of one name": asked("queues.show", name="*"),
    "retry by filter": asked("queues.retry", name="", filter="{MessageCount -eq 3}"),
    "retry one": asked("queues.retry", name=RETRY),
    "retry none": asked("queues.retry", name="nowhere"),
    "suspend several without reason": asked("queues.suspend", name="*"),
    "suspend by filter without reason": asked("queues.suspend", name="", filter="{MessageCount -ge 3}"),
    "suspend by filter": asked("queues.suspend", name="", filter="{MessageCount -ge 3}", **WHY),
    "suspend again": asked("queues.suspend", name=RETRY),
    "retry what is suspended": asked("queues.retry", name=RETRY),
    "suspended queues": asked("queues.list", filter="{Status -eq 'Suspended'}"),
    "the record of that": of_latest("actions.show"),
    "undo that": of_latest("actions.undo", **WHY),
    "undo that again": of_latest("actions.undo", **WHY),
    "queues after undo": asked("queues.list"),
    "suspend one queue": asked("queues.suspend", name=OTHER),
    "resume by filter": asked("queues.resume", name="", filter="{Status -eq 'Suspended'}", **WHY),
    "resume what is not suspended": asked("queues.resume", name=OTHER),
    "verify": asked("queues.verify"),
    "messages": asked("messages.list"),
    "messages of a queue": asked("messages.list", queue=OTHER),
    "messages of no queue": asked("messages.list", queue="nowhere"),
    "messages by filter": asked("messages.list", filter=BY_ANNA),
    "the first messages": lambda world: len(world.call("messages.list", limit=2)),
    "a message": on("messages.show", 1),
    "no message": asked("messages.show", identity="4711"),
    "its content": on("messages.content", 1),
    "its export": lambda world: len(on("messages.export", 1)(world)),
    "the export of none": asked("messages.export", id=4711),
    "preview by filter": act("actions.preview", "suspend", filter=BY_ANNA),
    "preview by id": act("actions.preview", "suspend", 1, 2, 3),
    "preview of nothing": act("actions.preview", "suspend"),
    "an action that there is not": act("actions.preview", "bless", 1),
    "suspend several messages without reason": act("actions.start", "suspend", 1, 2),
    "a message that is not there among others": lambda world: world.call(
        "actions.start", action="suspend", messages=f"{messages(world, 1)[0]},4711", **WHY
    ),
    "suspend messages by filter": act("actions.start", "suspend", filter=BY_ANNA, **WHY),
    "suspend one again": act("actions.start", "suspend", 1),
    "suspend two again": act("actions.start", "suspend", 1, 2, **WHY),
    "the latest action": of_latest("actions.show"),
    "undo what changed nothing": of_latest("actions.undo", **WHY),
    "suspended messages": asked("messages.list", status="Suspended"),
    "resume by queue": act("actions.start", "resume", queue=RETRY, **WHY),
    "undo of resume": of_latest("actions.undo", **WHY),
    "redirect": act("actions.start", "redirect", filter=BY_ANNA, connector="Other", **WHY),
    "redirected": asked("queues.list"),
    "undo of redirect": of_latest("actions.undo", **WHY),
    "redirect to no connector": act("actions.start", "redirect", 1, connector="None"),
    "priority": act("actions.start", "priority", 1, 2, priority="High", **WHY),
    "expiry": act("actions.start", "expiry", filter=BY_ANNA, expires="2h", **WHY),
    "remove one": act("actions.start", "remove", 3, with_ndr=False),
    "undo of remove": of_latest("actions.undo", **WHY),
    "remove of a queue": act("actions.start", "remove", queue=OTHER, with_ndr=False, **WHY),
    "what is left": asked("queues.list"),
    "undo of that": of_latest("actions.undo", **WHY),
    "resubmit messages": act("actions.start", "resubmit", filter="{Subject -eq '4'}", **WHY),
    "actions": asked("actions.list"),
    "some actions": lambda world: len(world.call("actions.list", limit=3)),
    "no action": asked("actions.show", id=4711),
    "undo of none": asked("actions.undo", id=4711),
    "net": asked("safety_net.status"),
    "kept": asked("safety_net.list", recipient="*@sink.test"),
    "dry run": resubmit(recipient="*@sink.test", dry_run=True, **WHY),
    "nothing said": resubmit(**WHY),
    "a bad span": resubmit(start="2026-01-02T00:00:00Z", end="2026-01-01T00:00:00Z"),
    "resubmit": resubmit(recipient="*@sink.test", **WHY),
    "requests": asked("safety_net.status"),
    "cancel what is over": of_request("safety_net.cancel"),
    "no request": asked("safety_net.request", id=4711),
    "hold": asked("standing_rules.add", rule="hold", filter=BY_ANNA, reason="a test"),
    "rules": asked("standing_rules.list"),
    "a rule": rule("standing_rules.show"),
    "cancel it": rule("standing_rules.cancel"),
    "rule that there is not": asked("standing_rules.show", id=4711),
    "rule of a bad filter": asked("standing_rules.add", rule="hold", filter="{Nonsense -eq 1}", reason="a test"),
    "actions of rules": lambda world: ended_actions(world),
    "devices": asked("devices.list"),
    "a device": asked("devices.show", name="printer"),
    "no device": asked("devices.show", name="none"),
    "a device's mail": asked("devices.test", client_ip="printer", sender="x@contoso.test", recipients=["y@sink.test"]),
    "a silence": asked("alarms.silence", pattern="none/*", duration="1h", reason="a test"),
    "the end of it": asked("alarms.unsilence", pattern="none/*"),
    "the end of none": asked("alarms.unsilence", pattern="other/*"),
    "locks": asked("lockouts.list"),
    "lifting all": asked("lockouts.lift", everybody=True),
    "lifting none": asked("lockouts.lift", account="nobody"),
    "back pressure": lambda world: world.call("back_pressure.show")["level"],
    "live": asked("health.live"),
    "ready": asked("health.ready"),
    "why a queue": lambda world: why(world, RETRY),
    "why a message": lambda world: why(world, str(messages(world, 1)[0])),
    "why nothing": lambda world: why(world, "nowhere"),
    "trace": lambda world: len(world.call("trace.search", sender="anna@*")["messages"]),
    "policy": asked("tls_policy.show", domain="slow.test"),
    "results": asked("tls_reports.results"),
    "domain": asked("tls_policy.forget", domain="none.test"),
    "tokens of none": asked("oauth.refresh", name="none"),
    "reload": asked("server.reload"),
}  # fmt: skip
ELSEWHERE = {
    "alarms.list", "alarms.acknowledge", "alarms.test", "metrics.snapshot", "trace.story", "certificates.renewals",
}  # fmt: skip
"""What has tests of its own with several workers, or depends on the time of day."""


def why(world: World, about: str) -> Any:
    """The verdicts, without measures."""
    found = world.call("why", about=about)
    if "fault" in found:
        return found
    return [
        (one["reason"], one["cause"], one["messages"], one["headline"].partition(",")[0]) for one in found["verdicts"]
    ]


def settings_of(directory: Path, workers: int, ports: dict[str, int]) -> Settings:
    settings = base(directory)
    settings["server"]["workers"] = workers
    settings["queues"] |= dict.fromkeys(
        ("queue_glitch_retry_interval", "outbound_connection_failure_retry_interval", "message_retry_interval"), "1h"
    )
    settings["receive_connectors"] = [
        receive_connector("anonymous", ports["anonymous"], **ANONYMOUS, reject_unknown_recipients=False),
        receive_connector("secured", ports["secured"], **EXTERNALLY_SECURED),
    ]
    settings["send_connectors"] = [
        send_connector(RETRY, ports["closed"], spaces=("slow.test",)),
        send_connector(OTHER, ports["closed"], spaces=("other.test",)),
        send_connector("Sink", ports["sink"], spaces=("sink.test",)),
    ]
    settings["devices"] = [
        {"name": "printer", "remote_ip_ranges": [f"{PRINTER}-{NEIGHBOUR}"], "receive_connectors": ["anonymous"],
         "allowed_senders": ["x@contoso.test"], "allowed_recipients": ["*@sink.test"]},
    ]  # fmt: skip
    return settings


def fill(server: Server, workers: int) -> None:
    """Mail in two queues that do not move, mail that was delivered, and a device at work, spread over all workers."""
    mail = [(str(number), f"{'anna' if number % 2 else 'ben'}@fabrikam.test", f"x{number}@slow.test")
            for number in range(5)]  # fmt: skip
    mail += [(str(number), "carl@fabrikam.test", f"x{number}@other.test") for number in range(5, 8)]
    mail += [("gone", "dora@fabrikam.test", f"x{number}@sink.test") for number in range(4)]
    with Several(server, workers) as talks:
        for number, (subject, sender, recipient) in enumerate(mail):
            talks[number % workers].message(sender, recipient, f"Subject: {subject}\r\n\r\nhello\r\n".encode())
    for address in (PRINTER, NEIGHBOUR, PRINTER):
        with Talk(server.port("anonymous"), source=address) as talk:
            talk.hello()
            talk.message("x@contoso.test", "y@sink.test", b"Subject: scan\r\nFrom: x@contoso.test\r\n\r\n")
    wait_until(lambda: server.queued() == 8, 20, lambda: str(server.queues()))
    wait_until(lambda: [one["status"] for one in server.queues()] == ["Retry"] * 2, 20, lambda: str(server.queues()))
    server.wait_for_events("SEND", 7)


class Several:
    """A session with each worker."""

    def __init__(self, server: Server, workers: int) -> None:
        self._opened = sessions(server) if workers > 1 else None
        self._server, self._single = server, None

    def __enter__(self) -> list[Talk]:
        if self._opened is not None:
            return self._opened.__enter__()
        self._single = Talk(self._server.port("secured")).__enter__()
        self._single.hello()
        return [self._single]

    def __exit__(self, *error: Any) -> None:
        if self._opened is not None:
            self._opened.__exit__(*error)
        elif self._single is not None:
            self._single.__exit__(*error)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What a server said to every step, by its number of workers."""
    answers: dict[int, dict[str, Any]] = {}
    with Sink() as sink:
        ports = {"anonymous": free_port(), "secured": free_port(), "closed": free_port(), "sink": sink.port}
        for workers in (1, 2):
            directory = tmp_path_factory.mktemp(f"workers{workers}")
            with Server(directory, settings_of(directory, workers, ports), RECIPIENTS) as server:
                fill(server, workers)
                with closing(World(server)) as world:
                    answers[workers] = {name: world.alike(step(world)) for name, step in STEPS.items()}
                answers[workers]["audit log"] = [
                    (line["method"], line.get("code", "")) for line in server.ask("audit-log")
                ]
    return answers


def test_every_method_that_workers_answer_together_is_compared() -> None:
    """A method that only the first worker answers can say nothing else than a single process."""
    compared = set(ELSEWHERE)
    for step in STEPS.values():
        cells = [cell.cell_contents for cell in step.__closure__ or ()]
        compared |= {one for one in [*cells, *step.__code__.co_consts] if isinstance(one, str)}
    compared |= {"why", "safety_net.resubmit", "safety_net.request", "messages.list", "actions.list"}
    assert {name for name, method in METHODS.items() if method.merge.ask.value != "first"} <= compared


@pytest.mark.parametrize("step", [*STEPS, "audit log"])
def test_two_workers_answer_as_one_does(said: dict[int, dict[str, Any]], step: str) -> None:
    one, two = (msgspec.json.decode(msgspec.json.encode(said[workers][step])) for workers in (1, 2))
    assert two == one
