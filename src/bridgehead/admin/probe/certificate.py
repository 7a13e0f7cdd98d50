# SPDX-License-Identifier: MIT
"""Certificates as a server sent them: described for people, and judged where the protocol itself did not (RFC 5280)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID, NameOID

from bridgehead.mail.limits import PROBE_CHAIN

SOON = timedelta(days=30)
"""Before its end a certificate is worth a warning."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate.

    Attributes:
        names: DNS names and addresses it is for.
        fingerprint: SHA-256, hexadecimal.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    fingerprint: str
    self_signed: bool

    def __str__(self) -> str:
        names = f", for {', '.join(self.names[:6])}" if self.names else ""
        return (
            f"{self.subject}{names}; issued by {self.issuer}; valid {self.not_before:%Y-%m-%d} to "
            f"{self.not_after:%Y-%m-%d}; SHA-256 {self.fingerprint[:16]}…"
        )


def read_chain(chain: Sequence[bytes]) -> list[Certificate]:
    """The certificates of a chain, DER, in the order sent; what cannot be read ends the list."""
    found = []
    for der in chain[:PROBE_CHAIN]:
        try:
            found.append(_read(x509.load_der_x509_certificate(der)))
        except ValueError:
            break
    return found


def read_file(pem: bytes) -> list[Certificate]:
    """The certificates of a PEM file. Raises ValueError where there is none."""
    return [_read(one) for one in x509.load_pem_x509_certificates(pem)[:PROBE_CHAIN]]


def _read(certificate: x509.Certificate) -> Certificate:
    return Certificate(
        subject=_shown(certificate.subject),
        issuer=_shown(certificate.issuer),
        names=_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        self_signed=certificate.subject == certificate.issuer,
    )


def _shown(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string() or "(no name)"


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    assert isinstance(found, x509.SubjectAlternativeName)
    addresses = found.get_values_for_type(x509.IPAddress)
    return (*found.get_values_for_type(x509.DNSName), *(str(address) for address in addresses))


def why_untrusted(chain: Sequence[Certificate], now: float) -> str:
    """The likeliest reason why a chain was not believed, "" where nothing in it shows one."""
    if not chain:
        return "it sent no certificate"
    moment = datetime.fromtimestamp(now, UTC)
    for one in chain:
        if one.not_after < moment:
            return f"the certificate of {one.subject} expired on {one.not_after:%Y-%m-%d}"
        if one.not_before > moment:
            return f"the certificate of {one.subject} is valid only from {one.not_before:%Y-%m-%d} on"
    leaf = chain[0]
    if leaf.self_signed:
        return f"the certificate of {leaf.subject} is signed by itself"
    if len(chain) == 1:
        return f"only its own certificate is sent, without that of its issuer {leaf.issuer}"
    last = chain[-1]
    return f"the chain ends at {last.issuer if not last.self_signed else last.subject}, which is not trusted here"


def expires_soon(chain: Sequence[Certificate], now: float) -> str:
    """A sentence about the first certificate that ends within `SOON`, "" for none."""
    moment = datetime.fromtimestamp(now, UTC)
    for one in chain:
        left = one.not_after - moment
        if timedelta(0) <= left < SOON:
            return f"The certificate of {one.subject} expires in {left.days} days, on {one.not_after:%Y-%m-%d}"
    return ""
