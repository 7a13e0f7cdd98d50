# SPDX-License-Identifier: MIT
"""SmtpCourier against real servers on loopback: honest, slow, full, closing, and with every kind of TLS."""

import asyncio
import io
import itertools
import random

import pytest

from bridgehead.delivery.settings import DeliverySettings
from bridgehead.delivery.smtp_send.courier import SmtpCourierFactory
from bridgehead.mail.address import Mailbox
from bridgehead.mail.delivery_status import Action
from bridgehead.mail.envelope import BodyType
from bridgehead.mail.units import Count, Duration
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.resolver import Resolver
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import (
    ErrorPolicy,
    ProtocolLoggingLevel,
    SendConnector,
    SmartHostAuthMechanism,
    TlsAuthLevel,
)
from support.certificates import Authority
from support.dns_server import ScriptedDns
from support.ports import free_port
from support.sink import ALL_EXTENSIONS, DROP, Sink
from support.work_source import MESSAGE, ListLog, MemorySource, queued

SMART_HOST = NextHop(DeliveryType.SMART_HOST, "smart", "out")


class Bench:
    """A factory, and couriers that are closed at the end."""

    def __init__(self) -> None:
        self.log = ListLog()
        self.connections = ListLog()
        self.couriers = []
        self.resolver = Resolver(clock=SystemClock(), timeout=0.3, tries=1)

    def factory(self, *, settings=None, own_addresses=(), **connector) -> SmtpCourierFactory:
        made = SendConnector(name="out", address_spaces=["*"], **connector)
        return SmtpCourierFactory(
            {"out": made}, settings or DeliverySettings(connect_timeout=Duration(seconds=3)), "me.example",
            list(own_addresses), self.resolver, SystemClock(), random.random, self.log, self.connections,
        )  # fmt: skip

    def start(self, source, next_hop=SMART_HOST, factory=None, **connector):
        courier = (factory or self.factory(**connector)).courier(next_hop, source)
        self.couriers.append(courier)
        courier.wake()
        return courier


@pytest.fixture
async def bench():
    made = Bench()
    yield made
    for courier in made.couriers:
        await courier.close()
    await made.resolver.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def smart(sink) -> list[str]:
    return [f"127.0.0.1:{sink.port}"]


async def test_messages_arrive_and_one_session_serves_many(bench):
    with Sink() as sink:
        source = MemorySource([queued(MESSAGE + b"%d\r\n" % number) for number in range(30)])
        factory = bench.factory(
            smart_hosts=smart(sink), settings=DeliverySettings(max_per_domain_outbound_connections=Count(1))
        )
        bench.start(source, factory=factory)
        await source.all_finished(30)
        assert sink.sessions == 2, "20 messages for each session"
        assert [one.data for one in sink.transactions] == [MESSAGE + b"%d\r\n" % number for number in range(30)]
        attempt = next(iter(source.attempts.values()))
        assert attempt.statuses[0].action is Action.RELAYED
        assert attempt.statuses[0].dsn_passed_on
        assert (attempt.remote_ip, attempt.local_ip, attempt.connector) == ("127.0.0.1", "127.0.0.1", "out")
        assert attempt.source_context.endswith("250 2.6.0 taken")


async def test_dots_and_bare_line_ends_arrive_as_they_should(bench):
    with Sink() as sink:
        source = MemorySource([queued(b"Subject: x\r\n\r\n.one\r\n..two\nbare\rcr\r\n.\r\nend")])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(1)
        (got,) = sink.transactions
        assert not got.bare_line_ends
        assert got.data == b"Subject: x\r\n\r\n.one\r\n..two\r\nbare\r\ncr\r\n.\r\nend\r\n"


@pytest.mark.parametrize("extensions", [(), ALL_EXTENSIONS])
async def test_an_address_that_would_break_the_line_harms_only_its_own_message(bench, extensions):
    with Sink(extensions=extensions) as sink:
        evil = queued()
        evil.item.envelope.recipients[0].forward_path = Mailbox("x\r\nRSET", "example.net")
        source = MemorySource([queued(), evil, queued()])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(3)
        assert source.statuses(evil)[0].action is Action.DELAYED
        assert len(sink.transactions) == 2
        assert not any(line == "RSET" for _, line in sink.commands)


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",), ALL_EXTENSIONS])
async def test_every_set_of_extensions_and_each_recipients_own_result(bench, extensions):
    def on_rcpt(argument):
        return "550 5.1.1 unknown" if "bad" in argument else "450 4.2.1 later" if "busy" in argument else None

    with Sink(extensions=extensions, on_rcpt=on_rcpt) as sink:
        people = ["good@example.net", "bad@example.net", "busy@example.net", "fine@example.net"]
        entries = [queued(recipients=people), queued(recipients=["bad@example.net"]), queued()]
        source = MemorySource(entries)
        bench.start(source, smart_hosts=smart(sink), settings=None)
        await source.all_finished(3)
        assert [status.action for status in source.statuses(entries[0])] == [
            Action.RELAYED, Action.FAILED, Action.DELAYED, Action.RELAYED
        ]  # fmt: skip
        assert source.statuses(entries[1])[0].status == "5.1.1"
        assert source.statuses(entries[2])[0].action is Action.RELAYED
        assert source.failures == []


class FileContent:
    """Large content, read from a stream."""

    def __init__(self, data):
        self.bytes = data
        self.size = len(data)
        self.data = None

    def open(self):
        return io.BytesIO(self.bytes)


@pytest.mark.parametrize("extensions", [("PIPELINING",), ALL_EXTENSIONS, ()])
async def test_large_content_is_streamed_whole(bench, extensions):
    lines = (b".line %d\r\n" % number + b"x" * (number % 70) + b"\n" for number in range(60_000))
    data = b"Subject: big\r\nX-MS-Exchange-Organization-SCL: 1\r\n\r\n" + b"".join(lines)
    assert len(data) > 5 * 256 * 1024
    with Sink(extensions=extensions) as sink:
        source = MemorySource([queued(FileContent(data)), queued()])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(2)
        got = next(one for one in sink.transactions if len(one.wire) > 1000)
        assert got.chunked is ("CHUNKING" in extensions)
        assert not got.bare_line_ends
        expected = data.replace(b"X-MS-Exchange-Organization-SCL: 1\r\n", b"")
        assert got.data == expected.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


async def test_unreadable_content_is_a_transient_outcome(bench):
    class Broken(FileContent):
        def open(self):
            raise OSError(5, "Input/output error")

    with Sink() as sink:
        entry = queued(Broken(b"x" * 200_000))
        source = MemorySource([entry])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(1)
        (status,) = source.statuses(entry)
        assert (status.action, status.status) == (Action.DELAYED, "4.3.0")
        assert sink.transactions == []


async def test_lost_after_the_final_dot_is_in_doubt(bench):
    with Sink(on_content=lambda _: DROP) as sink:
        entry = queued()
        source = MemorySource([entry])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(1)
        (status,) = source.statuses(entry)
        assert status.in_doubt
        assert status.action is Action.DELAYED


async def test_a_server_that_takes_one_message_for_each_session_gets_them_all(bench):
    answers = itertools.count()

    def on_mail(_):
        return "421 4.3.2 one is enough" if next(answers) % 2 else None

    with Sink(on_mail=on_mail) as sink:
        source = MemorySource([queued() for _ in range(6)])
        factory = bench.factory(
            smart_hosts=smart(sink), settings=DeliverySettings(max_per_domain_outbound_connections=Count(1))
        )
        bench.start(source, factory=factory)
        await source.all_finished(6)
        assert source.put_backs > 0
        assert all(attempt.statuses[0].action is Action.RELAYED for attempt in source.attempts.values())


async def test_a_server_that_always_says_421_to_mail_is_a_connection_failure_after_one_message(bench):
    with Sink(on_mail=lambda _: "421 4.7.0 come back later") as sink:
        source = MemorySource([queued() for _ in range(5)])
        factory = bench.factory(
            smart_hosts=smart(sink), settings=DeliverySettings(max_per_domain_outbound_connections=Count(1))
        )
        source.closes_on_failure = True
        bench.start(source, factory=factory)
        error, permanent, _status = await source.connection_failure()
        assert "421 4.7.0 come back later" in error
        assert not permanent
        assert len(source.attempts) == 1, "the others were not burnt on it"
        assert len(source.waiting) == 4


async def test_421_in_one_breath_with_ehlo_is_told_as_what_it_is(bench):
    async def serve(reader, writer):
        writer.write(b"220 busy.example\r\n")
        await reader.readline()
        writer.write(b"250-busy.example\r\n250 STARTTLS\r\n421 4.3.2 shutting down\r\n")
        await reader.read()
        writer.close()

    busy = await asyncio.start_server(serve, "127.0.0.1", 0)
    source = MemorySource([queued()])
    bench.start(source, smart_hosts=[f"127.0.0.1:{busy.sockets[0].getsockname()[1]}"])
    error, permanent, _ = await source.connection_failure()
    assert "421 4.3.2 shutting down" in error
    assert not permanent
    busy.close()


async def test_after_421_to_mail_the_next_host_is_tried_at_the_retry(bench):
    with Sink(on_mail=lambda _: "421 4.7.0 come back later") as busy, Sink() as sink:
        factory = bench.factory(smart_hosts=[*smart(busy), *smart(sink)])
        entries = [queued() for _ in range(20)]
        for entry in entries:
            source = MemorySource([entry])
            courier = bench.start(source, factory=factory)
            await source.all_finished(1)
            await courier.close()
        assert busy.sessions <= 1


async def test_452_beside_accepted_recipients_means_another_transaction(bench):
    def limited():
        taken = itertools.count()
        return lambda _: "452 4.5.3 too many" if next(taken) % 3 == 2 else None

    with Sink(on_rcpt=limited()) as sink:
        entry = queued(recipients=[f"r{number}@example.net" for number in range(7)])
        source = MemorySource([entry])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(1)
        assert {status.action for status in source.statuses(entry)} == {Action.RELAYED}
        got = [path for one in sink.transactions for path in one.forward_paths]
        assert sorted(got) == sorted(f"r{number}@example.net" for number in range(7)), "each exactly once"


async def test_limits_rcptmax_is_kept(bench):
    with Sink(extensions=("PIPELINING", "LIMITS RCPTMAX=3")) as sink:
        entry = queued(recipients=[f"r{number}@example.net" for number in range(7)])
        source = MemorySource([entry])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(1)
        assert [len(one.rcpts) for one in sink.transactions] == [3, 3, 1]


async def test_limits_mailmax_is_kept(bench):
    with Sink(extensions=("PIPELINING", "LIMITS MAILMAX=2 RCPTMAX=1")) as sink:
        entries = [queued(), queued(), queued(recipients=[f"r{number}@example.net" for number in range(3)])]
        source = MemorySource(entries)
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(3)
        by_session = [one.session for one in sink.transactions]
        assert max(by_session.count(number) for number in by_session) == 2
        assert [status.action for status in source.statuses(entries[2])].count(Action.RELAYED) == 2
        assert "MAILMAX" in source.statuses(entries[2])[2].diagnostic


async def test_a_dead_host_is_passed_over_for_the_next_and_remembered(bench):
    dead = free_port()
    with Sink() as sink, Sink(banner="554 5.3.2 go away") as closed:
        factory = bench.factory(smart_hosts=[f"127.0.0.1:{dead}", f"127.0.0.1:{closed.port}", *smart(sink)])
        for _ in range(3):
            source = MemorySource([queued()])
            courier = bench.start(source, factory=factory)
            await source.all_finished(1)
            await courier.close()
            assert source.failures == []
        assert closed.sessions <= 1, "hosts that failed are tried last"


async def test_no_host_at_all_is_a_connection_failure(bench):
    source = MemorySource([queued()])
    bench.start(source, smart_hosts=[f"127.0.0.1:{free_port()}"])
    error, permanent, status = await source.connection_failure()
    assert "127.0.0.1" in error
    assert not permanent
    assert status == "4.4.1"
    assert source.attempts == {}
    assert len(source.waiting) == 1, "the message stayed in the queue"


async def test_a_silent_host_delays_nobody_else(bench):
    writers = []
    silent = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    with Sink() as sink:
        port = silent.sockets[0].getsockname()[1]
        bench.start(MemorySource([queued()]), smart_hosts=[f"127.0.0.1:{port}"])
        source = MemorySource([queued()])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(1, seconds=5)
    for courier in bench.couriers:
        await courier.close()
    for writer in writers:
        writer.close()
        await writer.wait_closed()
    silent.close()


async def test_silence_ends_after_the_inactivity_timeout(bench):
    with Sink(on_data=lambda: __import__("time").sleep(3)) as sink:
        entry = queued()
        source = MemorySource([entry])
        bench.start(source, smart_hosts=smart(sink), connection_inactivity_timeout=Duration(seconds=0.3))
        await source.all_finished(1)
        assert "silent" in source.statuses(entry)[0].diagnostic


async def test_the_limit_on_all_connections_is_shared(bench):
    with Sink() as sink:
        settings = DeliverySettings(max_outbound_connections=Count(2), connect_timeout=Duration(seconds=3))
        factory = bench.factory(smart_hosts=smart(sink), settings=settings)
        sources = [MemorySource([queued() for _ in range(10)]) for _ in range(5)]
        for source in sources:
            bench.start(source, factory=factory)
        peak = 0
        for source in sources:
            await source.all_finished(10)
            peak = max(peak, factory.limiter.used)
        assert peak <= 2
        for courier in bench.couriers:
            await courier.close()
        assert factory.limiter.used == 0, "every connection was given back"


async def test_an_idle_connection_yields_to_a_next_hop_with_work(bench):
    with Sink() as sink:
        settings = DeliverySettings(max_outbound_connections=Count(1))
        factory = bench.factory(smart_hosts=smart(sink), settings=settings)
        for _ in range(3):
            source = MemorySource([queued()])
            bench.start(source, factory=factory)
            await source.all_finished(1, seconds=4)  # an idle connection left alone would stay longer


async def test_closing_finishes_what_is_under_way(bench):
    with Sink() as sink:
        source = MemorySource([queued() for _ in range(50)])
        courier = bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(1)
        await courier.close()
        assert source.under_way == {}
        assert len(sink.transactions) == len(source.attempts)


# --- DNS routing ------------------------------------------------------------------------------------------------------


def to_domain(domain):
    return NextHop(DeliveryType.DNS_CONNECTOR, domain, "out")


async def test_mx_routing_end_to_end(bench):
    async with ScriptedDns() as dns:
        with Sink() as sink:
            dns.add("example.net", "MX", "10 mx1.example.net.", "20 mx2.example.net.")
            dns.add("mx1.example.net", "A", "127.0.0.3")  # nobody listens there
            dns.add("mx2.example.net", "A", "127.0.0.1")
            source = MemorySource([queued()])
            bench.start(source, to_domain("example.net"), port=sink.port, dns_servers=[dns.address])
            await source.all_finished(1)
            assert next(iter(source.attempts.values())).remote_host == "mx2.example.net"
            await bench.couriers.pop().close()
    await bench.resolver.close()


@pytest.mark.parametrize(
    ("domain", "policy", "permanent", "status"),
    [
        ("missing.example", ErrorPolicy.DEFAULT, True, "5.4.4"),
        ("missing.example", ErrorPolicy.DOWNGRADE_DNS_FAILURES, False, "4.4.4"),
        ("nomail.example", ErrorPolicy.DEFAULT, True, "5.1.10"),
        ("broken.example", ErrorPolicy.DEFAULT, False, "4.4.3"),
        ("silent.example", ErrorPolicy.DEFAULT, False, "4.4.3"),
        ("loop.example", ErrorPolicy.DEFAULT, True, "5.4.6"),
    ],
)
async def test_dns_failures_are_classed(bench, domain, policy, permanent, status):
    async with ScriptedDns() as dns:
        dns.add("nomail.example", "MX", "0 .")
        dns.servfail("broken.example")
        dns.silent("silent.example")
        dns.add("loop.example", "MX", "10 me.example.")
        dns.add("me.example", "A", "127.0.0.1")
        source = MemorySource([queued()])
        bench.start(source, to_domain(domain), dns_servers=[dns.address], error_policies=[policy])
        error, was_permanent, code = await source.connection_failure()
        assert (was_permanent, code) == (permanent, status), error
        await bench.resolver.close()


# --- TLS and AUTH -----------------------------------------------------------------------------------------------------


async def test_tls_is_used_where_it_is_offered(bench, authority):
    with Sink(context=authority.issue("mx.test").server_context()) as sink:
        source = MemorySource([queued()])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(1)
        assert sink.transactions[0].tls
        assert "TLS (TLSv1" in bench.connections.text


async def test_ignore_starttls(bench, authority):
    with Sink(context=authority.issue("mx.test").server_context()) as sink:
        source = MemorySource([queued()])
        bench.start(source, smart_hosts=smart(sink), ignore_starttls=True)
        await source.all_finished(1)
        assert not sink.transactions[0].tls


async def broken_tls_server(sink_port):
    """Offers STARTTLS and breaks in the handshake; in clear it passes everything on to the sink."""

    async def serve(reader, writer):
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", sink_port)
        try:
            while True:
                ahead = asyncio.create_task(reader.readline())
                back = asyncio.create_task(up_reader.read(65536))
                finished, rest = await asyncio.wait({ahead, back}, return_when=asyncio.FIRST_COMPLETED)
                for task in rest:
                    task.cancel()
                if back in finished:
                    data = back.result()
                    if not data:
                        break
                    writer.write(data.replace(b"250-PIPELINING", b"250-STARTTLS"))
                if ahead in finished:
                    line = ahead.result()
                    if not line:
                        break
                    if line.startswith(b"STARTTLS"):
                        writer.write(b"220 go\r\n")
                        await reader.read(1)
                        writer.write(b"this is no TLS\r\n" * 10)
                        break
                    up_writer.write(line)
        finally:
            up_writer.close()
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def test_broken_tls_falls_back_to_clear_and_is_remembered(bench):
    with Sink() as sink:
        server = await broken_tls_server(sink.port)
        port = server.sockets[0].getsockname()[1]
        source = MemorySource([queued()])
        courier = bench.start(source, smart_hosts=[f"127.0.0.1:{port}"])
        await source.all_finished(1)
        assert not sink.transactions[0].tls
        await courier.close()
        server.close()


async def test_broken_tls_fails_where_tls_is_required(bench):
    with Sink() as sink:
        server = await broken_tls_server(sink.port)
        port = server.sockets[0].getsockname()[1]
        source = MemorySource([queued()])
        bench.start(source, smart_hosts=[f"127.0.0.1:{port}"], require_tls=True)
        _error, permanent, status = await source.connection_failure()
        assert (permanent, status) == (False, "4.7.5")
        assert sink.transactions == []
        server.close()


async def test_required_tls_that_is_stripped_fails_closed(bench):
    with Sink() as sink:
        source = MemorySource([queued()])
        bench.start(source, smart_hosts=smart(sink), require_tls=True)
        error, _, status = await source.connection_failure()
        assert "does not offer STARTTLS" in error
        assert status == "4.7.4"
        assert sink.transactions == []


@pytest.mark.parametrize(
    ("level", "names", "trusted", "tls_domain", "works"),
    [
        (TlsAuthLevel.ENCRYPTION_ONLY, ["other.test"], False, "", True),
        (TlsAuthLevel.CERTIFICATE_VALIDATION, ["other.test"], True, "", True),
        (TlsAuthLevel.CERTIFICATE_VALIDATION, ["other.test"], False, "", False),
        (TlsAuthLevel.DOMAIN_VALIDATION, ["localhost"], True, "", True),
        (TlsAuthLevel.DOMAIN_VALIDATION, ["other.test"], True, "", False),
        (TlsAuthLevel.DOMAIN_VALIDATION, ["mx.contoso.com"], True, "*.contoso.com", True),
        (TlsAuthLevel.DOMAIN_VALIDATION, ["*.contoso.com"], True, "*.contoso.com", True),
        (TlsAuthLevel.DOMAIN_VALIDATION, ["mx.evilcontoso.com"], True, "*.contoso.com", False),
        (TlsAuthLevel.DOMAIN_VALIDATION, ["localhost"], False, "", False),
    ],
)
async def test_certificate_levels(bench, authority, tmp_path, level, names, trusted, tls_domain, works):
    anchors = authority.root if trusted else Authority(tmp_path / "other").root
    with Sink(context=authority.issue(*names).server_context()) as sink:
        source = MemorySource([queued()])
        bench.start(
            source, smart_hosts=[f"localhost:{sink.port}"], require_tls=True, tls_auth_level=level,
            tls_domain=tls_domain, tls_ca_file=str(anchors),
        )  # fmt: skip
        if works:
            await source.all_finished(1)
            assert sink.transactions[0].tls
        else:
            _error, permanent, status = await source.connection_failure()
            assert (permanent, status) == (False, "4.7.5")
            assert sink.transactions == []


BASIC = SmartHostAuthMechanism.BASIC_AUTH
BASIC_TLS = SmartHostAuthMechanism.BASIC_AUTH_REQUIRE_TLS


async def test_log_on_over_tls_and_no_secret_in_any_log(bench, authority, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("hunter2-canary\n")
    with Sink(context=authority.issue("localhost").server_context(), users={"relay": "hunter2-canary"}) as sink:
        source = MemorySource([queued()])
        bench.start(
            source, smart_hosts=[f"localhost:{sink.port}"], smart_host_auth_mechanism=BASIC_TLS,
            authentication_username="relay", authentication_password=f"file:{secret}",
            tls_ca_file=str(authority.root), protocol_logging_level=ProtocolLoggingLevel.VERBOSE,
        )  # fmt: skip
        await source.all_finished(1)
        assert sink.transactions[0].user == "relay"
        await bench.couriers[0].close()
        everything = bench.log.text + bench.connections.text + repr(source.attempts)
        assert "hunter2" not in everything
        assert "aHVudGVyMi" not in everything
        assert "AHJlbGF5" not in everything
        assert "AUTH PLAIN ****" in bench.log.text
        assert "Subject: test" not in bench.log.text, "content is not for the log"


async def test_wrong_password_is_a_transient_failure_of_the_queue(bench, authority, monkeypatch):
    monkeypatch.setenv("RELAY_PASSWORD", "wrong")
    with Sink(context=authority.issue("localhost").server_context(), users={"relay": "right"}) as sink:
        source = MemorySource([queued()])
        bench.start(
            source, smart_hosts=[f"localhost:{sink.port}"], smart_host_auth_mechanism=BASIC,
            authentication_username="relay", authentication_password="env:RELAY_PASSWORD",
            tls_ca_file=str(authority.root),
        )  # fmt: skip
        error, permanent, status = await source.connection_failure()
        assert "refused the log-on of relay" in error
        assert (permanent, status) == (False, "4.7.8")
        assert sink.transactions == []


@pytest.mark.parametrize("mechanism", [BASIC, BASIC_TLS])
async def test_credentials_never_leave_in_clear(bench, mechanism, monkeypatch):
    monkeypatch.setenv("RELAY_PASSWORD", "right")
    with Sink(users={"relay": "right"}) as sink:
        source = MemorySource([queued()])
        bench.start(
            source, smart_hosts=smart(sink), smart_host_auth_mechanism=mechanism, ignore_starttls=True,
            authentication_username="relay", authentication_password="env:RELAY_PASSWORD",
        )  # fmt: skip
        await source.connection_failure()
        assert not any(line.startswith("AUTH") for _, line in sink.commands)


@pytest.mark.parametrize("mechanism", [BASIC, BASIC_TLS])
async def test_credentials_go_to_nobody_who_cannot_prove_the_name(bench, mechanism, authority, tmp_path, monkeypatch):
    monkeypatch.setenv("RELAY_PASSWORD", "right")
    another = Authority(tmp_path / "other")
    settings = {"smart_host_auth_mechanism": mechanism, "authentication_username": "relay",
                "authentication_password": "env:RELAY_PASSWORD", "tls_ca_file": str(authority.root)}  # fmt: skip

    async def tried(pair, **more):
        with Sink(context=pair.server_context(), users={"relay": "right"}) as sink:
            source = MemorySource([queued()])
            bench.start(source, smart_hosts=[f"localhost:{sink.port}"], **{**settings, **more})
            if more:
                await source.all_finished(1)
            else:
                error, _, status = await source.connection_failure()
                assert "certificate" in error
                assert status == "4.7.5"
            return any(line.startswith("AUTH") for _, line in sink.commands)

    assert not await tried(another.issue("localhost")), "an authority that we do not trust"
    assert not await tried(authority.issue("other.test")), "a good certificate, of somebody else"
    unchecked = {"require_tls": True, "tls_auth_level": TlsAuthLevel.ENCRYPTION_ONLY}
    assert await tried(another.issue("localhost"), **unchecked), "an administrator wants it so"
    pinned = another.issue("old.test")
    own = {"require_tls": True, "tls_auth_level": TlsAuthLevel.CERTIFICATE_VALIDATION}
    assert await tried(pinned, tls_ca_file=str(pinned.certificate), **own), "by the very certificate"


# --- conversion and policies ------------------------------------------------------------------------------------------


async def test_eight_bit_content_is_converted_for_an_old_server(bench):
    text = "Grüße\r\n".encode()
    head = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    with Sink(extensions=("PIPELINING",)) as sink:
        signed = queued(b"DKIM-Signature: v=1\r\n" + head + text)
        entry = queued(head + text, body_type=BodyType.EIGHT_BIT_MIME)
        large = queued(FileContent(head + text * 20_000), has_8bit=True)
        source = MemorySource([entry, signed, large])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(3)
        small, big = sorted(sink.transactions, key=lambda one: len(one.wire))
        assert small.wire.isascii()
        assert small.message.get_content().replace("\r\n", "\n") == "Grüße\n"
        assert big.message.get_content().replace("\r\n", "\n") == "Grüße\n" * 20_000
        assert source.statuses(signed)[0].status == "5.6.2"
        assert "BODY" not in small.mail


async def test_smtputf8_is_asked_for_only_where_needed(bench):
    with Sink() as sink, Sink(extensions=("PIPELINING", "8BITMIME")) as old:
        plain, idn, utf8 = queued(recipients=["x@bücher.example"]), queued(), queued(recipients=["jürgen@example.net"])
        source = MemorySource([plain, idn, utf8])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(3)
        asked = {one.rcpts[0]: "SMTPUTF8" in one.mail for one in sink.transactions}
        assert [value for rcpt, value in asked.items() if "rgen" in rcpt] == [True]
        assert sum(asked.values()) == 1
        mixed = queued(recipients=["jürgen@example.net", "b@example.net"])
        header = queued(headers_utf8=True, has_8bit=True)
        source = MemorySource([mixed, header])
        bench.start(source, smart_hosts=smart(old))
        await source.all_finished(2)
        assert [status.status for status in source.statuses(mixed)] == ["5.6.7", "2.6.0"]
        assert source.statuses(header)[0].status == "5.6.9"


async def test_a_message_larger_than_the_server_takes_fails_without_being_sent(bench):
    with Sink(extensions=("PIPELINING", "SIZE 1000")) as sink:
        entry = queued(MESSAGE + b"x" * 2000)
        source = MemorySource([entry, queued()])
        bench.start(source, smart_hosts=smart(sink))
        await source.all_finished(2)
        assert source.statuses(entry)[0].status == "5.3.4"
        assert len(sink.transactions) == 1


async def test_error_policies(bench):
    with Sink(on_rcpt=lambda _: "550 5.7.1 not today") as sink:
        entry = queued()
        source = MemorySource([entry])
        bench.start(
            source, smart_hosts=smart(sink), error_policies=[ErrorPolicy.DOWNGRADE_CUSTOM_FAILURES],
            custom_failures=["550"],
        )  # fmt: skip
        await source.all_finished(1)
        assert (source.statuses(entry)[0].action, source.statuses(entry)[0].status) == (Action.DELAYED, "4.7.1")


async def test_received_fields_are_removed_without_the_routing_right(bench):
    with Sink() as sink:
        data = b"Received: from inside\r\n by us; x\r\nX-MS-Exchange-Organization-AuthAs: Internal\r\n" + MESSAGE
        source = MemorySource([queued(data)])
        bench.start(source, smart_hosts=smart(sink), preserve_routing_headers=False)
        await source.all_finished(1)
        assert sink.transactions[0].data == MESSAGE
