# SPDX-License-Identifier: MIT
"""Checks of logins: lock-out, and what each mechanism needs."""

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
                findings.warning(path, f"{text} holds strangers, who all may guess passwords", "name the machines meant")
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
