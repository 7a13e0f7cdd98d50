# SPDX-License-Identifier: MIT
"""`why` at the command line: errors and reports without a server, verdicts as people read them, bad input."""

from pathlib import Path

import pytest

from bridgehead.diagnosis.facts import AttemptFacts, How, Phase
from bridgehead.queues.store import MessageStatus, QueueState, QueueStatus
from support.cli import Commands
from support.running_server import CONTOSO, NOW, running

NDR = b"""From: postmaster@fabrikam.com
To: ann@contoso.com
Subject: Undeliverable: Report
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

Your message could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.contoso.com

Final-Recipient: rfc822; bob@fabrikam.com
Action: failed
Status: 5.7.64
Remote-MTA: dns; fabrikam-com.mail.protection.outlook.com
Diagnostic-Code: smtp;550 5.7.64 TenantAttribution; Relay Access Denied SMTP

Final-Recipient: rfc822; eve@fabrikam.com
Action: delayed
Status: 4.4.7
Diagnostic-Code: smtp;400 4.4.7 Message delayed; last error: 450 4.4.317 [{LED=450 4.4.317 Cannot connect [Message=UntrustedRoot]};{MSG=UntrustedRoot};{FQDN=mail.contoso.com};{IP=198.51.100.4};{LRT=now}]

--b--
"""
POSTFIX = b"""From: MAILER-DAEMON@mx.fabrikam.com
Subject: Undelivered Mail Returned to Sender
Content-Type: text/plain

This is the mail system at host mx.fabrikam.com.

<bob@adatum.com>: host mx.adatum.com[203.0.113.9] said: 554 5.7.1 Service unavailable; Client host [192.0.2.8] blocked using zen.spamhaus.org (in reply to RCPT TO command)
"""


@pytest.fixture
def alone(tmp_path: Path) -> Commands:
    """No server runs."""
    return Commands(tmp_path)


def test_a_pasted_reply_is_explained_without_a_server(alone: Commands) -> None:
    said = alone("why", "550 5.7.64 TenantAttribution; Relay Access Denied").output
    assert said.startswith("EXPLAINED")
    assert "inbound connector of the tenant" in " ".join(said.split())
    (verdict,) = alone.json("why", "550", "5.7.64", "TenantAttribution;", "Relay")["verdicts"]
    assert verdict["cause"] == "tenant-attribution"
    assert verdict["rows"] == [43]


def test_a_pasted_led_string_is_no_file_name(alone: Commands) -> None:
    """It is longer than any, which the system says with an error of its own."""
    led = (
        "[{LED=450 4.4.317 Cannot connect to remote server [Message=451 5.7.3 STARTTLS is required to send mail] "
        "[LastAttemptedServerName=mail.contoso.com] [LastAttemptedIP=198.51.100.4:25] [DB5EUR01FT030.eop-EUR01.prod]};"
        "{MSG=};{FQDN=mail.contoso.com};{IP=198.51.100.4};{LRT=11/21/2026 9:12:00 AM}]"
    )
    assert len(led) > 255
    said = " ".join(alone("why", led).output.split())
    assert "TLS is required on one side and the other offers none" in said
    assert "the host: mail.contoso.com [198.51.100.4]" in said
    assert "last tried: 11/21/2026 9:12:00 AM" in said


def test_a_report_tells_each_recipient(alone: Commands, tmp_path: Path) -> None:
    file = tmp_path / "ndr.eml"
    file.write_bytes(NDR)
    answer = alone.json("why", str(file))
    assert answer["kind"] == "report"
    found = {one["about"]: one for one in answer["verdicts"]}
    assert found["bob@fabrikam.com"]["cause"] == "tenant-attribution"
    assert "fabrikam-com.mail.protection.outlook.com" in found["bob@fabrikam.com"]["why"]
    assert found["eve@fabrikam.com"]["cause"] == "cloud-untrusted-root"
    assert "tries again by itself" in found["eve@fabrikam.com"]["otherwise"]


def test_a_report_in_plain_words(alone: Commands, tmp_path: Path) -> None:
    file = tmp_path / "bounce.eml"
    file.write_bytes(POSTFIX)
    (verdict,) = alone.json("why", str(file))["verdicts"]
    assert verdict["cause"] == "block-list"
    assert "192.0.2.8" in verdict["why"]
    assert "mx.adatum.com [203.0.113.9]" in verdict["why"]


def test_a_report_from_standard_input(alone: Commands) -> None:
    answer = alone.json("why", "-", given=NDR.decode())
    assert [one["cause"] for one in answer["verdicts"]] == ["tenant-attribution", "cloud-untrusted-root"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "neither a delivery report nor an error"),
        (b"\x00\x01binary", "no text and no message"),
        (b"Subject: hello\r\n\r\nHow are you?\r\n", "neither a delivery report nor an error"),
    ],
)
def test_a_file_that_holds_nothing_to_explain(alone: Commands, tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "bad.eml"
    file.write_bytes(content)
    said = alone("why", str(file), code=1).output
    assert words in " ".join(said.split())


def test_a_file_that_is_not_there(alone: Commands) -> None:
    assert "there is no file nowhere.eml" in alone("why", "nowhere.eml", code=1).output


def test_names_need_a_server_and_words_do_not(alone: Commands) -> None:
    assert alone("why", "contoso.com", code=3).exit_code == 3
    assert "block list" in alone("why", "client host blocked using spamhaus").output


def test_a_verdict_as_people_read_it(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket) as server:
        for number in range(3):
            server.put(f"x{number}@contoso.com", status=MessageStatus.READY)
        state = QueueState(
            queue=server.put("y@contoso.com").queue, next_hop=CONTOSO, status=QueueStatus.RETRY, next_retry=NOW + 180,
            retry_count=12, last_error="mx1.contoso.com: the connection was lost",
        )  # fmt: skip
        server.set_state(state)
        for number in range(12):
            server.server.diagnostics.flights.failed(
                AttemptFacts(
                    queue=str(CONTOSO), phase=Phase.EHLO, how=How.REPLY, time=NOW - 600 + number, host="mx1.contoso.com",
                    address="203.0.113.9", code=450, status="4.7.1", text="Helo command rejected: Host not found",
                    session="08DE", transcript=("> EHLO mx.contoso.com", "< 450 4.7.1 Helo command rejected"),
                )
            )  # fmt: skip
        said = " ".join(commands("why", "contoso.com", "--transcript", code=1).output.split())
        answer = commands.json("why", "contoso.com", code=1)
    assert said.startswith("STUCK 4 messages to contoso.com, oldest ")
    assert "next try in 3 min" in said
    assert "WHY mx1.contoso.com [203.0.113.9] does not accept our name mx.contoso.com in EHLO" in said
    assert 'OWNER you (send connector "Internet" (bridgehead.toml:41)) CERTAIN (seen in 12 of 12 sessions)' in said
    assert "DO give mx.contoso.com an address record" in said
    assert "ELSE senders are told of the delay from" in said
    assert "PROOF session 08DE: mx1.contoso.com [203.0.113.9]: 450 4.7.1 Helo command rejected" in said
    assert "< 450 4.7.1 Helo command rejected" in said
    (verdict,) = answer["verdicts"]
    assert verdict["messages"] == 4
    assert verdict["transcripts"] == []
    assert verdict["since"] == "2027-01-15T07:50:00Z"


def test_what_is_not_known_says_what_may_be_asked(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    with running(commands.control_socket):
        said = commands("why", "xyzzy", code=1).output
        assert '"xyzzy" is nothing that is known here' in said
        assert "10.9.9.9 was refused nothing lately" in commands("why", "10.9.9.9", code=1).output
        assert "Every queue is empty" in commands("why").output
