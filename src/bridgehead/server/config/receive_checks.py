# SPDX-License-Identifier: MIT
"""Checks of receive connectors (Set-ReceiveConnector): bindings, ranges, uniqueness, mechanisms, open relays."""

import ipaddress
from collections.abc import Iterator

from bridgehead.mail.address import domain_key
from bridgehead.receive.settings import AuthMechanism, Grantee, PermissionGroup, ReceiveConnector, Right
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration
from bridgehead.server.config.server_checks import check_host_name, check_pair

Range = tuple[int, int, int]
"""IP version, first and last address as numbers."""

_CREDENTIALS = {AuthMechanism.BASIC_AUTH, AuthMechanism.BASIC_AUTH_REQUIRE_TLS, AuthMechanism.SCRAM_SHA_256}
_NAME_LENGTH = 64
_WIDE_RANGE = 2**16
"""Addresses in a range beyond which a right to relay is worth a warning."""


def check_receive_connectors(configuration: Configuration, findings: Findings) -> None:
    """Each connector by itself, then all against each other."""
    accepted = {domain_key(domain.domain_name) for domain in configuration.accepted_domains}
    connectors = configuration.receive_connectors
    for index, connector in enumerate(connectors):
        path: KeyPath = ("receive_connectors", index)
        check_name(connector.name, [other.name for other in connectors[:index]], path, findings)
        _check_bindings(connector, path, findings)
        _check_mechanisms(connector, path, findings)
        _check_tls(connector, path, findings)
        _check_protocol(connector, path, findings)
        _check_relay(connector, path, findings)
        if connector.default_domain and domain_key(connector.default_domain) not in accepted:
            findings.error(
                (*path, "default_domain"),
                f"{connector.default_domain} is not an accepted domain",
                "add it to [[accepted_domains]] or name one that is there",
            )
    _check_overlaps(connectors, findings)
    if not any(connector.enabled for connector in connectors):
        findings.warning(
            ("receive_connectors",),
            "there is no receive connector that is enabled: nobody can connect",
            'add [[receive_connectors]] with name and bindings, for example bindings = ["0.0.0.0:25"]',
        )


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


def parse_binding(text: str) -> tuple[str, int]:
    """ "0.0.0.0:25" or "[::]:25" as address and port. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv6Address(host[1:-1])
    else:
        address = ipaddress.IPv4Address(host)
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f"{port} is no port")
    return str(address), int(port)


def parse_range(text: str) -> Range:
    """One address, first-last, or address/prefix length (RFC 4632). Raises ValueError."""
    first, dash, last = text.partition("-")
    if dash:
        low, high = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
        if low.version != high.version:
            raise ValueError("the ends are of different address families")
        if int(low) > int(high):
            raise ValueError("the first address is above the last one")
        return low.version, int(low), int(high)
    network = ipaddress.ip_network(text.strip(), strict=False)
    return network.version, int(network.network_address), int(network.broadcast_address)


def _check_bindings(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    if not connector.bindings:
        findings.error((*path, "bindings"), "there is no binding", 'for example bindings = ["0.0.0.0:25", "[::]:25"]')
    seen: set[tuple[str, int]] = set()
    for index, text in enumerate(connector.bindings):
        try:
            binding = parse_binding(text)
        except ValueError:
            findings.error(
                (*path, "bindings", index),
                f'"{text}" is no address with a port',
                'write "0.0.0.0:25", "127.0.0.1:2525" or "[::]:25"',
            )
            continue
        if binding in seen and binding[1]:
            findings.error((*path, "bindings", index), f"{text} is there twice", "remove one of the two")
        seen.add(binding)
    if not connector.remote_ip_ranges:
        findings.error(
            (*path, "remote_ip_ranges"), "there is no range: no client would match", "leave it out for all addresses"
        )
    for name in ("remote_ip_ranges", "proxy_protocol_sources"):
        for index, text in enumerate(getattr(connector, name)):
            try:
                parse_range(text)
            except ValueError as error:
                findings.error(
                    (*path, name, index),
                    f'"{text}" is no range of addresses: {error}',
                    'write "10.2.0.17", "10.0.0.0/8" or "10.2.0.1-10.2.0.99", IPv6 alike',
                )


def _check_mechanisms(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    """The combinations of AuthMechanism that Set-ReceiveConnector allows."""
    mechanisms, groups = set(connector.auth_mechanism), set(connector.permission_groups)
    where = (*path, "auth_mechanism")
    tls = AuthMechanism.TLS in mechanisms or connector.implicit_tls
    if AuthMechanism.NONE in mechanisms and len(mechanisms) > 1:
        findings.error(where, '"None" stands alone', 'remove "None" or the others')
    if AuthMechanism.BASIC_AUTH_REQUIRE_TLS in mechanisms:
        missing = [] if AuthMechanism.BASIC_AUTH in mechanisms else ["BasicAuth"]
        missing += [] if tls else ["Tls"]
        if missing:
            findings.error(where, "BasicAuthRequireTLS needs BasicAuth and Tls as well", f"add {' and '.join(missing)}")
    elif AuthMechanism.BASIC_AUTH in mechanisms and not tls:
        findings.error(
            where,
            "passwords are taken over TLS only, and this connector offers none: BasicAuth would never be offered",
            'add "Tls" and "BasicAuthRequireTLS"',
        )
    if AuthMechanism.EXTERNAL_AUTHORITATIVE in mechanisms:
        if others := mechanisms - {AuthMechanism.EXTERNAL_AUTHORITATIVE, AuthMechanism.TLS}:
            findings.error(
                where,
                "ExternalAuthoritative can be combined with Tls only",
                f"remove {', '.join(sorted(other.value for other in others))}",
            )
        if PermissionGroup.EXCHANGE_SERVERS not in groups:
            findings.error(
                (*path, "permission_groups"),
                "ExternalAuthoritative needs the group ExchangeServers",
                'add "ExchangeServers"',
            )
    if PermissionGroup.NONE in groups and len(groups) > 1:
        findings.error((*path, "permission_groups"), '"None" stands alone', 'remove "None" or the others')
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
            "add BasicAuth, BasicAuthRequireTLS or ScramSha256",
        )
    if groups == {PermissionGroup.NONE} and not any(right.grant for right in connector.extended_rights):
        findings.warning(
            (*path, "permission_groups"), "nobody may send through this connector", 'for example ["AnonymousUsers"]'
        )


def _check_tls(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    if connector.require_tls and not connector.implicit_tls and AuthMechanism.TLS not in connector.auth_mechanism:
        findings.error((*path, "require_tls"), "TLS is required and not offered", 'add "Tls" to auth_mechanism')
    check_host_name(connector.fqdn, (*path, "fqdn"), findings)
    check_pair(connector.tls_certificate_file, connector.tls_key_file, path, findings)


def _check_protocol(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    if connector.binary_mime_enabled and not connector.chunking_enabled:
        findings.error(
            (*path, "binary_mime_enabled"),
            "binary content travels in chunks only (RFC 3030), and chunking_enabled is false",
            "set both to the same value",
        )
    if connector.connection_inactivity_timeout >= connector.connection_timeout:
        findings.error(
            (*path, "connection_inactivity_timeout"),
            f"{connector.connection_inactivity_timeout} is not shorter than connection_timeout, "
            f"{connector.connection_timeout}",
            "make it shorter",
        )
    if connector.banner and not connector.banner.startswith("220"):
        findings.error((*path, "banner"), "a banner begins with 220", f'write "220 {connector.banner[:40]}"')
    if not connector.banner.isascii() or not connector.banner.isprintable():
        findings.error((*path, "banner"), "a banner is one line of ASCII", "remove other characters")
    if connector.max_header_size > connector.max_message_size:
        findings.warning((*path, "max_header_size"), "is above max_message_size and has no effect", "make it smaller")


def _check_relay(connector: ReceiveConnector, path: KeyPath, findings: Findings) -> None:
    """Warn where strangers could relay: the right to any recipient for clients from a wide range."""
    wide = [text for text in connector.remote_ip_ranges if _is_wide(text)]
    if not connector.enabled or not wide:
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
        version, low, high = parse_range(text)
    except ValueError:
        return False
    if low and all(_is_private(version, address) for address in (low, high)):
        return False
    return high - low + 1 > (_WIDE_RANGE if version == 4 else 2**64)


def _is_private(version: int, address: int) -> bool:
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return kind(address).is_private


def _check_overlaps(connectors: list[ReceiveConnector], findings: Findings) -> None:
    """Connectors may share a binding only where their ranges differ, and overlap only by containment."""
    seen: list[tuple[int, ReceiveConnector]] = []
    for index, connector in enumerate(connectors):
        if not connector.enabled:
            continue
        for _, other in seen:
            if _share_binding(connector, other):
                _compare_ranges(index, connector, other, findings)
        seen.append((index, connector))


def _compare_ranges(index: int, connector: ReceiveConnector, other: ReceiveConnector, findings: Findings) -> None:
    for number, text in enumerate(connector.remote_ip_ranges):
        for other_text in other.remote_ip_ranges:
            try:
                mine, theirs = parse_range(text), parse_range(other_text)
            except ValueError:
                continue
            path: KeyPath = ("receive_connectors", index, "remote_ip_ranges", number)
            if mine == theirs:
                findings.error(
                    path,
                    f'"{connector.name}" and "{other.name}" share a binding and the range {text}',
                    "give one of them another binding or a narrower range",
                )
            elif _cross(mine, theirs):
                findings.error(
                    path,
                    f'{text} overlaps {other_text} of "{other.name}" at the same binding, and neither contains '
                    "the other",
                    "split one of the ranges so that one contains the other or they stay apart",
                )


def _cross(one: Range, other: Range) -> bool:
    """Overlap without containment."""
    if one[0] != other[0] or one[1] > other[2] or other[1] > one[2]:
        return False
    inside = one[1] >= other[1] and one[2] <= other[2]
    around = one[1] <= other[1] and one[2] >= other[2]
    return not inside and not around


def _share_binding(one: ReceiveConnector, other: ReceiveConnector) -> bool:
    return bool(set(_bindings(one)) & set(_bindings(other)))


def _bindings(connector: ReceiveConnector) -> Iterator[tuple[str, int]]:
    for text in connector.bindings:
        try:
            binding = parse_binding(text)
        except ValueError:
            continue
        if binding[1]:  # port 0 is a new port for each binding
            yield binding
