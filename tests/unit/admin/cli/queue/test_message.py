# SPDX-License-Identifier: MIT
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridgehead.mail.limits import CONTROL_CONTENT_BYTES
from bridgehead.queues.store import MessageStatus, QueueKind, QueueState, QueueStatus
from support.cli import Commands
from support.running_server import CONTOSO, FABRIKAM, NOW, Running, running


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


@pytest.fixture
def server(commands: Commands) -> Iterator[Running]:
    with running(commands.control_socket) as server:
        yield server


def test_messages_are_listed_by_filter(commands: Commands, server: Running) -> None:
    server.put("a@contoso.com", subject="Invoice")
    server.put("b@fabrikam.com", next_hop=FABRIKAM, status=MessageStatus.RETRY, sender="bob@c.example")

    def recipients(*options: str) -> list[str]:
        return [one["recipients"][0]["address"] for one in commands.json("message", "list", *options)]

    assert sorted(recipients()) == ["a@contoso.com", "b@fabrikam.com"]
    assert recipients("--queue", "fabrikam.com") == ["b@fabrikam.com"]
    assert recipients("--status", "retry") == ["b@fabrikam.com"]
    assert recipients("--sender", "*@C.example") == ["b@fabrikam.com"]
    assert recipients("--recipient", "a@*") == ["a@contoso.com"]
    assert recipients("--subject", "inv*") == ["a@contoso.com"]
    assert recipients("--message-id", "<1@a.example>") == ["a@contoso.com"]
    assert len(recipients("--limit", "1")) == 1
    assert recipients("--subject", "none") == []


def test_an_unknown_status_is_answered_with_those_that_are(commands: Commands, server: Running) -> None:
    result = commands("message", "list", "--status", "waiting", code=1)
    assert "Ready, Active, Retry" in result.stderr


def test_a_message_is_shown_with_envelope_recipients_and_header_but_not_its_body(
    commands: Commands, server: Running
) -> None:
    entry = server.put(
        "a@contoso.com", subject="Invoice", status=MessageStatus.RETRY, last_error="451 4.7.0 greylisted"
    )
    output = commands("message", "show", str(entry.id)).output
    for text in ("ann@a.example", "a@contoso.com  Pending", "451 4.7.0 greylisted", "Subject: Invoice", "[10.0.0.7]"):
        assert text in output
    assert "Hello." not in output
    (detail,) = commands.json("message", "show", str(entry.id))
    assert detail["message"]["status"] == "Retry"
    assert detail["message"]["next_attempt"]


def test_a_message_that_waits_for_its_queue_says_until_when_and_why(commands: Commands, server: Running) -> None:
    waiting = server.put("a@contoso.com")
    other = server.put("b@fabrikam.com", next_hop=FABRIKAM)
    server.set_state(
        QueueState(
            queue=QueueKind.DELIVERY, next_hop=CONTOSO, status=QueueStatus.RETRY, next_retry=NOW + 60,
            last_error="192.0.2.1: Connection refused",
        )
    )  # fmt: skip
    (detail,) = commands.json("message", "show", str(waiting.id))
    assert detail["message"]["next_attempt"] == "2027-01-15T08:01:00Z"
    assert "192.0.2.1: Connection refused" in commands("message", "show", str(waiting.id)).output
    listed = {one["id"]: one for one in commands.json("message", "list")}
    assert listed[waiting.id]["last_error"] == "192.0.2.1: Connection refused"
    assert listed[other.id]["next_attempt"] is None
    assert commands.json("queue", "show", "contoso.com")["messages"][0]["next_attempt"] == "2027-01-15T08:01:00Z"


def test_a_header_cannot_command_the_terminal(commands: Commands, server: Running) -> None:
    entry = server.put(
        "a@contoso.com", content=b"Subject: \x1b]0;owned\x07\x1b[2J\x9b hi\xe2\x80\xae\r\n\tfolded\r\n\r\nx"
    )
    output = commands("message", "show", str(entry.id)).output
    assert "owned" in output
    assert "\tfolded" in output
    assert not set(output) & set("\x1b\x07\x9b\u202e")


def test_all_forks_are_shown_by_network_message_id(commands: Commands, server: Running) -> None:
    server.put("a@contoso.com", network_id="net-x")
    server.put("b@fabrikam.com", next_hop=FABRIKAM, network_id="net-x")
    assert len(commands.json("message", "show", "net-x")) == 2
    assert len(commands.json("message", "show", "<1@a.example>")) == 1


def test_a_message_that_is_not_queued_is_answered_with_where_to_look(commands: Commands, server: Running) -> None:
    result = commands("message", "show", "99", code=1)
    assert "no message 99 is queued" in result.stderr
    assert "bridgehead trace" in result.stderr


def test_content_comes_raw_and_whole_however_large(commands: Commands, server: Running) -> None:
    content = b"Subject: big\r\n\r\n" + bytes(range(256)) * (CONTROL_CONTENT_BYTES // 256 * 2 + 3)
    entry = server.put("a@contoso.com", content=content)
    assert commands("message", "show", str(entry.id), "--content").stdout_bytes == content
