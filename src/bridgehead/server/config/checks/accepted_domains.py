# SPDX-License-Identifier: MIT
"""Checks of accepted domains (Set-AcceptedDomain) beyond those of `routing.accepted_domain`: open relays, none."""

from bridgehead.routing import accepted_domain
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration


def check_accepted_domains(configuration: Configuration, findings: Findings) -> None:
    """Each accepted domain by itself, then all together."""
    domains = configuration.accepted_domains
    for index, domain in enumerate(domains):
        if domain.domain_name == "*":
            findings.error(
                ("accepted_domains", index, "domain_name"),
                "* would accept mail for every domain from anybody: an open relay",
                "name your domains; to relay for known hosts grant them ms-Exch-SMTP-Accept-Any-Recipient on a "
                "connector of their own",
            )
    for error in accepted_domain.check_accepted_domains(domains):
        if domains[error.index].domain_name != "*":
            findings.error(("accepted_domains", error.index, error.field), error.message)
    if not domains:
        findings.warning(
            ("accepted_domains",),
            "there is no accepted domain: mail is taken only from those who may relay",
            'add [[accepted_domains]] with domain_name = "…" for the domains that are yours',
        )
