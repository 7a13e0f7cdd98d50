# SPDX-License-Identifier: MIT
"""TLSA records and DER, whatever they hold (RFC 6698 §2.1, RFC 7671)."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.mail.limits import TLSA_RECORDS
from bridgehead.routing.dane import TlsaRecord, judge, public_key_of, tlsa_record, usable_records
from support.certificates import Authority
from support.policy_world import der_of, key_of

DIGEST = bytes(range(32))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return der_of(Authority(tmp_path_factory.mktemp("ca")).issue("mx.contoso.test"))


@pytest.mark.parametrize(
    ("rdata", "usable"),
    [
        (b"", None),
        (b"\x03\x01\x01", None),
        (b"\x03\x01\x01\x00", False),
        (b"\x03\x01\x01" + DIGEST, True),
        (b"\x03\x01\x01" + DIGEST[:-1], False),
        (b"\x03\x01\x02" + DIGEST, False),
        (b"\x03\x01\x02" + DIGEST * 2, True),
        (b"\x02\x00\x01" + DIGEST, True),
        (b"\x00\x00\x01" + DIGEST, False),
        (b"\x01\x01\x01" + DIGEST, False),
        (b"\x03\x02\x01" + DIGEST, False),
        (b"\x03\x01\x03" + DIGEST, False),
        (b"\xff\xff\xff" + DIGEST, False),
        (b"\x03\x00\x00" + DIGEST, False),
        (b"\x03\x00\x00\x30\x82", False),
        (b"\x02\x01\x00" + b"x" * 20_000, False),
    ],
)
def test_which_records_are_usable(rdata, usable):
    """Incident D4: short and garbled TLSA records are of no use, and nothing worse."""
    record = tlsa_record(rdata)
    assert (None if record is None else record.is_usable) is usable


@given(st.lists(st.binary(max_size=80), max_size=20), st.lists(st.binary(max_size=200), max_size=3))
def test_d4_no_record_and_no_certificate_raises(rdatas, chain):
    records = usable_records(one for rdata in rdatas if (one := tlsa_record(rdata)) is not None)
    assert len(records) <= TLSA_RECORDS
    judge(records, chain, [], ["mx.contoso.test"], lambda *_: "no")
    for der in chain:
        assert public_key_of(der) == b"" or public_key_of(der) in der


@given(st.data())
def test_d4_no_damage_to_a_certificate_raises(certificate, data):
    position = data.draw(st.integers(0, len(certificate) - 1))
    damaged = certificate[:position] + data.draw(st.binary(min_size=1, max_size=3)) + certificate[position + 1 :]
    public_key_of(damaged)
    public_key_of(damaged[:position])


def test_the_public_key_is_found_where_it_is(certificate):
    assert public_key_of(certificate) == key_of(certificate)
    record = TlsaRecord(3, 1, 1, hashlib.sha256(key_of(certificate)).digest())
    assert record.matches(certificate)
    assert not record.matches(certificate[:50])


def test_dane_ee_counts_for_the_servers_own_certificate_only(certificate):
    record = TlsaRecord(3, 0, 1, hashlib.sha256(certificate).digest())
    assert judge([record], [certificate], [], ["x"], lambda *_: "no").passed
    assert not judge([record], [b"\x30\x00", certificate], [], ["x"], lambda *_: "").passed


def test_dane_ta_asks_for_chain_and_name(certificate):
    record = TlsaRecord(2, 0, 1, hashlib.sha256(certificate).digest())
    chain = [b"leaf", certificate]
    wanted = ["base.test", "mx.contoso.test", "contoso.test"]
    assert judge([record], chain, ["contoso.test"], wanted, lambda *_: "").passed
    assert judge([record], chain, ["elsewhere.test"], wanted, lambda *_: "").mismatch
    assert judge([record], chain, ["contoso.test"], wanted, lambda *_: "expired: yes").expired
    assert not judge([record], chain, ["contoso.test"], wanted, lambda *_: "unsigned").passed
    assert not judge([record], [], ["contoso.test"], wanted, lambda *_: "").passed
