# SPDX-License-Identifier: MIT
"""Recipient domains' TLS policies on a running server: signed zones, policy hosts and mail hosts are real.

What each dependency's failure means is in docs/explanation/tls-policy.md; `tests/unit/delivery/smtp_send` drills it case
by case.
"""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.policy_host import policy
from support.policy_world import PolicyWorld, der_of, tlsa, with_chain
from support.ports import wait_until
from support.server import Server
from support.signed_dns import BOGUS, PLAIN
from support.sink import ALL_EXTENSIONS, Sink

OFFERS, SILENT = "127.0.0.32", "127.0.0.33"
SECRET = b"the secret of the body"


class Site(PolicyWorld):
    """`ok` and `stale` have TLSA records, `silent` no REQUIRETLS, `sts.test` a policy."""

    offers: Sink
    silent: Sink

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        pair = with_chain(self.authority.issue("*.signed.test", "mx.sts.test"), self.authority)
        self.offers = self.mail_host(OFFERS, pair, extensions=(*ALL_EXTENSIONS, "REQUIRETLS"))
        self.silent = self.mail_host(SILENT, pair)
        key, other = tlsa(der_of(pair)), tlsa(der_of(self.strangers.issue("mx.other.test")))
        records = []
        for name, address, record in (("ok", OFFERS, key), ("stale", OFFERS, other), ("silent", SILENT, key)):
            host = f"mx-{name}"
            records += [
                f"{name} MX 10 {host}.signed.test.",
                f"{host} A {address}",
                f"{self.tlsa_name(host)} TLSA {record}",
            ]
        self.dns.zone("signed.test", *records)
        self.dns.zone("bogus.test", "@ MX 10 mx-ok.signed.test.", how=BOGUS)
        sts = ("mta-sts A 127.0.0.1", '_mta-sts TXT "v=STSv1; id=20261123;"')
        self.dns.zone("sts.test", "@ MX 10 mx.sts.test.", f"mx A {SILENT}", *sts, how=PLAIN)
        self.dns.zone("broken.test", "@ MX 10 mx.sts.test.", *sts, how=PLAIN)
        self.hosts.add("sts.test", self.authority.issue("mta-sts.sts.test"), policy("enforce", "mx.sts.test"))
        self.dns.zone("tried.test", "@ MX 10 mx.sts.test.", *sts, how=PLAIN)
        self.hosts.add("tried.test", self.authority.issue("mta-sts.tried.test"), policy("testing", "mx.tried.test"))
        twice = ('_mta-sts TXT "v=STSv1; id=2;"', "mta-sts A 127.0.0.1")
        self.dns.zone("twice.test", "@ MX 10 mx.sts.test.", *sts, *twice, how=PLAIN)
        self.hosts.add("broken.test", self.authority.issue("mta-sts.broken.test"), policy("enforce", "mx.broken.test"))
        self.dns.start()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


@pytest.fixture
def server(make_server: Callable[..., Server], site: Site) -> Server:
    server = make_server(
        tls={"mta_sts_ca_file": str(site.authority.root), "mta_sts_port": site.hosts.port},
        send_connectors=[
            {
                "name": "Internet", "address_spaces": ["*"], "port": site.port,
                "tls_ca_file": str(site.authority.root),
            }
        ],
    )  # fmt: skip
    server.settings["server"]["dns_servers"] = [site.dns.address]
    server.configure(server.settings)
    return server.start()


def send(server: Server, to: str, *options: str, header: str = "", sender: str = "bob@contoso.test") -> None:
    content = f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: policy\r\n{header}\r\n".encode() + SECRET + b"\r\n"
    with server.smtp("secured") as client:
        if options:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            client.starttls(context=context)
        client.sendmail(sender, to, content, mail_options=options)


def waiting(server: Server, domain: str) -> str:
    """The last error of a domain's queue, once there is one."""
    return str(
        wait_until(
            lambda: next((one["last_error"] for one in server.queues() if one["next_hop_domain"] == domain), ""),
            15, lambda: f"an error of {domain}: {server.queues()}",
        )
    )  # fmt: skip


def test_mail_follows_the_policies_of_its_recipients_domains(server: Server, site: Site) -> None:
    """DANE and MTA-STS out of the box, with a validating resolver on this machine; trace says which it was."""
    send(server, "b@ok.signed.test")
    sent = server.wait_for_event("SEND", **{"recipient-address": "b@ok.signed.test"})
    assert "S:TlsPolicy=dane" in sent["custom-data"]
    story = server.ask("trace", sent["network-message-id"])
    assert [step["event"] for step in story["steps"] if step["note"].startswith("TLS policy: dane;")] == ["SEND"]
    send(server, "b@sts.test")
    line = server.wait_for_event("SEND", **{"recipient-address": "b@sts.test"})
    assert "S:TlsPolicy=mta-sts:enforce" in line["custom-data"]
    for domain, words in (
        ("stale.signed.test", "TLSA records"), ("bogus.test", "bogus"), ("broken.test", "does not name mx.sts.test"),
    ):  # fmt: skip
        send(server, f"b@{domain}")
        assert words in waiting(server, domain)
    assert not [one for sink in site.sinks for one in sink.transactions if "b@stale" in one.rcpts[0]]
    told = server.command("why", "stale.signed.test").stdout.decode()
    assert "the records name the previous one" in " ".join(told.split())
    assert "certificate shown: *.signed.test" in told
    assert b"dnssec-bogus" in server.command("why", "bogus.test", "--json").stdout
    assert b"sts-host-not-named" in server.command("why", "broken.test", "--json").stdout


def test_the_policy_of_a_domain_can_be_asked_for(server: Server, site: Site) -> None:
    """`tls-policy show`: what would be demanded and why, before any mail; `forget` after."""
    view = server.ask("tls-policy", "show", "b@ok.signed.test")
    (host,) = view["hosts"]
    assert (view["connector"], view["smtp_dane_mode"], host["policy"]) == ("Internet", "Opportunistic", "dane")
    assert host["records"][0].startswith("3 1 1 ")
    assert "MX: secure" in host["evidence"]
    view = server.ask("tls-policy", "show", "broken.test")
    assert view["sts"]["mode"] == "enforce"
    assert "does not name" in view["hosts"][0]["refused"]
    assert "bogus" in server.ask("tls-policy", "show", "bogus.test")["problem"]
    text = server.succeed("tls-policy", "show", "sts.test")
    assert "enforce, id 20261123, mx mx.sts.test" in text
    assert "TLS with a valid certificate for mx.sts.test" in text
    assert server.command("tls-policy", "forget", "sts.test").returncode != 0
    send(server, "b@sts.test")
    server.wait_for_event("SEND")
    assert server.ask("tls-policy", "show", "sts.test")["best_seen"] == "policy"
    server.restart()
    assert server.ask("tls-policy", "show", "sts.test")["best_seen"] == "policy"
    server.succeed("tls-policy", "forget", "sts.test")
    assert server.ask("tls-policy", "show", "sts.test")["best_seen"] == ""


def test_what_is_shown_of_a_policy_is_what_mail_meets(server: Server, site: Site) -> None:
    """Testing refuses nothing; a host that is refused demands nothing; a record that is none is named; a policy ends."""
    text = server.succeed("tls-policy", "show", "tried.test")
    assert "does not name mx.sts.test; only tested, mail goes all the same" in text
    assert "demanded      TLS where it is offered, with any certificate (mta-sts:testing)" in text
    text = server.succeed("tls-policy", "show", "broken.test")
    assert "demanded      nothing: it is not used" in text
    assert "refused       the MTA-STS policy of broken.test does not name mx.sts.test\n" in text
    assert "MTA-STS policy  fetched 20" in text
    assert ", holds until 20" in text
    text = server.succeed("tls-policy", "show", "twice.test")
    assert "MTA-STS policy  none; the domain publishes several MTA-STS records, which counts as none" in text


def test_requiretls_is_offered_over_tls_and_passed_on(server: Server, site: Site) -> None:
    """RFC 8689 §2, §4.2: taken only where it is on offer, kept with the message, asked of the next host."""
    with server.smtp("secured") as client:
        client.ehlo()
        assert not client.has_extn("requiretls")
        assert client.docmd("MAIL FROM:<bob@contoso.test> REQUIRETLS")[0] == 555
    send(server, "c@ok.signed.test", "REQUIRETLS")
    assert " REQUIRETLS" in site.offers.wait_for(lambda one: "c@ok" in one.rcpts[0]).mail
    line = server.wait_for_event("SEND", **{"recipient-address": "c@ok.signed.test"})
    assert "S:TlsPolicy=dane+requiretls" in line["custom-data"]


def test_requiretls_mail_that_cannot_be_sent_so_comes_back_without_its_body(server: Server, site: Site) -> None:
    """RFC 8689 §4.2.1, §5: 5.7.30, and a report with the header at most although RET=FULL was asked for."""
    send(server, "c@silent.signed.test", "REQUIRETLS", "RET=FULL")
    fail = server.wait_for_event("FAIL", **{"recipient-address": "c@silent.signed.test"})
    assert "5.7.30" in fail["recipient-status"] or "REQUIRETLS" in fail["recipient-status"]
    (report,) = server.wait_for_mail("bob")
    assert b"5.7.30" in report
    assert b"Subject: policy" in report
    assert SECRET not in report
    assert not site.silent.to("c@silent.signed.test")


def test_tls_required_no_goes_past_the_policies(server: Server, site: Site) -> None:
    """RFC 8689 §3; MAIL's REQUIRETLS goes before the field."""
    send(server, "d@stale.signed.test", header="TLS-Required: No\r\n")
    assert site.offers.wait_for(lambda one: "d@stale" in one.rcpts[0]).tls
    send(server, "e@stale.signed.test", "REQUIRETLS", header="TLS-Required: No\r\n")
    assert "TLSA records" in waiting(server, "stale.signed.test")


def test_a_message_keeps_its_requirement_over_a_restart(server: Server, site: Site) -> None:
    """Its queue is its own, and is found again."""
    send(server, "f@stale.signed.test", "REQUIRETLS")
    waiting(server, "stale.signed.test")
    server.restart()
    (queue,) = [one for one in server.queues() if one["next_hop_domain"] == "stale.signed.test"]
    assert queue["identity"] == "Internet/stale.signed.test (RequireTLS)"
    assert queue["message_count"] == 1
    server.succeed("queue", "retry", queue["identity"])
