# SPDX-License-Identifier: MIT
"""Each symptom of being refused at our own door, produced by real clients from addresses of their own, and its sentence."""

import base64
import datetime
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from bridgehead.admin.why.verdict import Verdict
from e2e.why_world import World
from support.certificates import trusting_nobody
from support.configuration import ANONYMOUS, CLIENT, EXTERNALLY_SECURED, base, changed, mailbox, receive_connector
from support.odd_certificates import make, with_old_tls_only, write
from support.population import RECIPIENTS
from support.ports import free_port, wait_until
from support.server import Server
from support.talk import Talk

LOOP = b"".join(
    b"Received: from x by %s; Mon, 23 Nov 2026 09:00:00 +0000\r\n" % (b"mx.contoso.test", b"far.adatum.test")[n % 2]
    for n in range(30)
)


class Door(World):
    """A server with connectors of all kinds; each test comes from its own address in 127.0.0.0/8."""

    def start(self, **changes: object) -> Server:
        settings = base(self.folder)
        root = make("Private Root", authority=True)
        write(self.folder, "root", root)
        pair = write(self.folder, "leaf", make("elsewhere.test", root))
        self.expires = time.time() + 8
        expired = write(self.folder, "expired", make("mx.contoso.test", root, ends=datetime.timedelta(seconds=8)))
        self.port = free_port()
        strict = {"tarpit_interval": 0, "auth_tarpit_interval": 0}
        default = receive_connector(
            "Default", self.port, **ANONYMOUS, max_message_size=70_000, max_header_size=65536, max_recipients_per_message=2,
            max_hop_count=20, tls_certificate_file=str(pair), tls_key_file=str(pair),
        )  # fmt: skip
        own_domain = {"principal": "Anonymous", "deny": ["ms-Exch-SMTP-Accept-Authoritative-Domain-Sender"]}
        default["extended_rights"] = [own_domain]
        settings["receive_connectors"] = [
            {**default, "remote_ip_ranges": ["127.0.0.0/9"], **strict},
            {**receive_connector("Printers", self.port, **EXTERNALLY_SECURED), "remote_ip_ranges": ["127.1.0.0/24"]},
            {**receive_connector("Clients", self.port, **CLIENT, max_logon_failures=2), "remote_ip_ranges": ["127.2.0.0/24"]},
            {**receive_connector("Expired", self.port, **ANONYMOUS, tls_certificate_file=str(expired),
                                 tls_key_file=str(expired)), "remote_ip_ranges": ["127.5.0.0/24"]},
            {**receive_connector("Strict TLS", self.port, **ANONYMOUS, require_tls=True), "remote_ip_ranges": ["127.3.0.0/24"]},
            {**receive_connector("Slow", self.port, **ANONYMOUS, message_rate_limit=1, max_inbound_connection=2,
                                 reject_reserved_top_level_recipient_domains=True, reject_single_label_recipient_domains=True),
             "max_inbound_connection_per_source": 1, "remote_ip_ranges": ["127.4.0.0/24"]},
        ]  # fmt: skip
        settings["receive_connectors"].append(
            {**receive_connector("Guarded", self.port, **ANONYMOUS, anti_spoofing_enabled=True),
             "remote_ip_ranges": ["127.6.0.0/24"]}
        )  # fmt: skip
        settings["receive_connectors"].append(
            {**receive_connector("Partners", self.port, auth_mechanism=["Tls"],
                                 permission_groups=["AnonymousUsers", "Partners"], tls_ca_file=str(self.folder / "root.pem"),
                                 tls_domain_capabilities=["partner.test:AcceptOorgProtocol"]),
             "remote_ip_ranges": ["127.7.0.0/24"]}
        )  # fmt: skip
        settings["devices"] = [
            {
                "name": "printer-3", "remote_ip_ranges": ["127.0.9.9"], "allowed_senders": ["scan@contoso.test"],
                "allowed_recipients": ["*@contoso.test"], "message_rate_limit": 2,
            }
        ]  # fmt: skip
        recipients = [*RECIPIENTS, mailbox("anna", "anna.keller@contoso.test")]
        self.server = Server(self.folder, changed(settings, changes), recipients)
        self.server.add_user("ann", "right", "ann@contoso.test")
        return self.server.start()

    def talk(self, source: str) -> Talk:
        return Talk(self.port, source=source)

    def say(self, source: str, *commands: str, content: bytes = b"", tls: bool = False) -> list[str]:
        """Say commands from an address; the last line of each answer."""
        answers = []
        with self.talk(source) as talk:
            talk.send(b"EHLO device.test\r\n")
            talk.read()
            if tls:
                talk.send(b"STARTTLS\r\n")
                talk.read()
                talk.start_tls()
                talk.send(b"EHLO device.test\r\n")
                talk.read()
            for command in commands:
                talk.send(command.encode() + b"\r\n")
                answers.append(str(talk.read()))
            if content:
                talk.send(content)
                answers.append(str(talk.read()))
        return answers

    def refusal(self, source: str, cause: str) -> Verdict:
        return self.verdict(source, cause, seconds=5)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    one = Door(tmp_path_factory.mktemp("door"))
    try:
        one.start()
        yield one
    finally:
        one.close()


MAIL = "MAIL FROM:<scan@fabrikam.test>"
BOB = "RCPT TO:<bob@contoso.test>"


def test_relay_denied_names_the_connector_that_would_have_allowed_it(door: Door) -> None:
    door.say("127.1.1.17", MAIL, "RCPT TO:<x@adatum.test>")
    verdict = door.refusal("127.1.1.17", "door-relay-denied")
    assert verdict.why.startswith('127.1.1.17 (device.test) fell to "Default" because "Printers" did not take it')
    assert "no remote range of it contains 127.1.1.17" in verdict.why
    assert verdict.do == 'add "127.1.1.17" to remote_ip_ranges of "Printers", then: bridgehead reload'
    assert verdict.state == "REFUSED"
    assert any("ms-Exch-SMTP-Accept-Any-Recipient" in line for line in verdict.proof)


def test_a_device_that_never_tried_to_log_on(door: Door) -> None:
    door.say("127.2.0.1", MAIL)
    verdict = door.refusal("127.2.0.1", "door-login-needed")
    assert '"Clients" needs a login' in verdict.why
    assert "it never tried one" in verdict.why


def test_a_wrong_password_which_is_kept_nowhere(door: Door) -> None:
    secret = base64.b64encode(b"\0ann\0canary-secret").decode()
    door.say("127.2.0.2", f"AUTH PLAIN {secret}", tls=True)
    verdict = door.refusal("127.2.0.2", "door-login-failed")
    assert "The login of 127.2.0.2 (device.test) fails" in verdict.why
    assert secret not in str(verdict)
    door.say("127.2.0.3", "AUTH PLAIN", secret, "AUTH PLAIN", secret, tls=True)
    assert secret not in str(door.why("127.2.0.3"))
    door.refusal("127.2.0.3", "door-too-many-logons")


def test_a_login_that_sends_as_somebody_else(door: Door) -> None:
    right = base64.b64encode(b"\0ann\0right").decode()
    door.say("127.2.0.4", f"AUTH PLAIN {right}", "MAIL FROM:<fax@contoso.test>", tls=True)
    verdict = door.refusal("127.2.0.4", "door-send-as-denied")
    assert "signs in as ann but sends as fax@contoso.test" in verdict.why


def test_a_login_whose_from_field_is_somebody_else(door: Door) -> None:
    """MAIL was its own: the sentence names what was refused."""
    right = base64.b64encode(b"\0ann\0right").decode()
    content = b"From: <fax@contoso.test>\r\n\r\nx\r\n.\r\n"
    door.say("127.2.0.5", f"AUTH PLAIN {right}", "MAIL FROM:<ann@contoso.test>", BOB, "DATA", content=content, tls=True)
    verdict = door.refusal("127.2.0.5", "door-send-as-denied")
    assert "signs in as ann but sends as From: <fax@contoso.test>" in verdict.why


def test_a_stranger_in_our_name_is_told_how_a_service_of_ours_may_send(door: Door) -> None:
    content = b"From: <bob@contoso.test>\r\n\r\nx\r\n.\r\n"
    door.say("127.6.0.1", MAIL, BOB, "DATA", content=content)
    verdict = door.refusal("127.6.0.1", "door-spoofing")
    assert "neither SPF nor DKIM vouches for it (From: bob@contoso.test; contoso.test is ours: SPF " in verdict.why
    assert "DKIM" in verdict.do
    assert "[[sender_exceptions]]" in verdict.do


def test_a_from_field_that_misleads(door: Door) -> None:
    content = b"From: <eve@fabrikam.test>; <bob@contoso.test>\r\n\r\nx\r\n.\r\n"
    door.say("127.6.0.2", MAIL, BOB, "DATA", content=content)
    verdict = door.refusal("127.6.0.2", "door-odd-author")
    assert "(From: <eve@fabrikam.test>; <bob@contoso.test>)" in verdict.why
    assert 'non_compliant_sender_policy = "Tag" on "Guarded"' in verdict.do


def test_what_a_device_may_not_is_a_setting_of_the_device(door: Door) -> None:
    """Its limits, senders and recipients are its own: the connector's settings change nothing."""
    door.say("127.0.9.9", "MAIL FROM:<bob@contoso.test>")
    verdict = door.refusal("127.0.9.9", "door-send-as-denied")
    assert 'is the device "printer-3" and sends as bob@contoso.test, which is none of its own senders' in verdict.why
    assert 'allowed_senders of the device "printer-3"' in verdict.do
    door.say("127.0.9.9", "MAIL FROM:<scan@contoso.test>", "RCPT TO:<x@adatum.test>")
    verdict = door.refusal("127.0.9.9", "door-device-recipient")
    assert "x@adatum.test is none of them" in verdict.why
    assert 'allowed_recipients of the device "printer-3"' in verdict.do
    door.say("127.0.9.9", "MAIL FROM:<scan@contoso.test>", "RSET", "MAIL FROM:<scan@contoso.test>")
    verdict = door.refusal("127.0.9.9", "door-rate-limited")
    assert 'message_rate_limit of the device "printer-3" is 2 (bridgehead.toml:' in verdict.why
    assert verdict.do.startswith('raise message_rate_limit (the device "printer-3", bridgehead.toml:')


def test_our_own_domain_from_outside(door: Door) -> None:
    door.say("127.0.1.1", "MAIL FROM:<bob@contoso.test>")
    assert "sends as one of our own domains" in door.refusal("127.0.1.1", "door-own-domain-from-outside").why


def test_tls_is_required(door: Door) -> None:
    door.say("127.3.0.1", MAIL)
    assert '"Strict TLS" takes mail over TLS only' in door.refusal("127.3.0.1", "door-must-starttls").why


def test_a_message_that_is_too_large_names_the_limit_and_where_it_is_set(door: Door) -> None:
    door.say("127.0.1.2", f"{MAIL} SIZE=36900000")
    verdict = door.refusal("127.0.1.2", "door-message-too-large")
    assert "36 900 000 bytes" in verdict.why
    assert "27.7 MB before base64" in verdict.why
    assert 'max_message_size of "Default" is 70 000 bytes (bridgehead.toml:' in verdict.why
    door.say("127.0.1.3", MAIL, BOB, "DATA", content=b"Subject: x\r\n\r\n" + b"y" * 90_000 + b"\r\n.\r\n")
    assert "of more than" in door.refusal("127.0.1.3", "door-message-too-large").why


def test_a_header_that_is_too_large_names_the_field(door: Door) -> None:
    door.say("127.0.1.4", MAIL, BOB, "DATA", content=b"X-DG-Ref: " + b"z" * 66_000 + b"\r\n\r\nx\r\n.\r\n")
    assert "x-dg-ref alone has 660" in door.refusal("127.0.1.4", "door-header-too-large").why


def test_too_many_recipients_are_no_error(door: Door) -> None:
    door.say("127.0.1.5", MAIL, BOB, "RCPT TO:<carol@contoso.test>", "RCPT TO:<dave@contoso.test>")
    verdict = door.refusal("127.0.1.5", "door-too-many-recipients")
    assert "more than 2 recipients" in verdict.why
    assert "not an error" in verdict.why
    assert verdict.owner == "nobody"


def test_addresses_that_mail_cannot_go_to(door: Door) -> None:
    door.say("127.0.1.6", "MAIL FROM:<scanner>")
    assert "says MAIL FROM:<scanner>" in door.refusal("127.0.1.6", "door-bad-address").why
    door.say("127.4.0.1", MAIL, "RCPT TO:<x@adatum.test>")
    assert "reserved" in door.refusal("127.4.0.1", "door-bad-address").why


def test_bare_line_feeds_with_their_place(door: Door) -> None:
    door.say("127.0.1.7", MAIL, BOB, "DATA", content=b"Subject: x\r\n\r\nhello\nthere\r\n.\r\n")
    verdict = door.refusal("127.0.1.7", "door-bare-line-feed")
    assert "ends lines with LF alone (at octet 19 of the content)" in verdict.why


def test_an_unknown_recipient_with_the_nearest_one(door: Door) -> None:
    door.say("127.0.1.8", MAIL, "RCPT TO:<ana.keller@contoso.test>")
    verdict = door.refusal("127.0.1.8", "door-recipient-unknown")
    assert "There is no ana.keller@contoso.test in the directory" in verdict.why
    assert "Nearest: anna.keller@contoso.test" in verdict.why
    assert "bridgehead recipient add ana.keller --address ana.keller@contoso.test" in verdict.do
    asked = door.why("ana.keller@contoso.test").verdicts
    assert asked[0].cause == "door-recipient-unknown"


def test_one_that_was_added_since_is_not_called_missing(door: Door) -> None:
    door.say("127.0.1.14", MAIL, "RCPT TO:<new.one@contoso.test>")
    door.say("127.0.1.15", MAIL, "RCPT TO:<`id`@contoso.test>")
    anna, new = mailbox("anna", "anna.keller@contoso.test"), mailbox("new", "new.one@contoso.test")
    door.server.set_recipients([*RECIPIENTS, anna, new])
    door.server.reload()
    verdict = door.refusal("127.0.1.14", "door-recipient-unknown")
    assert verdict.why == "There was no new.one@contoso.test in the directory then; now there is."
    assert "--address '`id`@contoso.test'" in door.refusal("127.0.1.15", "door-recipient-unknown").do


def test_a_loop_shows_the_circle(door: Door) -> None:
    door.say("127.0.1.9", MAIL, BOB, "DATA", content=LOOP + b"Subject: x\r\n\r\nx\r\n.\r\n")
    verdict = door.refusal("127.0.1.9", "door-loop")
    assert "mx.contoso.test < far.adatum.test < mx.contoso.test" in verdict.why
    assert "30 hops, 15 of them here" in verdict.why


def test_too_many_messages_a_minute(door: Door) -> None:
    door.say("127.4.0.2", MAIL, "RSET", MAIL)
    verdict = door.refusal("127.4.0.2", "door-rate-limited")
    assert 'message_rate_limit of "Slow" is 1 (bridgehead.toml:' in verdict.why
    assert verdict.do.startswith("raise message_rate_limit (bridgehead.toml:")


def test_too_many_connections(door: Door) -> None:
    with door.talk("127.4.0.3"):
        with socket.create_connection(("127.0.0.1", door.port), 5, ("127.4.0.3", 0)) as second:
            assert second.recv(512).startswith(b"421")
        verdict = door.refusal("127.4.0.3", "door-too-many-connections")
        assert "127.4.0.3 has 1 connections open and asks for one more" in verdict.why
        assert 'max_inbound_connection_per_source of "Slow" is 1 (bridgehead.toml:' in verdict.why
        with door.talk("127.4.0.4"):
            with socket.create_connection(("127.0.0.1", door.port), 5, ("127.4.0.5", 0)) as third:
                assert third.recv(512).startswith(b"421")
            assert 'All 2 connections of "Slow" are taken' in door.refusal("127.4.0.5", "door-too-many-connections").why


def test_a_client_that_no_connector_takes(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), 5, ("127.200.0.1", 0)) as client:
        assert client.recv(512).startswith(b"554")
    verdict = door.refusal("127.200.0.1", "door-no-connector")
    assert "No receive connector takes 127.200.0.1" in verdict.why


def test_a_device_with_old_tls(door: Door) -> None:
    _handshake(door, "127.0.2.1", with_old_tls_only(trusting_nobody()))
    assert "older than TLS 1.2" in door.refusal("127.0.2.1", "door-tls-too-old").why


def test_a_client_that_does_not_trust_our_certificate(door: Door) -> None:
    """Its alert tells; what the certificate file shows is told with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    _handshake(door, "127.0.2.2", context)
    verdict = door.refusal("127.0.2.2", "door-certificate-untrusted")
    assert "refuses our certificate" in verdict.why
    assert "the leaf" in verdict.why
    assert "mx.contoso.test" in verdict.why


def test_handshakes_that_fail_for_several_reasons_are_several_causes(door: Door) -> None:
    _handshake(door, "127.0.2.3", with_old_tls_only(trusting_nobody()))
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    strict.check_hostname = False
    strict.maximum_version = ssl.TLSVersion.TLSv1_2
    _handshake(door, "127.0.2.3", strict)
    assert "older than TLS 1.2" in door.refusal("127.0.2.3", "door-tls-too-old").why
    verdict = door.refusal("127.0.2.3", "door-certificate-untrusted")
    assert verdict.headline.startswith("127.0.2.3 was refused once")


def test_a_client_whose_own_certificate_is_a_strangers(door: Door) -> None:
    stranger = write(door.folder, "stranger", make("partner.test", make("Strangers' Root", authority=True)))
    context = trusting_nobody()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(stranger)
    _handshake(door, "127.7.0.1", context)
    verdict = door.refusal("127.7.0.1", "door-client-certificate")
    assert 'is not accepted on "Partners": unable to get local issuer certificate' in verdict.why
    assert 'tls_ca_file of "Partners"' in verdict.do


def _handshake(door: Door, source: str, context: ssl.SSLContext) -> None:
    with door.talk(source) as talk:
        talk.send(b"EHLO old.test\r\n")
        talk.read()
        talk.send(b"STARTTLS\r\n")
        talk.read()
        with pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(talk.socket, server_hostname="mx.contoso.test")
    wait_until(lambda: door.why(source).verdicts, 5)


def test_commands_that_are_none(door: Door) -> None:
    door.say("127.0.2.3", "hunter2-canary")
    verdict = door.refusal("127.0.2.3", "door-protocol-error")
    assert "does not keep to SMTP" in verdict.why
    assert "canary" not in str(verdict)


def test_a_client_that_sees_our_certificate_expired(door: Door) -> None:
    wait_until(lambda: time.time() > door.expires, 10)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(door.folder / "root.pem")
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    _handshake(door, "127.5.0.1", context)
    assert "it has expired" in door.refusal("127.5.0.1", "door-certificate-expired").why


def test_refusals_alike_are_counted_and_survive_a_restart(door: Door) -> None:
    for _ in range(5):
        door.say("127.0.3.1", MAIL, "RCPT TO:<x@adatum.test>")
    assert door.refusal("127.0.3.1", "door-relay-denied").sessions_agreeing == 5
    assert door.server is not None
    door.server.stop()
    connectors = [one for one in door.server.settings["receive_connectors"] if one["name"] != "Expired"]
    door.server.configure(changed(door.server.settings, {"receive_connectors": connectors}))
    door.server.start()
    assert door.refusal("127.0.3.1", "door-relay-denied").headline.startswith("127.0.3.1 was refused 5 times")
