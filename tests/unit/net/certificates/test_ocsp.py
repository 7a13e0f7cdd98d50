# SPDX-License-Identifier: MIT
"""What a stapled OCSP response says of a certificate."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from bridgehead.mail.limits import OCSP_BYTES
from bridgehead.net.certificates.ocsp import (
    CERTIFICATE_REVOKED,
    STAPLE_MISSING,
    STAPLE_NOT_ACCEPTED,
    StapleProblem,
    staple_problem,
)
from support.certificates import Authority, Pair
from support.staples import certificate, openssl_response, response

MUST_STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])
OCSP_SIGNING = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("mx.test")


def problem(authority: Authority, pair: Pair, staple: bytes, **more: Any) -> StapleProblem | None:
    given = {"required": False, "now": datetime.now(UTC), **more}
    return staple_problem(staple, [certificate(pair), authority.own[0]], given["now"], required=given["required"])


@pytest.mark.parametrize(
    ("made", "code", "words"),
    [
        ({}, 0, ""),
        ({"hours": None}, 0, ""),
        ({"status": ocsp.OCSPCertStatus.REVOKED}, CERTIFICATE_REVOKED, "keyCompromise"),
        ({"status": ocsp.OCSPCertStatus.UNKNOWN}, STAPLE_NOT_ACCEPTED, "does not know it"),
        ({"since_hours": 48, "hours": -1}, STAPLE_NOT_ACCEPTED, "held until"),
        ({"since_hours": 48, "hours": None}, STAPLE_NOT_ACCEPTED, "held until"),
        ({"since_hours": -1}, STAPLE_NOT_ACCEPTED, "holds only from"),
        ({"since_hours": -0.05}, 0, ""),
    ],
)
def test_what_the_authority_says(authority: Authority, pair: Pair, made: dict[str, Any], code: int, words: str) -> None:
    found = problem(authority, pair, response(authority, certificate(pair), **made))
    assert (found.code if found else 0) == code
    assert words in (found.reason if found else "")


@pytest.mark.parametrize(("digest", "words"), [("sha256", ""), ("sha384", ""), ("sha1", "by means of sha1")])
def test_responses_that_openssl_makes(
    authority: Authority, pair: Pair, tmp_path: Path, digest: str, words: str
) -> None:
    found = problem(authority, pair, openssl_response(authority, pair, tmp_path, "-rmd", digest))
    assert words in (found.reason if found else "")
    assert bool(words) is (found is not None)


def test_who_may_sign(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    leaf = certificate(pair)

    def signed_by(signer: Pair | Authority, **more: Any) -> StapleProblem | None:
        return problem(authority, pair, response(authority, leaf, signer=signer, **more))

    other = Authority(tmp_path / "other")
    appointed = authority.issue("responder.test", more=[OCSP_SIGNING])
    assert signed_by(appointed) is None
    for signer in (
        other, other.issue("responder.test", more=[OCSP_SIGNING]), authority.issue("b.test"),
        authority.issue("c.test", more=[SERVER]), pair,
        authority.issue("d.test", days=-1, since_days=3, more=[OCSP_SIGNING]),
    ):  # fmt: skip
        found = signed_by(signer)
        assert found is not None
        assert (found.code, found.reason) == (
            STAPLE_NOT_ACCEPTED,
            "the stapled OCSP response is signed by nobody who may",
        )
    found = signed_by(authority.issue("e.test", more=[OCSP_SIGNING]), sent=[])
    assert found is not None, "nobody knows by whom"


def test_what_it_is_about(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    another = problem(authority, pair, response(authority, certificate(authority.issue("other.test"))))
    assert another == StapleProblem(STAPLE_NOT_ACCEPTED, "the stapled OCSP response is about another certificate")
    elsewhere = Authority(tmp_path / "other")
    found = problem(authority, pair, response(elsewhere, certificate(pair), signer=authority))
    assert found == another, "the same serial number of another authority"


def test_none_is_needed_unless_somebody_says_so(authority: Authority, pair: Pair) -> None:
    later = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    for nothing in (b"", later.public_bytes(serialization.Encoding.DER)):
        assert problem(authority, pair, nothing) is None
        asked = problem(authority, pair, nothing, required=True)
        assert asked is not None
        assert (asked.code, "tls_ocsp_mode" in asked.reason) == (STAPLE_MISSING, True)
        promised = authority.issue("must.test", more=[MUST_STAPLE])
        missing = problem(authority, promised, nothing)
        assert missing is not None
        assert (missing.code, "promises" in missing.reason) == (STAPLE_MISSING, True)
        assert problem(authority, promised, response(authority, certificate(promised))) is None


def test_a_certificate_that_is_pinned_by_itself_has_nobody_to_revoke_it(pair: Pair) -> None:
    chain = [certificate(pair)]
    assert staple_problem(b"", chain, datetime.now(UTC), required=False) is None
    found = staple_problem(b"", chain, datetime.now(UTC), required=True)
    assert found is not None
    assert found.code == STAPLE_MISSING


def test_rubbish(authority: Authority, pair: Pair) -> None:
    good = response(authority, certificate(pair))
    changed = good[:-1] + bytes([good[-1] ^ 1])
    for staple in (b"\0", b"0" * 100, good[:-7], changed, good + b"\0" * OCSP_BYTES):
        found = problem(authority, pair, staple)
        assert found is not None
        assert found.code == STAPLE_NOT_ACCEPTED
        assert ("too large" in found.reason) is (len(staple) > OCSP_BYTES)


def test_time_passes(authority: Authority, pair: Pair) -> None:
    staple = response(authority, certificate(pair), hours=1)
    for hours, good in ((0.9, True), (1.05, True), (1.2, False)):
        assert (problem(authority, pair, staple, now=datetime.now(UTC) + timedelta(hours=hours)) is None) is good
