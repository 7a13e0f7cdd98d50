# SPDX-License-Identifier: MIT
"""Certificates that nobody but their own key vouches for: P-256, valid from an hour ago."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

_CLOCKS_DIFFER = timedelta(hours=1)


def self_signed(
    common_name: str, names: "list[x509.GeneralName]", lifetime: timedelta,
    *extensions: "tuple[x509.ExtensionType, bool]",
) -> tuple[bytes, bytes]:  # fmt: skip
    """Certificate and key, PEM.

    Args:
        names: the subjectAltName.
        extensions: further ones, each with whether it is critical.
    """
    from cryptography import x509  # imported when one is made only: it takes 50 ms
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private
