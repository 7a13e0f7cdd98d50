# SPDX-License-Identifier: MIT
"""The test of a send connector: DNS, then every address of every host, as delivery would go about it.

With a domain the way to that domain is tested; without, a connector with smart hosts is tested as a whole.
"""

import asyncio
import ipaddress
from collections.abc import Sequence
from itertools import product

import msgspec

from bridgehead.admin.faults import INVALID, AdminFault
from bridgehead.admin.probe.dns_query import ask
from bridgehead.admin.probe.dns_steps import DnsProbe
from bridgehead.admin.probe.observed import Observed
from bridgehead.admin.probe.site import Site
from bridgehead.admin.probe.smtp_steps import SmtpProbe
from bridgehead.admin.probe.steps import StepBuilder
from bridgehead.delivery.smtp_send.destination import (
    Ourselves,
    Target,
    Unresolvable,
    resolve_destination,
    split_smart_host,
)
from bridgehead.mail.address import AddressError, Mailbox, domain_key, parse_mailbox
from bridgehead.mail.limits import PROBE_ADDRESSES
from bridgehead.net.dns.resolver import Resolver, read_hosts_file
from bridgehead.routing.address_space import first_domain
from bridgehead.routing.next_hop import DeliveryType, NextHop
from bridgehead.routing.settings import SendConnector


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried with MAIL and RCPT.

    Attributes:
        domain: whose mail hosts are tested; "" where smart hosts take everything.
        guessed: nobody named the recipients.
    """

    domain: str
    sender: Mailbox
    recipients: tuple[Mailbox, ...]
    guessed: bool


def envelope_for(
    site: Site, connector: SendConnector, *, domain: str = "", sender: str = "", recipients: Sequence[str] = ()
) -> Envelope:  # fmt: skip
    """What to try: what was asked for, else postmaster of a domain that the connector is for (RFC 5321 §4.5.1).

    Raises AdminFault on what is no address.
    """
    reverse_path = mailbox(sender) if sender else site.postmaster
    if recipients:
        paths = tuple(mailbox(one) for one in recipients)
        return Envelope(domain=domain or paths[0].domain_key, sender=reverse_path, recipients=paths, guessed=False)
    name = domain_key(domain) if domain else first_domain(connector.address_spaces)
    if name:
        postmaster = Mailbox("postmaster", name)
        return Envelope(domain=name, sender=reverse_path, recipients=(postmaster,), guessed=True)
    own = () if connector.routes_by_dns or not site.postmaster.domain else (site.postmaster,)
    return Envelope(domain="", sender=reverse_path, recipients=own, guessed=True)


def mailbox(text: str) -> Mailbox:
    """An address as an operator gives it. Raises AdminFault."""
    try:
        return parse_mailbox(text.strip().removeprefix("<").removesuffix(">"))
    except AddressError as error:
        raise AdminFault(INVALID, f'"{text}" is no address: {error}', "give one such as anna@contoso.com") from None


async def probe_send_connector(
    site: Site, tree: StepBuilder, connector: SendConnector, envelope: Envelope, *, implicit_tls: bool = False
) -> list[Observed]:  # fmt: skip
    """Add the steps to `tree`; what each address showed."""
    _configuration(site, tree, connector)
    if connector.routes_by_dns and not envelope.domain:
        await _servers_only(site, tree, connector)
        return []
    await _look_up(site, tree, connector, envelope.domain)
    targets = await _targets(site, tree, connector, envelope.domain)
    if not targets:
        return []
    probe = SmtpProbe(
        connector, fqdn=site.fqdn, seconds=site.seconds, time=site.clock.monotonic, now=site.clock.now,
        sender=envelope.sender, recipients=envelope.recipients, guessed=envelope.guessed, implicit_tls=implicit_tls,
        pair=site.client_pair, secure_domains=site.secure_domains, tokens=site.tokens,
    )  # fmt: skip
    return await probe_targets(tree, probe, targets)


async def probe_targets(tree: StepBuilder, probe: SmtpProbe, targets: Sequence[Target]) -> list[Observed]:
    """All addresses at the same time; as long as one works, the others only warn."""
    with tree.step("Testing the hosts") as hosts:
        found = await asyncio.gather(*(probe.run(hosts, target) for target in targets))
        good = len(targets) - hosts.failures
        count = f"{good} of {len(targets)} addresses" if len(targets) > 1 else "The host"
        if good:
            hosts.say(f"{count} would take our mail")
            hosts.only_warn()
        else:
            hosts.say(
                "None of the addresses would take our mail" if len(targets) > 1 else "The host does not take our mail"
            )
    return found


def _configuration(site: Site, above: StepBuilder, connector: SendConnector) -> None:
    with above.step("Reading the configuration") as step:
        route = "by MX" if connector.routes_by_dns else f"through {', '.join(connector.smart_hosts)}"
        tls = connector.tls_auth_level.value or ("required" if connector.require_tls else "where offered")
        source = ", ".join(connector.source_ip_addresses) or "the address that the system chooses"
        step.add(f"address spaces: {', '.join(connector.address_spaces)}", f"TLS: {tls}", f"from: {source}")
        step.add(f"DNS servers: {', '.join(site.asked_servers(connector))}")
        if connector.enabled:
            step.passed(f'"{connector.name}" sends {route}')
        else:
            step.warned(f'"{connector.name}" is disabled: no mail takes this way', "set enabled = true")


async def _servers_only(site: Site, above: StepBuilder, connector: SendConnector) -> None:
    """Without a domain there is nothing to look up but the root."""
    with above.step("Asking the DNS servers") as step:
        for server, tcp in product(site.asked_servers(connector), (False, True)):
            how = "TCP" if tcp else "UDP"
            with step.step(f"Asking {server} over {how}") as one:
                reply = await ask(server, ".", "NS", tcp=tcp, seconds=site.dns_seconds, time=site.clock.monotonic)
                if reply.answered:
                    one.passed(f"DNS server {server} answers over {how}: {reply.rcode}")
                else:
                    one.failed(f"DNS server {server} does not answer over {how}: {reply}", "see that it runs")
        step.say("The DNS servers answer" if not step.has_failed else "Not every DNS server answers")
        if step.failures < step.count:
            step.only_warn()
    with above.step("") as step:
        step.noted("This connector finds hosts by MX: name a domain with --domain or --recipient to test the way there")


async def _look_up(site: Site, above: StepBuilder, connector: SendConnector, domain: str) -> None:
    """The DNS steps for the domain, or for each smart host that is a name."""
    names = [domain] if connector.routes_by_dns else [_host_name(one) for one in connector.smart_hosts]
    names = [name for name in dict.fromkeys(names) if name and not name.startswith("[")]
    if not names:
        return
    known = read_hosts_file()
    probe = DnsProbe(site.asked_servers(connector), seconds=site.dns_seconds, time=site.clock.monotonic)
    with above.step("Looking up the names of hosts") as step:
        for name in names:
            if name == "localhost" or name in known:
                with step.step("") as one:
                    one.noted(f"{name} stands in the hosts file of this server; DNS is not asked")
            else:
                await probe.run(step, name)
        if step.failures < len(names) or len(names) < len(connector.smart_hosts):
            step.only_warn()


def _host_name(smart_host: str) -> str:
    """The name of a smart host in A-labels, "" where it is an address."""
    try:
        host, _ = split_smart_host(smart_host, 25)
        ipaddress.ip_address(host)
    except ValueError:
        return domain_key(smart_host.partition(":")[0])
    return ""


async def _targets(site: Site, above: StepBuilder, connector: SendConnector, domain: str) -> list[Target]:
    """The addresses in the order in which delivery tries them: found by delivery's own code, nothing cached."""
    if above.has_failed:
        return []
    kind = DeliveryType.DNS_CONNECTOR if connector.routes_by_dns else DeliveryType.SMART_HOST
    name = domain if connector.routes_by_dns else ",".join(connector.smart_hosts)
    ourselves = Ourselves(frozenset({site.fqdn.lower()}), site.own_endpoints)
    resolver = Resolver(site.dns_servers, clock=site.clock, timeout=site.dns_seconds)
    with above.step("Putting the hosts in order") as step:
        try:
            found = await resolve_destination(
                NextHop(kind, name, connector.name), connector, resolver.for_servers(connector.dns_servers), ourselves,
                site.random,
            )  # fmt: skip
        finally:
            await resolver.close()
        if isinstance(found, Unresolvable):
            step.failed(f"Delivery finds no host: {found.error}", _remedy(found))
            return []
        step.add(*(f"{target.host} {target.address} port {target.port}" for target in found))
        left = len(found) - PROBE_ADDRESSES
        more = f"; the first {PROBE_ADDRESSES} are tested" if left > 0 else ""
        step.passed(f"Delivery would try {len(found)} address{'' if len(found) == 1 else 'es'}{more}")
        return found[:PROBE_ADDRESSES]


def _remedy(problem: Unresolvable) -> str:
    if problem.status == "5.4.6":
        return "the MX names this server: make the domain an accepted domain, or correct the MX"
    if problem.status == "4.4.4":
        return "correct smart_hosts"
    return "" if problem.permanent else "try again when DNS answers"
