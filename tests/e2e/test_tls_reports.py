# SPDX-License-Identifier: MIT
"""TLS reports between two running servers: counted, made, sent by mail and by HTTPS, read and told."""

import gzip
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority
from support.configuration import ANONYMOUS, base, mailbox, receive_connector
from support.dns_thread import DnsThread
from support.ports import free_port, wait_until
from support.server import Server

DOMAIN = "fabrikam.test"


@pytest.fixture
def dns() -> Iterator[DnsThread]:
    with DnsThread() as dns:
        dns.add(DOMAIN, "MX", f"10 mx.{DOMAIN}.")
        dns.add(f"mx.{DOMAIN}", "A", "127.0.0.1")
        yield dns


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Server]:
    """Server of fabrikam.test, which wants reports."""
    settings = base(tmp_path / "receiver")
    settings["server"]["fqdn"] = f"mx.{DOMAIN}"
    settings["accepted_domains"] = [{"domain_name": DOMAIN, "make_default": True}]
    settings["receive_connectors"] = [receive_connector("internet", free_port(), **ANONYMOUS)]
    settings["tls_reports"] = {"report_address": f"tls-reports@{DOMAIN}"}
    recipients = [mailbox("reports", f"tls-reports@{DOMAIN}"), mailbox("bob", f"bob@{DOMAIN}")]
    with Server(tmp_path / "receiver", settings, recipients) as server:
        yield server


def sender(make_server: Callable[..., Server], dns: DnsThread, receiver: Server, **changes: Any) -> Server:
    """Server of contoso.test, which sends to fabrikam.test by MX."""
    server = make_server(server={"dns_servers": [dns.address]}, **changes)
    server.settings["send_connectors"] = [
        {
            "name": "Internet", "address_spaces": ["*"], "dns_servers": [dns.address],
            "port": receiver.port("internet"),
        }
    ]  # fmt: skip
    server.configure(server.settings)
    return server.start()


def told(server: Server, *arguments: str) -> Any:
    return json.loads(server.command("tls-report", *arguments, "--json").stdout)


def test_a_round_trip_between_two_servers(make_server: Callable[..., Server], dns: DnsThread, receiver: Server) -> None:
    dns.add(f"_smtp._tls.{DOMAIN}", "TXT", f'"v=TLSRPTv1; rua=mailto:tls-reports@{DOMAIN}"')
    ours = sender(make_server, dns, receiver)
    ours.send("anna@contoso.test", f"bob@{DOMAIN}", connector="secured")
    receiver.wait_for_mail("bob")
    (result,) = told(ours, "results")
    assert (result["domain"], result["successes"], result["failures"], result["state"]) == (DOMAIN, 1, 0, "counting")
    assert told(ours, "send") == []  # the day is not over
    (sent,) = told(ours, "send", "--today")
    assert (sent["state"], sent["destinations"]) == ("sent", f"mailto:tls-reports@{DOMAIN}")
    (message,) = receiver.wait_for_mail("reports")
    assert b'report-type="tlsrpt"' in message
    wait_until(lambda: told(receiver, "list"), what="the report is read")
    (report,) = told(receiver, "list")
    assert (report["organization"], report["domains"], report["successes"]) == ("contoso.test", [DOMAIN], 1)
    text = receiver.command("tls-report", "show", str(report["id"])).stdout.decode()
    assert "1 sessions went well, 0 failed" in text
    # counts and reports outlive a restart, and a report is sent once
    ours.restart()
    assert told(ours, "send", "--today") == []
    assert told(ours, "results", DOMAIN)[0]["state"] == "sent"


def test_failures_of_others_are_told_in_sentences_and_rubbish_is_no_trouble(receiver: Server) -> None:
    document = {
        "organization-name": "Company-X", "contact-info": "tls@company-x.test", "report-id": "42",
        "date-range": {"start-datetime": "2026-04-01T00:00:00Z", "end-datetime": "2026-04-01T23:59:59Z"},
        "policies": [
            {
                "policy": {"policy-type": "sts", "policy-domain": domain},
                "summary": {"total-successful-session-count": 5, "total-failure-session-count": 103},
                "failure-details": [
                    {"result-type": "certificate-expired", "sending-mta-ip": "192.0.2.9", "failed-session-count": 100,
                     "receiving-mx-hostname": f"mx.{DOMAIN}", "receiving-ip": "203.0.113.1"},
                ],
            }
            for domain in (DOMAIN, "somebody-else.test")
        ],
    }  # fmt: skip
    bodies = [
        gzip.compress(json.dumps(document).encode()), gzip.compress(b" " * 30_000_000), b"\x1f\x8brubbish",
        json.dumps(document | {"report-id": "43", "policies": document["policies"][1:]}).encode(),
        gzip.compress(json.dumps(document).encode()),
    ]  # fmt: skip
    for body in bodies:
        kind = b"gzip" if body.startswith(b"\x1f\x8b") else b"json"
        content = b"Subject: report\r\nTLS-Report-Domain: x\r\nContent-Type: application/tlsrpt+" + kind
        content += b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + _base64(body)
        receiver.send("reports@company-x.test", f"tls-reports@{DOMAIN}", content)
    receiver.wait_for_mail("reports", len(bodies))
    wait_until(lambda: receiver.stderr().count("holds none") >= 3, what="three mails are told to hold none")
    (report,) = told(receiver, "list")
    assert (report["domains"], report["failures"]) == ([DOMAIN], 103)
    assert report["sentences"] == [
        (
            f"Company-X from 192.0.2.9: 100 sessions with mx.{DOMAIN} (203.0.113.1) failed: "
            "the certificate had expired; renew it: bridgehead certificate renew"
        ),
        f"3 sessions with {DOMAIN} failed; the report does not say how",
    ]
    assert "Traceback" not in receiver.stderr()


def _base64(data: bytes) -> bytes:
    import base64

    return base64.encodebytes(data).replace(b"\n", b"\r\n")


class Collector:
    """Takes reports over HTTPS; refuses the first."""

    def __init__(self, authority: Authority) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.asked = 0
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.asked += 1
                if collector.asked > 1:
                    collector.bodies.append((self.headers["Content-Type"], body))
                self.send_response(503 if collector.asked == 1 else 201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = authority.issue("reports.fabrikam.test").server_context()
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_a_report_over_https_is_tried_again(
    make_server: Callable[..., Server], dns: DnsThread, receiver: Server, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    collector = Collector(authority)
    try:
        dns.add("reports.fabrikam.test", "A", "127.0.0.1")
        url = f"https://reports.fabrikam.test:{collector.port}/v1/tlsrpt"
        dns.add(f"_smtp._tls.{DOMAIN}", "TXT", f'"v=TLSRPTv1; rua={url}"')
        ours = sender(make_server, dns, receiver, tls_reports={"https_ca_file": str(authority.root)})
        ours.send("anna@contoso.test", f"bob@{DOMAIN}", connector="secured")
        receiver.wait_for_mail("bob")
        wait_until(lambda: told(ours, "results"), what="the session is counted")
        (first,) = told(ours, "send", "--today")
        assert first["state"] == "waiting"
        assert "503" in first["reason"]
        (second,) = told(ours, "send")
        assert second["state"] == "sent"
        ((kind, body),) = collector.bodies
        assert kind == "application/tlsrpt+gzip"
        assert json.loads(gzip.decompress(body))["policies"][0]["policy"]["policy-domain"] == DOMAIN
    finally:
        collector.close()


def test_domains_that_ask_for_nothing_get_nothing(
    make_server: Callable[..., Server], dns: DnsThread, receiver: Server
) -> None:
    ours = sender(make_server, dns, receiver)
    ours.send("anna@contoso.test", f"bob@{DOMAIN}", connector="secured")
    receiver.wait_for_mail("bob")
    wait_until(lambda: told(ours, "results"), what="the session is counted")
    (sent,) = told(ours, "send", "--today")
    assert (sent["state"], sent["reason"]) == ("nobody", "the domain asks for no reports")
