# SPDX-License-Identifier: MIT
"""Is there such a recipient? What a server asks at RCPT, before it takes responsibility for a message.

The categorizer decides alike when it resolves the message; groups, forwarding and restrictions are its business alone.
"""

from enum import Enum

from bridgehead.directory.lookup import Directory
from bridgehead.mail.address import Mailbox
from bridgehead.routing.accepted_domain import AcceptedDomains
from bridgehead.routing.settings import DomainType


class Validity(Enum):
    """What is known of a forward-path."""

    FOREIGN = "foreign"
    """Not in an accepted domain: relaying."""
    KNOWN = "known"
    """Ours: in the directory, or postmaster, or in a relay domain whose recipients others know."""
    UNKNOWN = "unknown"
    """In an authoritative domain, and nobody's address: 550 5.1.1, or a report later."""


def validity(address: Mailbox, directory: Directory, accepted_domains: AcceptedDomains) -> Validity:
    """Whether we take mail for this address. Raises DirectoryUnavailable. Some microseconds, from the cache."""
    if not address.domain:  # bare postmaster, RFC 5321 §4.5.1; grammar lets nothing else through without a domain
        return Validity.KNOWN if _is_postmaster(address) else Validity.UNKNOWN
    domain = accepted_domains.find(address.domain_key)
    if domain is None:
        return Validity.FOREIGN
    if domain.domain_type is not DomainType.AUTHORITATIVE or directory.find(address) is not None:
        return Validity.KNOWN
    return Validity.KNOWN if _is_postmaster(address) else Validity.UNKNOWN


def _is_postmaster(address: Mailbox) -> bool:
    return address.local_part.lower() == "postmaster"
