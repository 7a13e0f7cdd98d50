# SPDX-License-Identifier: MIT
"""A certification authority for tests: makes certificates for whatever name a test needs."""

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_CERTIFIES = x509.KeyUsage(
    key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


class Pair(NamedTuple):
    """PEM files of a certificate (with its key beside it)."""

    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """A server's TLS context with this pair."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


class Authority:
    """A self-signed root in `directory`; `root` is its PEM file."""

    def __init__(self, directory: Path, name: str = "Test Root", days: float = 2) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._sign(self._name, self._key.public_key(), [], is_root=True, days=days)
        self.root = directory / "root.pem"
        self.root.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, names: list[str], *, is_root: bool = False,
        days: float = 2, since_days: float = 1 / 24, bare: bool = False, more: Sequence[x509.ExtensionType] = (),
    ) -> x509.Certificate:  # fmt: skip
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=since_days))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        )
        if not bare:  # what RFC 5280 §4.2.1 asks for and Python from 3.13 on checks
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(issuer, critical=False)
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        if is_root:
            builder = builder.add_extension(_CERTIFIES, critical=True)
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    @property
    def own(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Its own certificate and key."""
        return self._certificate, self._key

    def issue(
        self, *names: str, days: float = 2, since_days: float = 1 / 24, bare: bool = False,
        more: Sequence[x509.ExtensionType] = (),
    ) -> Pair:  # fmt: skip
        """A certificate for DNS names, signed by the root: from `since_days` ago to `days` from now.

        Args:
            bare: without key identifiers, as private authorities often make them.
            more: further extensions.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = self._sign(
            subject, key.public_key(), list(names), days=days, since_days=since_days, bare=bare, more=more
        )
        pair = Pair(self.directory / f"{names[0]}.pem", self.directory / f"{names[0]}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


def _alternative(name: str) -> x509.GeneralName:
    if "@" in name:
        return x509.RFC822Name(name)
    if name.replace(".", "").isdigit():
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def intermediate(root: Authority, name: str = "Test Intermediate") -> Authority:
    """An authority in between: signed by `root`, in a folder below it."""
    below = Authority(root.directory / "intermediate", name)
    below._certificate = root._sign(below._name, below._key.public_key(), [], is_root=True)
    below.root.write_bytes(below._certificate.public_bytes(serialization.Encoding.PEM))
    return below


def trusting_nobody() -> ssl.SSLContext:
    """A client's context that takes any certificate: for tests that are about something else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
