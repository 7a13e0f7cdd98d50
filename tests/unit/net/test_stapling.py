# SPDX-License-Identifier: MIT
"""Handshakes that ask for a stapled OCSP response, with OpenSSL's server, on both kinds of event loop."""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from bridgehead.net.certificates.ocsp import CERTIFICATE_REVOKED, STAPLE_MISSING, STAPLE_NOT_ACCEPTED
from bridgehead.net.certificates.pairs import CertificateError
from bridgehead.net.tls import ClientContexts, ClientTls, facts, sent_chain, tls_reason
from bridgehead.routing.settings import OcspMode, TlsVersion
from support.certificates import Authority, Pair
from support.staples import certificate, openssl_response, openssl_server, response

MUST_STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])
VERSIONS = ["-tls1_3", "-tls1_2"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("localhost")


def asking(authority: Authority | None, mode: OcspMode = OcspMode.CHECK, **more: Any) -> ssl.SSLContext:
    given = {"ca_file": str(authority.root) if authority else "", **more}
    return ClientContexts().get(ClientTls(verify=True, ocsp=mode, **given))


async def talk(port: int, context: ssl.SSLContext, lines: Sequence[bytes] = (b"hello",)) -> ssl.SSLObject:
    """Say lines, and hear each reversed; the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        for line in lines:
            writer.write(line + b"\n")
            await writer.drain()
            assert await asyncio.wait_for(reader.readexactly(len(line) + 1), 15) == line[::-1] + b"\n"
        return connection
    finally:
        writer.transport.abort()


async def refused(port: int, context: ssl.SSLContext) -> ssl.SSLCertVerificationError:
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        await talk(port, context)
    return caught.value


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_good_staple(authority: Authority, pair: Pair, tmp_path: Path, version: str) -> None:
    with openssl_server(pair, openssl_response(authority, pair, tmp_path), tmp_path, version) as port:
        connection = await talk(port, asking(authority, OcspMode.REQUIRE), [b"hello", b"x" * 15_000, b"end"])
        found = facts(connection)
        assert found.names == ("localhost",)
        assert found.version == {"-tls1_3": "TLSv1.3", "-tls1_2": "TLSv1.2"}[version]
        assert "AES" in found.cipher or "CHACHA" in found.cipher
        der = certificate(pair).public_bytes(serialization.Encoding.DER)
        assert sent_chain(connection) == (der,)
        assert connection.getpeercert(binary_form=True) == der


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_revoked_certificate(authority: Authority, pair: Pair, tmp_path: Path, version: str) -> None:
    staple = response(authority, certificate(pair), status=ocsp.OCSPCertStatus.REVOKED)
    with openssl_server(pair, staple, tmp_path, version) as port:
        error = await refused(port, asking(authority))
        assert error.verify_code == CERTIFICATE_REVOKED
        assert "revoked" in tls_reason(error)
        assert len(error.sent_chain) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", VERSIONS)
async def test_staples_that_say_nothing_good(authority: Authority, pair: Pair, tmp_path: Path, version: str) -> None:
    leaf = certificate(pair)
    for staple in (
        response(authority, leaf, since_hours=48, hours=-1),
        response(authority, leaf, signer=Authority(tmp_path / "other")),
        response(authority, certificate(authority.issue("other.test"))),
    ):
        with openssl_server(pair, staple, tmp_path, version) as port:
            assert (await refused(port, asking(authority))).verify_code == STAPLE_NOT_ACCEPTED


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_staple(authority: Authority, pair: Pair, tmp_path: Path, version: str) -> None:
    with openssl_server(pair, b"", tmp_path, version) as port:
        await talk(port, asking(authority))
        assert (await refused(port, asking(authority, OcspMode.REQUIRE))).verify_code == STAPLE_MISSING
    promised = authority.issue("localhost", more=[MUST_STAPLE])
    with openssl_server(promised, b"", tmp_path, version) as port:
        assert (await refused(port, asking(authority))).verify_code == STAPLE_MISSING
    with openssl_server(promised, response(authority, certificate(promised)), tmp_path, version) as port:
        await talk(port, asking(authority))


async def test_the_chain_is_checked_as_ever(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    staple = response(authority, certificate(pair))
    with openssl_server(pair, staple, tmp_path) as port:
        for context, words in (
            (asking(Authority(tmp_path / "other", "Other Root")), "unable to get issuer cert locally"),
            (asking(None), "unable to get issuer cert locally"),
        ):
            error = await refused(port, context)
            assert error.verify_code in (20, 21)
            assert words in error.verify_message
        await talk(port, asking(authority, ca_file=str(pair.certificate)))  # pinned
    crl = tmp_path / "crl.pem"
    revoking(authority, certificate(pair).serial_number, crl)
    with openssl_server(pair, staple, tmp_path) as port:
        assert (await refused(port, asking(authority, crl_file=str(crl)))).verify_code == CERTIFICATE_REVOKED
    client_only = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    wrong = authority.issue("localhost", more=[client_only])
    with openssl_server(wrong, response(authority, certificate(wrong)), tmp_path) as port:
        assert (await refused(port, asking(authority))).verify_code == 26


async def test_our_certificate_is_shown(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    own = authority.issue("client.test")
    demanding = ("-Verify", "2", "-CAfile", str(authority.root), "-verify_return_error", "-tls1_2")
    with openssl_server(pair, response(authority, certificate(pair)), tmp_path, *demanding) as port:
        await talk(port, asking(authority, certificate=str(own.certificate), key=str(own.key)))
        with pytest.raises(ssl.SSLError) as caught:
            await talk(port, asking(authority))
        assert "ALERT" in tls_reason(caught.value)


async def test_versions_and_ciphers(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    with openssl_server(pair, response(authority, certificate(pair)), tmp_path, "-tls1_2") as port:
        with pytest.raises(ssl.SSLError) as caught:
            await talk(port, asking(authority, minimum_version=TlsVersion.TLS_1_3))
        assert "PROTOCOL_VERSION" in tls_reason(caught.value)
        chosen = await talk(port, asking(authority, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"))
        assert facts(chosen).cipher == "ECDHE-ECDSA-CHACHA20-POLY1305"
    with pytest.raises(ssl.SSLError):
        asking(authority, ciphers="nonsense")


async def test_files_that_cannot_be_used(authority: Authority, pair: Pair, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other").issue("a.test")
    for wrong in ({"ca_file": str(tmp_path / "gone")}, {"certificate": str(pair.certificate), "key": str(other.key)}):
        with pytest.raises((ssl.SSLError, OSError, CertificateError)):
            asking(authority, **wrong)


def test_octets_are_handed_out_in_pieces_until_the_end(authority: Authority, pair: Pair) -> None:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking(authority).wrap_bio(down, up, server_hostname="127.0.0.1")
    server = pair.server_context().wrap_bio(up, down, server_side=True)
    shaking = [client, server]
    for _ in range(10):
        for end in list(shaking):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                shaking.remove(end)
    assert shaking == []
    assert client.write(b"") == 0
    server.write(b"x" * 40_000)
    room = bytearray(100)
    assert client.read(100, room) == 100
    assert room == b"x" * 100
    assert client.pending() > 0
    assert len(client.read(16_284)) == 16_284
    assert client.pending() > 0, "a record is at its end, and others have come"
    assert client.read(262_144) == b"x" * 23_616
    assert client.pending() == 0
    with pytest.raises(ssl.SSLWantReadError):
        client.read(100)
    with pytest.raises(ssl.SSLWantReadError):
        server.unwrap()
    assert client.read(100) == b""
    client.unwrap()
    server.unwrap()


async def test_a_connection_that_is_cut_off(authority: Authority, pair: Pair) -> None:
    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 this is no TLS\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server:
        with pytest.raises((ssl.SSLError, OSError)):
            await talk(server.sockets[0].getsockname()[1], asking(authority))


def revoking(authority: Authority, serial: int, file: Path) -> None:
    """A revocation list of the authority with one certificate on it."""
    from datetime import UTC, datetime, timedelta

    from cryptography.hazmat.primitives import hashes

    now = datetime.now(UTC)
    issuer, key = authority.own
    one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - timedelta(hours=1))
        .next_update(now + timedelta(days=1))
        .add_revoked_certificate(one)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
