# SPDX-License-Identifier: MIT
"""One policy of connector, DANE, MTA-STS and message (RFC 7672, 8461, 8689): the table of what beats what."""

import pytest

from bridgehead.mail.item import TlsRequirement
from bridgehead.routing.dane import TlsaRecord
from bridgehead.routing.domain_tls import (
    NO_DANE,
    NO_STS,
    DaneAnswer,
    DaneOutcome,
    HostFindings,
    StsAnswer,
    TlsLevel,
    host_policy,
)
from bridgehead.routing.mta_sts import StsMode, StsPolicy
from bridgehead.routing.settings import SendConnector, SmtpDaneMode, TlsAuthLevel
from bridgehead.routing.tls_policy import TlsUse, tls_policy

RECORD = TlsaRecord(3, 1, 1, bytes(32))
DANE = DaneAnswer(DaneOutcome.RECORDS, (RECORD,), "mx.contoso.test", expires=100.0)
UNUSABLE = DaneAnswer(DaneOutcome.UNUSABLE, (), "mx.contoso.test")
BOGUS = DaneAnswer(DaneOutcome.FAILED, reason="bogus", bogus=True)
UNTRUSTED = DaneAnswer(DaneOutcome.UNTRUSTED, reason="nobody is trusted")


def sts(mode, *mx):
    return StsAnswer(StsPolicy(mode=StsMode(mode), mx=mx or ("mx.contoso.test",), max_age=9), "1", 50.0)


LOST = StsAnswer(unknown="the file is damaged")


def judged(dane=NO_DANE, policy=NO_STS, requirement=TlsRequirement.NONE, *, secure=False, **settings):
    connector = SendConnector(name="out", address_spaces=["*"], **settings)
    found = HostFindings(
        host="mx.contoso.test", domain="contoso.test", mx_is_secure=secure, dane=dane, sts=policy
    )  # fmt: skip
    return host_policy(connector, requirement, tls_policy(connector, "contoso.test"), found)


@pytest.mark.parametrize(
    ("dane", "policy", "settings", "shown", "use", "refused"),
    [
        (NO_DANE, NO_STS, {}, "connector", TlsUse.OPPORTUNISTIC, ""),
        (DANE, NO_STS, {}, "dane", TlsUse.REQUIRED, ""),
        (DANE, sts("enforce", "other.test"), {}, "dane", TlsUse.REQUIRED, ""),
        (UNUSABLE, NO_STS, {}, "dane", TlsUse.REQUIRED, ""),
        (BOGUS, NO_STS, {}, "dane", TlsUse.OPPORTUNISTIC, "cannot be told"),
        (BOGUS, sts("none"), {}, "dane", TlsUse.OPPORTUNISTIC, "cannot be told"),
        (NO_DANE, sts("enforce"), {}, "mta-sts:enforce", TlsUse.REQUIRED, ""),
        (UNTRUSTED, sts("enforce"), {}, "mta-sts:enforce", TlsUse.REQUIRED, ""),
        (NO_DANE, sts("enforce", "other.test"), {}, "mta-sts:enforce", TlsUse.OPPORTUNISTIC, "does not name"),
        (NO_DANE, sts("testing"), {}, "mta-sts:testing", TlsUse.REQUIRED, ""),
        (NO_DANE, sts("none"), {}, "connector", TlsUse.OPPORTUNISTIC, ""),
        (NO_DANE, LOST, {}, "mta-sts:enforce", TlsUse.OPPORTUNISTIC, "is not known"),
        (DANE, NO_STS, {"ignore_starttls": True}, "connector", TlsUse.NEVER, ""),
        (DANE, NO_STS, {"require_tls": True}, "dane", TlsUse.REQUIRED, ""),
        (NO_DANE, NO_STS, {"require_tls": True}, "connector", TlsUse.REQUIRED, ""),
        (DANE, NO_STS, {"tls_auth_level": TlsAuthLevel.CERTIFICATE_VALIDATION}, "connector", TlsUse.REQUIRED, ""),
        (NO_DANE, NO_STS, {"smtp_dane_mode": SmtpDaneMode.MANDATORY}, "dane", TlsUse.OPPORTUNISTIC, "Mandatory"),
        (UNTRUSTED, NO_STS, {"smtp_dane_mode": SmtpDaneMode.MANDATORY}, "dane", TlsUse.OPPORTUNISTIC, "Mandatory"),
        (UNUSABLE, NO_STS, {"smtp_dane_mode": SmtpDaneMode.MANDATORY}, "dane", TlsUse.OPPORTUNISTIC, "Mandatory"),
    ],
)
def test_what_beats_what(dane, policy, settings, shown, use, refused):
    found = judged(dane, policy, **settings)
    assert (str(found), found.use) == (shown, use)
    assert refused in found.refusal
    assert bool(found.refusal) is bool(refused)
    assert not found.permanent


def test_a_policy_holds_as_long_as_what_it_rests_on():
    assert judged(DANE).expires == 100.0
    assert judged(NO_DANE, sts("enforce")).expires == 50.0
    assert judged(DaneAnswer(DaneOutcome.ABSENT, expires=20.0), sts("enforce")).expires == 20.0


def test_sts_wants_the_hosts_name_and_dane_the_base_domains():
    assert judged(NO_DANE, sts("enforce")).match_name == "mx.contoso.test"
    dane = judged(DaneAnswer(DaneOutcome.RECORDS, (RECORD,), "base.test"))
    assert dane.names == ("base.test", "mx.contoso.test", "contoso.test")
    assert dane.server_name == "base.test"


@pytest.mark.parametrize(
    ("dane", "policy", "secure", "refused"),
    [
        (NO_DANE, NO_STS, False, True),
        (NO_DANE, NO_STS, True, False),
        (DANE, NO_STS, True, False),
        (UNUSABLE, NO_STS, True, False),
        (NO_DANE, sts("enforce"), False, False),
        (NO_DANE, sts("testing"), False, False),
        (NO_DANE, sts("testing", "other.test"), False, True),
        (NO_DANE, sts("none"), False, True),
    ],
)
def test_requiretls_needs_a_host_that_somebody_vouches_for(dane, policy, secure, refused):
    """RFC 8689 §2."""
    found = judged(dane, policy, TlsRequirement.REQUIRED, secure=secure)
    assert bool(found.refusal) is refused
    if refused:
        assert (found.permanent, found.status) == (True, "5.7.30")
    else:
        assert found.is_authenticated
        assert found.requires_keyword
        assert not found.testing
        assert found.level >= TlsLevel.VERIFIED


def test_requiretls_over_a_connector_that_ignores_starttls_is_final():
    found = judged(requirement=TlsRequirement.REQUIRED, secure=True, ignore_starttls=True)
    assert (found.permanent, found.status) == (True, "5.7.10")


def test_tls_required_no_passes_the_domain_over_and_not_the_connector():
    found = judged(DANE, sts("enforce", "other.test"), TlsRequirement.OPTIONAL)
    assert (found.use, found.refusal) == (TlsUse.OPPORTUNISTIC, "")
    assert judged(DANE, requirement=TlsRequirement.OPTIONAL, require_tls=True).use is TlsUse.REQUIRED
