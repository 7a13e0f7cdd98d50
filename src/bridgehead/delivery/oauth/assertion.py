# SPDX-License-Identifier: MIT
"""Signed assertions in place of a client secret (RFC 7523, RFC 7515, RFC 7518 §3.1): RS256, PS256, ES256.

Three signatures over two JSON objects take a few lines over `cryptography`, which is there anyway; a JOSE library would
bring what only those need who have to believe tokens of others.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from bridgehead.routing.oauth_settings import AssertionAlgorithm

RSA_BITS_MIN: Final = 2048
LIFETIME_SECONDS: Final = 600.0
"""How long an assertion is good for; clocks may differ by the first minute of it."""
SKEW_SECONDS: Final = 60.0

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def load_key(pem: bytes) -> SigningKey:
    """A private key that assertions can be signed with. Raises ValueError, which never holds the key."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        raise ValueError("there is no private key in PEM form without a passphrase") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= RSA_BITS_MIN:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError(f"assertions are signed with RSA keys of {RSA_BITS_MIN} bits or more, or with P-256 keys")


def thumbprint(certificate_pem: bytes) -> str:
    """x5t#S256 of the first certificate (RFC 7515 §4.1.8). Raises ValueError."""
    certificates = x509.load_pem_x509_certificates(certificate_pem)
    return encode(hashlib.sha256(certificates[0].public_bytes(Encoding.DER)).digest())


def sign(
    claims: Mapping[str, object], key: SigningKey, header: Mapping[str, str], algorithm: AssertionAlgorithm
) -> str:
    """A compact JWS over the claims; `alg` follows from the key, and for RSA keys from `algorithm`."""
    name = algorithm.value if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    head = {"alg": name, "typ": "JWT", **header}
    text = f"{encode(msgspec.json.encode(head))}.{encode(msgspec.json.encode(claims))}"
    return f"{text}.{encode(_signature(text.encode('ascii'), key, algorithm))}"


def _signature(data: bytes, key: SigningKey, algorithm: AssertionAlgorithm) -> bytes:
    digest = hashes.SHA256()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    if algorithm is AssertionAlgorithm.RS256:
        return key.sign(data, padding.PKCS1v15(), digest)
    return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)


def times(now: float) -> dict[str, object]:
    """The claims about time, for a clock that may be ahead of the provider's by a minute."""
    begin = int(now - SKEW_SECONDS)
    return {"iat": begin, "nbf": begin, "exp": int(now + LIFETIME_SECONDS - SKEW_SECONDS)}


def encode(data: bytes) -> str:
    """base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
