# SPDX-License-Identifier: MIT
"""What the audit says of identities: devices, exceptions and logins that may be more than one means, names that several
tenants of a provider share, and authors that readers could take for others. Pure; each sentence names its setting.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from bridgehead.admin.connector.audit_report import ClassAudit, Exposure
from bridgehead.admin.connector.receive_rights import ClientClass
from bridgehead.admin.probe.steps import Verdict
from bridgehead.directory.user_record import User
from bridgehead.mail.units import UNLIMITED
from bridgehead.net.ip_range import RangeError, is_wide, parse_range
from bridgehead.receive.connectors.selection import is_loopback_only
from bridgehead.receive.devices.devices import principal_of
from bridgehead.receive.settings import (
    Device,
    DeviceTls,
    NonCompliantSenderPolicy,
    ReceiveConnector,
    SenderException,
)
from bridgehead.routing.settings import TlsVersion

_OLD_TLS: Final = (TlsVersion.TLS_1_0, TlsVersion.TLS_1_1)
_MANY_MACHINES: Final = 256
"""Addresses of one device beyond which it is a network."""
_SOON: Final = timedelta(days=14)
SHARED_NAMES: Final = (
    "outlook.com", "google.com", "googlemail.com", "pphosted.com", "ppe-hosted.com", "mimecast.com", "messagelabs.com",
    "amazonaws.com", "amazonses.com", "sendgrid.net", "mailgun.org", "barracudanetworks.com", "iphmx.com",
    "hornetsecurity.com", "trendmicro.com", "mailcontrol.com", "zoho.com",
)  # fmt: skip
"""Providers whose servers show one certificate for the mail of all of their customers."""


def identity_exposures(
    devices: Sequence[Device], exceptions: Sequence[SenderException], users: Sequence[User], now: float
) -> Iterator[Exposure]:  # fmt: skip
    """What devices, sender exceptions and logins expose. `now`: Unix time."""
    for device in devices:
        if device.enabled:
            yield from _device_identity(device)
            yield from _device_connection(device)
    today = datetime.fromtimestamp(now, UTC).date()
    for exception in exceptions:
        yield from _exception(exception, today.toordinal())
    for user in users:
        if user.enabled:
            yield from _user(user)


def device_audit(device: Device) -> ClassAudit:
    """What a device may do, as one of the classes of clients of a connector."""
    principal = principal_of(device)
    senders = ", ".join(device.allowed_senders)
    others = (
        f"any other sender becomes {device.rewrite_sender}" if device.rewrite_sender else "other senders are refused"
    )
    recipients = f"may send to {', '.join(device.allowed_recipients)} only" if device.allowed_recipients else ""
    inside = "inside" if device.counts_as_inside else "outside"
    return ClassAudit(
        clients=str(principal),
        may=[
            f"from {', '.join(device.remote_ip_ranges)}",
            recipients or "may send to accepted domains only",
            f"sends as {senders}; {others}" if senders else others,
            f"counts as {inside}",
        ],
        rights=sorted(right.value for right in principal.rights),
    )


def _device_identity(device: Device) -> Iterator[Exposure]:
    who = f"device {device.name}"
    ranges = [text for text in device.remote_ip_ranges if is_wide_text(text)]
    anybody, anywhere = "*" in device.allowed_senders, "*" in device.allowed_recipients
    where = ", ".join(device.remote_ip_ranges)
    if ranges:
        verdict = Verdict.FAILURE if anywhere else Verdict.WARNING
        power = "may relay to anywhere: an open relay" if anywhere else "is taken for this device"
        yield Exposure(
            connector=who, name="device-open-relay" if anywhere else "device-range-wide", verdict=verdict,
            sentence=f"anybody in {', '.join(ranges)} {power}",
            setting="devices.remote_ip_ranges", remedy="name the addresses of the device",
        )  # fmt: skip
    elif many := [text for text in device.remote_ip_ranges if _size(text) > _MANY_MACHINES]:
        yield Exposure(
            connector=who, name="device-range-wide", verdict=Verdict.NOTE,
            sentence=f"{', '.join(many)} holds {_size(many[0])} machines, each of which is taken for this device",
            setting="devices.remote_ip_ranges", remedy="name the addresses of the device",
        )  # fmt: skip
    if anybody:
        yield Exposure(
            connector=who, name="device-sends-as-anybody", verdict=Verdict.WARNING,
            sentence=f"whoever has an address in {where} may send as anybody, our own people included",
            setting="devices.allowed_senders", remedy='name its senders, or set rewrite_sender and leave "*" out',
        )  # fmt: skip
    if anywhere and not ranges:
        yield Exposure(
            connector=who, name="device-relays-anywhere", verdict=Verdict.WARNING,
            sentence=f"whoever has an address in {where} may relay to anywhere",
            setting="devices.allowed_recipients", remedy="name its recipients or their domains",
        )  # fmt: skip
    if device.message_rate_limit >= UNLIMITED and device.allowed_recipients:
        yield Exposure(
            connector=who, name="device-without-rate-limit", verdict=Verdict.NOTE,
            sentence="it may send without limit, also when it runs wild or somebody else has its address",
            setting="devices.message_rate_limit", remedy="set it to what the device needs in a minute, such as 30",
        )  # fmt: skip


def _device_connection(device: Device) -> Iterator[Exposure]:
    who = f"device {device.name}"
    if device.tls_minimum_version in _OLD_TLS:
        yield Exposure(
            connector=who, name="old-tls", verdict=Verdict.WARNING,
            sentence=f"TLS {device.tls_minimum_version.value} is taken from it, which can be broken",
            setting="devices.tls_minimum_version", remedy="remove it once the device knows TLS 1.2",
        )  # fmt: skip
    if device.tls is DeviceTls.OFF:
        yield Exposure(
            connector=who, name="mail-in-clear", verdict=Verdict.NOTE,
            sentence="its mail comes in clear, for everybody on the way to read",
            setting="devices.tls", remedy='set it to "Offered" unless the device fails then',
        )  # fmt: skip


def _exception(exception: SenderException, today: int) -> Iterator[Exposure]:
    who = f"sender exception {exception.name}"
    left = exception.expires.toordinal() - today
    if left < 0:
        yield Exposure(
            connector=who, name="exception-ended", verdict=Verdict.WARNING,
            sentence=f"it ended on {exception.expires} and lets nobody in any more",
            setting="sender_exceptions.expires", remedy=f"remove it, or ask {exception.owner} whether it is needed",
        )  # fmt: skip
        return
    if left <= _SOON.days:
        yield Exposure(
            connector=who, name="exception-ends", verdict=Verdict.WARNING,
            sentence=f"it ends on {exception.expires}; from then on mail of {', '.join(exception.senders)} is refused",
            setting="sender_exceptions.expires", remedy=f"ask {exception.owner} whether it is needed for longer",
        )  # fmt: skip
    if ranges := [text for text in exception.remote_ip_ranges if is_wide_text(text)]:
        yield Exposure(
            connector=who, name="exception-wide", verdict=Verdict.WARNING,
            sentence=f"anybody in {', '.join(ranges)} may send as {', '.join(exception.senders)}",
            setting="sender_exceptions.remote_ip_ranges", remedy="name the machines that are meant",
        )  # fmt: skip
    if domains := [text for text in exception.senders if text.startswith("*@")]:
        yield Exposure(
            connector=who, name="exception-wide", verdict=Verdict.NOTE,
            sentence=f"it lets its clients send as every address in {', '.join(one[2:] for one in domains)}",
            setting="sender_exceptions.senders", remedy="name the addresses that are meant",
        )  # fmt: skip


def _user(user: User) -> Iterator[Exposure]:
    for field, words in (("send_as", "send as anybody"), ("send_on_behalf", "write on behalf of anybody")):
        if "*" in getattr(user, field):
            yield Exposure(
                connector=f"login {user.name}", name="login-sends-as-anybody", verdict=Verdict.WARNING,
                sentence=f"whoever knows its password may {words}", setting=field,
                remedy=f'bridgehead user set {user.name} --{field.replace("_", "-")} ADDRESS',
            )  # fmt: skip


# --- of connectors -------------------------------------------------------------------------------------------------


def misleading_authors(connector: ReceiveConnector, present: Sequence[ClientClass]) -> Iterator[Exposure]:
    """A From field that shows different readers different authors is let in (NonCompliantSenderPolicy)."""
    policy = connector.non_compliant_sender_policy
    if policy is NonCompliantSenderPolicy.REJECT or is_loopback_only(connector):
        return
    if any(one.may_submit for one in present):
        accept = policy is NonCompliantSenderPolicy.ACCEPT
        marked = "" if accept else ", with a mark that most readers do not show"
        yield Exposure(
            connector=connector.name, name="misleading-authors", verdict=Verdict.WARNING if accept else Verdict.NOTE,
            sentence=f"mail whose From field shows different readers different authors is taken{marked}",
            setting="non_compliant_sender_policy", remedy='set it to "Reject"',
        )  # fmt: skip


def shared_names(connector: ReceiveConnector) -> Iterator[Exposure]:
    """Capabilities for a certificate that serves all customers of a provider: any of them would be us."""
    for text in connector.tls_domain_capabilities:
        name = text.partition(":")[0].strip().removeprefix("*.").lower()
        if any(name == shared or name.endswith("." + shared) for shared in SHARED_NAMES):
            yield Exposure(
                connector=connector.name, name="shared-certificate-name", verdict=Verdict.WARNING,
                sentence=f"{name} stands in the certificate of a provider that all of its customers send with: mail of "
                "any of them gets what this grants",
                setting="tls_domain_capabilities",
                remedy="remove it, or receive from the provider with a certificate name of your own",
            )  # fmt: skip


def is_wide_text(text: str) -> bool:
    """Whether a range holds strangers."""
    try:
        return is_wide(parse_range(text))
    except RangeError:
        return False


def _size(text: str) -> int:
    try:
        return parse_range(text).size
    except RangeError:
        return 0
