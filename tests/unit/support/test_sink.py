# SPDX-License-Identifier: MIT
"""The recording sink records what was on the wire, and misbehaves as told."""

import smtplib
from pathlib import Path

import pytest

from support.certificates import Authority, trusting_nobody
from support.ports import free_port
from support.sink import DROP, Behaviour, Sink
from support.talk import Closed, Talk


def test_content_is_kept_as_on_the_wire() -> None:
    with Sink() as sink, Talk(sink.port) as talk:
        talk.hello()
        talk.message("a@x.test", "b@x.test", b"Subject: x\r\n\r\n..dot\r\nbare\nfeed\r\n")
        (one,) = sink.transactions
        assert one.wire == b"Subject: x\r\n\r\n..dot\r\nbare\nfeed\r\n"
        assert one.body == b".dot\r\nbare\nfeed\r\n"
        assert one.bare_line_ends


@pytest.mark.parametrize("content", [b"", b".\r\n", b"\r\n"])
def test_smallest_contents(content: bytes) -> None:
    stuffed = b"." + content if content.startswith(b".") else content
    with Sink() as sink, Talk(sink.port) as talk:
        talk.hello()
        talk.message("a@x.test", "b@x.test", stuffed)
        assert sink.transactions[0].data == content


def test_chunks_are_joined_without_unstuffing() -> None:
    with Sink() as sink, Talk(sink.port) as talk:
        talk.hello()
        talk.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nBDAT 4\r\n..\r\nBDAT 3 LAST\r\nx\r\n")
        assert [talk.read().code for _ in range(4)] == ["250"] * 4
        assert sink.transactions[0].data == b"..\r\nx\r\n"


def test_scripted_answers() -> None:
    behaviour = Behaviour(
        extensions=("PIPELINING",), on_rcpt=lambda argument: "550 5.1.1 no" if "<no" in argument else None
    )
    with Sink(behaviour) as sink, Talk(sink.port) as talk:
        assert not talk.hello().has("8BITMIME")
        talk.expect("MAIL FROM:<a@x.test>", "250 *")
        talk.expect("RCPT TO:<no@x.test>", "550 5.1.1 no")
        talk.expect("RCPT TO:<yes@x.test> NOTIFY=NEVER", "250 *")
        talk.expect("DATA", "354 *")
        talk.send(b"\r\n.\r\n")
        assert talk.read().code == "250"
        (one,) = sink.transactions
        assert one.forward_paths == ["yes@x.test"]
        assert one.refused == ["TO:<no@x.test>"]


def test_dropping_after_the_dot_keeps_nothing() -> None:
    with Sink(on_content=lambda _: DROP) as sink, Talk(sink.port) as talk:
        talk.hello()
        with pytest.raises(Closed):
            talk.message("a@x.test", "b@x.test", b"x\r\n")
        assert sink.transactions == []


def test_tls_and_login(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("sink.test")
    with Sink(context=pair.server_context(), users={"me": "secret"}) as sink:
        with smtplib.SMTP("127.0.0.1", sink.port) as client:
            client.starttls(context=trusting_nobody())
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("me", "wrong")
            client.login("me", "secret")
            client.sendmail("a@x.test", ["b@x.test"], b"x\r\n")
        (one,) = sink.transactions
        assert one.tls
        assert one.user == "me"


def test_lmtp_answers_for_each_recipient() -> None:
    with Sink(Behaviour(lmtp=True)) as sink, Talk(sink.port) as talk:
        talk.expect("LHLO client.test", "250 *")
        talk.expect("MAIL FROM:<a@x.test>", "250 *")
        talk.expect("RCPT TO:<b@x.test>", "250 *")
        talk.expect("RCPT TO:<c@x.test>", "250 *")
        talk.expect("DATA", "354 *")
        talk.send(b"x\r\n.\r\n")
        assert [talk.read().code, talk.read().code] == ["250", "250"]
        assert len(sink.transactions) == 1


def test_a_port_that_refuses_until_told() -> None:
    sink = Sink(port=free_port(), listening=False)
    with pytest.raises(ConnectionRefusedError):
        Talk(sink.port)
    sink.listen()
    with Talk(sink.port) as talk:
        talk.hello()
    sink.close()
    with pytest.raises(ConnectionRefusedError):
        Talk(sink.port)
