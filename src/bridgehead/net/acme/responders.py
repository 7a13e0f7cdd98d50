# SPDX-License-Identifier: MIT
"""What answers an ACME authority that asks whether a name is ours: over HTTP (RFC 8555 §8.3) and over TLS with ALPN
(RFC 8737).

Each opens its listener when a name is to be proved and closes it afterwards; everything runs in threads of its own.
Ports below 1024 may have been bound before privileges were dropped: such a socket listens only in between.
"""

import hashlib
import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, Protocol

from bridgehead.mail.limits import ACME_RESPONDER_CONNECTIONS, ACME_RESPONDER_SECONDS
from bridgehead.net.certificates.pairs import CertificatePair, in_memory
from bridgehead.net.certificates.self_signed import self_signed
from bridgehead.net.ip_range import Binding

_PATH: Final = "/.well-known/acme-challenge/"
_ALPN: Final = "acme-tls/1"
_ACME_IDENTIFIER: Final = "1.3.6.1.5.5.7.1.31"
_BACKLOG: Final = 16


class ChallengeFailed(Exception):
    """A challenge cannot be answered; the message says why."""


class Responder(Protocol):
    """Answers challenges of one kind. `open` before the first, `close` after the last, whatever happens."""

    def open(self) -> None:
        """Raises ChallengeFailed."""

    def present(self, domain: str, token: str, key_authorization: str) -> None:
        """Be ready for the question about one name. Raises ChallengeFailed."""

    def close(self) -> None:
        """Answer no more; never raises."""


class Listener:
    """A port that is open now and then.

    Args:
        bound: a socket of this binding that is bound already and does not listen.
    """

    def __init__(self, binding: Binding, bound: socket.socket | None = None) -> None:
        self._binding, self._bound = binding, bound

    def open(self) -> socket.socket:
        """Listen. Raises OSError."""
        listening = self._bound or bind(self._binding)
        listening.listen(_BACKLOG)
        return listening

    def close(self, listening: socket.socket) -> None:
        """Listen no more; what was bound early stays bound."""
        if listening is not self._bound:
            listening.close()
            return
        try:
            listening.shutdown(socket.SHUT_RD)  # on Linux: the port stays ours, connections are refused
        except OSError:
            pass


def bind(binding: Binding) -> socket.socket:
    """A socket that does not listen yet. Raises OSError."""
    address = ipaddress.ip_address(str(binding.address))
    bound = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((str(binding.address), binding.port))
    except OSError:
        bound.close()
        raise
    return bound


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Few connections at a time, each for a few seconds."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(listening.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._free = threading.BoundedSemaphore(ACME_RESPONDER_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Strangers' broken requests concern nobody."""


class _Serving:
    """A listener with a thread that accepts."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._server: _Server | None = None

    def open(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        """Raises ChallengeFailed."""
        try:
            listening = self._listener.open()
        except OSError as error:
            raise ChallengeFailed(f"the port for the challenge cannot be opened: {error.strerror or error}") from error
        self._server = _Server(listening, handler)
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.05,), name="acme-responder", daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            self._listener.close(server.socket)


class HttpResponder:
    """http-01."""

    def __init__(self, listener: Listener) -> None:
        self._serving = _Serving(listener)
        self._answers: dict[str, str] = {}

    def open(self) -> None:
        """Raises ChallengeFailed."""
        self._serving.open(_http_handler(self._answers))

    def present(self, domain: str, token: str, key_authorization: str) -> None:
        """Give the answer to whoever asks for the token."""
        self._answers[token] = key_authorization

    def close(self) -> None:
        """Close the port."""
        self._serving.close()
        self._answers.clear()


def _http_handler(answers: Mapping[str, str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = ACME_RESPONDER_SECONDS
        server_version, sys_version = "Bridgehead", ""

        def do_GET(self) -> None:
            token = self.path.removeprefix(_PATH) if self.path.startswith(_PATH) else ""
            answer = answers.get(token)
            body = (answer or "there is nothing here\n").encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/octet-stream" if answer else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: strangers do not write to our log."""

    return Handler


class TlsAlpnResponder:
    """tls-alpn-01: a handshake with a certificate made for the purpose, then the connection ends."""

    def __init__(self, listener: Listener) -> None:
        self._serving = _Serving(listener)
        self._contexts: dict[str, ssl.SSLContext] = {}

    def open(self) -> None:
        """Raises ChallengeFailed."""
        self._serving.open(_tls_handler(self._contexts))

    def present(self, domain: str, token: str, key_authorization: str) -> None:
        """Show a certificate with the answer to whoever asks for the domain."""
        certificate, key = challenge_certificate(domain, key_authorization)
        self._contexts[domain.lower()] = _alpn_context(certificate, key)

    def close(self) -> None:
        """Close the port."""
        self._serving.close()
        self._contexts.clear()


def _alpn_context(certificate: bytes, key: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with in_memory(certificate) as file, in_memory(key) as key_file:
        pair = CertificatePair(file, key_file)
        context.load_cert_chain(pair.certificate, pair.key)
    context.set_alpn_protocols([_ALPN])
    return context


def _tls_handler(contexts: Mapping[str, ssl.SSLContext]) -> type[socketserver.BaseRequestHandler]:
    def asked(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        found = contexts.get((name or "").lower())
        if found is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = found
        return None

    outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    outer.set_alpn_protocols([_ALPN])
    outer.sni_callback = asked

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(ACME_RESPONDER_SECONDS)
            try:
                with outer.wrap_socket(self.request, server_side=True) as connection:
                    connection.unwrap()
            except OSError:
                pass

    return Handler


def challenge_certificate(domain: str, key_authorization: str) -> tuple[bytes, bytes]:
    """Certificate and key, PEM (RFC 8737 §3)."""
    from cryptography import x509

    digest = hashlib.sha256(key_authorization.encode()).digest()
    proof = x509.UnrecognizedExtension(x509.ObjectIdentifier(_ACME_IDENTIFIER), b"\x04\x20" + digest)
    return self_signed("ACME challenge", [x509.DNSName(domain)], timedelta(days=1), (proof, True))
