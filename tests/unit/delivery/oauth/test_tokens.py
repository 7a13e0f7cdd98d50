# SPDX-License-Identifier: MIT
"""Tokens from a real identity provider: each grant, expiry, renewal, failures, and who waits for whom."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bridgehead.delivery.oauth import provider as provider_module
from bridgehead.delivery.oauth.device import LogOnState
from bridgehead.delivery.oauth.faults import TokenFault
from bridgehead.delivery.oauth.holding import FORCED_APART
from bridgehead.delivery.oauth.keeper import EXERCISED_SECONDS
from bridgehead.delivery.oauth.log_on import begin_log_on, bring_refresh_token
from bridgehead.diagnosis.facts import How
from bridgehead.mail.limits import HTTP_ANSWER_BYTES
from bridgehead.mail.secret import Secret
from support.certificates import Authority
from support.identity_provider import Answer, IdentityProvider, entra
from unit.delivery.oauth.conftest import World


def rsa_pair(authority: Authority, folder: Path) -> bytes:
    """A key and certificate in `folder`, as somebody makes for Entra; the certificate in DER."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay")])
    certificate = authority._sign(name, key.public_key(), ["relay"])
    (folder / "app.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "app.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate.public_bytes(Encoding.DER)


async def test_an_application_with_a_secret(world: World) -> None:
    token = await world.keeper.token(world.connector())
    assert world.provider.check("scanner@contoso.com", token.reveal()) is None
    [(_, form)] = world.provider.requests
    assert form["scope"] == "https://outlook.office365.com/.default"
    assert (await world.keeper.token(world.connector())) is token  # an equal connector, as after a reload
    assert world.provider.grants == 1


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
async def test_an_application_with_a_certificate(world: World, algorithm: str) -> None:
    world.provider.certificates = [rsa_pair(world.authority, world.folder)]
    connector = world.connector(
        client_secret="", certificate_file="app.pem", key_file="app.key", assertion_algorithm=algorithm
    )
    token = await world.keeper.token(connector)
    assert world.provider.check("", token.reveal()) is None
    await world.keeper.account(connector).holding.force()  # each assertion is used once
    assert world.provider.grants == 2


async def test_an_application_with_a_certificate_of_p256(world: World) -> None:
    pair = world.authority.issue("app")
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    world.provider.certificates = [certificate.public_bytes(Encoding.DER)]
    connector = world.connector(client_secret="", certificate_file=str(pair.certificate), key_file=str(pair.key))
    assert await world.keeper.token(connector)


async def test_a_service_account(world: World) -> None:
    world.provider.make_service_account(world.folder / "google.json")
    connector = world.connector(provider="Google", grant="ServiceAccount", service_account="file:google.json")
    token = await world.keeper.token(connector)
    assert world.provider.check("", token.reveal()) is None
    world.provider.make_service_account(world.folder / "other.json")  # the provider knows this key alone from now on
    with pytest.raises(TokenFault, match="does not know the key"):
        await world.keeper.account(connector).holding.force()


async def test_a_log_on_by_code_survives_a_restart(world: World) -> None:
    world.provider.interval = 1
    connector = world.connector(grant="DeviceCode", client_secret="")
    with pytest.raises(TokenFault, match="nobody has logged on for Cloud yet"):
        await world.keeper.token(connector)
    account = world.keeper.account(connector)
    log_on = await begin_log_on(world.keeper, account)
    assert log_on.code.user_code == "FJX8-QZ2C"
    assert (await begin_log_on(world.keeper, account)) is log_on  # who asks twice gets the same code
    world.provider.entered = True
    await log_on.wait()
    assert log_on.state is LogOnState.DONE
    first = await world.keeper.token(connector)
    world.keeper = world.new_keeper()
    second = await world.keeper.token(connector)
    assert first.reveal() != second.reveal()
    assert world.provider.requests[-1][1]["grant_type"] == "refresh_token"
    kept = (world.folder / "oauth-tokens").read_bytes()
    assert not any(token.encode() in kept for token in world.provider.refresh_tokens)
    assert len(world.provider.refresh_tokens) == 1  # those before were exchanged


async def test_a_code_that_nobody_enters(world: World) -> None:
    account = world.keeper.account(world.connector(grant="DeviceCode", client_secret=""))
    log_on = await begin_log_on(world.keeper, account)
    world.provider.next = [Answer(400, {"error": "expired_token"})]
    await log_on.wait()
    assert log_on.state is LogOnState.FAILED
    assert "Nobody entered the code in time" in log_on.problem


async def test_a_refresh_token_from_elsewhere(world: World) -> None:
    connector = world.connector(grant="RefreshToken", provider="Google", scopes=["https://mail.google.com/"])
    account = world.keeper.account(connector)
    with pytest.raises(TokenFault, match="no longer good"):
        await bring_refresh_token(world.keeper, account, "1//wrong")
    assert account.stored is None
    await bring_refresh_token(world.keeper, account, world.provider.new_refresh_token())
    assert await world.keeper.token(connector)


async def test_a_revoked_refresh_token_says_who_must_do_what(world: World) -> None:
    connector = world.connector(grant="RefreshToken")
    await bring_refresh_token(world.keeper, world.keeper.account(connector), world.provider.new_refresh_token())
    world.provider.refresh_tokens.clear()
    with pytest.raises(TokenFault) as caught:
        await world.keeper.account(connector).holding.force()
    assert caught.value.gone
    assert caught.value.remedy == 'log on again: bridgehead oauth login "Cloud"'


async def test_an_exchanged_refresh_token_survives_a_full_disk(world: World) -> None:
    connector = world.connector(grant="RefreshToken")
    account = world.keeper.account(connector)
    await bring_refresh_token(world.keeper, account, world.provider.new_refresh_token())
    (world.folder / ".oauth-tokens.new").mkdir()
    await account.holding.force()
    await account.holding.force()  # with what the disk did not take
    (world.folder / ".oauth-tokens.new").rmdir()
    await world.keeper.tend()
    world.keeper = world.new_keeper()
    assert await world.keeper.token(connector)


async def test_refresh_tokens_are_used_though_no_mail_needs_them(world: World) -> None:
    connector = world.connector(grant="RefreshToken")
    await bring_refresh_token(world.keeper, world.keeper.account(connector), world.provider.new_refresh_token())
    before = world.provider.grants
    world.keeper = world.new_keeper()
    world.keeper.use([connector])
    await world.keeper.tend()
    assert world.provider.grants == before
    world.clock.ahead = EXERCISED_SECONDS + 60
    await world.keeper.tend()
    assert world.provider.grants == before + 1


async def test_twenty_sessions_ask_once(world: World) -> None:
    world.provider.before = lambda: time.sleep(0.1)
    connector = world.connector()
    tokens = await asyncio.gather(*(world.keeper.token(connector) for _ in range(20)))
    assert len({token.reveal() for token in tokens}) == world.provider.grants == 1


async def test_a_token_is_renewed_before_it_expires(world: World) -> None:
    connector = world.connector()
    first = await world.keeper.token(connector)
    await world.keeper.tend()
    world.clock.ahead = 3600 * 0.85
    assert (await world.keeper.token(connector)) is first  # nobody waits for the renewal
    await world.settle()
    assert (await world.keeper.token(connector)) is not first
    assert world.provider.grants == 2


async def test_a_renewal_that_fails_costs_nothing_until_the_token_expires(world: World) -> None:
    connector = world.connector()
    first = await world.keeper.token(connector)
    world.provider.always = Answer(503, {"error": "temporarily_unavailable"})
    world.clock.ahead = 3600 * 0.85
    for _ in range(3):
        assert (await world.keeper.token(connector)) is first
        await world.settle()
    assert len(world.provider.requests) == 2  # the other two waited for the back-off
    world.clock.ahead = 3600
    with pytest.raises(TokenFault):
        await world.keeper.token(connector)


async def test_a_token_that_is_nearly_over_is_not_used(world: World) -> None:
    connector = world.connector()
    first = await world.keeper.token(connector)
    world.clock.ahead = 3600 - 30
    assert (await world.keeper.token(connector)) is not first


async def test_a_refused_token_is_renewed_once_for_all(world: World) -> None:
    connector = world.connector()
    first = await world.keeper.token(connector)
    fresh = await asyncio.gather(*(world.keeper.renewed(connector, first) for _ in range(20)))
    assert world.provider.grants == 2
    [second] = set(fresh)
    assert second is not None
    assert await world.keeper.renewed(connector, second) is None  # a fresh one too: that is a failure
    world.clock.ahead = FORCED_APART + 1
    assert await world.keeper.renewed(connector, second) is not None


async def test_failures_back_off_and_an_exchanged_secret_ends_it(world: World) -> None:
    connector = world.connector()
    world.secret.write_text("wrong")
    for _ in range(5):
        with pytest.raises(TokenFault, match="AADSTS7000215") as caught:
            await world.keeper.token(connector)
    assert len(world.provider.requests) == 1
    assert "client_secret" in caught.value.remedy
    world.clock.ahead = 10
    with pytest.raises(TokenFault):
        await world.keeper.token(connector)
    assert len(world.provider.requests) == 2
    world.secret.write_text(world.provider.secret)
    assert await world.keeper.token(connector)  # at once


async def test_retry_after_is_obeyed(world: World) -> None:
    connector = world.connector()
    world.provider.next = [Answer(429, {"error": "temporarily_unavailable"}, {"retry-after": "120"})]
    with pytest.raises(TokenFault, match="come back later"):
        await world.keeper.token(connector)
    world.clock.ahead = 110
    with pytest.raises(TokenFault):
        await world.keeper.token(connector)
    assert len(world.provider.requests) == 1
    world.clock.ahead = 121
    assert await world.keeper.token(connector)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (entra(7000222, "The provided client secret keys are expired."), "has expired"),
        (entra(700016, "Application was not found in the directory."), "no application"),
        (entra(90002, "Tenant not found.", "invalid_request", 400), "no such tenant"),
        (entra(65001, "The user or administrator has not consented.", "invalid_grant", 400), "consented"),
        (entra(70011, "The scope is not valid.", "invalid_scope", 400), "no such scope"),
        (entra(53003, "Access has been blocked by Conditional Access.", "access_denied", 400), "Conditional Access"),
        (entra(50034, "The user account does not exist.", "invalid_grant", 400), "no such account"),
        (entra(50173, "The provided grant has expired.", "invalid_grant", 400), "no longer good"),
        (entra(700027, "Client assertion failed signature validation."), "does not know the key"),
        (entra(7000112, "Application is disabled."), "is disabled"),
        (entra(50076, "You must use multi-factor authentication.", "invalid_grant", 400), "multi-factor"),
        (Answer(401, {"error": "unauthorized_client", "error_description": "Client is unauthorized to retrieve"}),
         "does not let this client"),
        (Answer(400, {"error": "invalid_grant", "error_description": "Bad Request"}), "no longer honours"),
        (Answer(403, {"error": "access_denied", "error_description": "admin_policy_enforced"}), "declined"),
        (Answer(500, {}), "a fault of its own"),
        (Answer(200, {"access_token": "a\x01b", "token_type": "Bearer"}), "a token that is none"),
        (Answer(200, {"access_token": "", "token_type": "Bearer"}), "a token that is none"),
        (Answer(200, {"access_token": "abc", "token_type": "mac"}), "not Bearer"),
        (Answer(302, {}, {"location": "https://localhost/"}), "HTTP 302"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\n\r\n<html>" + b"x" * 3000), "gives no token"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (HTTP_ANSWER_BYTES + 1)), "answers with more than"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"), "answers with more than"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000 + b"\r\n\r\n"), "header fields of more than"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}"), "ended the connection"),
        (Answer(raw=b"220 mx.contoso.com ESMTP\r\n\r\n"), "does not speak HTTP"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "chunks that are none"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 200_000), "gives no token"),
    ],
)  # fmt: skip
async def test_what_providers_refuse_is_told_with_its_cause(world: World, answer: Answer, words: str) -> None:
    world.provider.always = answer
    with pytest.raises(TokenFault, match=words):
        await world.keeper.token(world.connector())
    assert world.keeper.accounts[0].holding.fault is not None


async def test_chunked_answers_are_read(world: World) -> None:
    body = json.dumps({"access_token": "abc", "token_type": "bearer", "expires_in": "3599"}).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:])) + b"0\r\n\r\n"
    world.provider.always = Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces)
    assert (await world.keeper.token(world.connector())).reveal() == "abc"


async def test_no_secret_is_repeated_though_the_provider_does(world: World) -> None:
    world.secret.write_text("Cnry-wrongsecret")
    with pytest.raises(TokenFault) as caught:
        await world.keeper.token(world.connector())
    assert "AADSTS7000215" in str(caught.value)
    assert "Cnry" not in f"{caught.value} {caught.value.answer} {caught.value.remedy}"


async def test_clocks_that_differ(world: World) -> None:
    world.provider.certificates = [rsa_pair(world.authority, world.folder)]
    connector = world.connector(client_secret="", certificate_file="app.pem", key_file="app.key")
    world.provider.skew = -50  # our clock is ahead by less than a minute
    assert await world.keeper.token(connector)
    world.provider.skew = 3600
    with pytest.raises(TokenFault, match=r"our clock is 3\d\d\d s behind the provider's.*clocks differ"):
        await world.keeper.account(connector).holding.force()


async def test_a_provider_that_is_down(world: World) -> None:
    world.provider.close()
    with pytest.raises(TokenFault, match="localhost cannot be reached") as caught:
        await world.keeper.token(world.connector())
    assert caught.value.how is How.SILENT


async def test_a_provider_that_is_slow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridgehead.delivery.oauth.keeper._REQUEST_SECONDS", 0.3)
    released = asyncio.Event()
    world.provider.before = lambda: time.sleep(1.0)
    with pytest.raises(TokenFault, match=r"did not answer within 0\.3 s"):
        await world.keeper.token(world.connector())
    released.set()


@pytest.mark.parametrize("what", ["another name", "another authority"])
async def test_a_provider_with_a_wrong_certificate(world: World, what: str) -> None:
    issuer = world.authority if what == "another name" else Authority(world.folder / "other")
    name = "elsewhere.test" if what == "another name" else "localhost"
    with IdentityProvider(issuer.issue(name).server_context()) as false:
        with pytest.raises(TokenFault, match="the certificate of localhost is not valid"):
            await world.keeper.token(world.connector(token_url=false.token_url))
        assert not false.requests  # the secret did not leave


async def test_proxies_of_the_environment_are_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await world.keeper.token(world.connector())


async def test_a_proxy_by_setting(world: World) -> None:
    asked: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        there, out = await asyncio.open_connection("127.0.0.1", world.provider.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        await asyncio.gather(pump(reader, out), pump(there, writer), return_exceptions=True)

    proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    assert await world.keeper.token(world.connector(http_proxy=f"http://127.0.0.1:{port}"))
    assert asked[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % world.provider.port)
    proxy.close()


async def test_secrets_that_are_not_there(world: World) -> None:
    world.secret.unlink()
    with pytest.raises(TokenFault, match="the secret cannot be read") as caught:
        await world.keeper.token(world.connector())
    assert caught.value.how is How.POLICY
    assert not world.provider.requests


async def test_connectors_that_are_gone_are_forgotten(world: World) -> None:
    connector = world.connector()
    world.keeper.use([connector])
    await world.keeper.token(connector)
    world.keeper.use([])
    assert world.keeper.accounts == []
    world.keeper.use([world.connector(scopes=["https://example.test/.default"])])
    await world.keeper.token(world.keeper.accounts[0].connector)
    assert world.provider.grants == 2


def test_tokens_cannot_be_printed() -> None:
    token = provider_module.Token(Secret("Cnry-token"), 1.0, Secret("Cnry-refresh"))
    assert "Cnry" not in repr(token)
