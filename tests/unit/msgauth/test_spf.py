# SPDX-License-Identifier: MIT
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.mail.limits import SPF_LOOKUPS
from bridgehead.msgauth.spf import SpfVerdict, check_spf
from support.auth_zone import Zone

ZONE = {
    ("example.com", "A"): ["192.0.2.10", "192.0.2.11"],
    ("example.com", "MX"): ["mail-a.example.com", "mail-b.example.com"],
    ("mail-a.example.com", "A"): ["192.0.2.129"],
    ("mail-b.example.com", "A"): ["192.0.2.130"],
    ("amy.example.com", "A"): ["192.0.2.65"],
    ("amy.example.com", "AAAA"): ["2001:db8::65"],
    ("example.org", "MX"): ["mail-c.example.org"],
    ("mail-c.example.org", "A"): ["192.0.2.140"],
    ("10.2.0.192.in-addr.arpa", "PTR"): ["example.com"],
    ("65.2.0.192.in-addr.arpa", "PTR"): ["amy.example.com"],
    ("140.2.0.192.in-addr.arpa", "PTR"): ["mail-c.example.org"],
    ("4.0.0.10.in-addr.arpa", "PTR"): ["bob.example.com"],
    ("mary.mobile-users._spf.example.com", "A"): ["127.0.0.2"],
    ("15.15.168.192.joel.remote-users._spf.example.com", "A"): ["127.0.0.2"],
}


async def verdict(record: str, ip: str, sender: str = "anna@example.com", **more: Sequence[str]) -> SpfVerdict:
    zone = Zone(ZONE | {("example.com", "TXT"): ["unrelated", record]} | {
        (name.replace("__", "-").replace("_", ".").replace("-", "_"), "TXT"): list(texts) for name, texts in more.items()
    })  # fmt: skip
    return (await check_spf(ip, sender, "mail.example.com", zone)).verdict


@pytest.mark.parametrize(
    ("record", "passes", "fails"),
    [
        ("v=spf1 +all", ["203.0.113.1"], []),
        ("v=spf1 a -all", ["192.0.2.10", "192.0.2.11"], ["192.0.2.12"]),
        ("v=spf1 a:example.org -all", [], ["192.0.2.10"]),
        ("v=spf1 mx -all", ["192.0.2.129", "192.0.2.130"], ["192.0.2.10"]),
        ("v=spf1 mx:example.org -all", ["192.0.2.140"], ["192.0.2.129"]),
        ("v=spf1 mx mx:example.org -all", ["192.0.2.129", "192.0.2.140"], ["192.0.2.141"]),
        ("v=spf1 mx/30 mx:example.org/30 -all", ["192.0.2.131", "192.0.2.143"], ["192.0.2.132"]),
        ("v=spf1 ptr -all", ["192.0.2.10", "192.0.2.65"], ["192.0.2.140", "10.0.0.4"]),
        ("v=spf1 ip4:192.0.2.128/28 -all", ["192.0.2.129"], ["192.0.2.65"]),
        ("v=spf1 a:amy.example.com//64 -all", ["2001:db8::1"], ["2001:db9::1"]),
        ("v=spf1 ip6:2001:db8::/32 -all", ["2001:db8:5::1"], ["192.0.2.1"]),
    ],
)
async def test_the_examples_of_the_rfc(record: str, passes: list[str], fails: list[str]) -> None:
    assert [await verdict(record, ip) for ip in passes] == [SpfVerdict.PASS] * len(passes)
    assert [await verdict(record, ip) for ip in fails] == [SpfVerdict.FAIL] * len(fails)


async def test_macros_choose_a_record_by_sender_and_address() -> None:
    record = "v=spf1 exists:%{l}.mobile-users._spf.%{d} exists:%{ir}.%{l1r-}.remote-users._spf.%{d} -all"
    assert await verdict(record, "10.9.8.7", "mary@example.com") is SpfVerdict.PASS
    assert await verdict(record, "192.168.15.15", "joel@example.com") is SpfVerdict.PASS
    assert await verdict(record, "192.168.15.16", "joel@example.com") is SpfVerdict.FAIL


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 -all all:x", "v=spf1 ip4:300.0.0.1", "v=spf1 ip4:192.0.2.1/33", "v=spf1 ip6:192.0.2.1", "v=spf1 include",
        "v=spf1 redirect=a.example redirect=b.example", "v=spf1 frobnicate", "v=spf1 a:%{z}.example", "v=spf1 exists:%",
        "v=spf1 a:host.123", "v=spf1 +redirect=example.org", "v=spf1 a/07", "v=spf1 a:\u00e4.example",
    ],
)  # fmt: skip
async def test_a_record_with_any_mistake_is_a_permanent_error_as_a_whole(record: str) -> None:
    assert await verdict(f"v=spf1 +all{record.removeprefix('v=spf1')}", "192.0.2.10") is SpfVerdict.PERMERROR


async def test_qualifiers_and_nothing_matching() -> None:
    assert await verdict("v=spf1 ~all", "203.0.113.1") is SpfVerdict.SOFTFAIL
    assert await verdict("v=spf1 ?all", "203.0.113.1") is SpfVerdict.NEUTRAL
    assert await verdict("v=spf1 a", "203.0.113.1") is SpfVerdict.NEUTRAL
    assert await verdict("v=spf10 +all", "203.0.113.1") is SpfVerdict.NONE


async def test_include_asks_for_a_pass_and_redirect_takes_over() -> None:
    other = ["v=spf1 ip4:203.0.113.0/24 -all"]
    assert await verdict("v=spf1 include:b.example -all", "203.0.113.9", b_example=other) is SpfVerdict.PASS
    assert await verdict("v=spf1 include:b.example ~all", "198.51.100.1", b_example=other) is SpfVerdict.SOFTFAIL
    assert await verdict("v=spf1 redirect=b.example", "198.51.100.1", b_example=other) is SpfVerdict.FAIL
    assert await verdict("v=spf1 include:missing.example -all", "203.0.113.9") is SpfVerdict.PERMERROR
    assert await verdict("v=spf1 redirect=missing.example", "203.0.113.9") is SpfVerdict.PERMERROR


async def test_two_records_are_none_that_can_be_used() -> None:
    zone = Zone({("example.com", "TXT"): ["v=spf1 +all", "v=spf1 -all"]})
    assert (await check_spf("192.0.2.1", "a@example.com", "h", zone)).verdict is SpfVerdict.PERMERROR


async def test_dns_trouble_is_temporary_and_never_a_pass() -> None:
    zone = Zone({("example.com", "TXT"): ["v=spf1 a:slow.example +all"], ("slow.example", "A"): ["TIMEOUT"]})
    assert (await check_spf("192.0.2.1", "a@example.com", "h", zone)).verdict is SpfVerdict.TEMPERROR


async def test_a_record_that_includes_itself_ends_after_ten_lookups() -> None:
    zone = Zone({("example.com", "TXT"): ["v=spf1 include:example.com +all"]})
    result = await check_spf("192.0.2.1", "a@example.com", "h", zone)
    assert result.verdict is SpfVerdict.PERMERROR
    assert zone.asked == SPF_LOOKUPS + 1


async def test_a_third_lookup_without_result_ends_the_check() -> None:
    record = "v=spf1 a:a.example a:b.example a:c.example +all"
    assert await verdict(record, "203.0.113.1") is SpfVerdict.PERMERROR


async def test_the_null_reverse_path_is_checked_by_the_helo_name() -> None:
    zone = Zone({("mail.example.com", "TXT"): ["v=spf1 ip4:192.0.2.1 -all"]})
    assert (await check_spf("192.0.2.1", "", "mail.example.com", zone)).verdict is SpfVerdict.PASS
    assert (await check_spf("192.0.2.1", "", "[192.0.2.1]", zone)).verdict is SpfVerdict.NONE


async def test_a_mapped_address_is_the_ipv4_address_it_stands_for() -> None:
    assert await verdict("v=spf1 ip4:192.0.2.1 -all", "::ffff:192.0.2.1") is SpfVerdict.PASS


async def test_a_fail_brings_the_domains_own_words() -> None:
    zone = Zone({
        ("example.com", "TXT"): ["v=spf1 exp=why.%{d} -all"],
        ("why.example.com", "TXT"): ["%{i} is not one of %{d}'s, says %{r}%_at %{t}"],
    })  # fmt: skip
    result = await check_spf("192.0.2.1", "a@example.com", "h", zone, receiver="mx.contoso.com", now=7)
    assert result.explanation == "192.0.2.1 is not one of example.com's, says mx.contoso.com at 7"


@given(st.text(max_size=60), st.text(st.sampled_from("v=spf1 aimxptrexists:/.%{}lodrhc0123456789-+~?=_"), max_size=80))
async def test_no_record_makes_anything_but_a_verdict(domain: str, record: str) -> None:
    zone = Zone({("example.com", "TXT"): [f"v=spf1 {record}"], ("a.example", "TXT"): [record]})
    for sender in ("a@example.com", f"x@{domain}", domain):
        assert isinstance((await check_spf("2001:db8::1", sender, domain, zone)).verdict, SpfVerdict)


async def test_d9_no_record_costs_more_than_its_length() -> None:
    """Quadratic work over these would take longer than the test may."""
    for term in ("a:x." + "a" * 15_000 + "!", "exists:" + "." * 15_000, "a:" + "%{l}" * 3_000, "x" * 16_000):
        await verdict(f"v=spf1 {term} -all", "192.0.2.1", "a" * 60 + "@example.com")
