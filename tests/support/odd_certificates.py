# SPDX-License-Identifier: MIT
"""Certificates that something is wrong with, made for one test: expired, self-signed, without their intermediate."""

import datetime
import ssl
import warnings
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Made(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make(
    name: str, issuer: Made | None = None, *, authority: bool = False, begins: datetime.timedelta = -DAY,
    ends: datetime.timedelta = 30 * DAY,
) -> Made:  # fmt: skip
    """A certificate for a DNS name (or an authority's), signed by `issuer` or by itself; times are from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return Made(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def write(folder: Path, name: str, leaf: Made, *chain: Made) -> Path:
    """A PEM file with the leaf, what else is to be sent, and the key."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.pem"
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key + b"".join(one.certificate.public_bytes(Encoding.PEM) for one in (leaf, *chain)))
    return path


def serving(path: Path) -> ssl.SSLContext:
    """A server's context with such a file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def with_old_tls_only(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, which now speaks TLS 1.0 and 1.1 only, as devices do that nobody updates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context
