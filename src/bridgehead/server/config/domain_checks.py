# SPDX-License-Identifier: MIT
"""Checks of accepted domains (Set-AcceptedDomain): syntax, duplicates, the default, open relays."""

from bridgehead.mail.address import AddressError, domain_key, parse_domain
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration


def check_accepted_domains(configuration: Configuration, findings: Findings) -> None:
    """Each accepted domain by itself, then all together."""
    seen: dict[str, int] = {}
    defaults: list[int] = []
    for index, domain in enumerate(configuration.accepted_domains):
        path: KeyPath = ("accepted_domains", index, "domain_name")
        _check_name(domain.domain_name, path, findings)
        key = domain_key(domain.domain_name)
        if key in seen:
            findings.error(
                path,
                f"{domain.domain_name} is an accepted domain already, in accepted_domains[{seen[key]}]",
                "keep one of the two",
            )
        seen.setdefault(key, index)
        if domain.make_default:
            defaults.append(index)
            if domain.domain_name.startswith("*"):
                findings.error(
                    ("accepted_domains", index, "make_default"),
                    f"{domain.domain_name} stands for many domains and cannot be the default",
                    "make a domain without * the default",
                )
    for index in defaults[1:]:
        findings.error(
            ("accepted_domains", index, "make_default"),
            f"there are several defaults; accepted_domains[{defaults[0]}] is the first",
            "keep make_default = true on one domain only",
        )
    if not configuration.accepted_domains:
        findings.warning(
            ("accepted_domains",),
            "there is no accepted domain: mail is taken only from those who may relay",
            'add [[accepted_domains]] with domain_name = "…" for the domains that are yours',
        )


def _check_name(name: str, path: KeyPath, findings: Findings) -> None:
    if name == "*":
        findings.error(
            path,
            "* would accept mail for every domain from anybody: an open relay",
            "name your domains; to relay for known hosts grant them ms-Exch-SMTP-Accept-Any-Recipient on a connector "
            "of their own",
        )
        return
    try:
        parsed = parse_domain(name.removeprefix("*."))
    except AddressError as error:
        findings.error(path, f'"{name}" is no domain: {error}', 'write "contoso.com" or "*.contoso.com"')
        return
    if parsed.startswith("["):
        findings.error(path, f"{name} is an address, not a domain", "name a domain")
