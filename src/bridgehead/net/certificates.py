# SPDX-License-Identifier: MIT
"""Certificates of the server side: PEM pairs as TLS contexts, read anew when a file changes; a self-signed pair.

TLS 1.2 is the oldest version (RFC 8996). Contexts of the client side are `tls.py`.
"""

import ipaddress
import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!eNULL:!PSK:!SRP"
"""For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325 §4.2). TLS 1.3 has no others."""
_LIFETIME: Final = timedelta(days=3650)
SELF_SIGNED_CERTIFICATE: Final = "self-signed.crt"
_SELF_SIGNED: Final = (SELF_SIGNED_CERTIFICATE, "self-signed.key")

_Stamp = tuple[int, ...]


class CertificatePair(msgspec.Struct, frozen=True):
    """Chain and key, PEM."""

    certificate: Path
    key: Path


class CertificateError(Exception):
    """A pair cannot be used; the message names the files and the reason."""


class CertificateStore:
    """The server contexts, one for each pair of files.

    Ask for the context at every handshake: after a file has changed and `refresh` has run, it is another one.
    """

    def __init__(self, directory: Path, default: CertificatePair, alarm: Callable[[str], None]) -> None:
        """Relative names lie in `directory`; `alarm` is told of pairs that can no longer be read."""
        self._directory = directory
        self._default = default
        self._alarm = alarm
        self._held: dict[CertificatePair, _Held] = {}

    def context_for(self, certificate_file: str, key_file: str) -> ssl.SSLContext:
        """The context of a connector's own pair, or with "" of the server's. Raises CertificateError."""
        if certificate_file:
            pair = CertificatePair(self._directory / certificate_file, self._directory / key_file)
        else:
            pair = self._default
        held = self._held.get(pair)
        if held is None:
            stamp = _stamp(pair)
            held = self._held[pair] = _Held(make_server_context(pair), stamp)
        return held.context

    def refresh(self) -> list[Path]:
        """Read pairs whose files have changed; the certificates that are new. To be called every minute or so.

        A pair that cannot be used, such as a new certificate whose key is still to come, leaves the old one in use
        and raises one alarm for each state of the files.
        """
        changed = []
        for pair, held in self._held.items():
            stamp = _stamp(pair)
            if stamp in (held.stamp, held.bad_stamp):
                continue
            try:
                held.context = make_server_context(pair)
            except CertificateError as error:
                held.bad_stamp = stamp
                self._alarm(f"{error}; the certificate read before stays in use")
                continue
            held.stamp, held.bad_stamp = stamp, None
            changed.append(pair.certificate)
        return changed


class _Held(msgspec.Struct):
    context: ssl.SSLContext
    stamp: _Stamp
    bad_stamp: _Stamp | None = None


def make_server_context(pair: CertificatePair) -> ssl.SSLContext:
    """A context that serves this pair. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    try:
        # A key with a passphrase fails here instead of asking at the terminal.
        context.load_cert_chain(pair.certificate, pair.key, password=lambda: "")
    except ssl.SSLError as error:
        reason = (error.reason or "unreadable").replace("_", " ").lower()
        raise CertificateError(f"{pair.certificate} with {pair.key} cannot be used: {reason}") from error
    except OSError as error:
        missing = next(
            (file for file in (pair.certificate, pair.key) if not os.access(file, os.R_OK)), pair.certificate
        )
        raise CertificateError(f"{missing} cannot be read: {error.strerror}") from error
    return context


def ensure_self_signed(directory: Path, fqdn: str) -> CertificatePair:
    """The pair of a server that was given none: made at first start, kept from then on. Raises OSError.

    P-256, ten years: nobody renews what nobody trusts; it serves opportunistic encryption (RFC 7435).
    """
    pair = CertificatePair(directory / _SELF_SIGNED[0], directory / _SELF_SIGNED[1])
    if not pair.certificate.exists() or not pair.key.exists():
        certificate, key = _make_self_signed(fqdn)
        _write(pair.key, key, 0o600)
        _write(pair.certificate, certificate, 0o644)
    return pair


def _make_self_signed(fqdn: str) -> tuple[bytes, bytes]:
    """Certificate and key, PEM."""
    from cryptography import x509  # imported at first start only: it takes 50 ms
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID

    host = fqdn.strip("[]") or "localhost"
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host.removeprefix("IPv6:")))
    except ValueError:
        subject = x509.DNSName(host)
    names = [subject] if subject == x509.DNSName("localhost") else [subject, x509.DNSName("localhost")]
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private


def _write(file: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all, never readable by more than `mode` allows."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(file)


def _stamp(pair: CertificatePair) -> _Stamp:
    """What changes when either file does; a file that is gone counts as a state of its own."""
    values: list[int] = []
    for file in (pair.certificate, pair.key):
        try:
            status = file.stat()
            values += (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            values += (-1, -1, -1)
    return tuple(values)
