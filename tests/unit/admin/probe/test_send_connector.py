# SPDX-License-Identifier: MIT
"""The test of a send connector against real servers that do wrong, each in one way."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridgehead.admin.connector.connector_tests import run_test
from bridgehead.admin.faults import AdminFault
from bridgehead.admin.probe import smtp_judgements
from bridgehead.admin.probe.ports import DOMAIN, SEND_CONNECTOR, SMTP, ProbeRequest
from bridgehead.admin.probe.steps import ProbeResult, Verdict
from bridgehead.routing.settings import SendConnector, SmartHostAuthMechanism, TlsAuthLevel
from support.certificates import Authority, intermediate
from support.dns_server import ScriptedDns
from support.ports import free_port
from support.probe_site import sentences, site, walk
from support.sink import Sink


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def connector(port: int, **settings: Any) -> SendConnector:
    return SendConnector(name="Out", address_spaces=["fabrikam.test"], smart_hosts=[f"127.0.0.1:{port}"], **settings)


async def run(folder: Path, sending: SendConnector, **options: Any) -> ProbeResult:
    request = ProbeRequest(kind=SEND_CONNECTOR, name="Out", **options)
    return await run_test(site(folder, send_connectors=[sending]), request)


def texts(result: ProbeResult) -> list[str]:
    return [step.sentence for step in walk(result.tree)]


async def test_all_is_well_and_no_data_was_said(tmp_path: Path, authority: Authority) -> None:
    with Sink(context=authority.issue("mail.fabrikam.test", days=90).server_context()) as sink:
        sending = connector(
            sink.port, require_tls=True, tls_auth_level=TlsAuthLevel.DOMAIN_VALIDATION,
            tls_domain="mail.fabrikam.test", tls_ca_file=str(authority.root), source_ip_addresses=["127.0.0.5"],
        )  # fmt: skip
        result = await run(tmp_path, sending)
        verbs = [line.split()[0] for _, line in sink.commands]
    assert result.verdict is Verdict.PASS, texts(result)
    assert result.cause == ""
    assert result.by == "this command"
    assert "DATA" not in verbs
    assert "BDAT" not in verbs
    assert verbs[-4:] == ["MAIL", "RCPT", "RSET", "QUIT"]
    assert sink.commands[-3][1] == "RCPT TO:<postmaster@fabrikam.test>"
    assert any("from 127.0.0.5:" in one for one in texts(result))
    details = [line for step in walk(result.tree) for line in step.details]
    assert any("certificate 1 as sent: mail.fabrikam.test, for mail.fabrikam.test" in line for line in details)


async def test_a_port_that_refuses(tmp_path: Path) -> None:
    result = await run(tmp_path, connector(free_port()))
    assert result.verdict is Verdict.FAILURE
    assert "refuses the connection: nothing listens there" in result.cause
    assert result.remedy


async def test_a_port_that_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = await run(tmp_path, connector(silent.getsockname()[1]))
    assert result.verdict is Verdict.FAILURE
    assert "accepts the connection and sends no banner" in result.cause


async def test_a_port_that_drops_packets(tmp_path: Path) -> None:
    with socket.socket() as full:  # whose queue of connections is full: the next SYN is not answered
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            result = await run(tmp_path, connector(full.getsockname()[1]))
        finally:
            for one in waiting:
                one.close()
    assert "does not answer within 0.5 s: a firewall drops it" in result.cause


async def test_a_source_address_that_is_not_ours(tmp_path: Path) -> None:
    with Sink() as sink:
        result = await run(tmp_path, connector(sink.port, source_ip_addresses=["192.0.2.77"]))
    assert "192.0.2.77, from which this connector is to connect, is no address of this server" in result.cause


async def test_asterisks_in_the_banner(tmp_path: Path) -> None:
    with Sink(banner="220 ****************", hello_refused=True, extensions=()) as sink:
        result = await run(tmp_path, connector(sink.port))
    warnings = sentences(result.tree, Verdict.WARNING)
    assert any("asterisks" in one for one in warnings)
    assert any("knows HELO only" in one for one in warnings)
    assert "SMTP inspection" in result.remedy


async def test_ehlo_without_extensions_is_not_called_helo(tmp_path: Path) -> None:
    with Sink(extensions=()) as sink:
        result = await run(tmp_path, connector(sink.port))
    warnings = sentences(result.tree, Verdict.WARNING)
    assert any("offers no extension: no STARTTLS" in one for one in warnings)


async def test_a_banner_that_comes_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        await answer(reader, writer)

    monkeypatch.setattr(smtp_judgements, "_SLOW_SECONDS", 0.1)
    server = await asyncio.start_server(late, "127.0.0.1", 0)
    async with server:
        result = await run(tmp_path, connector(server.sockets[0].getsockname()[1]))
        server.close()
    assert any("The banner came only after 0.2 s" in one for one in sentences(result.tree, Verdict.WARNING))


async def test_a_banner_that_refuses(tmp_path: Path) -> None:
    with Sink(banner="554 5.7.1 your address is listed by nobody.test") as sink:
        result = await run(tmp_path, connector(sink.port))
    assert "refuses us: 554 5.7.1 your address is listed" in result.cause
    assert "block list" in result.remedy


async def test_tls_demanded_and_not_offered(tmp_path: Path) -> None:
    with Sink() as sink:
        result = await run(tmp_path, connector(sink.port, require_tls=True))
    assert "TLS is required and [127.0.0.1] does not offer STARTTLS" in result.cause


async def test_tls_neither_demanded_nor_offered_warns(tmp_path: Path) -> None:
    with Sink() as sink:
        result = await run(tmp_path, connector(sink.port))
    assert result.verdict is Verdict.WARNING
    assert "mail goes in clear" in result.cause


def strict(port: int, authority: Authority, **settings: Any) -> SendConnector:
    given: dict[str, Any] = {
        "require_tls": True, "tls_auth_level": TlsAuthLevel.CERTIFICATE_VALIDATION,
        "tls_ca_file": str(authority.root), **settings,
    }  # fmt: skip
    return connector(port, **given)


async def test_an_expired_certificate(tmp_path: Path, authority: Authority) -> None:
    with Sink(context=authority.issue("old.fabrikam.test", days=-1, since_days=30).server_context()) as sink:
        result = await run(tmp_path, strict(sink.port, authority))
    assert "the certificate of old.fabrikam.test expired on" in result.cause
    assert "renew" in result.remedy
    [failed] = [step for step in walk(result.tree) if step.sentence == result.cause]
    assert any("certificate 1 as sent: old.fabrikam.test" in line for line in failed.details)


async def test_a_certificate_of_an_unknown_authority(tmp_path: Path, authority: Authority) -> None:
    stranger = Authority(tmp_path / "stranger", "Stranger")
    below = intermediate(stranger)
    pair = below.issue("mail.fabrikam.test")
    with pair.certificate.open("ab") as file:
        file.write(below.root.read_bytes())
    with Sink(context=pair.server_context()) as sink:
        result = await run(tmp_path, strict(sink.port, authority))
    assert "the chain ends at Stranger, which is not trusted here" in result.cause


async def test_a_chain_without_its_intermediate(tmp_path: Path, authority: Authority) -> None:
    below = intermediate(authority, "Test Intermediate")
    with Sink(context=below.issue("mail.fabrikam.test").server_context()) as sink:
        result = await run(tmp_path, strict(sink.port, authority))
    assert "only its own certificate is sent, without that of its issuer Test Intermediate" in result.cause
    assert "added to the chain" in result.remedy


async def test_a_certificate_for_another_name(tmp_path: Path, authority: Authority) -> None:
    with Sink(context=authority.issue("other.fabrikam.test").server_context()) as sink:
        sending = strict(
            sink.port, authority, tls_auth_level=TlsAuthLevel.DOMAIN_VALIDATION, tls_domain="mail.fabrikam.test"
        )
        result = await run(tmp_path, sending)
    assert "is for other.fabrikam.test, not for mail.fabrikam.test" in result.cause
    assert "tls_domain" in result.remedy


async def test_a_certificate_that_ends_soon_warns(tmp_path: Path, authority: Authority) -> None:
    with Sink(context=authority.issue("mail.fabrikam.test", days=10.5).server_context()) as sink:
        result = await run(tmp_path, strict(sink.port, authority))
    assert result.verdict is Verdict.WARNING
    assert "expires in 10 days" in result.cause


@pytest.fixture
def password(tmp_path: Path) -> str:
    (tmp_path / "password").write_text("correct horse\n")
    return f"file:{tmp_path / 'password'}"


@pytest.fixture
def private(authority: Authority) -> Iterator[Sink]:
    pair = authority.issue("mail.fabrikam.test", days=90)
    with Sink(context=pair.server_context(), users={"relay": "correct horse"}) as sink:
        yield sink


async def test_a_log_on_that_works_and_one_that_does_not(
    tmp_path: Path, authority: Authority, password: str, private: Sink
) -> None:
    def sending(user: str) -> SendConnector:
        return strict(
            private.port, authority, smart_host_auth_mechanism=SmartHostAuthMechanism.BASIC_AUTH,
            authentication_username=user, authentication_password=password,
        )  # fmt: skip

    good = await run(tmp_path, sending("relay"))
    assert good.verdict is Verdict.PASS, texts(good)
    assert any("takes the log-on of relay" in one for one in texts(good))
    bad = await run(tmp_path, sending("somebody"))
    assert "refused the log-on of somebody" in bad.cause
    assert "authentication_username" in bad.remedy
    for result in (good, bad):
        everything = repr(result)
        assert "correct horse" not in everything
        assert "Y29ycmVjdCBob3JzZQ" not in everything  # the same in base64


async def test_a_recipient_that_is_refused(tmp_path: Path) -> None:
    with Sink(on_rcpt=lambda _: "550 5.7.1 relaying denied") as sink:
        guessed = await run(tmp_path, connector(sink.port))
        named = await run(tmp_path, connector(sink.port), recipients=["anna@fabrikam.test"])
    assert guessed.verdict is Verdict.WARNING
    assert named.verdict is Verdict.FAILURE
    assert "refuses the recipient <anna@fabrikam.test>: 550 5.7.1 relaying denied" in named.cause
    assert "relays for those it knows" in named.remedy


async def test_greylisting_warns(tmp_path: Path) -> None:
    with Sink(on_rcpt=lambda _: "450 4.7.1 come back later") as sink:
        result = await run(tmp_path, connector(sink.port), recipients=["anna@fabrikam.test"])
    assert result.verdict is Verdict.WARNING


async def test_one_host_of_two_is_enough(tmp_path: Path) -> None:
    with Sink() as sink:
        sending = SendConnector(
            name="Out", address_spaces=["*"], smart_hosts=[f"127.0.0.1:{free_port()}", f"127.0.0.1:{sink.port}"]
        )
        result = await run(tmp_path, sending)
    assert result.verdict is Verdict.WARNING
    assert any("1 of 2 addresses would take our mail" in one for one in texts(result))


async def test_a_domain_by_mx_from_end_to_end(tmp_path: Path) -> None:
    with Sink() as sink:
        async with ScriptedDns() as dns:
            dns.add("fabrikam.test", "MX", "10 mx.fabrikam.test.")
            dns.add("mx.fabrikam.test", "A", "127.0.0.1")
            sending = SendConnector(name="Out", address_spaces=["*"], dns_servers=[dns.address], port=sink.port)
            given = site(tmp_path, send_connectors=[sending])
            result = await run_test(given, ProbeRequest(kind=DOMAIN, name="fabrikam.test"))
            nowhere = await run_test(given, ProbeRequest(kind=DOMAIN, name="nowhere.test"))
            bare = await run_test(given, ProbeRequest(kind=SEND_CONNECTOR, name="Out"))
    assert result.verdict is Verdict.WARNING  # no TLS
    assert '"Out" takes it: its address space SMTP:*;1 is the best match' in texts(result)
    assert any("mx.fabrikam.test at 127.0.0.1" in one for one in texts(result))
    assert sink.commands[-3][1] == "RCPT TO:<postmaster@fabrikam.test>"
    assert "nowhere.test does not exist" in nowhere.cause
    assert any("name a domain with --domain" in one for one in texts(bare))


async def test_a_domain_that_no_connector_takes_and_one_that_is_ours(tmp_path: Path) -> None:
    lost = await run_test(site(tmp_path), ProbeRequest(kind=DOMAIN, name="fabrikam.test"))
    assert "No connector's address space matches fabrikam.test: mail waits in the Unreachable queue" in lost.cause
    ours = await run_test(site(tmp_path), ProbeRequest(kind=DOMAIN, name="contoso.test"))
    assert any("contoso.test is ours" in one for one in texts(ours))


async def test_any_host_and_implicit_tls(tmp_path: Path, authority: Authority) -> None:
    with Sink() as sink:
        result = await run_test(site(tmp_path), ProbeRequest(kind=SMTP, name=f"127.0.0.1:{sink.port}"))
        assert result.verdict is Verdict.WARNING
        wrong = await run_test(
            site(tmp_path), ProbeRequest(kind=SMTP, name=f"127.0.0.1:{sink.port}", implicit_tls=True)
        )
    assert "does not begin TLS with the first octet" in wrong.cause
    with pytest.raises(AdminFault):
        await run_test(site(tmp_path), ProbeRequest(kind=SMTP, name="127.0.0.1:99999"))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that says yes to everything."""
    writer.write(b"220 tls.fabrikam.test\r\n")
    while line := await reader.readline():
        writer.write(b"221 bye\r\n" if line.startswith(b"QUIT") else b"250 tls.fabrikam.test\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("days", "name", "cause"),
    [
        (90, "tls.fabrikam.test", ""),
        (-1, "tls.fabrikam.test", "the certificate of tls.fabrikam.test expired on"),
        (90, "other.fabrikam.test", "is for other.fabrikam.test, not for tls.fabrikam.test"),
    ],
)
async def test_tls_with_the_first_octet(days: int, name: str, cause: str, tmp_path: Path, authority: Authority) -> None:
    context = authority.issue(name, days=days, since_days=30).server_context()
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        sending = connector(
            server.sockets[0].getsockname()[1], implicit_tls=True, tls_auth_level=TlsAuthLevel.DOMAIN_VALIDATION,
            tls_domain="tls.fabrikam.test", tls_ca_file=str(authority.root),
        )  # fmt: skip
        result = await run(tmp_path, sending)
        server.close()
    assert cause in result.cause
    assert result.verdict is (Verdict.FAILURE if cause else Verdict.WARNING), result.cause  # HELO knows no keywords


async def test_the_certificate_that_we_show(tmp_path: Path, authority: Authority) -> None:
    pair = authority.issue("us.contoso.test", days=90)
    context = authority.issue("mail.fabrikam.test", days=90).server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.root)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # which refuses within the handshake
    with Sink(context=context) as sink:
        without = await run(tmp_path, connector(sink.port, require_tls=True))
        shown = connector(
            sink.port, require_tls=True, tls_certificate_file=str(pair.certificate), tls_key_file=str(pair.key)
        )
        with_it = await run(tmp_path, shown)
    assert without.verdict is Verdict.FAILURE
    assert with_it.verdict is Verdict.PASS, with_it.cause
    details = [line for step in walk(with_it.tree) for line in step.details]
    assert f"our certificate: {pair.certificate}, where it is asked for" in details


async def test_a_connector_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(AdminFault) as fault:
        await run_test(site(tmp_path), ProbeRequest(kind=SEND_CONNECTOR, name="Nothing"))
    assert "no send connector" in str(fault.value)


async def test_hostile_words_do_not_come_through(tmp_path: Path) -> None:
    with Sink(banner="220 \x1b[31mred\x07 \u202etxt") as sink:
        result = await run(tmp_path, connector(sink.port))
    for step in walk(result.tree):
        for line in (step.sentence, *step.details):
            assert "\x1b" not in line
            assert "\x07" not in line
