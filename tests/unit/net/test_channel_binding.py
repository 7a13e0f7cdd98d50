# SPDX-License-Identifier: MIT
"""tls-server-end-point (RFC 5929 §4.1) of certificates by their signature's hash."""

import datetime
import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from bridgehead.net.certificates.pairs import CertificatePair, make_server_context
from bridgehead.net.channel_binding import ServerContext, end_point


def self_signed(key: Any, algorithm: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.contoso.test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(("algorithm", "name"), [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384")])
def test_the_hash_is_that_of_the_signature(algorithm: Any, name: str) -> None:
    certificate = self_signed(ec.generate_private_key(ec.SECP256R1()), algorithm)
    assert end_point(certificate) == hashlib.new(name, certificate).digest()


def test_a_signature_without_a_hash_binds_nothing() -> None:
    assert end_point(self_signed(ed25519.Ed25519PrivateKey.generate(), None)) == b""
    assert end_point(b"no certificate") == b""


def test_a_context_knows_the_first_certificate_of_its_file(tmp_path: Any) -> None:
    from support.certificates import Authority

    pair = Authority(tmp_path).issue("mx.contoso.test")
    own = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"Bag Attributes\n" + pair.certificate.read_bytes() + (tmp_path / "root.pem").read_bytes())
    context = make_server_context(CertificatePair(chain, pair.key))
    assert isinstance(context, ServerContext)
    assert context.shown == own
    assert context.end_point == hashlib.sha256(own).digest()
