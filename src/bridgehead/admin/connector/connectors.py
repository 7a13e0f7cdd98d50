# SPDX-License-Identifier: MIT
"""Connectors: list them, and say which one a client or a recipient meets, why, and with which rights.

`connector match` asks the very code that decides in the running server; it needs the configuration only.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.directory.lookup import Directory
from bridgehead.directory.user_record import User
from bridgehead.mail.address import NULL, AddressError, Mailbox, domain_key, parse_mailbox
from bridgehead.mail.header import clean_text
from bridgehead.mail.reply import Reply
from bridgehead.mail.units import ByteSize
from bridgehead.net.ip_range import Binding, RangeError, parse_binding, parse_ip
from bridgehead.receive.connectors.selection import ReceiveConnectors
from bridgehead.receive.devices.devices import DeviceIdentity, Devices, settings_for
from bridgehead.receive.devices.policy import DeviceCheck, decide_path
from bridgehead.receive.logons.authentication import principal_of
from bridgehead.receive.permissions.addresses import check_recipient, check_sender, with_domain
from bridgehead.receive.permissions.rights import Principal, explain, is_from_inside, rights_of, session_principal
from bridgehead.receive.settings import Device, ReceiveConnector, Right
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.connector_selection import ConnectorSelection, Outcome
from bridgehead.routing.settings import AcceptedDomain, DomainType, ForeignConnector, SendConnector
from bridgehead.smtp import replies


class Connectors(Protocol):
    """The part of a configuration that is about connectors."""

    @property
    def accepted_domains(self) -> Sequence[AcceptedDomain]: ...
    @property
    def receive_connectors(self) -> Sequence[ReceiveConnector]: ...
    @property
    def devices(self) -> Sequence[Device]: ...
    @property
    def send_connectors(self) -> Sequence[SendConnector]: ...
    @property
    def foreign_connectors(self) -> Sequence[ForeignConnector]: ...


class ReceiveConnectorView(msgspec.Struct, frozen=True, kw_only=True):
    """A receive connector's key properties."""

    name: str
    enabled: bool
    bindings: list[str]
    remote_ip_ranges: list[str]
    auth_mechanism: list[str]
    permission_groups: list[str]
    require_tls: bool
    max_message_size: str
    comment: str = ""


class SendConnectorView(msgspec.Struct, frozen=True, kw_only=True):
    """A send connector's key properties; `smart_hosts` is empty where DNS decides."""

    name: str
    enabled: bool
    address_spaces: list[str]
    smart_hosts: list[str]
    port: int
    require_tls: bool
    tls_auth_level: str
    max_message_size: str
    comment: str = ""


class ForeignConnectorView(msgspec.Struct, frozen=True, kw_only=True):
    """A foreign connector's key properties."""

    name: str
    enabled: bool
    address_spaces: list[str]
    drop_directory: str
    max_message_size: str
    comment: str = ""


class ConnectorList(msgspec.Struct, frozen=True, kw_only=True):
    """All connectors in the order of the configuration."""

    receive: list[ReceiveConnectorView]
    send: list[SendConnectorView]
    foreign: list[ForeignConnectorView]


class NotChosen(msgspec.Struct, frozen=True):
    """A connector that was not chosen, and why not."""

    connector: str
    reason: str


class RightView(msgspec.Struct, frozen=True):
    """A right: whether it is in force, by what, or what its absence means."""

    right: str
    held: bool
    reason: str


class CommandCheck(msgspec.Struct, frozen=True):
    """What MAIL or RCPT with an address would be answered."""

    command: str
    address: str
    accepted: bool
    reply: str
    reason: str = ""


class ReceiveMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Which receive connector a client meets. `connector` is "" where none takes it: the connection is refused.

    `device`: which device its address is, "" for none, and why that one; rights and limits are then the device's.
    """

    client_ip: str
    local: str
    connector: str
    reason: str
    others: list[NotChosen]
    device: str = ""
    device_reason: str = ""
    principal: str = ""
    counts_as_inside: bool = False
    rights: list[RightView] = []
    limits: dict[str, str] = {}
    checks: list[CommandCheck] = []


class SendMatch(msgspec.Struct, frozen=True, kw_only=True):
    """Where mail for a recipient goes. `connector` is "" where no send connector takes it, or needs to."""

    recipient: str
    connector: str
    reason: str
    next_hop: str = ""
    delivery_type: str = ""
    address_space: str = ""
    others: list[NotChosen] = []


def list_connectors(configuration: Connectors) -> ConnectorList:
    """All connectors with their key properties."""
    return ConnectorList(
        receive=[
            ReceiveConnectorView(
                name=one.name,
                enabled=one.enabled,
                bindings=one.bindings,
                remote_ip_ranges=one.remote_ip_ranges,
                auth_mechanism=[mechanism.value for mechanism in one.auth_mechanism],
                permission_groups=[group.value for group in one.permission_groups],
                require_tls=one.require_tls,
                max_message_size=str(one.max_message_size),
                comment=one.comment,
            )
            for one in configuration.receive_connectors
        ],
        send=[
            SendConnectorView(
                name=one.name,
                enabled=one.enabled,
                address_spaces=one.address_spaces,
                smart_hosts=[] if one.routes_by_dns else one.smart_hosts,
                port=one.port,
                require_tls=one.require_tls,
                tls_auth_level=one.tls_auth_level.value,
                max_message_size=str(one.max_message_size),
                comment=one.comment,
            )
            for one in configuration.send_connectors
        ],
        foreign=[
            ForeignConnectorView(
                name=one.name,
                enabled=one.enabled,
                address_spaces=one.address_spaces,
                drop_directory=one.drop_directory,
                max_message_size=str(one.max_message_size),
                comment=one.comment,
            )
            for one in configuration.foreign_connectors
        ],
    )


def match_receive(
    configuration: Connectors, *, client_ip: str, port: int, local_ip: str = "", login: User | None = None,
    sender: str | None = None, recipients: Sequence[str] = (), directory: Directory | None = None,
    author: str | None = None,
) -> ReceiveMatch:  # fmt: skip
    """Which receive connector a client meets, as whom it acts there, with which rights and limits.

    Args:
        local_ip: the address it connects to; "" where only one comes into question.
        login: as whom it logs in after connecting.
        sender: reverse-path to try ("" or "<>" for the null one); None tries none.
        recipients: forward-paths to try; needs `directory`.
        author: of a device: what its From field says.

    Raises AdminFault on addresses that are none.
    """
    client = _ip(client_ip)
    local = _local(configuration, local_ip, port, client)
    match = ReceiveConnectors(configuration.receive_connectors).match(str(local.address), local.port, client)
    others = [NotChosen(other.connector.name, other.reason) for other in match.explain()]
    if match.connector is None:
        return ReceiveMatch(
            client_ip=client, local=str(local), connector="", others=others,
            reason=f"no receive connector that listens on {local} has a remote range around {client}",
        )  # fmt: skip
    found = None if login else Devices(configuration.devices).match(match.connector.name, client)
    device = found[0] if found is not None else None
    connector = match.connector if device is None else settings_for(match.connector, device.settings)
    principal = principal_of(login) if login else device.principal if device else session_principal(connector)
    accepted = AcceptedDomains(configuration.accepted_domains)
    return ReceiveMatch(
        client_ip=client,
        local=str(local),
        connector=connector.name,
        reason=f"it listens on {match.binding}, and of its kind its remote range "
        f"{match.remote_range.text if match.remote_range else ''} is the most specific around {client}",
        others=others,
        device=device.settings.name if device else "",
        device_reason=f"its range {found[1].text} is the narrowest of all devices around {client}" if found else "",
        principal=str(principal),
        counts_as_inside=is_from_inside(rights_of(connector, principal), principal),
        rights=[RightView(state.right.value, state.held, state.reason) for state in explain(connector, principal)],
        limits=_limits(connector),
        checks=_checks(connector, device, principal, accepted, sender, author, recipients, directory),
    )


def match_send(configuration: Connectors, recipient: str, size: int = 0) -> SendMatch:
    """Where mail for a recipient leaves by, and why not elsewhere. Raises AdminFault on what is no address."""
    domain = _mailbox(recipient).domain if "@" in recipient else recipient
    key = domain_key(domain)
    accepted = AcceptedDomains(configuration.accepted_domains)
    selection = ConnectorSelection(configuration.send_connectors, configuration.foreign_connectors, accepted)
    explanation = selection.explain(key, size)
    others = [NotChosen(rejected.connector, rejected.reason) for rejected in explanation.rejected]
    owner = accepted.find(key)
    if owner is not None and owner.domain_type is DomainType.AUTHORITATIVE:
        reason = f"{key} is the authoritative accepted domain {owner.domain_name}: its recipients are in the directory"
        return SendMatch(recipient=recipient, connector="", reason=reason)
    chosen = explanation.selection
    if chosen.outcome is not Outcome.CHOSEN or chosen.connector is None or chosen.next_hop is None:
        reason = "no connector's address space matches: the message waits in the Unreachable queue"
        if chosen.outcome is Outcome.TOO_LARGE:
            reason = f"{ByteSize(size)} is more than every connector with a matching address space takes"
        return SendMatch(recipient=recipient, connector="", reason=reason, others=others)
    return SendMatch(
        recipient=recipient,
        connector=chosen.connector.name,
        reason=f"its address space {chosen.address_space} is the best match for {key}",
        next_hop=chosen.next_hop.domain,
        delivery_type=chosen.next_hop.delivery_type.value,
        address_space=str(chosen.address_space),
        others=others,
    )


def _ip(text: str) -> str:
    try:
        return str(parse_ip(text))
    except ValueError:
        raise AdminFault(INVALID, f'"{text}" is no IP address', "give one such as 10.2.0.17") from None


def _local(configuration: Connectors, local_ip: str, port: int, client: str) -> Binding:
    """The address that the client connects to."""
    if local_ip:
        return Binding(parse_ip(_ip(local_ip)), port)
    version = parse_ip(client).version
    bindings = []
    for connector in configuration.receive_connectors:
        for text in connector.bindings:
            try:
                bindings.append(parse_binding(text))
            except RangeError as error:
                raise AdminFault(
                    INVALID, f'receive connector "{connector.name}": {error}', "bridgehead check"
                ) from None
    here = [binding for binding in bindings if binding.port == port and binding.address.version == version]
    if not here:
        ports = ", ".join(map(str, sorted({binding.port for binding in bindings}))) or "none"
        raise AdminFault(NOT_FOUND, f"no receive connector listens on port {port}", f"ports that are: {ports}")
    specific = {binding.address for binding in here if not binding.is_wildcard}
    if not specific:
        return Binding(parse_ip("127.0.0.1" if version == 4 else "::1"), port)
    if len(specific) == 1 and not any(binding.is_wildcard for binding in here):
        return Binding(specific.pop(), port)
    names = ", ".join(sorted(map(str, specific)))
    message = f"which connector it is depends on the address that the client connects to: {names} or another"
    raise AdminFault(INVALID, message, "give it with --to-address")


def _mailbox(text: str) -> Mailbox:
    try:
        return parse_mailbox(text.strip().removeprefix("<").removesuffix(">"))
    except AddressError as error:
        raise AdminFault(INVALID, f'"{text}" is no address: {error}', "give one such as anna@contoso.com") from None


def _limits(connector: ReceiveConnector) -> dict[str, str]:
    return {
        name: str(getattr(connector, name))
        for name in (
            "max_message_size", "max_recipients_per_message", "max_header_size", "max_hop_count", "max_local_hop_count",
            "message_rate_limit", "message_rate_source", "max_inbound_connection", "max_inbound_connection_per_source",
            "max_inbound_connection_percentage_per_source", "max_protocol_errors", "max_logon_failures",
            "connection_timeout", "connection_inactivity_timeout", "tarpit_interval", "require_tls",
        )
    }  # fmt: skip


def _checks(
    connector: ReceiveConnector, device: DeviceIdentity | None, principal: Principal, accepted: AcceptedDomains,
    sender: str | None, author: str | None, recipients: Sequence[str], directory: Directory | None,
) -> list[CommandCheck]:  # fmt: skip
    rights = rights_of(connector, principal)
    checks = []
    if sender is not None and device is not None:
        checks += device_checks(device, connector, rights, accepted, sender, author)
    elif sender is not None:
        reverse_path = NULL if sender in ("", "<>") else _mailbox(sender)
        refusal = check_sender(reverse_path, rights, principal, accepted)
        checks.append(_check("MAIL FROM", f"<{reverse_path}>", refusal))
    for text in recipients:
        bare = text.strip().removeprefix("<").removesuffix(">")
        parsed = Mailbox(bare, "") if bare.lower() == "postmaster" else _mailbox(text)
        forward_path = with_domain(parsed, connector.default_domain)
        if device is not None and forward_path.domain and not device.may_send_to(forward_path):
            reason = "not among its allowed_recipients"
            checks.append(_check("RCPT TO", f"<{forward_path}>", replies.DEVICE_RECIPIENT_DENIED, reason))
        elif directory is not None:
            refusal = check_recipient(forward_path, rights, connector, accepted, directory)
            checks.append(_check("RCPT TO", f"<{forward_path}>", refusal, _about(forward_path, accepted)))
    return checks


def device_checks(
    device: DeviceIdentity, connector: ReceiveConnector, rights: frozenset[Right], accepted: AcceptedDomains,
    sender: str, author: str | None,
) -> list[CommandCheck]:  # fmt: skip
    """What becomes of a device's MAIL, and of a From field: by the code that decides for its sessions."""
    bare = sender.strip().removeprefix("<").removesuffix(">")
    given = NULL if not bare else _mailbox(bare) if "@" in bare else Mailbox(bare, "")
    completed = with_domain(given, connector.default_domain)
    decision = decide_path(device, completed)
    refusal = decision.refusal or check_sender(decision.path, rights, device.principal, accepted)
    reason = "" if refusal or decision.path == given else f"it becomes <{decision.path}>"
    checks = [_check("MAIL FROM", f"<{given}>", refusal, reason)]
    if author is None or refusal:
        return checks
    policy = connector.non_compliant_sender_policy
    check = DeviceCheck(device, completed, decision.path, connector.default_domain, policy)
    found = check.header(f"From: {author}\r\n".encode())
    became = "; ".join(found.header.decode("utf-8", "replace").strip().split("\r\n"))
    reason = check.reason or (f"it becomes {became}" if became else "it stays as it is")
    return [*checks, _check("From", clean_text(author), found.refusal, reason)]


def _check(command: str, address: str, refusal: Reply | None, reason: str = "") -> CommandCheck:
    return CommandCheck(command, address, refusal is None, str(refusal) if refusal else "250", reason)


def _about(forward_path: Mailbox, accepted: AcceptedDomains) -> str:
    domain = accepted.find(forward_path.domain_key) if forward_path.domain else None
    if domain is None:
        return (
            "not in an accepted domain: taking it is relaying" if forward_path.domain else "postmaster is always taken"
        )
    return f"in the accepted domain {domain.domain_name} ({domain.domain_type.value})"
