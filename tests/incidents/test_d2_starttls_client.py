# SPDX-License-Identifier: MIT
"""STARTTLS injection against us as a client (CVE-2021-38371, CVE-2016-0772, "NO STARTTLS"): a server, or somebody
between, says things in clear that must not be believed. Real couriers against real malicious servers.

Where TLS is required, every trick must end without MAIL in clear; where it is opportunistic, without taking what was
said in clear for an answer inside TLS, and never with credentials in clear.
"""

import asyncio
import random
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from bridgehead.delivery.settings import DeliverySettings
from bridgehead.delivery.smtp_send.courier import SmtpCourierFactory
from bridgehead.mail.delivery_status import Action
from bridgehead.mail.units import Duration
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.resolver import Resolver
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import SendConnector, TlsAuthLevel
from bridgehead.smtp.client import ClientConnection
from bridgehead.smtp.errors import RemoteProtocolError
from support.certificates import Authority
from support.hostile import ALERT_WARNING, EHLO_REPLY, Hostile, Peer, hostile
from support.work_source import ListLog, MemorySource, queued

PATIENCE = Duration(seconds=1.5)


async def attempt(server: Hostile, **connector: Any) -> tuple[str, MemorySource]:
    """One message to the hostile server: why the next hop could not be used, "" where the message was finished."""
    resolver = Resolver(clock=SystemClock(), timeout=0.3, tries=1)
    made = SendConnector(
        name="out", address_spaces=["*"], smart_hosts=[f"127.0.0.1:{server.port}"],
        connection_inactivity_timeout=PATIENCE, **connector,
    )  # fmt: skip
    log = ListLog()
    factory = SmtpCourierFactory(
        {"out": made}, DeliverySettings(connect_timeout=PATIENCE), "me.example", [], resolver, SystemClock(),
        random.random, log, log,
    )  # fmt: skip
    source = MemorySource([queued()])
    courier = factory.courier(NextHop(DeliveryType.SMART_HOST, "smart", "out"), source)
    courier.wake()
    finished = asyncio.create_task(source.all_finished(1))
    failed = asyncio.create_task(source.connection_failure())
    try:
        done, _ = await asyncio.wait({finished, failed}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert done, "neither delivered nor given up"
        if failed in done:
            return failed.result()[0], source
        finished.result()
        return "", source
    finally:
        for task in (finished, failed):
            task.cancel()
        await asyncio.gather(finished, failed, return_exceptions=True)
        await courier.close()
        await resolver.close()


INJECTED = [
    b"220 go ahead\r\n250 injected\r\n",
    b"220 go ahead\r\n250-mx.hostile.test\r\n250 AUTH PLAIN LOGIN\r\n",
    b"220 go ahead\r\n2",
    b"220 go ahead\r\n\r\n",
    b"220-go\r\n220 ahead\r\n250 AUTH PLAIN\r\n235 2.7.0 you are logged on\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n",
    b"220 go ahead\n250 injected\r\n",
]
REFUSALS = [b"454 4.7.0 not now\r\n", b"501 5.5.4 no\r\n", b"502 5.5.1 what?\r\n", b"250 fine, you are secure\r\n"]


@pytest.mark.parametrize("injected", INJECTED)
@pytest.mark.parametrize("apart", [False, True])
def test_d2_the_engine_refuses_replies_before_the_handshake(injected: bytes, apart: bool) -> None:
    cuts = range(1, len(injected)) if apart else [len(injected)]
    for cut in cuts:
        engine = ClientConnection("me.example")
        engine.receive_data(b"220 hi\r\n")
        engine.receive_data(EHLO_REPLY)
        engine.start_tls()
        with pytest.raises(RemoteProtocolError):
            [engine.receive_data(piece) for piece in (injected[:cut], injected[cut:])]


@pytest.mark.parametrize("injected", INJECTED)
@pytest.mark.parametrize("require_tls", [True, False])
async def test_d2_responses_injected_before_the_handshake_are_not_believed(
    injected: bytes, require_tls: bool, tmp_path: Any
) -> None:
    context = Authority(tmp_path).issue("mx.hostile.test").server_context()

    async def inject(peer: Peer) -> None:
        await peer.up_to_starttls()
        await peer.say(injected)
        await peer.secure(context)
        await peer.take_everything()

    async with hostile(inject) as server:
        error, source = await attempt(server, require_tls=require_tls)
        assert error, "the message went over a conversation that began with injected replies"
        assert not server.said(b"MAIL")
        assert not server.said(b"AUTH")
        assert source.attempts == {}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_d2_required_tls_fails_closed_on_any_answer_but_220(refusal: bytes) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.up_to_starttls()
        await peer.say(refusal)
        await peer.take_everything()

    async with hostile(refuse) as server:
        error, _ = await attempt(server, require_tls=True)
        assert error
        assert not server.said(b"MAIL")


async def test_d2_required_tls_fails_closed_where_starttls_was_stripped() -> None:
    for lines in (
        b"250 mx.hostile.test\r\n",
        b"250-mx.hostile.test\r\n250 XXXXXXXA\r\n",
        b"250-mx\r\n250 START TLS\r\n",
    ):

        async def strip(peer: Peer, lines: bytes = lines) -> None:
            await peer.say(b"220 mx.hostile.test\r\n")
            await peer.line()
            await peer.say(lines)
            await peer.take_everything()

        async with hostile(strip) as server:
            error, _ = await attempt(server, require_tls=True)
            assert "does not offer STARTTLS" in error
            assert not server.said(b"MAIL")


async def test_d2_a_server_without_ehlo_is_no_way_around_required_tls() -> None:
    async def old(peer: Peer) -> None:
        await peer.say(b"220 mx.hostile.test\r\n")
        while True:
            await peer.say(b"500 what?\r\n" if (await peer.line()).startswith(b"EHLO") else b"250 ok\r\n")

    async with hostile(old) as server:
        error, _ = await attempt(server, require_tls=True)
        assert "STARTTLS" in error
        assert not server.said(b"MAIL")


PREAUTH: list[tuple[str, list[bytes]]] = [
    ("a greeting that says we are logged on", [b"235 2.7.0 already authenticated\r\n"]),
    ("a greeting that answers EHLO as well", [b"220 hi\r\n250-mx\r\n250 8BITMIME\r\n"]),
    ("everything at once", [b"220 hi\r\n250 mx\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"]),
    ("a greeting like IMAP's", [b"* PREAUTH welcome\r\n"]),
    ("two greetings", [b"220 hi\r\n220 hi\r\n"]),
    ("EHLO answered twice", [b"220 hi\r\n", b"250 mx\r\n250 mx\r\n"]),
    ("EHLO answered with 354", [b"220 hi\r\n", b"354 go\r\n"]),
    ("EHLO answered with 235", [b"220 hi\r\n", b"235 2.7.0 welcome\r\n"]),
]


@pytest.mark.parametrize("says", [says for _, says in PREAUTH], ids=[name for name, _ in PREAUTH])
async def test_d2_no_state_can_be_pushed_on_us(says: list[bytes]) -> None:
    async def push(peer: Peer) -> None:
        for piece in says:
            await peer.say(piece)
            await peer.line()
        await peer.take_everything()

    async with hostile(push) as server:
        error, _ = await attempt(server, require_tls=True)
        assert error
        assert not server.said(b"MAIL")


GARBAGE: dict[str, Callable[[Peer], Awaitable[None]]] = {}


def garbage(behaviour: Callable[[Peer], Awaitable[None]]) -> Callable[[Peer], Awaitable[None]]:
    GARBAGE[behaviour.__name__] = behaviour
    return behaviour


@garbage
async def clear_text_instead_of_server_hello(peer: Peer) -> None:
    await peer.reader.read(5)
    await peer.say(b"250-mx.hostile.test\r\n250 AUTH PLAIN\r\n" * 200)


@garbage
async def half_a_server_hello_then_clear_text(peer: Peer) -> None:
    await peer.reader.read(5)
    await peer.say(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + b"r" * 40 + b"\r\n250 ok\r\n" * 200)


@garbage
async def a_storm_of_warnings(peer: Peer) -> None:
    await peer.reader.read(5)
    await peer.say(ALERT_WARNING * 50_000)
    await asyncio.sleep(30)


@garbage
async def a_fatal_alert(peer: Peer) -> None:
    await peer.reader.read(5)
    await peer.say(b"\x15\x03\x03\x00\x02\x02\x28")


@garbage
async def empty_records_for_ever(peer: Peer) -> None:
    await peer.reader.read(5)
    while True:
        await peer.say(b"\x16\x03\x03\x00\x00" * 1000)


@garbage
async def a_drip(peer: Peer) -> None:
    await peer.reader.read(5)
    for octet in b"\x16\x03\x03\x40\x00\x02" + bytes(1000):
        await peer.say(bytes([octet]))
        await asyncio.sleep(0.02)


@garbage
async def silence(peer: Peer) -> None:
    await asyncio.sleep(30)


@garbage
async def a_reset(peer: Peer) -> None:
    await peer.reader.read(5)
    sock = peer.writer.get_extra_info("socket")
    sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: closing resets
    peer.writer.transport.abort()


@pytest.mark.parametrize("name", list(GARBAGE))
async def test_d2_whatever_comes_instead_of_a_handshake_required_tls_stays_required(name: str) -> None:
    async def break_handshake(peer: Peer) -> None:
        await peer.up_to_starttls()
        await peer.say(b"220 go ahead\r\n")
        await GARBAGE[name](peer)

    async with hostile(break_handshake) as server:
        error, source = await attempt(server, require_tls=True)
        assert error
        assert not server.said(b"MAIL")
        assert source.attempts == {}


async def test_d2_a_broken_handshake_never_sends_credentials_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INCIDENT_PASSWORD", "never in clear")

    async def break_then_offer_auth(peer: Peer) -> None:
        await peer.say(b"220 hi\r\n")
        while True:
            line = await peer.line()
            if line.startswith(b"EHLO"):
                await peer.say(b"250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n")
            elif line.startswith(b"STARTTLS"):
                await peer.say(b"220 go\r\n")
                await GARBAGE["a_fatal_alert"](peer)
                return
            else:
                await peer.say(b"235 welcome\r\n" if line.startswith(b"AUTH") else b"250 ok\r\n")

    async with hostile(break_then_offer_auth) as server:
        error, _ = await attempt(
            server, smart_host_auth_mechanism="BasicAuthRequireTLS", authentication_username="relay",
            authentication_password="env:INCIDENT_PASSWORD",
        )  # fmt: skip
        assert error
        assert not server.said(b"AUTH")
        assert not server.said(b"MAIL")


@pytest.fixture
async def old_words(tmp_path: Any) -> AsyncIterator[Hostile]:
    """Offers AUTH before TLS and nothing inside it."""
    context: ssl.SSLContext = Authority(tmp_path / "ca").issue("mx.hostile.test").server_context()

    async def forget(peer: Peer) -> None:
        await peer.say(b"220 hi\r\n")
        while (line := await peer.line()).startswith(b"EHLO"):
            await peer.say(b"250-mx\r\n250-STARTTLS\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN\r\n")
        assert line.startswith(b"STARTTLS")
        await peer.say(b"220 go\r\n")
        await peer.secure(context)
        while line := await peer.line():
            await peer.say(b"250 mx\r\n" if line.startswith(b"EHLO") else b"250 ok\r\n")

    async with hostile(forget) as server:
        yield server


async def test_d2_extensions_offered_in_clear_are_forgotten(
    old_words: Hostile, monkeypatch: Any, tmp_path: Any
) -> None:
    monkeypatch.setenv("INCIDENT_PASSWORD", "never for such a server")
    error, _ = await attempt(
        old_words, tls_auth_level=TlsAuthLevel.DOMAIN_VALIDATION, tls_domain="mx.hostile.test",
        tls_ca_file=str(tmp_path / "ca" / "root.pem"), smart_host_auth_mechanism="BasicAuthRequireTLS", authentication_username="relay",
        authentication_password="env:INCIDENT_PASSWORD",
    )  # fmt: skip
    assert "offers nothing for AUTH" in error
    assert not old_words.said(b"AUTH")


async def test_d12_credentials_go_to_no_server_that_has_not_proved_its_name(
    old_words: Hostile, monkeypatch: Any
) -> None:
    monkeypatch.setenv("INCIDENT_PASSWORD", "never for a stranger")
    error, _ = await attempt(
        old_words, smart_host_auth_mechanism="BasicAuthRequireTLS", authentication_username="relay",
        authentication_password="env:INCIDENT_PASSWORD",
    )  # fmt: skip
    assert "certificate is not valid" in error
    assert not old_words.said(b"AUTH")


# --- D4: the client side is an attack surface -----------------------------------------------------------------------------


async def endless_reply(peer: Peer) -> None:
    while True:
        await peer.say(b"250-and so on\r\n" * 1000)


async def ten_megabyte_line(peer: Peer) -> None:
    await peer.say(b"250 " + b"x" * 10_000_000)
    await asyncio.sleep(30)


async def mixed_codes(peer: Peer) -> None:
    await peer.say(b"250-one\r\n550 two\r\n")


async def bare_carriage_returns(peer: Peer) -> None:
    await peer.say(b"250 one\r250 two\r\n250 three\n")


async def octet_by_octet(peer: Peer) -> None:
    for octet in b"250 " + b"slow" * 500:
        await peer.say(bytes([octet]))
        await asyncio.sleep(0.02)


async def early_delivery(peer: Peer) -> None:
    await peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 taken\r\n")


@pytest.mark.parametrize(
    "trick", [endless_reply, ten_megabyte_line, mixed_codes, bare_carriage_returns, octet_by_octet, early_delivery]
)
@pytest.mark.parametrize("verb", [b"", b"EHLO", b"MAIL", b"RCPT", b"DATA"])
async def test_d4_a_malicious_server_costs_one_attempt_and_never_the_message(
    trick: Callable[[Peer], Awaitable[None]], verb: bytes
) -> None:
    async def behave(peer: Peer) -> None:
        if not verb:
            await trick(peer)
        await peer.say(b"220 hi\r\n")
        while not (line := (await peer.line()).upper()).startswith(verb):
            await peer.say(b"354 go\r\n" if line.startswith(b"DATA") else b"250 ok\r\n")
        await trick(peer)

    async with hostile(behave) as server:
        error, source = await attempt(server)
        for outcome in source.attempts.values():
            assert all(status.action is not Action.RELAYED for status in outcome.statuses)
            assert all("\r" not in status.diagnostic and "\n" not in status.diagnostic for status in outcome.statuses)
            assert all(len(status.diagnostic) < 20_000 for status in outcome.statuses)
        assert error or source.attempts
