# SPDX-License-Identifier: MIT
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.smtp.sasl import (
    Challenge,
    Exchange,
    Failure,
    Login,
    Plain,
    ScramSha256,
    Success,
    VerifyPassword,
    make_credential,
)

CREDENTIAL = make_credential(b"never sent", b"saltsaltsalt", 4096)
WORDS = st.one_of(
    st.none(),
    st.binary(max_size=80),
    st.lists(
        st.sampled_from([b"n", b",", b"n=", b"r=", b"c=biws", b"p=", b"abc", b"xyz", b"=", b"=2C", b"\0", b"AAAA"]),
        max_size=12,
    ).map(b"".join),
)


@pytest.mark.parametrize("kind", ["plain", "login", "scram"])
@given(st.lists(WORDS, min_size=1, max_size=5))
def test_any_answers_end_without_an_exception_and_scram_never_with_success(
    kind: str, answers: list[bytes | None]
) -> None:
    exchange: Exchange = {"plain": Plain, "login": Login}.get(kind, lambda: ScramSha256(lambda _: CREDENTIAL, "xyz"))()
    step = exchange.start(answers[0])
    for answer in answers[1:]:
        if not isinstance(step, Challenge):
            break
        step = exchange.step(answer)
    assert isinstance(step, Challenge | Failure | VerifyPassword)
    assert not isinstance(step, Success)
