# SPDX-License-Identifier: MIT
"""Where the messages of a next hop are sent: hosts and addresses in the order to try them (RFC 5321 §5, RFC 7505).

DNS routing asks for MX records, then addresses. A smart host may be a name (MX or address) or an address. What cannot
be resolved is a value that says whether trying again may help.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Collection

import msgspec

from bridgehead.mail.address import domain_key
from bridgehead.mail.limits import DESTINATION_ADDRESSES
from bridgehead.net.dialer import is_local_address
from bridgehead.net.dns.resolver import DnsLookup, MxAnswer, NameAnswer, Outcome
from bridgehead.routing.mx import MailExchanger, before_ourselves, in_order, is_null_mx, shuffled
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import ErrorPolicy, SendConnector

_AT_ONCE = 8


class Target(msgspec.Struct, frozen=True):
    """One address to try.

    Attributes:
        host: name of the server, or the address as a literal where there is no name.
        address: IP address in text form.
        port: TCP port.
        tls_name: name that a checked certificate must carry unless the connector names one.
        mx_is_secure: DNSSEC vouches that the domain has this host.
    """

    host: str
    address: str
    port: int
    tls_name: str
    mx_is_secure: bool = False


class Unresolvable(msgspec.Struct, frozen=True):
    """No address. `permanent`: the domain cannot be delivered to at all. `status` fits. `bogus`: DNSSEC signatures of
    the domain, or of its hosts, are wrong."""

    error: str
    status: str
    permanent: bool
    bogus: bool = False


class Ourselves(msgspec.Struct, frozen=True):
    """How we recognise our own host in MX records.

    Attributes:
        fqdns: our names, lower case.
        endpoints: (address, port) that our receive connectors listen on; "0.0.0.0" and "::" stand for all addresses.
    """

    fqdns: frozenset[str] = frozenset()
    endpoints: frozenset[tuple[str, int]] = frozenset()

    def listens_on(self, address: str, port: int) -> bool:
        """Whether a connection to this address would reach us."""
        if (address, port) in self.endpoints:
            return True
        wildcards = {("::", port), ("0.0.0.0", port)} if ":" not in address else {("::", port)}
        return not wildcards.isdisjoint(self.endpoints) and is_local_address(address)


Destination = list[Target] | Unresolvable


async def resolve_destination(
    next_hop: NextHop, connector: SendConnector, dns: DnsLookup, ourselves: Ourselves, random: Callable[[], float]
) -> Destination:  # fmt: skip
    """Targets of a next hop in the order to try them."""
    if next_hop.delivery_type is DeliveryType.SMART_HOST:
        found = await _smart_hosts(connector, dns, random)
    else:
        found = await _domain(next_hop.domain, connector.port, dns, ourselves, random)
    if isinstance(found, Unresolvable):
        return _with_policy(found, connector)
    return found[:DESTINATION_ADDRESSES]


def _with_policy(problem: Unresolvable, connector: SendConnector) -> Unresolvable:
    """DowngradeDnsFailures: what DNS says finally is tried again all the same."""
    if problem.permanent and ErrorPolicy.DOWNGRADE_DNS_FAILURES in connector.error_policies:
        return Unresolvable(problem.error, "4" + problem.status[1:], False)
    return problem


# --- DNS routing ---------------------------------------------------------------------------------------------------


async def _domain(
    domain: str, port: int, dns: DnsLookup, ourselves: Ourselves, random: Callable[[], float]
) -> Destination:  # fmt: skip
    if domain.startswith("["):
        return _literal(domain, port)
    name = domain_key(domain)
    answer = await dns.mx(name)
    if answer.outcome is Outcome.TEMPORARY_FAILURE:
        return Unresolvable(f"DNS gave no answer: {answer.reason}", "4.4.3", False, answer.bogus)
    if answer.outcome is Outcome.NO_SUCH_DOMAIN:
        return Unresolvable(f"SMTPSEND.DNS.NonExistentDomain; {name} does not exist", "5.4.4", True)
    exchangers = _exchangers(answer)
    if is_null_mx(exchangers):
        return Unresolvable(f"{name} accepts no mail (null MX)", "5.1.10", True)
    implicit = not exchangers
    ordered = in_order(exchangers, random) if exchangers else [MailExchanger(0, name)]
    addresses = await _addresses([record.host for record in ordered], dns)

    def is_ourselves(host: str) -> bool:
        return host in ourselves.fqdns or any(ourselves.listens_on(ip, port) for ip in addresses[host].values)

    usable = before_ourselves(ordered, is_ourselves)
    if not usable:
        return Unresolvable(f"mail for {name} loops back: its best mail host is this server", "5.4.6", True)
    targets = [
        Target(record.host, ip, port, name, answer.secure)
        for record in usable
        for ip in _interleaved(addresses[record.host].values, random)
    ]
    return targets or _no_address(name, [addresses[record.host] for record in usable], implicit)


def _exchangers(answer: MxAnswer) -> list[MailExchanger]:
    return [MailExchanger(record.preference, record.exchange) for record in answer.records]


def _no_address(name: str, answers: list[NameAnswer], implicit: bool) -> Unresolvable:
    for answer in answers:
        if answer.outcome is Outcome.TEMPORARY_FAILURE:
            return Unresolvable(f"DNS gave no answer: {answer.reason}", "4.4.3", False, answer.bogus)
    what = "has neither MX nor address records" if implicit else "names mail hosts that have no address"
    return Unresolvable(f"SMTPSEND.DNS.NonExistentDomain; {name} {what}", "5.4.4", True)


def _literal(domain: str, port: int) -> Destination:
    text = domain.strip("[]")
    address = text[5:] if text[:5].lower() == "ipv6:" else text
    try:
        ip = str(ipaddress.ip_address(address))
    except ValueError:
        return Unresolvable(f"{domain} is no address", "5.1.2", True)
    return [Target(domain, ip, port, ip)]


async def _addresses(hosts: Collection[str], dns: DnsLookup) -> dict[str, NameAnswer]:
    """Addresses of all hosts, a few asked at a time; a host named as an address stands for itself."""
    found: dict[str, NameAnswer] = {}
    names = list(hosts)
    for start in range(0, len(names), _AT_ONCE):
        batch = names[start : start + _AT_ONCE]
        answers = await asyncio.gather(*(dns.addresses(name) for name in batch))
        found.update(zip(batch, answers, strict=True))
        if sum(len(answer.values) for answer in found.values()) >= DESTINATION_ADDRESSES:
            break
    return {name: found.get(name, NameAnswer(Outcome.NO_DATA)) for name in names}


def _interleaved(addresses: tuple[str, ...], random: Callable[[], float]) -> list[str]:
    """Addresses of one host: shuffled within each family, families in turn, so that a family without a route costs
    one attempt and not all."""
    six = shuffled([ip for ip in addresses if ":" in ip], random)
    four = shuffled([ip for ip in addresses if ":" not in ip], random)
    mixed: list[str] = []
    for index in range(max(len(six), len(four))):
        mixed += four[index : index + 1] + six[index : index + 1]
    return mixed


# --- smart hosts ------------------------------------------------------------------------------------------------------


def split_smart_host(text: str, default_port: int) -> tuple[str, int]:
    """Host and port of a smart host: "relay.example", "relay.example:587", "[192.0.2.1]:25", "2001:db8::1",
    "[IPv6:2001:db8::1]". Raises ValueError where it is none of these."""
    host, port = text.strip(), ""
    if host.startswith("["):
        inner, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f'"{text}" is no smart host: a closing bracket, then ":port" or nothing, was expected')
        host = inner[5:] if inner[:5].lower() == "ipv6:" else inner
        port = rest[1:]
        ipaddress.ip_address(host)
    elif host.count(":") == 1:
        host, port = host.split(":")
    if not host or (port and not (port.isdigit() and 0 < int(port) < 65536)):
        raise ValueError(f'"{text}" is no smart host: a name or address with an optional ":port" was expected')
    return host, int(port) if port else default_port


async def _smart_hosts(connector: SendConnector, dns: DnsLookup, random: Callable[[], float]) -> Destination:
    """All smart hosts from a random start; each is tried before the next."""
    hosts = connector.smart_hosts
    start = int(random() * len(hosts)) if hosts else 0
    targets: list[Target] = []
    problems: list[Unresolvable] = []
    resolved = await asyncio.gather(*(_smart_host(host, connector.port, dns, random) for host in hosts))
    for found in (*resolved[start:], *resolved[:start]):
        if isinstance(found, Unresolvable):
            problems.append(found)
        else:
            targets += found
    if targets:
        return targets
    # A smart host that cannot be found is our administrator's mistake, not the sender's: messages wait for its repair.
    return Unresolvable("; ".join(problem.error for problem in problems) or "no smart host is set", "4.4.4", False)


async def _smart_host(text: str, default_port: int, dns: DnsLookup, random: Callable[[], float]) -> Destination:
    try:
        host, port = split_smart_host(text, default_port)
    except ValueError as error:
        return Unresolvable(str(error), "5.3.5", True)
    try:
        ip = str(ipaddress.ip_address(host))
        return [Target(f"[{'IPv6:' if ':' in ip else ''}{ip}]", ip, port, ip)]
    except ValueError:
        pass
    name = domain_key(host)
    answer = await dns.mx(name)
    exchangers = in_order(_exchangers(answer), random) if not is_null_mx(_exchangers(answer)) else []
    hosts = [record.host for record in exchangers] or [name]
    addresses = await _addresses(hosts, dns)
    targets = [Target(each, ip, port, name) for each in hosts for ip in _interleaved(addresses[each].values, random)]
    if targets:
        return targets
    reasons = [addresses[each].reason for each in hosts if addresses[each].reason]
    return Unresolvable(f"smart host {host} has no address: {'; '.join(reasons[:3])}", "4.4.4", False)
