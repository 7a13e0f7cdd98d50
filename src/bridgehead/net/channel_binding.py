# SPDX-License-Identifier: MIT
"""What ties a login to its TLS connection, so that it cannot be carried to another (RFC 5929).

`tls-server-end-point` comes from our own certificate and holds for every version; `tls-unique` for TLS 1.2 and before
(RFC 8446 appendix C.5 leaves it undefined for 1.3). Python hands out no exported keying material, which `tls-exporter`
(RFC 9266) would need.
"""

import hashlib
import ssl
from typing import Final

END_POINT: Final = "tls-server-end-point"
UNIQUE: Final = "tls-unique"
_WEAK: Final = frozenset({"md5", "sha1"})


class ServerContext(ssl.SSLContext):
    """A context that knows the certificate it shows.

    Attributes:
        shown: DER.
    """

    shown: bytes = b""
    _end_point: bytes | None = None

    @property
    def end_point(self) -> bytes:
        """`tls-server-end-point`, b"" for a certificate whose signature names no hash (Ed25519)."""
        if self._end_point is None:
            self._end_point = end_point(self.shown) if self.shown else b""
        return self._end_point


def end_point(certificate: bytes) -> bytes:
    """The hash of a certificate (DER) as RFC 5929 §4.1 has it: by its signature's hash, SHA-256 for MD5 and SHA-1."""
    from cryptography import x509  # where logins with channel binding are offered only: it takes 50 ms
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return b""
    if algorithm is None:
        return b""
    name = "sha256" if algorithm.name in _WEAK else algorithm.name
    try:
        return hashlib.new(name.replace("sha3-", "sha3_"), certificate).digest()
    except ValueError:
        return b""


def channel_bindings(connection: ssl.SSLObject) -> dict[str, bytes]:
    """The bindings of a server's connection by type, the best first."""
    found: dict[str, bytes] = {}
    context = connection.context
    if isinstance(context, ServerContext) and context.end_point:
        found[END_POINT] = context.end_point
    if connection.version() in ("TLSv1", "TLSv1.1", "TLSv1.2") and (unique := connection.get_channel_binding(UNIQUE)):
        found[UNIQUE] = unique
    return found


def has_channel_binding(connection: ssl.SSLObject) -> bool:
    """Whether there is any; cheap."""
    context = connection.context
    return (isinstance(context, ServerContext) and bool(context.end_point)) or connection.version() == "TLSv1.2"
