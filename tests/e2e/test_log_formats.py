# SPDX-License-Identifier: MIT
"""Everything a running server logs, read as the programs read it that people ship Exchange's logs with."""

import ipaddress
import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support.configuration import ANONYMOUS, CLIENT, EXTERNALLY_SECURED, receive_connector, send_connector
from support.log_parsers import DEVO_MESSAGE_TRACKING, SPLUNK_MESSAGING, by_header, elastic
from support.ports import free_port, wait_until
from support.server import Server
from support.sink import Sink
from support.talk import Talk

SUBJECT = 'Grüße, "Mike"; a,b — 100 %'
FILE_NAMES = {
    "MessageTracking": r"MSGTRK\d{8}-\d{4}",
    "Hub/ProtocolLog/SmtpReceive": r"RECV\d{8}-\d{4}",
    "Hub/ProtocolLog/SmtpSend": r"SEND\d{8}-\d{4}",
    "Hub/Connectivity": r"CONNECTLOG\d{8}-\d{4}",
    "Hub/AgentLog": r"AGENTLOG\d{8}-\d{4}",
    "Hub/QueueViewer": r"QUEUELOG\d{8}-\d{4}",
}


@pytest.fixture
def logs(make_server: Callable[..., Server], sink: Sink) -> Path:
    """The folder of logs of a server that has seen some of everything, and has stopped."""
    lmtp = Sink(lmtp=True)
    server = make_server(
        logs={"json_log_enabled": True, "queue_log_interval": 0.2},
        mailbox_store={
            "name": "Dovecot", "protocol": "LMTP", "address": f"127.0.0.1:{lmtp.port}",
            "protocol_logging_level": "Verbose",
        },
        receive_connectors=[
            receive_connector("anonymous", free_port(), **ANONYMOUS, protocol_logging_level="Verbose"),
            receive_connector("secured", free_port(), **EXTERNALLY_SECURED, protocol_logging_level="Verbose"),
            receive_connector(
                "clients", free_port(), **CLIENT, implicit_tls=True,
                protocol_logging_level="Verbose",
            ),
        ],
        send_connectors=[
            send_connector("Adatum", sink.port, spaces=("adatum.test",), protocol_logging_level="Verbose"),
            send_connector("Nowhere", free_port(), spaces=("nowhere.test",)),
        ],
    ).start()  # fmt: skip
    traffic(server)
    folder = server.data / "logs"
    wait_until(lambda: queue_lines(folder, ",Nowhere,"), 15, lambda: server.stderr())
    server.reload()
    wait_until(lambda: len(list((folder / "Hub/Routing").glob("*.xml"))) == 2, 15, "a second routing table")
    server.stop()
    lmtp.close()
    return folder


def traffic(server: Server) -> None:
    message = f"From: Ann <ann@fabrikam.test>\r\nSubject: {SUBJECT}\r\n\r\nhello\r\n".encode()
    server.send("ann@fabrikam.test", ["bob@contoso.test", "carol@contoso.test", "x@adatum.test"], message, "secured")
    server.send("ann@fabrikam.test", ["later@nowhere.test"], message, "secured")
    server.wait_for_event("DELIVER", recipient_address="bob@contoso.test")
    server.wait_for_event("SEND", recipient_address="x@adatum.test")
    server.succeed("standing-rule", "add", "fail", "--filter", "{Recipients -like '*@ruled.test'}", "--reason", "over")
    server.send("ann@fabrikam.test", ["y@ruled.test"], message, "secured")
    server.wait_for_event("FAIL", recipient_address="y@ruled.test")
    with Talk(server.port("anonymous")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<ann@fabrikam.test>", "250 *")
        talk.expect("RCPT TO:<nobody@contoso.test>", "550 5.1.1 *")
        talk.expect("RCPT TO:<x@adatum.test>", "550 5.7.1 *")
        talk.expect("RCPT TO:<bob@contoso.test>", "250 *")
        talk.expect("DATA", "354 *")
        talk.send(b"Subject: a bare\nline feed\r\n\r\n.\r\n")
        assert str(talk.read()).startswith("550 5.6.11")
    with Talk(server.port("anonymous")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<ann@fabrikam.test> SIZE=999999999", "552 5.3.4 *")
    with Talk(server.port("clients"), tls=True) as talk:
        talk.hello()
        talk.expect("AUTH PLAIN AGFubgB3cm9uZw==", "535 *")


def queue_lines(folder: Path, text: str) -> bool:
    return any(text in file.read_text("utf-8-sig") for file in (folder / "Hub/QueueViewer").glob("*.log"))


def files(folder: Path, where: str, suffix: str = "log") -> list[Path]:
    return sorted((folder / where).glob(f"*.{suffix}"))


def test_every_log_is_read_by_those_who_read_exchanges(logs: Path) -> None:
    check_files(logs)
    check_message_tracking(logs)
    check_protocol_logs(logs)
    check_other_logs(logs)
    check_json(logs)
    check_routing_tables(logs)


def check_files(logs: Path) -> None:
    """Name, mark, five lines that begin with #, CR LF, whole lines."""
    assert {str(file.parent.relative_to(logs)) for file in logs.rglob("*.log")} >= set(FILE_NAMES)
    for where, pattern in FILE_NAMES.items():
        for file in files(logs, where):
            assert re.fullmatch(pattern, file.stem), file
            data = file.read_bytes()
            assert data.startswith(b"\xef\xbb\xbf#Software: Microsoft Exchange Server\r\n#Version: 15.")
            assert data.count(b"\xef\xbb\xbf") == 1
            assert data.endswith(b"\r\n")
            assert data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r")
            head = data.split(b"\r\n")[:5]
            words = [b"#Software: ", b"#Version: ", b"#Log-type: ", b"#Date: ", b"#Fields: "]
            assert [line.removeprefix(b"\xef\xbb\xbf").startswith(word) for line, word in zip(head, words, strict=True)]


def check_message_tracking(logs: Path) -> None:
    events = [event for file in files(logs, "MessageTracking") for event in elastic(file)]
    assert {event["microsoft.exchange.eventid"] for event in events} >= {"RECEIVE", "DELIVER", "SEND", "TRANSFER"}
    for event in events:
        datetime.fromisoformat(str(event["@timestamp"]))
        for address in (event["client.ip"], event["server.ip"], event["microsoft.exchange.originalclientip"]):
            assert not address or ipaddress.ip_address(str(address))
        recipients = event["email.to.address"]
        assert isinstance(recipients, list)
        assert event["microsoft.exchange.recipientcount"] == len(recipients)
        status = str(event["microsoft.exchange.recipientstatus"])
        assert not status or len(recipients) == 1 or len(status.split(";")) == len(recipients)
        assert event["email.direction"] in ("Incoming", "Originating", "Undefined")
    assert SUBJECT in {event["email.subject"] for event in events}
    for file in files(logs, "MessageTracking"):
        for row in by_header(file):
            assert set(DEVO_MESSAGE_TRACKING) <= set(row)
            assert all(row[name] for name in SPLUNK_MESSAGING.values()), row


def check_protocol_logs(logs: Path) -> None:
    for where, kind in (("SmtpReceive", "smtpreceive"), ("SmtpSend", "smtpsend")):
        sessions: dict[object, list[dict[str, object]]] = {}
        for file in files(logs, f"Hub/ProtocolLog/{where}"):
            for event in elastic(file):
                assert event["microsoft.exchange.logtype"] == kind
                assert event["microsoft.exchange.event"] in ("+", "-", ">", "<", "*")
                sessions.setdefault(event["microsoft.exchange.sessionid"], []).append(event)
        assert len(sessions) >= 2, where
        for lines in sessions.values():
            assert [line["microsoft.exchange.sequencenumber"] for line in lines] == list(range(len(lines)))
            assert lines[0]["microsoft.exchange.event"] == "+"
            assert lines[-1]["microsoft.exchange.event"] == "-"
    sent = {str(line["microsoft.exchange.connectorid"]) for file in files(logs, "Hub/ProtocolLog/SmtpSend")
            for line in elastic(file)}  # fmt: skip
    assert sent == {"Adatum", "Dovecot"}


def check_other_logs(logs: Path) -> None:
    agents = [row for file in files(logs, "Hub/AgentLog") for row in by_header(file)]
    told = {(row["Agent"], row["Event"], row["Action"], row["Reason"], row["Recipient"]) for row in agents}
    reject, message = "RejectCommand", "RejectMessage"
    assert told >= {
        ("Recipient Filter Agent", "OnRcptCommand", reject, "RecipientDoesNotExist", "nobody@contoso.test"),
        ("Permission Check", "OnRcptCommand", reject, "RelayDenied", "x@adatum.test"),
        ("Content Conformance Check", "OnEndOfData", message, "BareLineFeed", "bob@contoso.test"),
        ("Limit Check", "OnMailCommand", reject, "MaxMessageSize", ""),
        ("Standing Rule", "OnRoutedMessage", "RejectRecipients", "Rule 1", "y@ruled.test"),
        ("Authentication Check", "OnAuthCommand", "RejectAuthentication", "LogonFailed", ""),
    }
    for row in agents:
        assert re.fullmatch("[0-9A-F]{16}", row["SessionId"]) or row["Agent"] == "Standing Rule"
        assert re.match(r"[45]\d\d [45]\.\d+\.\d+ ", row["SmtpResponse"])
        assert ipaddress.ip_address(row["EnteredOrgFromIP"]).is_loopback
    connections = [row for file in files(logs, "Hub/Connectivity") for row in by_header(file)]
    assert set(connections[0]) == {"date_time", "session", "source", "destination", "direction", "description"}
    assert {row["direction"] for row in connections} <= {"+", ">", "-"}
    queues = [row for file in files(logs, "Hub/QueueViewer") for row in by_header(file)]
    waiting = [row for row in queues if row["NextHopConnector"] == "Nowhere"]
    assert waiting[-1]["MessageCount"] == "1"


def check_json(logs: Path) -> None:
    """The same events, line by line."""
    for where in FILE_NAMES:
        lines = [line for file in files(logs, where, "jsonl") for line in file.read_text().splitlines()]
        rows = [row for file in files(logs, where) for row in by_header(file)]
        assert len(lines) == len(rows) > 0, where
        for line, row in zip(lines, rows, strict=True):
            event = json.loads(line)
            assert event["timestamp"] == next(iter(row.values()))
            assert len(event) - 1 == sum(bool(cell) for cell in row.values())


def check_routing_tables(logs: Path) -> None:
    tables = sorted((logs / "Hub/Routing").iterdir())
    assert [table.name.partition("@")[0] for table in tables] == ["RoutingConfig#1", "RoutingConfig#2"]
    root = ElementTree.fromstring(tables[0].read_bytes())
    assert [one.findtext("Name") for one in root.findall("SendConnectors/SendConnector")] == ["Adatum", "Nowhere"]
