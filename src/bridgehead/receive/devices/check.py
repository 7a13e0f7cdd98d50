# SPDX-License-Identifier: MIT
"""Whether a set of devices is sound: names, addresses, senders and recipients, found all at once.

As with receive connectors, ranges may overlap only when one contains the other, so that one device is always the most
specific.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from bridgehead.mail.address import AddressError, parse_domain, parse_mailbox
from bridgehead.net.ip_range import IPRange, RangeError, parse_range
from bridgehead.receive.permissions.rights import grant_key
from bridgehead.receive.settings import Device, DeviceTls

NAME_CHARACTERS = 64


class Finding(NamedTuple):
    """One error: the device's place in its list, the field, the place in a list (-1 for none), what, the remedy."""

    position: int
    field: str
    element: int
    message: str
    remedy: str = ""


def check(devices: Sequence[Device]) -> list[Finding]:
    """Every error in these devices, in their order; none means that `Devices` takes them."""
    findings: list[Finding] = []
    ranges: list[list[IPRange]] = []
    for index, device in enumerate(devices):
        ranges.append(_ranges(index, device, findings))
        findings += _names(index, devices)
        findings += _grants(index, device)
        findings += _addresses(index, device)
        findings += _tls(index, device)
    for one, other in combinations(range(len(devices)), 2):
        if devices[one].enabled and devices[other].enabled and _meet(devices[one], devices[other]):
            findings += _overlaps(devices[one], other, ranges[one], ranges[other])
    return sorted(findings, key=lambda finding: finding.position)


def _ranges(index: int, device: Device, findings: list[Finding]) -> list[IPRange]:
    found = []
    for element, text in enumerate(device.remote_ip_ranges):
        try:
            found.append(parse_range(text))
        except RangeError as error:
            findings.append(Finding(index, "remote_ip_ranges", element, str(error)))
    if not device.remote_ip_ranges:
        message = "the list is empty, so nobody is this device"
        findings.append(Finding(index, "remote_ip_ranges", -1, message, 'add its address: ["10.2.0.17"]'))
    return found


def _names(index: int, devices: Sequence[Device]) -> Iterator[Finding]:
    name = devices[index].name
    if not 1 <= len(name) <= NAME_CHARACTERS or not name.isprintable() or set(name) & set(',;"'):
        message = f"a name of 1 to {NAME_CHARACTERS} printable characters without , ; and quotes was expected"
        yield Finding(index, "name", -1, f"{message}, not {name!r}", 'for example "printer-3"')
    if any(name.lower() == other.name.lower() for other in devices[:index]):
        yield Finding(index, "name", -1, f'the name "{name}" is taken by another device', "names differ")


def _grants(index: int, device: Device) -> Iterator[Finding]:
    for field in ("allowed_senders", "allowed_recipients"):
        values: list[str] = getattr(device, field)
        for element, text in enumerate(values):
            if (problem := _problem(grant_key, text)) is not None:
                remedy = 'an address, "*@contoso.com" for all of a domain, or "*"'
                yield Finding(index, field, element, f'"{text}": {problem}', remedy)
    if not device.allowed_senders and not device.rewrite_sender:
        message = "neither allowed_senders nor rewrite_sender is given: the device could send as nobody"
        yield Finding(index, "allowed_senders", -1, message, 'for example rewrite_sender = "scanner@contoso.com"')


def _addresses(index: int, device: Device) -> Iterator[Finding]:
    sender = device.rewrite_sender
    if sender:
        problem = _problem(parse_mailbox, sender)
        if problem is None and not sender.isascii():
            problem = "an address in ASCII was expected, since it is put into mail of all kinds"
        if problem is not None:
            yield Finding(
                index, "rewrite_sender", -1, f'"{sender}": {problem}', "an address such as scanner@contoso.com"
            )
    if device.default_domain and (problem := _problem(parse_domain, device.default_domain)) is not None:
        yield Finding(index, "default_domain", -1, f'"{device.default_domain}": {problem}', "such as contoso.com")


def _tls(index: int, device: Device) -> Iterator[Finding]:
    if device.tls is DeviceTls.OFF and (device.tls_minimum_version is not None or device.tls_ciphers):
        message = 'tls is "Off", so that nothing about versions and ciphers has an effect'
        yield Finding(index, "tls", -1, message, "remove the one or the other")


def _problem(parse: Callable[[str], object], text: str) -> str | None:
    try:
        parse(text)
    except AddressError as error:
        return str(error)
    return None


def _meet(one: Device, other: Device) -> bool:
    """Whether some connector knows both."""
    if not one.receive_connectors or not other.receive_connectors:
        return True
    return not {name.lower() for name in one.receive_connectors}.isdisjoint(map(str.lower, other.receive_connectors))


def _overlaps(one: Device, other: int, ranges: list[IPRange], other_ranges: list[IPRange]) -> Iterator[Finding]:
    """Ranges of which neither is the more specific."""
    for mine in ranges:
        for element, theirs in enumerate(other_ranges):
            if not mine.overlaps(theirs):
                continue
            if mine.equals(theirs):
                message = f'{theirs.text} is the device "{one.name}" already'
                yield Finding(other, "remote_ip_ranges", element, message, "an address belongs to one device")
            elif not mine.covers(theirs) and not theirs.covers(mine):
                message = (
                    f'{theirs.text} and {mine.text} of the device "{one.name}" overlap, and neither contains the other'
                )
                yield Finding(other, "remote_ip_ranges", element, message, "divide them")
