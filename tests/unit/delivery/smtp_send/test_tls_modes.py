# SPDX-License-Identifier: MIT
"""The TLS modes of send connectors against real servers: certificates of our own, versions, sessions, port 465."""

import random
import ssl

import msgspec
import pytest

from bridgehead.delivery.settings import DeliverySettings
from bridgehead.delivery.smtp_send.courier import SmtpCourierFactory
from bridgehead.delivery.smtp_send.security import client_pair
from bridgehead.mail.units import Duration
from bridgehead.net.certificates.pairs import CertificatePair
from bridgehead.net.certificates.store import CertificateStore
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.resolver import Resolver
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import SendConnector, TlsAuthLevel, TlsVersion
from support.certificates import Authority
from support.dns_server import ScriptedDns
from support.odd_certificates import with_old_tls_only
from support.sink import Sink
from support.work_source import ListLog, MemorySource, queued

SMART_HOST = NextHop(DeliveryType.SMART_HOST, "smart", "out")
PARTNER = NextHop(DeliveryType.DNS_CONNECTOR, "woodgrove.test", "out")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


class Site:
    """Delivers one message after the other over one factory, each by a courier of its own."""

    def __init__(self, tmp_path, *certificates, dns=(), secure_domains=()):
        pairs = [CertificatePair(one.certificate, one.key) for one in certificates]
        default = pairs[0] if pairs else CertificatePair(tmp_path / "none.crt", tmp_path / "none.key")
        self.store = CertificateStore(tmp_path, default, lambda _: None, pairs)
        self.resolver = Resolver(dns, clock=SystemClock(), timeout=0.3, tries=1)
        self.secure_domains = secure_domains
        self.log = ListLog()
        self.made = None

    def factory(self, **connector):
        made = SendConnector(name="out", address_spaces=["*"], **connector)
        return SmtpCourierFactory(
            {"out": made}, DeliverySettings(connect_timeout=Duration(seconds=3)), "me.example", [], self.resolver,
            SystemClock(), random.random, self.log, self.log,
            client_pair=lambda one: client_pair(one, self.store), secure_domains=self.secure_domains,
        )  # fmt: skip

    async def deliver(self, factory, next_hop=SMART_HOST):
        """ "" for a message that was taken, else why the next hop could not be used."""
        source = MemorySource([queued()])
        courier = factory.courier(next_hop, source)
        courier.wake()
        try:
            await source.all_finished(1)
        except AssertionError:
            error, _permanent, _status = await source.connection_failure()
            return error
        finally:
            await courier.close()
        return ""

    async def refused(self, factory, next_hop=SMART_HOST):
        source = MemorySource([queued()])
        courier = factory.courier(next_hop, source)
        courier.wake()
        error, _permanent, _status = await source.connection_failure()
        await courier.close()
        return error


def asking(authority, *names):
    """A server's context that demands a client certificate of this authority."""
    context = authority.issue(*names).server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.root)
    return context


async def test_the_certificate_that_is_pinned_is_shown_and_a_renewal_changes_nothing(tmp_path, authority):
    own = authority.issue("relay.contoso.test")
    site = Site(tmp_path, own)
    with Sink(context=asking(authority, "mx.test")) as sink:
        factory = site.factory(
            smart_hosts=[f"127.0.0.1:{sink.port}"], require_tls=True, tls_certificate_name="relay.contoso.test"
        )
        assert await site.deliver(factory) == ""
        authority.issue("relay.contoso.test", days=30)
        site.store.look_again()
        assert await site.deliver(factory) == ""
        assert [names for _, names in sink.handshakes] == [("relay.contoso.test",)] * 2


async def test_tls_before_the_greeting(tmp_path, authority):
    site = Site(tmp_path)
    with Sink(context=authority.issue("localhost").server_context(), implicit_tls=True) as sink:
        settings = {"smart_hosts": [f"localhost:{sink.port}"], "implicit_tls": True, "tls_ca_file": str(authority.root)}
        assert await site.deliver(site.factory(tls_auth_level=TlsAuthLevel.DOMAIN_VALIDATION, **settings)) == ""
        assert sink.transactions[0].tls
        wrong = site.factory(tls_auth_level=TlsAuthLevel.DOMAIN_VALIDATION, tls_domain="other.test", **settings)
        assert "is for localhost, not for other.test" in await site.refused(wrong)
        assert len(sink.transactions) == 1


async def test_a_server_that_speaks_only_old_tls_is_used_where_the_connector_allows_it(tmp_path, authority):
    site = Site(tmp_path)
    context = authority.issue("mx.test").server_context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1
    with Sink(context=context) as sink:
        hosts = [f"127.0.0.1:{sink.port}"]
        assert "TLS" in await site.refused(site.factory(smart_hosts=hosts, require_tls=True))
        old = site.factory(smart_hosts=hosts, require_tls=True, tls_minimum_version=TlsVersion.TLS_1_0)
        assert await site.deliver(old) == ""


async def test_one_connectors_broken_tls_sends_no_other_in_clear(tmp_path, authority):
    """What a host did to a connector that speaks no old TLS says nothing about one that does."""
    site = Site(tmp_path)
    with Sink(context=with_old_tls_only(authority.issue("mx.test").server_context())) as sink:
        strict = SendConnector(name="strict", address_spaces=["a.test"], smart_hosts=[f"127.0.0.1:{sink.port}"])
        lenient = msgspec.structs.replace(strict, name="lenient", tls_minimum_version=TlsVersion.TLS_1_0)
        factory = SmtpCourierFactory(
            {one.name: one for one in (strict, lenient)}, DeliverySettings(), "me.example", [], site.resolver,
            SystemClock(), random.random, site.log, site.log,
        )  # fmt: skip
        for one in (strict, lenient, strict):
            assert await site.deliver(factory, NextHop(DeliveryType.SMART_HOST, "smart", one.name)) == ""
        assert [one.tls for one in sink.transactions] == [False, True, False]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_taken_up_again_with_the_same_host_by_the_same_connector_only(
    tmp_path, authority, version, host
):
    site = Site(tmp_path)
    context = authority.issue("localhost").server_context()
    context.maximum_version = version
    with Sink(context=context) as sink:
        settings = {"smart_hosts": [f"{host}:{sink.port}"], "require_tls": True}
        factory = site.factory(**settings)
        assert await site.deliver(factory) == ""
        assert await site.deliver(factory) == ""
        assert await site.deliver(site.factory(**settings)) == ""
        assert [reused for reused, _ in sink.handshakes] == [False, True, False]


async def test_domain_security_shows_our_certificate_and_demands_the_partners(tmp_path, authority):
    own = authority.issue("contoso.test")
    async with ScriptedDns() as dns:
        dns.add("woodgrove.test", "MX", "10 localhost.")
        site = Site(tmp_path, own, dns=[dns.address], secure_domains=["woodgrove.test"])
        with Sink(context=asking(authority, "woodgrove.test")) as sink:
            settings = {"port": sink.port, "domain_secure_enabled": True, "tls_ca_file": str(authority.root)}
            factory = site.factory(tls_certificate_name="contoso.test", **settings)
            assert await site.deliver(factory, PARTNER) == ""
            assert sink.handshakes == [(False, ("contoso.test",))]
            assert "no certificate to show" in await site.refused(site.factory(**settings), PARTNER)
        with Sink(context=asking(authority, "impostor.test")) as sink:
            factory = site.factory(
                port=sink.port, domain_secure_enabled=True, tls_ca_file=str(authority.root),
                tls_certificate_name="contoso.test",
            )  # fmt: skip
            assert "not for woodgrove.test" in await site.refused(factory, PARTNER)
            assert sink.transactions == []
        await site.resolver.close()
