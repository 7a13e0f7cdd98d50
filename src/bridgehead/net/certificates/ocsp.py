# SPDX-License-Identifier: MIT
"""Whether a stapled OCSP response speaks for a certificate (RFC 6960 §3.2, RFC 6066 §8, RFC 7633).

Pure but for `cryptography`. How the response comes out of a handshake is in `stapling.py`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridgehead.mail.limits import OCSP_BYTES

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.x509 import ocsp

CERTIFICATE_REVOKED: Final = 23
STAPLE_MISSING: Final = 73
STAPLE_NOT_ACCEPTED: Final = 74
"""OpenSSL's X.509 verification errors for the three (x509_vfy.h)."""

_SKEW: Final = timedelta(minutes=5)
"""How far clocks may differ."""
_UNDATED: Final = timedelta(days=1)
"""How long a response holds that does not say until when."""
_TRUSTED_HASHES: Final = frozenset({"sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"})
"""By which responses may be signed; identifiers may be of SHA-1, as most are."""


class StapleProblem(msgspec.Struct, frozen=True):
    """Why a certificate is refused. `code`: one of the three above."""

    code: int
    reason: str


class _NotAcceptedError(Exception):
    """The response says nothing that can be relied on."""


def staple_problem(
    staple: bytes, chain: "Sequence[x509.Certificate]", now: datetime, *, required: bool
) -> StapleProblem | None:  # fmt: skip
    """What speaks against a server's certificate, None where nothing does. Never raises.

    Args:
        staple: the response, DER; b"" where none came.
        chain: as it was verified, the server's own first, its issuer behind it.
        required: one must come. Else it must come only where the certificate itself says so (RFC 7633).
    """
    from cryptography.exceptions import UnsupportedAlgorithm

    leaf = chain[0]
    if len(chain) < 2:  # pinned by itself, so that nobody revokes it
        return StapleProblem(STAPLE_MISSING, "the issuer of the certificate is not known") if required else None
    try:
        found = _believed(staple, leaf, chain[1], now) if staple else None
        if found is None:
            if required or _must_staple(leaf):
                why = "as its certificate promises" if not required else "which tls_ocsp_mode requires"
                return StapleProblem(STAPLE_MISSING, f"the server staples no OCSP response, {why}")
            return None
        return _status_problem(found)
    except _NotAcceptedError as error:
        return StapleProblem(STAPLE_NOT_ACCEPTED, f"the stapled OCSP response {error}")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return StapleProblem(STAPLE_NOT_ACCEPTED, f"the stapled OCSP response cannot be read ({type(error).__name__})")


def _believed(
    staple: bytes, leaf: "x509.Certificate", issuer: "x509.Certificate", now: datetime
) -> "ocsp.OCSPSingleResponse | None":  # fmt: skip
    """What the response says of the certificate; None where the responder had nothing to say (tryLater)."""
    from cryptography.x509 import ocsp

    if len(staple) > OCSP_BYTES:
        raise _NotAcceptedError("is too large")
    response = ocsp.load_der_ocsp_response(staple)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return None
    single = next((one for one in response.responses if _is_about(one, leaf, issuer)), None)
    if single is None:
        raise _NotAcceptedError("is about another certificate")
    _check_signature(response, issuer, now)
    _check_dates(single, now)
    return single


def _is_about(single: "ocsp.OCSPSingleResponse", leaf: "x509.Certificate", issuer: "x509.Certificate") -> bool:
    from cryptography.x509 import ocsp

    if single.serial_number != leaf.serial_number:
        return False
    wanted = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, single.hash_algorithm).build()
    return (single.issuer_name_hash, single.issuer_key_hash) == (wanted.issuer_name_hash, wanted.issuer_key_hash)


def _check_signature(response: "ocsp.OCSPResponse", issuer: "x509.Certificate", now: datetime) -> None:
    """By the issuer, or by one whom it appointed for that (RFC 6960 §4.2.2.2)."""
    from cryptography.exceptions import InvalidSignature

    hashed = response.signature_hash_algorithm
    if hashed is not None and hashed.name not in _TRUSTED_HASHES:
        raise _NotAcceptedError(f"is signed by means of {hashed.name}, which is not trusted")
    for signer in (issuer, *(one for one in response.certificates if _is_appointed(one, issuer, now))):
        try:
            _verify(signer.public_key(), response)
        except (InvalidSignature, TypeError):
            continue
        return
    raise _NotAcceptedError("is signed by nobody who may")


def _is_appointed(delegate: "x509.Certificate", issuer: "x509.Certificate", now: datetime) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        delegate.verify_directly_issued_by(issuer)
        usages = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    in_force = delegate.not_valid_before_utc - _SKEW <= now <= delegate.not_valid_after_utc + _SKEW
    return in_force and ExtendedKeyUsageOID.OCSP_SIGNING in usages


def _verify(key: Any, response: "ocsp.OCSPResponse") -> None:
    """Raises InvalidSignature, TypeError."""
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    signature, data, hashed = response.signature, response.tbs_response_bytes, response.signature_hash_algorithm
    if isinstance(key, rsa.RSAPublicKey) and hashed is not None:
        key.verify(signature, data, padding.PKCS1v15(), hashed)
    elif isinstance(key, ec.EllipticCurvePublicKey) and hashed is not None:
        key.verify(signature, data, ec.ECDSA(hashed))
    else:
        key.verify(signature, data)


def _check_dates(single: "ocsp.OCSPSingleResponse", now: datetime) -> None:
    begins, ends = single.this_update_utc, single.next_update_utc
    if begins - _SKEW > now:
        raise _NotAcceptedError(f"holds only from {begins:%Y-%m-%d %H:%M}Z on")
    ends = ends or begins + _UNDATED
    if ends + _SKEW < now:
        raise _NotAcceptedError(f"held until {ends:%Y-%m-%d %H:%M}Z")


def _status_problem(single: "ocsp.OCSPSingleResponse") -> StapleProblem | None:
    from cryptography.x509 import ocsp

    match single.certificate_status:
        case ocsp.OCSPCertStatus.GOOD:
            return None
        case ocsp.OCSPCertStatus.REVOKED:
            why = f", {single.revocation_reason.value}" if single.revocation_reason is not None else ""
            at = single.revocation_time_utc
            since = f" on {at:%Y-%m-%d}" if at is not None else ""
            return StapleProblem(CERTIFICATE_REVOKED, f"its authority revoked it{since}{why} (OCSP)")
        case _:
            return StapleProblem(STAPLE_NOT_ACCEPTED, "its authority does not know it (OCSP)")


def _must_staple(leaf: "x509.Certificate") -> bool:
    """Whether a certificate says that a response always comes with it (status_request, RFC 7633 §4)."""
    from cryptography import x509

    try:
        features = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return x509.TLSFeatureType.status_request in features
