# SPDX-License-Identifier: MIT
"""`alarm` and `monitor` as people and plugins' hosts see them."""

import json
from pathlib import Path

from bridgehead.admin.health.pressure import PressureFacts
from bridgehead.monitoring.rules import Verdict
from bridgehead.queues.pressure import Level
from bridgehead.queues.store import MessageStatus, QueueKind
from bridgehead.tracking.alarms import Severity
from support.cli import Commands
from support.running_server import running


def test_no_alarms_is_exit_code_zero_and_says_who_would_be_told(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket):
        output = commands("alarm", "list").output
        assert "No alarms." in output
        assert "mail_to and mail_server of [alarms]" in output


def test_an_alarm_is_listed_with_remedy_and_can_be_silenced_acknowledged_and_told_again(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        server.put("a@contoso.com", queue=QueueKind.POISON, next_hop=None, status=MessageStatus.SUSPENDED)
        output = commands("alarm", "list", code=1).output
        assert "CRITICAL  messages in the Poison queue: 1" in output
        assert "bridgehead queue show Poison" in output
        assert "acknowledged until" in commands("alarm", "acknowledge", "poison_queue", "--reason", "mine").output
        [alarm] = json.loads(commands("alarm", "list", "--json", code=1).output)["alarms"]
        assert (alarm["acknowledged"], alarm["silence_reason"]) == (True, "mine")
        assert "silenced until" in commands("alarm", "silence", "poison_queue", "--for", "1d").output
        assert "told again" in commands("alarm", "unsilence", "poison_queue").output
        assert "there is no silence" in commands("alarm", "unsilence", "poison_queue", code=1).output
        assert "there is no alarm" in commands("alarm", "acknowledge", "disk", code=1).output
        assert "a time such as" in commands("alarm", "silence", "disk", "--for", "soon", code=1).output


def test_a_test_alarm_says_what_became_of_it(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket):
        assert commands("alarm", "test").output.split() == ["ok", "log"]


def test_a_check_has_the_exit_codes_of_plugins(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    assert commands("monitor", "check", code=2).output.startswith("BRIDGEHEAD CRITICAL - ")
    with running(commands.control_socket) as server:
        assert commands("monitor", "check").output.startswith("BRIDGEHEAD OK - takes mail, no alarms | 'submission'=0")
        server.put("a@contoso.com", queue=QueueKind.UNREACHABLE, next_hop=None)
        output = commands("monitor", "check", code=1).output
        assert output.startswith("BRIDGEHEAD WARNING - messages without a route wait in the Unreachable queue: 1")
        assert "'unreachable'=1;;;0" in output
        commands("alarm", "silence", "*")
        assert "(1 silenced)" in commands("monitor", "check").output
        server.server.monitored.pressure = PressureFacts(level=Level.HIGH)
        output = commands("monitor", "check", code=2).output
        assert output.startswith("BRIDGEHEAD CRITICAL - not ready: back pressure is High")
        commands("alarm", "unsilence", "*")
        server.server.monitored.pressure = PressureFacts()
        server.server.monitored.trouble = trouble = "mail cannot be stored: no room"
        server.server.monitored.found = [Verdict("store", Severity.CRITICAL, trouble)]
        assert commands("monitor", "check", code=2).output.count(trouble) == 1
        assert "UNKNOWN" in commands("monitor", "check", "--warning-age", "soon", code=3).output
        assert "UNKNOWN" in commands("monitor", "check", "--nonsense", code=3).output


def test_a_check_of_queues_judges_length_and_age(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        for _ in range(3):
            server.put("a@contoso.com")
        arguments = ("monitor", "check", "--queue", "Internet/*")
        assert "'messages'=3;4;;0" in commands(*arguments, "--warning", "4").output
        commands(*arguments, "--warning", "3", code=1)
        commands(*arguments, "--warning", "1", "--critical", "3", code=2)
        commands(*arguments, "--critical", "3", "--queue", "Other/*")
        document = json.loads(commands(*arguments, "-w", "3", "--json", code=1).output)
        assert document["state"] == "WARNING"
