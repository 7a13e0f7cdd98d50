# SPDX-License-Identifier: MIT
"""DANE for SMTP: which TLSA records are of use, and whether a server's certificates agree with them (RFC 6698, 7671,
7672).

Pure: over octets as DNS and the handshake gave them. Signatures within a chain are checked by whoever is handed in
(`net/certificates/dane_anchor.py`). Nothing that a record or certificate holds raises.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from bridgehead.mail.limits import TLSA_DATA_BYTES, TLSA_RECORDS
from bridgehead.routing.tls_policy import name_matches


class Usage(IntEnum):
    """Certificate usages that SMTP takes (RFC 7672 §3.1); PKIX-TA(0) and PKIX-EE(1) are of no use there."""

    DANE_TA = 2
    DANE_EE = 3


_DIGESTS: Final[dict[int, Callable[[bytes], bytes]]] = {
    0: lambda data: data,
    1: lambda data: hashlib.sha256(data).digest(),
    2: lambda data: hashlib.sha512(data).digest(),
}
_LENGTHS: Final = {1: 32, 2: 64}
_SELECTORS: Final = (0, 1)
_SEQUENCE: Final = 0x30
_EXPLICIT_VERSION: Final = 0xA0


class TlsaRecord(msgspec.Struct, frozen=True, order=True):
    """One TLSA record as it came."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        """As zone files have it."""
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"

    @property
    def is_usable(self) -> bool:
        """Of a usage, selector and matching type that we know, with data of the right length (RFC 7671 §5, §9)."""
        if self.usage not in (2, 3) or self.selector not in _SELECTORS or self.matching not in _DIGESTS:
            return False
        if self.matching == 0:
            whole = element(self.data, 0) if len(self.data) <= TLSA_DATA_BYTES else None
            return whole is not None and whole[0] == _SEQUENCE and whole[2] == len(self.data)
        return len(self.data) == _LENGTHS[self.matching]

    def matches(self, certificate: bytes) -> bool:
        """Whether a certificate (DER) is the one that the record tells of. Only for usable records."""
        subject = certificate if self.selector == 0 else public_key_of(certificate)
        return bool(subject) and _DIGESTS[self.matching](subject) == self.data


def tlsa_record(rdata: bytes) -> TlsaRecord | None:
    """A record's data (RFC 6698 §2.1); None where it is too short to be one."""
    return TlsaRecord(rdata[0], rdata[1], rdata[2], rdata[3:]) if len(rdata) > 3 else None


def usable_records(records: Iterable[TlsaRecord]) -> tuple[TlsaRecord, ...]:
    """Those of use, sorted, each once, so many at most as one host may have."""
    return tuple(sorted({one for one in records if one.is_usable}))[:TLSA_RECORDS]


class DaneVerdict(msgspec.Struct, frozen=True):
    """Whether certificates agree with records.

    Attributes:
        reason: why not, "" where they do.
        matched: the record that agreed, in presentation form.
        expired: it agreed but for the dates of the chain.
        mismatch: it agreed but for the names.
    """

    reason: str = ""
    matched: str = ""
    expired: bool = False
    mismatch: bool = False

    @property
    def passed(self) -> bool:
        return not self.reason


AnchorCheck = Callable[[Sequence[bytes], bytes, bool], str]
"""Whether a chain leads to an anchor: (chain from the server's own certificate on, anchor as DER, whether the anchor is
a bare public key) → "" or why not; "expired: …" where only dates spoke against it."""


def judge(
    records: Sequence[TlsaRecord], chain: Sequence[bytes], names: Sequence[str], wanted: Sequence[str],
    leads_to: AnchorCheck,
) -> DaneVerdict:  # fmt: skip
    """What a handshake's certificates come to (RFC 7671 §5.1, §5.2; RFC 7672 §3).

    Args:
        records: usable ones.
        chain: DER as the server sent it, its own certificate first.
        names: DNS names of the server's own certificate.
        wanted: reference identifiers, for DANE-TA only: TLSA base domain, MX host, recipient domain.
    """
    if not chain:
        return DaneVerdict("the server showed no certificate")
    for record in records:
        # With DANE-EE neither names nor dates count: the record alone binds the key to the host (RFC 7671 §5.1).
        if record.usage == Usage.DANE_EE and record.matches(chain[0]):
            return DaneVerdict(matched=str(record))
    failure = DaneVerdict(f"none of {len(records)} TLSA records is of the certificate or key that the server shows")
    for record in records:
        if record.usage != Usage.DANE_TA:
            continue
        problem = _anchored(record, chain, leads_to)
        if problem is None:
            continue
        if problem:
            failure = DaneVerdict(problem, str(record), expired=problem.startswith("expired"))
        elif not any(name_matches(names, name) for name in wanted):
            shown = ", ".join(names[:3]) or "no name"
            failure = DaneVerdict(f"the certificate is for {shown}, not for {wanted[0]}", str(record), mismatch=True)
        else:
            return DaneVerdict(matched=str(record))
    return failure


def _anchored(record: TlsaRecord, chain: Sequence[bytes], leads_to: AnchorCheck) -> str | None:
    """ "" where the chain leads to what the record tells of, why not where it does not, None where nothing sent and
    nothing in the record is that authority."""
    for position, certificate in enumerate(chain[1:], 1):  # the server's own certificate is no authority
        if record.matches(certificate):
            return leads_to(chain[: position + 1], certificate, False)
    if record.matching == 0:  # the record holds the authority itself, which then need not be sent
        return leads_to(chain, record.data, record.selector == 1) or ""
    return None


# --- DER, as much as is needed (X.690 §8.1) ---------------------------------------------------------------------------


def element(data: bytes, position: int) -> tuple[int, int, int] | None:
    """Tag, start of the contents and end of the element at `position`; None where there is none."""
    if position + 2 > len(data):
        return None
    tag, length = data[position], data[position + 1]
    start = position + 2
    if length & 0x80:
        octets = length & 0x7F
        if not 0 < octets <= 4 or start + octets > len(data):
            return None
        length = int.from_bytes(data[start : start + octets])
        start += octets
    return (tag, start, start + length) if start + length <= len(data) else None


def public_key_of(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate (RFC 5280 §4.1), "" where it cannot be found."""
    outer = element(certificate, 0)
    body = element(certificate, outer[1]) if outer is not None and outer[0] == _SEQUENCE else None
    if body is None or body[0] != _SEQUENCE:
        return b""
    position = body[1]
    first = element(certificate, position)
    skipped = 6 if first is not None and first[0] == _EXPLICIT_VERSION else 5
    # version?, serialNumber, signature, issuer, validity, subject, then the key
    for _ in range(skipped):
        found = element(certificate, position)
        if found is None or found[2] > body[2]:
            return b""
        position = found[2]
    key = element(certificate, position)
    return certificate[position : key[2]] if key is not None and key[0] == _SEQUENCE and key[2] <= body[2] else b""
