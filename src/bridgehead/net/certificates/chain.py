# SPDX-License-Identifier: MIT
"""A certificate with its key and the chain sent behind it: what they are, and whether somebody would believe them
(RFC 5280 §6.1, RFC 5246 §7.4.2).

Signatures are followed link by link through the file, as a client has to that fetches nothing: M365 and most mail
servers do not look for intermediate certificates that a server does not send.
"""

import itertools
import re
import ssl
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from bridgehead.mail.limits import CERTIFICATE_FILE_BYTES, CHAIN_CERTIFICATES
from bridgehead.net.certificates.pairs import CertificateError, CertificateSummary, summary_of

if TYPE_CHECKING:
    from cryptography import x509

_ANCHOR_FILES: Final = 500
_PEM_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class ChainFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate file, in words.

    Attributes:
        leaf: what the server's own certificate says of itself.
        key_type: "RSA 2048", "ECDSA secp256r1", "Ed25519".
        server_use: may identify a server (Extended Key Usage).
        complete: the chain leads to a trust anchor of this system, or ends in a root of its own.
        trusted: it leads to a trust anchor of this system.
        missing: issuer that neither the file nor the system has; "" where the chain is complete.
        broken: what is wrong within the file, "" for nothing: order, signatures.
        ders: the certificates, DER, as they will be sent.
    """

    leaf: CertificateSummary
    key_type: str
    server_use: bool
    complete: bool
    trusted: bool
    missing: str
    broken: str
    ders: tuple[bytes, ...]

    def is_current(self, now: float) -> bool:
        """Within its dates."""
        return self.leaf.not_before <= now < self.leaf.not_after


def read_chain(pem: bytes, source: str = "the file") -> ChainFacts:
    """The facts of a PEM file. Raises CertificateError."""
    from cryptography import x509  # where it is asked for only: it takes 50 ms
    from cryptography.hazmat.primitives.serialization import Encoding

    if len(pem) > CERTIFICATE_FILE_BYTES:
        raise CertificateError(f"{source} is larger than {CERTIFICATE_FILE_BYTES // 1024} KB")
    try:
        chain = x509.load_pem_x509_certificates(pem)
        leaf = summary_of(chain[0], len(chain))
        key_type = _key_type(chain[0])
    except ValueError as error:
        why = str(error).partition(". See http")[0].rstrip(".")
        raise CertificateError(f"{source} holds no certificate that can be read: {why}") from None
    if len(chain) > CHAIN_CERTIFICATES:
        raise CertificateError(f"{source} holds {len(chain)} certificates; a chain has {CHAIN_CERTIFICATES} at most")
    broken = _broken(chain)
    trusted = leaf.self_signed is False and _is_anchored(chain[-1])
    rooted = chain[-1].issuer == chain[-1].subject
    complete = not broken and (trusted or rooted)
    return ChainFacts(
        leaf=leaf,
        key_type=key_type,
        server_use=_server_use(chain[0]),
        complete=complete,
        trusted=trusted and not broken,
        missing="" if trusted or rooted else chain[-1].issuer.rfc4514_string(),
        broken=broken,
        ders=tuple(one.public_bytes(Encoding.DER) for one in chain),
    )


def read_chain_file(file: Path) -> ChainFacts:
    """The facts of a file. Raises CertificateError."""
    return read_chain(read_bounded(file), str(file))


def read_bounded(file: Path) -> bytes:
    """A certificate's or key's file. Raises CertificateError."""
    try:
        with file.open("rb") as opened:
            return opened.read(CERTIFICATE_FILE_BYTES + 1)
    except OSError as error:
        raise CertificateError(f"{file} cannot be read: {error.strerror}") from error


def check_key(pem: bytes, certificate: bytes) -> str:
    """Why a key (PEM) does not do for a certificate (DER), "" where it does. The words never hold the key."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        public = load_pem_private_key(pem, None).public_key().public_bytes(*form)
    except TypeError:
        return "the key has a passphrase, which nobody is there to type: remove it (openssl pkey)"
    except (ValueError, UnsupportedAlgorithm):
        return "the key file holds no private key in PEM form"
    own = x509.load_der_x509_certificate(certificate).public_key().public_bytes(*form)
    return "" if public == own else "the key does not belong to the certificate"


def _broken(chain: "Sequence[x509.Certificate]") -> str:
    """The first link that does not hold."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    for issued, issuer in itertools.pairwise(chain):
        try:
            issued.verify_directly_issued_by(issuer)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            return (
                f"behind {_name(issued)} stands {_name(issuer)}, which did not issue it: "
                f"{issued.issuer.rfc4514_string()} did"
            )
    return ""


def _name(certificate: "x509.Certificate") -> str:
    return certificate.subject.rfc4514_string() or f"serial number {certificate.serial_number:X}"


def _is_anchored(last: "x509.Certificate") -> bool:
    """Whether the last certificate is a trust anchor of this system, or one issued it."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    for anchor in trust_anchors():
        if anchor == last:
            return True
        if anchor.subject == last.issuer:
            try:
                last.verify_directly_issued_by(anchor)
            except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
                continue
            return True
    return False


_held: tuple[tuple[object, ...], "list[x509.Certificate]"] | None = None


def trust_anchors(ca_file: str = "") -> "list[x509.Certificate]":
    """Those of a PEM file; with "" the system's, read anew when their file or folder changes."""
    global _held
    if ca_file:
        return _read_anchors([Path(ca_file)])
    files = list(_anchor_files())
    stamp = tuple((file, _changed(file)) for file in files)
    if _held is None or _held[0] != stamp:
        _held = (stamp, _read_anchors(files))
    return _held[1]


def _anchor_files() -> Iterable[Path]:
    """Where OpenSSL looks (SSL_CERT_FILE and SSL_CERT_DIR before its own places)."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        yield Path(paths.cafile)
        return
    if paths.capath:
        bundle = Path(paths.capath) / "ca-certificates.crt"
        if bundle.exists():
            yield bundle
        else:
            yield from sorted(Path(paths.capath).glob("*.[0-9]"))[:_ANCHOR_FILES]


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _read_anchors(files: Iterable[Path]) -> "list[x509.Certificate]":
    """One by one: an old anchor that today's rules do not admit takes none of the others with it."""
    from cryptography import x509

    found: list[x509.Certificate] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # serial numbers of old anchors
        for file in files:
            try:
                blocks = _PEM_BLOCK.findall(file.read_bytes())
            except OSError:
                continue  # what OpenSSL cannot read either anchors nothing
            for block in blocks:
                with suppress(ValueError):
                    found.append(x509.load_pem_x509_certificate(block))
    return found


def _key_type(certificate: "x509.Certificate") -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {key.curve.name}"
    return type(key).__name__.removesuffix("PublicKey").lstrip("_")


def _server_use(certificate: "x509.Certificate") -> bool:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usages or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages
