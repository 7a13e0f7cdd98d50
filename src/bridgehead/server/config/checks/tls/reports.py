# SPDX-License-Identifier: MIT
"""Checks of `[tls_reports]`."""

from bridgehead.mail.address import AddressError, domain_key, parse_mailbox
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration


def check_tls_reports(configuration: Configuration, findings: Findings) -> None:
    """The addresses are addresses, and reports come to one of ours."""
    settings = configuration.tls_reports
    for name in ("sender_address", "report_address"):
        if not (text := getattr(settings, name)):
            continue
        try:
            mailbox = parse_mailbox(text)
        except AddressError as error:
            findings.error(("tls_reports", name), f"{text!r} is no address: {error}", "tls-reports@contoso.com")
            continue
        ours = AcceptedDomains(configuration.accepted_domains)
        if name == "report_address" and ours.find(domain_key(mailbox.domain)) is None:
            findings.error(
                ("tls_reports", name), f"{mailbox.domain} is no accepted domain", "name a mailbox of this server"
            )
