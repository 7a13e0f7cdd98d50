# SPDX-License-Identifier: MIT
"""How a send connector comes by access tokens (OAuth 2.0, RFC 6749), and what providers' presets stand for.

Secrets and keys are named by reference only. The mailbox that logs on is the connector's `authentication_username`.
"""

from datetime import date
from enum import StrEnum
from typing import Final

import msgspec


class OAuthProvider(StrEnum):
    """Whose addresses and scopes are preset."""

    MICROSOFT = "Microsoft"
    GOOGLE = "Google"
    OTHER = "Other"


class OAuthGrant(StrEnum):
    """How a token is obtained."""

    CLIENT_CREDENTIALS = "ClientCredentials"
    DEVICE_CODE = "DeviceCode"
    SERVICE_ACCOUNT = "ServiceAccount"
    REFRESH_TOKEN = "RefreshToken"  # noqa: S105


class AssertionAlgorithm(StrEnum):
    """How assertions are signed with RSA keys; those with P-256 keys are signed with ES256."""

    PS256 = "PS256"
    RS256 = "RS256"


KEEPS_REFRESH_TOKEN: Final = frozenset({OAuthGrant.DEVICE_CODE, OAuthGrant.REFRESH_TOKEN})
"""Grants that rest on a refresh token, which a person's log-on yields."""


class ConnectorOAuth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a send connector's tokens come from, for `smart_host_auth_mechanism = "OAuth"`.

    Attributes:
        provider: presets of addresses and scopes.
        grant: ClientCredentials: the server logs on as an application; DeviceCode: a person allows it once, with
            `bridgehead oauth login`; ServiceAccount: a Google service account acts for the user; RefreshToken: a
            refresh token that was obtained elsewhere is handed over once.
        tenant: Microsoft: the directory's id or one of its domains.
        client_id: of the application as it is registered with the provider.
        client_secret: "file:PATH", "env:NAME" or "credential:NAME"; read anew for each request.
        client_secret_expires: the day on which the provider lets the secret expire; alarms begin 30 days before.
        certificate_file, key_file: PEM pair that signs assertions in place of a secret (RFC 7523); read anew for each
            request.
        assertion_algorithm: how assertions are signed with RSA keys; those with P-256 keys are signed with ES256.
        service_account: Google: reference to the key file in JSON, "file:PATH" or "credential:NAME".
        scopes: what the token is for; empty: the preset's.
        token_url, device_authorization_url: https addresses; "": the preset's.
        audience: `aud` of assertions; "": the token address.
        ca_file: PEM file of trust anchors for the provider's certificate, "" for the system's.
        http_proxy: "http://proxy.contoso.com:3128" through which the provider is reached, by CONNECT; proxies named in
            the environment are not used.
    """

    provider: OAuthProvider = OAuthProvider.MICROSOFT
    grant: OAuthGrant = OAuthGrant.CLIENT_CREDENTIALS
    tenant: str = ""
    client_id: str = ""
    client_secret: str = ""
    client_secret_expires: date | None = None
    certificate_file: str = ""
    key_file: str = ""
    assertion_algorithm: AssertionAlgorithm = AssertionAlgorithm.PS256
    service_account: str = ""
    scopes: list[str] = []
    token_url: str = ""
    device_authorization_url: str = ""
    audience: str = ""
    ca_file: str = ""
    http_proxy: str = ""


class OAuthEndpoints(msgspec.Struct, frozen=True):
    """Where to ask, and for what. "" where neither setting nor preset says so."""

    token_url: str
    device_authorization_url: str
    scope: str
    audience: str


_MICROSOFT: Final = "https://login.microsoftonline.com"
_MICROSOFT_APPLICATION: Final = "https://outlook.office365.com/.default"
_MICROSOFT_PERSON: Final = "https://outlook.office.com/SMTP.Send offline_access"
_GOOGLE: Final = "https://oauth2.googleapis.com"


def endpoints(oauth: ConnectorOAuth) -> OAuthEndpoints:
    """The settings, filled up from the provider's preset."""
    token = device = scope = ""
    if oauth.provider is OAuthProvider.MICROSOFT:
        base = f"{_MICROSOFT}/{oauth.tenant}/oauth2/v2.0"
        token, device = f"{base}/token", f"{base}/devicecode"
        scope = _MICROSOFT_PERSON if oauth.grant in KEEPS_REFRESH_TOKEN else _MICROSOFT_APPLICATION
    elif oauth.provider is OAuthProvider.GOOGLE:
        token, device, scope = f"{_GOOGLE}/token", f"{_GOOGLE}/device/code", "https://mail.google.com/"
    token = oauth.token_url or token
    return OAuthEndpoints(
        token, oauth.device_authorization_url or device, " ".join(oauth.scopes) or scope, oauth.audience or token
    )
