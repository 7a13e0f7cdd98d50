# SPDX-License-Identifier: MIT
"""Whole paths through one running server: every way a message can take, and what the tracking log says of it."""

from collections import Counter
from collections.abc import Callable, Iterator
from email import message_from_bytes

import pytest

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
from support.sink import Behaviour, Sink
from support.talk import Talk


def refuse_some(argument: str) -> str | None:
    """The next hop knows nobody called "unknown" and defers "later" for ever."""
    if "<unknown" in argument:
        return "550 5.1.1 no such user here"
    if "<later" in argument:
        return "451 4.2.1 come back later"
    return None


@pytest.fixture(scope="module")
def hop() -> Iterator[Sink]:
    with Sink(Behaviour(on_rcpt=refuse_some)) as one:
        yield one


@pytest.fixture(scope="module")
def server(hop: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("paths")
    settings: Settings = base(directory)
    settings["receive_connectors"] = [
        receive_connector("anonymous", free_port(), **ANONYMOUS, reject_unknown_recipients=False),
        receive_connector("secured", free_port(), **EXTERNALLY_SECURED),
    ]
    settings["send_connectors"] = [send_connector("Adatum", hop.port, spaces=("adatum.test", "fabrikam.test"))]
    settings["foreign_connectors"] = [
        {"name": "Fax", "address_spaces": ["fax.test"], "drop_directory": str(directory / "drop")}
    ]
    settings["categorizer"] = {"max_recipient_envelope_limit": 500}
    with Server(directory, settings, RECIPIENTS) as running:
        yield running


def message(subject: str, more: str = "") -> bytes:
    return (
        f"From: Sender <sender@fabrikam.test>\r\nTo: somebody\r\nMessage-ID: <{subject}@fabrikam.test>\r\n"
        f"Subject: {subject}\r\n{more}\r\nhello\r\n"
    ).encode()


def with_subject(mails: list[bytes], subject: str) -> list[bytes]:
    return [mail for mail in mails if message_from_bytes(mail)["Subject"] == subject]


def wait_for_subject(server: Server, name: str, subject: str) -> bytes:
    wait_until(
        lambda: with_subject(server.mail_in(name), subject), 15,
        lambda: f"{subject} in {name}; tracking: {server.events(message_subject=subject)}",
    )  # fmt: skip
    (found,) = with_subject(server.mail_in(name), subject)
    return found


def test_to_a_mailbox(server: Server) -> None:
    server.send("sender@fabrikam.test", "bob@contoso.test", message("mailbox"))
    data = wait_for_subject(server, "bob", "mailbox")
    assert data.startswith(b"Return-Path: <sender@fabrikam.test>")
    assert b"Received: from client.test ([127.0.0.1])" in data
    assert b"by mx.contoso.test" in data
    assert data.replace(b"\r\n", b"\n").endswith(b"\n\nhello\n")
    received = server.wait_for_event("RECEIVE", message_subject="mailbox")
    assert received["source"] == "SMTP"
    assert received["connector-id"].endswith("\\anonymous")
    assert received["directionality"] == "Incoming"
    delivered = server.wait_for_event("DELIVER", message_subject="mailbox")
    assert delivered["source"] == "STOREDRIVER"
    assert delivered["network-message-id"] == received["network-message-id"]


def test_to_another_address_of_a_mailbox_and_plus_addressing(server: Server) -> None:
    server.send("sender@fabrikam.test", ["ROBERT@Contoso.Test", "carol+lists@contoso.test"], message("aliases"))
    wait_for_subject(server, "bob", "aliases")
    wait_for_subject(server, "carol", "aliases")


def test_to_another_server(server: Server, hop: Sink) -> None:
    server.send("sender@fabrikam.test", "x1@adatum.test", message("relay"), "secured")
    arrived = hop.wait_for(lambda one: "x1@adatum.test" in one.forward_paths)
    assert arrived.reverse_path == "sender@fabrikam.test"
    assert arrived.helo == "mx.contoso.test"
    assert arrived.message["Subject"] == "relay"
    sent = server.wait_for_event("SEND", message_subject="relay")
    assert sent["recipient-status"].startswith("250")
    assert sent["connector-id"] == "Adatum"
    assert "127.0.0.1" in (sent["server-ip"], sent["server-hostname"].strip("[]"))


def test_to_a_group(server: Server, hop: Sink) -> None:
    """Nested groups that contain each other, a member reached twice, a contact: one copy for each."""
    server.send("sender@fabrikam.test", "team@contoso.test", message("group"))
    for name in ("bob", "carol", "dave"):
        wait_for_subject(server, name, "group")
    hop.wait_for(lambda one: "real@adatum.test" in one.forward_paths and b"group" in one.data)
    server.wait_for_event("EXPAND", message_subject="group")
    wait_until(lambda: sum(finished(server, "group").values()) >= 4, 15, lambda: f"4, not {finished(server, 'group')}")
    assert finished(server, "group") == {
        "bob@contoso.test": 1, "carol@contoso.test": 1, "dave@contoso.test": 1, "real@adatum.test": 1,
    }  # fmt: skip


def finished(server: Server, subject: str) -> Counter[str]:
    """How often each recipient of a message was delivered or relayed."""
    return Counter(
        address
        for event in ("DELIVER", "SEND")
        for line in server.events(event, message_subject=subject)
        for address in line["recipient-address"].split(";")
    )


def test_group_and_member_together_get_one_copy(server: Server) -> None:
    server.send("sender@fabrikam.test", ["team@contoso.test", "bob@contoso.test"], message("both"))
    wait_for_subject(server, "dave", "both")
    wait_for_subject(server, "bob", "both")


def test_forwarded_with_a_copy(server: Server, hop: Sink) -> None:
    server.send("sender@fabrikam.test", "kept@contoso.test", message("forward-copy"))
    wait_for_subject(server, "kept", "forward-copy")
    hop.wait_for(lambda one: "far@adatum.test" in one.forward_paths)


def test_forwarded_without_a_copy(server: Server) -> None:
    server.send("sender@fabrikam.test", "away@contoso.test", message("forward-only"))
    wait_for_subject(server, "bob", "forward-only")
    assert not server.mail_in("away")
    assert server.wait_for_event("REDIRECT", message_subject="forward-only")


def test_to_a_contact(server: Server, hop: Sink) -> None:
    server.send("sender@fabrikam.test", "contact@contoso.test", message("contact"))
    arrived = hop.wait_for(lambda one: "real@adatum.test" in one.forward_paths and b"Subject: contact" in one.data)
    assert arrived.message["Subject"] == "contact"


def test_unknown_here_is_reported(server: Server, hop: Sink) -> None:
    server.send("author1@fabrikam.test", ["nobody@contoso.test", "bob@contoso.test"], message("unknown-here"))
    report = hop.wait_for(lambda one: "author1@fabrikam.test" in one.forward_paths)
    assert report.reverse_path == ""
    assert report.message.get_content_type() == "multipart/report"
    assert report.message.get_param("report-type") == "delivery-status"
    assert b"Final-Recipient: rfc822;nobody@contoso.test" in report.data.replace(b"; ", b";")
    assert b"Action: failed" in report.data
    assert b"Status: 5.1." in report.data
    assert b"unknown-here" in report.data
    wait_for_subject(server, "bob", "unknown-here")
    failed = server.wait_for_event("FAIL", message_subject="unknown-here")
    assert failed["recipient-address"] == "nobody@contoso.test"
    told = server.wait_for_event("DSN", recipient_address="author1@fabrikam.test")
    assert told["return-path"] == "<>"


def test_unknown_at_the_next_hop_is_reported_with_its_words(server: Server, hop: Sink) -> None:
    server.send("author2@fabrikam.test", ["unknown@adatum.test", "y2@adatum.test"], message("unknown-there"), "secured")
    report = hop.wait_for(lambda one: "author2@fabrikam.test" in one.forward_paths)
    text = report.data.replace(b"; ", b";")
    assert b"Final-Recipient: rfc822;unknown@adatum.test" in text
    assert b"Remote-MTA: dns;" in text
    assert b"no such user here" in text
    assert b"y2@adatum.test" not in text.partition(b"message/delivery-status")[2].partition(b"message/rfc822")[0]
    arrived = hop.wait_for(lambda one: "y2@adatum.test" in one.forward_paths)
    assert arrived.message["Subject"] == "unknown-there"
    failed = server.wait_for_event("FAIL", message_subject="unknown-there")
    assert failed["recipient-address"] == "unknown@adatum.test"
    assert "550 5.1.1" in failed["recipient-status"]


def test_some_recipients_later(server: Server, hop: Sink) -> None:
    """A deferred recipient waits alone; the others are done, and get no second copy when it is tried again."""
    server.send("sender@fabrikam.test", ["later@adatum.test", "z3@adatum.test"], message("partial"), "secured")
    hop.wait_for(lambda one: "z3@adatum.test" in one.forward_paths)
    deferred = server.wait_for_event("DEFER", message_subject="partial")
    assert deferred["recipient-address"] == "later@adatum.test"
    assert "451" in deferred["recipient-status"] + deferred["source-context"]
    server.wait_for_events("DEFER", 2, message_subject="partial")
    assert len(hop.to("z3@adatum.test")) == 1


def test_no_report_for_a_report(server: Server, hop: Sink) -> None:
    server.send("", "unknown2@adatum.test", message("null-sender"), "secured")
    server.wait_for_event("FAIL", message_subject="null-sender")
    server.send("sender@fabrikam.test", "after@adatum.test", message("after-null"), "secured")
    hop.wait_for(lambda one: "after@adatum.test" in one.forward_paths)
    assert not server.events("DSN", reference="<null-sender@fabrikam.test>")


def test_notify_never(server: Server, hop: Sink) -> None:
    server.send("author4@fabrikam.test", "unknown4@adatum.test", message("never"), "secured", (), ["NOTIFY=NEVER"])
    server.wait_for_event("FAIL", message_subject="never")
    server.send("sender@fabrikam.test", "after4@adatum.test", message("after-never"), "secured")
    hop.wait_for(lambda one: "after4@adatum.test" in one.forward_paths)
    assert not hop.to("author4@fabrikam.test")


def test_restrictions_of_recipients(server: Server, hop: Sink) -> None:
    """Too large for one, from outside for one, from a rejected sender for one; each is told why."""
    large = message("large") + b"x" * 70 + b"\r\n"
    server.send("author5@fabrikam.test", "small@contoso.test", large + (b"x" * 70 + b"\r\n") * 50)
    server.send("author6@fabrikam.test", "shy@contoso.test", message("shy"))
    server.send("pest@fabrikam.test", "picky@contoso.test", message("picky").replace(b"sender@", b"pest@"))
    assert b"Status: 5." in hop.wait_for(lambda one: "author5@fabrikam.test" in one.forward_paths).data
    assert b"Status: 5.7." in hop.wait_for(lambda one: "author6@fabrikam.test" in one.forward_paths).data
    assert b"Status: 5.7." in hop.wait_for(lambda one: "pest@fabrikam.test" in one.forward_paths).data
    server.send("inside@contoso.test", "shy@contoso.test", message("shy-inside"), "secured")
    wait_for_subject(server, "shy", "shy-inside")
    for name in ("small", "picky"):
        assert not server.mail_in(name)


def test_to_a_drop_directory(server: Server) -> None:
    server.send("sender@fabrikam.test", "12345@fax.test", message("fax"), "secured")
    drop = server.directory / "drop"
    wait_until(lambda: drop.is_dir() and list(drop.rglob("*.eml")), 15, "a file in the drop directory")
    (file,) = drop.rglob("*.eml")
    text = file.read_bytes()
    assert b"X-Sender: sender@fabrikam.test" in text.replace(b"<", b"").replace(b">", b"")
    assert b"12345@fax.test" in text
    assert b"hello" in text


def test_no_route_is_unreachable(server: Server) -> None:
    server.send("sender@fabrikam.test", "someone@nowhere.test", message("no-route"), "secured")
    event = server.wait_for_event("DEFER", message_subject="no-route")
    assert "nowhere.test" in event["source-context"] + event["recipient-status"]
    wait_until(lambda: any("nreachable" in str(queue) for queue in server.queues()), 5, "the unreachable queue")


def test_pickup_directory(server: Server, hop: Sink) -> None:
    folder = server.data / "pickup"
    waiting = folder / "letter.tmp"
    waiting.write_bytes(
        b"From: app@contoso.test\r\nTo: bob@contoso.test, p1@adatum.test\r\nBcc: carol@contoso.test\r\n"
        b"Subject: picked-up\r\n\r\nhello\r\n"
    )
    waiting.rename(folder / "letter.eml")
    data = wait_for_subject(server, "bob", "picked-up")
    wait_for_subject(server, "carol", "picked-up")
    assert b"Bcc:" not in data
    hop.wait_for(lambda one: "p1@adatum.test" in one.forward_paths)
    assert not (folder / "letter.eml").exists()
    assert server.wait_for_event("RECEIVE", message_subject="picked-up")["source"] == "PICKUP"


def test_header_firewall(server: Server) -> None:
    forged = "X-MS-Exchange-Organization-SCL: -1\r\nX-MS-Exchange-Forest-Thing: x\r\nX-Mine: stays\r\n"
    server.send("sender@fabrikam.test", "bob@contoso.test", message("firewall", forged))
    data = wait_for_subject(server, "bob", "firewall")
    assert b"X-MS-Exchange-Organization-SCL" not in data
    assert b"X-MS-Exchange-Forest-Thing" not in data
    assert b"X-Mine: stays" in data


def test_a_loop_ends(server: Server, hop: Sink) -> None:
    """A message that has been through this server often enough is refused at its next visit."""
    received = "Received: from x by mx.contoso.test with ESMTP; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * 9
    with server.smtp("secured") as client:
        client.ehlo()
        client.mail("sender@fabrikam.test")
        client.rcpt("loop@adatum.test")
        code, text = client.data(message("loop", received))
    assert code == 554
    assert text.startswith(b"5.4.6")


def test_trace_finds_it_again(server: Server) -> None:
    server.send("sender@fabrikam.test", "bob@contoso.test", message("to-be-traced"))
    server.wait_for_event("DELIVER", message_subject="to-be-traced")
    for arguments in (
        ("--subject", "to-be-traced"),
        ("--message-id", "<to-be-traced@fabrikam.test>"),
        ("--recipient", "bob@contoso.test", "--subject", "to-be-traced"),
    ):
        said = server.succeed("trace", *arguments, "--json", "--events")
        assert "RECEIVE" in said
        assert "DELIVER" in said


def test_tracking_has_thirty_columns(server: Server) -> None:
    server.send("sender@fabrikam.test", "bob@contoso.test", message("columns"))
    line = server.wait_for_event("RECEIVE", message_subject="columns")
    assert list(line) == [
        "date-time",
        "client-ip",
        "client-hostname",
        "server-ip",
        "server-hostname",
        "source-context",
        "connector-id",
        "source",
        "event-id",
        "internal-message-id",
        "message-id",
        "network-message-id",
        "recipient-address",
        "recipient-status",
        "total-bytes",
        "recipient-count",
        "related-recipient-address",
        "reference",
        "message-subject",
        "sender-address",
        "return-path",
        "message-info",
        "directionality",
        "tenant-id",
        "original-client-ip",
        "original-server-ip",
        "custom-data",
        "transport-traffic-type",
        "log-id",
        "schema-version",
    ]
    assert line["client-ip"] == "127.0.0.1"
    assert line["sender-address"] == "sender@fabrikam.test"
    assert line["recipient-count"] == "1"


def test_8bit_content_for_a_next_hop_without_8bitmime(make_server: Callable[..., Server]) -> None:
    """It is converted, or refused with 5.6.x, but never sent as it is (RFC 6152 §3)."""
    with Sink(extensions=("PIPELINING",)) as old:
        server = make_server(old.port).start()
        content = (
            "From: sender@fabrikam.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
            "Content-Transfer-Encoding: 8bit\r\nSubject: eight\r\n\r\nGrüße\r\n"
        ).encode()
        server.send("sender@fabrikam.test", "old@adatum.test", content, "secured", ["BODY=8BITMIME"])
        arrived = old.wait_for(lambda one: "old@adatum.test" in one.forward_paths)
        assert arrived.wire.isascii()
        assert arrived.message.get_content().strip() == "Grüße"
        assert "BODY=" not in arrived.mail


def test_smtputf8_for_a_next_hop_without_it_fails(make_server: Callable[..., Server]) -> None:
    with Sink(extensions=("8BITMIME",)) as old:
        server = make_server(old.port).start()
        with server.smtp("secured") as client:
            client.ehlo()
            client.sendmail("a@fabrikam.test", ["ιωάννης@adatum.test"], b"Subject: x\r\n\r\nx\r\n", ["SMTPUTF8"])
        report = old.wait_for(lambda one: one.forward_paths == ["a@fabrikam.test"])
        assert b"Status: 5.6.7" in report.data
        assert [one.reverse_path for one in old.transactions] == [""]


def test_binary_content_leaves_without_bare_line_ends(make_server: Callable[..., Server]) -> None:
    """BINARYMIME content for a next hop without it: converted or failed, never bare CR or LF on the wire."""
    with Sink(extensions=("PIPELINING", "8BITMIME")) as old:
        server = make_server(old.port).start()
        content = (
            b"Subject: binary\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Transfer-Encoding: binary\r\n\r\n\0\x01\n\r\n.\nMAIL FROM:<x@y>\r\r\n"
        )
        with Talk(server.port("secured")) as talk:
            talk.hello()
            talk.expect("MAIL FROM:<sender@fabrikam.test> BODY=BINARYMIME", "250 *")
            talk.expect("RCPT TO:<bin@adatum.test>", "250 *")
            talk.send(b"BDAT %d LAST\r\n" % len(content) + content)
            assert talk.read().code == "250"
        wait_until(lambda: old.transactions or server.events("FAIL"), 15, "sent or failed")
        assert not any(one.bare_line_ends for one in old.transactions)
        for one in old.to("bin@adatum.test"):
            assert one.message.get_payload(decode=True) == content.partition(b"\r\n\r\n")[2]
