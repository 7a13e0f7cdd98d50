# SPDX-License-Identifier: MIT
"""MTA-STS records and policies, whatever they hold (RFC 8461 §3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.mail.limits import STS_MAX_AGE_SECONDS
from bridgehead.routing.mta_sts import StsError, StsMode, StsPolicy, parse_policy, policy_id, record_problem

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=STSv1;id=1"], "1"),
        ([b"v=STSv1; id = 1 ; ext=x"], "1"),
        ([b"v=spf1 -all", b"v=STSv1; id=1;"], "1"),
        ([b"v=STSv1; id=1;", b"v=STSv1; id=2;"], ""),
        ([b"v=STSv1;"], ""),
        ([b"v=STSv1; id=;"], ""),
        ([b"v=STSv1; id=a-b;"], ""),
        ([b"v=STSv1; id=" + b"a" * 33], ""),
        ([b"v=STSv2; id=1;"], ""),
        ([b"v=stsv1; id=1;"], ""),
        ([b"\xff\xfe"], ""),
        ([], ""),
    ],
)
def test_records(records, wanted):
    assert policy_id(records) == wanted


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([b"v=STSv1; id=1;"], ""),
        ([], ""),
        ([b"v=spf1 -all"], ""),
        ([b"v=STSv1; id=has-dash;"], "not of the form"),
        ([b"v=STSv1;"], "not of the form"),
        ([b"V=STSV1; id=1"], "not of the form"),
        ([b"v=STSv1; id=1;", b"v=STSv1; id=2;"], "several"),
    ],
)
def test_what_is_wrong_with_records_that_mean_to_announce_a_policy(records, words):
    found = record_problem(records)
    assert words in found
    assert bool(found) is bool(words)


def test_a_policy():
    assert parse_policy(GOOD) == StsPolicy(
        mode=StsMode.ENFORCE, mx=("mail.example.com", "*.example.net"), max_age=604800
    )  # fmt: skip
    assert parse_policy(GOOD.replace(b"\r\n", b"\n")).max_age == 604800
    assert parse_policy(GOOD + b"mode: none\nfuture: yes\n").mode is StsMode.ENFORCE
    assert parse_policy(GOOD.replace(b"604800", b"9999999999")).max_age == STS_MAX_AGE_SECONDS
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 1").mx == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((b"STSv1", b"STSv2"), "version"),
        ((b"enforce", b"perhaps"), "mode"),
        ((b"mode: enforce\r\n", b""), "mode"),
        ((b"604800", b"week"), "max_age"),
        ((b"604800", b"-1"), "max_age"),
        ((b"mail.example.com", b"*.*.com"), "no name"),
        ((b"mail.example.com", b"mail example"), "no name"),
        ((b"mail.example.com", b"*"), "no name"),
        ((b"max_age", b"<html>\r\nmax_age"), "no field"),
    ],
)
def test_what_is_no_policy(change, why):
    with pytest.raises(StsError, match=why):
        parse_policy(GOOD.replace(*change))


def test_a_policy_without_hosts_is_none():
    with pytest.raises(StsError, match="names no mx"):
        parse_policy(b"version: STSv1\nmode: testing\nmax_age: 1")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.com", True),
        ("MAIL.example.com.", True),
        ("x.mail.example.com", False),
        ("a.example.net", True),
        ("a.b.example.net", False),
        ("example.net", False),
        ("badexample.net", False),
        ("", False),
    ],
)
def test_hosts(host, allowed):
    """RFC 8461 §4.1: a wildcard stands for exactly one label."""
    assert parse_policy(GOOD).allows(host) is allowed


@given(st.binary(max_size=300))
def test_nothing_but_its_own_error_comes_of_any_octets(body):
    try:
        parse_policy(body)
    except StsError:
        pass
    policy_id([body])
