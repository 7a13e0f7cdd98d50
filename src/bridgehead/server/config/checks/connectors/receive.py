# SPDX-License-Identifier: MIT
"""Checks of receive connectors beyond `receive.connectors.check`: what concerns other tables, and warnings."""

from bridgehead.mail.address import domain_key
from bridgehead.net.ip_range import RangeError, is_wide, parse_binding, parse_range
from bridgehead.receive.connectors import check as connector_check
from bridgehead.receive.connectors.served import asks_for_certificate
from bridgehead.receive.settings import AuthMechanism, Grantee, PermissionGroup, ReceiveConnector, Right
from bridgehead.server.config.bounds import BOUNDS
from bridgehead.server.config.checks.server import check_host_name, check_pair
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration

_CREDENTIALS = {
    AuthMechanism.BASIC_AUTH, AuthMechanism.BASIC_AUTH_REQUIRE_TLS, AuthMechanism.SCRAM_SHA_256, AuthMechanism.EXTERNAL,
    AuthMechanism.OAUTH, AuthMechanism.INTEGRATED,
}  # fmt: skip
_WITHOUT_MEMBERS = {
    PermissionGroup.PARTNERS: "no client shows by its certificate that it is one",
    PermissionGroup.EXCHANGE_LEGACY_SERVERS: "its members exist in an Active Directory only",
}
_NAME_LENGTH = 64


def check_receive_connectors(configuration: Configuration, findings: Findings) -> None:
    """Each connector by itself and against the others."""
    accepted = {domain_key(domain.domain_name) for domain in configuration.accepted_domains}
    connectors = configuration.receive_connectors
    for finding in connector_check.check(connectors):
        connector = connectors[finding.position]
        bound = BOUNDS[ReceiveConnector].get(finding.field)
        if bound is None or bound.admits(getattr(connector, finding.field)):  # else it has been told already
            findings.error(_element(finding, connector), finding.message, finding.remedy)
    for index, connector in enumerate(connectors):
        path: KeyPath = ("receive_connectors", index)
        _check_mechanisms(connector, path, findings)
        _check_protocol(connector, path, findings)
        _check_relay(connector, path, findings)
        check_host_name(connector.fqdn, (*path, "fqdn"), findings)
        check_pair(connector.tls_certificate_file, connector.tls_key_file, path, findings)
        if connector.default_domain and domain_key(connector.default_domain) not in accepted:
            findings.error(
                (*path, "default_domain"),
                f"{connector.default_domain} is not an accepted domain",
                "add it to [[accepted_domains]] or name one that is there",
            )
    if not any(connector.enabled for connector in connectors):
        findings.warning(
            ("receive_connectors",),
            "there is no receive connector that is enabled: nobody can connect",
            'add [[receive_connectors]] with name and bindings, for example bindings = ["0.0.0.0:25"]',
        )


def _element(finding: connector_check.Finding, connector: ReceiveConnector) -> KeyPath:
    """Where a finding belongs: for a list, the element whose text the message quotes."""
    path: KeyPath = ("receive_connectors", finding.position, finding.field)
    value = getattr(connector, finding.field)
    if isinstance(value, list):
        quoted = [
            index for index, text in enumerate(value) if repr(text) in finding.message or f" {text} " in finding.message
        ]
        if len(quoted) == 1:
            return (*path, quoted[0])
    return path


def check_name(name: str, before: list[str], path: KeyPath, findings: Findings) -> None:
    """Names are how commands and logs tell connectors apart."""
    if not name.strip():
        findings.error((*path, "name"), "the name is empty", "give it a name of its own")
    elif len(name) > _NAME_LENGTH:
        findings.error((*path, "name"), f"the name has {len(name)} characters", f"use {_NAME_LENGTH} at most")
    elif not name.isprintable():
        findings.error((*path, "name"), "the name holds control characters", "use letters, digits, blanks and signs")
    elif name.lower() in (other.lower() for other in before):
        findings.error(
            (*path, "name"), f'the name "{name}" is taken by another connector', "names differ, whatever their case"
        )


def _check_mechanisms(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    """Mechanisms and groups that do not add up to anything useful."""
    mechanisms, groups = set(connector.auth_mechanism), set(connector.permission_groups)
    where = (*path, "auth_mechanism")
    tls = AuthMechanism.TLS in mechanisms or connector.implicit_tls
    if AuthMechanism.BASIC_AUTH_REQUIRE_TLS in mechanisms:
        if AuthMechanism.BASIC_AUTH not in mechanisms:
            findings.error(where, "BasicAuthRequireTLS needs BasicAuth as well", 'add "BasicAuth"')
    elif AuthMechanism.BASIC_AUTH in mechanisms and not tls:
        findings.error(
            where,
            "passwords are taken over TLS only, and this connector offers none: BasicAuth would never be offered",
            'add "Tls" and "BasicAuthRequireTLS"',
        )
    if mechanisms & _CREDENTIALS and PermissionGroup.EXCHANGE_USERS not in groups and not connector.extended_rights:
        findings.warning(
            (*path, "permission_groups"),
            "logins are offered, and who logs in may do nothing",
            'add "ExchangeUsers" or remove the mechanism',
        )
    if groups == {PermissionGroup.EXCHANGE_USERS} and not mechanisms & _CREDENTIALS:
        findings.warning(
            where,
            "only users with a login may send, and none can be given",
            "add BasicAuth, BasicAuthRequireTLS, ScramSha256, OAuth, Integrated or External",
        )
    if groups == {PermissionGroup.NONE} and not any(right.grant for right in connector.extended_rights):
        findings.warning(
            (*path, "permission_groups"), "nobody may send through this connector", 'for example ["AnonymousUsers"]'
        )
    _check_groups(connector, path, findings)


def _check_groups(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    """Groups and principals that exist in Exchange and that no session can belong to here."""
    for position, group in enumerate(connector.permission_groups):
        if group in _WITHOUT_MEMBERS and not (group is PermissionGroup.PARTNERS and asks_for_certificate(connector)):
            findings.warning(
                (*path, "permission_groups", position),
                f"{group.value} has no effect: {_WITHOUT_MEMBERS[group]}",
                "trusted servers: ExternalAuthoritative with ExchangeServers; everybody: AnonymousUsers; partners: "
                "domain_secure_enabled with tls_receive_domain_secure_list",
            )
    for position, extended in enumerate(connector.extended_rights):
        if extended.principal is Grantee.PARTNERS and not asks_for_certificate(connector):
            findings.warning(
                (*path, "extended_rights", position, "principal"),
                f"{extended.principal.value} has no effect: {_WITHOUT_MEMBERS[PermissionGroup.PARTNERS]}",
                "set domain_secure_enabled and tls_receive_domain_secure_list",
            )


def _check_protocol(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    if connector.binary_mime_enabled and not connector.chunking_enabled:
        findings.error(
            (*path, "binary_mime_enabled"),
            "binary content travels in chunks only (RFC 3030), and chunking_enabled is false",
            "set both to the same value",
        )
    if not connector.banner.isascii():
        findings.error((*path, "banner"), "a banner is ASCII", "remove other characters")
    if connector.max_header_size > connector.max_message_size:
        findings.warning((*path, "max_header_size"), "is above max_message_size and has no effect", "make it smaller")


def _check_relay(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    """Warn where strangers could relay: the right to any recipient for clients from a wide range.

    To a connector that listens on loopback alone only this machine comes, whatever its ranges say, unless it is behind
    a proxy here.
    """
    wide = [text for text in connector.remote_ip_ranges if _is_wide(text)]
    shielded = not connector.proxy_protocol_sources and all(map(_is_loopback, connector.bindings))
    if not connector.enabled or not wide or shielded:
        return
    anonymous = [right for right in connector.extended_rights if right.principal is Grantee.ANONYMOUS]
    granted = any(Right.ACCEPT_ANY_RECIPIENT in right.grant for right in anonymous)
    denied = any(Right.ACCEPT_ANY_RECIPIENT in right.deny for right in anonymous)
    if granted and not denied:
        findings.warning(
            (*path, "extended_rights"),
            f"anybody in {', '.join(wide)} may relay to anywhere: an open relay",
            "narrow remote_ip_ranges to the devices that are meant",
        )
    if AuthMechanism.EXTERNAL_AUTHORITATIVE in connector.auth_mechanism:
        findings.warning(
            (*path, "auth_mechanism"),
            f"everybody in {', '.join(wide)} is trusted like our own servers: an open relay",
            "narrow remote_ip_ranges to the servers that are meant",
        )


def _is_wide(text: str) -> bool:
    try:
        return is_wide(parse_range(text))
    except RangeError:
        return False


def _is_loopback(binding: str) -> bool:
    try:
        return parse_binding(binding).address.is_loopback
    except RangeError:
        return False
