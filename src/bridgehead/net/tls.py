# SPDX-License-Identifier: MIT
"""TLS contexts of the client side, one for each way of checking, and what a handshake showed (RFC 8996: 1.2 or later).

Names are matched by the caller (`routing/tls_policy.py`), which knows what the administrator asked for; here the chain.
"""

import ssl
from typing import Any

import msgspec


class TlsFacts(msgspec.Struct, frozen=True):
    """What is known after a handshake.

    Attributes:
        version, cipher: as OpenSSL names them.
        names: DNS names and IP addresses of a verified certificate; empty where the chain was not verified.
    """

    version: str
    cipher: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.version}, {self.cipher}"


class ClientContexts:
    """Makes contexts on first use and keeps them: loading trust anchors takes milliseconds."""

    def __init__(self) -> None:
        self._made: dict[tuple[bool, str], ssl.SSLContext] = {}

    def get(self, *, verify: bool, ca_file: str = "") -> ssl.SSLContext:
        """The context that checks the chain, or nothing. Raises OSError or ssl.SSLError where `ca_file` cannot be
        used; that is not remembered, so a repaired file works at the next connection."""
        key = (verify, ca_file if verify else "")
        context = self._made.get(key)
        if context is None:
            context = self._made[key] = _make(verify, ca_file)
        return context

    def forget(self) -> None:
        """Read trust anchors anew from now on."""
        self._made.clear()


def _make(verify: bool, ca_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    if not verify:
        context.verify_mode = ssl.CERT_NONE
        return context
    context.verify_mode = ssl.CERT_REQUIRED
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def facts(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> TlsFacts:
    """What the handshake that `ssl_object` went through showed."""
    cipher = ssl_object.cipher()
    certificate: dict[str, Any] = dict(ssl_object.getpeercert() or {})
    alternatives = certificate.get("subjectAltName", ())
    names = [str(value) for kind, value in alternatives if kind in ("DNS", "IP Address")]
    return TlsFacts(ssl_object.version() or "", cipher[0] if cipher else "", tuple(names))


def sent_chain(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> tuple[bytes, ...]:
    """The certificates as the other side sent them, DER, verified or not."""
    if hasattr(ssl_object, "get_unverified_chain"):  # public from Python 3.13 on
        return tuple(ssl_object.get_unverified_chain())
    inner: Any = getattr(ssl_object, "_sslobj", None)
    chain = inner.get_unverified_chain() if inner is not None else None
    return tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain or ())


def handshake_error(error: Exception) -> str:
    """Why a handshake failed, in words fit for a log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "the TLS handshake took too long"
    return f"the connection was lost in the TLS handshake: {error or type(error).__name__}"
