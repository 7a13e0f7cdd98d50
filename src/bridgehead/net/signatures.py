# SPDX-License-Identifier: MIT
"""Checks signatures with public keys as DKIM publishes them (RFC 6376 §3.3, RFC 8301, RFC 8463)."""

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from bridgehead.mail.limits import DKIM_KEY_BITS_MAX, DKIM_KEY_BITS_MIN

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey


def check_signature(algorithm: str, key: bytes, signed: bytes, signature: bytes) -> str:
    """Whether `signature` is over `signed`: "" where it is, else what is wrong.

    Args:
        algorithm: "rsa-sha256" or "ed25519-sha256".
        key: RSA: SubjectPublicKeyInfo or RSAPublicKey, DER; Ed25519: 32 octets.
    """
    from cryptography.exceptions import InvalidSignature  # at first use only: it takes 50 ms
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        if algorithm == "ed25519-sha256":
            _ed25519(key).verify(signature, hashlib.sha256(signed).digest())
        else:
            _rsa(key).verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except ValueError as error:
        return str(error)
    except InvalidSignature:
        return "the signature does not fit the header"
    return ""


@lru_cache(maxsize=256)
def _ed25519(key: bytes) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(key)


@lru_cache(maxsize=256)
def _rsa(key: bytes) -> "RSAPublicKey":
    """Raises ValueError for what is no RSA key, or one of a length that is not trusted."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        loaded = load_der_public_key(key)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the key record holds no key that can be read") from None
    if not isinstance(loaded, RSAPublicKey):
        raise ValueError("the key record holds no RSA key")
    if not DKIM_KEY_BITS_MIN <= loaded.key_size <= DKIM_KEY_BITS_MAX:
        raise ValueError(f"an RSA key of {loaded.key_size} bits is not trusted")
    return loaded
