# SPDX-License-Identifier: MIT
"""Devices: what each may do and did, what would become of its mail, and which senders are no device yet.

`test_device` asks the very code that decides in sessions. The inventory reads the message tracking logs in a process of
their own, so that no session pays for it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from bridgehead.admin.connector.connectors import CommandCheck, Connectors, NotChosen, match_receive, match_send
from bridgehead.admin.faults import INVALID, NOT_FOUND, AdminFault
from bridgehead.admin.merge import summed
from bridgehead.directory.lookup import Directory
from bridgehead.mail.address import AddressError, domain_key, parse_mailbox
from bridgehead.mail.header import clean_text
from bridgehead.mail.limits import UNKNOWN_SENDERS_SHOWN
from bridgehead.net.ip_range import parse_ip
from bridgehead.receive.devices.book import DeviceUse
from bridgehead.receive.devices.devices import is_known_on
from bridgehead.receive.settings import Device
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.settings import AcceptedDomain
from bridgehead.tracking.event_line import FoundEvent

_NAMELESS: Final = ("anonymous", "externally-secured")
_OLD_TLS: Final = {"TLSv1": "1.0", "TLSv1.0": "1.0", "TLSv1.1": "1.1"}
_DOMAINS_SHOWN: Final = 5
_SENDERS_PROPOSED: Final = 5


class DeviceDesk(Protocol):
    """The running server's devices."""

    @property
    def settings(self) -> Sequence[Device]:
        """As configured."""

    def known(self, name: str) -> DeviceUse | None:
        """What was counted of one."""


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """One device: what it may do, and what it did since it is known.

    Attributes:
        last_seen: time of its last message; None: none yet.
        last_connection: time of its last connection.
        errors: commands, messages and handshakes refused; `last_error` is the last reply.
        tls_seen: version of its last session, "" for none.
        connector, client_ip, helo: of its last connection.
        silent_after: seconds without mail after which an alarm is raised; 0: by its habit.
        path: by which connectors it comes in, and by which its mail leaves.
    """

    name: str
    enabled: bool
    owner: str
    comment: str
    remote_ip_ranges: list[str]
    senders: list[str]
    rewrite_sender: str
    recipients: list[str]
    tls: str
    messages: int = 0
    octets: int = 0
    rewritten: int = 0
    errors: int = 0
    last_seen: datetime | None = None
    last_connection: datetime | None = None
    last_error: str = ""
    last_error_at: datetime | None = None
    last_sender: str = ""
    tls_seen: str = ""
    connector: str = ""
    client_ip: str = ""
    helo: str = ""
    silent_after: float = 0.0
    path: list[str] = []


class DeviceList(msgspec.Struct, frozen=True, kw_only=True):
    """All devices in the order of the configuration."""

    devices: list[DeviceView]


class DeviceTest(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of a client's mail.

    Attributes:
        device: "" where its address is none; `reason` says why that one, or what it is instead.
        connector: that takes it, "" for none; `others`: why not those.
        accepted: everything tried would be taken.
        routes: where mail for the recipients that are taken goes.
    """

    client_ip: str
    connector: str
    connector_reason: str
    others: list[NotChosen]
    device: str
    reason: str
    principal: str
    tls: str
    checks: list[CommandCheck]
    routes: list[str]
    limits: dict[str, str]
    accepted: bool


class UnknownSender(msgspec.Struct, frozen=True, kw_only=True):
    """A client that sends without login and is no device.

    Attributes:
        outside: of its recipients, those in domains that are not ours.
        tls: versions seen, "none" for clear text.
        proposal: a [[devices]] table to paste.
    """

    client_ip: str
    helo: str
    messages: int
    last_seen: datetime
    connectors: list[str]
    senders: list[str]
    recipient_domains: list[str]
    outside: int
    tls: list[str]
    proposal: str


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """Senders that are no device, the busiest first; `complete`: every message since then was looked at."""

    senders: list[UnknownSender]
    messages: int
    complete: bool


# --- what there is ----------------------------------------------------------------------------------------------------


def list_devices(desk: DeviceDesk, configuration: Connectors) -> DeviceList:
    """All devices."""
    return DeviceList(devices=[view(one, desk.known(one.name), configuration) for one in desk.settings])


def show_device(desk: DeviceDesk, configuration: Connectors, name: str) -> DeviceView:
    """One device by name or by an address of it. Raises AdminFault."""
    for one in desk.settings:
        if one.name.casefold() == name.casefold():
            return view(one, desk.known(one.name), configuration)
    names = ", ".join(f'"{one.name}"' for one in desk.settings) or "none"
    raise AdminFault(NOT_FOUND, f'there is no device "{name}"', f"those there are: {names}")


def view(device: Device, use: DeviceUse | None, configuration: Connectors) -> DeviceView:
    """What people see of a device; `use` None: nothing was counted."""
    use = use or DeviceUse()
    return DeviceView(
        name=device.name, enabled=device.enabled, owner=device.owner, comment=device.comment,
        remote_ip_ranges=device.remote_ip_ranges, senders=device.allowed_senders,
        rewrite_sender=device.rewrite_sender, recipients=device.allowed_recipients or ["accepted domains"],
        tls=_tls(device), messages=use.messages, octets=use.octets, rewritten=use.rewritten, errors=use.errors,
        last_seen=_time(use.last_message), last_connection=_time(use.connected), last_error=use.last_error,
        last_error_at=_time(use.last_error_at), last_sender=use.last_sender, tls_seen=use.tls,
        connector=use.connector, client_ip=use.client_ip, helo=use.helo,
        silent_after=device.silence_after.total_seconds(), path=_path(device, configuration),
    )  # fmt: skip


def together(views: Sequence[DeviceView]) -> DeviceView:
    """One device as several workers know it: counts added up, what it did last as the last of them saw it."""
    last = max(views, key=lambda one: _seconds(one.last_connection))
    failed = max(views, key=lambda one: _seconds(one.last_error_at))
    return msgspec.structs.replace(
        last,
        **summed(views, "messages", "octets", "rewritten", "errors"),
        last_seen=max((one.last_seen for one in views), key=_seconds),
        last_error=failed.last_error,
        last_error_at=failed.last_error_at,
    )


def _seconds(time: datetime | None) -> float:
    return time.timestamp() if time is not None else 0.0


def _tls(device: Device) -> str:
    lowest = f", from {device.tls_minimum_version.value}" if device.tls_minimum_version is not None else ""
    return f"{device.tls.value}{lowest}"


def _path(device: Device, configuration: Connectors) -> list[str]:
    """In by connectors that know it, out by connectors for its recipients."""
    known = [one.name for one in configuration.receive_connectors if one.enabled]
    path = [f"in: {name}" for name in known if is_known_on(device, name.lower())]
    for grant in device.allowed_recipients:
        domain = grant.rpartition("@")[2]
        path.append("out: anywhere" if domain == "*" else f"out: {_route(configuration, domain)}")
    return list(dict.fromkeys(path))


def _route(configuration: Connectors, recipient: str) -> str:
    try:
        found = match_send(configuration, recipient)
    except AdminFault as fault:
        return f"{recipient}: {fault}"
    way = f'by "{found.connector}" to {found.next_hop}' if found.connector else found.reason
    return f"{recipient} {way}" if found.connector else way


def _time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


# --- what would become of it ------------------------------------------------------------------------------------------


def test_device(
    configuration: Connectors, directory: Directory | None, *, client_ip: str, port: int, local_ip: str, sender: str,
    author: str, recipients: Sequence[str],
) -> DeviceTest:  # fmt: skip
    """What would become of mail of a client: by the code that decides. Raises AdminFault.

    Args:
        client_ip: an address, or the name of a device, whose first address is taken.
        author: what From says; "" for the same as `sender`.
    """
    address = _address(configuration, client_ip)
    found = match_receive(
        configuration, client_ip=address, port=port, local_ip=local_ip, sender=sender, author=author or sender,
        recipients=recipients, directory=directory,
    )  # fmt: skip
    taken = [check.address[1:-1] for check in found.checks if check.command == "RCPT TO" and check.accepted]
    device = next((one for one in configuration.devices if one.name == found.device), None)
    return DeviceTest(
        client_ip=found.client_ip, connector=found.connector, connector_reason=found.reason, others=found.others,
        device=found.device, reason=found.device_reason or _why_none(configuration, found.connector),
        principal=found.principal, tls=_tls(device) if device else "", checks=found.checks,
        routes=[f"{one}: {_route(configuration, one)}" for one in taken if "@" in one], limits=found.limits,
        accepted=bool(found.connector) and all(check.accepted for check in found.checks),
    )  # fmt: skip


test_device.__test__ = False  # type: ignore[attr-defined]  # for pytest, which takes the name for one of its own


def _address(configuration: Connectors, text: str) -> str:
    """An address as given, or the first one of a device by name."""
    for one in configuration.devices:
        if one.name.casefold() == text.casefold():
            return one.remote_ip_ranges[0].partition("/")[0].partition("-")[0].strip()
    try:
        return str(parse_ip(text))
    except ValueError:
        raise AdminFault(
            INVALID, f'"{text}" is neither an IP address nor a device', "give one such as 10.2.0.17"
        ) from None


def _why_none(configuration: Connectors, connector: str) -> str:
    if not connector:
        return ""
    if not configuration.devices:
        return "no devices are configured: it is whatever the connector makes of its clients"
    return f'no range of a device that "{connector}" knows contains it: it is whatever the connector makes of others'


# --- who else sends ---------------------------------------------------------------------------------------------------


def inventory(events: Iterable[FoundEvent], configuration: Connectors, *, complete: bool) -> Inventory:
    """Clients that handed over these messages (RECEIVE) without a login and are no device, the busiest first."""
    by_client: dict[str, list[FoundEvent]] = {}
    count = 0
    for event in events:
        count += 1
        principal = event.facts.get("Principal", "")
        if event.source == "SMTP" and event.client_ip and principal in _NAMELESS:
            by_client.setdefault(event.client_ip, []).append(event)
    busiest = sorted(by_client.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    senders = [_unknown(client, found, configuration) for client, found in busiest[:UNKNOWN_SENDERS_SHOWN]]
    return Inventory(senders=senders, messages=count, complete=complete and len(busiest) <= UNKNOWN_SENDERS_SHOWN)


def _unknown(client: str, events: Sequence[FoundEvent], configuration: Connectors) -> UnknownSender:
    accepted = AcceptedDomains(configuration.accepted_domains)
    recipients = [address for event in events for address in event.recipient_address]
    domains = Counter(domain_key(address.rpartition("@")[2]) for address in recipients)
    senders = Counter(event.return_path for event in events if "@" in event.return_path)
    tls = Counter(event.facts.get("TlsVersion") or "none" for event in events)
    last = max(events, key=lambda event: event.date_time)
    outside = [domain for domain in domains if accepted.find(domain) is None]
    return UnknownSender(
        client_ip=client, helo=last.client_hostname, messages=len(events), last_seen=last.time,
        connectors=sorted({event.connector_id.rpartition("\\")[2] for event in events}),
        senders=[one for one, _ in senders.most_common(_SENDERS_PROPOSED)],
        recipient_domains=[one for one, _ in domains.most_common(_DOMAINS_SHOWN)],
        outside=sum(domains[domain] for domain in outside), tls=sorted(tls),
        proposal=_proposal(client, last.client_hostname, senders, outside, tls, configuration.accepted_domains),
    )  # fmt: skip


def _proposal(
    client: str, helo: str, senders: "Counter[str]", outside: Sequence[str], tls: "Counter[str]",
    domains: Sequence[AcceptedDomain],
) -> str:  # fmt: skip
    """A table that lets the client do what it did: its senders that are ours, its recipients' domains, its TLS."""
    accepted = AcceptedDomains(domains)
    ours = [one for one, _ in senders.most_common(_SENDERS_PROPOSED) if _is_ours(one, accepted)]
    recipients = [f"*@{domain}" for domain in sorted(outside)[:_DOMAINS_SHOWN]]
    lines = [
        "[[devices]]",
        f"name = {_quoted(f'device-{client}')}",
        f"remote_ip_ranges = [{_quoted(client)}]",
        f"comment = {_quoted(f'called itself {helo}' if helo else '')}",
        'owner = ""',
        f"allowed_senders = [{', '.join(map(_quoted, ours))}]",
        f"rewrite_sender = {_quoted(ours[0] if ours else _substitute(accepted))}",
    ]
    if recipients:
        own = [f"*@{one.domain_name}" for one in domains if not one.domain_name.startswith("*")]
        lines.append(f"allowed_recipients = [{', '.join(map(_quoted, [*own, *recipients]))}]")
    lines += ["message_rate_limit = 30", *(['tls = "Off"'] if set(tls) == {"none"} else [])]
    old = sorted(version for version in tls if version in _OLD_TLS)
    if old:
        lines.append(f"tls_minimum_version = {_quoted(_OLD_TLS[old[0]])}")
    return "\n".join(lines) + "\n"


def _is_ours(address: str, accepted: AcceptedDomains) -> bool:
    try:
        return address.isascii() and accepted.find(parse_mailbox(address).domain_key) is not None
    except AddressError:
        return False


def _substitute(accepted: AcceptedDomains) -> str:
    return f"devices@{accepted.default_name}" if accepted.default_name else ""


def _quoted(text: str) -> str:
    """A TOML string on one line: JSON's is one where nothing in it is a control."""
    return msgspec.json.encode(clean_text(text)).decode()
