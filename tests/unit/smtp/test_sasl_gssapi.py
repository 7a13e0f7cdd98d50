# SPDX-License-Identifier: MIT
"""The exchange of RFC 4752 by itself, with a context whose tokens can be read. Real tickets: tests/e2e/test_kerberos.py."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.mail.limits import GSS_ROUNDS
from bridgehead.smtp import replies
from bridgehead.smtp.sasl import CANCELLED, Challenge, Failure, Pending, Step, Success
from bridgehead.smtp.sasl_gssapi import GssAnswer, Gssapi, GssFault, GssVerdict


class Context:
    """Implements `GssContext`: "more" asks for another token, "last" ends it; messages are proved by a prefix."""

    guessable = False

    def __init__(self, answer: bytes = b"server") -> None:
        self._answer = answer

    async def accept(self, token: bytes) -> GssAnswer:
        if token == b"more":
            return GssAnswer(b"go on")
        if token == b"last":
            return GssAnswer(self._answer, "ann@CONTOSO.TEST")
        raise GssFault("no such token", unavailable=token == b"away")

    def wrap(self, message: bytes) -> bytes:
        return b"proved:" + message

    def unwrap(self, token: bytes) -> bytes:
        if not token.startswith(b"proved:"):
            raise GssFault("not proved")
        return token.removeprefix(b"proved:")


async def judge(principal: str, authorization: str) -> GssVerdict:
    assert principal == "ann@CONTOSO.TEST"
    if authorization == "away":
        raise GssFault("the directory is away", unavailable=True)
    return GssVerdict("ann") if authorization in ("", "ann") else GssVerdict(reason="another")


def said(*words: bytes | None, answer: bytes = b"server") -> Step:
    """The step after the client's last word."""
    exchange = Gssapi(Context(answer), judge)
    step = exchange.start(words[0])
    for word in words[1:]:
        assert isinstance(step, Challenge), step
        step = settled(exchange.step(word))
    return settled(step)


def settled(step: Step) -> Step:
    while isinstance(step, Pending):
        step = asyncio.run(step.work())  # type: ignore[arg-type]
    return step


def test_tokens_then_the_layer_then_the_login() -> None:
    assert said(None) == Challenge(b"")
    assert said(None, b"last") == Challenge(b"server")
    assert said(None, b"last", b"") == Challenge(b"proved:\1\0\0\0")
    assert said(None, b"last", b"", b"proved:\1\0\0\0") == Success("ann", guessable=False)
    assert said(None, b"more", b"last", b"", b"proved:\1\xff\xff\xffann") == Success("ann", guessable=False)


def test_a_context_that_has_nothing_more_to_say_goes_on_to_the_layer() -> None:
    assert said(None, b"last", answer=b"") == Challenge(b"proved:\1\0\0\0")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([b""], "no token"),
        ([b"x"], "no such token"),
        ([None, b"last", b"more"], "something follows"),
        ([None, b"last", b"", b"\1\0\0\0"], "not proved"),
        ([None, b"last", b"", b"proved:"], "malformed"),
        ([None, b"last", b"", b"proved:\1\0\0"], "malformed"),
        ([None, b"last", b"", b"proved:\0\0\0\0"], "security layer"),
        ([None, b"last", b"", b"proved:\2\0\0\0"], "security layer"),
        ([None, b"last", b"", b"proved:\4\0\0\0"], "security layer"),
        ([None, b"last", b"", b"proved:\7\0\0\0"], "security layer"),
        ([None, b"last", b"", b"proved:\1\0\0\0boss"], "another"),
        ([None, b"last", b"", b"proved:\1\0\0\0\xff"], "no UTF-8"),
        ([None, b"last", b"", b"proved:\1\0\0\0a\0"], "malformed"),
        ([None, b"last", b"", b"proved:\1\0\0\0" + b"a" * 257], "malformed"),
        ([None, *([b"more"] * GSS_ROUNDS), b"last"], "does not come to an end"),
    ],
)
def test_everything_else_is_a_failed_logon(words: list[bytes | None], reason: str) -> None:
    step = said(*words)
    assert isinstance(step, Failure)
    assert reason in step.reason
    assert (step.reply, step.counts, step.guessable) == (replies.AUTH_FAILED, True, False)


def test_what_is_not_the_clients_fault_is_temporary_and_does_not_count() -> None:
    for words in ([None, b"away"], [None, b"last", b"", b"proved:\1\0\0\0away"]):
        step = said(*words)
        assert isinstance(step, Failure)
        assert (step.reply, step.counts) == (replies.AUTH_TEMPORARY, False)


def test_a_client_may_cancel_at_any_time() -> None:
    for words in ([None, None], [None, b"more", None], [None, b"last", None], [None, b"last", b"", None]):
        assert said(*words) is CANCELLED


WORDS = st.one_of(
    st.none(), st.binary(max_size=40), st.sampled_from([b"", b"more", b"last", b"proved:\1\0\0\0", b"proved:\1\0\0\0boss"])
)  # fmt: skip


@given(st.lists(WORDS, min_size=1, max_size=10))
def test_any_words_end_without_an_exception_and_with_success_in_one_order_only(words: list[bytes | None]) -> None:
    exchange = Gssapi(Context(), judge)
    step, taken = settled(exchange.start(words[0])), [words[0]]
    for word in words[1:]:
        if not isinstance(step, Challenge):
            break
        step = settled(exchange.step(word))
        taken.append(word)
    if isinstance(step, Success):
        assert taken[-3:] == [b"last", b"", b"proved:\1\0\0\0"]
        assert set(taken[:-3]) <= {None, b"more"}
