# SPDX-License-Identifier: MIT
"""A message of 150 MB: memory stays bounded, other sessions are served meanwhile, and it arrives whole."""

import hashlib
import threading
from collections.abc import Callable

from support.configuration import ANONYMOUS, EXTERNALLY_SECURED, receive_connector, send_connector
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink
from support.talk import Talk

SIZE = 150 * 1024 * 1024
ALLOWANCE = 60 * 1024 * 1024
"""What the message may cost in memory: far less than itself."""


def test_150_mb_through_the_server(make_server: Callable[..., Server], sink: Sink) -> None:
    unlimited = {"max_message_size": "200 MB"}
    server = make_server(
        categorizer={"max_send_size": "200 MB", "max_receive_size": "200 MB"},
        receive_connectors=[
            receive_connector("anonymous", free_port(), **ANONYMOUS, **unlimited),
            receive_connector("secured", free_port(), **EXTERNALLY_SECURED, **unlimited),
        ],
        send_connectors=[send_connector("Next hop", sink.port, **unlimited)],
    ).start()
    server.send("a@fabrikam.test", "warm@adatum.test", connector="secured")
    sink.wait(1)
    before = server.memory()
    line = b"0123456789" * 7 + b"..\r\n"
    block = line * 4000
    digest = hashlib.sha256()
    half_sent, served = threading.Event(), threading.Event()

    def other_session() -> None:
        half_sent.wait(60)
        with Talk(server.port("anonymous")) as talk:
            talk.hello()
            talk.message("b@fabrikam.test", "bob@contoso.test", b"Subject: meanwhile\r\n\r\n")
        served.set()

    other = threading.Thread(target=other_session)
    other.start()
    with Talk(server.port("secured"), seconds=120) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<a@fabrikam.test>", "250 *")
        talk.expect("RCPT TO:<large@adatum.test>", "250 *")
        talk.expect("DATA", "354 *")
        talk.send(b"Subject: large\r\n\r\n")
        sent = 0
        while sent < SIZE:
            talk.send(block)
            digest.update(block)
            sent += len(block)
            if sent > SIZE // 2 and not half_sent.is_set():
                half_sent.set()
                # the large message does not go on before the small one has been taken
                assert served.wait(30), "the other session had to wait"
        talk.send(b".\r\n")
        assert talk.read().matches("250 2.6.0*")
    other.join()
    arrived = sink.wait_for(lambda one: "large@adatum.test" in one.forward_paths, 90)
    assert hashlib.sha256(arrived.body).hexdigest() == digest.hexdigest()
    assert server.peak_memory() - before < ALLOWANCE
    server.wait_until_empty()


def test_150_mb_to_a_mailbox_by_chunks(make_server: Callable[..., Server]) -> None:
    unlimited = {"max_message_size": "200 MB"}
    server = make_server(
        categorizer={"max_send_size": "200 MB", "max_receive_size": "200 MB"},
        receive_connectors=[receive_connector("secured", free_port(), **EXTERNALLY_SECURED, **unlimited)],
    ).start()
    server.send("a@fabrikam.test", "carol@contoso.test", connector="secured")
    server.wait_for_mail("carol")
    before = server.memory()
    chunk = (b"x" * 76 + b"\r\n") * 13_000
    with Talk(server.port("secured"), seconds=120) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<a@fabrikam.test>", "250 *")
        talk.expect("RCPT TO:<bob@contoso.test>", "250 *")
        talk.send(b"BDAT 18\r\nSubject: large\r\n\r\n")
        assert talk.read().code == "250"
        sent = 0
        while sent < SIZE:
            talk.send(b"BDAT %d\r\n" % len(chunk) + chunk)
            assert talk.read().code == "250"
            sent += len(chunk)
        talk.send(b"BDAT 0 LAST\r\n")
        assert talk.read().matches("250 2.6.0*")
    server.wait_for_event("DELIVER", 60, recipient_address="bob@contoso.test")
    (file,) = (server.data / "mailboxes/bob/new").iterdir()
    assert file.stat().st_size > sent
    assert server.peak_memory() - before < ALLOWANCE


def test_a_large_message_that_comes_back_comes_back_whole(make_server: Callable[..., Server], sink: Sink) -> None:
    """Refused by us after acceptance, and by the next hop; the reports return it from files, and go as any mail."""
    sink.behaviour.on_rcpt = lambda argument: "550 5.1.1 no" if "nobody@adatum.test" in argument else None
    server = make_server(sink.port).start()
    body = b"0123456789" * 7 + b"..\r\n"
    message = b"From: a@fabrikam.test\r\nSubject: large\r\n\r\n" + body * 120_000
    server.send("a@fabrikam.test", "nobody@contoso.test", message, "anonymous")
    server.send("a@fabrikam.test", "nobody@adatum.test", message, "secured")
    sink.wait(2, 60)
    for report in sink.to("a@fabrikam.test"):
        original = report.data.partition(b"Content-Type: message/rfc822\r\n\r\n")[2]
        assert original.startswith(b"Received: ")
        assert original.count(body) == 120_000
        assert report.message.is_multipart()
    told = server.wait_for_events("DSN", 2)
    assert all(int(event["total-bytes"]) > len(message) for event in told)
    assert {event["message-subject"] for event in told} == {"Undeliverable: large"}
    server.wait_until_empty()
    (folder,) = server.data.glob("queue*/content")
    wait_until(lambda: not list(folder.iterdir()), 20, "no content is left")
