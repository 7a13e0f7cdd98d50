# SPDX-License-Identifier: MIT
"""Checks of logins by Kerberos ticket: what connectors and [kerberos] need of each other, the library, the keytab."""

import re
from pathlib import Path
from typing import Final

from bridgehead.mail.limits import LOGIN_NAME_CHARACTERS
from bridgehead.receive.logons.kerberos import KerberosUnavailable, missing_key, require_library
from bridgehead.receive.logons.ntlm import require_ntlm
from bridgehead.receive.settings import AuthMechanism, ExtendedProtectionPolicy, ReceiveConnector
from bridgehead.server.config.load import Loaded
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration

_PRINCIPAL: Final = re.compile(r"[^@\s\\]+@[^@/\s\\]+")
_SERVICE: Final = re.compile(r"[^@/\s\\]+/[^@/\s\\]+@[^@/\s\\]+")


def takes_tickets(configuration: Configuration) -> bool:
    """Whether any connector lets clients log in by Kerberos."""
    return any(AuthMechanism.INTEGRATED in one.auth_mechanism for one in configuration.receive_connectors)


def check_kerberos(configuration: Configuration, findings: Findings) -> None:
    """Connectors and [kerberos]."""
    for index, connector in enumerate(configuration.receive_connectors):
        if AuthMechanism.INTEGRATED in connector.auth_mechanism:
            _check_connector(connector, ("receive_connectors", index), findings)
            _check_ntlm(connector, configuration, ("receive_connectors", index), findings)
        elif connector.ntlm_enabled:
            findings.error(
                ("receive_connectors", index, "ntlm_enabled"), "NTLM comes within Integrated, which is not offered",
                'add "Integrated" to auth_mechanism',
            )  # fmt: skip
    _check_principals(configuration, findings)
    if not takes_tickets(configuration):
        return
    kerberos = configuration.kerberos
    for field, example in (
        ("service_principals", '["smtp/mail.contoso.com@CONTOSO.COM"]'),
        ("keytab_file", '"/etc/bridgehead/smtp.keytab"'),
    ):
        if not getattr(kerberos, field):
            findings.error(("kerberos", field), "Integrated takes Kerberos tickets, and needs it", f"write {example}")
    if not kerberos.realms and not kerberos.principals:
        findings.error(("kerberos", "realms"), "no principal is a login: nobody could log in", 'write ["CONTOSO.COM"]')


def _check_connector(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    try:
        require_library()
    except KerberosUnavailable as fault:
        findings.error((*path, "auth_mechanism"), "Integrated needs a library that is not installed", str(fault))
    tls = AuthMechanism.TLS in connector.auth_mechanism or connector.implicit_tls
    if connector.extended_protection_policy is ExtendedProtectionPolicy.REQUIRE and not tls:
        findings.error(
            (*path, "extended_protection_policy"),
            "a logon is bound to a TLS connection, and there is none",
            'add "Tls"',
        )


def _check_ntlm(
    connector: ReceiveConnector, configuration: Configuration, path: KeyPath, findings: Findings
) -> None:  # fmt: skip
    if not connector.ntlm_enabled:
        return
    try:
        require_ntlm()
    except KerberosUnavailable as fault:
        findings.error((*path, "ntlm_enabled"), "NTLM needs a library that is not installed", str(fault))
    if AuthMechanism.TLS not in connector.auth_mechanism and not connector.implicit_tls:
        findings.error((*path, "ntlm_enabled"), "NTLM is taken over TLS only", 'add "Tls" to auth_mechanism')
    if not configuration.kerberos.ntlm_password_file:
        findings.error(
            ("kerberos", "ntlm_password_file"), "nothing says which passwords are right by NTLM",
            'write "/etc/bridgehead/ntlm"',
        )  # fmt: skip
    if not configuration.kerberos.ntlm_domains:
        findings.error(
            ("kerberos", "ntlm_domains"), "no account of NTLM is a login: nobody could log in", 'write ["CONTOSO"]'
        )  # fmt: skip


def _check_principals(configuration: Configuration, findings: Findings) -> None:
    kerberos = configuration.kerberos
    for index, service in enumerate(kerberos.service_principals):
        if not _SERVICE.fullmatch(service):
            findings.error(
                ("kerberos", "service_principals", index), f'"{service}" is no service with its host and realm',
                'write "smtp/mail.contoso.com@CONTOSO.COM"',
            )  # fmt: skip
    for index, realm in enumerate(kerberos.realms):
        if not realm or not _PRINCIPAL.fullmatch(f"x@{realm}"):
            findings.error(("kerberos", "realms", index), f'"{realm}" is no realm', 'write "CONTOSO.COM"')
        elif realm != realm.upper():
            findings.warning(
                ("kerberos", "realms", index), f"realms differ by case, and {realm} is not in upper case",
                f'Active Directory would have "{realm.upper()}"',
            )  # fmt: skip
    seen: set[str] = set()
    for index, one in enumerate(kerberos.principals):
        path: KeyPath = ("kerberos", "principals", index)
        if not _PRINCIPAL.fullmatch(one.principal):
            findings.error(
                (*path, "principal"),
                f'"{one.principal}" is no principal with its realm',
                'write "erp/host@CONTOSO.COM"',
            )
        if one.principal.lower() in seen:
            findings.error((*path, "principal"), f'"{one.principal}" is there twice', "list all of its logins in one")
        seen.add(one.principal.lower())
        if not one.logins or any(not name or len(name) > LOGIN_NAME_CHARACTERS for name in one.logins):
            findings.error((*path, "logins"), "it names no login", 'write ["erp"]')


def check_ntlm_passwords(loaded: Loaded) -> None:
    """Whether the file that NTLM knows passwords by can be read, by us alone."""
    configuration = loaded.configuration
    if not configuration.kerberos.ntlm_password_file or not any(
        one.ntlm_enabled for one in configuration.receive_connectors
    ):
        return
    path: KeyPath = ("kerberos", "ntlm_password_file")
    file = loaded.within(configuration.kerberos.ntlm_password_file)
    mode = _mode_if_readable(loaded, path, file, 'write lines "CONTOSO:ann:password"')
    if mode is not None and mode & 0o077:
        loaded.findings.error(path, f"{file} can be read by others, and holds passwords", f"chmod 600 {file}")


def _mode_if_readable(loaded: Loaded, path: KeyPath, file: Path, remedy: str) -> int | None:
    """The permissions of a file with secrets; None, and a finding, where it cannot be read."""
    try:
        with file.open("rb") as opened:
            opened.read(1)
        return file.stat().st_mode
    except PermissionError:
        loaded.findings.warning(path, f"{file} is not for you to read", "check it as the server")
    except OSError as error:
        loaded.findings.error(path, f"{file} cannot be read: {error.strerror}", remedy)
    return None


def check_keytab(loaded: Loaded) -> None:
    """Whether the keytab can be read, by us alone, and holds the key of each service."""
    kerberos = loaded.configuration.kerberos
    if not kerberos.keytab_file or not takes_tickets(loaded.configuration):
        return
    path: KeyPath = ("kerberos", "keytab_file")
    keytab = loaded.within(kerberos.keytab_file)
    mode = _mode_if_readable(loaded, path, keytab, "export it from the KDC (ktadd, ktpass)")
    if mode is None:
        return
    if mode & 0o077:
        loaded.findings.warning(path, f"{keytab} can be read by others, who could then read tickets", "chmod 600 it")
    try:
        require_library()
    except KerberosUnavailable:
        return  # told with the connector
    for service in kerberos.service_principals:
        if _SERVICE.fullmatch(service) and (problem := missing_key(keytab, service)):
            loaded.findings.error(path, f"{service} cannot log anybody in: {problem}", "compare with klist -k")
