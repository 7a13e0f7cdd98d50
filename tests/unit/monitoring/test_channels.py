# SPDX-License-Identifier: MIT
"""Alarms on their way out: real mail, real POSTs, real programs."""

import email
import email.policy
import hashlib
import hmac
import json
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridgehead.mail.secret import Secret
from bridgehead.monitoring.book import Alarm, Notice, Occasion
from bridgehead.monitoring.channels import Channel, ChannelFault, LogChannel
from bridgehead.monitoring.command_channel import CommandChannel
from bridgehead.monitoring.mail_channel import MailChannel
from bridgehead.monitoring.settings import MailTls
from bridgehead.monitoring.webhook import SIGNATURE, WebhookChannel
from bridgehead.tracking.alarms import Severity
from support.certificates import Authority
from support.ports import free_port
from support.sink import Behaviour, Sink
from support.webhook_receiver import WebhookReceiver

NOW = 1_800_000_000.0


def notice(
    occasion: Occasion = Occasion.RAISED, severity: Severity = Severity.CRITICAL, id: str = "poison_queue"
) -> Notice:
    alarm = Alarm(
        id=id, severity=severity, since=NOW - 60, text=f"messages in {id}: 1", remedy="bridgehead queue show Poison",
        cleared_at=NOW if occasion is Occasion.CLEARED else 0.0,
    )  # fmt: skip
    return Notice(occasion=occasion, alarm=alarm)


def mail_channel(port: int, tls: MailTls = MailTls.OPPORTUNISTIC, ca_file: str = "", **more: str) -> MailChannel:
    return MailChannel(
        server="mx.contoso.test", host=more.get("host", "127.0.0.1"), port=port, tls=tls, ca_file=ca_file,
        sender="postmaster@contoso.test", recipients=["ops@fabrikam.test", "night@fabrikam.test"],
        username=more.get("username", ""), read_password=lambda: Secret("correct horse"), timeout=5.0,
        now=lambda: NOW, unique=lambda: "0123456789abcdef",
    )  # fmt: skip


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as one:
        yield one


async def test_mail_says_what_since_when_and_what_to_do(sink: Sink) -> None:
    await mail_channel(sink.port).send([notice(severity=Severity.WARNING, id="other"), notice()])
    [transaction] = sink.wait()
    assert transaction.forward_paths == ["ops@fabrikam.test", "night@fabrikam.test"]
    message = email.message_from_bytes(transaction.wire, policy=email.policy.default)
    assert message["subject"] == "[mx.contoso.test] CRITICAL: messages in poison_queue: 1 (and 1 more)"
    assert message["auto-submitted"] == "auto-generated"
    text = message.get_content()
    assert "CRITICAL: messages in poison_queue: 1." in text
    assert "since:      2027-01-15 07:59:00 UTC" in text
    assert "what to do: bridgehead queue show Poison" in text
    assert "WARNING: messages in other: 1." in text
    assert text.startswith("CRITICAL"), "the worst stands first"


async def test_mail_that_tells_the_end_says_since_when_it_is_over(sink: Sink) -> None:
    await mail_channel(sink.port).send([notice(Occasion.CLEARED)])
    [transaction] = sink.wait()
    assert b"Subject: [mx.contoso.test] all clear: messages" in transaction.wire
    assert b"over since: 2027-01-15 08:00:00 UTC" in transaction.wire


async def test_mail_goes_under_tls_with_a_login_where_that_is_wanted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.issue("localhost").server_context()
    with Sink(Behaviour(context=context, users={"alarms": "correct horse"})) as sink:
        channel = mail_channel(sink.port, MailTls.REQUIRED, str(authority.root), host="localhost", username="alarms")
        await channel.send([notice()])
        [transaction] = sink.wait()
        assert (transaction.tls, transaction.user) == (True, "alarms")
        stranger = mail_channel(sink.port, MailTls.REQUIRED, host="localhost", username="alarms")
        with pytest.raises(ChannelFault, match="certificate verify failed"):
            await stranger.send([notice()])


async def test_a_login_never_goes_in_clear_and_required_tls_is_required(sink: Sink) -> None:
    with pytest.raises(ChannelFault, match="the login is sent over TLS only"):
        await mail_channel(sink.port, username="alarms").send([notice()])
    with pytest.raises(ChannelFault, match="TLS is required"):
        await mail_channel(sink.port, MailTls.REQUIRED).send([notice()])
    assert not any("AUTH" in line for _, line in sink.commands)


async def test_mail_that_is_refused_or_reaches_nobody_is_a_fault(sink: Sink) -> None:
    sink.behaviour.on_rcpt = lambda _: "550 5.1.1 nobody"
    with pytest.raises(ChannelFault, match=r"every recipient was refused: 550 5\.1\.1 nobody"):
        await mail_channel(sink.port).send([notice()])
    with pytest.raises(ChannelFault, match="refused"):
        await mail_channel(free_port()).send([notice()])


async def test_a_post_carries_the_alarm_and_its_signature() -> None:
    with WebhookReceiver() as receiver:
        channel = WebhookChannel(
            receiver.url("/a?b=c"), server="mx.contoso.test", read_secret=lambda: Secret("s3cret"), ca_file="",
            timeout=5.0, now=lambda: NOW,
        )  # fmt: skip
        await channel.send([notice()])
        [post] = receiver.posted
    assert post.path == "/a?b=c"
    assert json.loads(post.body) == {
        "server": "mx.contoso.test",
        "sent": "2027-01-15T08:00:00Z",
        "notices": [
            {
                "occasion": "raised", "id": "poison_queue", "severity": "critical", "since": "2027-01-15T07:59:00Z",
                "text": "messages in poison_queue: 1", "remedy": "bridgehead queue show Poison",
            }
        ],
    }  # fmt: skip
    expected = hmac.new(b"s3cret", b"1800000000." + post.body, hashlib.sha256).hexdigest()
    assert post.headers[SIGNATURE.lower()] == f"t=1800000000,v1={expected}"


def webhook(url: str, ca_file: str = "", timeout: float = 5.0) -> WebhookChannel:
    return WebhookChannel(url, server="mx", read_secret=None, ca_file=ca_file, timeout=timeout, now=lambda: NOW)


async def test_https_is_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with WebhookReceiver(authority.issue("localhost").server_context()) as receiver:
        await webhook(receiver.url(host="localhost"), str(authority.root)).send([notice()])
        assert len(receiver.posted) == 1
        assert SIGNATURE.lower() not in receiver.posted[0].headers
        with pytest.raises(ChannelFault, match="certificate verify failed"):
            await webhook(receiver.url(host="localhost")).send([notice()])
        with pytest.raises(ChannelFault, match=r"IP address mismatch|doesn't match"):
            await webhook(receiver.url(), str(authority.root)).send([notice()])
        assert len(receiver.posted) == 1


async def test_any_other_status_is_a_fault_and_redirects_are_not_followed() -> None:
    with WebhookReceiver() as receiver:
        receiver.answers = [500, 302]
        with pytest.raises(ChannelFault, match="status 500"):
            await webhook(receiver.url()).send([notice()])
        with pytest.raises(ChannelFault, match="status 302"):
            await webhook(receiver.url()).send([notice()])
        assert [post.path for post in receiver.posted] == ["/alarms", "/alarms"]


async def test_a_receiver_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ChannelFault, match=r"within 0.2 s|timed out"):
            await webhook(f"http://127.0.0.1:{port}/", timeout=0.2).send([notice()])


def command(program: str, *arguments: str, timeout: float = 10.0) -> CommandChannel:
    return CommandChannel([sys.executable, "-c", program, *arguments], server="mx", timeout=timeout, now=lambda: NOW)


async def test_a_command_reads_the_alarm_from_standard_input(tmp_path: Path) -> None:
    copy = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    await command(copy, str(tmp_path / "alarm")).send([notice()])
    assert json.loads((tmp_path / "alarm").read_text())["notices"][0]["id"] == "poison_queue"


async def test_a_command_that_fails_hangs_or_is_not_there_is_a_fault() -> None:
    with pytest.raises(ChannelFault, match="ended with code 3: no paging today"):
        await command("import sys; sys.stderr.write('no paging\\ntoday'); sys.exit(3)").send([notice()])
    with pytest.raises(ChannelFault, match=r"longer than 0\.3 s"):
        await command("import time; time.sleep(60)", timeout=0.3).send([notice()])
    with pytest.raises(ChannelFault, match="cannot be run"):
        await CommandChannel(["/nonexistent/pager"], server="mx", timeout=1.0, now=lambda: NOW).send([notice()])


async def test_a_command_need_not_read() -> None:
    await command("pass").send([notice()] * 1000)


async def test_the_log_has_every_alarm(caplog: pytest.LogCaptureFixture) -> None:
    channel: Channel = LogChannel()
    with caplog.at_level(logging.INFO, "bridgehead.alarms"):
        await channel.send([notice(), notice(Occasion.CLEARED)])
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "ERROR",
            "alarm poison_queue: CRITICAL: messages in poison_queue: 1; bridgehead queue show Poison",
        ),
        ("INFO", "alarm poison_queue: all clear: messages in poison_queue: 1"),
    ]
