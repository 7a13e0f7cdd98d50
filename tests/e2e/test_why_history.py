# SPDX-License-Identifier: MIT
"""Causes that only show against what was before: a success, another address, another destination, a whole life of tries."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from bridgehead.admin.faults import AdminFault
from bridgehead.admin.why.verdict import Verdict
from e2e.why_world import World
from support.configuration import changed
from support.odd_certificates import make, serving, write
from support.odd_hosts import Blackhole
from support.ports import free_port, wait_until
from support.sink import Behaviour, Sink


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.close()


def _reconfigure(lab: World, **changes: object) -> None:
    """Change the one connector of a world."""
    assert lab.server is not None
    connectors = [{**one, **changes} for one in lab.server.settings["send_connectors"]]
    lab.server.configure(changed(lab.server.settings, {"send_connectors": connectors}))
    lab.server.reload()


def test_starttls_that_was_offered_and_is_no_longer(lab: World, tmp_path: Path) -> None:
    context: ssl.SSLContext = serving(write(tmp_path / "pem", "far", make("mx.far.test")))
    sink = lab.stack.enter_context(Sink(context=context))
    lab.host("far.test", sink.port, require_tls=True, smtp_max_messages_per_connection=1)
    lab.start()
    for number in range(3):
        lab.send(f"x{number}@far.test")
        sink.wait(number + 1)
    sink.behaviour = Behaviour()
    lab.send("y@far.test")
    verdict = lab.verdict("far.test", "starttls-vanished")
    assert verdict.why.startswith("We require TLS to far.test; since ")
    assert "no longer offers STARTTLS (it did 3 times before)" in verdict.why
    assert verdict.last_good is not None
    assert "3 good deliveries before" in verdict.last_good_words


def test_another_source_address_since_which_nothing_answers(lab: World) -> None:
    sink = lab.stack.enter_context(Sink())
    lab.host("moved.test", sink.port, source_ip_addresses=["127.0.0.1"], smtp_max_messages_per_connection=1)
    lab.start()
    lab.send("x@moved.test")
    sink.wait(1)
    sink.close()
    with ExitStack() as stack:
        stack.enter_context(Blackhole(port=sink.port))
        _reconfigure(lab, source_ip_addresses=["127.0.0.9"])
        lab.send("y@moved.test")
        verdict = lab.verdict("moved.test", "source-address-blocked")
        assert (
            f"Connections from 127.0.0.9 to port {sink.port} get no answer; from 127.0.0.1 they worked until"
            in verdict.why
        )
        assert verdict.owner == "the network"


def test_the_cloud_knows_only_our_old_address(lab: World) -> None:
    sink = lab.stack.enter_context(Sink())
    lab.host("tenant.test", sink.port, source_ip_addresses=["127.0.0.7"], smtp_max_messages_per_connection=1)
    lab.start()
    lab.send("x@tenant.test")
    sink.wait(1)
    sink.behaviour = Behaviour(on_rcpt=lambda _: "451 5.7.64 TenantAttribution; Relay Access Denied SMTP")
    _reconfigure(lab, source_ip_addresses=["127.0.0.8"])
    lab.send("y@tenant.test")
    verdict = lab.verdict("tenant.test", "tenant-attribution")
    assert "Our address changed from 127.0.0.7 to 127.0.0.8; with 127.0.0.7 the last message was taken" in verdict.why


def test_port_25_is_blocked_for_everyone(lab: World) -> None:
    port = free_port()
    for number in (2, 3, 4):
        lab.stack.enter_context(Blackhole(f"127.0.0.{number}", port))
        lab.host(f"d{number}.test", port, f"127.0.0.{number}")
    lab.start()
    for number in (2, 3, 4):
        lab.send(f"x@d{number}.test")
    verdict = lab.verdict("d2.test", "port-25-blocked")
    assert verdict.why.startswith(f"Port {port} out is blocked for everyone")
    assert "3 addresses of 3 destinations give no answer at all" in verdict.why
    assert "smart_hosts" in verdict.do


def test_one_answer_elsewhere_and_the_port_is_not_blocked(lab: World) -> None:
    port = free_port()
    for number in (2, 3, 4):
        lab.stack.enter_context(Blackhole(f"127.0.0.{number}", port))
        lab.host(f"d{number}.test", port, f"127.0.0.{number}")
    sink = lab.stack.enter_context(Sink())
    lab.host("works.test", sink.port, smtp_max_messages_per_connection=1)
    lab.start()
    for number in (2, 3, 4):
        lab.send(f"x@d{number}.test")
    lab.verdict("d4.test", "port-25-blocked")
    lab.send("x@works.test")
    sink.wait(1)
    verdict = lab.verdict("d2.test", "connection-timed-out")
    assert "gives no answer to the attempt to connect" in verdict.why


def test_a_misspelt_domain_and_the_one_that_was_meant(lab: World) -> None:
    sink = lab.stack.enter_context(Sink())
    lab.host("gmail.test", sink.port, smtp_max_messages_per_connection=1)
    lab.route("gmial.test", port=25)
    lab.start()
    for number in range(3):
        lab.send(f"x{number}@gmail.test")
        sink.wait(number + 1)
    lab.send("x@gmial.test")
    verdict = lab.verdict("x@gmial.test", "domain-does-not-exist")
    assert verdict.why == "gmial.test does not exist. 3 earlier messages went to gmail.test."
    assert verdict.owner == "the sender"


def test_aaaa_is_dropped_while_ipv4_works(lab: World) -> None:
    sink = lab.stack.enter_context(Sink())
    lab.host("half.test", sink.port)
    lab.dns.silent("mx.half.test", "AAAA")
    lab.start()

    def told() -> Verdict | None:
        """There is something to tell while a message waits for DNS: on a busy machine the first may be gone by then."""
        lab.send("x@half.test")
        with suppress(AdminFault):
            return next((one for one in lab.why("half.test").verdicts if one.cause == "dns-aaaa-ignored"), None)
        return None

    verdict = wait_until(told, 60)
    assert verdict is not None
    assert "The name servers for mx.half.test answer an A record but not AAAA" in verdict.why
    assert "Mail goes out over IPv4 all the same; the fault is theirs." in verdict.why
    sink.wait(1, 30)


def test_an_expired_message_is_told_by_its_tries(lab: World) -> None:
    lab.host("gone.test", lab.stack.enter_context(Sink(on_rcpt=_full)).port)
    lab.start(
        queues={"message_expiration_timeout": 6, "transient_failure_retry_count": 1, "delay_notification_timeout": 5}
    )
    lab.send("x@gone.test")
    assert lab.server is not None
    lab.server.wait_for_event("FAIL", seconds=30)
    verdict = lab.verdict("x@gone.test", "mailbox-full")
    assert verdict.why.startswith("Given up after 0 h and ")
    assert "mailbox is full" in verdict.why
    assert 12 in verdict.rows
    assert verdict.state == "FAILED"


def _full(_: str) -> str:
    return "452 4.2.2 Mailbox full"


def test_all_attempts_count_and_not_the_last_error_alone(lab: World, tmp_path: Path) -> None:
    """Eleven sessions fail on the certificate and the last one is dropped: the certificate is the cause."""
    root = make("Root", authority=True)
    anchors = write(tmp_path / "pem", "root", root)
    context = serving(write(tmp_path / "pem", "other", make("mx.far.test", make("Other", authority=True))))
    sink = lab.stack.enter_context(Sink(context=context))
    settings = {"require_tls": True, "tls_auth_level": "CertificateValidation", "tls_ca_file": str(anchors)}
    lab.host("far.test", sink.port, **settings)
    lab.start()
    lab.send("x@far.test")
    while lab.verdict("far.test", "tls-chain-incomplete").sessions_seen < 4:
        pass
    sink.behaviour = Behaviour(banner="DROP")
    verdict = lab.verdict("far.test", "tls-chain-incomplete")
    while verdict.sessions_seen == verdict.sessions_agreeing:
        verdict = lab.verdict("far.test", "tls-chain-incomplete")
    assert verdict.sessions_agreeing >= 4
    assert "hangs-up" in [other.cause for other in verdict.also]
