# SPDX-License-Identifier: MIT
import socket
from importlib import import_module
from pathlib import Path

import pytest

from bridgehead.admin.ports import ReloadOutcome
from bridgehead.queues.store import MessageStatus, QueueKind, QueueState, QueueStatus
from support.cli import Commands
from support.running_server import CONTOSO, running

cli_status = import_module("bridgehead.admin.cli.health.status")


def test_status_says_how_the_server_is(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        server.put("a@contoso.com")
        server.set_state(
            QueueState(queue=QueueKind.DELIVERY, next_hop=CONTOSO, status=QueueStatus.RETRY, last_error="refused")
        )
        report = commands.json("status")
        output = commands("status").output
    assert report["healthy"]
    assert report["uptime_seconds"] == 3700
    assert report["messages_by_queue_type"] == {"Delivery": 1}
    assert [queue["identity"] for queue in report["retrying_queues"]] == ["Internet/contoso.com"]
    for text in ("all is well", "1 h 1 min", "127.0.0.1:25  Default  (2 connections)", "Internet/contoso.com"):
        assert text in output


def test_alarms_are_shown_and_make_the_exit_code_one(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        server.server.alarms = ["the disk is full"]
        assert "the disk is full" in commands("status", code=1).output
        assert not commands.json("status", code=1)["healthy"]


def test_a_message_set_aside_is_an_alarm_until_somebody_decides(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        server.put("a@contoso.com", queue=QueueKind.POISON, next_hop=None, status=MessageStatus.SUSPENDED)
        assert "bridgehead queue show Poison" in commands("status", code=1).output


def test_status_asks_behind_an_interface_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_status, "_PATIENCE_SECONDS", 0.1)
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server, socket.socket(socket.AF_UNIX) as silent:
        server.server.alarms = ["the management interface ended by signal 9"]
        commands.control_socket.rename(tmp_path / "aside.sock")
        silent.bind(str(commands.control_socket))
        silent.listen()
        assert "ended by signal 9" in commands("status", code=1).output


def test_status_without_a_server_ends_with_three(tmp_path: Path) -> None:
    Commands(tmp_path)("status", code=3)


def test_reload_says_what_changed_or_every_mistake(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        output = commands("reload").output
        assert "receive_connectors changed" in output
        assert "logs was changed and takes effect after a restart" in output
        server.server.outcome = ReloadOutcome(problems=["b.toml:3: nonsense"])
        output = commands("reload", code=1).output
        assert "b.toml:3: nonsense" in output
        assert "Nothing was changed" in output
