# SPDX-License-Identifier: MIT
"""Postfix on either side: as client that sends to us, as next hop that we send to."""

from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from support.certificates import Authority
from support.configuration import send_connector
from support.postfix import Postfix
from support.server import Server
from support.sink import Sink

pytestmark = pytest.mark.interop

ADDRESSES = tuple(f"{name}@postfix.test" for name in ("joe", "tls", "eight", "large", "dsn", "utf8", "ζωή"))
MANY = tuple(f"many{number}@postfix.test" for number in range(100))


@pytest.fixture(scope="module")
def next_hop(authority: Authority) -> Iterator[Postfix]:
    with Postfix(mailboxes=(*ADDRESSES, *MANY), pair=authority.issue("postfix.test")) as postfix:
        yield postfix


@pytest.fixture(scope="module")
def sender(make_server: Callable[..., Server], next_hop: Postfix, authority: Authority) -> Server:
    """Sends to Postfix, its certificate validated by name."""
    return make_server(
        next_hop.port,
        {
            "require_tls": True,
            "tls_auth_level": "DomainValidation",
            "tls_domain": "postfix.test",
            "tls_ca_file": str(authority.root),
        },
    )


def parsed(data: bytes) -> EmailMessage:
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_to_postfix_over_validated_tls(sender: Server, next_hop: Postfix) -> None:
    sender.send("a@fabrikam.test", "tls@postfix.test", b"Subject: tls\r\n\r\n.\r\n..two\r\n", "secured")
    (data,) = next_hop.wait_for_mail("tls@postfix.test")
    assert b"using TLSv1.3" in data
    assert data.endswith(b"\n\n.\n..two\n")
    event = sender.wait_for_event("SEND", recipient_address="tls@postfix.test")
    assert "250" in event["recipient-status"]


def test_to_postfix_8bit(sender: Server, next_hop: Postfix) -> None:
    body = "Grüße, 8 bit\r\n".encode()
    content = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    sender.send("a@fabrikam.test", "eight@postfix.test", content + b"\r\n" + body, "secured", ["BODY=8BITMIME"])
    (data,) = next_hop.wait_for_mail("eight@postfix.test")
    assert "Grüße, 8 bit\n".encode() in data


def test_to_postfix_smtputf8(sender: Server, next_hop: Postfix) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "jürgen@fabrikam.test", "ζωή@postfix.test", "Γεια σου"
    message.set_content("hello")
    with sender.smtp("secured") as client:
        client.send_message(message)
    (data,) = next_hop.wait_for_mail("ζωή@postfix.test")
    assert "Subject: Γεια σου".encode() in data
    assert "Return-Path: <jürgen@fabrikam.test>".encode() in data


def test_to_postfix_large(sender: Server, next_hop: Postfix) -> None:
    line = b"x" * 76 + b"\r\n"
    content = b"Subject: large\r\n\r\n" + line * (20 * 1024 * 1024 // len(line))
    sender.send("a@fabrikam.test", "large@postfix.test", content, "secured")
    (data,) = next_hop.wait_for_mail("large@postfix.test", seconds=40)
    assert data.partition(b"\n\n")[2] == content.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")


def test_to_postfix_hundred_recipients_in_one_transaction(sender: Server, next_hop: Postfix) -> None:
    refused = sender.send("a@fabrikam.test", [*MANY, "nobody@postfix.test"], b"Subject: many\r\n\r\nx\r\n", "secured")
    assert not refused
    for address in MANY:
        assert len(next_hop.wait_for_mail(address)) == 1
    failed = sender.wait_for_event("FAIL", recipient_address="nobody@postfix.test")
    assert failed["recipient-address"] == "nobody@postfix.test"
    assert "550" in failed["recipient-status"]
    assert "5.1.1" in failed["recipient-status"]


def test_to_postfix_dsn_parameters_are_passed_on(sender: Server, next_hop: Postfix) -> None:
    """Postfix was asked for a success report: the ENVID and ORCPT that it quotes are ours."""
    sender.send(
        "dsn@postfix.test", "joe@postfix.test", b"Subject: dsn\r\n\r\nx\r\n", "secured",
        ["ENVID=env+2B42", "RET=HDRS"], ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;joseph@old.test"],
    )  # fmt: skip
    (report,) = next_hop.wait_for_mail("dsn@postfix.test")
    assert b"Original-Envelope-Id: env+42" in report
    assert b"Original-Recipient: rfc822;joseph@old.test" in report.replace(b"; ", b";").replace(
        b": rfc822", b": rfc822"
    )


def test_pipelined_transactions_share_a_connection(sender: Server, next_hop: Postfix) -> None:
    with sender.smtp("secured") as client:
        for number in range(40):
            client.sendmail("a@fabrikam.test", ["utf8@postfix.test"], f"Subject: {number}\r\n\r\nx\r\n")
    assert len(next_hop.wait_for_mail("utf8@postfix.test", 40, 30)) == 40
    assert next_hop.log().count(": connect from") < 40


# --- the other direction ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def behind(make_server: Callable[..., Server], sink: Sink) -> Server:
    """What Postfix relays to."""
    return make_server(sink.port)


@pytest.fixture(scope="module")
def client(behind: Server) -> Iterator[Postfix]:
    """A Postfix whose smart host is `behind`'s trusted connector; TLS is a must."""
    settings = "smtp_tls_security_level = encrypt\nsmtp_tls_loglevel = 1\n"
    with Postfix(relay_port=behind.port("secured"), settings=settings) as postfix:
        yield postfix


def test_from_postfix_over_tls(behind: Server, client: Postfix) -> None:
    client.submit("-f", "a@fabrikam.test", "user10@contoso.test", data=b"Subject: hi\n\n.\n..two\n.\n")
    (data,) = behind.wait_for_mail("user10")
    assert b"with ESMTPS" in data
    assert b"Return-Path: <a@fabrikam.test>" in data
    assert b"TLSv1.3" in client.log().encode()


def test_from_postfix_8bit(behind: Server, client: Postfix) -> None:
    content = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n"
    client.submit("-B", "8BITMIME", "-f", "a@fabrikam.test", "user11@contoso.test", data=content.encode())
    (data,) = behind.wait_for_mail("user11")
    assert "Grüße".encode() in data


def test_from_postfix_smtputf8(behind: Server, client: Postfix, sink: Sink) -> None:
    content = "From: jürgen@fabrikam.test\nSubject: Γεια\n\nx\n".encode()
    client.submit("-f", "jürgen@fabrikam.test", "ζωή@adatum.test", data=content)
    arrived = sink.wait_for(lambda one: "ζωή@adatum.test" in one.forward_paths, 20)
    assert "SMTPUTF8" in arrived.mail
    assert "Subject: Γεια".encode() in arrived.data


def test_from_postfix_large(behind: Server, client: Postfix) -> None:
    body = (b"x" * 76 + b"\n") * (20 * 1024 * 1024 // 77)
    client.submit("-f", "a@fabrikam.test", "user12@contoso.test", data=b"Subject: large\n\n" + body)
    (data,) = behind.wait_for_mail("user12", seconds=40)
    assert data.replace(b"\r\n", b"\n").partition(b"\n\n")[2] == body


def test_from_postfix_hundred_recipients(behind: Server, client: Postfix) -> None:
    recipients = [f"user{number}@contoso.test" for number in range(20, 100)] + [f"r{n}@adatum.test" for n in range(20)]
    client.submit("-f", "a@fabrikam.test", *recipients, data=b"Subject: many\n\nx\n")
    for number in range(20, 100):
        assert len(behind.wait_for_mail(f"user{number}")) == 1


def test_from_postfix_dsn(behind: Server, client: Postfix, sink: Sink) -> None:
    """Postfix passes NOTIFY and ENVID on; the success report is ours and goes to the sender."""
    client.submit(
        "-f", "asker@adatum.test", "-N", "success,failure", "-V", "letter-7", "user13@contoso.test",
        data=b"Subject: dsn\n\nx\n",
    )  # fmt: skip
    report = sink.wait_for(lambda one: one.forward_paths == ["asker@adatum.test"] and one.reverse_path == "", 20)
    assert b"Original-Envelope-Id: letter-7" in report.data
    assert b"Action: delivered" in report.data
    assert report.message.get_content_type() == "multipart/report"


def test_refusal_reaches_postfix(behind: Server, client: Postfix) -> None:
    client.submit("-f", "", "nobody-here@contoso.test", data=b"Subject: x\n\nx\n")
    said = client.wait_for_log(r"to=<nobody-here@contoso\.test>.*status=(\w+) \((.*)\)")
    assert said[1] == "bounced"
    assert "550 5.1.1 User unknown" in said[2]


def test_there_and_back(make_server: Callable[..., Server], authority: Authority) -> None:
    """Ours to Postfix, Postfix to ours: the content is the same as when it left."""
    with Sink() as last:
        second = make_server(last.port)
        with Postfix(relay_port=second.port("secured"), pair=authority.issue("middle.test")) as middle:
            first = make_server(middle.port)
            body = b"".join(b"." * (number % 4) + b"line %d\r\n" % number for number in range(2000))
            first.send("a@fabrikam.test", "end@adatum.test", b"Subject: trip\r\n\r\n" + body, "secured")
            arrived = last.wait_for(lambda one: "end@adatum.test" in one.forward_paths, 20)
    assert arrived.body == body
    received = arrived.message.get_all("Received") or []
    assert len(received) >= 3


def test_required_tls_is_not_given_up(make_server: Callable[..., Server]) -> None:
    """A next hop without TLS gets nothing where the connector requires it."""
    with Postfix(mailboxes=("joe@postfix.test",)) as plain:
        server = make_server(plain.port, {"require_tls": True})
        server.send("a@fabrikam.test", "joe@postfix.test", connector="secured")
        plain.wait_for_log(r"disconnect from .* (ehlo|helo)=")
        assert server.queued() == 1
        assert not plain.messages("joe@postfix.test")
        assert not server.events("SEND")


def test_connector_to_postfix_without_certificate_check(make_server: Callable[..., Server], next_hop: Postfix) -> None:
    """Opportunistic TLS encrypts whatever the certificate says."""
    server = make_server(0, send_connectors=[send_connector("Postfix", next_hop.port)])
    server.send("a@fabrikam.test", "joe@postfix.test", b"Subject: opportunistic\r\n\r\nx\r\n", "secured")
    server.wait_for_event("SEND", recipient_address="joe@postfix.test")
    mails = next_hop.messages("joe@postfix.test")
    assert any(b"opportunistic" in mail and b"using TLSv1.3" in mail for mail in mails)
