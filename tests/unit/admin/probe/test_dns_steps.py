# SPDX-License-Identifier: MIT
"""What DNS does wrong, done by a real server on loopback, and the sentence about it."""

import time
from collections.abc import AsyncIterator

import pytest

from bridgehead.admin.probe.dns_steps import DnsProbe
from bridgehead.admin.probe.steps import Step, Verdict
from support.dns_server import ScriptedDns
from support.probe_site import sentences, tree, walk

DEAD = "127.0.0.1:9"
"""Nobody answers there."""


@pytest.fixture
async def dns() -> AsyncIterator[ScriptedDns]:
    async with ScriptedDns() as one:
        one.add("fabrikam.test", "MX", "10 mx1.fabrikam.test.", "20 mx2.fabrikam.test.")
        one.add("mx1.fabrikam.test", "A", "192.0.2.1")
        one.add("mx1.fabrikam.test", "AAAA", "2001:db8::1")
        one.add("mx2.fabrikam.test", "A", "192.0.2.2")
        yield one


async def probe(name: str, *servers: str) -> tuple[bool, Step]:
    root = tree()
    usable = await DnsProbe(servers, seconds=0.3, time=time.monotonic).run(root, name)
    return usable, root.build()


async def test_every_server_is_asked_over_both_transports_for_every_type(dns: ScriptedDns) -> None:
    async with ScriptedDns() as other:
        for name, kind, *values in (
            ("fabrikam.test", "MX", "10 mx1.fabrikam.test.", "20 mx2.fabrikam.test."),
            ("mx1.fabrikam.test", "A", "192.0.2.1"),
            ("mx2.fabrikam.test", "A", "192.0.2.2"),
        ):
            other.add(name, kind, *values)
        usable, found = await probe("fabrikam.test", dns.address, other.address)
    assert usable
    assert found.verdict is Verdict.PASS
    for one in (dns, other):
        assert one.count("fabrikam.test", "MX") == 2  # UDP and TCP
        assert one.count("fabrikam.test", "DS") == 1
        for host in ("mx1.fabrikam.test", "mx2.fabrikam.test"):
            assert one.count(host, "A") == one.count(host, "AAAA") == 1
    texts = [step.sentence for step in walk(found)]
    assert "mx1.fabrikam.test has 192.0.2.1, 2001:db8::1" in texts
    assert "mx2.fabrikam.test has 192.0.2.2, no IPv6 address" in texts
    details = [line for step in walk(found) for line in step.details]
    assert any(line.startswith("TCP MX fabrikam.test: 10 mx1.fabrikam.test") for line in details)
    assert all(step.milliseconds >= 0 for step in walk(found))


async def test_a_dead_server_beside_a_living_one_only_warns(dns: ScriptedDns) -> None:
    usable, found = await probe("fabrikam.test", dns.address, DEAD)
    assert usable
    assert found.verdict is Verdict.WARNING
    [failed] = sentences(found, Verdict.FAILURE)
    assert DEAD in failed
    assert "neither over UDP nor over TCP" in failed


async def test_no_server_that_answers() -> None:
    usable, found = await probe("fabrikam.test", DEAD)
    assert not usable
    assert found.verdict is Verdict.FAILURE


async def test_a_server_without_tcp(dns: ScriptedDns) -> None:
    dns.answers_tcp = False
    usable, found = await probe("fabrikam.test", dns.address)
    assert usable
    [warning] = sentences(found, Verdict.WARNING)
    assert "over UDP and not over TCP" in warning


async def test_a_truncated_answer_is_taken_from_tcp(dns: ScriptedDns) -> None:
    dns.truncate("fabrikam.test")
    usable, found = await probe("fabrikam.test", dns.address)
    assert usable
    assert found.verdict is not Verdict.FAILURE


async def test_name_servers_that_are_silent_about_aaaa_are_told_from_hosts_without_ipv6(dns: ScriptedDns) -> None:
    dns.silent("mx2.fabrikam.test", "AAAA")
    usable, found = await probe("fabrikam.test", dns.address)
    assert usable
    [warning] = sentences(found, Verdict.WARNING)
    assert warning == (
        "Asked for AAAA of mx2.fabrikam.test, its name servers give no answer; mail goes over IPv4, after a delay"
    )


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda dns: dns.add("fabrikam.test", "MX", "0 ."), "takes no mail: it publishes a null MX"),
        (lambda dns: dns.servfail("fabrikam.test"), "cannot find out the MX of fabrikam.test: SERVFAIL"),
        (lambda dns: dns.refused("fabrikam.test"), "refuses to look up fabrikam.test for us"),
        (lambda dns: dns.remove("fabrikam.test"), "fabrikam.test does not exist"),
        (lambda dns: (dns.remove("mx1.fabrikam.test"), dns.remove("mx2.fabrikam.test")), "does not exist"),
    ],
    ids=["null MX", "SERVFAIL", "REFUSED", "NXDOMAIN", "hosts without address"],
)
async def test_what_ends_a_test(break_it, expected: str, dns: ScriptedDns) -> None:
    break_it(dns)
    usable, found = await probe("fabrikam.test", dns.address)
    assert not usable
    assert found.verdict is Verdict.FAILURE
    assert any(expected in one for one in sentences(found, Verdict.FAILURE)), found


async def test_a_mail_host_that_is_an_alias(dns: ScriptedDns) -> None:
    dns.remove("mx1.fabrikam.test")
    dns.add("mx1.fabrikam.test", "CNAME", "real.fabrikam.test.")
    dns.add("real.fabrikam.test", "A", "192.0.2.7")
    usable, found = await probe("fabrikam.test", dns.address)
    assert usable
    assert any("only an alias of real.fabrikam.test" in one for one in sentences(found, Verdict.WARNING))


async def test_a_domain_without_mx_and_one_that_is_signed(dns: ScriptedDns) -> None:
    dns.add("plain.test", "A", "192.0.2.9")
    dns.add("plain.test", "DS", "12345 13 2 " + "ab" * 32)
    usable, found = await probe("plain.test", dns.address)
    assert usable
    notes = sentences(found, Verdict.NOTE)
    assert any("has no MX: its own address takes its mail" in one for one in notes)
    assert any("is signed (DNSSEC)" in one for one in notes)


async def test_servers_that_disagree(dns: ScriptedDns) -> None:
    async with ScriptedDns() as other:
        other.add("fabrikam.test", "MX", "10 old.fabrikam.test.")
        other.add("old.fabrikam.test", "A", "192.0.2.66")
        _, found = await probe("fabrikam.test", dns.address, other.address)
    assert any("different mail hosts" in one for one in sentences(found, Verdict.WARNING))
