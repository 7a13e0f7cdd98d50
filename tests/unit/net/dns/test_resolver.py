# SPDX-License-Identifier: MIT
"""Resolver against a DNS server on loopback that gives every kind of answer, and none."""

import pytest

from bridgehead.net.dns.resolver import MxRecord, Outcome, Resolver, read_hosts_file, server_text
from support.dns_server import ScriptedDns


class JumpingClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
async def dns():
    async with ScriptedDns() as server:
        yield server


@pytest.fixture
async def clock():
    return JumpingClock()


@pytest.fixture
async def resolver(dns, clock):
    made = Resolver([dns.address], clock=clock, timeout=0.2, tries=1, hosts={})
    yield made
    await made.close()


async def test_mx_records_come_with_preference_and_clean_names(dns, resolver):
    dns.add("example.com", "MX", "20 mx2.example.com.", "10 MX1.example.com.")
    answer = await resolver.mx("Example.COM")
    assert answer.outcome is Outcome.FOUND
    assert sorted(answer.records) == [MxRecord(10, "mx1.example.com"), MxRecord(20, "mx2.example.com")]


async def test_null_mx_is_an_empty_exchange(dns, resolver):
    dns.add("nomail.example", "MX", "0 .")
    assert (await resolver.mx("nomail.example")).records == (MxRecord(0, ""),)


async def test_nxdomain_and_nodata_are_told_apart(dns, resolver):
    dns.add("exists.example", "A", "127.0.0.1")
    assert (await resolver.mx("missing.example")).outcome is Outcome.NO_SUCH_DOMAIN
    assert (await resolver.mx("exists.example")).outcome is Outcome.NO_DATA


@pytest.mark.parametrize("trouble", ["servfail", "refused", "silent"])
async def test_failures_are_temporary(dns, resolver, trouble):
    getattr(dns, trouble)("broken.example")
    answer = await resolver.mx("broken.example")
    assert answer.outcome is Outcome.TEMPORARY_FAILURE
    assert "broken.example" in answer.reason


async def test_both_families_and_aliases(dns, resolver):
    dns.add("www.example", "CNAME", "host.example.")
    dns.add("host.example", "A", "127.0.0.2")
    dns.add("host.example", "AAAA", "::1")
    assert set((await resolver.addresses("www.example")).values) == {"::1", "127.0.0.2"}


async def test_truncated_answers_are_fetched_by_tcp(dns, resolver):
    dns.add("big.example", "MX", "10 mx.example.")
    dns.truncate("big.example")
    assert (await resolver.mx("big.example")).outcome is Outcome.FOUND


async def test_positive_answers_live_as_long_as_their_ttl(dns, resolver, clock):
    dns.add("a.example", "MX", "10 old.example.", ttl=100)
    await resolver.mx("a.example")
    clock.time += 99
    await resolver.mx("a.example")
    assert dns.count("a.example", "MX") == 1
    clock.time += 2
    assert (await resolver.mx("a.example")).outcome is Outcome.FOUND
    assert ("a.example", "MX") not in [key for key, (until, _) in resolver._cache.items() if until <= clock.time]


async def test_the_cache_is_bounded(dns, resolver, monkeypatch):
    monkeypatch.setattr("bridgehead.net.dns.resolver.DNS_CACHE_ENTRIES", 10)
    for number in range(30):
        dns.add(f"n{number}.example", "MX", "10 mx.example.")
        await resolver.mx(f"n{number}.example")
    assert len(resolver._cache) <= 10


async def test_hosts_file_and_localhost(tmp_path, clock):
    path = tmp_path / "hosts"
    path.write_text("# comment\n127.0.0.9 Relay.Internal relay # x\nnonsense line\n")
    resolver = Resolver(["127.0.0.1:9"], clock=clock, hosts=read_hosts_file(str(path)))
    assert (await resolver.addresses("relay.internal")).values == ("127.0.0.9",)
    assert (await resolver.mx("relay")).outcome is Outcome.NO_DATA
    assert "127.0.0.1" in (await resolver.addresses("localhost")).values


async def test_one_resolver_for_each_list_of_servers(dns, resolver):
    assert resolver.for_servers([]) is resolver
    other = resolver.for_servers(["127.0.0.1:1"])
    assert other is not resolver
    assert resolver.for_servers(["127.0.0.1:1"]) is other


async def test_ptr(dns, resolver):
    dns.add("1.0.0.127.in-addr.arpa", "PTR", "Localhost.")
    assert (await resolver.ptr("127.0.0.1")).values == ("localhost",)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("192.0.2.1", "192.0.2.1"), ("192.0.2.1:5353", "192.0.2.1:5353"), ("::1", "::1"), ("[::1]:53", "[::1]:53")],
)
def test_server_forms(given, wanted):
    assert server_text(given) == wanted


@pytest.mark.parametrize("bad", ["dns.example", "192.0.2.1:0", "192.0.2.1:x", ""])
def test_server_that_is_none(bad):
    with pytest.raises(ValueError, match="was expected"):
        server_text(bad)
