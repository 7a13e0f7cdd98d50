# SPDX-License-Identifier: MIT
"""TLS contexts of the client side, one for each way of checking, and what a handshake showed (RFC 8996: 1.2 or later).

Names are matched by the caller (`routing/tls_policy.py`), which knows what the administrator asked for; here the chain.
"""

import hashlib
import os
import ssl
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridgehead.diagnosis.facts import CertificateFacts
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import CERTIFICATE_NAMES, CERTIFICATE_TEXT, TLS_SESSIONS
from bridgehead.net.certificates.pairs import set_versions
from bridgehead.routing.settings import OcspMode, TlsVersion

if TYPE_CHECKING:
    from cryptography import x509


_NEVER_RESUMED: Final = ("dane", "requiretls")


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


class ClientTls(msgspec.Struct, frozen=True):
    """What one connector asks of TLS. Each `owner` has contexts of its own, so that a session taken up again never
    crosses connectors.

    Attributes:
        verify: the chain must lead to `ca_file` ("" for the system's trust anchors) and not be revoked by `crl_file`.
        ocsp: whether a stapled OCSP response is asked for; with `verify` only.
        certificate, key: what we show if asked; "" for nothing.
        scope: whose demand it serves. Sessions are taken up again within one scope only, and within "dane" and
            "requiretls" never: there each handshake shows its certificates anew.
    """

    owner: str = ""
    verify: bool = False
    ca_file: str = ""
    crl_file: str = ""
    ocsp: OcspMode = OcspMode.NONE
    certificate: str = ""
    key: str = ""
    minimum_version: TlsVersion = TlsVersion.TLS_1_2
    ciphers: str = ""
    scope: str = ""


_HALF_RENEWED: Final = "KEY_VALUES_MISMATCH"
"""OpenSSL's word for a key that does not belong to the certificate."""


class ClientContexts:
    """Makes contexts on first use and keeps them, until a file they were made of changes: loading trust anchors takes
    milliseconds."""

    def __init__(self) -> None:
        self._made: dict[ClientTls, tuple[tuple[int, ...], ssl.SSLContext]] = {}

    def get(self, tls: ClientTls) -> ssl.SSLContext:
        """The context. Raises OSError, ssl.SSLError or CertificateError where a file cannot be used; that is not
        remembered, so a repaired file works at the next connection. Where of a renewed pair one file is still to come,
        the pair before is shown."""
        stamp = _stamp(tls)
        made = self._made.get(tls)
        if made is None or made[0] != stamp:
            try:
                made = self._made[tls] = (stamp, _make(tls))
            except ssl.SSLError as error:
                if made is None or error.reason != _HALF_RENEWED:
                    raise
        return made[1]


def _stamp(tls: ClientTls) -> tuple[int, ...]:
    """What changes when a file does."""
    values: list[int] = []
    for name in (tls.ca_file, tls.crl_file, tls.certificate, tls.key):
        if name:
            try:
                status = os.stat(name)
                values += (status.st_mtime_ns, status.st_size, status.st_ino)
            except OSError:
                values += (-1, -1, -1)
    return tuple(values)


class _ClientContext(ssl.SSLContext):
    """A context that remembers the last session with each host, to take it up again (RFC 5246 §7.3, RFC 8446 §2.2)."""

    sessions: dict[str, ssl.SSLSession] | None


class _Connection(ssl.SSLObject):
    """Keeps the certificates of a handshake that fails on them: the connection is gone by the time anybody asks."""

    def do_handshake(self) -> None:
        """As `ssl.SSLObject`; SSLCertVerificationError carries `sent_chain`."""
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            error.sent_chain = sent_chain(self)  # type: ignore[attr-defined]
            raise


def kept_session(context: ssl.SSLContext, host: str) -> ssl.SSLSession | None:
    """The last session with a host, to be taken up again.

    Args:
        host: by name; where the certificate is not asked for by name, by address and port.
    """
    return (getattr(context, "sessions", None) or {}).get(host)


def keep_session(ssl_object: ssl.SSLObject, host: str) -> None:
    """Remember the session of a connection that ends well; with TLS 1.3 it came after the handshake."""
    sessions = getattr(ssl_object.context, "sessions", None)
    session = ssl_object.session
    if sessions is None or session is None or not session.has_ticket:
        return
    sessions.pop(host, None)
    sessions[host] = session
    if len(sessions) > TLS_SESSIONS:
        del sessions[next(iter(sessions))]


def _make(tls: ClientTls) -> ssl.SSLContext:
    if tls.verify and tls.ocsp is not OcspMode.NONE:
        from bridgehead.net.stapling import stapling_context  # its library is an extra

        return stapling_context(tls)
    context = _ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions = None if tls.scope in _NEVER_RESUMED else {}
    context.sslobject_class = _Connection
    set_versions(context, tls.minimum_version, tls.ciphers)
    context.check_hostname = False
    if tls.certificate:
        # A key with a passphrase fails here instead of asking at the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    if not tls.verify:
        context.verify_mode = ssl.CERT_NONE
        return context
    context.verify_mode = ssl.CERT_REQUIRED
    if tls.ca_file:
        context.load_verify_locations(cafile=tls.ca_file)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # so that a server's own certificate can be pinned
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.crl_file:
        context.load_verify_locations(cafile=tls.crl_file)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def facts(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> TlsFacts:
    """What the handshake that `ssl_object` went through showed."""
    cipher = ssl_object.cipher()
    return TlsFacts(ssl_object.version() or "", cipher[0] if cipher else "", certificate_names(ssl_object))


def certificate_names(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> tuple[str, ...]:
    """DNS names and IP addresses of the other side's certificate; none where it was not verified, or showed none."""
    certificate: dict[str, Any] = dict(ssl_object.getpeercert() or {})
    alternatives = certificate.get("subjectAltName", ())
    return tuple(str(value) for kind, value in alternatives if kind in ("DNS", "IP Address"))


def certificate_identities(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> tuple[str, ...]:
    """By what a client's certificate may be named in the user file: DNS names, IP addresses, mail addresses, and
    "sha256:HEX" of the whole; none where it was not verified, or showed none."""
    certificate: dict[str, Any] = dict(ssl_object.getpeercert() or {})
    whole = ssl_object.getpeercert(binary_form=True)
    if not certificate or whole is None:
        return ()
    alternatives = certificate.get("subjectAltName", ())
    names = (str(value).lower() for kind, value in alternatives if kind in ("DNS", "IP Address", "email"))
    return (*names, f"sha256:{hashlib.sha256(whole).hexdigest()}")


def sent_chain(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> tuple[bytes, ...]:
    """The certificates as the other side sent them, DER, verified or not; of a session taken up again its own alone."""
    if hasattr(ssl_object, "get_unverified_chain"):  # public from Python 3.13 on
        return tuple(ssl_object.get_unverified_chain())
    inner: Any = getattr(ssl_object, "_sslobj", None)
    chain = inner.get_unverified_chain() if inner is not None else None
    if chain:
        return tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain)
    try:
        leaf = ssl_object.getpeercert(binary_form=True)
    except ValueError:  # the handshake is not done, and is not going to be
        leaf = None
    return (leaf,) if leaf else ()


def certificate_facts(der: bytes) -> CertificateFacts:
    """What a certificate says of itself; text that it cannot be read where it cannot."""
    from cryptography import x509  # imported when a handshake failed: it takes 50 ms
    from cryptography.x509.oid import NameOID

    def shown(name: x509.Name) -> str:
        common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
        return clean_text(str(common[0].value) if common else name.rfc4514_string(), CERTIFICATE_TEXT)

    try:
        found = x509.load_der_x509_certificate(der)
        names = _alternative_names(found)
        return CertificateFacts(
            subject=shown(found.subject),
            issuer=shown(found.issuer),
            not_before=found.not_valid_before_utc.timestamp(),
            not_after=found.not_valid_after_utc.timestamp(),
            names=tuple(clean_text(name, CERTIFICATE_TEXT) for name in names[:CERTIFICATE_NAMES]),
            serial=f"{found.serial_number:x}",
        )
    except (ValueError, x509.ExtensionNotFound) as error:
        return CertificateFacts(subject=f"unreadable ({type(error).__name__})", issuer="")


def _alternative_names(certificate: "x509.Certificate") -> list[str]:
    """DNS names and IP addresses (RFC 5280 §4.2.1.6)."""
    from cryptography import x509

    try:
        value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*value.get_values_for_type(x509.DNSName), *map(str, value.get_values_for_type(x509.IPAddress))]


def handshake_error(error: Exception) -> str:
    """Why a handshake failed, in words fit for a log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "the TLS handshake took too long"
    return f"the connection was lost in the TLS handshake: {error or type(error).__name__}"


def tls_reason(error: Exception) -> str:
    """OpenSSL's word for what went wrong, "" for anything that is no TLS error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or "") if isinstance(error, ssl.SSLError) else ""
