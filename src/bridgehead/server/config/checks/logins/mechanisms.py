# SPDX-License-Identifier: MIT
"""Checks of logins: lock-out, and what each mechanism needs."""

from urllib.parse import urlsplit

from bridgehead.net.ip_range import RangeError, is_wide, parse_range
from bridgehead.receive.settings import AuthMechanism, ReceiveConnector
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration


def check_logins(configuration: Configuration, findings: Findings) -> None:
    """Everything about logins."""
    _check_lockout(configuration, findings)
    for index, connector in enumerate(configuration.receive_connectors):
        _check_external(connector, ("receive_connectors", index), findings)
        _check_oauth(connector, configuration, ("receive_connectors", index), findings)
    _check_issuers(configuration, findings)


def _check_lockout(configuration: Configuration, findings: Findings) -> None:
    lockout = configuration.lockout
    if lockout.max_lockout_duration < lockout.lockout_duration:
        findings.error(
            ("lockout", "max_lockout_duration"), "it is below lockout_duration", "set it to the same or more"
        )
    for position, text in enumerate(lockout.exempt_ip_ranges):
        path: KeyPath = ("lockout", "exempt_ip_ranges", position)
        try:
            if is_wide(parse_range(text)):
                findings.warning(
                    path, f"{text} holds strangers, who all may guess passwords", "name the machines meant"
                )
        except RangeError as error:
            findings.error(path, str(error))
    if not lockout.account_lockout_threshold and not lockout.source_lockout_threshold:
        findings.warning(
            ("lockout", "account_lockout_threshold"), "nobody is ever locked out: passwords can be guessed at leisure",
            "set account_lockout_threshold to 10, or source_lockout_threshold to 30",
        )  # fmt: skip


def _check_external(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    """Logins by client certificate."""
    if AuthMechanism.EXTERNAL not in connector.auth_mechanism:
        return
    if AuthMechanism.TLS not in connector.auth_mechanism and not connector.implicit_tls:
        findings.error((*path, "auth_mechanism"), "External needs a certificate, and that needs TLS", 'add "Tls"')
    if not connector.tls_ca_file:
        findings.warning(
            (*path, "auth_mechanism"),
            "every authority that the system trusts may issue certificates that log in here",
            "set tls_ca_file to the authority that issues your clients' certificates",
        )


def _check_oauth(
    connector: ReceiveConnector, configuration: Configuration, path: KeyPath, findings: Findings
) -> None:  # fmt: skip
    """Logins by token."""
    if AuthMechanism.OAUTH not in connector.auth_mechanism:
        return
    if AuthMechanism.TLS not in connector.auth_mechanism and not connector.implicit_tls:
        findings.error((*path, "auth_mechanism"), "tokens are taken over TLS only, and there is none", 'add "Tls"')
    if not configuration.auth_servers:
        findings.error((*path, "auth_mechanism"), "OAuth takes tokens of nobody", "add [[auth_servers]]")


def _check_issuers(configuration: Configuration, findings: Findings) -> None:
    """Providers whose tokens log in."""
    seen: set[str] = set()
    for index, issuer in enumerate(configuration.auth_servers):
        path: KeyPath = ("auth_servers", index)
        for field, value in (("name", issuer.name.lower()), ("issuer_identifier", issuer.issuer_identifier)):
            if not value.strip() or f"{field}:{value}" in seen:
                findings.error((*path, field), f'"{value}" is {"taken" if value.strip() else "empty"}', "they differ")
            seen.add(f"{field}:{value}")
        for field, value in (
            ("issuer_identifier", issuer.issuer_identifier),
            ("auth_metadata_url", issuer.metadata_url),
        ):
            if urlsplit(value).scheme != "https" or not urlsplit(value).hostname:
                findings.error(
                    (*path, field), f'"{value}" is no https address', '"https://login.contoso.com" for example'
                )
                break
        if not issuer.audiences:
            findings.error((*path, "audiences"), "tokens for anything would be taken", "name the application's id")
        for field in ("user_claims", "algorithms"):
            if not getattr(issuer, field):
                findings.error((*path, field), "it is empty: no token would do", "remove it to have the default")
        if issuer.max_key_age < issuer.key_refresh_interval:
            findings.error((*path, "max_key_age"), "it is below key_refresh_interval", "set it to the same or more")
