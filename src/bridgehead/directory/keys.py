# SPDX-License-Identifier: MIT
"""The keys under which directory objects are stored and looked up.

An address is found without regard to case, its domain as A-labels; a name without regard to case.
"""

from collections.abc import Iterator
from typing import Final

from bridgehead.directory.recipient import Recipient
from bridgehead.mail.address import AddressError, Mailbox, parse_mailbox

DETAIL_SEPARATOR: Final = "+"
"""Between user and detail in plus addressing (RFC 5233)."""


class DirectoryConflict(ValueError):
    """A name or address belongs to another recipient already; the message says which."""


def address_keys(recipient: Recipient) -> Iterator[str]:
    """Keys of all proxy addresses, the primary first, none twice."""
    yield from dict.fromkeys(address.key for address in (recipient.primary_smtp_address, *recipient.email_addresses))


def name_key(name: str) -> str:
    """Key of a unique name."""
    return name.strip().casefold()


def without_detail(address: Mailbox) -> Mailbox | None:
    """The address without "+detail", None where it has none. A leading "+" is part of the name."""
    position = address.local_part.find(DETAIL_SEPARATOR)
    return Mailbox(address.local_part[:position], address.domain) if position > 0 else None


def as_address(text: str) -> Mailbox | None:
    """The address that a member or sender list names, None where it holds a name."""
    if "@" not in text:
        return None
    try:
        return parse_mailbox(text.strip())
    except AddressError:
        return None
