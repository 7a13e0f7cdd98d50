# SPDX-License-Identifier: MIT
import pytest

from bridgehead.mail.limits import DMARC_TREE_WALK
from bridgehead.msgauth.dkim.verify import DkimResult, DkimVerdict
from bridgehead.msgauth.dmarc import DmarcTree, DmarcVerdict, check_dmarc, parse_record
from bridgehead.msgauth.spf import SpfResult, SpfVerdict
from support.auth_zone import Zone

NO_SPF = SpfResult(SpfVerdict.FAIL, "contoso.com")


def spf(domain: str) -> SpfResult:
    return SpfResult(SpfVerdict.PASS, domain)


def dkim(domain: str) -> list[DkimResult]:
    return [DkimResult(DkimVerdict.PASS, domain, "s")]


def zone(**records: str) -> Zone:
    return Zone({(f"_dmarc.{name.replace('_', '.')}", "TXT"): [text] for name, text in records.items()})


@pytest.mark.parametrize(
    ("record", "author", "vouching", "passes"),
    [
        ("v=DMARC1; p=reject", "contoso.com", "contoso.com", True),
        ("v=DMARC1; p=reject", "contoso.com", "mail.contoso.com", True),
        ("v=DMARC1; p=reject", "news.contoso.com", "contoso.com", True),
        ("v=DMARC1; p=reject", "contoso.com", "evilcontoso.com", False),
        ("v=DMARC1; p=reject", "contoso.com", "com", False),
        ("v=DMARC1; p=reject; adkim=s; aspf=s", "contoso.com", "mail.contoso.com", False),
    ],
)
async def test_alignment(record: str, author: str, vouching: str, passes: bool) -> None:
    for spf_result, dkim_results in ((spf(vouching), []), (NO_SPF, dkim(vouching))):
        result = await check_dmarc(author, spf_result, dkim_results, zone(contoso_com=record))
        assert (result.verdict is DmarcVerdict.PASS) is passes


async def test_without_a_record_only_the_very_domain_vouches() -> None:
    assert (await check_dmarc("contoso.com", spf("contoso.com"), [], zone())).verdict is DmarcVerdict.PASS
    assert (await check_dmarc("contoso.com", spf("mail.contoso.com"), [], zone())).verdict is DmarcVerdict.NONE


async def test_a_fail_names_the_policy_that_applies() -> None:
    records = zone(contoso_com="v=DMARC1; p=reject; sp=quarantine")
    assert (await check_dmarc("contoso.com", NO_SPF, [], records)).policy == "reject"
    assert (await check_dmarc("news.contoso.com", NO_SPF, [], records)).policy == "quarantine"


async def test_dns_trouble_is_a_temporary_error() -> None:
    assert (await check_dmarc("contoso.com", NO_SPF, [], zone(contoso_com="TIMEOUT"))).verdict is DmarcVerdict.TEMPERROR
    unsure = SpfResult(SpfVerdict.TEMPERROR, "contoso.com")
    assert (await check_dmarc("contoso.com", unsure, [], zone())).verdict is DmarcVerdict.TEMPERROR


async def test_a_public_suffix_parts_its_domains() -> None:
    records = zone(bank="v=DMARC1; p=reject; psd=y", a_bank="v=DMARC1; p=none")
    assert await DmarcTree(records).organizational_domain("mail.a.bank") == "a.bank"
    assert (await check_dmarc("a.bank", spf("b.bank"), [], records)).verdict is DmarcVerdict.FAIL


async def test_the_walk_up_is_bounded() -> None:
    records = zone()
    await DmarcTree(records).organizational_domain(".".join(["x"] * 100))
    assert records.asked == DMARC_TREE_WALK


@pytest.mark.parametrize("text", ["v=spf1 -all", "v=DMARC2; p=none", "", "v=DMARC1 p=none;;=", "p=none; v=DMARC1"])
def test_what_is_no_record(text: str) -> None:
    assert parse_record(text.encode()) is None
