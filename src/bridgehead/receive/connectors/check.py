# SPDX-License-Identifier: MIT
"""Whether a set of receive connectors is sound: what Set-ReceiveConnector would refuse, found all at once.

Ranges that share a binding may overlap only when one contains the other, so that one connector is always the most
specific. The values of single properties have Exchange's bounds.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

from bridgehead.mail.address import AddressError, parse_domain
from bridgehead.net.ip_range import Binding, IPRange, RangeError, parse_binding, parse_range
from bridgehead.receive.settings import AuthMechanism, PermissionGroup, ReceiveConnector

NAME_CHARACTERS = 64

_BOUNDS: tuple[tuple[str, int, int], ...] = (
    ("max_inbound_connection_percentage_per_source", 1, 100),
    ("max_logon_failures", 0, 10),
    ("max_recipients_per_message", 1, 512_000),
    ("max_hop_count", 1, 500),
    ("max_local_hop_count", 0, 50),
)

_Parsed = TypeVar("_Parsed")


class Finding(NamedTuple):
    """One error: the connector's place in its list, the field, what is wrong, what to do."""

    position: int
    field: str
    message: str
    remedy: str = ""


def check(connectors: Sequence[ReceiveConnector]) -> list[Finding]:
    """Every error in these connectors, in their order; none means that `ReceiveConnectors` takes them."""
    findings: list[Finding] = []
    bindings: list[list[Binding]] = []
    ranges: list[list[IPRange]] = []
    for index, connector in enumerate(connectors):
        bindings.append(_parse_all(index, "bindings", connector.bindings, parse_binding, findings))
        ranges.append(_parse_all(index, "remote_ip_ranges", connector.remote_ip_ranges, parse_range, findings))
        _parse_all(index, "proxy_protocol_sources", connector.proxy_protocol_sources, parse_range, findings)
        findings += _check_name(index, connectors)
        findings += _check_names_and_bounds(index, connector)
        findings += _check_security(index, connector)
    for one, other in combinations(range(len(connectors)), 2):
        if connectors[one].enabled and connectors[other].enabled:
            shared = [binding for binding in bindings[one] if binding in bindings[other] and binding.port]
            if shared:
                findings += _check_tls_start(connectors[one], connectors[other], other, shared[0])
                findings += _check_overlap(connectors[one], other, shared[0], ranges[one], ranges[other])
    return sorted(findings, key=lambda finding: finding.position)


def _parse_all(
    index: int, field: str, texts: Sequence[str], parse: Callable[[str], _Parsed], findings: list[Finding]
) -> list[_Parsed]:  # fmt: skip
    parsed = []
    for text in texts:
        try:
            parsed.append(parse(text))
        except RangeError as error:
            findings.append(Finding(index, field, str(error)))
    if not texts and field != "proxy_protocol_sources":
        findings.append(Finding(index, field, "the list is empty, so the connector can accept nobody", "add an entry"))
    return parsed


def _check_name(index: int, connectors: Sequence[ReceiveConnector]) -> Iterator[Finding]:
    name = connectors[index].name
    if not 1 <= len(name) <= NAME_CHARACTERS or not name.isprintable():
        message = f"a name of 1 to {NAME_CHARACTERS} printable characters was expected, not {name!r}"
        yield Finding(index, "name", message, "choose another name")
    if any(name.lower() == other.name.lower() for other in connectors[:index]):
        yield Finding(index, "name", f'the name "{name}" is used twice', "give each receive connector its own name")


def _check_names_and_bounds(index: int, connector: ReceiveConnector) -> Iterator[Finding]:
    for field in ("fqdn", "default_domain"):
        value: str = getattr(connector, field)
        try:
            if value:
                parse_domain(value)
        except AddressError as error:
            yield Finding(
                index, field, f"{value!r} is no domain name: {error}", "write a name such as mail.contoso.com"
            )
    if connector.banner and not (connector.banner.startswith("220") and connector.banner.isprintable()):
        yield Finding(index, "banner", "a banner must be one line that begins with 220", 'Write "220 " and your text.')
    for field, low, high in _BOUNDS:
        number: int = getattr(connector, field)
        if not low <= number <= high:
            yield Finding(index, field, f"{number} is outside {low} to {high}", f"choose from {low} to {high}")
    if connector.connection_inactivity_timeout >= connector.connection_timeout:
        message = f"{connector.connection_inactivity_timeout} is not below connection_timeout"
        remedy = f"choose less than {connector.connection_timeout}, or raise connection_timeout"
        yield Finding(index, "connection_inactivity_timeout", message, remedy)


def _check_security(index: int, connector: ReceiveConnector) -> Iterator[Finding]:
    mechanisms = set(connector.auth_mechanism)
    tls = AuthMechanism.TLS in mechanisms or connector.implicit_tls
    if AuthMechanism.NONE in mechanisms and len(mechanisms) > 1:
        yield Finding(index, "auth_mechanism", "None stands beside other mechanisms", 'Write ["None"] alone.')
    if connector.implicit_tls and connector.proxy_protocol_sources:
        message = "a PROXY protocol header cannot come before implicit TLS here"
        yield Finding(index, "implicit_tls", message, "use STARTTLS behind this proxy, or let the proxy end TLS")
    if AuthMechanism.BASIC_AUTH_REQUIRE_TLS in mechanisms and not tls:
        yield Finding(index, "auth_mechanism", "BasicAuthRequireTLS needs Tls", 'Add "Tls" or set implicit_tls = true.')
    if connector.require_tls and not tls:
        yield Finding(index, "require_tls", "TLS is required but not offered", 'Add "Tls" to auth_mechanism.')
    if AuthMechanism.EXTERNAL_AUTHORITATIVE in mechanisms:
        if mechanisms - {AuthMechanism.EXTERNAL_AUTHORITATIVE, AuthMechanism.TLS}:
            message = "ExternalAuthoritative may be combined with Tls only"
            yield Finding(index, "auth_mechanism", message, "remove the other mechanisms")
        if PermissionGroup.EXCHANGE_SERVERS not in connector.permission_groups:
            message = "ExternalAuthoritative needs the permission group ExchangeServers"
            yield Finding(index, "permission_groups", message, 'Add "ExchangeServers".')
    if PermissionGroup.NONE in connector.permission_groups and len(connector.permission_groups) > 1:
        yield Finding(index, "permission_groups", "None stands beside other groups", 'Remove "None".')


def _check_tls_start(one: ReceiveConnector, other: ReceiveConnector, index: int, binding: Binding) -> Iterator[Finding]:
    """Whether TLS comes first is the binding's; whose certificate is shown follows from the client's address."""
    if one.implicit_tls != other.implicit_tls:
        message = f'on {binding} connector "{one.name}" has implicit_tls = {str(one.implicit_tls).lower()}'
        yield Finding(index, "implicit_tls", message, "let the two agree, or let them listen on different bindings")


def _check_overlap(
    one: ReceiveConnector, other: int, binding: Binding, ranges: list[IPRange], other_ranges: list[IPRange]
) -> Iterator[Finding]:  # fmt: skip
    for first in ranges:
        for second in other_ranges:
            if first.equals(second):
                message = f'on {binding} the range {second.text} also belongs to connector "{one.name}"'
                remedy = "give it to one of the two, or let them listen on different bindings"
                yield Finding(other, "remote_ip_ranges", message, remedy)
            elif first.overlaps(second) and not first.covers(second) and not second.covers(first):
                message = (
                    f'on {binding} the range {second.text} overlaps {first.text} of connector "{one.name}" in part'
                )
                remedy = "ranges on one binding may overlap only when one contains the other: split one of the two"
                yield Finding(other, "remote_ip_ranges", message, remedy)
