# SPDX-License-Identifier: MIT
"""Devices known by their address, at a running server: what they send, what they may not, old TLS, silence."""

import json
import smtplib
import socket
import ssl
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority
from support.configuration import CLIENT, receive_connector
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink
from support.workers import alone, workers

PRINTER = "127.0.0.17"
STRANGER = "127.0.0.99"
NEIGHBOUR = "127.0.0.18"
SCAN = b"To: x@fabrikam.test\r\nFrom: Scanner\r\nSubject:  Scan \tof the day\r\nX-Fold:a\r\n\tb\r\n\r\nHello\r\n..\r\n"
DEVICE: dict[str, Any] = {
    "name": "printer-3", "remote_ip_ranges": [PRINTER], "owner": "Anna", "rewrite_sender": "devices@contoso.test",
    "allowed_senders": ["scanner@contoso.test"], "allowed_recipients": ["*@fabrikam.test", "anna@contoso.test"],
}  # fmt: skip


def client(server: Server, address: str, connector: str = "anonymous") -> smtplib.SMTP:
    """A client at another address of this machine."""
    return smtplib.SMTP(
        "127.0.0.1", server.port(connector), local_hostname="printer", timeout=30, source_address=(address, 0)
    )


def said(server: Server, address: str, *commands: str) -> list[str]:
    """The replies to these commands, in a session without a body."""
    with client(server, address) as session:
        session.ehlo()
        return [f"{code} {text.decode()}" for code, text in map(session.docmd, commands)]


def start(make_server: Callable[..., Server], sink: Sink, *devices: dict[str, Any], **changes: Any) -> Server:
    server = make_server(sink.port, devices=list(devices) or [DEVICE], **changes)
    server.start()
    return server


def test_a_printer_without_login_is_rewritten_and_relayed_octet_for_octet(
    make_server: Callable[..., Server], sink: Sink
) -> None:
    server = start(make_server, sink)
    with client(server, PRINTER) as session:
        session.helo("printer")
        assert session.docmd("MAIL FROM:<scanner>")[0] == 250
        assert session.docmd("RCPT TO:<x@fabrikam.test>")[0] == 250
        assert session.data(SCAN)[0] == 250
    (arrived,) = sink.wait(1)
    assert arrived.reverse_path == "devices@contoso.test"
    assert arrived.forward_paths == ["x@fabrikam.test"]
    trace, _, own = arrived.data.partition(b"To: ")
    assert b"To: " + own == (
        b'To: x@fabrikam.test\r\nFrom: "Scanner" <devices@contoso.test>\r\nSubject:  Scan \tof the day\r\n'
        b"X-Fold:a\r\n\tb\r\n" + added(own) + b"\r\nHello\r\n..\r\n"
    )
    assert trace.startswith(b"Received: from printer ")
    line = server.wait_for_event("RECEIVE")
    for text in (
        "S:Principal=device:printer-3",
        "S:Device=printer-3",
        "S:OriginalSender=scanner",
        "S:RewrittenFrom=Scanner",
    ):
        assert text in line["custom-data"]
    assert line["return-path"] == "devices@contoso.test"


def added(own: bytes) -> bytes:
    """Message-ID and Date, which the device had left out."""
    lines = own.partition(b"\r\n\r\n")[0].split(b"\r\n")[-2:]
    assert lines[0].startswith(b"Message-ID: <")
    assert lines[1].startswith(b"Date: ")
    return b"\r\n".join(lines) + b"\r\n"


def test_reply_to_is_who_wrote_and_an_allowed_author_stays(make_server: Callable[..., Server], sink: Sink) -> None:
    server = start(make_server, sink)
    for author in ("boss@contoso.test", "scanner@contoso.test"):
        with client(server, PRINTER) as session:
            message = f"From: B <{author}>\r\nMessage-ID: <1@x>\r\nDate: now\r\n\r\nx\r\n".encode()
            session.sendmail(author, "x@fabrikam.test", message)
    first, second = sink.wait(2)
    assert first.data.endswith(
        b"From: B <devices@contoso.test>\r\nReply-To: B <boss@contoso.test>\r\nMessage-ID: <1@x>\r\nDate: now\r\n\r\nx\r\n"
    )
    assert second.data.endswith(b"\r\nFrom: B <scanner@contoso.test>\r\nMessage-ID: <1@x>\r\nDate: now\r\n\r\nx\r\n")
    assert (first.reverse_path, second.reverse_path) == ("devices@contoso.test", "scanner@contoso.test")


def test_d14_a_device_cannot_send_as_others_and_a_second_tenant_in_its_range_is_refused(
    make_server: Callable[..., Server], sink: Sink
) -> None:
    tenant = {
        "name": "tenant", "remote_ip_ranges": ["127.0.0.16/28"], "allowed_senders": ["*@contoso.test"],
        "allowed_recipients": ["*"],
    }  # fmt: skip
    server = start(make_server, sink, tenant)
    replies = said(server, PRINTER, "MAIL FROM:<ceo@fabrikam.test>")
    assert replies[0].startswith("550 5.7.60 ")
    with client(server, PRINTER) as session, pytest.raises(smtplib.SMTPDataError, match="5\\.7\\.60"):
        session.sendmail("a@contoso.test", "x@woodgrove.test", b"From: ceo@fabrikam.test\r\n\r\nx\r\n")
    with client(server, PRINTER) as session:
        session.sendmail("a@contoso.test", "x@woodgrove.test", b"From: a@contoso.test\r\n\r\nx\r\n")
    (arrived,) = sink.wait(1)
    assert arrived.reverse_path == "a@contoso.test"


def test_d15_beside_a_device_strangers_in_our_name_are_refused_still(
    make_server: Callable[..., Server], sink: Sink
) -> None:
    server = make_server(sink.port, devices=[DEVICE])
    server.settings["receive_connectors"][0]["anti_spoofing_enabled"] = True
    server.configure(server.settings)
    server.start()
    with client(server, STRANGER) as session, pytest.raises(smtplib.SMTPDataError):
        session.sendmail("scanner@contoso.test", "anna@contoso.test", b"From: scanner@contoso.test\r\n\r\nx\r\n")
    with client(server, PRINTER) as session:
        session.sendmail("scanner@contoso.test", "anna@contoso.test", b"From: scanner@contoso.test\r\n\r\nx\r\n")


def test_limits_and_recipients_of_a_device_are_its_own(make_server: Callable[..., Server], sink: Sink) -> None:
    limited = {**DEVICE, "max_message_size": "64KB", "max_recipients_per_message": 1, "message_rate_limit": 2}
    server = start(make_server, sink, limited)
    replies = said(
        server, PRINTER, "MAIL FROM:<scanner@contoso.test>", "RCPT TO:<x@woodgrove.test>", "RCPT TO:<x@fabrikam.test>",
        "RCPT TO:<y@fabrikam.test>", "RSET", "MAIL FROM:<scanner@contoso.test> SIZE=70000", "AUTH PLAIN AGEAYg==",
        "MAIL FROM:<scanner@contoso.test>", "RSET", "MAIL FROM:<scanner@contoso.test>",
    )  # fmt: skip
    assert replies[1].startswith("550 5.7.1 This device may not send")
    assert replies[2].startswith("250 ")
    assert replies[3].startswith("452 4.5.3")
    assert replies[5].startswith("552 5.3.4")
    assert replies[6].startswith("50")
    assert replies[7].startswith("250 ")
    assert replies[9].startswith("421 4.4.2")
    others = said(server, STRANGER, "MAIL FROM:<scanner@contoso.test>", "RCPT TO:<x@fabrikam.test>")
    assert others[1].startswith("550 5.7.1 Unable to relay")
    server.stop()
    agents = "".join(file.read_text(errors="replace") for file in (server.data / "logs/Hub/AgentLog").glob("*.log"))
    assert "DeviceRecipientDenied,connector=anonymous;device=printer-3" in agents


def test_signed_mail_is_refused_and_not_broken(make_server: Callable[..., Server], sink: Sink) -> None:
    server = start(make_server, sink)
    message = b"DKIM-Signature: v=1; d=contoso.test; b=abc\r\nFrom: boss@contoso.test\r\n\r\nx\r\n"
    with client(server, PRINTER) as session, pytest.raises(smtplib.SMTPDataError, match="breaks the DKIM signature"):
        session.sendmail("scanner@contoso.test", "x@fabrikam.test", message)


def old_client() -> ssl.SSLContext:
    """A client of another age: it knows TLS 1.0 alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def handshake(server: Server, address: str) -> str:
    """The version of TLS that a client of another age gets."""
    with client(server, address) as session:
        session.ehlo()
        session.starttls(context=old_client())
        assert isinstance(session.sock, ssl.SSLSocket)
        version = session.sock.version()
        session.ehlo()
        session.sendmail("scanner@contoso.test", "x@fabrikam.test", b"From: scanner@contoso.test\r\n\r\nx\r\n")
        return str(version)


def test_old_tls_is_for_the_device_alone(make_server: Callable[..., Server], sink: Sink) -> None:
    server = start(make_server, sink, {**DEVICE, "tls_minimum_version": "1.0"})
    assert handshake(server, PRINTER) == "TLSv1"
    with pytest.raises((ssl.SSLError, smtplib.SMTPException, ConnectionError)):
        handshake(server, STRANGER)
    assert "S:TlsVersion=TLSv1.0;" in server.wait_for_event("RECEIVE")["custom-data"]


def test_old_tls_is_for_the_device_alone_where_tls_comes_first(
    make_server: Callable[..., Server], sink: Sink, tmp_path: Path
) -> None:
    """Each client meets the certificate and the versions of its own connector, and of the device that it is."""
    other = Authority(tmp_path / "authority").issue("other.contoso.test")
    server = make_server(sink.port, devices=[{**DEVICE, "tls_minimum_version": "1.0"}])
    port = free_port()
    server.settings["receive_connectors"] += [
        receive_connector("first", port, **CLIENT, implicit_tls=True),
        receive_connector("second", port, **CLIENT, implicit_tls=True, remote_ip_ranges=[f"{NEIGHBOUR}/32"],
                          tls_certificate_file=str(other.certificate), tls_key_file=str(other.key)),
    ]  # fmt: skip
    server.configure(server.settings)
    server.start()
    assert encrypted(port, PRINTER, old_client())[0] == "TLSv1"
    with pytest.raises((ssl.SSLError, OSError)):
        encrypted(port, STRANGER, old_client())
    wait_until(
        lambda: "protocol" in server.command("why", STRANGER).stdout.decode(),
        15,
        lambda: server.succeed("why", STRANGER),
    )
    trusting = ssl._create_unverified_context()
    assert encrypted(port, NEIGHBOUR, trusting)[1] == ssl.PEM_cert_to_DER_cert(other.certificate.read_text())
    assert encrypted(port, STRANGER, trusting)[1] != ssl.PEM_cert_to_DER_cert(other.certificate.read_text())


def encrypted(port: int, address: str, context: ssl.SSLContext) -> tuple[str | None, bytes | None]:
    """Version and certificate that a client at an address gets, by a session with TLS first."""
    plain = socket.create_connection(("127.0.0.1", port), 20, source_address=(address, 0))
    with context.wrap_socket(plain) as session:
        assert session.recv(100).startswith(b"220 ")
        return session.version(), session.getpeercert(binary_form=True)


def test_a_device_without_tls_where_others_need_it(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port, devices=[{**DEVICE, "tls": "Off"}])
    server.settings["receive_connectors"].append(
        receive_connector("strict", free_port(), auth_mechanism=["Tls"], require_tls=True)
    )
    server.configure(server.settings)
    server.start()
    with client(server, PRINTER, "strict") as session:
        session.ehlo()
        assert not session.has_extn("starttls")
        assert session.mail("scanner@contoso.test")[0] == 250
    with client(server, STRANGER, "strict") as session:
        session.ehlo()
        assert session.has_extn("starttls")
        assert session.mail("scanner@contoso.test")[0] == 530


def test_bare_line_feeds_are_mended_for_the_device_alone(make_server: Callable[..., Server], sink: Sink) -> None:
    server = start(make_server, sink, {**DEVICE, "bare_linefeed_repair": True})
    said = ["HELO p", "MAIL FROM:<scanner@contoso.test>", "RCPT TO:<anna@contoso.test>", "DATA"]
    raw = [f"{line}\r\n".encode() for line in said]
    assert talk(server, PRINTER, *raw, b"From: scanner@contoso.test\n\nx\n.\n").count(b"250 2.6.0") == 1
    assert b"250 2.6.0" not in talk(server, STRANGER, *raw, b"From: scanner@contoso.test\n\nx\n.\r\n\r\n.\r\n")


def talk(server: Server, address: str, *parts: bytes) -> bytes:
    """What the server says to raw octets, each part sent after the reply to the one before."""
    with socket.create_connection(("127.0.0.1", server.port("anonymous")), 10, (address, 0)) as connection:
        answer = connection.recv(4096)
        for part in parts:
            connection.sendall(part)
            answer += connection.recv(4096)
    return answer


@pytest.mark.parametrize("count", [1, 2])
def test_silence_raises_an_alarm_and_mail_clears_it(
    make_server: Callable[..., Server], sink: Sink, count: int
) -> None:  # fmt: skip
    """Also where the mail is that of another worker than the one that watches."""
    server = make_server(
        sink.port, devices=[{**DEVICE, "silence_after": "0:00:04"}], alarms={"check_interval": "0:00:01"},
        server={"workers": count},
    )  # fmt: skip
    server.start()

    def alarms() -> list[str]:
        return [one["id"] for one in json.loads(server.command("alarm", "list", "--json").stdout)["alarms"]]

    wait_until(lambda: "device_silent/printer-3" in alarms(), 30, lambda: f"an alarm: {alarms()}")
    with alone(server, workers(server, count)[-1]) if count > 1 else nullcontext(), client(server, PRINTER) as session:
        session.sendmail("scanner@contoso.test", "anna@contoso.test", b"From: scanner@contoso.test\r\n\r\nx\r\n")
    wait_until(lambda: "device_silent/printer-3" not in alarms(), 30, lambda: f"no alarm: {alarms()}")


def test_counts_and_the_page_outlive_a_restart(make_server: Callable[..., Server], sink: Sink) -> None:
    server = start(make_server, sink)
    with client(server, PRINTER) as session:
        session.sendmail("scanner@contoso.test", "anna@contoso.test", b"From: boss@contoso.test\r\n\r\nx\r\n")
        assert session.mail("scanner@contoso.test")[0] == 250
        assert session.rcpt("x@woodgrove.test")[0] == 550
    server.restart()
    (one,) = server.ask("device", "list")["devices"]
    assert (one["name"], one["messages"], one["rewritten"], one["errors"]) == ("printer-3", 1, 1, 1)
    assert one["last_error"].startswith("550 5.7.1 This device")


def test_the_commands_tell_what_the_server_does(make_server: Callable[..., Server], sink: Sink) -> None:
    server = start(make_server, sink)
    with client(server, STRANGER) as session:
        session.sendmail("fax@contoso.test", "anna@contoso.test", b"From: fax@contoso.test\r\n\r\nx\r\n")
    server.wait_for_event("RECEIVE")
    (unknown,) = server.ask("device", "unknown")["senders"]
    assert unknown["client_ip"] == STRANGER
    assert 'allowed_senders = ["fax@contoso.test"]' in unknown["proposal"]
    port = str(server.port("anonymous"))
    options = ("--port", port, "--from", "scanner", "--to", "x@fabrikam.test")
    tried = server.ask("device", "test", PRINTER, *options)
    assert (tried["device"], tried["accepted"]) == ("printer-3", True)
    assert 'by "Everything"' in tried["routes"][0]
    assert server.command("device", "test", STRANGER, *options).returncode == 1
    server.settings["devices"] = []
    server.configure(server.settings)
    server.reload()
    assert server.command("device", "test", PRINTER, *options).returncode == 1
    assert said(server, PRINTER, "MAIL FROM:<a@b.test>", "RCPT TO:<x@fabrikam.test>")[1].startswith("550 5.7.1 Unable")


def test_a_login_writes_on_behalf_and_recipients_see_who(make_server: Callable[..., Server], sink: Sink) -> None:
    server = make_server(sink.port)
    server.settings["receive_connectors"].append(receive_connector("client", free_port(), **CLIENT))
    server.configure(server.settings)
    server.add_user("pa", "secret words", "pa@contoso.test")
    server.succeed("user", "set", "pa", "--send-on-behalf", "boss@contoso.test")
    server.start()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with server.smtp("client") as session:
        session.starttls(context=context)
        session.login("pa", "secret words")
        message = b"From: boss@contoso.test\r\nMessage-ID: <1@x>\r\nDate: now\r\n\r\nx\r\n"
        session.sendmail("pa@contoso.test", "x@fabrikam.test", message)
        with pytest.raises(smtplib.SMTPDataError, match="5\\.7\\.60"):
            session.sendmail("pa@contoso.test", "x@fabrikam.test", message.replace(b"boss", b"ceo"))
    (arrived,) = sink.wait(1)
    assert arrived.data.endswith(b"\r\nSender: pa@contoso.test\r\n" + message)
    assert server.wait_for_event("RECEIVE")["sender-address"] == "pa@contoso.test"
