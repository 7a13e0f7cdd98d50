# SPDX-License-Identifier: MIT
"""Checks of a send connector's access tokens: what each grant needs, and that they go nowhere in clear."""

from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from bridgehead.routing.oauth_settings import ConnectorOAuth, OAuthGrant, OAuthProvider, endpoints
from bridgehead.routing.settings import SendConnector, TlsAuthLevel
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings

_NEEDED: Final = {
    OAuthGrant.CLIENT_CREDENTIALS: ("client_id",),
    OAuthGrant.DEVICE_CODE: ("client_id",),
    OAuthGrant.REFRESH_TOKEN: ("client_id",),
    OAuthGrant.SERVICE_ACCOUNT: ("service_account",),
}
_MANY_TENANTS: Final = ("common", "organizations", "consumers")


def check_oauth(connector: SendConnector, path: KeyPath, findings: Findings) -> None:
    """Everything about the tokens of a connector whose mechanism is OAuth."""
    where: KeyPath = (*path, "smart_host_auth_mechanism")
    oauth, table = connector.oauth, (*path, "oauth")
    user = connector.authentication_username
    if not user:
        findings.error(where, "OAuth needs the mailbox that logs on", "set authentication_username")
    elif not user.isprintable() or " " in user:
        findings.error((*path, "authentication_username"), "that is no mailbox", "such as scanner@contoso.com")
    if connector.authentication_password:
        findings.warning((*path, "authentication_password"), "is never sent under OAuth", "remove it")
    if connector.ignore_starttls:
        findings.error(where, "tokens are sent over TLS only, and STARTTLS is ignored", "remove ignore_starttls")
    if connector.tls_auth_level in (TlsAuthLevel.ENCRYPTION_ONLY, TlsAuthLevel.CERTIFICATE_VALIDATION):
        findings.error(
            (*path, "tls_auth_level"),
            f"a token would go to whoever answers: {connector.tls_auth_level.value} does not ask for the host's name",
            'set tls_auth_level = "DomainValidation" and tls_domain, or leave it out',
        )
    _check_grant(oauth, table, findings)
    _check_addresses(oauth, table, findings)


def _check_grant(oauth: ConnectorOAuth, table: KeyPath, findings: Findings) -> None:
    grant = oauth.grant
    for name in _NEEDED[grant]:
        if not getattr(oauth, name):
            findings.error((*table, "grant"), f"{grant.value} needs {name}", f"set {name}")
    if bool(oauth.certificate_file) != bool(oauth.key_file):
        findings.error((*table, "certificate_file"), "certificate and key belong together", "set both")
    if oauth.certificate_file and oauth.client_secret:
        findings.error((*table, "client_secret"), "there is a certificate as well", "keep one of the two")
    if grant is OAuthGrant.CLIENT_CREDENTIALS and not oauth.certificate_file and not oauth.client_secret:
        remedy = "set client_secret, or certificate_file and key_file"
        findings.error((*table, "grant"), "an application needs something to prove itself with", remedy)
    if grant is OAuthGrant.SERVICE_ACCOUNT and oauth.provider is OAuthProvider.MICROSOFT:
        findings.error((*table, "grant"), "service accounts are Google's", 'set grant = "ClientCredentials"')
    if grant is OAuthGrant.CLIENT_CREDENTIALS and oauth.provider is OAuthProvider.GOOGLE:
        findings.error((*table, "grant"), "Gmail takes no client credentials", 'set grant = "ServiceAccount"')
    expires = oauth.client_secret_expires
    if expires is not None and expires <= datetime.now(UTC).date():
        remedy = "make a new one with the provider and set the new date"
        findings.warning((*table, "client_secret_expires"), f"the secret expired on {expires}", remedy)


def _check_addresses(oauth: ConnectorOAuth, table: KeyPath, findings: Findings) -> None:
    if oauth.provider is OAuthProvider.MICROSOFT and not oauth.token_url:
        if not oauth.tenant:
            findings.error((*table, "provider"), "Microsoft needs the tenant", "set tenant to its id or a domain of it")
        elif oauth.grant is OAuthGrant.CLIENT_CREDENTIALS and oauth.tenant in _MANY_TENANTS:
            remedy = "set tenant to the id of yours"
            findings.error((*table, "tenant"), f'an application logs on to one tenant, not to "{oauth.tenant}"', remedy)
        elif not all(one.isalnum() or one in ".-" for one in oauth.tenant):
            findings.error((*table, "tenant"), f'"{oauth.tenant}" is no tenant', "an id, or a domain of the directory")
    urls = endpoints(oauth)
    wanted = {"token_url": urls.token_url}
    if oauth.grant is OAuthGrant.DEVICE_CODE:
        wanted["device_authorization_url"] = urls.device_authorization_url
    for name, url in wanted.items():
        if not url:
            findings.error((*table, "provider"), f"{oauth.provider.value} has no preset for {name}", f"set {name}")
        elif not _is_url(url, "https"):
            findings.error((*table, name), f'"{url}" is no https address', 'such as "https://login.contoso.com/token"')
    if oauth.http_proxy and not _is_url(oauth.http_proxy, "http"):
        remedy = 'such as "http://proxy.contoso.com:3128"'
        findings.error((*table, "http_proxy"), f'"{oauth.http_proxy}" is no http address', remedy)
    if not urls.scope:
        findings.error((*table, "scopes"), "there is no scope, and no preset for it", "set scopes")


def _is_url(text: str, scheme: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme != scheme or not parts.hostname or "@" in parts.netloc:  # no name and password before the host
        return False
    return text.isascii() and text.isprintable() and " " not in text
