# SPDX-License-Identifier: MIT
"""What `dns check` needs of the running server: domains, hosts with their certificates, egress addresses, policies."""

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridgehead.admin.tls.certificate_site import Certificates, CertificateSite, CertificateUser
from bridgehead.admin.tls.dns_check import DnsSite, HostKeys
from bridgehead.admin.tls.own_policies import mail_hosts, own_policy, policy_domains
from bridgehead.mail.address import domain_key
from bridgehead.net.certificates.chain import ChainFacts, read_chain_file
from bridgehead.net.certificates.pairs import CertificateError
from bridgehead.receive.settings import PermissionGroup
from bridgehead.routing.tls_policy import name_matches
from bridgehead.server.tls.acme import FOLDER
from bridgehead.server.tls.pending_certificates import PendingCertificates

if TYPE_CHECKING:
    from bridgehead.server.app import Application

_FAR_AWAY: Final = (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))
"""Where nobody lives: which address of ours would be used is asked of the system, and no packet leaves."""


def dns_site(application: "Application", site: CertificateSite) -> DnsSite:
    """Blocks for the disk."""
    configuration = application.loaded.configuration
    settings = configuration.mta_sts
    hosts = mail_hosts(settings, configuration.receive_connectors, application.fqdn)
    return DnsSite(
        domains=[
            domain_key(one.domain_name)
            for one in configuration.accepted_domains
            if not one.domain_name.startswith("*.")
        ],
        hosts=_hosts(application, site),
        egress=_egress(application),
        policy=own_policy(settings, hosts),
        policy_domains=policy_domains(settings, configuration.accepted_domains),
        policy_served=bool(settings.binding),
        now=application.clock.now(),
        report_address=configuration.tls_reports.report_address,
    )


def _hosts(application: "Application", site: CertificateSite) -> list[HostKeys]:
    """Names of connectors that strangers meet, and those said in EHLO."""
    configuration = application.loaded.configuration
    sending = {
        (one.fqdn or application.fqdn).lower()
        for one in configuration.send_connectors
        if one.enabled and one.routes_by_dns
    }
    receiving = {
        (one.fqdn or application.fqdn).lower(): f'receive connector "{one.name}"'
        for one in configuration.receive_connectors
        if one.enabled and PermissionGroup.ANONYMOUS_USERS in one.permission_groups
    }
    users = {user.label: user for user in site.users}
    known = Certificates(site)
    waiting = [
        facts for file in PendingCertificates(application.loaded.within(FOLDER)).chains() if (facts := _read(file))
    ]
    found = []
    for name in dict.fromkeys((*receiving, *sorted(sending))):
        user = users.get(receiving.get(name, ""))
        current = _current(known, user)
        found.append(
            HostKeys(
                name=name,
                receives=name in receiving,
                sends=name in sending,
                ports=(25,) if user is None or 25 in user.ports else (25, *user.ports[:1]),
                current=current,
                coming=_coming(known, waiting, name, current),
            )
        )
    return found


def _current(known: Certificates, user: CertificateUser | None) -> ChainFacts | None:
    if user is None:
        return None
    try:
        return known.facts(known.shown_by(user))
    except CertificateError:
        return None


def _coming(
    known: Certificates, waiting: Sequence[ChainFacts], name: str, current: ChainFacts | None
) -> list[ChainFacts]:  # fmt: skip
    """Certificates that carry the name and may be shown next."""
    held = [known.facts(one.pair) for one in known.known()]
    return [
        one
        for one in (*held, *waiting)
        if not one.leaf.self_signed
        and name_matches(one.leaf.names, name)
        and (current is None or one.leaf.fingerprint != current.leaf.fingerprint)
    ]


def _read(file: Path) -> ChainFacts | None:
    try:
        return read_chain_file(file)
    except CertificateError:
        return None


def _egress(application: "Application") -> list[str]:
    """Addresses that our mail comes from: as configured, or the system's, where the world can see it."""
    connectors = [one for one in application.loaded.configuration.send_connectors if one.enabled and one.routes_by_dns]
    configured = [address for one in connectors for address in one.source_ip_addresses]
    if configured:
        return list(dict.fromkeys(configured))
    if not connectors:
        return []
    found = []
    for target, family in _FAR_AWAY:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.connect((target, 9))
                address = str(asking.getsockname()[0])
        except OSError:
            continue
        if ipaddress.ip_address(address.partition("%")[0]).is_global:
            found.append(address)
    return found
