# SPDX-License-Identifier: MIT
"""Whether the settings make sense together: every problem at once, each with its place and its remedy.

`load` has seen to names and types before; here come ranges of values (`bounds`), and what one setting demands of
another, or of a file that it names.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from bridgehead.server.config.bounds import BOUNDS
from bridgehead.server.config.checks.accepted_domains import check_accepted_domains
from bridgehead.server.config.checks.alarms import check_alarms
from bridgehead.server.config.checks.api import check_api
from bridgehead.server.config.checks.connectors.devices import check_devices
from bridgehead.server.config.checks.connectors.expectations import check_expectations
from bridgehead.server.config.checks.connectors.receive import check_receive_connectors
from bridgehead.server.config.checks.connectors.send import check_send_connectors
from bridgehead.server.config.checks.connectors.sender_exceptions import check_sender_exceptions
from bridgehead.server.config.checks.files import check_files
from bridgehead.server.config.checks.logins.kerberos import check_kerberos
from bridgehead.server.config.checks.logins.ldap import check_ldap
from bridgehead.server.config.checks.logins.mechanisms import check_logins
from bridgehead.server.config.checks.queues import check_queues
from bridgehead.server.config.checks.server import check_logs, check_server
from bridgehead.server.config.checks.tls.certificates import check_certificates
from bridgehead.server.config.checks.tls.reports import check_tls_reports
from bridgehead.server.config.checks.tls.sessions import check_tls
from bridgehead.server.config.checks.workers import check_workers
from bridgehead.server.config.default import default
from bridgehead.server.config.load import Loaded, read
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import ConfigurationError, Findings, Problem, Severity


def load_checked(path: Path | None) -> Loaded:
    """Read and check the configuration; None takes the embedded default.

    Raises ConfigurationError with every error and warning where there is an error. Otherwise the warnings stand in
    the result.
    """
    loaded = default() if path is None else read(path)
    check(loaded)
    if loaded.findings.has_errors:
        raise ConfigurationError(loaded.findings.problems)
    return loaded


def check(loaded: Loaded) -> list[Problem]:
    """All problems, those of form among them: errors first, then by place. They are also added to `loaded.findings`."""
    configuration, findings = loaded.configuration, loaded.findings
    check_bounds(configuration, findings)
    check_server(configuration, findings)
    check_workers(configuration, findings)
    check_logs(configuration, findings)
    check_api(configuration, findings)
    check_accepted_domains(configuration, findings)
    check_receive_connectors(configuration, findings)
    check_sender_exceptions(configuration, findings)
    check_devices(configuration, findings)
    check_logins(configuration, findings)
    check_ldap(configuration, findings)
    check_kerberos(configuration, findings)
    check_tls_reports(configuration, findings)
    check_tls(configuration, findings)
    check_certificates(configuration, findings)
    check_send_connectors(configuration, findings)
    check_expectations(configuration, findings)
    check_queues(configuration, findings)
    check_alarms(configuration, findings)
    check_files(loaded)
    findings.problems.sort(key=lambda problem: (problem.severity != Severity.ERROR, problem.file, problem.line))
    return findings.problems


def check_bounds(configuration: msgspec.Struct, findings: Findings) -> None:
    """Every numeric setting within the range that `bounds` gives it."""
    for path, settings in _settings(configuration, ()):
        bounds = BOUNDS.get(type(settings), {})
        for field in msgspec.structs.fields(settings):
            bound = bounds.get(field.name)
            value = getattr(settings, field.name)
            if bound and not bound.admits(value):
                findings.error(
                    (*path, field.name), f"{value} is out of range", f"take a value from {bound.shown(field.type)}"
                )


def _settings(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, msgspec.Struct]]:
    """Every table of the configuration with its key path."""
    if isinstance(value, msgspec.Struct):
        yield path, value
        for field in msgspec.structs.fields(value):
            yield from _settings(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from _settings(element, (*path, index))
