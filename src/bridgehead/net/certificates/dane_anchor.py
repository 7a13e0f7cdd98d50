# SPDX-License-Identifier: MIT
"""Whether certificates that a server sent lead to an authority that DNS named (DANE-TA; RFC 7671 §5.2, RFC 5280 §6.1).

Python's ssl cannot check a chain against such an anchor, so signatures, dates and the right to sign are checked here,
link by link. What cannot be read counts as not leading there.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bridgehead.mail.limits import CHAIN_CERTIFICATES
from bridgehead.routing.dane import AnchorCheck

if TYPE_CHECKING:
    from cryptography import x509


def anchor_check(now: datetime) -> AnchorCheck:
    """The check of `routing.dane.judge` at this time."""

    def check(chain: Sequence[bytes], anchor: bytes, bare_key: bool) -> str:
        return _problem(chain, anchor, bare_key, now)

    return check


def server_names(der: bytes) -> tuple[str, ...]:
    """DNS names and IP addresses of a certificate that nobody verified; none where it cannot be read."""
    from bridgehead.net.tls import certificate_facts

    return certificate_facts(der).names


def _problem(chain: Sequence[bytes], anchor: bytes, bare_key: bool, now: datetime) -> str:
    """ "" where the chain leads there."""
    from cryptography import x509  # imported for a host with such records only: it takes 50 ms
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        links = [x509.load_der_x509_certificate(one) for one in chain[:CHAIN_CERTIFICATES]]
        if not bare_key and chain[-1] != anchor:
            links.append(x509.load_der_x509_certificate(anchor))
        for issued, issuer in pairwise(links):
            issued.verify_directly_issued_by(issuer)
            if not _may_sign(issuer):
                return "a certificate in the chain signs without being an authority"
        if bare_key:
            return _signed_by_key(links, anchor) or _dates(links, now)
        return _dates(links, now)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, x509.ExtensionNotFound) as error:
        return f"the chain does not lead to the authority that the TLSA record names ({type(error).__name__})"


def _dates(links: "Sequence[x509.Certificate]", now: datetime) -> str:
    for link in links:
        if now > link.not_valid_after_utc:
            return f"expired: a certificate of the chain was valid until {link.not_valid_after_utc:%Y-%m-%d %H:%M}Z"
        if now < link.not_valid_before_utc:
            return f"expired: a certificate of the chain is valid only from {link.not_valid_before_utc:%Y-%m-%d %H:%M}Z"
    return ""


def _may_sign(issuer: "x509.Certificate") -> bool:
    from cryptography import x509

    try:
        return bool(issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return issuer.version == x509.Version.v1


def _signed_by_key(links: "list[x509.Certificate]", anchor: bytes) -> str:
    """Whether a bare public key signed the chain, or one of its certificates up from the server's own."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    key: Any = serialization.load_der_public_key(anchor)
    for link in links:
        hashed = link.signature_hash_algorithm
        try:
            if isinstance(key, rsa.RSAPublicKey) and hashed is not None:
                key.verify(link.signature, link.tbs_certificate_bytes, padding.PKCS1v15(), hashed)
            elif isinstance(key, ec.EllipticCurvePublicKey) and hashed is not None:
                key.verify(link.signature, link.tbs_certificate_bytes, ec.ECDSA(hashed))
            else:
                key.verify(link.signature, link.tbs_certificate_bytes)
        except InvalidSignature:
            continue
        return ""
    return "no certificate of the chain is signed with the key that the TLSA record holds"
