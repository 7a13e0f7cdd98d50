# SPDX-License-Identifier: MIT
"""Tokens against an OpenID provider of the test's own, over real HTTPS: each way in which they are refused."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, RSAKey

from bridgehead.directory.users import UserFile
from bridgehead.mail.limits import ISSUER_DOCUMENT_BYTES
from bridgehead.mail.secret import Secret
from bridgehead.monitoring.book import AlarmBook
from bridgehead.net.dns.resolver import DnsLookup
from bridgehead.receive.logons.issuer_keys import MIN_SECONDS
from bridgehead.receive.logons.settings import AuthServer, TokenAlgorithm
from bridgehead.server.logons.token_issuers import TokenIssuers
from bridgehead.smtp.sasl_oauth import TokenVerdict
from support.certificates import Authority
from support.openid_provider import AUDIENCE, OpenIdProvider, segment, unsigned


class Times:
    """Implements `net.clock.Clock`: the real time, moved."""

    moved = 0.0

    def now(self) -> float:
        return time.time() + self.moved

    def monotonic(self) -> float:
        return time.monotonic() + self.moved


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[OpenIdProvider]:
    made = OpenIdProvider(Authority(tmp_path / "ca"))
    yield made
    made.close()


class World:
    """A checker of tokens and what it is made of."""

    def __init__(self, provider: OpenIdProvider, folder: Path, **settings: Any) -> None:
        self.times = Times()
        self.users = UserFile(folder / "users.toml", 4096)
        self.users.add("ann", Secret("p"), addresses=["ann@contoso.com", "Anna@contoso.com"])
        self.users.add("bob", Secret("p"), addresses=["bob@contoso.com", "desk@contoso.com"])
        self.users.add("eve", Secret("p"), addresses=["desk@contoso.com"])
        self.alarms = AlarmBook(self.times.now, reminder_interval=3600.0, all_clear_delay=0.0)
        self.issuers = TokenIssuers(self.users, self.times, nobody_asks_dns, str, self.alarms)
        self.issuers.configure([AuthServer(**provider.settings(**settings))])

    async def judge(self, token: str, claimed: str = "") -> TokenVerdict:
        return await self.issuers.checker.judge(Secret(token), claimed)

    async def refused(self, token: str, claimed: str = "") -> str:
        verdict = await self.judge(token, claimed)
        assert verdict.name == ""
        assert not verdict.unavailable
        assert token not in verdict.reason
        return verdict.reason


def nobody_asks_dns() -> DnsLookup:
    raise AssertionError("the provider's host is an address")


@pytest.fixture
async def world(provider: OpenIdProvider, tmp_path: Path) -> AsyncIterator[World]:
    made = World(provider, tmp_path, scopes=["SMTP.Send"])
    yield made
    await made.issuers.checker.close()


# --- good ones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({}, "ann"), ({"preferred_username": "ANN"}, "ann"), ({"preferred_username": "anna@Contoso.com"}, "ann"),
        ({"preferred_username": None, "upn": "bob@contoso.com"}, "bob"),
        ({"preferred_username": None, "email": "bob@contoso.com", "email_verified": True}, "bob"),
        ({"aud": ["other", AUDIENCE]}, "ann"), ({"scp": None, "scope": "a SMTP.Send"}, "ann"),
        ({"scp": None, "roles": ["SMTP.Send"]}, "ann"), ({"nbf": None, "iat": None}, "ann"),
    ],
)  # fmt: skip
async def test_good_tokens_find_their_login(
    world: World, provider: OpenIdProvider, claims: dict[str, Any], name: str
) -> None:
    assert await world.judge(provider.token(**claims)) == TokenVerdict(name=name)
    assert await world.judge(provider.token(provider.ec, **claims)) == TokenVerdict(name=name)


@pytest.mark.parametrize("claimed", ["ann", "Ann", "ann@contoso.com", "ANNA@contoso.com", ""])
async def test_a_client_may_say_who_it_is_in_each_of_its_names(
    world: World, provider: OpenIdProvider, claimed: str
) -> None:
    assert (await world.judge(provider.token(), claimed)).name == "ann"


# --- bad ones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://elsewhere.test"}, "its issuer is none"),
        ({"iss": None}, "its issuer is none"),
        ({"aud": "api://another"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": [7, {}]}, "another audience"),
        ({"exp": 1_000_000_000}, "expired"),
        ({"exp": None}, "never expires"),
        ({"exp": "soon"}, "exp is no time"),
        ({"exp": True}, "exp is no time"),
        ({"nbf": 4_000_000_000, "exp": 5_000_000_000}, "not valid yet"),
        ({"iat": 4_000_000_000, "exp": 5_000_000_000}, "not valid yet"),
        ({"scp": "openid"}, "lacks the scope SMTP.Send"),
        ({"scp": None}, "lacks the scope SMTP.Send"),
        ({"scp": "SMTP.SendAll"}, "lacks the scope SMTP.Send"),
        ({"cnf": {"jkt": "x"}}, "bound to a key"),
        ({"preferred_username": "nobody"}, "no login has"),
        ({"preferred_username": "desk@contoso.com"}, "several logins have"),
        ({"preferred_username": None}, "none of the claims"),
        ({"preferred_username": ["ann"]}, "none of the claims"),
        ({"preferred_username": None, "email": "ann@contoso.com", "email_verified": False}, "none of the claims"),
    ],
)
async def test_claims_that_do_not_suffice(
    world: World, provider: OpenIdProvider, claims: dict[str, Any], reason: str
) -> None:
    assert reason in await world.refused(provider.token(**claims))


async def test_a_missing_scope_is_told_to_the_client(world: World, provider: OpenIdProvider) -> None:
    verdict = await world.judge(provider.token(scp="openid"))
    assert (verdict.status, verdict.scope) == ("insufficient_scope", "SMTP.Send")
    assert verdict.configuration == f"{provider.issuer}/.well-known/openid-configuration"


async def test_clocks_may_differ_a_little(world: World, provider: OpenIdProvider) -> None:
    now = time.time()
    assert (await world.judge(provider.token(exp=now - 50))).name
    assert (await world.judge(provider.token(nbf=now + 50, iat=now + 50))).name
    assert "expired" in await world.refused(provider.token(exp=now - 70))
    assert "not valid yet" in await world.refused(provider.token(nbf=now + 70))


async def test_a_token_is_not_for_somebody_else(world: World, provider: OpenIdProvider) -> None:
    assert "it is for ann, not for bob" in await world.refused(provider.token(), "bob")
    world.users.update("ann", enabled=False)
    assert "no login has" in await world.refused(provider.token())


async def test_signatures_and_algorithms_that_prove_nothing(world: World, provider: OpenIdProvider) -> None:
    """RFC 8725 §2.1: none, and a public key taken for a shared secret; and keys that are somebody else's."""
    assert "algorithm none" in await world.refused(unsigned(provider.claims()))
    assert "algorithm None" in await world.refused(f"{segment({'kid': 'rsa-1'})}.{segment(provider.claims())}.")
    public = provider.rsa.as_pem(private=False)
    for secret in (public, json.dumps(provider.rsa.as_dict(private=False)).encode()):
        signed = f"{segment({'alg': 'HS256', 'kid': 'rsa-1'})}.{segment(provider.claims())}"
        mark = hmac.digest(secret, signed.encode(), hashlib.sha256)
        assert "algorithm HS256" in await world.refused(
            f"{signed}.{base64.urlsafe_b64encode(mark).decode().rstrip('=')}"
        )
    forger = RSAKey.generate_key(2048, {"kid": "rsa-1"})
    assert "signature is wrong" in await world.refused(provider.token(forger))
    head, body, mark_text = provider.token().split(".")
    changed = segment(provider.claims(preferred_username="bob"))
    assert "signature is wrong" in await world.refused(f"{head}.{changed}.{mark_text}")
    assert "signature is wrong" in await world.refused(f"{head}.{body}.")
    # A key of another kind than the algorithm's is none.
    assert "no key" in await world.refused(provider.token(header={"kid": "ec-1"}))
    critical = segment({"alg": "RS256", "kid": "rsa-1", "crit": ["b64"], "b64": False})
    assert "not known" in await world.refused(f"{critical}.{segment(provider.claims())}.x")


async def test_an_algorithm_that_is_not_allowed_is_refused_though_the_key_fits(
    provider: OpenIdProvider, tmp_path: Path
) -> None:
    world = World(provider, tmp_path, algorithms=[TokenAlgorithm.ES256])
    assert "algorithm RS256" in await world.refused(provider.token())
    assert (await world.judge(provider.token(provider.ec))).name == "ann"


@pytest.mark.parametrize(
    "token", ["", "x", "a.b", "a.b.c", "..", "a.b.c.d.e", f"{segment([])}.{segment({})}.x", "eyJ9.eyJ9.x", "[" * 5000]
)
async def test_what_is_no_token_is_refused_without_asking_the_issuer(
    world: World, provider: OpenIdProvider, token: str
) -> None:
    assert (await world.judge(token)).name == ""
    assert provider.asked == []


# --- keys -----------------------------------------------------------------------------------------------------------


async def test_keys_are_fetched_once_and_kept(world: World, provider: OpenIdProvider) -> None:
    for _ in range(5):
        assert (await world.judge(provider.token())).name == "ann"
    assert provider.asked == ["/realm/.well-known/openid-configuration", "/realm/keys"]


async def test_a_rotated_key_is_fetched_when_it_first_appears(world: World, provider: OpenIdProvider) -> None:
    assert (await world.judge(provider.token())).name == "ann"
    new = ECKey.generate_key("P-256", {"kid": "ec-2"})
    provider.published.append(new.as_dict(private=False))
    world.times.moved += MIN_SECONDS
    assert (await world.judge(provider.token(new))).name == "ann"
    assert len(provider.asked) == 4


async def test_inventing_key_ids_does_not_make_us_ask(world: World, provider: OpenIdProvider) -> None:
    await world.judge(provider.token())
    world.times.moved += MIN_SECONDS
    for number in range(20):
        assert "no key" in await world.refused(provider.token(header={"kid": f"invented-{number}"}))
    assert len(provider.asked) == 4


async def test_a_key_that_was_withdrawn_is_forgotten_at_the_next_refresh(
    world: World, provider: OpenIdProvider
) -> None:
    old = provider.token(exp=time.time() + 100_000)
    assert (await world.judge(old)).name == "ann"
    provider.published = [provider.ec.as_dict(private=False)]
    world.times.moved += 3601
    assert (await world.judge(old)).name == "ann"  # the refresh begins now, and nobody waits for it
    async with asyncio.timeout(10):
        while "no key" not in (await world.judge(old)).reason:
            await asyncio.sleep(0.01)
    assert "no key" in await world.refused(old)


async def test_a_token_without_key_id_needs_the_only_key_of_its_kind(world: World, provider: OpenIdProvider) -> None:
    anonymous = RSAKey.import_key({k: v for k, v in provider.rsa.as_dict(private=True).items() if k != "kid"})
    assert isinstance(anonymous, RSAKey)
    token = provider.token(anonymous, header={"kid": None})
    assert (await world.judge(token)).name == "ann"
    provider.published.append(RSAKey.generate_key(2048, {"kid": "rsa-2"}).as_dict(private=False))
    world.times.moved += 86_401
    assert "no key" in await world.refused(provider.token(anonymous, header={"kid": None}, exp=time.time() + 100_000))


async def test_keys_that_are_shared_weak_or_for_encryption_are_not_used(world: World, provider: OpenIdProvider) -> None:
    secret = {"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(b"s" * 32).decode().rstrip("=")}
    with pytest.warns(SecurityWarning):
        weak = RSAKey.generate_key(1024, {"kid": "weak"})
    sealing = RSAKey.generate_key(2048, {"kid": "sealing", "use": "enc"})
    signing = RSAKey.import_key({k: v for k, v in sealing.as_dict(private=True).items() if k != "use"})
    provider.published += [
        secret, weak.as_dict(private=False), sealing.as_dict(private=False), "nonsense", {"kty": "RSA"},
        {"kty": "RSA", "kid": "b", "n": "!", "e": "AQAB"}, {"kty": "EC", "kid": "e", "crv": "P-1", "x": "a", "y": "b"},
    ]  # fmt: skip
    assert "no key weak" in await world.refused(provider.token(weak))
    assert isinstance(signing, RSAKey)
    assert "no key sealing" in await world.refused(provider.token(signing, header={"kid": "sealing"}))
    assert (await world.judge(provider.token())).name == "ann"


# --- the provider is away -------------------------------------------------------------------------------------------


async def test_without_the_provider_the_last_keys_serve_until_they_are_too_old(
    world: World, provider: OpenIdProvider
) -> None:
    token = provider.token(exp=time.time() + 200_000)
    assert (await world.judge(token)).name == "ann"
    provider.close()
    world.times.moved += 86_000
    assert (await world.judge(token)).name == "ann"
    world.times.moved += 500
    verdict = await world.judge(token)
    assert verdict.unavailable
    assert "cannot be fetched: 127.0.0.1 cannot be reached" in verdict.reason
    assert world.alarms.is_raised("auth_server/Test")


async def test_a_provider_that_comes_back_serves_again_and_the_alarm_ends(
    world: World, provider: OpenIdProvider
) -> None:
    provider.answers["/realm/keys"] = None
    assert (await world.judge(provider.token())).unavailable
    assert world.alarms.is_raised("auth_server/Test")
    del provider.answers["/realm/keys"]
    assert (await world.judge(provider.token())).unavailable  # not asked again at once
    world.times.moved += MIN_SECONDS
    assert (await world.judge(provider.token())).name == "ann"
    assert not world.alarms.is_raised("auth_server/Test")


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        (".well-known/openid-configuration", b"{", "no JSON object"),
        (".well-known/openid-configuration", b"[]", "no JSON object"),
        (".well-known/openid-configuration", b"[" * 100_000, "no JSON object"),
        (".well-known/openid-configuration", b'{"issuer": "https://evil.test"}', "describes another issuer"),
        (".well-known/openid-configuration", None, "status 500"),
        ("keys", b'{"keys": {}}', "holds no keys"),
        ("keys", b'{"keys": []}', "no key that verifies"),
        ("keys", b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "no key that verifies"),
        ("keys", b" " * (ISSUER_DOCUMENT_BYTES + 1), "octets"),
    ],
)
async def test_answers_of_no_use_are_a_temporary_failure(
    world: World, provider: OpenIdProvider, path: str, answer: bytes | None, reason: str
) -> None:
    provider.answers[f"/realm/{path}"] = answer
    verdict = await world.judge(provider.token())
    assert verdict.unavailable
    assert reason in verdict.reason


async def test_keys_come_over_https_only(world: World, provider: OpenIdProvider) -> None:
    provider.answers["/realm/.well-known/openid-configuration"] = json.dumps(
        {"issuer": provider.issuer, "jwks_uri": "http://127.0.0.1/keys"}
    ).encode()
    verdict = await world.judge(provider.token())
    assert verdict.unavailable
    assert "names no https address" in verdict.reason


async def test_a_provider_whose_certificate_is_not_valid_is_not_believed(
    provider: OpenIdProvider, tmp_path: Path
) -> None:
    world = World(provider, tmp_path, ca_file=str(Authority(tmp_path / "another").root))
    verdict = await world.judge(provider.token())
    assert verdict.unavailable
    assert "certificate of 127.0.0.1 is not valid" in verdict.reason


async def test_other_settings_keep_keys_where_nothing_changed(world: World, provider: OpenIdProvider) -> None:
    same = AuthServer(**provider.settings(scopes=["SMTP.Send"]))
    assert world.issuers.configure([same]) is None
    former = world.issuers.configure([])
    assert former is not None
    assert "its issuer is none" in await world.refused(provider.token())
