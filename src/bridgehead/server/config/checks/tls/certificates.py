# SPDX-License-Identifier: MIT
"""Checks of [acme], [[acme.certificates]] and [mta_sts]."""

from urllib.parse import urlsplit

from bridgehead.mail.address import AddressError, parse_domain, parse_mailbox
from bridgehead.net.acme.dns_update import ALGORITHMS
from bridgehead.net.acme.settings import AcmeChallenge, AcmeSettings
from bridgehead.net.ip_range import RangeError, parse_binding
from bridgehead.routing.mta_sts import StsMode
from bridgehead.server.config.checks.server import check_dns_server
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings, nearest
from bridgehead.server.config.schema import Configuration


def check_certificates(configuration: Configuration, findings: Findings) -> None:
    """Both tables."""
    acme = configuration.acme
    if acme.certificates:
        _check_authority(acme, findings)
        challenges = {one.challenge or acme.challenge for one in acme.certificates}
        if AcmeChallenge.HTTP_01 in challenges:
            _check_binding(acme.http_binding, ("acme", "http_binding"), findings)
        if AcmeChallenge.TLS_ALPN_01 in challenges:
            _check_binding(acme.tls_alpn_binding, ("acme", "tls_alpn_binding"), findings)
            if configuration.mta_sts.binding == acme.tls_alpn_binding:
                findings.error(
                    ("acme", "tls_alpn_binding"), "policies of [mta_sts] are served there", "prove names by http-01"
                )
        if AcmeChallenge.DNS_01 in challenges:
            _check_dns(acme, findings)
        _check_orders(acme, findings)
    _check_policies(configuration, findings)


def _check_authority(acme: AcmeSettings, findings: Findings) -> None:
    parts = urlsplit(acme.directory_url)
    if parts.scheme != "https" or not parts.hostname:
        findings.error(
            ("acme", "directory_url"), f'"{acme.directory_url}" is no https:// address', "ask the authority for it"
        )
    if not acme.terms_of_service_agreed:
        findings.error(
            ("acme", "terms_of_service_agreed"), "no certificate is ordered before you accept the authority's terms",
            "read them at its site, then set it to true",
        )  # fmt: skip
    for index, address in enumerate(acme.contact):
        try:
            parse_mailbox(address)
        except AddressError as error:
            findings.error(("acme", "contact", index), f'"{address}": {error}', "a mail address was expected")
    if bool(acme.external_account_key_id) != bool(acme.external_account_secret):
        findings.error(
            ("acme", "external_account_key_id"), "an external account has an id and a secret", "set both, or none"
        )


def _check_dns(acme: AcmeSettings, findings: Findings) -> None:
    if not acme.dns_server:
        findings.error(("acme", "dns_server"), "dns-01 needs a server that takes updates", 'write "192.0.2.53"')
    else:
        check_dns_server(acme.dns_server, ("acme", "dns_server"), findings)
    for index, server in enumerate(acme.dns_secondaries):
        check_dns_server(server, ("acme", "dns_secondaries", index), findings)
    if acme.dns_key_algorithm not in ALGORITHMS:
        guess = nearest(acme.dns_key_algorithm, ALGORITHMS)
        findings.error(
            ("acme", "dns_key_algorithm"), f'"{acme.dns_key_algorithm}" is no algorithm of TSIG that is known here',
            f'did you mean "{guess}"?' if guess else f"take one of {', '.join(ALGORITHMS)}",
        )  # fmt: skip
    if bool(acme.dns_key_name) != bool(acme.dns_key_secret):
        findings.error(("acme", "dns_key_name"), "a TSIG key has a name and a secret", "set both")
    elif not acme.dns_key_name:
        findings.warning(
            ("acme", "dns_key_name"), "without a key, the zone takes updates from whoever sends from this address",
            "set dns_key_name and dns_key_secret",
        )  # fmt: skip


def _check_orders(acme: AcmeSettings, findings: Findings) -> None:
    seen: set[str] = set()
    for index, one in enumerate(acme.certificates):
        path: KeyPath = ("acme", "certificates", index)
        if one.name.lower() in seen:
            findings.error((*path, "name"), f'"{one.name}" is there twice', "give each certificate a name of its own")
        seen.add(one.name.lower())
        _check_name(one.name, (*path, "name"), findings)
        for position, name in enumerate(one.names):
            _check_name(name, (*path, "names", position), findings)
        if any(name.startswith("*.") for name in one.all_names) and (
            (one.challenge or acme.challenge) is not AcmeChallenge.DNS_01
        ):
            findings.error(path, "a wildcard can be proved by DNS only", 'set challenge = "dns-01"')


def _check_policies(configuration: Configuration, findings: Findings) -> None:
    settings = configuration.mta_sts
    if settings.binding:
        _check_binding(settings.binding, ("mta_sts", "binding"), findings)
    for index, domain in enumerate(settings.domains):
        _check_name(domain, ("mta_sts", "domains", index), findings, wildcard=False)
    for index, host in enumerate(settings.mx):
        _check_name(host, ("mta_sts", "mx", index), findings)
    if settings.binding and settings.mode is StsMode.ENFORCE and settings.max_age.total_seconds() < 86400:
        findings.warning(
            ("mta_sts", "max_age"), "senders that forget the policy within a day are easily fooled", "take weeks"
        )


def _check_name(name: str, path: KeyPath, findings: Findings, *, wildcard: bool = True) -> None:
    bare = name.removeprefix("*.") if wildcard else name
    try:
        parse_domain(bare)
    except AddressError as error:
        findings.error(path, f'"{name}" is no host name: {error}', 'write "mail.contoso.com"')
        return
    if not name.isascii():
        findings.error(path, f'"{name}" is not in A-label form', "write xn--…")


def _check_binding(text: str, path: KeyPath, findings: Findings) -> None:
    try:
        parse_binding(text)
    except (RangeError, ValueError) as error:
        findings.error(path, str(error), 'write "0.0.0.0:443" or "[::]:443"')
