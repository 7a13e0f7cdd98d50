# SPDX-License-Identifier: MIT
"""OAUTHBEARER and XOAUTH2 as conversations; who judges tokens is a function here."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.mail.secret import Secret
from bridgehead.smtp import replies
from bridgehead.smtp.sasl import CANCELLED, Challenge, Failure, Pending, Step, Success
from bridgehead.smtp.sasl_oauth import OAuthBearer, TokenVerdict, XOAuth2

GOOD = "aaa.bbb.ccc"
BEARER = b"n,a=ann,\x01host=mx.contoso.test\x01port=587\x01auth=Bearer aaa.bbb.ccc\x01\x01"
XOAUTH2 = b"user=ann\x01auth=Bearer aaa.bbb.ccc\x01\x01"


async def judge(token: Secret, name: str) -> TokenVerdict:
    if token.reveal() == GOOD:
        return TokenVerdict(name=name or "ann")
    if token.reveal() == "later":
        return TokenVerdict(reason="the issuer is away", unavailable=True)
    return TokenVerdict(reason="no", scope="SMTP.Send", configuration="https://x/y", status="insufficient_scope")


def end(step: Step) -> Step:
    return asyncio.run(_resolved(step)) if isinstance(step, Pending) else step


async def _resolved(step: Pending) -> Step:
    return await step.work()


def said(step: Step) -> Any:
    assert isinstance(step, Challenge)
    return json.loads(step.data)


@pytest.mark.parametrize(
    ("kind", "message", "name"),
    [
        (OAuthBearer, BEARER, "ann"), (XOAuth2, XOAUTH2, "ann"),
        (OAuthBearer, b"n,,\x01auth=Bearer aaa.bbb.ccc\x01\x01", "ann"),
        (OAuthBearer, b"y,a=a=2Cb=3D,\x01auth=bearer  aaa.bbb.ccc\x01\x01", "a,b="),
        (XOAuth2, b"user=\x01auth=Bearer aaa.bbb.ccc\x01\x01", "ann"),
    ],
)  # fmt: skip
def test_a_good_token_logs_in(kind: Any, message: bytes, name: str) -> None:
    assert end(kind(judge).start(message)) == Success(name, guessable=False)
    exchange = kind(judge)
    assert exchange.start(None) == Challenge(b"")
    assert end(exchange.step(message)) == Success(name, guessable=False)


def test_a_refused_client_is_told_why_and_fails_after_one_more_line() -> None:
    """RFC 7628 §3.2.2, §3.2.3."""
    for last in (b"\x01", b"", b"anything", None):
        exchange = OAuthBearer(judge)
        step = end(exchange.start(b"n,a=ann,\x01auth=Bearer bad\x01\x01"))
        assert said(step) == {
            "status": "insufficient_scope", "scope": "SMTP.Send", "openid-configuration": "https://x/y",
        }  # fmt: skip
        assert exchange.step(last) == Failure(replies.AUTH_FAILED, "no", "ann", guessable=False)
    old = XOAuth2(judge)
    assert said(end(old.start(b"user=ann\x01auth=Bearer bad\x01\x01"))) == {
        "status": "403", "schemes": "bearer", "scope": "SMTP.Send",
    }  # fmt: skip
    assert isinstance(old.step(b""), Failure)


def test_an_issuer_that_is_away_is_a_temporary_failure_that_counts_for_nothing() -> None:
    step = end(XOAuth2(judge).start(b"user=ann\x01auth=Bearer later\x01\x01"))
    assert isinstance(step, Failure)
    assert (step.reply.code, step.counts) == (454, False)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"n,,", b"n,,\x01\x01", b"p=tls-unique,,\x01auth=Bearer x\x01\x01", b"n,,\x01auth=Bearer x\x01", b"n,,\x01auth=Basic x\x01\x01",
        b"n,,\x01auth=Bearer x y\x01\x01", b"n,,\x01auth=Bearer \x01\x01", b"n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01",
        b"n,a=\xff,\x01auth=Bearer x\x01\x01", b"n,a=,\x01auth=Bearer x\x01\x01", b"user=ann\x01auth=Bearer x\x01\x01",
        b"n,a=" + b"u" * 300 + b",\x01auth=Bearer x\x01\x01", b"n,,\x01auth=Bearer " + b"x" * 12_001 + b"\x01\x01",
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_in_json_too(message: bytes) -> None:
    exchange = OAuthBearer(judge)
    assert said(exchange.start(message))["status"] in ("invalid_request", "invalid_token")
    assert isinstance(exchange.step(b"\x01"), Failure)


def test_a_client_may_cancel() -> None:
    exchange = OAuthBearer(judge)
    exchange.start(None)
    assert exchange.step(None) == CANCELLED


def test_the_token_shows_nowhere() -> None:
    exchange = OAuthBearer(judge)
    step = exchange.start(BEARER)
    assert GOOD not in repr(step) + repr(exchange)
    refusal = XOAuth2(judge)
    assert "canary" not in repr(end(refusal.start(b"user=ann\x01auth=Bearer canary\x01\x01"))) + repr(refusal.step(b""))


_PARTS = st.sampled_from(
    [b"n,", b"a=ann,", b",", b"\x01", b"auth=Bearer ", b"aaa.bbb.ccc", b"user=", b"later", b"\xff", b"=2C"]
)
_MESSAGES = st.one_of(st.none(), st.binary(max_size=300), st.lists(_PARTS, max_size=9).map(b"".join))


@given(st.sampled_from([OAuthBearer, XOAuth2]), st.lists(_MESSAGES, min_size=1, max_size=4))
def test_any_octets_give_a_challenge_success_or_failure(kind: Any, messages: list[bytes | None]) -> None:
    exchange = kind(judge)
    step = end(exchange.start(messages[0]))
    for message in messages[1:]:
        if not isinstance(step, Challenge):
            break
        step = end(exchange.step(message))
    assert isinstance(step, Challenge | Success | Failure)
