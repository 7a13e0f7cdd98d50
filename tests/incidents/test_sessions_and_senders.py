# SPDX-License-Identifier: MIT
"""Incidents of peers repeated on the running server: session state (D3), relaying by ambiguity (D6), fields that are
forged (D7), other tenants behind the same addresses (D14), our own name from outside (D15), old ways of logging on
(D16), secrets (D17)."""

import base64
import smtplib
import ssl
import subprocess

import pytest

from support.certificates import Authority
from support.server import Server
from support.sink import Sink
from support.talk import Closed, Talk

CONTENT = b"From: sender@fabrikam.test\r\nTo: bob@contoso.test\r\nSubject: x\r\n\r\nhello\r\n"


# --- D3 ----------------------------------------------------------------------------------------------------------------

ENDS = ["VRFY bob", "VRFY bob\u00fc", "RSET", "EHLO again.test", "HELO again.test"]


def test_d3_after_a_refused_end_of_data_no_recipient_survives(incident_server: Server) -> None:
    with Talk(incident_server.port("internet")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<sender@fabrikam.test>", "250 *")
        talk.expect("RCPT TO:<bob@contoso.test>", "250 *")
        talk.expect("DATA", "354 *")
        talk.send(b"Received: from a by b; x\r\n" * 500 + CONTENT + b".\r\n")
        assert talk.read().code.startswith("5")
        for command in ("DATA", "BDAT 0 LAST", "RCPT TO:<bob@contoso.test>"):
            talk.expect(command, "503 *")


def test_d3_after_a_refused_chunk_no_recipient_survives(incident_server: Server) -> None:
    with Talk(incident_server.port("internet")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<sender@fabrikam.test>", "250 *")
        talk.send(b"BDAT 5 LAST\r\nhello")
        assert talk.read().code == "503"
        talk.expect("DATA", "503 *")
        talk.expect("RSET", "250 *")
        talk.expect("RCPT TO:<bob@contoso.test>", "503 *")


@pytest.mark.parametrize("command", ENDS)
def test_d3_what_ends_a_transaction_ends_all_of_it(command: str, incident_server: Server) -> None:
    with Talk(incident_server.port("internet")) as talk:
        talk.hello()
        talk.expect("MAIL FROM:<sender@fabrikam.test>", "250 *")
        talk.expect("RCPT TO:<bob@contoso.test>", "250 *")
        talk.send(command.encode() + b"\r\n")
        talk.read()
        mail = talk.ask("MAIL FROM:<other@fabrikam.test>").code
        data = talk.ask("DATA").code
        # either the transaction is whole, or it is gone whole: never recipients without their sender
        assert (mail, data) in (("503", "354"), ("250", "503")), (mail, data)


# --- D6 ----------------------------------------------------------------------------------------------------------------


def proxied(server: Server, header: bytes) -> Talk:
    return Talk(server.port("behind-proxy"), preamble=header)


def may_relay(talk: Talk) -> bool:
    talk.hello()
    talk.expect("MAIL FROM:<sender@fabrikam.test>", "250 *")
    return talk.ask("RCPT TO:<anybody@elsewhere.test>").code == "250"


def test_d6_rights_follow_the_address_behind_the_proxy(incident_server: Server) -> None:
    for header, allowed in (
        (b"PROXY TCP4 10.1.2.3 192.0.2.1 4711 25\r\n", True),
        (b"PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\r\n", False),
        (b"PROXY TCP6 ::ffff:10.1.2.3 ::1 4711 25\r\n", True),
        (b"PROXY TCP6 ::ffff:198.51.100.9 ::1 4711 25\r\n", False),
    ):
        with proxied(incident_server, header) as talk:
            assert may_relay(talk) is allowed, header


def test_d6_a_second_header_and_forwarded_commands_change_nothing(incident_server: Server) -> None:
    with proxied(incident_server, b"PROXY TCP4 198.51.100.9 192.0.2.1 4711 25\r\n") as talk:
        for claim in (
            "PROXY TCP4 10.1.2.3 192.0.2.1 4711 25", "XCLIENT ADDR=10.1.2.3 NAME=inside", "XFORWARD ADDR=10.1.2.3",
        ):  # fmt: skip
            assert talk.ask(claim).code == "500"
        assert not may_relay(talk)


def test_d6_a_name_in_ehlo_or_the_machine_itself_earns_nothing(incident_server: Server) -> None:
    for name in ("mx.contoso.test", "localhost", "[127.0.0.1]", "[10.1.2.3]"):
        with Talk(incident_server.port("internet")) as talk:
            talk.expect(f"EHLO {name}", "250 *")
            talk.expect("MAIL FROM:<alice@fabrikam.test>", "250 *")
            talk.expect("RCPT TO:<anybody@elsewhere.test>", "550 *")
            talk.expect("RCPT TO:<anybody%elsewhere.test@contoso.test>", "5?? *")
            talk.expect('RCPT TO:<"anybody@elsewhere.test"@contoso.test>', "5?? *")
            talk.expect("RCPT TO:<@contoso.test:anybody@elsewhere.test>", "5?? *")


# --- D7 ----------------------------------------------------------------------------------------------------------------

FORGED = [
    b"X-MS-Exchange-Organization-AuthAs: Internal\r\n",
    b"x-ms-exchange-organization-authas : Internal\r\n",
    b"X-MS-Exchange-Forest-RulesExecuted: yes\r\n",
    b" X-MS-Exchange-Organization-SCL: -1\r\n",
]


def test_d7_fields_that_only_we_may_write_do_not_come_in(incident_server: Server, incident_sink: Sink) -> None:
    # by the connector that relays, so that the sink sees what is left
    for number, field in enumerate(FORGED):
        marker = b"X-Marker: forged-%d\r\n" % number
        with proxied(incident_server, b"PROXY TCP4 10.1.2.3 192.0.2.1 4711 25\r\n") as talk:
            talk.hello()
            talk.message("sender@fabrikam.test", "somebody@elsewhere.test", field + marker + CONTENT)
        got = incident_sink.wait_for(lambda one, marker=marker: marker.strip() in one.data)
        assert b"exchange-organization" not in got.data.lower(), field
        assert b"exchange-forest" not in got.data.lower(), field


def test_d7_addresses_cannot_write_fields_or_commands(incident_server: Server) -> None:
    for path in ("<a@b.test\rRCPT TO:<x@y>>", "<a@b.test\0>", '<"a\nb"@b.test>', "<a@b.test> X=\r"):
        with Talk(incident_server.port("internet")) as talk:
            talk.hello()
            try:
                assert talk.ask(f"MAIL FROM:{path}").code.startswith("5"), path
            except Closed:
                pass


# --- D14, D15 ------------------------------------------------------------------------------------------------------------


def as_tenant(server: Server, authority: Authority, name: str) -> smtplib.SMTP:
    client = server.smtp("cloud")
    context = ssl.create_default_context(cafile=str(authority.root))
    context.check_hostname = context.verify_mode = False  # type: ignore[assignment]
    if name:
        own = authority.issue(name)
        context.load_cert_chain(own.certificate, own.key)
    client.starttls(context=context)
    client.ehlo()
    return client


def test_d14_another_tenant_behind_the_same_address_is_a_stranger(
    incident_server: Server, incident_authority: Authority
) -> None:
    """Whoever comes from the cloud's addresses is nobody until the certificate says which tenant."""
    message = b"X-MS-Exchange-Organization-AuthAs: Internal\r\n" + CONTENT
    for name, inside in (("tenant-a.test", True), ("tenant-b.test", False), ("", False)):
        path = f"from-{name or 'nobody'}@fabrikam.test"
        with as_tenant(incident_server, incident_authority, name) as client:
            client.sendmail(path, "bob@contoso.test", message)
        line = incident_server.wait_for_event("RECEIVE", return_path=path)
        assert line["directionality"] == ("Originating" if inside else "Incoming"), name


def test_d14_a_login_sends_as_its_own_addresses_only(incident_server: Server) -> None:
    with smtplib.SMTP_SSL(
        "127.0.0.1", incident_server.port("implicit"), context=ssl._create_unverified_context()
    ) as client:
        client.login("alice", "correct horse")
        assert client.mail("bob@contoso.test")[0] == 550
        client.rset()
        assert client.mail("ceo@fabrikam.test")[0] == 550


def test_d15_the_audit_says_who_may_write_in_our_name(incident_server: Server) -> None:
    done = subprocess.run(
        [*incident_server.launcher, "-c", str(incident_server.config), "audit"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "contoso.test" in done.stdout or "our" in done.stdout.lower(), done.stdout + done.stderr


# --- D16 -----------------------------------------------------------------------------------------------------------------


def test_d16_ntlm_and_unknown_mechanisms_are_not_spoken(incident_server: Server) -> None:
    with Talk(incident_server.port("implicit"), tls=True) as talk:
        offered = talk.hello()
        assert not offered.has("AUTH*NTLM*")
        negotiate = base64.b64encode(b"NTLMSSP\0\x01\0\0\0" + bytes(24)).decode()
        for mechanism in ("NTLM", "ntlm", "GSS-SPNEGO", "CRAM-MD5", "DIGEST-MD5", "ANONYMOUS", "X" * 20, "-", "A B"):
            reply = talk.ask(f"AUTH {mechanism} {negotiate}")
            assert reply.code in ("504", "501", "535", "500"), (mechanism, str(reply))


def test_d16_an_unknown_name_gets_the_answer_of_a_wrong_password(incident_server: Server) -> None:
    replies = set()
    for name in ("alice", "nobody-of-this-name"):
        with Talk(incident_server.port("implicit"), tls=True) as talk:
            talk.hello()
            secret = base64.b64encode(f"\0{name}\0wrong".encode()).decode()
            replies.add(str(talk.ask(f"AUTH PLAIN {secret}")))
            client_first = base64.b64encode(f"n,,n={name},r=abcdefgh".encode()).decode()
            challenge = talk.ask(f"AUTH SCRAM-SHA-256 {client_first}")
            assert challenge.code == "334", name
    assert len(replies) == 1, replies


def test_d16_a_claimed_channel_binding_that_is_not_this_channels_is_refused(incident_server: Server) -> None:
    with Talk(incident_server.port("implicit"), tls=True) as talk:
        talk.hello()
        first = base64.b64encode(b"p=tls-exporter,,n=alice,r=abcdefgh").decode()
        reply = talk.ask(f"AUTH SCRAM-SHA-256-PLUS {first}")
        if reply.code == "334":
            nonce = base64.b64decode(reply.lines[0]).decode().split(",")[0]
            binding = base64.b64encode(b"p=tls-exporter,," + b"another channel").decode()
            final = base64.b64encode(f"c={binding},{nonce},p={base64.b64encode(bytes(32)).decode()}".encode())
            reply = talk.ask(final.decode())
        assert reply.code in ("535", "504"), str(reply)


# --- D17 -----------------------------------------------------------------------------------------------------------------


def test_d17_passwords_are_in_no_file_of_the_server(incident_server: Server) -> None:
    canary = b"canary-of-a-password"
    with Talk(incident_server.port("implicit"), tls=True) as talk:
        talk.hello()
        talk.ask("AUTH PLAIN " + base64.b64encode(b"\0alice\0" + canary).decode())
        talk.ask("AUTH LOGIN")
        talk.ask(base64.b64encode(b"alice").decode())
        talk.ask(base64.b64encode(canary).decode())
    with incident_server.smtp("internet") as client:
        client.noop()
    for shown in (canary, base64.b64encode(canary), base64.b64encode(b"\0alice\0" + canary)):
        for file in incident_server.directory.rglob("*"):
            if file.is_file():
                assert shown not in file.read_bytes(), file
