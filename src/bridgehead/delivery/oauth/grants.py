# SPDX-License-Identifier: MIT
"""What each grant sends to the token endpoint: secrets, keys and assertions, read anew for each request.

RFC 6749 §4.4 (client credentials) and §6 (refresh), RFC 7523 (assertions), RFC 8628 §3.4 (device code).
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from bridgehead.delivery.oauth.provider import Form
from bridgehead.mail.limits import SECRET_DOCUMENT_BYTES
from bridgehead.mail.secret import Secret
from bridgehead.net.secrets import read_document, read_secret
from bridgehead.routing.oauth_settings import AssertionAlgorithm, ConnectorOAuth, OAuthGrant, OAuthProvider, endpoints

_CLIENT_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"


class ServiceAccount(msgspec.Struct):
    """A Google service account's key file, as far as it is read."""

    client_email: str
    private_key: str
    private_key_id: str = ""


class Credentials:
    """What one connector proves itself with.

    Args:
        user: the mailbox that a service account acts for.
        directory: where relative paths lie.
        unique: gives texts that come once, for `jti`.
    """

    def __init__(self, oauth: ConnectorOAuth, user: str, directory: Path, unique: Callable[[], str]) -> None:
        self._oauth, self._user, self._directory, self._unique = oauth, user, directory, unique
        self._endpoints = endpoints(oauth)

    def request(self, now: float) -> Form:
        """The form of a grant that needs no refresh token. Raises ValueError, which holds no secret."""
        if self._oauth.grant is OAuthGrant.SERVICE_ACCOUNT:
            return {"grant_type": _JWT_BEARER, "assertion": self._service_assertion(now)}
        return {"grant_type": "client_credentials", "scope": self._endpoints.scope, **self.client(now)}

    def refresh(self, refresh_token: Secret, now: float) -> Form:
        """The form that trades a refresh token. Raises ValueError."""
        form: dict[str, str | Secret] = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        if self._oauth.provider is OAuthProvider.MICROSOFT:
            form["scope"] = self._endpoints.scope
        return {**form, **self.client(now)}

    def client(self, now: float) -> Form:
        """Who the client is, with its secret or assertion where it has one. Raises ValueError."""
        oauth = self._oauth
        form: dict[str, str | Secret] = {"client_id": oauth.client_id}
        if oauth.certificate_file:
            form["client_assertion_type"] = _CLIENT_ASSERTION
            form["client_assertion"] = self._client_assertion(now)
        elif oauth.client_secret:
            form["client_secret"] = read_secret(oauth.client_secret, self._directory)
        return form

    def fingerprint(self) -> bytes:
        """Changes when a secret or key was exchanged; what cannot be read counts as empty."""
        oauth, digest = self._oauth, hashlib.sha256()
        for read, reference in ((read_secret, oauth.client_secret), (read_document, oauth.service_account)):
            try:
                digest.update(read(reference, self._directory).reveal().encode() if reference else b"")
            except ValueError:
                pass
        for name in (oauth.certificate_file, oauth.key_file):
            try:
                digest.update(self._file(name) if name else b"")
            except ValueError:
                pass
        return digest.digest()

    def _client_assertion(self, now: float) -> Secret:
        from bridgehead.delivery.oauth import assertion  # imported where it is needed: it brings cryptography, 50 ms

        oauth = self._oauth
        key = assertion.load_key(self._file(oauth.key_file))
        claims = {
            "iss": oauth.client_id, "sub": oauth.client_id, "aud": self._endpoints.audience, "jti": self._unique(),
            **assertion.times(now),
        }  # fmt: skip
        header = {"x5t#S256": assertion.thumbprint(self._file(oauth.certificate_file))}
        return Secret(assertion.sign(claims, key, header, oauth.assertion_algorithm))

    def _service_assertion(self, now: float) -> Secret:
        from bridgehead.delivery.oauth import assertion

        document = read_document(self._oauth.service_account, self._directory)
        try:
            account = msgspec.json.decode(document.reveal(), type=ServiceAccount)
        except msgspec.DecodeError:
            raise ValueError("service_account names no key file of a service account in JSON") from None
        key = assertion.load_key(account.private_key.encode())
        claims = {
            "iss": account.client_email, "scope": self._endpoints.scope, "aud": self._endpoints.audience,
            "sub": self._user, **assertion.times(now),
        }  # fmt: skip
        header = {"kid": account.private_key_id} if account.private_key_id else {}
        return Secret(assertion.sign(claims, key, header, AssertionAlgorithm.RS256))  # Google takes no other

    def _file(self, name: str) -> bytes:
        try:
            with (self._directory / name).open("rb") as opened:
                return opened.read(SECRET_DOCUMENT_BYTES)
        except OSError as error:
            raise ValueError(f"{name} cannot be read: {error.strerror}") from None
