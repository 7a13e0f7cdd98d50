# SPDX-License-Identifier: MIT
"""Checks of what settings point to: certificates and keys, trust anchors, secrets, folders."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bridgehead.directory.file import DirectoryFileError, read_recipients
from bridgehead.directory.user_record import UserFileError
from bridgehead.directory.users import UserFile
from bridgehead.net.certificates.folder import CertificateFolder
from bridgehead.net.certificates.pairs import CertificateError, CertificatePair, self_signed_pair
from bridgehead.net.certificates.store import CertificateStore, ServerTls
from bridgehead.net.secrets import credential_file
from bridgehead.routing.oauth_settings import ConnectorOAuth
from bridgehead.server.config.checks.logins.kerberos import check_keytab, check_ntlm_passwords
from bridgehead.server.config.load import Loaded
from bridgehead.server.config.positions import KeyPath

_SOON = timedelta(days=60)


def check_files(loaded: Loaded) -> None:
    """Every file, environment variable and folder that is named."""
    configuration = loaded.configuration
    _check_directory(loaded)
    _check_alarms(loaded)
    _check_acme(loaded)
    check_keytab(loaded)
    check_ntlm_passwords(loaded)
    _check_pair(loaded, configuration.server.tls_certificate_file, configuration.server.tls_key_file, ("server",))
    _check_pair(loaded, configuration.api.tls_certificate_file, configuration.api.tls_key_file, ("api",))
    for index, certificate in enumerate(configuration.certificates):
        _check_pair(
            loaded, certificate.certificate_file, certificate.key_file, ("certificates", index),
            ("certificate_file", "key_file"),
        )  # fmt: skip
    for index, receive in enumerate(configuration.receive_connectors):
        _check_pair(loaded, receive.tls_certificate_file, receive.tls_key_file, ("receive_connectors", index))
        if receive.tls_ca_file:
            _check_trust_anchors(loaded, receive.tls_ca_file, ("receive_connectors", index, "tls_ca_file"))
        if receive.tls_crl_file:
            _check_crl(loaded, receive.tls_crl_file, ("receive_connectors", index, "tls_crl_file"))
        _check_pin(loaded, receive.tls_certificate_name, ("receive_connectors", index, "tls_certificate_name"))
    for index, send in enumerate(configuration.send_connectors):
        path: KeyPath = ("send_connectors", index)
        if send.tls_ca_file:
            _check_trust_anchors(loaded, send.tls_ca_file, (*path, "tls_ca_file"))
        if send.tls_crl_file:
            _check_crl(loaded, send.tls_crl_file, (*path, "tls_crl_file"))
        _check_pair(loaded, send.tls_certificate_file, send.tls_key_file, path)
        _check_pin(loaded, send.tls_certificate_name, (*path, "tls_certificate_name"))
        if send.authentication_password:
            _check_secret(loaded, send.authentication_password, (*path, "authentication_password"))
        _check_oauth(loaded, send.oauth, (*path, "oauth"))
    ldap = configuration.ldap_logins
    if ldap.lookup_password:
        _check_secret(loaded, ldap.lookup_password, ("ldap_logins", "lookup_password"))
    if ldap.ca_file:
        _check_trust_anchors(loaded, ldap.ca_file, ("ldap_logins", "ca_file"))
    if configuration.delivery.token_store_key:
        _check_secret(loaded, configuration.delivery.token_store_key, ("delivery", "token_store_key"))


def _check_oauth(loaded: Loaded, oauth: ConnectorOAuth, table: KeyPath) -> None:
    """Secrets, keys and trust anchors of access tokens."""
    for name in ("client_secret", "service_account"):
        if getattr(oauth, name):
            _check_secret(loaded, getattr(oauth, name), (*table, name))
    if oauth.ca_file:
        _check_trust_anchors(loaded, oauth.ca_file, (*table, "ca_file"))
    _check_pair(loaded, oauth.certificate_file, oauth.key_file, table, ("certificate_file", "key_file"))


def _check_directory(loaded: Loaded) -> None:
    """Recipients in a TOML file, and logins; a recipients database that is not there yet will be made."""
    settings = loaded.configuration.directory
    recipients, users = loaded.within(settings.recipients_file), loaded.within(settings.users_file)
    path: KeyPath = ("directory", "recipients_file")
    if recipients.suffix == ".toml":
        try:
            read_recipients(recipients)
        except DirectoryFileError as error:
            for problem in error.problems:
                loaded.findings.error(path, problem)
        except OSError as error:
            loaded.findings.error(
                path, f"{recipients} cannot be read: {error.strerror}", "create it, or correct the path"
            )
    try:
        UserFile(users)
    except UserFileError as error:
        loaded.findings.error(("directory", "users_file"), str(error))
    except PermissionError:
        loaded.findings.warning(
            ("directory", "users_file"), f"{users} is not for you to read", "check it as the server"
        )


def _check_acme(loaded: Loaded) -> None:
    """Secrets and trust anchors."""
    acme = loaded.configuration.acme
    for name in ("external_account_secret", "dns_key_secret"):
        if acme.certificates and getattr(acme, name):
            _check_secret(loaded, getattr(acme, name), ("acme", name))
    if acme.certificates and acme.ca_file:
        _check_trust_anchors(loaded, acme.ca_file, ("acme", "ca_file"))


def _check_alarms(loaded: Loaded) -> None:
    """Secrets and trust anchors of the ways out for alarms and numbers."""
    alarms = loaded.configuration.alarms
    for name in ("mail_password", "webhook_secret"):
        if getattr(alarms, name):
            _check_secret(loaded, getattr(alarms, name), ("alarms", name))
    for name in ("mail_ca_file", "webhook_ca_file"):
        if getattr(alarms, name):
            _check_trust_anchors(loaded, getattr(alarms, name), ("alarms", name))
    monitoring = loaded.configuration.monitoring
    if monitoring.otlp_authorization:
        _check_secret(loaded, monitoring.otlp_authorization, ("monitoring", "otlp_authorization"))
    if monitoring.otlp_ca_file:
        _check_trust_anchors(loaded, monitoring.otlp_ca_file, ("monitoring", "otlp_ca_file"))


def _check_secret(loaded: Loaded, value: str, path: KeyPath) -> None:
    """Passwords never stand in the configuration itself. The message never shows the value."""
    kind, _, name = value.partition(":")
    if kind == "env":
        if name not in os.environ:
            loaded.findings.error(
                path, f"the environment variable {name} is not set", "set it for the server's process"
            )
    elif kind == "file":
        _read(loaded, name, path)
    elif kind == "credential":
        try:
            credential_file(name)
        except ValueError as error:  # who runs the check is seldom systemd
            loaded.findings.warning(path, str(error), "check it within the service: systemctl reload bridgehead")
    else:
        loaded.findings.error(
            path,
            "a password does not stand in the configuration",
            'write it to a file of mode 0600 and name that: "file:relay.password"; or "env:NAME", "credential:NAME"',
        )


def _check_trust_anchors(loaded: Loaded, name: str, path: KeyPath) -> None:
    data = _read(loaded, name, path)
    if data is not None and b"-----BEGIN CERTIFICATE-----" not in data:
        loaded.findings.error(path, f"{name} holds no certificate in PEM form", "name a PEM file of trust anchors")


def _check_crl(loaded: Loaded, name: str, path: KeyPath) -> None:
    data = _read(loaded, name, path)
    if data is not None and b"-----BEGIN X509 CRL-----" not in data:
        loaded.findings.error(path, f"{name} holds no revocation list in PEM form", "convert it with openssl crl")


def _check_pin(loaded: Loaded, pin: str, path: KeyPath) -> None:
    """A pinned certificate must be there: without it the connector would offer no TLS."""
    if not pin:
        return
    store = CertificateStore(loaded.data_directory, server_pair(loaded), lambda _: None, certificate_pairs(loaded))
    try:
        store.choose(ServerTls(owner="", pin=pin))
    except CertificateError as error:
        loaded.findings.error(path, str(error), "[[certificates]] lists those that may be pinned")


def certificate_pairs(loaded: Loaded) -> list[CertificatePair]:
    """The pairs of [[certificates]], and those that the server keeps itself."""
    return [
        *(
            CertificatePair(loaded.within(one.certificate_file), loaded.within(one.key_file))
            for one in loaded.configuration.certificates
        ),
        *CertificateFolder(loaded.data_directory).pairs(),
    ]


def server_pair(loaded: Loaded) -> CertificatePair:
    """The server's own pair; without one in the configuration, where the self-signed one lies."""
    server = loaded.configuration.server
    if server.tls_certificate_file:
        return CertificatePair(loaded.within(server.tls_certificate_file), loaded.within(server.tls_key_file))
    return self_signed_pair(loaded.data_directory)


def _check_pair(
    loaded: Loaded, certificate: str, key: str, table: KeyPath,
    fields: tuple[str, str] = ("tls_certificate_file", "tls_key_file"),
) -> None:  # fmt: skip
    """Readable, current, and of one another."""
    if not certificate or not key:
        return
    where, where_key = (*table, fields[0]), (*table, fields[1])
    data, key_data = _read(loaded, certificate, where), _read(loaded, key, where_key)
    if data is None or key_data is None:
        return
    from cryptography import x509  # imported here: most configurations name no certificate
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        leaf = x509.load_pem_x509_certificates(data)[0]
    except ValueError:
        loaded.findings.error(where, f"{certificate} holds no certificate in PEM form", "convert it to PEM")
        return
    try:
        private = load_pem_private_key(key_data, None)
    except (ValueError, TypeError):
        loaded.findings.error(
            where_key, f"{key} holds no key in PEM form without a passphrase", "convert it, or remove the passphrase"
        )
        return
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        loaded.findings.error(where_key, f"{key} is not the key of {certificate}", "name the key that belongs to it")
    remaining = leaf.not_valid_after_utc - datetime.now(UTC)
    if remaining < timedelta(0):
        loaded.findings.error(where, f"{certificate} expired on {leaf.not_valid_after_utc:%Y-%m-%d}", "renew it")
    elif remaining < _SOON:
        loaded.findings.warning(where, f"{certificate} expires on {leaf.not_valid_after_utc:%Y-%m-%d}", "renew it")


def _read(loaded: Loaded, name: str, path: KeyPath) -> bytes | None:
    file: Path = loaded.within(name)
    try:
        return file.read_bytes()
    except OSError as error:
        loaded.findings.error(path, f"{file} cannot be read: {error.strerror}", "correct the path or the file's mode")
        return None
