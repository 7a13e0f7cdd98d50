# SPDX-License-Identifier: MIT
"""Checks of TLS settings: versions, ciphers, partners' domains and what they are entitled to."""

import ipaddress
import ssl

from bridgehead.mail.address import AddressError, parse_domain
from bridgehead.net.certificates.pairs import CertificateError, set_versions
from bridgehead.net.dns.resolver import system_servers
from bridgehead.net.dns.secure_resolver import is_believed
from bridgehead.net.stapling import MISSING_LIBRARY, has_library
from bridgehead.receive.permissions.rights import CAPABILITY_RIGHTS, capabilities_of
from bridgehead.receive.settings import AuthMechanism, PermissionGroup, ReceiveConnector
from bridgehead.routing.settings import OcspMode, SendConnector, SmtpDaneMode, TlsAuthLevel, TlsVersion
from bridgehead.routing.tls_policy import tls_policy
from bridgehead.server.config.checks.server import check_pair
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings, nearest
from bridgehead.server.config.schema import Configuration

_OLD = (TlsVersion.TLS_1_0, TlsVersion.TLS_1_1)
_SHARED = (".protection.outlook.com", "protection.outlook.com", ".google.com")
"""Names that the certificate of a provider shows for all of its customers."""


def check_tls(configuration: Configuration, findings: Findings) -> None:
    """Every connector, and the lists of partners."""
    for index, connector in enumerate(configuration.receive_connectors):
        path: KeyPath = ("receive_connectors", index)
        check_versions(connector.tls_minimum_version, connector.tls_ciphers, path, findings)
        _check_domain_security(connector, path, findings)
        for position, text in enumerate(connector.tls_domain_capabilities):
            _check_capability(text, connector, (*path, "tls_domain_capabilities", position), findings)
    for index, send in enumerate(configuration.send_connectors):
        where: KeyPath = ("send_connectors", index)
        check_versions(send.tls_minimum_version, send.tls_ciphers, where, findings)
        check_pair(send.tls_certificate_file, send.tls_key_file, where, findings)
        _check_sending(send, where, findings)
        _check_ocsp(send, (*where, "tls_ocsp_mode"), findings)
        _check_domain_policies(send, configuration, where, findings)
    for position, address in enumerate(configuration.tls.dnssec_resolvers):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            findings.error(
                ("tls", "dnssec_resolvers", position), f'"{address}" is no address',
                'name a DNS server by its address, such as "192.0.2.53"',
            )  # fmt: skip
    if not 0 < configuration.tls.mta_sts_port < 65536:
        findings.error(("tls", "mta_sts_port"), "is no port", "leave it out: policy hosts are asked on 443")
    for field in ("tls_receive_domain_secure_list", "tls_send_domain_secure_list"):
        for position, domain in enumerate(getattr(configuration.tls, field)):
            _check_domain(domain, ("tls", field, position), findings)


def _check_domain_policies(
    connector: SendConnector, configuration: Configuration, path: KeyPath, findings: Findings
) -> None:  # fmt: skip
    """DANE and MTA-STS need DNS routing; Mandatory DANE needs a resolver that is believed, and nothing in its way."""
    if connector.smtp_dane_mode is not SmtpDaneMode.MANDATORY:
        return
    where: KeyPath = (*path, "smtp_dane_mode")
    if not connector.routes_by_dns:
        findings.error(where, "DANE is for mail routed by DNS, not for smart hosts", "remove smtp_dane_mode")
    if connector.ignore_starttls:
        findings.error(where, "DANE needs TLS, and STARTTLS is ignored", "remove ignore_starttls")
    if connector.tls_auth_level in (TlsAuthLevel.CERTIFICATE_VALIDATION, TlsAuthLevel.DOMAIN_VALIDATION):
        findings.error(
            where, f"{connector.tls_auth_level.value} has certificates checked by trust anchors instead of DANE",
            "keep one of the two",
        )  # fmt: skip
    servers = connector.dns_servers or configuration.server.dns_servers or system_servers()
    if not any(is_believed(server, configuration.tls.dnssec_resolvers) for server in servers):
        findings.error(
            where, "no DNS server is believed to validate, so that no mail would go out",
            "run a validating resolver on this machine, or name a trusted one in tls.dnssec_resolvers",
        )  # fmt: skip


def check_versions(minimum: TlsVersion, ciphers: str, path: KeyPath, findings: Findings) -> None:
    """The oldest version, and a cipher list that OpenSSL understands."""
    if minimum in _OLD:
        findings.warning(
            (*path, "tls_minimum_version"),
            f"TLS {minimum.value} was withdrawn by RFC 8996: who listens can break it",
            "allow it only where a device cannot do better",
        )
    if ciphers:
        try:
            set_versions(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), minimum, ciphers)
        except CertificateError as error:
            findings.error((*path, "tls_ciphers"), str(error), "see `openssl ciphers`; leave it empty for a good list")


def _check_domain_security(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    if not connector.domain_secure_enabled:
        return
    mechanisms = connector.auth_mechanism
    if AuthMechanism.TLS not in mechanisms and not connector.implicit_tls:
        findings.error((*path, "domain_secure_enabled"), "mutual TLS needs TLS", 'add "Tls" to auth_mechanism')
    if AuthMechanism.EXTERNAL_AUTHORITATIVE in mechanisms:
        findings.error(
            (*path, "domain_secure_enabled"),
            "ExternalAuthoritative trusts everybody here already; a certificate would change nothing",
            "use one of the two",
        )
    if PermissionGroup.PARTNERS not in connector.permission_groups:
        findings.warning(
            (*path, "domain_secure_enabled"),
            "partners have no right to submit here",
            'add "Partners" to permission_groups',
        )


def _check_sending(connector: SendConnector, path: KeyPath, findings: Findings) -> None:
    if connector.implicit_tls and connector.ignore_starttls:
        findings.error((*path, "ignore_starttls"), "implicit_tls is TLS without STARTTLS", "remove one of the two")
    if not connector.domain_secure_enabled:
        return
    if not connector.routes_by_dns:
        findings.error(
            (*path, "domain_secure_enabled"), "Domain Security needs DNS routing", "remove smart_hosts, or this setting"
        )
    if connector.ignore_starttls:
        findings.error((*path, "domain_secure_enabled"), "mutual TLS needs STARTTLS", "remove ignore_starttls")
    if not connector.tls_certificate_file and not connector.tls_certificate_name:
        findings.error(
            (*path, "domain_secure_enabled"),
            "there is no certificate to show",
            "set tls_certificate_name to a name that one of [[certificates]] carries",
        )


def _check_ocsp(connector: SendConnector, path: KeyPath, findings: Findings) -> None:
    """Stapled responses are looked at together with the chain, by a library of their own."""
    if connector.tls_ocsp_mode is OcspMode.NONE:
        return
    if not has_library():
        findings.error(path, MISSING_LIBRARY, "install it, or remove tls_ocsp_mode")
    checked = tls_policy(connector, "").verify_chain or connector.domain_secure_enabled
    if not checked and not connector.routes_by_dns:
        findings.warning(
            path, "no certificate is checked by this connector, so that no OCSP response is looked at",
            'set require_tls and tls_auth_level = "DomainValidation"',
        )  # fmt: skip


def _check_capability(text: str, connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    domain, colon, capabilities = text.partition(":")
    if not colon or not capabilities.strip():
        findings.error(
            path, f'"{text}" names no capability', '"mail.protection.outlook.com:AcceptCloudServicesMail" for example'
        )
        return
    try:
        capabilities_of(capabilities)
    except ValueError as error:
        guess = nearest(capabilities.split(",")[0].strip(), CAPABILITY_RIGHTS)
        findings.error(path, str(error), f'did you mean "{guess}"?' if guess else "")
    if domain.upper() == "NO-TLS":
        findings.warning(path, "without TLS nobody proves a name: this entry has no effect", "name a domain")
    elif domain.lower().endswith(_SHARED) and len(connector.remote_ip_ranges) and _is_everybody(connector):
        findings.warning(
            path,
            f"every customer of the provider shows {domain}: any of them could send as from inside",
            "narrow remote_ip_ranges to the provider's, and let rules check the tenant",
        )


def _is_everybody(connector: ReceiveConnector) -> bool:
    return "0.0.0.0/0" in connector.remote_ip_ranges or "::/0" in connector.remote_ip_ranges


def _check_domain(domain: str, path: KeyPath, findings: Findings) -> None:
    if "*" in domain:
        findings.error(path, f'"{domain}": Domain Security knows no wildcards', "name each domain")
        return
    try:
        parse_domain(domain)
    except AddressError as error:
        findings.error(path, f'"{domain}": {error}', "a domain such as woodgrove.com was expected")
