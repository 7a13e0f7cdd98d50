# SPDX-License-Identifier: MIT
"""Checks of the sender exceptions: who may send in our name from outside, and until when."""

from datetime import UTC, datetime

from bridgehead.mail.address import AddressError, domain_key, parse_domain, parse_mailbox
from bridgehead.net.ip_range import RangeError, is_wide, parse_range
from bridgehead.server.config.positions import KeyPath
from bridgehead.server.config.problem import Findings
from bridgehead.server.config.schema import Configuration


def check_sender_exceptions(configuration: Configuration, findings: Findings) -> None:
    """Each exception by itself, and whether it is about a domain of ours at all."""
    accepted = {domain_key(one.domain_name.removeprefix("*.")) for one in configuration.accepted_domains}
    today = datetime.now(UTC).date()
    seen: set[str] = set()
    for index, exception in enumerate(configuration.sender_exceptions):
        path: KeyPath = ("sender_exceptions", index)
        for field in ("name", "owner"):
            if not getattr(exception, field).strip():
                findings.error((*path, field), f"the {field} is empty", "logs and people go by it")
        if exception.name.lower() in seen:
            findings.error((*path, "name"), f'the name "{exception.name}" is taken', "names differ")
        seen.add(exception.name.lower())
        for position, text in enumerate(exception.senders):
            _check_sender(text, accepted, (*path, "senders", position), findings)
        for position, text in enumerate(exception.remote_ip_ranges):
            _check_range(text, (*path, "remote_ip_ranges", position), findings)
        if exception.expires < today:
            findings.warning(
                (*path, "expires"),
                f'the exception "{exception.name}" ended on {exception.expires}; it lets nobody in any more',
                f"remove it, or ask {exception.owner} whether it is needed still",
            )


def _check_sender(text: str, accepted: set[str], path: KeyPath, findings: Findings) -> None:
    try:
        domain = parse_domain(text[2:]) if text.startswith("*@") else parse_mailbox(text).domain
    except AddressError as error:
        findings.error(path, f'"{text}": {error}', 'an address such as "scanner@contoso.com" or "*@contoso.com"')
        return
    key = domain_key(domain)
    if not any(key == one or key.endswith("." + one) for one in accepted):
        findings.warning(path, f"{domain} is not an accepted domain: nobody is kept from sending in its name")


def _check_range(text: str, path: KeyPath, findings: Findings) -> None:
    try:
        if is_wide(parse_range(text)):
            findings.warning(path, f"{text} holds strangers, who all may send in our name", "name the machines meant")
    except RangeError as error:
        findings.error(path, str(error))
