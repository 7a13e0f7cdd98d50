# SPDX-License-Identifier: MIT
"""SASL mechanisms of the client: SCRAM-SHA-256 and -PLUS (RFC 7677, RFC 5929), PLAIN (RFC 4616), LOGIN (no standard,
widely asked for), OAUTHBEARER (RFC 7628), XOAUTH2 (Google's and Microsoft's), EXTERNAL (RFC 4422)."""

import hashlib
from collections.abc import Collection
from typing import Final

from scramp import ScramClient, ScramException

from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import LOGGED_TEXT
from bridgehead.mail.secret import Secret
from bridgehead.smtp.client_events import SaslClient


class Plain:
    """PLAIN: everything in the initial response."""

    mechanism = "PLAIN"

    def __init__(self, username: str, password: Secret) -> None:
        self._response = Secret(f"\0{username}\0{password.reveal()}")

    def initial_response(self) -> bytes | None:
        return self._response.reveal().encode()

    def respond(self, challenge: bytes) -> bytes:
        raise ValueError("PLAIN has no challenges")


class Login:
    """LOGIN: name and password, whatever the server's prompts say."""

    mechanism = "LOGIN"

    def __init__(self, username: str, password: Secret) -> None:
        self._answers = [password, Secret(username)]

    def initial_response(self) -> bytes | None:
        return None

    def respond(self, challenge: bytes) -> bytes:
        if not self._answers:
            raise ValueError("the server asks a third time")
        return self._answers.pop().reveal().encode()


class ScramSha256:
    """SCRAM-SHA-256: the password stays here, and the server proves that it knows it too.

    Args:
        certificate: the server's, DER: binds the exchange to it (-PLUS, tls-server-end-point); b"" for no binding.
    """

    def __init__(self, username: str, password: Secret, certificate: bytes = b"") -> None:
        self.mechanism = "SCRAM-SHA-256-PLUS" if certificate else "SCRAM-SHA-256"
        binding = ("tls-server-end-point", end_point(certificate)) if certificate else None
        self._client = ScramClient([self.mechanism], username, password.reveal(), channel_binding=binding)
        self._step = 0

    def initial_response(self) -> bytes | None:
        return str(self._client.get_client_first()).encode()

    def respond(self, challenge: bytes) -> bytes:
        self._step += 1
        try:
            if self._step == 1:
                self._client.set_server_first(challenge.decode())
                return str(self._client.get_client_final()).encode()
            if self._step == 2:
                self._client.set_server_final(challenge.decode())
                return b""
        except ScramException as error:
            raise ValueError(f"SCRAM: {error}") from None
        except UnicodeDecodeError:
            raise ValueError("SCRAM: the server's words are no UTF-8") from None
        raise ValueError("SCRAM: the server asks too often")


class OAuthBearer:
    """OAUTHBEARER: an access token. The server says in JSON why it refuses one, and gets its dummy answer."""

    mechanism = "OAUTHBEARER"
    _dummy = b"\x01"

    def __init__(self, username: str, token: Secret, host: str, port: int) -> None:
        name = username.replace("=", "=3D").replace(",", "=2C")
        text = f"n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {token.reveal()}\x01\x01"
        self._response: Secret | None = Secret(text)
        self.error = ""
        """What the server said of the token, cleaned; "" for nothing."""

    def initial_response(self) -> bytes | None:
        """With the command where the line stays short enough (RFC 4954 §4), else when the server asks."""
        assert self._response is not None
        response = self._response.reveal().encode()
        if len(response) > _INITIAL_BYTES:
            return None
        self._response = None
        return response

    def respond(self, challenge: bytes) -> bytes:
        if self._response is not None:
            response, self._response = self._response, None
            return response.reveal().encode()
        if self.error:
            raise ValueError("the server asks again after its error")
        self.error = clean_text(challenge.decode("utf-8", "replace"), LOGGED_TEXT) or "no reason"
        return self._dummy


class XOAuth2(OAuthBearer):
    """XOAUTH2: as OAUTHBEARER was before it became a standard."""

    mechanism = "XOAUTH2"
    _dummy = b""

    def __init__(self, username: str, token: Secret) -> None:
        super().__init__(username, token, "", 0)
        self._response = Secret(f"user={username}\x01auth=Bearer {token.reveal()}\x01\x01")


class External:
    """EXTERNAL: the certificate that we showed says who we are; `username` is whom to act as, "" for the same."""

    mechanism = "EXTERNAL"

    def __init__(self, username: str) -> None:
        self._username = username

    def initial_response(self) -> bytes | None:
        return self._username.encode()

    def respond(self, challenge: bytes) -> bytes:
        return self._username.encode()


_INITIAL_BYTES: Final = 350
"""The most octets of an initial response: with the command and in base64 they make no more than 512."""


def end_point(certificate: bytes) -> bytes:
    """tls-server-end-point of a certificate in DER (RFC 5929 §4.1). Raises ValueError where it has none."""
    from cryptography import x509

    algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    if algorithm is None:
        raise ValueError("the server's certificate is signed without a hash, which leaves nothing to bind to")
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, certificate).digest()


def choose_token_mechanism(
    offered: Collection[str], username: str, token: Secret, host: str, port: int
) -> OAuthBearer | None:
    """The mechanism for an access token that the server offers, None where there is none."""
    if "OAUTHBEARER" in offered:
        return OAuthBearer(username, token, host, port)
    if "XOAUTH2" in offered:
        return XOAuth2(username, token)
    return None


def choose_mechanism(
    offered: Collection[str], username: str, password: Secret, certificate: bytes = b""
) -> SaslClient | None:
    """The best mechanism that the server offers and we know, None where there is none.

    Args:
        certificate: the server's, DER; b"" where the exchange cannot be bound to it.
    """
    if "SCRAM-SHA-256-PLUS" in offered and certificate:
        try:
            return ScramSha256(username, password, certificate)
        except ValueError:
            pass  # no hash to bind to: without a binding then
    if "SCRAM-SHA-256" in offered:
        return ScramSha256(username, password)
    if "PLAIN" in offered:
        return Plain(username, password)
    if "LOGIN" in offered:
        return Login(username, password)
    return None
