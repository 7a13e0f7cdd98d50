# SPDX-License-Identifier: MIT
"""Errors as they turn up, taken apart and explained by their words."""

import time

import pytest

from bridgehead.diagnosis.facts import AttemptFacts, Evidence, How, Phase
from bridgehead.diagnosis.replies import explain_replies, explain_text
from bridgehead.diagnosis.reply_rules import REPLY_RULES
from bridgehead.diagnosis.reply_text import looks_like_error, may_be_error, read_error, read_errors
from bridgehead.mail.limits import EXPLAINED_TEXT

LED = (
    "[{LED=450 4.4.317 Cannot connect to remote server [Message=451 5.7.3 STARTTLS is required to send mail] "
    "[LastAttemptedServerName=mail.contoso.com] [LastAttemptedIP=198.51.100.4:25] [DB5EUR01FT030.eop-EUR01.prod]};"
    "{MSG=};{FQDN=mail.contoso.com};{IP=198.51.100.4};{LRT=11/21/2026 9:12:00 AM}]"
)

PASTED = {
    # what people paste → its cause
    LED: "cloud-starttls-required",
    "451 4.4.0 Primary target IP address responded with: \"421 4.2.1 Unable to connect.\" Attempted failover to alternate "
    "host, but that did not succeed.": "connection-timed-out",
    '451 4.4.0 Primary target IP address responded with: "550 5.7.64 TenantAttribution; Relay Access Denied"':
        "tenant-attribution",
    "450 4.4.312 DNS query failed [Message=NonExistentDomain]": "cloud-dns-failed",
    "450 4.4.315 Connection timed out [Message=Socket error code 10060]": "cloud-connection-timed-out",
    "450 4.4.316 Connection refused [Message=Socket error code 10061]": "cloud-connection-refused",
    "450 4.4.318 Connection was closed abruptly": "cloud-connection-dropped",
    "450 4.7.320 Certificate validation failed [Message=SubjectMismatch]": "cloud-certificate-mismatch",
    "450 4.4.317 Cannot connect to remote server [Message=Expired]": "cloud-certificate-expired",
    "450 4.4.317 [Message=UntrustedRoot]": "cloud-untrusted-root",
    "550 5.4.317 Message expired, cannot connect to remote server [Message=451 5.7.3 STARTTLS is required to send mail] "
    "[LastAttemptedServerName=mail.contoso.com] [LastAttemptedIP=203.0.113.9:25]": "cloud-starttls-required",
    "554 5.7.1 <ann@contoso.com>: Sender address rejected: Access denied": "refused-by-policy",
    "554 5.7.1 <bob@contoso.com>: Recipient address rejected: Access denied": "refused-by-policy",
    "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)": "recipient-unknown",
    "450 4.1.8 <ann@contoso>: Sender address rejected: Domain not found": "bad-sender-address",
    "421 4.4.1 TLS negotiation failed with error NoCredentials": "no-credentials",
    "421 4.4.1 TLS negotiation failed with error UnknownCredentials": "unknown-credentials",
    "454 4.7.5 The certificate specified in TlsCertificateName of the SendConnector could not be found":
        "certificate-name-not-found",
    "550 5.7.323 tlsa-invalid: The domain failed DANE validation": "dane-failed",
    "451 4.4.0 DNS query failed. The error was: DNS query failed with error ErrorTimeout": "dns-failed",
    "550 5.4.4 SMTPSEND.DNS.NonExistentDomain; nonexistent domain": "domain-does-not-exist",
    "550 4.4.7 QUEUE.Expired; message expired": "expired",
    "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.": "smtp-auth-disabled",
    "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy":
        "security-defaults",
    "550 5.7.60 SMTP; Client does not have permissions to send as this sender": "send-as-denied",
    "530 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM": "not-authenticated",
    "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain": "relay-denied",
    "451 4.7.0 Temporary server error. Please try again later. PRX4": "front-end-proxy",
    "421 4.3.2 Service not available": "service-not-available",
    "452 4.3.1 Insufficient system resources": "back-pressure",
    "421 4.4.2 Message submission rate for this client has exceeded the configured limit": "rate-limited",
    "550 5.7.68 TenantInboundAttribution; Direct Send not allowed for this organization": "direct-send-refused",
    "550 5.7.30 Basic authentication is not supported for Client Submission.": "basic-authentication-retired",
    "550 5.7.30 REQUIRETLS was asked for by the sender, and mx.fabrikam.com does not offer it": "requiretls-refused",
    "REQUIRETLS: neither DNSSEC nor MTA-STS vouches that mx.a.test is a mail host of b.test": "requiretls-refused",
    "550 5.7.230 Connecting Exchange server version is out-of-date": "out-of-date-server",
    "432 4.3.2 Concurrent connections limit exceeded": "recipient-thread-limit",
    "451 4.7.652 The mail server [192.0.2.1] has exceeded the maximum number of connections. (S3115)": "reputation-throttled",
    "550 5.7.606 Access denied, banned sending IP [192.0.2.8]": "address-banned",
    "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients": "sender-restricted",
    "550 5.2.254 too many repeated errors for this account": "continuous-errors",
    "550 5.7.124 RESOLVER.RST.SenderNotAuthenticatedForGroup": "group-internal-only",
    "550 5.7.367 Remote server returned not permitted to forward": "forwarding-barred",
    "554 5.6.0 STOREDRV.Deliver; Corrupt message content": "corrupt-content",
    "554 5.4.14 Hop count exceeded - possible mail loop ATTR34": "loop",
    "554 5.3.0 Too many related errors": "related-errors",
    "550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal": "bare-line-feed",
    "552 5.3.4 Header size exceeds fixed maximum size": "header-too-large",
    "552 5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient": "too-large",
    "452 4.5.3 Too many recipients": "too-many-recipients",
    "550 5.1.20 Multiple From addresses are not allowed": "sender-not-rfc",
    "501 5.1.7 Invalid address": "bad-sender-address",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup": "recipient-unknown",
    "550-5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail requires all senders to authenticate "
    "with either SPF or DKIM.": "dmarc",
    "550-5.7.25 The IP address sending this message does not have a PTR record setup": "no-reverse-name",
    "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.": "reputation-throttled",
    "550-5.1.1 The email account that you tried to reach does not exist. Please try double-checking": "recipient-unknown",
    "host mx.fabrikam.com[203.0.113.9] said: 450 4.2.0 <ann@fabrikam.com>: Recipient address rejected: Greylisted "
    "(in reply to RCPT TO command)": "greylisted",
    "host mx.fabrikam.com[203.0.113.9] said: 554 5.7.1 Service unavailable; Client host [192.0.2.8] blocked using "
    "zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.8": "block-list",
    "connect to mx.fabrikam.com[203.0.113.9]:25: Connection timed out": "connection-timed-out",
    "connect to mx.fabrikam.com[203.0.113.9]:25: Connection refused": "connection-refused",
    "Host or domain name not found. Name service error for name=gmial.com type=MX: Host not found": "domain-does-not-exist",
    "lost connection with mx.fabrikam.com[203.0.113.9] while sending end of data": "connection-dropped",
    "550 relay not permitted": "relay-denied",
    "cannot listen on 0.0.0.0:25: Address already in use": "port-in-use",
    "550 5.7.23 The message was rejected because of Sender Policy Framework violation -> 550 5.7.23 SPF": "spf",
}  # fmt: skip


@pytest.mark.parametrize("text", PASTED, ids=lambda text: text[:50])
def test_what_people_paste_is_recognised(text: str) -> None:
    assert looks_like_error(text) or may_be_error(text)
    cause = explain_text(read_error(text), Evidence(now=0.0))
    assert cause.id == PASTED[text], cause.finding.sentence
    assert "{" not in cause.finding.sentence + cause.finding.do
    assert not cause.finding.sentence.startswith("the ")
    assert cause.finding.do


def test_led_is_taken_apart() -> None:
    text = read_error(LED)
    assert (text.code, text.status) == (450, "4.4.317")
    assert text.host == "mail.contoso.com"
    assert text.address == "198.51.100.4"
    assert text.last_retry == "11/21/2026 9:12:00 AM"
    assert len(read_errors(f"first {LED} and then {LED}")) == 2


def test_an_answer_is_unwrapped_however_deep() -> None:
    inner = "550 5.7.1 Unable to relay"
    wrapped = f'451 4.4.0 Primary target IP address responded with: "host a.test[192.0.2.1] said: {inner}"'
    text = read_error(wrapped)
    assert (text.code, text.status, text.host, text.address) == (550, "5.7.1", "a.test", "192.0.2.1")
    assert text.text == "Unable to relay"
    assert text.wrapped_in


def test_the_address_a_block_list_names_is_told() -> None:
    cause = explain_text(
        read_error("554 5.7.1 Client host [192.0.2.8] blocked using zen.spamhaus.org"), Evidence(now=0.0)
    )
    assert "192.0.2.8" in cause.finding.sentence
    assert "spamhaus" in cause.finding.sentence.lower()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("fabrikam.com", False), ("To Internet/fabrikam.com", False), ("ann@fabrikam.com", False), ("4711", False),
        ("10.2.0.17", False), ("2001:db8::1", False), ("<1@a.test>", False), ("Unreachable", False),
        ("550", True), ("5.7.1", True), ("550 5.7.1", True), ("5.7.1 no", True), ("connection refused by peer", False),
    ],
)  # fmt: skip
def test_errors_are_told_from_names(text: str, error: bool) -> None:
    assert looks_like_error(text) is error


def test_words_that_say_nothing_get_a_plain_answer() -> None:
    cause = explain_text(read_error("it does not work"), Evidence(now=0.0))
    assert cause.id == "unknown-reply"
    assert "no reply or status code" in cause.finding.sentence
    known = explain_text(read_error("450 4.9.9 xyzzy"), Evidence(now=0.0))
    assert "asks to try again later" in known.finding.sentence


@pytest.mark.parametrize("filler", ["5.7.1 ", "LED=", "[", "host a[", "4", "said: ", "{LED=", "(", "550-"])
def test_hostile_text_takes_no_time(filler: str) -> None:
    """Every pattern is linear in practice: the longest text that is taken is explained at once."""
    text = (filler * EXPLAINED_TEXT)[:EXPLAINED_TEXT]
    began = time.process_time()
    for one in read_errors(text):
        explain_text(one, Evidence(now=0.0))
    assert time.process_time() - began < 2.0


def test_ids_of_meanings_are_unique_and_their_words_are_filled() -> None:
    ids = [rule.id for rule in REPLY_RULES]
    assert len(ids) == len(set(ids))


def test_the_host_that_microsoft_365_tried_last_is_named_without_led_too() -> None:
    text = read_error(
        "550 5.4.317 Message expired, cannot connect to remote server [Message=451 5.7.3 STARTTLS is required] "
        "[LastAttemptedServerName=mail.contoso.com] [LastAttemptedIP=203.0.113.9:25]"
    )
    assert (text.host, text.address, text.code, text.status) == ("mail.contoso.com", "203.0.113.9", 550, "5.4.317")


def test_a_reply_is_quoted_as_it_came_where_code_and_status_differ() -> None:
    one = AttemptFacts(
        queue="q", phase=Phase.RCPT, how=How.REPLY, time=1.0, code=451, status="4.0.0", text="5.7.64 TenantAttribution",
        error="451 5.7.64 TenantAttribution", host="mx",
    )  # fmt: skip
    [cause] = explain_replies(Evidence(now=2.0, attempts=[one]))
    assert cause.id == "tenant-attribution"
    assert cause.finding.proof[0].startswith("mx: 451 5.7.64 TenantAttribution (")
