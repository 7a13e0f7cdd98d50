# SPDX-License-Identifier: MIT
"""Local delivery by LMTP: Dovecot as the real store, a scripted peer for what Dovecot will not do on command."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.configuration import Settings, base, mailbox, receive_connector
from support.dovecot import Dovecot
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import DROP, Behaviour, Sink, Transaction
from support.talk import Talk

pytestmark = pytest.mark.interop

ANYBODY: Settings = {"auth_mechanism": ["Tls"], "permission_groups": ["AnonymousUsers"]}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    servers: list[Server] = []

    def start(address: str, **more: Any) -> Server:
        settings = base(tmp_path)
        settings["mailbox_store"] = {"name": "Store", "protocol": "LMTP", "address": address, **more}
        settings["receive_connectors"] = [receive_connector("anonymous", free_port(), **ANYBODY)]
        recipients = [mailbox(name, f"{name}@contoso.test") for name in ("bob", "carol", "gone")]
        server = Server(tmp_path, settings, recipients).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize("by", ["TCP", "Unix socket"])
def test_dovecot(by: str, make: Callable[[str], Server]) -> None:
    with Dovecot("bob", "carol") as dovecot:
        server = make(f"127.0.0.1:{dovecot.port}" if by == "TCP" else f"unix:{dovecot.unix_socket}")
        content = b"Subject: lmtp\r\n\r\n.\r\n..\r\nhello\r\n"
        server.send("a@fabrikam.test", ["bob@contoso.test", "carol@contoso.test"], content)
        for user in ("bob", "carol"):
            (data,) = dovecot.wait_for_mail(user)
            assert data.replace(b"\r\n", b"\n").endswith(b"\n\n.\n..\nhello\n")
            assert b"Return-Path: <a@fabrikam.test>" in data
        wait_until(lambda: {"bob@contoso.test", "carol@contoso.test"} <= delivered(server), 15, "both tracked")


def delivered(server: Server) -> set[str]:
    return {one for line in server.events("DELIVER") for one in line["recipient-address"].split(";")}


def test_dovecot_refuses_one_of_two(make: Callable[[str], Server]) -> None:
    """One result for each recipient: one delivered, one failed."""
    with Dovecot("bob") as dovecot:
        server = make(f"127.0.0.1:{dovecot.port}")
        server.send("bob@contoso.test", ["bob@contoso.test", "gone@contoso.test"], b"Subject: two\r\n\r\nx\r\n")
        failed = server.wait_for_event("FAIL", recipient_address="gone@contoso.test")
        assert failed["recipient-address"] == "gone@contoso.test"
        assert "550" in failed["recipient-status"]
        mails = dovecot.wait_for_mail("bob", 2)
        assert any(b"multipart/report" in mail for mail in mails)


def test_dovecot_takes_many(make: Callable[[str], Server]) -> None:
    with Dovecot("bob") as dovecot:
        server = make(f"127.0.0.1:{dovecot.port}")
        with server.smtp() as client:
            for number in range(100):
                client.sendmail("a@fabrikam.test", ["bob@contoso.test"], f"Subject: n{number}\r\n\r\nx\r\n")
        dovecot.wait_for_mail("bob", 100, 30)
        wait_until(lambda: server.queued() == 0, 15, "the queues are empty")
        assert len(dovecot.messages("bob")) == 100


FALSE_ENDS = [b"\r\n.", b".\r\n", b"\r\n.\x0b", b"\x0b.\x0b", b"\r\n..\r\n"]
REFUSED_ENDS = [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r"]


def test_dovecot_gets_one_message_for_each_that_was_taken(make: Callable[[str], Server]) -> None:
    """Content with what looks like its end and another transaction (CVE-2023-51764): one message, or none."""
    inner = b"MAIL FROM:<s@fabrikam.test>\r\nRCPT TO:<carol@contoso.test>\r\nDATA\r\nSubject: smuggled\r\n\r\n"
    with Dovecot("bob", "carol") as dovecot:
        server = make(f"127.0.0.1:{dovecot.port}")
        for number, end in enumerate([*REFUSED_ENDS, *FALSE_ENDS]):
            with Talk(server.port("anonymous")) as talk:
                talk.hello()
                content = b"Subject: outer %d\r\n\r\nhello%b%b" % (number, end, inner)
                expected = "250 2.6.0*" if end in FALSE_ENDS else "550 5.6.11*"
                talk.message("a@fabrikam.test", "bob@contoso.test", content, expected)
        mails = dovecot.wait_for_mail("bob", len(FALSE_ENDS))
        server.wait_until_empty()
        assert len(dovecot.messages("bob")) == len(FALSE_ENDS)
        assert not dovecot.messages("carol")
        for number in range(len(REFUSED_ENDS), len(REFUSED_ENDS) + len(FALSE_ENDS)):
            (mail,) = [one for one in mails if b"Subject: outer %d" % number in one]
            assert mail.replace(b"\r\n", b"\n").endswith(b"DATA\nSubject: smuggled\n\n")


def test_results_differ_by_recipient_after_the_dot(make: Callable[[str], Server]) -> None:
    """RFC 2033 §4.2: the replies after the content are one for each recipient, in order."""
    answers = {"bob@contoso.test": "250 2.1.5 ok", "carol@contoso.test": "452 4.2.2 over quota"}
    answers["gone@contoso.test"] = "550 5.2.1 disabled"
    order: list[str] = []

    def reply(transaction: Transaction) -> str:
        path = transaction.forward_paths[len(order) % len(transaction.rcpts)]
        order.append(path)
        return answers[path] if len(transaction.rcpts) == 3 else "250 2.1.5 ok"

    with Sink(Behaviour(lmtp=True, on_content=reply)) as store:
        server = make(f"127.0.0.1:{store.port}")
        server.send("a@fabrikam.test", list(answers))
        assert server.wait_for_event("DELIVER", recipient_address="bob@")["recipient-address"] == "bob@contoso.test"
        assert server.wait_for_event("FAIL", recipient_address="gone@")["recipient-address"] == "gone@contoso.test"
        later = server.wait_for_event("DELIVER", recipient_address="carol@")
        assert later["recipient-address"] == "carol@contoso.test"
        assert [one.forward_paths for one in store.transactions[1:]] == [["carol@contoso.test"]]


def test_a_store_that_hangs_up_is_tried_again(make: Callable[[str], Server]) -> None:
    dropped: list[Transaction] = []

    def reply(transaction: Transaction) -> str | None:
        if not dropped:
            dropped.append(transaction)
            return DROP
        return None

    with Sink(Behaviour(lmtp=True, on_content=reply)) as store:
        server = make(f"127.0.0.1:{store.port}")
        server.send("a@fabrikam.test", "bob@contoso.test")
        assert store.wait(1, 20)[0].forward_paths == ["bob@contoso.test"]
        assert len(dropped) == 1
        assert server.wait_for_event("DELIVER", recipient_address="bob@")
