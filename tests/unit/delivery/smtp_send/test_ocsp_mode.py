# SPDX-License-Identifier: MIT
"""Messages to smart hosts that staple OCSP responses, by connectors that ask for them."""

import random

import pytest
from cryptography.x509 import ocsp

from bridgehead.delivery.settings import DeliverySettings
from bridgehead.delivery.smtp_send.courier import SmtpCourierFactory
from bridgehead.mail.units import Duration
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.resolver import Resolver
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import OcspMode, SendConnector, TlsAuthLevel
from support.certificates import Authority
from support.sink import Sink
from support.staples import StaplingFront, certificate, response
from support.work_source import MESSAGE, ListLog, MemorySource, queued

SMART_HOST = NextHop(DeliveryType.SMART_HOST, "smart", "out")
LARGE = MESSAGE + b"0123456789abcdef\r\n" * 60_000


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


def courier(authority, port, source, mode, **more):
    connector = SendConnector(
        name="out", address_spaces=["*"], smart_hosts=[f"localhost:{port}"], implicit_tls=True, require_tls=True,
        tls_auth_level=TlsAuthLevel.DOMAIN_VALIDATION, tls_ca_file=str(authority.root), tls_ocsp_mode=mode, **more,
    )  # fmt: skip
    factory = SmtpCourierFactory(
        {"out": connector}, DeliverySettings(connect_timeout=Duration(seconds=5)), "me.example", [],
        Resolver([], clock=SystemClock(), timeout=0.3, tries=1), SystemClock(), random.random, ListLog(), ListLog(),
    )  # fmt: skip
    return factory.courier(SMART_HOST, source)


async def taken(authority, port, mode, *messages):
    """Messages that all pass."""
    source = MemorySource(messages or [queued()])
    one = courier(authority, port, source, mode)
    one.wake()
    await source.all_finished(len(messages) or 1)
    await one.close()


async def refused(authority, port, mode, **more):
    """Why the host was not used."""
    source = MemorySource([queued()])
    one = courier(authority, port, source, mode, **more)
    one.wake()
    error, permanent, status = await source.connection_failure()
    await one.close()
    assert (permanent, status) == (False, "4.7.5")
    return error


async def test_messages_pass_where_the_certificate_is_good(authority):
    pair = authority.issue("localhost")
    staple = response(authority, certificate(pair))
    with Sink() as sink, StaplingFront(pair, staple, sink.port) as front:
        await taken(authority, front.port, OcspMode.REQUIRE, queued(), queued(LARGE), queued())
        assert sorted(len(one.data) for one in sink.transactions) == sorted([len(MESSAGE), len(LARGE), len(MESSAGE)])


async def test_nothing_is_said_to_a_server_whose_certificate_was_revoked(authority):
    pair = authority.issue("localhost")
    staple = response(authority, certificate(pair), status=ocsp.OCSPCertStatus.REVOKED)
    with Sink() as sink, StaplingFront(pair, staple, sink.port) as front:
        error = await refused(authority, front.port, OcspMode.CHECK)
        assert "its authority revoked it" in error
        assert "keyCompromise" in error
        assert sink.commands == []
        await taken(authority, front.port, OcspMode.NONE)  # nobody asked


async def test_without_a_staple_the_mode_decides_and_names_count(authority):
    pair = authority.issue("localhost")
    with Sink() as sink, StaplingFront(pair, b"", sink.port) as front:
        await taken(authority, front.port, OcspMode.CHECK)
        assert "staples no OCSP response" in await refused(authority, front.port, OcspMode.REQUIRE)
        wrong = await refused(authority, front.port, OcspMode.CHECK, tls_domain="other.test")
        assert "is for localhost, not for other.test" in wrong
