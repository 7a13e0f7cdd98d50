# SPDX-License-Identifier: MIT
"""Checks of devices beyond `receive.devices.check`: what concerns other tables, and warnings."""

from bridgehead.mail.address import AddressError, domain_key, parse_mailbox
from bridgehead.net.ip_range import RangeError, parse_range
from bridgehead.receive.devices import check as device_check
from bridgehead.receive.devices.devices import is_known_on
from bridgehead.receive.settings import Device
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.settings import TlsVersion
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration

_OLD = (TlsVersion.TLS_1_0, TlsVersion.TLS_1_1)


def check_devices(configuration: Configuration, findings: Findings) -> None:
    """Each device by itself, against the others, and against connectors and accepted domains."""
    for finding in device_check.check(configuration.devices):
        path: KeyPath = ("devices", finding.position, finding.field)
        findings.error(path if finding.element < 0 else (*path, finding.element), finding.message, finding.remedy)
    for index, device in enumerate(configuration.devices):
        _check_connectors(configuration, device, ("devices", index), findings)
        _check_domains(configuration, device, ("devices", index), findings)
        if device.tls_minimum_version in _OLD:
            findings.warning(
                ("devices", index, "tls_minimum_version"),
                f"TLS {device.tls_minimum_version} can be broken: what {device.name} sends may be read on its way",
                "keep the device in a network of its own, and remove this when it is replaced",
            )


def _check_connectors(configuration: Configuration, device: Device, path: KeyPath, findings: Findings) -> None:
    names = {one.name.lower() for one in configuration.receive_connectors}
    for element, name in enumerate(device.receive_connectors):
        if name.lower() not in names:
            findings.error(
                (*path, "receive_connectors", element), f'there is no receive connector "{name}"',
                f"those there are: {', '.join(one.name for one in configuration.receive_connectors) or 'none'}",
            )  # fmt: skip
    known = [
        one for one in configuration.receive_connectors if one.enabled and is_known_on(device, one.name.lower())
    ]  # fmt: skip
    try:
        mine = [parse_range(text) for text in device.remote_ip_ranges]
        reached = [
            one
            for one in known
            for text in one.remote_ip_ranges
            if any(parse_range(text).overlaps(each) for each in mine)
        ]
    except RangeError:
        return  # it is told elsewhere
    if device.enabled and known and not reached:
        findings.warning(
            (*path, "remote_ip_ranges"), f"no receive connector takes the addresses of {device.name}",
            "widen remote_ip_ranges of the connector that it is to use",
        )  # fmt: skip


def _check_domains(configuration: Configuration, device: Device, path: KeyPath, findings: Findings) -> None:
    """Senders that receivers will not believe, and a default domain that is not ours."""
    accepted = AcceptedDomains(configuration.accepted_domains)
    if device.default_domain and accepted.find(domain_key(device.default_domain)) is None:
        findings.error(
            (*path, "default_domain"), f"{device.default_domain} is not an accepted domain",
            "add it to [[accepted_domains]] or name one that is there",
        )  # fmt: skip
    try:
        sender = parse_mailbox(device.rewrite_sender) if device.rewrite_sender else None
    except AddressError:
        return  # it is told elsewhere
    if sender is not None and accepted.find(sender.domain_key) is None:
        findings.warning(
            (*path, "rewrite_sender"), f"{sender.domain} is not an accepted domain: reports would go to others",
            "name an address of ours",
        )  # fmt: skip
