# SPDX-License-Identifier: MIT
"""Certificates: PEM pairs as TLS contexts of the server side, what they say of themselves, a self-signed pair.

TLS 1.2 is the oldest version unless a connector allows less (RFC 8996). Which connector shows which certificate is in
`store.py`, contexts of the client side in `net/tls.py`.
"""

import ipaddress
import os
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from bridgehead.net.certificates.self_signed import self_signed
from bridgehead.net.channel_binding import ServerContext
from bridgehead.net.durable_files import replace_file
from bridgehead.routing.settings import TlsVersion
from bridgehead.routing.tls_policy import name_matches

if TYPE_CHECKING:
    from cryptography import x509


_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!eNULL:!PSK:!SRP"
"""For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 §4.2). TLS 1.3 has no others."""
_OLD_CIPHERS: Final = "DEFAULT:!aNULL:!eNULL:!EXPORT:!RC4:@SECLEVEL=0"
"""For devices of another age, where an administrator allows TLS 1.0 or 1.1."""
_LIFETIME: Final = timedelta(days=3650)
_SELF_SIGNED: Final = ("self-signed.crt", "self-signed.key")

_PEM_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_PEM_END: Final = "-----END CERTIFICATE-----"


_VERSIONS: Final = {
    TlsVersion.TLS_1_0: ssl.TLSVersion.TLSv1,
    TlsVersion.TLS_1_1: ssl.TLSVersion.TLSv1_1,
    TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}


class CertificatePair(msgspec.Struct, frozen=True, cache_hash=True):
    """Chain and key, PEM."""

    certificate: Path
    key: Path


class ContextOptions(msgspec.Struct, frozen=True, cache_hash=True):
    """What a connector asks of TLS, whichever certificate it shows.

    Attributes:
        minimum_version: the oldest that is spoken.
        ciphers: OpenSSL's cipher list for TLS 1.2 and before; "" for a good one.
        ask_client: clients are asked for a certificate, which must then lead to `ca_file` ("" for the system's
            trust anchors) and not be revoked by `crl_file` ("" for no check).
    """

    minimum_version: TlsVersion = TlsVersion.TLS_1_2
    ciphers: str = ""
    ask_client: bool = False
    ca_file: str = ""
    crl_file: str = ""


class CertificateSummary(msgspec.Struct, frozen=True):
    """What a certificate says of itself.

    Attributes:
        names: DNS names and IP addresses it is for; without any, the common name.
        issuer, subject: distinguished names as RFC 4514 has them.
        not_before, not_after: Unix times.
        chain_length: certificates in the file, its own included.
        client_use: may identify a client (Extended Key Usage).
    """

    names: tuple[str, ...]
    issuer: str
    subject: str
    serial: str
    not_before: float
    not_after: float
    chain_length: int
    client_use: bool
    self_signed: bool
    fingerprint: str


class CertificateError(Exception):
    """A pair cannot be used; the message names the files and the reason."""


def make_server_context(pair: CertificatePair, options: "ContextOptions | None" = None) -> ssl.SSLContext:
    """A context that serves this pair. Raises CertificateError."""
    options = options or ContextOptions()
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    set_versions(context, options.minimum_version, options.ciphers)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    # One is what a mail server takes up again; OpenSSL's second costs a fifth of the handshake's time.
    context.num_tickets = 1
    if options.ask_client:
        _ask_client(context, options)
    try:
        # A key with a passphrase fails here instead of asking at the terminal.
        context.load_cert_chain(pair.certificate, pair.key, password=lambda: "")
        context.shown = _first_certificate(pair.certificate)
    except ssl.SSLError as error:
        reason = (error.reason or "unreadable").replace("_", " ").lower()
        raise CertificateError(f"{pair.certificate} with {pair.key} cannot be used: {reason}") from error
    except OSError as error:
        missing = next(
            (file for file in (pair.certificate, pair.key) if not os.access(file, os.R_OK)), pair.certificate
        )
        raise CertificateError(f"{missing} cannot be read: {error.strerror}") from error
    return context


def _first_certificate(file: Path) -> bytes:
    """The certificate that a file begins with, DER; b"" where it is not found. Raises OSError."""
    text = file.read_text("latin-1")
    begin = text.find(_PEM_BEGIN)
    end = text.find(_PEM_END, begin)
    return ssl.PEM_cert_to_DER_cert(text[begin : end + len(_PEM_END)]) if 0 <= begin < end else b""


@contextmanager
def in_memory(data: bytes) -> Iterator[Path]:
    """A file that only this process sees, for OpenSSL, which reads certificates and keys from files alone."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _ask_client(context: ssl.SSLContext, options: "ContextOptions") -> None:
    """Ask clients for a certificate; one that does not verify ends the handshake, none at all is fine."""
    context.verify_mode = ssl.CERT_OPTIONAL
    try:
        if options.ca_file:
            context.load_verify_locations(cafile=options.ca_file)
        else:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        if options.crl_file:
            context.load_verify_locations(cafile=options.crl_file)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except (OSError, ssl.SSLError) as error:
        name = options.crl_file or options.ca_file
        raise CertificateError(f"{name} cannot be read as PEM: {error.strerror or error}") from error


def set_versions(context: ssl.SSLContext, minimum: TlsVersion, ciphers: str = "") -> None:
    """The oldest protocol version and, for TLS 1.2 and before, the ciphers. Raises CertificateError.

    Versions that RFC 8996 withdrew need hashes that OpenSSL refuses at its usual security level.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the administrator was warned when it was configured
        context.minimum_version = _VERSIONS[minimum]
    try:
        context.set_ciphers(cipher_list(minimum, ciphers))
    except ssl.SSLError:
        raise CertificateError(f"OpenSSL knows no cipher in {ciphers!r}") from None


def cipher_list(minimum: TlsVersion, ciphers: str = "") -> str:
    """OpenSSL's list for TLS 1.2 and before: `ciphers`, or "" for a good one."""
    old = minimum in (TlsVersion.TLS_1_0, TlsVersion.TLS_1_1)
    return ciphers or (_OLD_CIPHERS if old else _CIPHERS)


def read_summary(certificate: Path) -> CertificateSummary:
    """The first certificate of a PEM file, in words. Raises CertificateError."""
    try:
        return summary_of_pem(certificate.read_bytes())
    except OSError as error:
        raise CertificateError(f"{certificate} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CertificateError(f"{certificate} holds no certificate that can be read: {error}") from error


def summary_of_pem(pem: bytes) -> CertificateSummary:
    """The first certificate of PEM text, in words. Raises ValueError."""
    from cryptography import x509  # where it is asked for only: it takes 50 ms

    chain = x509.load_pem_x509_certificates(pem)
    return summary_of(chain[0], len(chain))


def summary_of(one: "x509.Certificate", chain_length: int = 1) -> CertificateSummary:
    """A certificate, in words."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    names: list[str] = []
    client_use = True
    for extension in one.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names += extension.value.get_values_for_type(x509.DNSName)
            names += [str(address) for address in extension.value.get_values_for_type(x509.IPAddress)]
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            client_use = ExtendedKeyUsageOID.CLIENT_AUTH in extension.value
    if not names:
        names = [str(attribute.value) for attribute in one.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return CertificateSummary(
        names=tuple(names),
        issuer=one.issuer.rfc4514_string(),
        subject=one.subject.rfc4514_string(),
        serial=f"{one.serial_number:X}",
        not_before=one.not_valid_before_utc.timestamp(),
        not_after=one.not_valid_after_utc.timestamp(),
        chain_length=chain_length,
        client_use=client_use,
        self_signed=one.issuer == one.subject,
        fingerprint=one.fingerprint(hashes.SHA256()).hex().upper(),
    )


def self_signed_pair(directory: Path) -> CertificatePair:
    """Where the pair lies that `ensure_self_signed` makes."""
    return CertificatePair(directory / _SELF_SIGNED[0], directory / _SELF_SIGNED[1])


def ensure_self_signed(directory: Path, fqdn: str) -> CertificatePair:
    """The pair of a server that was given none: made at first start, kept from then on. Raises OSError.

    P-256, ten years: nobody renews what nobody trusts; it serves opportunistic encryption (RFC 7435).
    """
    pair = self_signed_pair(directory)
    if not pair.certificate.exists() or not pair.key.exists():
        certificate, key = _make_self_signed(fqdn)
        replace_file(pair.key, key, 0o600)
        replace_file(pair.certificate, certificate, 0o644)
    return pair


def _make_self_signed(fqdn: str) -> tuple[bytes, bytes]:
    """Certificate and key, PEM."""
    from cryptography import x509  # imported at first start only: it takes 50 ms
    from cryptography.x509.oid import ExtendedKeyUsageOID

    host = fqdn.strip("[]") or "localhost"
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host.removeprefix("IPv6:")))
    except ValueError:
        subject = x509.DNSName(host)
    names = [subject] if subject == x509.DNSName("localhost") else [subject, x509.DNSName("localhost")]
    return self_signed(
        host[:64], names, _LIFETIME,
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    )  # fmt: skip


def chain_words(certificate: Path, fqdn: str) -> str:
    """What is the matter with a certificate file for a server of this name, in a sentence or two; never raises."""
    try:
        facts = read_summary(certificate)
    except CertificateError as error:
        return f"{error}."
    until = datetime.fromtimestamp(facts.not_after, UTC).strftime("%d %b %Y")
    words = [f"The certificate is for {', '.join(facts.names)}, issued by {facts.issuer}, valid until {until}."]
    if facts.chain_length == 1 and not facts.self_signed:
        words.append(f"{certificate} holds only the leaf; add the intermediate certificates behind it.")
    if facts.self_signed:
        words.append("It is self-signed: whoever checks certificates refuses it.")
    if not name_matches(facts.names, fqdn):
        words.append(f"It does not carry {fqdn}, the name of this connector.")
    return " ".join(words)
