# SPDX-License-Identifier: MIT
import base64
import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient

from bridgehead.smtp import replies
from bridgehead.smtp.sasl import (
    CANCELLED,
    Challenge,
    Exchange,
    External,
    Failure,
    Login,
    Plain,
    ScramCredential,
    ScramSha256,
    Step,
    Success,
    VerifyPassword,
    make_credential,
    password_matches,
)

CREDENTIAL = make_credential(b"pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)


def scram(nonce: str = "server-nonce") -> ScramSha256:
    return ScramSha256(lambda name: CREDENTIAL, nonce)


def asked(step: object) -> tuple[str, str]:
    assert isinstance(step, VerifyPassword)
    return step.name, step.password.reveal()


def test_plain() -> None:
    assert asked(Plain().start(b"\0ann\0pass word")) == ("ann", "pass word")
    assert asked(Plain().start(b"ann\0ann\0p")) == ("ann", "p")
    exchange = Plain()
    assert exchange.start(None) == Challenge(b"")
    assert asked(exchange.step("\0änn\0pä".encode())) == ("änn", "pä")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        b"ann\0p",
        b"\0ann\0",
        b"\0\0p",
        b"boss\0ann\0p",
        b"\0ann\0p\0",
        b"\0\xff\0p",
        b"\0a\nb\0p",
        b"\0a\0" + b"p" * 1025,
    ],
)
def test_malformed_plain_is_a_failed_logon(message: bytes) -> None:
    step = Plain().start(message)
    assert isinstance(step, Failure)
    assert step.reply is replies.AUTH_FAILED
    assert step.counts


def test_login() -> None:
    exchange = Login()
    assert exchange.start(None) == Challenge(b"Username:")
    assert exchange.step(b"ann") == Challenge(b"Password:")
    assert asked(exchange.step(b"secret")) == ("ann", "secret")
    exchange = Login()
    assert exchange.start(b"ann") == Challenge(b"Password:")
    assert isinstance(exchange.step(b""), Failure)
    exchange = Login()
    exchange.start(b"")
    assert isinstance(exchange.step(b"p"), Failure)


@pytest.mark.parametrize("exchange", [Plain(), Login(), scram()])
def test_a_client_may_cancel_and_that_is_no_failed_logon(exchange: Exchange) -> None:
    exchange.start(None)
    assert exchange.step(None) == CANCELLED
    assert CANCELLED.reply.code == 501
    assert not CANCELLED.counts


def test_scram_vector_of_rfc_7677() -> None:
    exchange = scram("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    assert exchange.start(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == Challenge(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    final = (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert exchange.step(final) == Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert exchange.step(b"") == Success("user")


@pytest.mark.parametrize(
    ("name", "password", "right"), [("a,b=c", "pencil", True), ("änn", "pencil", True), ("ann", "pen", False)]
)
def test_scram_with_an_independent_client(name: str, password: str, right: bool) -> None:
    asked_for: list[str] = []

    def find(given: str) -> ScramCredential:
        asked_for.append(given)
        return CREDENTIAL

    exchange, client = ScramSha256(find, "abc"), ScramClient(["SCRAM-SHA-256"], name, password)
    assert exchange.start(None) == Challenge(b"")
    first = exchange.step(client.get_client_first().encode())
    assert isinstance(first, Challenge)
    client.set_server_first(first.data.decode())
    final = exchange.step(client.get_client_final().encode())
    assert asked_for == [name]
    if right:
        assert isinstance(final, Challenge)
        client.set_server_final(final.data.decode())
        assert exchange.step(b"") == Success(name)
    else:
        assert final == Failure(replies.AUTH_FAILED, "the proof is wrong", name)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"n,,", b"n,,n=user", b"p=tls-unique,,n=user,r=abc", b"n,a=boss,n=user,r=abc", b"n,,n=,r=abc", b"n,,n=us=er,r=abc",
        b"n,,n=user,r=", b"n,,n=user,r=a b", b"n,,m=x,n=user,r=abc", b"\xff,,n=user,r=abc", b"n,,n=" + b"u" * 257 + b",r=abc",
    ],
)  # fmt: skip
def test_malformed_first_message(message: bytes) -> None:
    assert isinstance(scram().start(message), Failure)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"c=biws", b"c=biws,r=abcserver-nonce", b"c=biws,r=abcserver-nonce,p=", b"c=biws,r=abcserver-nonce,p=!!!!",
        b"c=biws,r=abcserver-nonce,p=" + base64.b64encode(b"\0" * 31), b"c=biws,r=abcserver-nonce,p=" + base64.b64encode(b"\0" * 32),
        b"c=eSws,r=abcserver-nonce,p=" + base64.b64encode(b"\0" * 32), b"c=biws,r=other,p=" + base64.b64encode(b"\0" * 32), b"\xff",
    ],
)  # fmt: skip
def test_malformed_final_message(message: bytes) -> None:
    exchange = scram()
    assert isinstance(exchange.start(b"n,,n=user,r=abc"), Challenge)
    step = exchange.step(message)
    assert isinstance(step, Failure)
    assert step.reply is replies.AUTH_FAILED


@pytest.mark.parametrize(("claimed", "accepted"), [(b"y,,", True), (b"n,,", False)])
def test_scram_downgrade_of_channel_binding_shows(claimed: bytes, accepted: bool) -> None:
    exchange = scram()
    first = exchange.start(b"y,,n=user,r=abc")
    assert isinstance(first, Challenge)
    without_proof = b"c=" + base64.b64encode(claimed) + b",r=abcserver-nonce"
    signed = b",".join((b"n=user,r=abc", first.data, without_proof))
    client_key = hmac.digest(hashlib.pbkdf2_hmac("sha256", b"pencil", CREDENTIAL.salt, 4096), b"Client Key", "sha256")
    signature = hmac.digest(CREDENTIAL.stored_key, signed, "sha256")
    proof = bytes(left ^ right for left, right in zip(client_key, signature, strict=True))
    step = exchange.step(without_proof + b",p=" + base64.b64encode(proof))
    assert isinstance(step, Challenge if accepted else Failure)


BINDINGS = {"tls-server-end-point": b"our certificate", "tls-unique": b"this handshake"}


def bound(exchange: ScramSha256, kind: str, data: bytes, password: str = "pencil") -> Step:
    """What becomes of an independent client that binds to this."""
    client = ScramClient(["SCRAM-SHA-256-PLUS"], "ann", password, channel_binding=(kind, data))
    first = exchange.start(client.get_client_first().encode())
    if not isinstance(first, Challenge):
        return first
    client.set_server_first(first.data.decode())
    final = exchange.step(client.get_client_final().encode())
    if not isinstance(final, Challenge):
        return final
    client.set_server_final(final.data.decode())
    return exchange.step(b"")


def plus(*, chosen: bool = True) -> ScramSha256:
    return ScramSha256(lambda name: CREDENTIAL, "server-nonce", BINDINGS, plus=chosen)


@pytest.mark.parametrize("kind", BINDINGS)
def test_scram_binds_to_the_connection(kind: str) -> None:
    assert bound(plus(), kind, BINDINGS[kind]) == Success("ann")
    refused = bound(plus(), kind, b"another connection")
    assert isinstance(refused, Failure)
    assert refused.reason == "channel binding or nonce differ"


def test_scram_refuses_bindings_that_are_not_offered_and_none_where_one_was_chosen() -> None:
    assert isinstance(plus().start(b"p=tls-exporter,,n=ann,r=abc"), Failure)
    assert isinstance(bound(plus(chosen=False), "tls-unique", BINDINGS["tls-unique"]), Failure)
    for flag in (b"n", b"y"):
        assert isinstance(plus().start(flag + b",,n=ann,r=abc"), Failure)


def test_scram_sees_who_took_plus_out_of_the_offer() -> None:
    """RFC 5802 §6: "y" is what a client says that could bind, and was told that the server cannot."""
    step = plus(chosen=False).start(b"y,,n=ann,r=abc")
    assert isinstance(step, Failure)
    assert "in between" in step.reason
    assert isinstance(plus(chosen=False).start(b"n,,n=ann,r=abc"), Challenge)
    assert isinstance(scram().start(b"y,,n=ann,r=abc"), Challenge)


def test_our_own_proof_is_not_given_to_a_login_that_is_not_admitted() -> None:
    """It would tell a guesser that the password was right."""
    exchange = ScramSha256(lambda name: CREDENTIAL, "server-nonce", BINDINGS, plus=True, admit=lambda name: "locked")
    assert bound(exchange, "tls-unique", BINDINGS["tls-unique"]) == Failure(replies.AUTH_FAILED, "locked", "ann")


def external(*names: str) -> External:
    return External(names, lambda one, other: one == other.lower())


@pytest.mark.parametrize(
    ("names", "said", "who"),
    [
        (("door",), b"", "door"), (("door",), b"Door", "door"), (("door", "gate"), b"gate", "gate"),
        ((), b"", None), ((), b"door", None), (("door",), b"boss", None), (("door", "gate"), b"", None),
        (("door",), b"\xff", None), (("door",), b"d\0or", None), (("door",), b"d" * 257, None),
    ],
)  # fmt: skip
def test_external(names: tuple[str, ...], said: bytes, who: str | None) -> None:
    exchange = external(*names)
    assert exchange.start(None) == Challenge(b"")
    step = exchange.step(said)
    if who is not None:
        assert step == Success(who, guessable=False)
    else:
        assert isinstance(step, Failure)
        assert step.reply is replies.AUTH_FAILED
    assert external("door").step(None) == CANCELLED


_KINDS: list[Callable[[], Exchange]] = [Plain, Login, scram, plus, lambda: external("door", "gate")]
_PARTS = st.sampled_from([
    b"n,,", b"y,,", b"p=tls-unique,,", b"n=ann,", b"r=abc", b"c=biws,", b"r=abcserver-nonce", b",p=", b"AAAA", b"\0", b"=2C", b"=",
    b"a=ann", b",", b"\xff", b"ann", b"door",
])  # fmt: skip
_MESSAGES = st.one_of(st.none(), st.binary(max_size=300), st.lists(_PARTS, max_size=8).map(b"".join))


@given(st.sampled_from(_KINDS), st.lists(_MESSAGES, min_size=1, max_size=5))
def test_any_octets_give_a_challenge_success_or_failure(
    make: Callable[[], Exchange], messages: list[bytes | None]
) -> None:
    exchange = make()
    step = exchange.start(messages[0])
    for message in messages[1:]:
        if not isinstance(step, Challenge):
            break
        step = exchange.step(message)
    assert isinstance(step, Challenge | VerifyPassword | Success | Failure)
    if isinstance(step, Success):
        assert step.name in ("door", "gate")


def test_verifier_serves_passwords_in_clear_text_too() -> None:
    assert password_matches(b"pencil", CREDENTIAL)
    assert not password_matches(b"pencil ", CREDENTIAL)


def test_secrets_show_nowhere() -> None:
    step = Plain().start(b"\0ann\0canary-password")
    assert "canary" not in repr(step)
    assert "hidden" in repr(CREDENTIAL)
    assert repr(CREDENTIAL.stored_key) not in f"{CREDENTIAL!r}{scram()!r}"
