# SPDX-License-Identifier: MIT
"""TLS of the client side that asks for a stapled OCSP response (RFC 6066 §8) and refuses by what it says.

Python's ssl neither asks for one nor shows it. For connectors that want it, pyOpenSSL does the handshake behind the
interface of `ssl`, so that event loops see no difference. A connection is never taken up again, since a resumed one
carries no response.
"""

import ipaddress
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bridgehead.net.certificates.chain import read_bounded
from bridgehead.net.certificates.ocsp import STAPLE_MISSING, StapleProblem, staple_problem
from bridgehead.net.certificates.pairs import CertificateError, cipher_list
from bridgehead.routing.settings import OcspMode, TlsVersion

if TYPE_CHECKING:
    from cryptography import x509
    from OpenSSL import SSL

    from bridgehead.net.tls import ClientTls

_PIECE: Final = 16 * 1024
"""A TLS record."""
MISSING_LIBRARY: Final = "tls_ocsp_mode needs a library that is not installed: pip install 'bridgehead[ocsp]'"


def has_library() -> bool:
    """Whether the library for it is installed."""
    from importlib.util import find_spec

    return find_spec("OpenSSL") is not None


def stapling_context(tls: "ClientTls") -> "StaplingContext":
    """A context. Raises OSError, ssl.SSLError, CertificateError."""
    try:
        from OpenSSL import SSL, crypto
    except ImportError:
        raise CertificateError(MISSING_LIBRARY) from None
    versions = {
        TlsVersion.TLS_1_0: SSL.TLS1_VERSION, TlsVersion.TLS_1_1: SSL.TLS1_1_VERSION,
        TlsVersion.TLS_1_2: SSL.TLS1_2_VERSION, TlsVersion.TLS_1_3: SSL.TLS1_3_VERSION,
    }  # fmt: skip
    inner = SSL.Context(SSL.TLS_CLIENT_METHOD)
    inner.set_min_proto_version(versions[tls.minimum_version])
    inner.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    try:
        inner.set_cipher_list(cipher_list(tls.minimum_version, tls.ciphers).encode())
        if tls.certificate:
            inner.use_certificate_chain_file(tls.certificate)
            inner.use_privatekey(_private_key(tls.key))
            inner.check_privatekey()
        if tls.ca_file:
            inner.load_verify_locations(tls.ca_file)
        else:
            inner.set_default_verify_paths()
        if tls.crl_file:
            inner.load_verify_locations(tls.crl_file)
    except SSL.Error as error:
        raise _as_ssl_error(error) from None
    store, flags = inner.get_cert_store(), crypto.X509StoreFlags
    if store is not None:
        store.set_flags((flags.PARTIAL_CHAIN if tls.ca_file else 0) | (flags.CRL_CHECK if tls.crl_file else 0))
    context = StaplingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.begin(inner, required=tls.ocsp is OcspMode.REQUIRE)
    return context


def _private_key(file: str) -> Any:
    """Raises OSError, CertificateError."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(read_bounded(Path(file)), None)
    except (TypeError, ValueError):  # TypeError: it has a passphrase
        raise CertificateError(f"{file} holds no private key without a passphrase") from None


class StaplingContext(ssl.SSLContext):
    """To event loops a context of `ssl`; its connections are `StaplingConnection`s."""

    sessions = None
    """None is ever kept (`tls.keep_session`)."""

    def begin(self, inner: "SSL.Context", *, required: bool) -> None:
        """What its connections are made of."""
        from OpenSSL import SSL

        self._inner, self.required = inner, required
        inner.set_verify(SSL.VERIFY_PEER, _judged)
        inner.set_ocsp_client_callback(_answered)

    def wrap_bio(  # type: ignore[override]
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_side: bool = False,
        server_hostname: str | bytes | None = None, session: object = None,
    ) -> "StaplingConnection":  # fmt: skip
        """A connection, as `ssl.SSLContext` makes them; sessions are passed over."""
        assert not server_side
        name = server_hostname.decode() if isinstance(server_hostname, bytes) else server_hostname
        return StaplingConnection(self, self._inner, incoming, outgoing, name)


def _judged(connection: "SSL.Connection", _: object, number: int, depth: int, ok: int) -> bool:
    """OpenSSL has looked at a certificate of the chain."""
    if not ok:
        connection.get_app_data().refuse(StapleProblem(number, _words(number)))
    return bool(ok)


def _answered(connection: "SSL.Connection", staple: bytes, _: object) -> bool:
    """A response came, or b""."""
    return bool(connection.get_app_data().judge(staple))


class StaplingConnection:
    """One connection with the methods of `ssl.SSLObject` that event loops and `tls.py` use."""

    session = None

    def __init__(
        self, context: StaplingContext, inner: "SSL.Context", incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO,
        server_hostname: str | None,
    ) -> None:  # fmt: skip
        from OpenSSL import SSL

        self.context, self.server_hostname = context, server_hostname
        self._incoming, self._outgoing = incoming, outgoing
        self._problem: StapleProblem | None = None
        self._judged = self._more = False
        self._connection = SSL.Connection(inner, None)
        self._connection.set_app_data(self)
        self._connection.set_connect_state()
        self._connection.request_ocsp()
        if server_hostname and not _is_address(server_hostname):
            self._connection.set_tlsext_host_name(server_hostname.encode("idna"))

    # --- judging --------------------------------------------------------------------------------------------------

    def refuse(self, problem: StapleProblem) -> None:
        """The first reason counts."""
        self._problem = self._problem or problem

    def judge(self, staple: bytes) -> bool:
        """Whether the certificate may be believed with this response."""
        self._judged = True
        chain = self._connection.get_verified_chain(as_cryptography=True)
        if not chain:
            self.refuse(StapleProblem(STAPLE_MISSING, "there is no chain to judge by"))
        elif problem := staple_problem(staple, chain, datetime.now(UTC), required=self.context.required):
            self.refuse(problem)
        return self._problem is None

    # --- as ssl.SSLObject -----------------------------------------------------------------------------------------

    def do_handshake(self) -> None:
        """Raises ssl.SSLWantReadError, ssl.SSLError; SSLCertVerificationError carries `sent_chain`."""
        try:
            self._run(self._connection.do_handshake)
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError:
            if self._problem is not None:
                raise self._refusal(self._problem) from None
            raise
        if not self._judged and not self.judge(b""):
            assert self._problem is not None
            raise self._refusal(self._problem)

    def read(self, length: int = 1024, buffer: "bytearray | memoryview | None" = None) -> Any:
        """Everything that has come, up to `length` octets; b"" at the end of the connection."""
        found = bytearray()
        try:
            while len(found) < length:
                found += self._run(partial(self._connection.recv, min(_PIECE, length - len(found))))
            self._more = True
        except ssl.SSLWantReadError:
            self._more = False
            if not found:
                raise
        except ssl.SSLZeroReturnError:
            self._more = bool(found)
        if buffer is not None:
            memoryview(buffer)[: len(found)] = found
            return len(found)
        return bytes(found)

    def write(self, data: "bytes | bytearray | memoryview") -> int:
        """How many octets were taken."""
        view = memoryview(data)
        return int(self._run(partial(self._connection.send, bytes(view[:_PIECE])))) if len(view) else 0

    def pending(self) -> int:
        """More than 0 where something can be read without more from the network."""
        return self._connection.pending() + self._more

    def unwrap(self) -> None:
        """Say that nothing more comes. Raises ssl.SSLWantReadError until the other side said so too."""
        if not self._run(self._connection.shutdown):
            raise ssl.SSLWantReadError

    def version(self) -> str:
        """As OpenSSL names it."""
        return self._connection.get_protocol_version_name()

    def cipher(self) -> tuple[str, str, int]:
        """Name, version, secret bits."""
        connection = self._connection
        return (
            connection.get_cipher_name() or "", connection.get_cipher_version() or "", connection.get_cipher_bits() or 0
        )  # fmt: skip

    def compression(self) -> None:
        """Never."""

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The server's certificate: DER, or its names as `ssl` gives them."""
        from cryptography.hazmat.primitives.serialization import Encoding

        found = self._connection.get_peer_certificate(as_cryptography=True)
        if found is None:
            return None
        return found.public_bytes(Encoding.DER) if binary_form else {"subjectAltName": _alternative_names(found)}

    def get_unverified_chain(self) -> list[bytes]:
        """The certificates as the server sent them, DER."""
        from cryptography.hazmat.primitives.serialization import Encoding

        chain = self._connection.get_peer_cert_chain(as_cryptography=True) or []
        return [one.public_bytes(Encoding.DER) for one in chain]

    # --- within ---------------------------------------------------------------------------------------------------

    def _run(self, step: Callable[[], Any]) -> Any:
        """One step, with what came before it and what it has to say behind it, and the errors of `ssl`."""
        from OpenSSL import SSL

        if came := self._incoming.read():
            self._connection.bio_write(came)
        try:
            return step()
        except SSL.WantReadError:
            raise ssl.SSLWantReadError from None
        except SSL.ZeroReturnError:
            raise ssl.SSLZeroReturnError from None
        except SSL.Error as error:
            raise _as_ssl_error(error) from None
        finally:
            self._hand_on()

    def _hand_on(self) -> None:
        from OpenSSL import SSL

        while True:
            try:
                self._outgoing.write(self._connection.bio_read(_PIECE))
            except SSL.Error:  # nothing is left
                return

    def _refusal(self, problem: StapleProblem) -> ssl.SSLCertVerificationError:
        error = ssl.SSLCertVerificationError(1, problem.reason)
        error.verify_code, error.verify_message = problem.code, problem.reason
        error.reason = "CERTIFICATE_VERIFY_FAILED"
        error.sent_chain = tuple(self.get_unverified_chain())  # type: ignore[attr-defined]
        return error


def _as_ssl_error(error: Exception) -> ssl.SSLError:
    """OpenSSL's last word in the type of `ssl`."""
    told = error.args[0] if error.args and isinstance(error.args[0], list) and error.args[0] else []
    words = str(told[-1][-1]) if told else "the connection ended"
    made = ssl.SSLError(1, words)
    made.reason = words.replace(" ", "_").upper()
    return made


def _words(number: int) -> str:
    """What one of OpenSSL's verification errors means."""
    from OpenSSL.SSL import X509VerificationCodes

    for name, value in vars(X509VerificationCodes).items():
        if value == number and name.startswith("ERR_"):
            return name.removeprefix("ERR_").replace("_", " ").lower()
    return f"verification error {number}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _alternative_names(certificate: "x509.Certificate") -> tuple[tuple[str, str], ...]:
    from cryptography import x509

    try:
        value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    names = [("DNS", name) for name in value.get_values_for_type(x509.DNSName)]
    return (*names, *(("IP Address", str(one)) for one in value.get_values_for_type(x509.IPAddress)))
