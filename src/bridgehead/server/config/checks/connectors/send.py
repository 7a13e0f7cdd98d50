# SPDX-License-Identifier: MIT
"""Checks of send and foreign connectors (Set-SendConnector, Set-ForeignConnector)."""

import ipaddress
import re

from bridgehead.mail.address import AddressError, parse_domain
from bridgehead.routing.address_space import SMTP, AddressSpaceError, parse_address_space
from bridgehead.routing.oauth_settings import ConnectorOAuth
from bridgehead.routing.settings import ErrorPolicy, SendConnector, SmartHostAuthMechanism, TlsAuthLevel
from bridgehead.server.config.checks.connectors.oauth import check_oauth
from bridgehead.server.config.checks.connectors.receive import check_name
from bridgehead.server.config.checks.server import check_dns_server, check_host_name
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration

_SPACE_FORMS = 'write "contoso.com", "*.contoso.com" or "*", with a cost after a semicolon: "contoso.com;5"'
_FAILURE_CODE = re.compile(r"[45]\d\d|[45]\.\d{1,3}\.\d{1,3}")
_WITH_CREDENTIALS = {SmartHostAuthMechanism.BASIC_AUTH, SmartHostAuthMechanism.BASIC_AUTH_REQUIRE_TLS}


def check_send_connectors(configuration: Configuration, findings: Findings) -> None:
    """Each send connector and foreign connector; names are unique among both."""
    names: list[str] = []
    for index, connector in enumerate(configuration.send_connectors):
        path: KeyPath = ("send_connectors", index)
        check_name(connector.name, names, path, findings)
        names.append(connector.name)
        _check_spaces(connector.address_spaces, path, findings, only_smtp=connector.routes_by_dns)
        _check_next_hop(connector, path, findings)
        _check_tls(connector, path, findings)
        _check_authentication(connector, path, findings)
        _check_failures(connector, path, findings)
        _check_addresses(connector, path, findings)
    for index, foreign in enumerate(configuration.foreign_connectors):
        path = ("foreign_connectors", index)
        check_name(foreign.name, names, path, findings)
        names.append(foreign.name)
        _check_spaces(foreign.address_spaces, path, findings, only_smtp=False)
        if not foreign.drop_directory:
            findings.error((*path, "drop_directory"), "there is no folder to write to", 'for example "drop/fax"')


def _check_spaces(spaces: list[str], path: KeyPath, findings: Findings, *, only_smtp: bool) -> None:
    if not spaces:
        findings.error((*path, "address_spaces"), "there is no address space: nothing would be sent", _SPACE_FORMS)
    seen: set[tuple[str, str, bool]] = set()
    for index, text in enumerate(spaces):
        here: KeyPath = (*path, "address_spaces", index)
        try:
            space = parse_address_space(text)
        except AddressSpaceError as error:
            findings.error(here, str(error), _SPACE_FORMS)
            continue
        if only_smtp and space.type != SMTP:
            findings.error(here, f'"{text}": type {space.type} cannot be routed by DNS', "name smart hosts")
        key = (space.type, space.space, space.sub_domains)
        if key in seen:
            findings.error(here, f'"{text}" is there twice', "keep one of the two")
        seen.add(key)


def _check_next_hop(connector: SendConnector, path: KeyPath, findings: Findings) -> None:
    if connector.smart_hosts and connector.dns_routing_enabled:
        findings.error(
            (*path, "dns_routing_enabled"), "DNS routing and smart hosts exclude each other", "remove one of the two"
        )
    if not connector.smart_hosts and connector.dns_routing_enabled is False:
        findings.error(
            (*path, "dns_routing_enabled"), "without DNS routing there must be smart hosts", "add smart_hosts"
        )
    for index, host in enumerate(connector.smart_hosts):
        if not _is_smart_host(host):
            findings.error(
                (*path, "smart_hosts", index),
                f'"{host}" is no host',
                'write "relay.contoso.com", "192.0.2.1" or "[192.0.2.1]:587"',
            )


def _is_smart_host(text: str) -> bool:
    """A name or an address, in brackets or not, with an optional port."""
    host, port = text, ""
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return False
        host, port = inner.removeprefix("IPv6:"), rest[1:] if rest else ""
        if rest == ":":
            return False
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            return False
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return False
    try:
        ipaddress.ip_address(host)
        return True
    except ValueError:
        pass
    if re.fullmatch(r"[0-9.]+", host):
        return False
    try:
        return parse_domain(host) == host and not host.startswith("[")
    except AddressError:
        return False


def _check_tls(connector: SendConnector, path: KeyPath, findings: Findings) -> None:
    level = connector.tls_auth_level
    if connector.ignore_starttls and connector.require_tls:
        findings.error(
            (*path, "ignore_starttls"), "TLS is required and STARTTLS ignored", "remove ignore_starttls or require_tls"
        )
    if level is not TlsAuthLevel.NONE and not connector.require_tls:
        findings.error((*path, "tls_auth_level"), f"{level.value} needs require_tls", "set require_tls = true")
    if level is TlsAuthLevel.DOMAIN_VALIDATION and connector.smart_hosts and not connector.tls_domain:
        findings.error(
            (*path, "tls_auth_level"),
            "DomainValidation of a smart host needs the name that its certificate must carry",
            "set tls_domain",
        )
    if connector.tls_domain:
        if level is not TlsAuthLevel.DOMAIN_VALIDATION:
            findings.error(
                (*path, "tls_domain"),
                "is checked under DomainValidation only",
                'set tls_auth_level = "DomainValidation"',
            )
        check_host_name(connector.tls_domain.removeprefix("*."), (*path, "tls_domain"), findings)


def _check_authentication(connector: SendConnector, path: KeyPath, findings: Findings) -> None:
    mechanism = connector.smart_host_auth_mechanism
    where: KeyPath = (*path, "smart_host_auth_mechanism")
    if mechanism is not SmartHostAuthMechanism.NONE and not connector.smart_hosts:
        findings.error(where, f"{mechanism.value} is for smart hosts, and there are none", "add smart_hosts")
    if mechanism in _WITH_CREDENTIALS:
        for name in ("authentication_username", "authentication_password"):
            if not getattr(connector, name):
                findings.error(where, f"{mechanism.value} needs {name}", f"set {name}")
        if connector.ignore_starttls:
            findings.error(where, "passwords are sent over TLS only, and STARTTLS is ignored", "remove ignore_starttls")
    elif mechanism is SmartHostAuthMechanism.OAUTH:
        check_oauth(connector, path, findings)
    elif mechanism is SmartHostAuthMechanism.CLIENT_CERTIFICATE:
        if not connector.tls_certificate_file and not connector.tls_certificate_name:
            remedy = "set tls_certificate_file and tls_key_file, or tls_certificate_name"
            findings.error(where, f"{mechanism.value} needs a certificate to show", remedy)
        if connector.ignore_starttls:
            findings.error(where, "certificates are shown over TLS only, STARTTLS is ignored", "remove ignore_starttls")
    elif connector.authentication_username or connector.authentication_password:
        findings.warning(where, "a user name or password is given and never sent", 'set it to "BasicAuthRequireTLS"')

    if mechanism is not SmartHostAuthMechanism.OAUTH and connector.oauth != ConnectorOAuth():
        remedy = 'set smart_host_auth_mechanism = "OAuth"'
        findings.warning((*path, "oauth"), "tokens are set up and never asked for", remedy)


def _check_failures(connector: SendConnector, path: KeyPath, findings: Findings) -> None:
    policies = set(connector.error_policies)
    custom = {ErrorPolicy.DOWNGRADE_CUSTOM_FAILURES, ErrorPolicy.UPGRADE_CUSTOM_FAILURES}
    if ErrorPolicy.DEFAULT in policies and len(policies) > 1:
        findings.error((*path, "error_policies"), '"Default" stands alone', 'remove "Default" or the others')
    if custom <= policies:
        findings.error(
            (*path, "error_policies"), "the same failures cannot be made both softer and harder", "keep one of the two"
        )
    if policies & custom and not connector.custom_failures:
        findings.error((*path, "custom_failures"), "the policy needs codes to work on", 'for example ["550", "5.7.1"]')
    for index, code in enumerate(connector.custom_failures):
        if not _FAILURE_CODE.fullmatch(code):
            findings.error(
                (*path, "custom_failures", index), f'"{code}" is no failure code', 'write "550", "451" or "5.7.1"'
            )


def _check_addresses(connector: SendConnector, path: KeyPath, findings: Findings) -> None:
    check_host_name(connector.fqdn, (*path, "fqdn"), findings)
    for index, server in enumerate(connector.dns_servers):
        check_dns_server(server, (*path, "dns_servers", index), findings)
    versions: set[int] = set()
    for index, text in enumerate(connector.source_ip_addresses):
        here: KeyPath = (*path, "source_ip_addresses", index)
        try:
            version = ipaddress.ip_address(text).version
        except ValueError:
            findings.error(here, f'"{text}" is no address', 'write "192.0.2.1" or "2001:db8::1"')
            continue
        if version in versions:
            findings.error(here, f"there is an IPv{version} address already", "name one for each address family")
        versions.add(version)
