# SPDX-License-Identifier: MIT
"""OCSP responses of every kind, and servers that staple them: OpenSSL's own, and one in front of another server."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from OpenSSL import SSL

from support.certificates import Authority, Pair
from support.ports import free_port, wait_until


def certificate(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


def response(
    authority: Authority, about: x509.Certificate, *, status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    since_hours: float = 1.0, hours: float | None = 24.0, signer: Pair | Authority | None = None, sent: Sequence[x509.Certificate] | None = None,
) -> bytes:  # fmt: skip
    """A response, DER.

    Args:
        since_hours, hours: in force from so long ago, for so long from now; None: it does not say.
        signer: who signs; the authority itself, where none is given.
        sent: certificates that come with it; that of a signer, where none are given.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    issuer, key = authority.own
    who, with_key = issuer, key
    if isinstance(signer, Authority):
        who, with_key = signer.own
    elif signer is not None:
        who = certificate(signer)
        with_key = serialization.load_pem_private_key(signer.key.read_bytes(), None)  # type: ignore[assignment]
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            about, issuer, hashes.SHA1(), status, now - timedelta(hours=since_hours),
            None if hours is None else now + timedelta(hours=hours),
            now - timedelta(days=1) if revoked else None, x509.ReasonFlags.key_compromise if revoked else None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, who)
    )  # fmt: skip
    with_it = ([who] if signer is not None else []) if sent is None else sent
    if with_it:
        builder = builder.certificates(with_it)
    return builder.sign(with_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def openssl_response(authority: Authority, pair: Pair, folder: Path, *options: str) -> bytes:
    """A good response, DER, by `openssl ocsp`."""
    key, index, made = folder / "authority.key", folder / "index.txt", folder / "made.der"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(authority.own[1].private_bytes(*form))
    leaf = certificate(pair)
    serial = f"{leaf.serial_number:X}"
    serial = serial.zfill(len(serial) + len(serial) % 2)
    index.write_text(f"V\t{leaf.not_valid_after_utc:%y%m%d%H%M%S}Z\t\t{serial}\tunknown\t/CN=mx\n")
    subprocess.run(
        ["openssl", "ocsp", "-index", str(index), "-CA", str(authority.root), "-rsigner", str(authority.root), "-rkey",
         str(key), "-issuer", str(authority.root), "-cert", str(pair.certificate), "-respout", str(made), "-ndays", "1",
         *options], check=True, capture_output=True,
    )  # fmt: skip
    return made.read_bytes()


@contextlib.contextmanager
def openssl_server(pair: Pair, staple: bytes, folder: Path, *options: str) -> Iterator[int]:
    """`openssl s_server` that staples, and sends lines back reversed; its port."""
    port, more = free_port(), list(options)
    if staple:
        file = folder / "staple.der"
        file.write_bytes(staple)
        more += ["-status_file", str(file)]
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(pair.certificate), "-key",
               str(pair.key), "-rev", *more]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port), 15, lambda: f"s_server has ended: {process.poll()}")
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    wanted = f"0100007F:{port:04X}"
    return any(wanted in line and " 0A " in line for line in Path("/proc/net/tcp").read_text().splitlines())


class StaplingFront:
    """A server that ends TLS, with a staple, in front of another on this machine; each connection has threads."""

    def __init__(self, pair: Pair, staple: bytes, behind: int) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_certificate_chain_file(str(pair.certificate))
        self._context.use_privatekey_file(str(pair.key))
        self._context.set_ocsp_server_callback(lambda *_: staple)
        self._behind = behind
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> "StaplingFront":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listening.accept()[0],), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with plain, socket.create_connection(("127.0.0.1", self._behind)) as behind:
            tls = SSL.Connection(self._context, None)
            tls.set_accept_state()
            lock = threading.Lock()

            def say() -> None:
                with contextlib.suppress(SSL.Error):
                    while True:
                        plain.sendall(tls.bio_read(65536))

            def back() -> None:
                with contextlib.suppress(OSError, SSL.Error):
                    while data := behind.recv(65536):
                        with lock:
                            tls.send(data)
                            say()
                    plain.shutdown(socket.SHUT_RDWR)

            greeted = False
            with contextlib.suppress(OSError, SSL.Error):
                while data := plain.recv(65536):
                    with lock:
                        tls.bio_write(data)
                        try:
                            if not greeted:
                                tls.do_handshake()
                                greeted = True
                                threading.Thread(target=back, daemon=True).start()
                            while True:
                                behind.sendall(tls.recv(65536))
                        except SSL.WantReadError:
                            pass
                        finally:
                            say()
