# SPDX-License-Identifier: MIT
"""What the audit says of send connectors: what they give to servers that prove too little. Pure; each sentence names
its setting.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from bridgehead.admin.connector.audit_report import Exposure
from bridgehead.admin.probe.steps import Verdict
from bridgehead.routing.settings import SendConnector, TlsAuthLevel, TlsVersion
from bridgehead.routing.tls_policy import gives_secrets, tls_policy

_OLD_TLS: Final = (TlsVersion.TLS_1_0, TlsVersion.TLS_1_1)


def sending_exposures(connectors: Sequence[SendConnector]) -> Iterator[Exposure]:
    """What enabled send connectors expose."""
    for connector in connectors:
        if connector.enabled:
            yield from _old_versions(connector)
            if gives_secrets(connector):
                yield from _secrets(connector)


def _secrets(connector: SendConnector) -> Iterator[Exposure]:
    """Passwords and tokens that whoever takes the smart host's place would be given."""
    policy, hosts = tls_policy(connector, "the smart host"), ", ".join(connector.smart_hosts)
    who = f"send connector {connector.name}"
    if not policy.verify_chain:
        yield Exposure(
            connector=who, name="credentials-to-anybody", verdict=Verdict.WARNING,
            sentence=f"whoever answers for {hosts} is given the credentials of {connector.authentication_username}: no "
            f"certificate is checked",
            setting="tls_auth_level",
            remedy='remove it, or pin the certificate: tls_auth_level = "CertificateValidation" with it as tls_ca_file',
        )  # fmt: skip
    elif connector.tls_auth_level is TlsAuthLevel.CERTIFICATE_VALIDATION and not policy.ca_file:
        yield Exposure(
            connector=who, name="credentials-to-any-name", verdict=Verdict.WARNING,
            sentence=f"whoever answers for {hosts} with a certificate of any public authority, for any name, is given "
            f"the credentials of {connector.authentication_username}",
            setting="tls_auth_level", remedy='set it to "DomainValidation", and tls_domain to the name to expect',
        )  # fmt: skip


def _old_versions(connector: SendConnector) -> Iterator[Exposure]:
    if connector.tls_minimum_version in _OLD_TLS:
        yield Exposure(
            connector=f"send connector {connector.name}", name="old-tls", verdict=Verdict.WARNING,
            sentence=f"TLS {connector.tls_minimum_version.value} is spoken to servers, which can be broken",
            setting="tls_minimum_version", remedy='set it to "1.2"',
        )  # fmt: skip
