# SPDX-License-Identifier: MIT
"""Where a next hop's mail goes, with a real resolver and a scripted DNS server."""

import pytest

from bridgehead.delivery.smtp_send.destination import (
    Ourselves,
    Unresolvable,
    resolve_destination,
    split_smart_host,
)
from bridgehead.net.clock import SystemClock
from bridgehead.net.dns.resolver import Resolver
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import ErrorPolicy, SendConnector
from support.dns_server import ScriptedDns


@pytest.fixture
async def dns():
    async with ScriptedDns() as server:
        yield server


@pytest.fixture
async def resolve(dns):
    resolver = Resolver([dns.address], clock=SystemClock(), timeout=0.2, tries=1, hosts={})

    async def ask(domain="", ourselves=None, random=lambda: 0.0, **connector):
        kind = DeliveryType.DNS_CONNECTOR if domain else DeliveryType.SMART_HOST
        made = SendConnector(name="out", address_spaces=["*"], **connector)
        hop = NextHop(kind, domain or "smart", "out")
        found = await resolve_destination(hop, made, resolver, ourselves or Ourselves(), random)
        if isinstance(found, Unresolvable):
            return found
        return [(target.host, target.address, target.port) for target in found]

    yield ask
    await resolver.close()


async def test_preference_decides_and_both_families_are_used(dns, resolve):
    dns.add("x.example", "MX", "20 two.example.", "10 one.example.")
    dns.add("one.example", "A", "192.0.2.1")
    dns.add("one.example", "AAAA", "2001:db8::1")
    dns.add("two.example", "A", "192.0.2.2")
    assert await resolve("x.example") == [
        ("one.example", "192.0.2.1", 25),
        ("one.example", "2001:db8::1", 25),
        ("two.example", "192.0.2.2", 25),
    ]


async def test_equals_are_randomised(dns, resolve):
    dns.add("x.example", "MX", "10 a.example.", "10 b.example.")
    dns.add("a.example", "A", "192.0.2.1")
    dns.add("b.example", "A", "192.0.2.2")
    seen = set()
    for start in (0.1, 0.9):
        numbers = iter([start, 0.5] + [0.3] * 20)
        seen.add((await resolve("x.example", random=lambda numbers=numbers: next(numbers)))[0][0])
    assert seen == {"a.example", "b.example"}


async def test_without_mx_the_domain_itself_is_the_host(dns, resolve):
    dns.add("x.example", "A", "192.0.2.1")
    assert await resolve("x.example") == [("x.example", "192.0.2.1", 25)]


async def test_an_mx_that_is_an_alias_is_followed(dns, resolve):
    dns.add("x.example", "MX", "10 alias.example.")
    dns.add("alias.example", "CNAME", "real.example.")
    dns.add("real.example", "A", "192.0.2.1")
    assert await resolve("x.example") == [("alias.example", "192.0.2.1", 25)]


async def test_address_literals(resolve):
    assert await resolve("[192.0.2.7]") == [("[192.0.2.7]", "192.0.2.7", 25)]
    assert await resolve("[IPv6:2001:db8::7]") == [("[IPv6:2001:db8::7]", "2001:db8::7", 25)]


async def test_internationalised_domains_are_asked_for_in_a_labels(dns, resolve):
    dns.add("xn--bcher-kva.example", "MX", "10 mx.example.")
    dns.add("mx.example", "A", "192.0.2.1")
    assert await resolve("bücher.example") == [("mx.example", "192.0.2.1", 25)]


async def test_hosts_from_our_own_preference_on_are_struck_out(dns, resolve):
    dns.add("x.example", "MX", "10 best.example.", "20 us.example.", "20 equal.example.", "30 worse.example.")
    for number, name in enumerate(("best", "us", "equal", "worse"), 1):
        dns.add(f"{name}.example", "A", f"192.0.2.{number}")
    by_name = Ourselves(fqdns=frozenset({"us.example"}))
    by_address = Ourselves(endpoints=frozenset({("192.0.2.2", 25)}))
    for ourselves in (by_name, by_address):
        assert await resolve("x.example", ourselves) == [("best.example", "192.0.2.1", 25)]
    elsewhere = Ourselves(endpoints=frozenset({("192.0.2.2", 2525)}))
    assert len(await resolve("x.example", elsewhere)) == 4


@pytest.mark.parametrize("endpoint", ["127.0.0.1", "0.0.0.0", "::"])
async def test_we_are_the_best_host(dns, resolve, endpoint):
    dns.add("x.example", "MX", "10 us.example.", "20 other.example.")
    dns.add("us.example", "A", "127.0.0.1")
    dns.add("other.example", "A", "192.0.2.2")
    found = await resolve("x.example", Ourselves(endpoints=frozenset({(endpoint, 25)})))
    assert (found.permanent, found.status) == (True, "5.4.6")


async def test_no_address_anywhere(dns, resolve):
    dns.add("empty.example", "TXT", '"nothing"')
    dns.add("lost.example", "MX", "10 gone.example.")
    dns.add("half.example", "MX", "10 gone.example.", "20 broken.example.")
    dns.servfail("broken.example")
    assert (await resolve("empty.example")).status == "5.4.4"
    assert (await resolve("lost.example")).status == "5.4.4"
    assert (await resolve("half.example")).status == "4.4.3", "the broken one may have an address"
    downgraded = await resolve("lost.example", error_policies=[ErrorPolicy.DOWNGRADE_DNS_FAILURES])
    assert (downgraded.permanent, downgraded.status) == (False, "4.4.4")


async def test_smart_hosts_by_mx_by_address_and_by_name(dns, resolve):
    dns.add("relay.example", "MX", "10 mx.relay.example.")
    dns.add("mx.relay.example", "A", "192.0.2.1")
    dns.add("plain.example", "A", "192.0.2.2")
    found = await resolve(
        smart_hosts=["relay.example", "plain.example:587", "[192.0.2.3]", "192.0.2.4:2525", "[2001:db8::5]:26"]
    )
    assert found == [
        ("mx.relay.example", "192.0.2.1", 25),
        ("plain.example", "192.0.2.2", 587),
        ("[192.0.2.3]", "192.0.2.3", 25),
        ("[192.0.2.4]", "192.0.2.4", 2525),
        ("[IPv6:2001:db8::5]", "2001:db8::5", 26),
    ]


async def test_smart_hosts_start_at_random_and_one_that_is_lost_harms_none(dns, resolve):
    hosts = ["192.0.2.1", "missing.example", "192.0.2.3"]
    found = await resolve(smart_hosts=hosts, random=lambda: 0.7)
    assert [address for _, address, _ in found] == ["192.0.2.3", "192.0.2.1"]
    lost = await resolve(smart_hosts=["missing.example"])
    assert (lost.permanent, lost.status) == (False, "4.4.4"), "the administrator's mistake, not the sender's"


@pytest.mark.parametrize("bad", ["", "[192.0.2.1", "[192.0.2.1]x", "relay:0", "relay:99999", "relay:x", "[name]"])
def test_what_is_no_smart_host(bad):
    with pytest.raises(ValueError):
        split_smart_host(bad, 25)
