# SPDX-License-Identifier: MIT
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridgehead.queues.store import MessageStatus, Problem, QueueKind, QueueState, QueueStatus
from bridgehead.routing.next_hop import DeliveryType, NextHop
from support.cli import Commands
from support.running_server import CONTOSO, FABRIKAM, NOW, Running, running


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


@pytest.fixture
def server(commands: Commands) -> Iterator[Running]:
    with running(commands.control_socket) as server:
        server.put("a@contoso.com")
        server.put("b@contoso.com", status=MessageStatus.RETRY, last_error="451 4.3.0 later")
        server.put("c@fabrikam.com", next_hop=FABRIKAM)
        server.put("d@nowhere.example", queue=QueueKind.UNREACHABLE)
        server.set_state(
            QueueState(
                queue=QueueKind.DELIVERY,
                next_hop=FABRIKAM,
                status=QueueStatus.RETRY,
                next_retry=NOW + 600,
                retry_count=4,
                last_error="192.0.2.9: Connection refused",
            )
        )
        yield server


def test_every_queue_is_listed_largest_first(commands: Commands, server: Running) -> None:
    queues = commands.json("queue", "list")
    assert [(one["identity"], one["message_count"]) for one in queues] == [
        ("Internet/contoso.com", 2),
        ("Internet/fabrikam.com", 1),
        ("Unreachable", 1),
    ]
    assert queues[0]["counts_by_status"] == {"Ready": 1, "Retry": 1}
    assert (queues[1]["status"], queues[1]["retry_count"]) == ("Retry", 4)
    assert queues[1]["next_retry_time"] == "2027-01-15T08:10:00Z"


def test_a_queue_that_is_empty_again_has_no_next_retry(commands: Commands, server: Running) -> None:
    empty = NextHop(DeliveryType.DNS_CONNECTOR, "adatum.com", "Internet")
    server.set_state(
        QueueState(queue=QueueKind.DELIVERY, next_hop=empty, status=QueueStatus.RETRY, next_retry=NOW + 600)
    )
    (shown,) = commands.json("queue", "list", "adatum.com")
    assert (shown["message_count"], shown["next_retry_time"]) == (0, None)


def test_the_table_fits_eighty_columns(commands: Commands, server: Running) -> None:
    server.set_state(
        QueueState(queue=QueueKind.DELIVERY, next_hop=FABRIKAM, status=QueueStatus.RETRY, last_error="refused " * 30)
    )
    lines = commands("queue", "list").output.splitlines()
    assert lines[0].split() == ["QUEUE", "STATUS", "MESSAGES", "NEXT", "RETRY", "LAST", "ERROR"]
    assert max(map(len, lines)) <= 80
    assert any("refused" in line and line.endswith("…") for line in lines)


def test_a_pattern_selects_queues(commands: Commands, server: Running) -> None:
    assert [one["identity"] for one in commands.json("queue", "list", "*fabrikam*")] == ["Internet/fabrikam.com"]
    assert commands.json("queue", "list", "nothing*") == []


@pytest.mark.parametrize("name", ["Internet/contoso.com", "internet/CONTOSO.com", "contoso.com"])
def test_a_queue_is_shown_by_identity_or_domain(commands: Commands, server: Running, name: str) -> None:
    detail = commands.json("queue", "show", name)
    assert [one["recipients"][0]["address"] for one in detail["messages"]] == ["b@contoso.com", "a@contoso.com"]
    text = commands("queue", "show", name).output
    assert "451 4.3.0 later" in text


def test_a_name_that_fits_several_queues_is_refused(commands: Commands, server: Running) -> None:
    error = commands.json("queue", "show", "Internet", code=1)["error"]
    assert "fits 2 queues" in error["message"]


def test_a_whole_identity_comes_before_parts_of_others(commands: Commands, server: Running) -> None:
    server.put("x@y.example", next_hop=NextHop(DeliveryType.DNS_CONNECTOR, "y.example", "Unreachable"))
    assert commands.json("queue", "show", "unreachable")["queue"]["type"] == "Unreachable"


def test_an_unknown_queue_brings_the_nearest(commands: Commands, server: Running) -> None:
    result = commands("queue", "show", "Internet/contso.com", code=1)
    assert 'did you mean "Internet/contoso.com"?' in result.stderr


def test_retry_makes_waiting_messages_due(commands: Commands, server: Running) -> None:
    assert commands.json("queue", "retry", "fabrikam.com") == [
        {"identity": "Internet/fabrikam.com", "action": "retried", "messages": 1}
    ]
    (queue,) = commands.json("queue", "list", "fabrikam.com")
    assert queue["status"] == "Ready"


def test_retry_all_leaves_suspended_and_poison_queues_alone(commands: Commands, server: Running) -> None:
    server.put("p@contoso.com", queue=QueueKind.POISON)
    commands("queue", "suspend", "contoso.com")
    retried = [one["identity"] for one in commands.json("queue", "retry", "--all")]
    assert sorted(retried) == ["Internet/fabrikam.com", "Unreachable"]
    assert "poison" in commands("queue", "retry", "Poison", code=1).stderr
    assert "suspended" in commands("queue", "retry", "contoso.com", code=1).stderr


def test_retry_wants_one_queue_or_all(commands: Commands) -> None:
    commands("queue", "retry", code=2)
    commands("queue", "retry", "x", "--all", code=2)


def test_a_queue_is_suspended_and_resumed_and_says_by_whom(commands: Commands, server: Running) -> None:
    commands("queue", "suspend", "contoso.com")
    (queue,) = commands.json("queue", "list", "contoso.com")
    assert queue["status"] == "Suspended"
    assert queue["suspended_by"]
    commands("queue", "resume", "contoso.com")
    (queue,) = commands.json("queue", "list", "contoso.com")
    assert queue["status"] == "Ready"
    assert "is not suspended" in commands("queue", "resume", "contoso.com", code=1).stderr
    assert "suspended (1 message)" in commands("queue", "suspend", "Unreachable").stdout


def test_verify_reports_findings_with_lost_mail_first(commands: Commands, server: Running) -> None:
    assert "sound" in commands("queue", "verify").output
    server.server.problems = [
        Problem("file 7", "belongs to no message", "none needed"),
        Problem("entry 3", "its content is gone", "ask the sender", lost=True),
    ]
    output = commands("queue", "verify", code=1).output
    assert output.index("entry 3") < output.index("file 7")


def test_verify_checks_the_directory_of_a_stopped_server(commands: Commands, tmp_path: Path) -> None:
    error = commands.json("queue", "verify", code=1)["error"]
    assert "holds no queue" in error["message"]


async def test_verify_finds_a_stopped_store_sound(commands: Commands, tmp_path: Path) -> None:
    from bridgehead.queues.sqlite.queue_store import SqliteQueueStore

    store = SqliteQueueStore(tmp_path / "queue")
    await store.open()
    await store.close()
    assert commands.json("queue", "verify") == []


async def test_verify_checks_every_workers_store(commands: Commands, tmp_path: Path) -> None:
    from bridgehead.queues.sqlite.queue_store import SqliteQueueStore

    for folder in (tmp_path / "queue", tmp_path / "queue/2"):
        store = SqliteQueueStore(folder)
        await store.open()
        await store.close()
    (tmp_path / "queue/2/content").mkdir(exist_ok=True)
    (tmp_path / "queue/2/content/00000000000000ff.eml").write_bytes(b"without owner")
    (problem,) = commands.json("queue", "verify", code=1)
    assert problem["subject"] == "worker 2: file 00000000000000ff.eml"


def test_without_a_server_the_exit_code_is_three(commands: Commands) -> None:
    result = commands("queue", "list", code=3)
    assert "The server is not running" in result.stderr
    assert "bridgehead run" in result.stderr
    assert commands.json("queue", "list", code=3)["error"]["code"] == "not_running"


def test_next_hops_with_brackets_are_found(commands: Commands, server: Running) -> None:
    server.put("x@y.example", next_hop=NextHop(DeliveryType.SMART_HOST, "[192.0.2.1]", "Smart"))
    assert commands.json("queue", "show", "Smart/[192.0.2.1]")["queue"]["message_count"] == 1
    assert commands.json("queue", "show", "[192.0.2.1]")["queue"]["message_count"] == 1
    assert CONTOSO.domain in commands("queue", "list").output
