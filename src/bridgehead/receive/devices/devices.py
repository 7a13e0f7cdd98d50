# SPDX-License-Identifier: MIT
"""Devices: clients that are known by their address alone, each with rights, limits and TLS of its own.

Which device an address belongs to, as whom its sessions run, and what a connector becomes for it. What becomes of its
senders and of its From fields: `policy.py`; whether a set of devices is sound: `check.py`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from bridgehead.mail.address import Mailbox, parse_mailbox
from bridgehead.net.ip_range import IPRange, parse_ip, parse_range
from bridgehead.receive.connectors.message_rate import MessageRate
from bridgehead.receive.devices.book import DeviceUse
from bridgehead.receive.permissions.rights import Principal, PrincipalKind, grant_key, is_granted
from bridgehead.receive.settings import (
    AuthMechanism,
    Device,
    DeviceTls,
    MessageRateSource,
    ReceiveConnector,
    Right,
)

_ALWAYS: Final = frozenset(
    {Right.SUBMIT, Right.ACCEPT_AUTHORITATIVE_DOMAIN_SENDER, Right.ACCEPT_HEADERS_ROUTING}
)  # fmt: skip
"""Its list of senders binds a device more closely than domains do; Received fields are what loops are known by."""


class DeviceIdentity:
    """One device of the configuration in force.

    Attributes:
        principal: as whom its sessions run.
        rewrite_sender: None where other senders than its own are refused.
        use: what is counted of it.
        rate: messages in a minute, from all of its addresses.
    """

    def __init__(self, settings: Device, use: DeviceUse | None = None, rate: MessageRate | None = None) -> None:
        self.settings = settings
        self.principal = principal_of(settings)
        self.rewrite_sender = parse_mailbox(settings.rewrite_sender) if settings.rewrite_sender else None
        self._recipients = frozenset(map(grant_key, settings.allowed_recipients))
        self.use = use or DeviceUse()
        limits = ReceiveConnector(
            name=settings.name, bindings=[], message_rate_source=MessageRateSource.USER,
            message_rate_limit=settings.message_rate_limit,
        )  # fmt: skip
        self.rate = rate or MessageRate(limits)
        self.rate.configure(limits)

    def may_send_to(self, forward_path: Mailbox) -> bool:
        """Whether its settings let it send there; whether the recipient is ours and exists is asked elsewhere."""
        return not self._recipients or is_granted(forward_path, self._recipients)


class _Candidate(NamedTuple):
    remote_range: IPRange
    device: DeviceIdentity


class Devices:
    """The devices of one configuration, by address. Disabled ones are never found.

    Args:
        uses: counts kept so far, by name.
        former: those of the configuration before; their message rates go on.

    Raises RangeError, AddressError on what `check` would have refused.
    """

    def __init__(
        self, settings: Sequence[Device] = (), uses: "Callable[[str], DeviceUse] | None" = None,
        former: "Devices | None" = None,
    ) -> None:  # fmt: skip
        self.identities = [
            DeviceIdentity(
                one, uses(one.name) if uses is not None else None, former.rate_of(one.name) if former else None
            )
            for one in settings
            if one.enabled
        ]
        self._candidates = sorted(
            (_Candidate(parse_range(text), one) for one in self.identities for text in one.settings.remote_ip_ranges),
            key=lambda candidate: candidate.remote_range.size,
        )
        self.find: Callable[[str, str], DeviceIdentity | None] = lru_cache(maxsize=4096)(self._find)

    def match(self, connector: str, client_ip: str) -> tuple[DeviceIdentity, IPRange] | None:
        """The device of a client on a connector, and the range that decided: the narrowest around the address."""
        address, name = parse_ip(client_ip), connector.lower()
        for remote_range, device in self._candidates:
            if remote_range.contains(address) and is_known_on(device.settings, name):
                return device, remote_range
        return None

    def _find(self, connector: str, client_ip: str) -> DeviceIdentity | None:
        found = self.match(connector, client_ip)
        return found[0] if found is not None else None

    def any_on(self, connector: str) -> bool:
        """Whether a connector has devices at all."""
        return any(is_known_on(one.settings, connector.lower()) for one in self.identities)

    def rate_of(self, name: str) -> MessageRate | None:
        """What was counted of a device's messages within the minute."""
        return next((one.rate for one in self.identities if one.settings.name == name), None)


def is_known_on(device: Device, connector: str) -> bool:
    """Whether a connector (name in lower case) knows the device."""
    return not device.receive_connectors or connector in map(str.lower, device.receive_connectors)


def principal_of(device: Device) -> Principal:
    """As whom its sessions run, with exactly the rights that its settings give. Raises AddressError."""
    rights = _ALWAYS
    if device.allowed_recipients:
        rights |= {Right.ACCEPT_ANY_RECIPIENT}
    if device.counts_as_inside:
        rights |= {Right.ACCEPT_AUTHENTICATION_FLAG}
    own = {parse_mailbox(device.rewrite_sender).key} if device.rewrite_sender else frozenset[str]()
    return Principal(
        PrincipalKind.DEVICE, device.name, frozenset(own), frozenset(map(grant_key, device.allowed_senders)),
        rights=rights,
    )  # fmt: skip


def settings_for(connector: ReceiveConnector, device: Device) -> ReceiveConnector:
    """What a connector is for a device: its limits and TLS in place of the connector's; no logins, no certificates."""
    offered = AuthMechanism.TLS in connector.auth_mechanism
    if device.tls is not DeviceTls.CONNECTOR:
        offered = device.tls is not DeviceTls.OFF
    required = {
        DeviceTls.CONNECTOR: connector.require_tls, DeviceTls.REQUIRED: True,
    }.get(device.tls, False)  # fmt: skip
    return msgspec.structs.replace(
        connector,
        auth_mechanism=[AuthMechanism.TLS if offered else AuthMechanism.NONE],
        require_tls=required,
        tls_minimum_version=device.tls_minimum_version or connector.tls_minimum_version,
        tls_ciphers=device.tls_ciphers or ("" if device.tls_minimum_version else connector.tls_ciphers),
        domain_secure_enabled=False,
        tls_domain_capabilities=[],
        default_domain=device.default_domain or connector.default_domain,
        bare_linefeed_repair=device.bare_linefeed_repair or connector.bare_linefeed_repair,
        max_message_size=device.max_message_size,
        max_recipients_per_message=device.max_recipients_per_message,
        message_rate_limit=device.message_rate_limit,
        message_rate_source=MessageRateSource.USER,
    )
