# SPDX-License-Identifier: MIT
"""Symptoms that Postfix itself produces: as next hop that refuses for reasons of its own, and as a client that is refused
here and says so in its log and in its non-delivery reports."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.why_world import World, world
from support.odd_certificates import make, write
from support.ports import free_port, greets, wait_until
from support.postfix import Postfix

SERVICES: dict[str, tuple[str, ...]] = {
    # domain: the settings that make a Postfix refuse
    "relay.test": ("mynetworks=192.0.2.0/24", "smtpd_relay_restrictions=defer_unauth_destination"),
    "stranger.test": ("mynetworks=192.0.2.0/24", "smtpd_relay_restrictions=reject_unauth_destination"),
    "full.test": ("queue_minfree=9000000000000000",),
    "often.test": ("smtpd_client_message_rate_limit=1", "smtpd_client_event_limit_exceptions="),
    "nokey.test": ("smtpd_tls_security_level=may", "smtpd_tls_cert_file={leaf}", "smtpd_tls_key_file={other}"),
    "nocertificate.test": ("smtpd_tls_security_level=may", "smtpd_tls_cert_file=none"),
    "plain.test": (),
}
REFUSED: list[tuple[str, str, str, str]] = [
    # recipient, cause, a part of the sentence, state
    ("x@relay.test", "relay-denied", "does not relay for us", "STUCK"),
    ("x@stranger.test", "relay-denied", "does not relay for us", "FAILED"),
    ("x@full.test", "back-pressure", "short of disk space", "STUCK"),
    ("second@often.test", "rate-limited", "fewer messages", "STUCK"),
    ("x@nokey.test", "starttls-refused", "offers STARTTLS and then refuses it", "STUCK"),
    ("x@nocertificate.test", "tls-no-common-version", "cipher", "STUCK"),
    ("x@plain.test", "starttls-not-offered", "does not offer STARTTLS", "STUCK"),
    ("looped@postfix.test", "loop", "circle", "FAILED"),
    ("nobody@postfix.test", "recipient-unknown", "knows no such recipient", "FAILED"),
    ("kept@strict.test", "corrupt-content", "broken MIME", "FAILED"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One Postfix with a service for each way to refuse, and a message on its way to each."""
    for one in world(tmp_path_factory.mktemp("postfix")):
        postfix = Postfix(mailboxes=("kept@postfix.test", "looped@postfix.test"), settings="strict_7bit_headers = yes")
        pem = postfix.directory / "conf"
        files = {
            "leaf": write(pem, "leaf", make("mx.nokey.test")),
            "other": write(pem, "other", make("mx.other.test")),
        }
        ports = {domain: free_port() for domain in SERVICES}
        master = pem / "master.cf"
        for domain, settings in SERVICES.items():
            options = "".join(f"\n  -o {{{setting.format_map(files).replace('=', ' = ', 1)}}}" for setting in settings)
            master.write_text(f"{master.read_text()}127.0.0.1:{ports[domain]} inet n - n - - smtpd{options}\n")
        one.stack.enter_context(postfix)
        for port in ports.values():
            wait_until(lambda port=port: greets(port), 20, postfix.log)  # type: ignore[misc]
        for domain, port in ports.items():
            one.host(domain, port, require_tls=domain in ("nokey.test", "nocertificate.test", "plain.test"))
        one.smart_host("postfix.test", postfix.port)
        one.smart_host("strict.test", postfix.port)
        one.start()
        received = b"Received: from a.test by b.test; Mon, 23 Nov 2026 09:00:00 +0000\r\n"
        contents = {
            "looped@postfix.test": received * 52 + b"Subject: far\r\n\r\nx\r\n",
            "kept@strict.test": "Subject: Größe\r\n\r\nx\r\n".encode("latin-1"),
        }
        one.send("first@often.test")
        assert one.server is not None
        one.server.wait_for_event("SEND", recipient_address="first@often.test")
        for recipient, *_ in REFUSED:
            one.send(recipient, contents.get(recipient, b""))
        yield one


@pytest.mark.parametrize(("recipient", "cause", "part", "state"), REFUSED, ids=[one[0] for one in REFUSED])
def test_what_postfix_refuses_is_told(lab: World, recipient: str, cause: str, part: str, state: str) -> None:
    verdict = lab.verdict(recipient, cause)
    assert part in verdict.why
    assert verdict.state == state
    assert verdict.do


# --- Postfix as a client of ours -----------------------------------------------------------------------------------


def explained(*arguments: str) -> str:
    """What `bridgehead why` says with no server anywhere near."""
    command = [sys.executable, "-m", "bridgehead", "why", *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=30, cwd="/").stdout.decode()


def test_a_system_that_cannot_reach_us_says_so_in_its_log() -> None:
    port = free_port()
    with Postfix(relay_port=port) as postfix:
        postfix.submit("-f", "a@fabrikam.test", "bob@contoso.test", data=b"Subject: x\n\nx\n")
        line = postfix.wait_for_log(r"status=deferred \((.*)\)")[1]
    said = explained(line)
    assert "Nothing listens on that port" in said
    assert "bridgehead test smtp 127.0.0.1" in said


def test_a_system_that_cannot_resolve_our_name_says_so_in_its_log() -> None:
    with Postfix(settings="relayhost = [mx.contoso.invalid]:25\nsmtp_host_lookup = native") as postfix:
        postfix.submit("-f", "a@fabrikam.test", "bob@contoso.test", data=b"Subject: x\n\nx\n")
        line = postfix.wait_for_log(r"status=(?:deferred|bounced) \((.*)\)", 60)[1]
    said = explained(line)
    assert "could not be resolved" in said
    assert "the host: mx.contoso.invalid" in said


def test_a_report_that_postfix_wrote_is_explained(lab: World, tmp_path: Path) -> None:
    """The sender's own copy of the report, as it lies in the mailbox, without a server of ours."""
    assert lab.server is not None
    with Postfix(relay_port=lab.server.port("anonymous"), mailboxes=("ann@fabrikam.test",)) as postfix:
        postfix.submit("-f", "ann@fabrikam.test", "x@elsewhere.test", data=b"Subject: x\n\nx\n")
        [report] = postfix.wait_for_mail("ann@fabrikam.test")
    file = tmp_path / "report.eml"
    file.write_bytes(report)
    said = explained(str(file))
    assert "x@elsewhere.test" in said
    assert "does not relay for us" in said
    assert "550 5.7.1 Unable to relay" in said
