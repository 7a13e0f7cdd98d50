# SPDX-License-Identifier: MIT
"""REQUIRETLS on the way out (RFC 8689 §4.2.1), and that no connection serves mail with another requirement."""

import pytest

from bridgehead.mail.item import TlsRequirement
from bridgehead.routing.domain_tls import TlsLevel
from bridgehead.routing.next_hop import DeliveryType, NextHop
from support.policy_host import policy
from support.policy_world import PolicyWorld, der_of, tlsa, with_chain
from support.signed_dns import PLAIN
from support.sink import ALL_EXTENSIONS
from support.work_source import MemorySource, queued

OFFERS, SILENT, CLEAR, UNKNOWN = (f"127.0.0.{number}" for number in range(22, 26))
REQUIRED, REPORT = TlsRequirement.REQUIRED, TlsRequirement.REPORT
KEYWORD = (*ALL_EXTENSIONS, "REQUIRETLS")


class Site(PolicyWorld):
    """OFFERS offers REQUIRETLS, SILENT has TLS alone, UNKNOWN offers it with a certificate of nobody's."""

    def __init__(self, folder):
        super().__init__(folder)
        pair = with_chain(self.authority.issue("*.require.test", "*.plain.test"), self.authority)
        self.offers = self.mail_host(OFFERS, pair, extensions=KEYWORD)
        self.silent = self.mail_host(SILENT, pair)
        self.clear = self.mail_host(CLEAR, None, extensions=KEYWORD)
        stranger = self.strangers.issue("*.require.test")
        self.unknown = self.mail_host(UNKNOWN, stranger, extensions=KEYWORD)
        hosts = [
            f"{name} MX 10 mx-{name}.require.test.\nmx-{name} A {address}"
            for name, address in (
                ("offers", OFFERS), ("silent", SILENT), ("clear", CLEAR), ("unknown", UNKNOWN), ("dane", UNKNOWN),
            )
        ]  # fmt: skip
        self.dns.zone(
            "require.test", *hosts, "both MX 10 mx-silent.require.test.", "both MX 20 mx-offers.require.test.",
            f"{self.tlsa_name('mx-dane')} TLSA {tlsa(der_of(stranger))}",
        )  # fmt: skip
        self.dns.zone("plain.test", "@ MX 10 mx.plain.test.", f"mx A {OFFERS}", how=PLAIN)
        sts = ("@ MX 10 mx.plain.test.", "mta-sts A 127.0.0.1", '_mta-sts TXT "v=STSv1; id=1;"')
        self.dns.zone("sts.test", *sts, how=PLAIN)
        self.dns.start()
        self.hosts.add("sts.test", self.authority.issue("mta-sts.sts.test"), policy("testing", "mx.plain.test"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("require"))
    yield made
    made.close()


@pytest.fixture
async def world(site):
    (site.folder / "policies.db").unlink(missing_ok=True)
    site.forget_all()
    yield site
    await site.rest()


@pytest.mark.parametrize(
    ("domain", "error", "permanent"),
    [
        ("offers.require.test", "", False),
        ("both.require.test", "", False),
        ("dane.require.test", "", False),
        ("sts.test", "", False),
        ("silent.require.test", "does not offer it", True),
        ("clear.require.test", "does not offer STARTTLS", False),
        ("unknown.require.test", "the certificate is not valid", False),
        ("plain.test", "neither DNSSEC nor MTA-STS vouches", True),
    ],
)
async def test_rfc8689_case(world, domain, error, permanent):
    """A verified certificate, an MX name that DNSSEC or MTA-STS vouches for, and the extension on offer: all of them."""
    sent = await world.send(domain, REQUIRED)
    assert error in sent.error
    assert bool(sent.error) is bool(error)
    assert sent.permanent is permanent
    if permanent:
        assert sent.status == "5.7.30"


async def test_the_parameter_goes_with_the_message_and_the_session_is_encrypted(world):
    assert (await world.send("offers.require.test", REQUIRED)).note.endswith("requiretls")
    (taken,) = world.offers.to("b@offers.require.test")[-1:]
    assert taken.tls
    assert " REQUIRETLS" in taken.mail
    await world.send("offers.require.test")
    assert "REQUIRETLS" not in world.offers.to("b@offers.require.test")[-1].mail


async def test_a_report_goes_where_it_can_be_read_by_nobody_else(world):
    """RFC 8689 §5: without sender, a host that does not offer the extension does not make it lost; a bad certificate
    keeps it waiting."""
    assert (await world.send("silent.require.test", REPORT, sender="")).error == ""
    assert "REQUIRETLS" not in world.silent.to("b@silent.require.test")[-1].mail
    assert (await world.send("offers.require.test", REPORT, sender="")).error == ""
    assert "REQUIRETLS" in world.offers.to("b@offers.require.test")[-1].mail
    assert "not valid" in (await world.send("unknown.require.test", REPORT, sender="")).error


async def test_d12_an_opportunistic_session_is_not_used_for_requiretls_mail(world):
    """D12: an idle connection to the very host that offers REQUIRETLS, opened without checking, stays where it is."""
    factory = world.factory()
    usual = MemorySource([queued(recipients=["b@offers.require.test"])])
    courier = factory.courier(NextHop(DeliveryType.DNS_CONNECTOR, "offers.require.test", "out"), usual)
    courier.wake()
    await usual.all_finished(1)
    before = world.offers.sessions
    assert (await world.send("offers.require.test", REQUIRED, factory=factory)).error == ""
    assert world.offers.sessions == before + 1
    # And should one ever be handed such a message all the same, it does not send it.
    stray = queued(recipients=["c@offers.require.test"], tls_requirement=REQUIRED)
    usual.add(stray)
    courier.wake()
    await usual.all_finished(2)
    assert usual.statuses(stray)[0].status == "4.7.30"
    assert not world.offers.to("c@offers.require.test")
    await courier.close()


async def test_d12_requiretls_mail_does_not_take_a_tls_session_up_again(world):
    """D12: session tickets across services."""
    factory = world.factory()
    for _ in range(2):
        assert (await world.send("offers.require.test", factory=factory)).error == ""
    assert world.offers.handshakes[-1][0]  # usual mail takes sessions up again
    for _ in range(2):
        assert (await world.send("offers.require.test", REQUIRED, factory=factory)).error == ""
        assert not world.offers.handshakes[-1][0]


async def test_requiretls_reaches_the_level_that_is_remembered(world):
    await world.send("offers.require.test", REQUIRED)
    assert world.shared.memory.seen("offers.require.test").best is TlsLevel.VERIFIED


def test_d12_the_next_hop_is_what_the_pool_lends_by():
    """Another requirement, connector (and with it credentials, source and TLS settings) or domain: another pool."""
    hop = NextHop(DeliveryType.DNS_CONNECTOR, "contoso.test", "out")
    others = [
        NextHop(DeliveryType.DNS_CONNECTOR, "contoso.test", "out", REQUIRED),
        NextHop(DeliveryType.DNS_CONNECTOR, "contoso.test", "out", REPORT),
        NextHop(DeliveryType.DNS_CONNECTOR, "contoso.test", "out", TlsRequirement.OPTIONAL),
        NextHop(DeliveryType.DNS_CONNECTOR, "contoso.test", "with other credentials"),
        NextHop(DeliveryType.DNS_CONNECTOR, "fabrikam.test", "out"),
    ]
    assert len({hop, *others}) == 6
    assert len({str(one) for one in (hop, *others)}) == 6
