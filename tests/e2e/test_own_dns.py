# SPDX-License-Identifier: MIT
"""`dns check` against records that a test changes, and our own MTA-STS policies over real HTTPS."""

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridgehead.routing.mta_sts import parse_policy
from support.certificates import Authority
from support.configuration import ANONYMOUS, receive_connector
from support.dns_thread import DnsThread
from support.ports import free_port, wait_until
from support.server import Server

NAME = "mx.contoso.test"
EGRESS = "192.0.2.25"


@pytest.fixture
def dns() -> Iterator[DnsThread]:
    with DnsThread() as one:
        one.negative_ttl = 0
        yield one


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    root = Authority(tmp_path / "ca", days=400)
    monkeypatch.setenv("SSL_CERT_FILE", str(root.root))
    return root


@pytest.fixture
def server(make_server: Callable[..., Server], dns: DnsThread, authority: Authority) -> Server:
    pairs = [authority.issue(NAME, days=90), authority.issue("mta-sts.contoso.test", days=90)]
    server = make_server(
        server={"dns_servers": [dns.address]},
        receive_connectors=[receive_connector("internet", free_port(), **ANONYMOUS)],
        send_connectors=[
            {"name": "out", "address_spaces": ["*"], "source_ip_addresses": [EGRESS], "dns_servers": [dns.address]}
        ],
        certificates=[{"certificate_file": str(one.certificate), "key_file": str(one.key)} for one in pairs],
        tls_reports={"report_address": "tls@contoso.test"},
        mta_sts={"binding": f"127.0.0.1:{free_port()}", "mode": "enforce", "max_age": 604800},
    ).start()
    wait_until(lambda: "is ready as" in server.stderr(), 30, "it listens for HTTPS as well")
    return server


def check(server: Server, *arguments: str) -> Any:
    done = server.command("dns", "check", *arguments, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == (1 if report["verdict"] == "failure" else 0), done.stderr
    return report


def one(report: Any, name: str, kind: str, word: str = "") -> Any:
    found = [r for r in report["records"] if (r["name"], r["kind"]) == (name, kind) and word in r["sentence"]]
    assert len(found) == 1, [(r["name"], r["kind"], r["sentence"]) for r in report["records"]]
    return found[0]


def publish(dns: DnsThread, zone: str) -> None:
    """What `dns check --zone` printed, as it stands."""
    records: dict[tuple[str, str], list[str]] = {}
    for line in zone.splitlines():
        name, _, _, kind, data = line.split("\t")
        records.setdefault((name, kind), []).append(data)
    for (name, kind), data in records.items():
        dns.add(name, kind, *data, ttl=1)


def test_what_it_says_to_publish_is_what_it_takes_for_right(server: Server, dns: DnsThread) -> None:
    before = check(server)
    assert before["verdict"] == "failure"
    assert one(before, "contoso.test", "MX")["verdict"] == "warning"
    assert "no SPF record" in one(before, "contoso.test", "TXT")["sentence"]
    assert one(before, NAME, "A")["verdict"] == "failure"
    assert one(before, "25.2.0.192.in-addr.arpa", "PTR")["verdict"] == "failure"
    assert "does not sign" in one(before, "SELECTOR._domainkey.contoso.test", "TXT")["sentence"]
    zone = server.command("dns", "check", "--zone").stdout.decode()
    publish(dns, zone)
    after = check(server)
    failures = [r for r in after["records"] if r["verdict"] in ("failure", "warning")]
    assert not failures, failures
    for name, kind in (
        ("contoso.test", "MX"), ("contoso.test", "TXT"), ("_mta-sts.contoso.test", "TXT"),
        ("_smtp._tls.contoso.test", "TXT"), (NAME, "A"), ("25.2.0.192.in-addr.arpa", "PTR"),
    ):  # fmt: skip
        assert one(after, name, kind)["verdict"] == "pass", (name, kind)


def test_what_is_wrong_is_named(server: Server, dns: DnsThread, authority: Authority) -> None:
    dns.add("contoso.test", "MX", "10 mx.contoso.test.", "20 backup.elsewhere.test.", ttl=1)
    dns.add("contoso.test", "TXT", '"v=spf1 ip4:198.51.100.1 -all"', ttl=1)
    dns.add("_mta-sts.contoso.test", "TXT", '"v=STSv1; id=20200101;"', ttl=1)
    dns.add("_dmarc.contoso.test", "TXT", '"v=DMARC1; p=none"', ttl=1)
    dns.add(f"_25._tcp.{NAME}", "TLSA", "3 1 1 " + "ab" * 32, ttl=1)
    dns.add("25.2.0.192.in-addr.arpa", "PTR", "other.test.", ttl=1)
    dns.servfail("_smtp._tls.contoso.test")
    found = check(server, "contoso.test")
    assert "does not let our mail pass: 192.0.2.25: fail" in one(found, "contoso.test", "TXT")["sentence"]
    assert "senders do not look again" in one(found, "_mta-sts.contoso.test", "TXT")["sentence"]
    assert "does not name backup.elsewhere.test" in one(found, "contoso.test", "MX", "policy")["sentence"]
    assert one(found, "_dmarc.contoso.test", "TXT")["verdict"] == "note"
    tlsa = one(found, f"_25._tcp.{NAME}", "TLSA")
    assert "senders with DANE keep their mail" in tlsa["sentence"]
    assert "does not lead back" in one(found, "25.2.0.192.in-addr.arpa", "PTR")["sentence"]
    assert "DNS does not answer" in one(found, "_smtp._tls.contoso.test", "TXT")["sentence"]
    assert one(found, "_smtp._tls.contoso.test", "TXT")["verdict"] == "warning"
    # The key in use is known now; one that is bound next is asked for before it is shown.
    dns.add(f"_25._tcp.{NAME}", "TLSA", *tlsa["publish"], ttl=1)
    assert one(check(server), f"_25._tcp.{NAME}", "TLSA")["verdict"] == "pass"
    unknown = server.command("dns", "check", "fabrikam.test")
    assert unknown.returncode == 1
    assert b"no accepted domain" in unknown.stderr


def test_where_tls_reports_are_asked_for_and_read(server: Server, dns: DnsThread) -> None:
    for record, verdict, words in (
        ("v=TLSRPTv1; rua=nobody", "failure", "names no address of use"),
        ("v=TLSRPTv1; rua=mailto:other@fabrikam.test", "note", "not at tls@contoso.test, where they are read"),
        ("v=TLSRPTv1; rua=https://x.test/, mailto:TLS@contoso.test", "pass", "asks for TLS reports"),
    ):
        dns.add("_smtp._tls.contoso.test", "TXT", f'"{record}"', ttl=1)
        wait_until(
            lambda words=words: words in one(check(server), "_smtp._tls.contoso.test", "TXT")["sentence"],  # type: ignore[misc]
            15, lambda words=words: words,
        )  # fmt: skip
        assert one(check(server), "_smtp._tls.contoso.test", "TXT")["verdict"] == verdict


# --- policies -----------------------------------------------------------------------------------------------------------


def binding(server: Server) -> int:
    return int(str(server.settings["mta_sts"]["binding"]).rpartition(":")[2])


class _Through(http.client.HTTPSConnection):
    """Connects to this machine, asks for a name."""

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), 10)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)  # type: ignore[attr-defined]


def fetch(server: Server, authority: Authority, host: str, path: str = "/.well-known/mta-sts.txt") -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(authority.root))
    connection = _Through(host, binding(server), context=context, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_policy_is_served_under_its_own_certificate_and_follows_a_reload(
    server: Server, authority: Authority
) -> None:
    status, body = fetch(server, authority, "mta-sts.contoso.test")
    assert status == 200
    policy = parse_policy(body)
    assert (policy.mode, policy.mx, policy.max_age) == ("enforce", (NAME,), 604800)
    report = check(server)
    (file,) = report["policies"]
    assert file["text"].encode() == body
    first = one(report, "_mta-sts.contoso.test", "TXT")["publish"]
    settings = server.settings | {"mta_sts": {**server.settings["mta_sts"], "mode": "testing"}}
    server.configure(settings)
    server.reload()
    assert parse_policy(fetch(server, authority, "mta-sts.contoso.test")[1]).mode == "testing"
    assert one(check(server), "_mta-sts.contoso.test", "TXT")["publish"] != first


def test_nothing_else_is_served(server: Server, authority: Authority) -> None:
    assert fetch(server, authority, "mta-sts.contoso.test", "/")[0] == 404
    assert fetch(server, authority, "mta-sts.contoso.test", "/.well-known/../bridgehead.toml")[0] == 404
    with pytest.raises((ssl.SSLError, ConnectionError)):  # no handshake without a name of ours
        fetch(server, authority, "mta-sts.fabrikam.test")
    context = ssl.create_default_context(cafile=str(authority.root))
    for request, word in (
        (b"POST /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.contoso.test\r\n\r\n", b"405"),
        (b"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.elsewhere.test\r\n\r\n", b"404"),
        (b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n\r\n", b"400"),
        (b"\x00" * 5000, b"431"),
        (b"rubbish\r\n\r\n", b"400"),
    ):
        plain = socket.create_connection(("127.0.0.1", binding(server)), 10)
        with context.wrap_socket(plain, server_hostname="mta-sts.contoso.test") as connection:
            connection.sendall(request)
            assert connection.recv(4096).split(b" ")[1] == word, request[:40]
